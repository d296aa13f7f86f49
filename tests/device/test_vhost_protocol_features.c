/* SPDX-License-Identifier: BSD-2-Clause */
/* GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, and answers to order. */
#include "base/util.h"
#include "tests/device/vhost_harness.h"

/* What nobody implements, or what is not ours, is not offered. */
#define NEVER                                                                                      \
	(1ull << 6 /* CROSS_ENDIAN */ | 1ull << 7 /* CRYPTO_SESSION */ | 1ull << 8 /* PAGEFAULT */ \
	 | 1ull << 10 /* BACKEND_SEND_FD */ | 1ull << 11 /* HOST_NOTIFIER */ |                     \
	 1ull << 14 /* INBAND_NOTIFICATIONS */ | 1ull << 17 /* XEN_MMAP */ |                       \
	 1ull << 18 /* SHARED_OBJECT */ | 1ull << 19 /* DEVICE_STATE */ | 1ull << 22 /* SHMEM */ | \
	 ~0ull << 23)
#define ALWAYS                                                                                     \
	(1ull << 0 /* MQ */ | 1ull << 1 /* LOG_SHMFD */ | 1ull << 3 /* REPLY_ACK */ |              \
	 1ull << 5 /* BACKEND_REQ */ | 1ull << 13 /* RESET_DEVICE */ |                             \
	 1ull << 15 /* CONFIGURE_MEM_SLOTS */ | 1ull << 16 /* STATUS */ |                          \
	 1ull << 21 /* GPA_ADDRESSES */)
#define NET (1ull << 2 /* RARP */ | 1ull << 4 /* NET_MTU */)
#define DISK_ONLY                                                                                  \
	(1ull << 9 /* CONFIG */ | 1ull << 12 /* INFLIGHT_SHMFD */ |                                \
	 1ull << 20 /* GET_VRING_BASE_INFLIGHT */)

static void offers(void **state)
{
	uint64_t value;

	assert_int_equal(vhost_get_u64(&client.c, VHOST_GET_PROTOCOL_FEATURES, &value), 0);
	assert_int_equal(value & (ALWAYS | NET | DISK_ONLY | NEVER), ALWAYS | NET);
	assert_int_equal(vhost_get_u64(&client.c, VHOST_GET_QUEUE_NUM, &value), 0);
	assert_int_equal(value, PAIRS);
}

static void offers_of_a_disk(void **state)
{
	uint64_t value;

	assert_int_equal(vhost_get_u64(&client.c, VHOST_GET_PROTOCOL_FEATURES, &value), 0);
	assert_int_equal(value & (ALWAYS | NET | DISK_ONLY | NEVER), ALWAYS | DISK_ONLY);
	assert_int_equal(vhost_get_u64(&client.c, VHOST_GET_QUEUE_NUM, &value), 0);
	assert_int_equal(value, DISK_QUEUES);
}

static void refuses_others(void **state)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		int err = vhost_request_u64(&client.c, VHOST_SET_PROTOCOL_FEATURES,
					    1ull << bit | 1ull << 3, -1);

		assert_int_equal(err, (ALWAYS | NET) >> bit & 1 ? 0 : REFUSED);
	}
}

/* need_reply means nothing without REPLY_ACK: a refusal ends the connection then. */
static void answers_to_order(void **state)
{
	uint32_t bad[2] = { 99, 1 };
	struct vhost_header header;
	uint64_t value = 0;
	uint32_t len = sizeof(value);

	assert_int_equal(
		vhost_send(&client.c, VHOST_SET_VRING_ENABLE, VHOST_NEED_REPLY, bad, 8, NULL, 0),
		0);
	assert_int_equal(vhost_receive(&client.c, &header, &value, &len, NULL), 0);
	assert_int_equal(header.request, VHOST_SET_VRING_ENABLE);
	assert_int_equal(header.flags, 5);
	assert_int_equal(len, 8);
	assert_int_not_equal(value, 0);
	/* what has an answer of its own has no other */
	assert_int_equal(
		vhost_send(&client.c, VHOST_GET_QUEUE_NUM, VHOST_NEED_REPLY, NULL, 0, NULL, 0), 0);
	assert_int_equal(vhost_receive(&client.c, &header, &value, &len, NULL), 0);
	assert_int_equal(value, PAIRS);
	value = 0;
	assert_int_equal(vhost_send(&client.c, VHOST_SET_PROTOCOL_FEATURES, 0, &value, 8, NULL, 0),
			 0);
	assert_int_equal(
		vhost_send(&client.c, VHOST_SET_VRING_ENABLE, VHOST_NEED_REPLY, bad, 8, NULL, 0),
		0);
	assert_true(is_closed(&client.c));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(offers),
		test_disk(offers_of_a_disk),
		test(refuses_others),
		test(answers_to_order),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
