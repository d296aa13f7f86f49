/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest and its VMM that mean harm, on rings that run: memory that goes, shrinks or changes while
 * it is read, rings over rings, resets in the middle of a batch, floods. The neighbour @b stays
 * connected all the time; after each case it talks to a new guest in the place of the hostile one.
 */
#include "base/clock.h"
#include "base/util.h"
#include "tests/device/vhost_harness.h"

/* cmocka wants these before it */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <linux/virtio_net.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#define PACKED	 (1ull << VIRTIO_F_RING_PACKED)
#define INDIRECT (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define MERGED	 (1ull << VIRTIO_NET_F_MRG_RXBUF)
#define RING_N	 64u
#define FRAMES	 0xe00000u /* in the guest's memory: behind what the harness uses */

static struct guest a, b;
static uint8_t frame[2048], got[70000];
static unsigned number;

static void make_frame(const struct guest *from, uint32_t len)
{
	memset(frame, 0, len);
	memcpy(frame, (uint8_t[]){ 2, 0, 0, 0, 0, from == &a ? 2 : 1 }, 6);
	memcpy(frame + 6, (uint8_t[]){ 2, 0, 0, 0, 0, from == &a ? 1 : 2 }, 6);
	store_be16(frame + 12, 0x88b5);
	store_be32(frame + 14, ++number);
}

/* What hostile frames left behind in the receiver's ring may be in the way first. */
static void arrives(struct guest *from, struct guest *to)
{
	for (unsigned i = 0; i < 50; i++) {
		uint32_t len;

		while (!to->rx.packed && *(volatile uint16_t *)&to->rx.used[1] != to->rx.next_used)
			guest_receive(to, NULL, got, sizeof(got));
		make_frame(from, 100);
		guest_send(from, NULL, frame, 100, 4096);
		while ((len = guest_receive_for(to, 2, NULL, got, sizeof(got))))
			if (len == 100 && !memcmp(frame, got, 100))
				return;
	}
	fail_msg("nothing came");
}

static void a_starts(uint64_t features)
{
	guest_start(&a, 0, V1 | features, RING_N, BUF_BYTES, RING_N / 2);
}

static void others_are_served(void)
{
	a_starts(0);
	arrives(&a, &b);
	arrives(&b, &a);
	guest_stop(&a);
}

static int setup(void **state)
{
	guest_start(&b, 1, V1, RING_N, BUF_BYTES, RING_N / 2);
	return 0;
}

static int teardown(void **state)
{
	guest_stop(&b);
	return 0;
}

static void kick(struct guest *g)
{
	assert_int_equal(write(g->kick, &(uint64_t){ 1 }, 8), 8);
}

/* Makes @n frames available and waits for nothing. */
static void queue_frames(struct guest *g, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct vdrv_buf buf = { GUEST_BASE + FRAMES + i * 2048ull, 12 + 1000, false };

		make_frame(g, 1000);
		memset(g->mem + FRAMES + i * 2048, 0, 12);
		memcpy(g->mem + FRAMES + i * 2048 + 12, frame, 1000);
		if (vdrv_add(&g->tx, &buf, 1, g, false))
			break;
	}
	vdrv_publish(&g->tx);
	kick(g);
}

static void wait_all_used(struct guest *g)
{
	uint32_t len;

	uint64_t until = time_now_ns() + 60 * NS_PER_S;

	while (g->tx.n_free < g->tx.num) {
		assert_true(time_now_ns() < until);
		if (!vdrv_get(&g->tx, &len))
			usleep(10);
	}
}

static void ring_restart(struct guest *g, unsigned index, const struct vdrv *ring)
{
	struct vdrv user = *ring;
	uint32_t base;

	user.desc_addr += USER_BASE - GUEST_BASE;
	user.avail_addr += USER_BASE - GUEST_BASE;
	user.used_addr += USER_BASE - GUEST_BASE;
	assert_int_equal(vhost_ring_stop(&g->c, index, &base), 0);
	assert_int_equal(vhost_ring_start(&g->c, index, &user, base, index ? g->kick : -1,
					  index ? g->tx_call : g->rx_call),
			 0);
}

/* ---- memory ------------------------------------------------------------------------------ */

static void check_server(void *arg)
{
	vhost_user_server_check(vhost_server[0]);
}

static void memory_file_truncated(void **state)
{
	assert_int_equal(memory_faults_init(), 0); /* cmocka's handlers are in place by now */
	for (unsigned i = 0; i < 4; i++) {
		a_starts(i & 1 ? PACKED : 0);
		arrives(&a, &b);
		arrives(&b, &a);
		on_loop(check_server, NULL);
		assert_int_equal(ftruncate(a.memfd, 0), 0);
		if (i & 2) {
			/* the neighbour sends into what is gone; it is done with its frame all the
			 * same */
			make_frame(&b, 100);
			guest_send(&b, NULL, frame, 100, 4096);
		} else {
			kick(&a);
		}
		for (unsigned n = 0; n < 20000; n++) {
			struct pollfd pfd = { a.c.fd, POLLIN, 0 };

			on_loop(check_server, NULL);
			if (poll(&pfd, 1, 1))
				break;
		}
		assert_true(is_closed(&a.c));
		guest_stop(&a);
		others_are_served();
	}
}

static void unmapped_under_traffic(void **state)
{
	struct vhost_client_region region = { GUEST_BASE, GUEST_BYTES, USER_BASE, 0 };
	struct {
		uint64_t pad;
		struct vhost_client_region region;
	} m = { 0, region };

	for (unsigned i = 0; i < 40; i++) {
		if (i % 20 == 0)
			a_starts(i ? PACKED : 0);
		queue_frames(&a, 50);
		make_frame(&b, 100);
		guest_send(&b, NULL, frame, 100, 4096);
		assert_int_equal(vhost_request(&a.c, VHOST_REM_MEM_REG, &m, sizeof(m), -1), 0);
		kick(&a);
		guest_send(&b, NULL, frame, 100, 4096);
		assert_int_equal(vhost_add_region(&a.c, &region, a.memfd), 0);
		kick(&a);
		wait_all_used(&a);
		if (i % 20 == 19) {
			arrives(&a, &b);
			guest_stop(&a);
		}
	}
	others_are_served();
}

/* ---- rings ------------------------------------------------------------------------------- */

static uint32_t rnd(uint32_t *seed, uint32_t n)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 8) % n;
}

static int stop;
static unsigned long scribbled; /* descriptors */

/* Descriptors of all kinds, good ones and others, over both tables and the indirect ones. */
static void *scribbler(void *arg)
{
	struct vdrv *rings[2] = { &a.rx, &a.tx };
	uint32_t seed = 1;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		struct vdrv *ring = rings[rnd(&seed, 2)];
		volatile uint64_t *desc = (volatile uint64_t *)ring->desc;
		unsigned i = rnd(&seed, RING_N);
		uint64_t addr = GUEST_BASE + rnd(&seed, GUEST_BYTES), len = rnd(&seed, 4096);
		uint64_t flags = rnd(&seed, 1u << 16), id = rnd(&seed, RING_N);

		if (rnd(&seed, 4) == 0) { /* a table: in the first page of the buffers */
			addr = GUEST_BASE + FRAMES + rnd(&seed, 64) * 16;
			len = rnd(&seed, 8) * 16;
		}
		if (rnd(&seed, 8) == 0)
			desc = (volatile uint64_t *)(a.mem + FRAMES);
		desc[2 * i] = addr;
		desc[2 * i + 1] = len |
				  (ring->packed ? id << 32 | flags << 48 : flags << 32 | id << 48);
		__atomic_add_fetch(&scribbled, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* What device 0 took from its rings, or gave them up for. */
static uint64_t rings_read(void)
{
	static const char *const names[] = { "tx_packets", "tx_malformed", "rx_packets",
					     "rx_bad_buffer", "rings_broken" };
	uint64_t sum = 0, value;

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		nic_stat(0, names[i], &value);
		assert_true(value != UINT64_MAX);
		sum += value;
	}
	return sum;
}

/* CVE-2020-14375 and its like: what was checked is not what is used. */
static void descriptors_change_while_read(void **state)
{
	static const uint64_t kinds[] = { 0, PACKED, INDIRECT, PACKED | INDIRECT, MERGED };

	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		uint64_t seen = rings_read(), until = time_now_ns() + 60 * NS_PER_S;
		unsigned long wrote = __atomic_load_n(&scribbled, __ATOMIC_RELAXED);
		unsigned both = 0; /* rounds that began with new descriptors, and read some */
		pthread_t thread;

		a_starts(kinds[k]);
		__atomic_store_n(&stop, 0, __ATOMIC_RELAXED);
		assert_int_equal(pthread_create(&thread, NULL, scribbler, NULL), 0);
		for (unsigned i = 0; i < 200 || (both < 40 && time_now_ns() < until); i++) {
			unsigned long now = __atomic_load_n(&scribbled, __ATOMIC_RELAXED);
			bool wrote_some = now != wrote;

			wrote = now;
			if (!(kinds[k] & PACKED)) {
				volatile uint16_t *avail = a.tx.avail;

				for (unsigned n = 0; n < RING_N; n++)
					avail[2 + n] = (uint16_t)n;
				avail[1] = (uint16_t)(avail[1] + 5);
			}
			kick(&a);
			make_frame(&b, 100);
			guest_send(&b, NULL, frame, 100, 4096);
			if (i % 10 == 9) {
				/* broken by now; and on it goes */
				ring_restart(&a, 0, &a.rx);
				ring_restart(&a, 1, &a.tx);
			}
			both += wrote_some && rings_read() != seen;
			seen = rings_read();
		}
		__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
		pthread_join(thread, NULL);
		assert_in_range(both, 40, UINT32_MAX);
		guest_stop(&a);
		others_are_served();
	}
}

/* The device's own writes change what it reads next. */
static void buffers_are_the_rings(void **state)
{
	for (unsigned k = 0; k < 2; k++) {
		uint64_t where[3];

		a_starts(k ? PACKED : 0);
		where[0] = a.rx.desc_addr;
		where[1] = a.rx.used_addr;
		where[2] = a.tx.desc_addr;
		/* one frame takes a buffer that is still as it should be, the next ones what came
		 * of it */
		for (unsigned i = 0; i < RING_N; i++)
			((volatile uint64_t *)a.rx.desc)[2 * i] = where[i % 3];
		for (unsigned i = 0; i < 100; i++) {
			make_frame(&b, 1000);
			memset(frame + 18, (int)(i * 3), 900);
			guest_send(&b, NULL, frame, 1000, 4096);
		}
		kick(&a);
		guest_stop(&a);
		others_are_served();
	}
}

/* CVE-2021-3748, CVE-2022-26353: a packet over several buffers, and one of them is nowhere. */
static void merged_buffer_not_mapped(void **state)
{
	uint32_t base, len;

	guest_start(&a, 0, V1 | MERGED, RING_N, 600, 0);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; a.rx.n_free; i++) {
			struct vdrv_buf buf = { i % 3 == 2 ? 1ull << 50 : GUEST_BASE + FRAMES, 600,
						true };

			assert_int_equal(vdrv_add(&a.rx, &buf, 1, &a, false), 0);
		}
		vdrv_publish(&a.rx);
		for (unsigned i = 0; i < 20; i++) {
			make_frame(&b, 2000);
			guest_send(&b, NULL, frame, 2000, 4096);
		}
		while (vdrv_get(&a.rx, &len))
			;
	}
	/* none is kept */
	assert_int_equal(vhost_ring_stop(&a.c, 0, &base), 0);
	assert_int_equal(base & 0xffff, a.rx.used[1]);
	guest_stop(&a);
	others_are_served();
}

static void reset_in_the_middle_of_a_batch(void **state)
{
	for (unsigned i = 0; i < 30; i++) {
		a_starts(i & 1 ? PACKED : 0);
		queue_frames(&a, 60);
		ring_restart(&a, 1, &a.tx);
		wait_all_used(&a);
		queue_frames(&a, 60);
		assert_int_equal(
			vhost_request(&a.c, VHOST_SET_VRING_ENABLE, (uint32_t[]){ 1, 0 }, 8, -1),
			0);
		assert_int_equal(
			vhost_request(&a.c, VHOST_SET_VRING_ENABLE, (uint32_t[]){ 1, 1 }, 8, -1),
			0);
		wait_all_used(&a);
		queue_frames(&a, 60);
		assert_int_equal(vhost_request(&a.c, VHOST_RESET_DEVICE, NULL, 0, -1), 0);
		kick(&a);
		guest_stop(&a);
	}
	others_are_served();
}

/* ---- too much ---------------------------------------------------------------------------- */

static void nothing(void *arg)
{
}

static void flood(void **state)
{
	a_starts(0);
	for (unsigned i = 0; i < 500; i++) {
		/* for a receiver that does not receive, and kicks that mean nothing */
		queue_frames(&a, 60);
		for (unsigned k = 0; k < 100; k++)
			kick(&a);
		wait_all_used(&a);
		if (i % 100 == 0)
			on_loop(nothing, NULL); /* answered in between */
	}
	arrives(&b, &a);
	guest_stop(&a);
	others_are_served();
}

static void ten_thousand_connections(void **state)
{
	unsigned before = settled_fds(1 << 1);
	size_t memory = 0;

	for (unsigned i = 0; i < 10000; i++) {
		struct vhost_client c;

		assert_int_equal(vhost_connect(&c, vhost_path[0]), 0);
		if (i % 2)
			assert_int_equal(vhost_negotiate(&c, V1, VHOST_ALL), 0);
		vhost_close(&c);
		if (i == 1000)
			memory = mallinfo2().uordblks;
	}
	others_are_served();
	/* the last one may not have been noticed yet */
	assert_int_equal(settled_fds(1 << 1), before);
	/* nothing is kept for each */
	if (memory)
		assert_true(mallinfo2().uordblks < memory + 64 * 1024);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(memory_file_truncated),
		TEST(unmapped_under_traffic),
		TEST(descriptors_change_while_read),
		TEST(buffers_are_the_rings),
		TEST(merged_buffer_not_mapped),
		TEST(reset_in_the_middle_of_a_batch),
		TEST(flood),
		TEST(ten_thousand_connections),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
