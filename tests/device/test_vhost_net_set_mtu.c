/* SPDX-License-Identifier: BSD-2-Clause */
/* NET_SET_MTU: a guest that negotiated it gets no longer frame (section 5.1.4.1). */
#include "base/util.h"
#include "tests/device/vhost_harness.h"

#include <linux/virtio_net.h>

static void refuses(void **state)
{
	assert_int_equal(vhost_request_u64(&client.c, VHOST_NET_SET_MTU, 67, -1), REFUSED);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_NET_SET_MTU, 65536, -1), REFUSED);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_NET_SET_MTU, UINT64_MAX, -1), REFUSED);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_NET_SET_MTU, 68, -1), 0);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_NET_SET_MTU, 65535, -1), 0);
}

static uint8_t frame[2000] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 }, got[2000];

static bool arrives(struct guest *a, struct guest *b, uint32_t len)
{
	uint64_t before, now;

	nic_stat(1, "rx_too_large", &before);
	guest_send(a, NULL, frame, len, 4096);
	nic_stat(1, "rx_too_large", &now);
	if (now == before)
		assert_int_equal(guest_receive(b, NULL, got, sizeof(got)), len);
	return now == before;
}

static void limits_frames(void **state)
{
	struct guest a, b;

	guest_start(&a, 0, V1, 64, BUF_BYTES, 32);
	/* not negotiated: it does not matter */
	guest_start(&b, 1, V1, 64, BUF_BYTES, 32);
	assert_int_equal(vhost_request_u64(&b.c, VHOST_NET_SET_MTU, 1000, -1), 0);
	assert_true(arrives(&a, &b, 1500));
	guest_stop(&b);
	guest_start(&b, 1, V1 | 1ull << VIRTIO_NET_F_MTU, 64, BUF_BYTES, 32);
	assert_true(arrives(&a, &b, 1500));
	assert_int_equal(vhost_request_u64(&b.c, VHOST_NET_SET_MTU, 1000, -1), 0);
	/* the Ethernet header and a VLAN tag come on top */
	assert_true(arrives(&a, &b, 1018));
	assert_false(arrives(&a, &b, 1019));
	assert_int_equal(vhost_request_u64(&b.c, VHOST_NET_SET_MTU, 1500, -1), 0);
	assert_true(arrives(&a, &b, 1518));
	assert_false(arrives(&a, &b, 1519));
	/* it is the session's */
	guest_stop(&b);
	guest_start(&b, 1, V1 | 1ull << VIRTIO_NET_F_MTU, 64, BUF_BYTES, 32);
	assert_true(arrives(&a, &b, 1900));
	guest_stop(&a);
	guest_stop(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(refuses),
		cmocka_unit_test(limits_frames),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
