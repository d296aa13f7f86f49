/* SPDX-License-Identifier: BSD-2-Clause */
/* SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR: descriptors that rings are signalled by. */
#include "base/util.h"
#include "tests/device/vhost_harness.h"

#include <fcntl.h>
#include <sys/eventfd.h>

static void refuses(void **state)
{
	static const uint32_t requests[] = { VHOST_SET_VRING_KICK, VHOST_SET_VRING_CALL,
					     VHOST_SET_VRING_ERR };
	int fd = eventfd(0, 0), pipes[2], file = open("/dev/null", O_RDWR), memfd = memory_file(1);

	assert_int_equal(pipe(pipes), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
		uint32_t request = requests[i];

		/* none where one is said to be, one where none is, no eventfd, no such ring */
		assert_int_equal(vhost_request_u64(&client.c, request, 0, -1), REFUSED);
		assert_int_equal(vhost_request_u64(&client.c, request, 0x100, fd), REFUSED);
		assert_int_equal(vhost_request_u64(&client.c, request, 0, pipes[1]), REFUSED);
		assert_int_equal(vhost_request_u64(&client.c, request, 0, file), REFUSED);
		assert_int_equal(vhost_request_u64(&client.c, request, 0, memfd), REFUSED);
		assert_int_equal(vhost_request_u64(&client.c, request, 0, client.c.fd), REFUSED);
		assert_int_equal(vhost_request_u64(&client.c, request, 2 * PAIRS, fd), REFUSED);
		assert_int_equal(vhost_request_u64(&client.c, request, 1ull << 40, fd), REFUSED);
		assert_int_equal(vhost_request_u64(&client.c, request, 0x200, fd), REFUSED);
		/* none at all is allowed */
		assert_int_equal(vhost_request_u64(&client.c, request, 0x101, -1), 0);
	}
	close(fd);
	close(pipes[0]);
	close(pipes[1]);
	close(file);
	close(memfd);
}

/* CVE-2019-14818, CVE-2020-10726, CVE-2022-0669: each replaces the one before. */
static void nothing_piles_up(void **state)
{
	int fds[9];
	unsigned before;

	for (unsigned i = 0; i < 9; i++)
		fds[i] = eventfd(0, 0);
	before = settled_fds(1);
	for (unsigned i = 0; i < 3000; i++) {
		assert_int_equal(
			vhost_request_u64(&client.c, VHOST_SET_VRING_CALL, i % 8, fds[i % 9]), 0);
		assert_int_equal(
			vhost_request_u64(&client.c, VHOST_SET_VRING_KICK, i % 8, fds[i % 9]), 0);
		assert_int_equal(
			vhost_request_u64(&client.c, VHOST_SET_VRING_ERR, i % 8, fds[i % 9]), 0);
	}
	assert_in_range(open_fds(), before, before + 3 * 8);
	client_again();
	wait_open_fds(before);
	assert_int_equal(open_fds(), before);
	for (unsigned i = 0; i < 9; i++)
		close(fds[i]);
}

static bool signalled(int fd)
{
	uint64_t value;

	return readable(fd) && read(fd, &value, 8) == 8;
}

/* MSI-X masking swaps the descriptor at any time: the new one is signalled, for what the old one
 * may have missed. */
static void call_is_swapped_under_load(void **state)
{
	uint8_t frame[60] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 }, got[60];
	int calls[2] = { eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK) };
	struct guest a, b;

	guest_start(&a, 0, V1, 64, BUF_BYTES, 32);
	guest_start(&b, 1, V1, 64, BUF_BYTES, 32);
	for (unsigned i = 0; i < 200; i++) {
		guest_send(&a, NULL, frame, sizeof(frame), 4096);
		if (i % 5 == 4) /* masked: none */
			assert_int_equal(vhost_request_u64(&b.c, VHOST_SET_VRING_CALL, 0x100, -1),
					 0);
		assert_int_equal(vhost_request_u64(&b.c, VHOST_SET_VRING_CALL, 0, calls[i % 2]), 0);
		assert_true(signalled(calls[i % 2]));
		assert_int_equal(guest_receive(&b, NULL, got, sizeof(got)), sizeof(frame));
	}
	guest_stop(&a);
	guest_stop(&b);
	close(calls[0]);
	close(calls[1]);
}

/* Full, so that a write to it would block: the device does not. */
static void call_is_full(void **state)
{
	uint8_t frame[60] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 }, got[60];
	int full = eventfd(0, 0);
	struct guest a, b;

	assert_int_equal(write(full, &(uint64_t){ UINT64_MAX - 1 }, 8), 8);
	guest_start(&a, 0, V1, 64, BUF_BYTES, 32);
	guest_start(&b, 1, V1, 64, BUF_BYTES, 32);
	assert_int_equal(vhost_request_u64(&b.c, VHOST_SET_VRING_CALL, 0, full), 0);
	for (unsigned i = 0; i < 10; i++) {
		guest_send(&a, NULL, frame, sizeof(frame), 4096);
		for (unsigned k = 0; !vdrv_get(&b.rx, &(uint32_t){ 0 }); k++) {
			assert_true(k < 200000);
			usleep(100);
		}
	}
	(void)got;
	guest_stop(&a);
	guest_stop(&b);
	close(full);
}

/* Without a descriptor to be kicked with the queue is polled. */
static void no_kick(void **state)
{
	uint8_t frame[60] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 }, got[60];
	struct guest a, b;

	guest_start(&a, 0, V1, 64, BUF_BYTES, 32);
	guest_start(&b, 1, V1, 64, BUF_BYTES, 32);
	assert_int_equal(vhost_request_u64(&a.c, VHOST_SET_VRING_KICK, 0x101, -1), 0);
	close(a.kick);
	a.kick = open("/dev/null", O_WRONLY);
	for (unsigned i = 0; i < 20; i++) {
		usleep(i % 4 ? 0 : 20000);
		guest_send(&a, NULL, frame, sizeof(frame), 4096);
		assert_int_equal(guest_receive(&b, NULL, got, sizeof(got)), sizeof(frame));
	}
	guest_stop(&a);
	guest_stop(&b);
}

/* What breaks a ring is told by the error descriptor. */
static void errors_are_told(void **state)
{
	int err = eventfd(0, EFD_NONBLOCK);
	struct guest g;

	guest_start(&g, 1, V1, 64, BUF_BYTES, 32);
	assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_VRING_ERR, 1, err), 0);
	STORE_RELEASE(g.tx.avail[1], 1000);
	assert_int_equal(write(g.kick, &(uint64_t){ 1 }, 8), 8);
	assert_true(signalled(err));
	guest_stop(&g);
	close(err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(refuses),
		test(nothing_piles_up),
		cmocka_unit_test(call_is_swapped_under_load),
		cmocka_unit_test(call_is_full),
		cmocka_unit_test(no_kick),
		cmocka_unit_test(errors_are_told),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
