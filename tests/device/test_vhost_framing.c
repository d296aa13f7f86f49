/* SPDX-License-Identifier: BSD-2-Clause */
/* Headers that no front end sends, messages in parts, and clients that do not read. */
#include "base/util.h"
#include "tests/device/vhost_harness.h"

#include <sys/socket.h>

/* Sent in one piece: the header alone can be enough for the server to close. */
struct message {
	struct vhost_header header;
	uint8_t payload[40];
};

static void bad_headers(void **state)
{
	static const struct vhost_header bad[] = {
		{ VHOST_GET_FEATURES, 1, 0xffffffff },
		{ VHOST_GET_FEATURES, 1, 513 },
		{ VHOST_GET_FEATURES, 0, 0 }, /* version */
		{ VHOST_GET_FEATURES, 2, 0 },
		{ VHOST_GET_FEATURES, 5, 0 }, /* a reply */
		{ 0, 1, 0 },		      /* unknown */
		{ 10000, 1, 0 },
		{ 35, 1, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		send_raw(&bad[i], sizeof(bad[i]));
		assert_true(is_closed(&client.c));
		client_again();
	}
}

/* Each message that has a payload, without it. */
static void too_short(void **state)
{
	static const uint32_t requests[] = {
		VHOST_SET_FEATURES,	     VHOST_SET_MEM_TABLE,    VHOST_SET_LOG_BASE,
		VHOST_SET_VRING_NUM,	     VHOST_SET_VRING_ADDR,   VHOST_SET_VRING_BASE,
		VHOST_GET_VRING_BASE,	     VHOST_SET_VRING_KICK,   VHOST_SET_VRING_CALL,
		VHOST_SET_VRING_ERR,	     VHOST_SET_VRING_ENABLE, VHOST_SEND_RARP,
		VHOST_NET_SET_MTU,	     VHOST_ADD_MEM_REG,	     VHOST_REM_MEM_REG,
		VHOST_SET_PROTOCOL_FEATURES, VHOST_SET_STATUS,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
		struct message message = { .header = { requests[i], 1, 0 } };

		send_raw(&message, sizeof(message.header));
		assert_true(is_closed(&client.c));
		client_again();
		/* and one byte short of the smallest */
		message.header.size = requests[i] == VHOST_SET_VRING_ADDR ? 39 : 7;
		send_raw(&message, sizeof(message.header) + message.header.size);
		assert_true(is_closed(&client.c));
		client_again();
	}
}

/* Any message as the very first, of any size, twice, with and without a descriptor: what comes of
 * it is the client's affair alone. */
static void any_message_first(void **state)
{
	static const uint32_t sizes[] = { 0, 8, 20, 40, 72, 500 };
	uint8_t payload[500];
	int fd = memory_file(0x1000);
	struct vhost_client other;
	uint64_t value;

	guest_close(&client);
	for (uint32_t request = 0; request < 48; request++) {
		for (unsigned i = 0; i < 4 * ARRAY_SIZE(sizes); i++) {
			memset(payload, i & 2 ? 0xff : 0, sizeof(payload));
			assert_int_equal(vhost_connect(&other, vhost_path[i & 1 ? DISK : 0]), 0);
			for (unsigned n = 0; n < 2; n++)
				vhost_send(&other, request, i & 2 ? 8 : 0, payload, sizes[i / 4],
					   &fd, i >> 1 & 1);
			vhost_close(&other);
		}
	}
	close(fd);
	client_start_disk(state);
	assert_int_equal(vhost_get_u64(&client.c, VHOST_GET_FEATURES, &value), 0);
	guest_close(&client);
	client_start(state);
	assert_int_equal(vhost_get_u64(&client.c, VHOST_GET_FEATURES, &value), 0);
}

/* Of the messages that need a protocol feature, each without it. */
static void not_negotiated(void **state)
{
	static const struct {
		uint32_t request, size;
	} needs[] = {
		{ VHOST_SET_LOG_BASE, 16 },    { VHOST_SEND_RARP, 8 },
		{ VHOST_NET_SET_MTU, 8 },      { VHOST_SET_BACKEND_REQ_FD, 0 },
		{ VHOST_GET_CONFIG, 12 },      { VHOST_SET_CONFIG, 12 },
		{ VHOST_GET_INFLIGHT_FD, 20 }, { VHOST_SET_INFLIGHT_FD, 20 },
		{ VHOST_RESET_DEVICE, 0 },     { VHOST_GET_MAX_MEM_SLOTS, 0 },
		{ VHOST_ADD_MEM_REG, 40 },     { VHOST_REM_MEM_REG, 40 },
		{ VHOST_SET_STATUS, 8 },       { VHOST_GET_STATUS, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(needs); i++) {
		struct message message = { .header = { needs[i].request, 1, needs[i].size } };
		uint64_t none = 0;

		vhost_send(&client.c, VHOST_SET_PROTOCOL_FEATURES, 0, &none, 8, NULL, 0);
		send_raw(&message, sizeof(message.header) + needs[i].size);
		assert_true(is_closed(&client.c));
		client_again();
	}
}

static void in_parts(void **state)
{
	struct vhost_header slow = { VHOST_GET_FEATURES, 1, 0 }, answer;
	uint64_t features;
	uint32_t len = sizeof(features);

	for (unsigned i = 0; i < sizeof(slow); i++) {
		send_raw((uint8_t *)&slow + i, 1);
		usleep(500);
	}
	assert_int_equal(vhost_receive(&client.c, &answer, &features, &len, NULL), 0);
	assert_int_equal(answer.flags, 5);
	/* many in one piece */
	send_raw((struct vhost_header[3]){ slow, slow, slow }, 3 * sizeof(slow));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(vhost_receive(&client.c, &answer, &features, &len, NULL), 0);
	/* gone in the middle of a message: the next one is served */
	send_raw(&slow, 5);
	client_again();
}

/* Descriptors where none is wanted; more than are; more than fit. */
static void too_many_descriptors(void **state)
{
	int fds[9];
	uint64_t value = 0;
	unsigned before;

	for (unsigned i = 0; i < 9; i++)
		fds[i] = memory_file(4096);
	before = settled_fds(1);
	for (unsigned n = 1; n <= 9; n += 4) {
		vhost_send(&client.c, VHOST_GET_FEATURES, 0, NULL, 0, fds, n);
		assert_true(is_closed(&client.c));
		client_again();
		vhost_send(&client.c, VHOST_SET_VRING_CALL, 0, &value, 8, fds, MIN(n + 1, 9u));
		assert_true(is_closed(&client.c));
		client_again();
	}
	/* the back end closes what it got, soon */
	wait_open_fds(before);
	assert_int_equal(open_fds(), before);
	for (unsigned i = 0; i < 9; i++)
		close(fds[i]);
}

/* It blocks nobody. */
static void never_reads(void **state)
{
	struct vhost_header ask = { VHOST_GET_FEATURES, 1, 0 };
	struct guest other;
	unsigned i;

	for (i = 0; i < 100000; i++)
		if (send(client.c.fd, &ask, sizeof(ask), MSG_DONTWAIT | MSG_NOSIGNAL) !=
		    sizeof(ask))
			break;
	/* it is not listened to without end */
	assert_in_range(i, 1, 99999);
	guest_open(&other, 1, V1);
	guest_close(&other);
}

/* A second front end is turned away while there is one. */
static void one_at_a_time(void **state)
{
	struct vhost_client second;
	uint64_t value;

	assert_int_equal(vhost_connect(&second, vhost_path[0]), 0);
	assert_true(is_closed(&second));
	vhost_close(&second);
	assert_int_equal(vhost_get_u64(&client.c, VHOST_GET_FEATURES, &value), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(bad_headers), test(too_short),	    test(not_negotiated),
		test(in_parts),	   test(any_message_first), test(too_many_descriptors),
		test(never_reads), test(one_at_a_time),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
