/* SPDX-License-Identifier: BSD-2-Clause */
/* SET_LOG_BASE and SET_LOG_FD: what is written to the guest's memory is marked in the log. */
#include "base/clock.h"
#include "base/util.h"
#include "tests/device/vhost_harness.h"

#include <sys/mman.h>

#define PAGE	  4096u
#define LOG_BYTES ((GUEST_BASE + GUEST_BYTES) / PAGE / 8)

static int set_log(struct vhost_client *c, uint64_t size, uint64_t offset, int fd)
{
	uint64_t m[2] = { size, offset };
	struct vhost_header header;
	uint64_t result;
	uint32_t len = sizeof(result);
	int err = vhost_send(c, VHOST_SET_LOG_BASE, VHOST_NEED_REPLY, m, 16, &fd, fd >= 0);

	if (!err)
		err = vhost_receive(c, &header, &result, &len, NULL);
	if (err)
		return err;
	assert_int_equal(header.request, VHOST_SET_LOG_BASE);
	/* done: an empty answer, also where a status was asked for; refused: a status */
	if (!len)
		return 0;
	assert_int_not_equal(result, 0);
	return REFUSED;
}

static void refuses(void **state)
{
	int log = memory_file(0x10000);

	assert_int_equal(set_log(&client.c, 0x10000, 0, log), 0);
	/* CVE-2020-10722: a log that is larger than its file */
	assert_int_equal(set_log(&client.c, UINT64_MAX, 0, log), REFUSED);
	assert_int_equal(set_log(&client.c, 0x10000, UINT64_MAX - 0xffff, log), REFUSED);
	assert_int_equal(set_log(&client.c, 0x10000, 1, log), REFUSED);
	assert_int_equal(set_log(&client.c, 0, 0, log), REFUSED);
	assert_int_equal(set_log(&client.c, 0x10000, 0, client.c.fd), REFUSED);
	assert_int_equal(set_log(&client.c, 0x10000, 0, -1), REFUSED);
	/* what is signalled when the log changes is never sent by today's front ends */
	assert_int_equal(vhost_request(&client.c, VHOST_SET_LOG_FD, NULL, 0, client.kick), 0);
	close(log);
}

static bool marked(const uint8_t *log, uint64_t guest_addr)
{
	return log[guest_addr / PAGE / 8] >> guest_addr / PAGE % 8 & 1;
}

/* A ring's page is marked after the guest can see what was written to it: a front end that takes
 * the log meanwhile finds the mark in the next one. */
static void wait_marked(const uint8_t *log, uint64_t guest_addr)
{
	uint64_t until = time_now_ns() + 60 * NS_PER_S;

	while (!marked(log, guest_addr)) {
		assert_true(time_now_ns() < until);
		usleep(100);
	}
}

static unsigned count(const uint8_t *log)
{
	unsigned n = 0;

	for (uint64_t i = 0; i < LOG_BYTES; i++)
		n += (unsigned)__builtin_popcount(log[i]);
	return n;
}

static void ring_flags(struct guest *g, unsigned index, const struct vdrv *ring, uint32_t flags)
{
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} m = { index,
		flags,
		ring->desc_addr + USER_BASE - GUEST_BASE,
		ring->used_addr + USER_BASE - GUEST_BASE,
		ring->avail_addr + USER_BASE - GUEST_BASE,
		ring->used_addr };

	assert_int_equal(vhost_request(&g->c, VHOST_SET_VRING_ADDR, &m, sizeof(m), -1), 0);
}

/* A packet to the logged guest; returns which of its buffers it came into. */
static void one_packet(struct guest *from, struct guest *to)
{
	uint8_t frame[1000] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 }, got[1000];

	guest_send(from, NULL, frame, sizeof(frame), 4096);
	assert_int_equal(guest_receive(to, NULL, got, sizeof(got)), sizeof(frame));
}

static void marks(uint64_t extra)
{
	uint64_t features = V1 | VHOST_F_PROTOCOL | extra;
	int files[2] = { memory_file(LOG_BYTES + PAGE), memory_file(LOG_BYTES) };
	uint8_t *first = mmap(NULL, LOG_BYTES + PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, files[0],
			      0);
	uint8_t *log = first + PAGE;
	uint8_t *second = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, files[1], 0);
	struct guest a, b;
	uint64_t ring;

	guest_start(&a, 0, V1 | extra, 64, BUF_BYTES, 32);
	guest_start(&b, 1, V1 | extra, 64, BUF_BYTES, 32);
	ring = extra ? b.rx.desc_addr : b.rx.used_addr;
	/* a log, but logging is not on */
	assert_int_equal(set_log(&b.c, LOG_BYTES, PAGE, files[0]), 0);
	one_packet(&a, &b);
	assert_int_equal(count(log), 0);
	/* on, without the rings; the first two buffers are on one page */
	assert_int_equal(
		vhost_request_u64(&b.c, VHOST_SET_FEATURES, features | VHOST_F_LOG_ALL, -1), 0);
	one_packet(&a, &b);
	assert_int_equal(count(log), 1);
	assert_false(marked(log, ring));
	/* and with them, as they run */
	ring_flags(&b, 0, &b.rx, 1);
	memset(log, 0, LOG_BYTES);
	for (unsigned i = 0; i < 8; i++)
		one_packet(&a, &b);
	wait_marked(log, ring);
	assert_false(marked(log, extra ? b.rx.avail_addr : b.rx.desc_addr));
	/* four or five pages of data, one or two of the ring */
	assert_in_range(count(log), 5, 7);
	/* another log in its place: not a mark more in the old one */
	assert_int_equal(set_log(&b.c, LOG_BYTES, 0, files[1]), 0);
	memset(log, 0, LOG_BYTES);
	one_packet(&a, &b);
	assert_int_equal(count(log), 0);
	wait_marked(second, ring);
	/* a log that is too small: what is beyond it is not marked, and nothing else happens */
	assert_int_equal(set_log(&b.c, 64, 0, files[1]), 0);
	memset(second, 0, LOG_BYTES);
	one_packet(&a, &b);
	assert_int_equal(count(second), 0);
	/* off */
	assert_int_equal(set_log(&b.c, LOG_BYTES, 0, files[1]), 0);
	assert_int_equal(vhost_request_u64(&b.c, VHOST_SET_FEATURES, features, -1), 0);
	one_packet(&a, &b);
	assert_int_equal(count(second), 0);
	guest_stop(&a);
	guest_stop(&b);
	munmap(first, LOG_BYTES + PAGE);
	munmap(second, LOG_BYTES);
	close(files[0]);
	close(files[1]);
}

static void marks_split(void **state)
{
	marks(0);
}

static void marks_packed(void **state)
{
	marks(1ull << VIRTIO_F_RING_PACKED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(refuses),
		cmocka_unit_test(marks_split),
		cmocka_unit_test(marks_packed),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
