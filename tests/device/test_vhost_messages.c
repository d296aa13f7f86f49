/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages that no VMM sends, message by message: each is refused or ends its connection, and the
 * device serves the next front end; nothing leaks.
 */
#include "base/util.h"
#include "tests/device/vhost_harness.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define REFUSED -5

static struct guest g;

static void raw(const void *bytes, size_t len)
{
	assert_int_equal(send(g.c.fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void reopen(void)
{
	vhost_close(&g.c);
	munmap(g.mem, GUEST_BYTES);
	close(g.memfd);
	close(g.rx_call);
	close(g.tx_call);
	close(g.kick);
	guest_open(&g, 0, V1);
}

static int setup(void **state)
{
	guest_open(&g, 0, V1);
	return 0;
}

static int teardown(void **state)
{
	vhost_close(&g.c);
	munmap(g.mem, GUEST_BYTES);
	close(g.memfd);
	close(g.rx_call);
	close(g.tx_call);
	close(g.kick);
	return 0;
}

static void framing(void **state)
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
		{ VHOST_SET_FEATURES, 1, 0 }, /* too short */
		{ VHOST_SET_VRING_ADDR, 1, 0 },
		{ VHOST_GET_CONFIG, 1, 0 }, /* not negotiated */
		{ VHOST_GET_INFLIGHT_FD, 1, 0 },
	};
	struct vhost_header slow = { VHOST_GET_FEATURES, 1, 0 }, answer;
	uint64_t features;
	uint32_t len = sizeof(features);

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		raw(&bad[i], sizeof(bad[i]));
		assert_true(is_closed(&g.c));
		reopen();
	}
	/* byte by byte */
	for (unsigned i = 0; i < sizeof(slow); i++) {
		raw((uint8_t *)&slow + i, 1);
		usleep(500);
	}
	assert_int_equal(vhost_receive(&g.c, &answer, &features, &len, NULL), 0);
	assert_int_equal(answer.flags, 5);
	/* gone in the middle of a message: the next one is served */
	raw(&slow, 5);
	reopen();
}

static void descriptors(void **state)
{
	int fds[9], pipes[2], file = open("/dev/null", O_RDWR);
	uint64_t value = 0;
	unsigned before;

	assert_int_equal(pipe(pipes), 0);
	for (unsigned i = 0; i < 9; i++)
		fds[i] = eventfd(0, 0);
	before = open_fds();
	/* where none is wanted; more than one; more than fit */
	for (unsigned n = 1; n <= 9; n += 4) {
		vhost_send(&g.c, VHOST_GET_FEATURES, 0, NULL, 0, fds, n);
		assert_true(is_closed(&g.c));
		reopen();
		vhost_send(&g.c, VHOST_SET_VRING_CALL, 0, &value, 8, fds, MIN(n + 1, 9u));
		assert_true(is_closed(&g.c));
		reopen();
	}
	/* none where one is wanted; not eventfds; one where the message says none */
	assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_VRING_KICK, 0, -1), REFUSED);
	assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_VRING_CALL, 0, pipes[1]), REFUSED);
	assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_VRING_CALL, 0, file), REFUSED);
	assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_VRING_KICK, 0, g.c.fd), REFUSED);
	assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_VRING_ERR, 0x100, fds[0]), REFUSED);
	assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_BACKEND_REQ_FD, 0, file), REFUSED);
	assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_VRING_CALL, 2 * PAIRS, fds[0]), REFUSED);
	assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_VRING_CALL, 1ull << 40, fds[0]),
			 REFUSED);
	/* each replaces the one before: nothing piles up */
	for (unsigned i = 0; i < 2000; i++) {
		assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_VRING_CALL, i % 8, fds[i % 9]),
				 0);
		assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_VRING_KICK, i % 8, fds[i % 9]),
				 0);
		assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_VRING_ERR, i % 8, fds[i % 9]),
				 0);
	}
	assert_in_range(open_fds(), before, before + 3 * 8);
	reopen();
	usleep(20000);
	assert_in_range(open_fds(), before - 1, before + 1);
	for (unsigned i = 0; i < 9; i++)
		close(fds[i]);
	close(pipes[0]);
	close(pipes[1]);
	close(file);
}

static void memory(void **state)
{
	struct vhost_client_region r = { 0x1000, 0x1000, 0x1000, 0 };
	int small = memfd_create("small", MFD_CLOEXEC), pipes[2];
	struct {
		uint64_t pad;
		struct vhost_client_region r;
	} m = { 0 };
	uint64_t slots;

	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(ftruncate(small, 0x2000), 0);
#define REGION(...) (&(struct vhost_client_region){ __VA_ARGS__ })
	assert_int_equal(vhost_add_region(&g.c, REGION(0x1000, 0, 0x1000, 0), small), REFUSED);
	assert_int_equal(vhost_add_region(&g.c, REGION(UINT64_MAX, 0x1000, 0x1000, 0), small),
			 REFUSED);
	assert_int_equal(vhost_add_region(&g.c, REGION(0x1000, 0x1000, UINT64_MAX, 0), small),
			 REFUSED);
	assert_int_equal(vhost_add_region(&g.c, REGION(0x1000, 0x3000, 0x1000, 0), small), REFUSED);
	assert_int_equal(vhost_add_region(&g.c, REGION(0x1000, 0x1000, 0x1000, 0x2000), small),
			 REFUSED);
	assert_int_equal(vhost_add_region(&g.c, REGION(0x1000, 0x1000, 0x1000, UINT64_MAX), small),
			 REFUSED);
	assert_int_equal(vhost_add_region(&g.c, REGION(0x1000, 0x1000, 0x1000, 7), small), REFUSED);
	assert_int_equal(vhost_add_region(&g.c, REGION(0x1000, 0x1000, 0x1000, 0), pipes[0]),
			 REFUSED);
	assert_int_equal(vhost_add_region(&g.c, REGION(0x1000, 0x1000, 0x1000, 0), -1), REFUSED);
	/* overlaps, in either address space */
	assert_int_equal(vhost_add_region(&g.c, REGION(GUEST_BASE, 0x1000, 0x1000, 0), small),
			 REFUSED);
	assert_int_equal(vhost_add_region(&g.c, REGION(0x1000, 0x1000, USER_BASE, 0), small),
			 REFUSED);
	/* up to the last slot, and not one more */
	assert_int_equal(vhost_get_u64(&g.c, VHOST_GET_MAX_MEM_SLOTS, &slots), 0);
	assert_int_equal(slots, 509);
	for (uint64_t i = 1; i < slots; i++) {
		r.guest = r.user = i * 0x10000;
		assert_int_equal(vhost_add_region(&g.c, &r, small), 0);
	}
	r.guest = r.user = 0x10000000;
	assert_int_equal(vhost_add_region(&g.c, &r, small), REFUSED);
	/* away again; what is not there cannot go */
	m.r = r;
	assert_int_equal(vhost_request(&g.c, VHOST_REM_MEM_REG, &m, sizeof(m), -1), REFUSED);
	for (uint64_t i = 1; i < slots; i++) {
		m.r.guest = m.r.user = i * 0x10000;
		assert_int_equal(vhost_request(&g.c, VHOST_REM_MEM_REG, &m, sizeof(m), -1), 0);
	}
	assert_int_equal(vhost_request(&g.c, VHOST_REM_MEM_REG, &m, sizeof(m), -1), REFUSED);
	close(small);
	close(pipes[0]);
	close(pipes[1]);
}

static int addr(unsigned index, uint64_t desc, uint64_t used, uint64_t avail)
{
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} m = { index, 0, desc, used, avail, 0 };

	return vhost_request(&g.c, VHOST_SET_VRING_ADDR, &m, sizeof(m), -1);
}

static int state_message(uint32_t request, uint32_t index, uint32_t num)
{
	return vhost_request(&g.c, request, (uint32_t[]){ index, num }, 8, -1);
}

static void rings(void **state)
{
	uint32_t base;

	assert_int_equal(state_message(VHOST_SET_VRING_NUM, 0, 0), REFUSED);
	assert_int_equal(state_message(VHOST_SET_VRING_NUM, 0, 32769), REFUSED);
	assert_int_equal(state_message(VHOST_SET_VRING_NUM, 2 * PAIRS, 64), REFUSED);
	assert_int_equal(state_message(VHOST_SET_VRING_NUM, UINT32_MAX, 64), REFUSED);
	assert_int_equal(state_message(VHOST_SET_VRING_BASE, 0, 0x10000), REFUSED);
	assert_int_equal(state_message(VHOST_SET_VRING_BASE, 99, 0), REFUSED);
	assert_int_equal(state_message(VHOST_SET_VRING_ENABLE, 99, 1), REFUSED);
	assert_int_equal(state_message(VHOST_SET_VRING_ENABLE, 0, 2), REFUSED);
	/* of a ring that was never set up */
	assert_int_equal(state_message(VHOST_SET_VRING_ENABLE, 7, 1), 0);
	assert_int_equal(addr(99, USER_BASE, USER_BASE, USER_BASE), REFUSED);
	assert_int_equal(addr(0, 0x1234, USER_BASE, USER_BASE), REFUSED);
	/* a kick before there is anything else, then sizes that no split ring has */
	assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_VRING_KICK, 0, g.kick), 0);
	assert_int_equal(state_message(VHOST_SET_VRING_NUM, 0, 3), 0);
	assert_int_equal(addr(0, USER_BASE, USER_BASE + 0x2000, USER_BASE + 0x1000), REFUSED);
	assert_int_equal(state_message(VHOST_SET_VRING_NUM, 0, 64), 0);
	assert_int_equal(addr(0, USER_BASE + 8, USER_BASE + 0x2000, USER_BASE + 0x1000), REFUSED);
	assert_int_equal(
		addr(0, USER_BASE + GUEST_BYTES - 16, USER_BASE + 0x2000, USER_BASE + 0x1000),
		REFUSED);
	/* good at last: it starts by that, and takes no other size then */
	assert_int_equal(addr(0, USER_BASE, USER_BASE + 0x2000, USER_BASE + 0x1000), 0);
	assert_int_equal(state_message(VHOST_SET_VRING_NUM, 0, 128), REFUSED);
	assert_int_equal(state_message(VHOST_SET_VRING_BASE, 0, 5), REFUSED);
	/* and can move while it runs */
	assert_int_equal(addr(0, USER_BASE + 0x10000, USER_BASE + 0x12000, USER_BASE + 0x11000), 0);
	assert_int_equal(vhost_ring_stop(&g.c, 0, &base), 0);
	assert_int_equal(base, 0);
	assert_int_equal(vhost_ring_stop(&g.c, 0, &base), 0);
	assert_int_equal(vhost_ring_stop(&g.c, 99, &base), -32);
	assert_true(is_closed(&g.c));
	reopen();
}

static void features(void **state)
{
	uint64_t value;

	assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_FEATURES, 1ull << 63, -1), REFUSED);
	assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_FEATURES, V1 | VHOST_F_PROTOCOL, -1), 0);
	assert_int_equal(vhost_get_u64(&g.c, VHOST_GET_PROTOCOL_FEATURES, &value), 0);
	assert_false(value & (1ull << 14 | 1ull << 17 | 1ull << 9));
	assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_PROTOCOL_FEATURES, 1ull << 14, -1),
			 REFUSED);
	assert_int_equal(vhost_get_u64(&g.c, VHOST_GET_QUEUE_NUM, &value), 0);
	assert_int_equal(value, PAIRS);
	assert_int_equal(vhost_get_u64(&g.c, VHOST_GET_STATUS, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_STATUS, 0xf, -1), 0);
	assert_int_equal(vhost_get_u64(&g.c, VHOST_GET_STATUS, &value), 0);
	assert_int_equal(value, 0xf);
	/* a reset keeps the memory */
	assert_int_equal(vhost_request(&g.c, VHOST_RESET_DEVICE, NULL, 0, -1), 0);
	assert_int_equal(vhost_get_u64(&g.c, VHOST_GET_STATUS, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(addr(0, USER_BASE, USER_BASE + 0x2000, USER_BASE + 0x1000), 0);
	/* need_reply means nothing without REPLY_ACK: a refusal ends the connection then */
	assert_int_equal(
		vhost_send(&g.c, VHOST_SET_PROTOCOL_FEATURES, 0, &(uint64_t){ 0 }, 8, NULL, 0), 0);
	assert_int_equal(vhost_send(&g.c, VHOST_SET_VRING_ENABLE, VHOST_NEED_REPLY,
				    (uint32_t[]){ 99, 1 }, 8, NULL, 0),
			 0);
	assert_true(is_closed(&g.c));
	reopen();
}

static void migration_log(void **state)
{
	int log = memfd_create("log", MFD_CLOEXEC);
	uint64_t size_offset[2] = { 0x10000, 0 };
	struct vhost_header header;
	uint32_t len = 0;

	assert_int_equal(ftruncate(log, 0x10000), 0);
	assert_int_equal(vhost_send(&g.c, VHOST_SET_LOG_BASE, 0, size_offset, 16, &log, 1), 0);
	assert_int_equal(vhost_receive(&g.c, &header, NULL, &len, NULL), 0);
	assert_int_equal(header.request, VHOST_SET_LOG_BASE);
	assert_int_equal(header.size, 0);
	/* CVE-2020-10722: a log that is larger than its file */
	size_offset[0] = UINT64_MAX;
	assert_int_equal(vhost_request(&g.c, VHOST_SET_LOG_BASE, size_offset, 16, log), REFUSED);
	size_offset[0] = 0x10000;
	size_offset[1] = UINT64_MAX - 0xffff;
	assert_int_equal(vhost_request(&g.c, VHOST_SET_LOG_BASE, size_offset, 16, log), REFUSED);
	close(log);
}

/* A client that never reads its answers blocks nobody. */
static void never_reads(void **state)
{
	struct vhost_header ask = { VHOST_GET_FEATURES, 1, 0 };
	struct guest other;

	for (unsigned i = 0; i < 100000; i++)
		if (send(g.c.fd, &ask, sizeof(ask), MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(ask))
			break;
	guest_open(&other, 1, V1);
	vhost_close(&other.c);
	munmap(other.mem, GUEST_BYTES);
	close(other.memfd);
	close(other.rx_call);
	close(other.tx_call);
	close(other.kick);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(framing),	TEST(descriptors),   TEST(memory),	TEST(rings),
		TEST(features), TEST(migration_log), TEST(never_reads),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
