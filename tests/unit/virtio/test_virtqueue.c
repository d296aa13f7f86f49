/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Both sides of a ring, over every combination of ring kind, event index, in-order, indirect
 * tables, chain length, region borders and ring size; then what only a hostile driver does.
 */
#include "base/util.h"
#include "rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PACKED	  (1ull << VIRTIO_F_RING_PACKED)
#define EVENT_IDX (1ull << VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT  (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define IN_ORDER  (1ull << VIRTIO_F_IN_ORDER)
#define BASE_0	  0x80008000u /* packed: both wrap counters at 1 */

static struct rig rig;
static struct iovec pieces[2048];
static struct virtq_chain chains[256];

static uint32_t base_of(uint64_t features)
{
	return features & PACKED ? BASE_0 : 0;
}

static unsigned take(unsigned max)
{
	struct virtq_arena arena = { pieces, 0, ARRAY_SIZE(pieces) };

	if (!virtqueue_begin(&rig.vq))
		return 0;
	return virtqueue_take(&rig.vq, chains, max, &arena);
}

/* ---- every combination ------------------------------------------------------------------- */

static uint32_t seed = 1;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

/* Request @i: out buffers hold its number; the device writes the number's complement. */
static void echo(uint64_t features, uint16_t num, bool indirect, uint32_t region, unsigned rounds)
{
	unsigned sent = 0, got = 0, used_total = 0;
	uint64_t *done = calloc(rounds + 1, sizeof(*done));
	bool off = true;

	assert_int_equal(rig_init(&rig, features, num, region), 0);
	assert_int_equal(rig_start(&rig, base_of(features)), 0);
	assert_true(virtqueue_begin(&rig.vq));
	virtqueue_kicks(&rig.vq, false);
	while (got < rounds) {
		unsigned burst = 1 + rnd(num), n, base = got;
		uint32_t len;
		void *token;

		while (sent < rounds && sent - got < num && burst--) {
			struct vdrv_buf bufs[8];
			unsigned n_bufs = 2 + rnd(num > 8 || indirect ? 6 : 1), n_out, i;
			uint64_t at = RIG_DATA + sent % num * 16384ull;

			n_out = 1 + rnd(n_bufs - 1);
			for (i = 0; i < n_bufs; i++) {
				bufs[i].addr = at;
				bufs[i].len = 1 + rnd(1500);
				bufs[i].write = i >= n_out;
				if (!i)
					bufs[i].len += 8;
				at += bufs[i].len;
			}
			bufs[i - 1].len += 8;
			memcpy(rig.mem + bufs[0].addr, &(uint64_t){ sent + 1 }, 8);
			if (vdrv_add(&rig.drv, bufs, n_bufs, (void *)(uintptr_t)(sent + 1),
				     indirect))
				break;
			sent++;
		}
		vdrv_publish(&rig.drv);
		n = take(1 + rnd(64));
		for (unsigned k = 0; k < n; k++) {
			/* out of order where that is allowed */
			unsigned i = features & IN_ORDER ? k : n - 1 - k;
			struct virtq_chain *c = &chains[i];
			uint64_t number = 0;
			size_t have = 0;

			assert_int_equal(c->error, 0);
			assert_true(c->n_out && c->n_in);
			for (unsigned p = 0; p < c->n_out && have < 8; p++) {
				size_t here = MIN(c->iov[p].iov_len, 8 - have);

				memcpy((uint8_t *)&number + have, c->iov[p].iov_base, here);
				have += here;
			}
			assert_in_range(number, 1, rounds);
			assert_int_equal(done[number], 0);
			done[number] = c->in_bytes;
			memset(c->iov[c->n_out].iov_base, (int)(number & 0xff), 1);
			virtqueue_give(&rig.vq, c, (uint32_t)c->in_bytes);
		}
		used_total += n;
		virtqueue_publish(&rig.vq);
		assert_int_equal(rig.vq.in_flight, 0);
		while ((token = vdrv_get(&rig.drv, &len))) {
			uintptr_t number = (uintptr_t)token;

			if (features & IN_ORDER)
				assert_int_equal(number, got + 1);
			assert_int_equal(len, done[number]);
			done[number] = UINT64_MAX;
			got++;
		}
		assert_int_equal(got, used_total);
		/* asleep: then a kick is wanted for what comes next, and only once it was asked */
		if (got == sent && got > base) {
			assert_true(virtqueue_begin(&rig.vq));
			assert_false(virtqueue_kicks(&rig.vq, !(off = !off)));
		}
	}
	assert_false(rig.vq.broken);
	for (unsigned i = 1; i <= rounds; i++)
		assert_true(done[i] == UINT64_MAX);
	assert_int_equal(rig.drv.n_free, num);
	free(done);
	rig_done(&rig);
}

static void every_combination(void **state)
{
	static const uint16_t sizes[] = { 2, 4, 32, 256 };
	static const uint32_t regions[] = { 0, 4096 };

	for (unsigned bits = 0; bits < 16; bits++) {
		uint64_t features = (bits & 1 ? PACKED : 0) | (bits & 2 ? EVENT_IDX : 0) |
				    (bits & 4 ? IN_ORDER : 0) | (bits & 8 ? INDIRECT : 0);

		for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++)
			for (unsigned r = 0; r < ARRAY_SIZE(regions); r++)
				echo(features, sizes[s], bits & 8, regions[r], 20 * sizes[s] + 300);
	}
	/* packed rings of any size */
	echo(PACKED | INDIRECT, 3, true, 0, 500);
	echo(PACKED, 37, false, 4096, 1000);
	echo(PACKED | EVENT_IDX, 129, false, 0, 1000);
}

/* Split indices pass 65535, and a start in the middle. */
/* Chains of one buffer, in batches, across region borders now and then: what was taken, and what
 * comes back for it. */
static void batches(void **state)
{
	static const uint64_t features[] = { 0, PACKED, IN_ORDER, PACKED | IN_ORDER };
	static const uint16_t nums[] = { 2, 16, 256 };

	for (unsigned f = 0; f < ARRAY_SIZE(features) * ARRAY_SIZE(nums) * 2; f++) {
		uint16_t num = nums[f / 2 % ARRAY_SIZE(nums)];
		unsigned sent = 0, got = 0;
		bool write = f & 1;

		assert_int_equal(rig_init(&rig, features[f / 2 / ARRAY_SIZE(nums)], num, 65536), 0);
		assert_int_equal(rig_start(&rig, base_of(rig.features)), 0);
		while (got < 2000) {
			uint32_t lens[256], len;
			unsigned n;
			void *token;

			for (n = rnd(num) + 1; n && sent - got < MIN((unsigned)num, 64u);
			     n--, sent++) {
				struct vdrv_buf buf = { .addr = RIG_DATA + sent % 64 * 1499ull,
							.len = 100 + sent % 1000,
							.write = write };

				rig.mem[buf.addr] = (uint8_t)(write ? 0xee : sent);
				assert_int_equal(vdrv_add(&rig.drv, &buf, 1,
							  (void *)(uintptr_t)(sent + 1), false),
						 0);
			}
			vdrv_publish(&rig.drv);
			n = take(1 + rnd(100));
			for (unsigned i = 0; i < n; i++) {
				const struct virtq_chain *c = &chains[i];
				unsigned number = got + i;

				assert_int_equal(c->error, 0);
				assert_int_equal(write ? c->n_out : c->n_in, 0);
				assert_int_equal(write ? c->in_bytes : c->out_bytes,
						 100 + number % 1000);
				assert_int_equal(write ? c->out_bytes : c->in_bytes, 0);
				if (write)
					*(uint8_t *)c->iov[0].iov_base = (uint8_t)number;
				else
					assert_int_equal(*(uint8_t *)c->iov[0].iov_base,
							 number & 0xff);
				lens[i] = 1 + number % 100;
			}
			virtqueue_fetch(&rig.vq, 64, write);
			virtqueue_give_all(&rig.vq, chains, write ? lens : NULL, n);
			virtqueue_publish(&rig.vq);
			assert_int_equal(rig.vq.in_flight, 0);
			while ((token = vdrv_get(&rig.drv, &len))) {
				assert_int_equal((uintptr_t)token, got + 1);
				assert_int_equal(len, write ? 1 + got % 100 : 0);
				if (write)
					assert_int_equal(rig.mem[RIG_DATA + got % 64 * 1499],
							 got & 0xff);
				got++;
			}
		}
		rig_done(&rig);
	}
}

static void indices_wrap(void **state)
{
	echo(0, 16, false, 0, 140000);
	echo(PACKED | EVENT_IDX, 16, false, 0, 140000);
}

/* ---- notifications ----------------------------------------------------------------------- */

static void add_one(uint32_t len, bool write)
{
	struct vdrv_buf buf = { RIG_DATA, len, write };

	assert_int_equal(vdrv_add(&rig.drv, &buf, 1, &rig, false), 0);
}

static void wants_what_it_asked_for(void **state)
{
	static const uint64_t kinds[] = { 0, EVENT_IDX, PACKED, PACKED | EVENT_IDX };
	uint32_t len;

	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		assert_int_equal(rig_init(&rig, kinds[k], 8, 0), 0);
		assert_int_equal(rig_start(&rig, base_of(kinds[k])), 0);
		vdrv_notifications(&rig.drv, true);
		for (unsigned i = 0; i < 50; i++) {
			bool on = i % 3 != 1;

			/* device side: kicks off, on; a kick is wanted only when on */
			assert_true(virtqueue_begin(&rig.vq));
			if (i > 0) {
				assert_false(virtqueue_kicks(&rig.vq, i % 2));
				add_one(100, false);
				if (i % 2)
					assert_true(vdrv_publish(&rig.drv));
				else
					assert_false(vdrv_publish(&rig.drv));
			} else {
				add_one(100, false);
				vdrv_publish(&rig.drv);
			}
			/* something there: cannot go to sleep */
			assert_true(virtqueue_kicks(&rig.vq, true));
			vdrv_notifications(&rig.drv, on);
			assert_int_equal(take(8), 1);
			virtqueue_give(&rig.vq, &chains[0], 0);
			if (i == 0 || on)
				assert_true(virtqueue_publish(&rig.vq));
			else
				assert_false(virtqueue_publish(&rig.vq));
			assert_false(virtqueue_publish(&rig.vq)); /* nothing new */
			assert_non_null(vdrv_get(&rig.drv, &len));
		}
		rig_done(&rig);
	}
}

static void call_is_swapped(void **state)
{
	int a = eventfd(0, EFD_NONBLOCK), b = eventfd(0, EFD_NONBLOCK), copy = dup(b);
	uint64_t count;

	assert_int_equal(rig_init(&rig, 0, 8, 0), 0);
	virtqueue_notify(&rig.vq); /* none: nothing */
	virtqueue_set_call(&rig.vq, a);
	assert_int_equal(rig_start(&rig, 0), 0);
	virtqueue_notify(&rig.vq);
	assert_int_equal(read(a, &count, 8), 8);
	virtqueue_set_call(&rig.vq, b);
	assert_int_equal(read(copy, &count, 8), 8); /* none is lost in between */
	assert_int_equal(write(a, &count, 8), -1);  /* closed */
	/* full: no block */
	count = UINT64_MAX - 1;
	assert_int_equal(write(copy, &count, 8), 8);
	virtqueue_notify(&rig.vq);
	close(copy);
	rig_done(&rig);
}

/* ---- put back, base, drain --------------------------------------------------------------- */

static void put_back(void **state)
{
	for (unsigned k = 0; k < 2; k++) {
		uint64_t features = k ? PACKED : 0;
		uint32_t base;

		assert_int_equal(rig_init(&rig, features, 8, 0), 0);
		assert_int_equal(rig_start(&rig, base_of(features)), 0);
		for (unsigned round = 0; round < 20; round++) {
			struct vdrv_buf bufs[2] = { { RIG_DATA, 10, true },
						    { RIG_DATA + 50, 20, true } };
			uint32_t len;

			for (unsigned i = 0; i < 3; i++)
				assert_int_equal(vdrv_add(&rig.drv, bufs, 1 + i % 2,
							  (void *)(uintptr_t)(i + 1), false),
						 0);
			vdrv_publish(&rig.drv);
			base = virtqueue_base(&rig.vq);
			assert_int_equal(take(8), 3);
			virtqueue_put_back(&rig.vq, chains, 3);
			assert_int_equal(virtqueue_base(&rig.vq), base);
			assert_int_equal(take(8), 3);
			virtqueue_put_back(&rig.vq, chains + 1, 2);
			virtqueue_give(&rig.vq, &chains[0], 1);
			virtqueue_publish(&rig.vq);
			assert_ptr_equal(vdrv_get(&rig.drv, &len), (void *)1);
			assert_null(vdrv_get(&rig.drv, &len));
			assert_int_equal(take(8), 2);
			assert_int_equal(chains[0].in_bytes, 30);
			virtqueue_give(&rig.vq, &chains[0], 1);
			virtqueue_give(&rig.vq, &chains[1], 1);
			virtqueue_publish(&rig.vq);
			assert_ptr_equal(vdrv_get(&rig.drv, &len), (void *)2);
			assert_ptr_equal(vdrv_get(&rig.drv, &len), (void *)3);
			/* stopped and started elsewhere: goes on */
			virtqueue_stop(&rig.vq);
			assert_int_equal(rig_start(&rig, virtqueue_base(&rig.vq)), 0);
		}
		rig_done(&rig);
	}
}

static unsigned drained_calls;

static void drained(struct virtqueue *vq, void *arg)
{
	drained_calls++;
}

static void drains(void **state)
{
	assert_int_equal(rig_init(&rig, 0, 8, 0), 0);
	assert_int_equal(rig_start(&rig, 0), 0);
	rig.vq.drained = drained;
	drained_calls = 0;
	assert_true(virtqueue_drain(&rig.vq));
	virtqueue_resume(&rig.vq);
	add_one(1, false);
	add_one(1, false);
	vdrv_publish(&rig.drv);
	assert_int_equal(take(1), 1);
	assert_false(virtqueue_drain(&rig.vq));
	assert_int_equal(take(1), 0);
	assert_true(virtqueue_begin(&rig.vq));
	chains[0].id = 0;
	virtqueue_give(&rig.vq, &chains[0], 0);
	virtqueue_publish(&rig.vq);
	assert_int_equal(drained_calls, 1);
	assert_int_equal(virtqueue_base(&rig.vq), 1);
	rig_done(&rig);
}

static void refuses_to_start(void **state)
{
	struct virtq_config good, c;

	assert_int_equal(rig_init(&rig, 0, 8, 0), 0);
	good = (struct virtq_config){ .num = 8,
				      .desc = rig.drv.desc_addr,
				      .avail = rig.drv.avail_addr,
				      .used = rig.drv.used_addr };
#define REFUSED(err, ...)                                                                          \
	do {                                                                                       \
		c = good;                                                                          \
		__VA_ARGS__;                                                                       \
		assert_int_equal(virtqueue_start(&rig.vq, &c), err);                               \
		assert_false(rig.vq.started);                                                      \
	} while (0)
	REFUSED(-EINVAL, c.num = 0);
	REFUSED(-EINVAL, c.num = 3);
	REFUSED(-EINVAL, c.num = 32769);
	REFUSED(-EINVAL, c.num = 65536);
	REFUSED(-EINVAL, c.desc += 8);
	REFUSED(-EINVAL, c.avail += 1);
	REFUSED(-EINVAL, c.used += 2);
	REFUSED(-EFAULT, c.desc = UINT64_MAX - 15);
	REFUSED(-EFAULT, c.used = RIG_BYTES);
	REFUSED(-EFAULT, c.avail = RIG_BYTES - 4);
	REFUSED(-EFAULT, c.desc = RIG_DATA - 16); /* over a region border */
	REFUSED(-EINVAL, (c.features = PACKED, c.base = 8));
	REFUSED(-EINVAL, (c.features = PACKED, c.base = 8 << 16));
	assert_int_equal(virtqueue_start(&rig.vq, &good), 0);
	assert_int_equal(virtqueue_start(&rig.vq, &good), -EBUSY);
	/* its memory goes: nothing is touched, and it goes on when memory is back */
	add_one(1, false);
	vdrv_publish(&rig.drv);
	memory_space_unmap(rig.space, 0, RIG_DATA);
	assert_int_equal(take(8), 0);
	assert_int_equal(
		memory_space_map(rig.space, 0, RIG_DATA, MEMORY_READ | MEMORY_WRITE, rig.fd, 0), 0);
	assert_int_equal(take(8), 1);
	rig_done(&rig);
}

/* ---- hostile drivers --------------------------------------------------------------------- */

#define NEXT  VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define IND   VRING_DESC_F_INDIRECT

struct hostile {
	const char *name;
	unsigned n; /* descriptors below; the chain starts at the first */
	struct vring_desc d[4];
	unsigned n_table; /* at RIG_DATA */
	struct vring_desc table[4];
	enum { BREAKS, FAULTS, TOO_BIG, FINE } what;
	uint64_t bytes; /* FINE: of all pieces */
};

static const struct hostile split_hostile[] = {
	{ "next beyond", 1, { { RIG_DATA, 8, NEXT, 8 } }, .what = BREAKS },
	{ "next far beyond", 1, { { RIG_DATA, 8, NEXT, 65535 } }, .what = BREAKS },
	{ "self loop", 1, { { RIG_DATA, 8, NEXT, 0 } }, .what = BREAKS },
	{ "cycle of two",
	  2,
	  { { RIG_DATA, 8, NEXT, 1 }, { RIG_DATA, 8, NEXT, 0 } },
	  .what = BREAKS },
	{ "writable before readable",
	  2,
	  { { RIG_DATA, 8, NEXT | WRITE, 1 }, { RIG_DATA, 8, 0, 0 } },
	  .what = BREAKS },
	{ "indirect with next", 1, { { RIG_DATA, 16, IND | NEXT, 1 } }, .what = BREAKS },
	{ "indirect of nothing", 1, { { RIG_DATA, 0, IND, 0 } }, .what = BREAKS },
	{ "indirect of 17 bytes", 1, { { RIG_DATA, 17, IND, 0 } }, .what = BREAKS },
	{ "indirect beyond limit", 1, { { RIG_DATA, 1025 * 16, IND, 0 } }, .what = BREAKS },
	{ "indirect 2^32-16", 1, { { RIG_DATA, 0xfffffff0, IND, 0 } }, .what = BREAKS },
	{ "indirect not mapped", 1, { { 1ull << 40, 16, IND, 0 } }, .what = FAULTS },
	{ "indirect wraps", 1, { { UINT64_MAX - 7, 32, IND, 0 } }, .what = FAULTS },
	{ "indirect in indirect",
	  1,
	  { { RIG_DATA, 16, IND, 0 } },
	  1,
	  { { RIG_DATA, 16, IND, 0 } },
	  .what = BREAKS },
	{ "next beyond the table",
	  1,
	  { { RIG_DATA, 32, IND, 0 } },
	  2,
	  { { RIG_DATA, 8, NEXT, 2 } },
	  .what = BREAKS },
	{ "loop in the table",
	  1,
	  { { RIG_DATA, 32, IND, 0 } },
	  2,
	  { { RIG_DATA, 8, NEXT, 1 }, { RIG_DATA, 8, NEXT, 0 } },
	  .what = BREAKS },
	{ "normal then indirect",
	  2,
	  { { RIG_DATA + 64, 8, NEXT, 1 }, { RIG_DATA, 16, IND, 0 } },
	  1,
	  { { RIG_DATA + 128, 8, WRITE, 0 } },
	  .what = FINE,
	  .bytes = 16 },
	{ "length 0", 1, { { RIG_DATA, 0, 0, 0 } }, .what = FINE, .bytes = 0 },
	{ "length 0 not mapped", 1, { { UINT64_MAX, 0, 0, 0 } }, .what = FINE, .bytes = 0 },
	{ "length 2^32-1", 1, { { RIG_DATA, UINT32_MAX, 0, 0 } }, .what = FAULTS },
	{ "sum wraps",
	  2,
	  { { RIG_DATA, UINT32_MAX, NEXT, 1 }, { RIG_DATA, UINT32_MAX, 0, 0 } },
	  .what = FAULTS },
	{ "address wraps", 1, { { UINT64_MAX - 3, 8, 0, 0 } }, .what = FAULTS },
	{ "not mapped", 1, { { 1ull << 40, 8, WRITE, 0 } }, .what = FAULTS },
	{ "half mapped", 1, { { RIG_BYTES - 4, 8, 0, 0 } }, .what = FAULTS },
	/* what comes behind is not read any more */
	{ "not mapped, then a loop",
	  2,
	  { { 1ull << 40, 8, NEXT, 1 }, { RIG_DATA, 8, NEXT, 1 } },
	  .what = FAULTS },
	{ "not mapped in a table, then a table",
	  1,
	  { { RIG_DATA, 32, IND, 0 } },
	  2,
	  { { 1ull << 40, 8, NEXT, 1 }, { RIG_DATA, 16, IND, 0 } },
	  .what = FAULTS },
};

static void one_hostile(const struct hostile *h, bool packed)
{
	uint64_t features = INDIRECT | (packed ? PACKED : 0);

	assert_int_equal(rig_init(&rig, features, 8, 4096), 0);
	assert_int_equal(rig_start(&rig, base_of(features)), 0);
	memcpy(rig.mem + RIG_DATA, h->table, sizeof(h->table));
	memcpy(rig.drv.desc, h->d, sizeof(h->d));
	rig.drv.avail[2] = 0;
	STORE_RELEASE(rig.drv.avail[1], 1);
	if (take(8) && h->what == BREAKS)
		fail_msg("%s: taken", h->name);
	if (h->what == BREAKS) {
		assert_true(rig.vq.broken);
		assert_int_equal(take(8), 0);
		assert_int_equal(rig.vq.in_flight, 0);
	} else {
		assert_false(rig.vq.broken);
		assert_int_equal(rig.vq.in_flight, 1);
		assert_int_equal(chains[0].error, h->what == FAULTS ? -EFAULT : 0);
		assert_int_equal(chains[0].out_bytes + chains[0].in_bytes, h->bytes);
		if (h->what == FAULTS)
			assert_int_equal(chains[0].n_out + chains[0].n_in, 0);
		virtqueue_give(&rig.vq, &chains[0], 0);
		virtqueue_publish(&rig.vq);
		assert_int_equal(rig.drv.used[1], 1);
	}
	rig_done(&rig);
}

static void hostile_split(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(split_hostile); i++)
		one_hostile(&split_hostile[i], false);
}

static void hostile_available_index(void **state)
{
	static const uint16_t bad[] = { 9, 1000, 65535, 32768 };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(rig_init(&rig, 0, 8, 0), 0);
		assert_int_equal(rig_start(&rig, 0), 0);
		rig.drv.avail[1] = bad[i];
		assert_int_equal(take(8), 0);
		assert_true(rig.vq.broken);
		/* started anew it works */
		virtqueue_stop(&rig.vq);
		rig.drv.avail[1] = 0;
		assert_int_equal(rig_start(&rig, 0), 0);
		add_one(8, false);
		vdrv_publish(&rig.drv);
		assert_int_equal(take(8), 1);
		rig_done(&rig);
	}
	/* moving back */
	assert_int_equal(rig_init(&rig, 0, 8, 0), 0);
	assert_int_equal(rig_start(&rig, 0), 0);
	add_one(8, false);
	add_one(8, false);
	vdrv_publish(&rig.drv);
	assert_int_equal(take(8), 2);
	rig.drv.avail[1] = 1;
	assert_int_equal(take(8), 0);
	assert_true(rig.vq.broken);
	rig_done(&rig);
	/* a head that is none */
	assert_int_equal(rig_init(&rig, 0, 8, 0), 0);
	assert_int_equal(rig_start(&rig, 0), 0);
	rig.drv.avail[2] = 8;
	rig.drv.avail[1] = 1;
	assert_int_equal(take(8), 0);
	assert_true(rig.vq.broken);
	rig_done(&rig);
}

static void packed_desc(unsigned slot, uint64_t addr, uint32_t len, uint16_t flags)
{
	((struct vring_packed_desc *)rig.drv.desc)[slot] = (struct vring_packed_desc){
		.addr = addr, .len = len, .id = (uint16_t)(slot + 100), .flags = flags
	};
}

static void hostile_packed(void **state)
{
	const uint16_t avail = 1u << VRING_PACKED_DESC_F_AVAIL;

	/* a chain that never ends */
	assert_int_equal(rig_init(&rig, PACKED, 8, 0), 0);
	assert_int_equal(rig_start(&rig, BASE_0), 0);
	for (unsigned i = 0; i < 8; i++)
		packed_desc(i, RIG_DATA, 8, avail | NEXT);
	assert_int_equal(take(8), 0);
	assert_true(rig.vq.broken);
	rig_done(&rig);
	/* indirect that was not negotiated; in a table; wrong lengths; with NEXT */
	for (unsigned i = 0; i < 5; i++) {
		static const uint32_t len[] = { 16, 16, 0, 15, 16 };

		assert_int_equal(rig_init(&rig, PACKED | (i ? INDIRECT : 0), 8, 0), 0);
		assert_int_equal(rig_start(&rig, BASE_0), 0);
		((struct vring_packed_desc *)(rig.mem + RIG_DATA))->flags = i == 4 ? 0 : IND;
		packed_desc(0, RIG_DATA, len[i], avail | IND | (i == 4 ? NEXT : 0));
		packed_desc(1, RIG_DATA, 16, avail);
		assert_int_equal(take(8), 0);
		assert_true(rig.vq.broken);
		rig_done(&rig);
	}
	/* of a chain that cannot be reached, the slots and the ID are known all the same */
	assert_int_equal(rig_init(&rig, PACKED, 8, 0), 0);
	assert_int_equal(rig_start(&rig, BASE_0), 0);
	packed_desc(0, 1ull << 40, 8, avail | NEXT);
	packed_desc(1, RIG_DATA, 8, avail | NEXT | WRITE);
	packed_desc(2, RIG_DATA, 8, avail);
	packed_desc(3, RIG_DATA, 8, avail);
	assert_int_equal(take(8), 2);
	assert_int_equal(chains[0].error, -EFAULT);
	assert_int_equal(chains[0].slots, 3);
	assert_int_equal(chains[0].id, 102);
	/* and its last byte */
	assert_int_equal(chains[0].n_in, 1);
	assert_ptr_equal(chains[0].iov[0].iov_base,
			 memory_at(&rig.vq.reader, RIG_DATA + 7, 1, MEMORY_READ));
	assert_int_equal(chains[1].error, 0);
	assert_int_equal(chains[1].id, 103);
	rig_done(&rig);
	/* an ID out of range is the driver's own affair: it comes back */
	assert_int_equal(rig_init(&rig, PACKED, 8, 0), 0);
	assert_int_equal(rig_start(&rig, BASE_0), 0);
	packed_desc(0, RIG_DATA, 8, avail);
	assert_int_equal(take(8), 1);
	assert_int_equal(chains[0].id, 100);
	virtqueue_give(&rig.vq, &chains[0], 0);
	virtqueue_publish(&rig.vq);
	assert_int_equal(((struct vring_packed_desc *)rig.drv.desc)[0].id, 100);
	/* wrap bits that flip: the same slot is not taken twice */
	packed_desc(0, RIG_DATA, 8, avail);
	assert_int_equal(take(8), 0);
	rig_done(&rig);
}

#define MANY 64 /* chains */

/* A table at RIG_DATA of @n entries that hold nothing. */
static void empty_table(unsigned n, bool packed)
{
	struct vring_desc *table = (void *)(rig.mem + RIG_DATA);

	for (unsigned i = 0; i < n; i++) {
		uint16_t flags = packed || i == n - 1 ? 0 : NEXT;

		/* in a packed one the last two fields are ID and flags */
		table[i] = (struct vring_desc){ RIG_DATA, 0, flags,
						packed ? 0 : (uint16_t)(i + 1) };
	}
}

/* MANY chains of @each descriptors: what the device reads of them before it unlocks, and that all
 * of them come in the end. */
static void takes_some_at_a_time(unsigned each)
{
	unsigned at_a_time = (VIRTQ_WALK_MAX + each - 1) / each, got = 0, n;

	for (; got < MANY; got += n) {
		n = take(MANY);
		assert_false(rig.vq.broken);
		assert_int_equal(n, MIN(at_a_time, MANY - got));
		assert_int_equal(virtqueue_walked_far(&rig.vq), n == at_a_time);
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(chains[i].error, 0);
			assert_int_equal(chains[i].n_in + chains[i].n_out, 0);
			if (rig.vq.packed)
				assert_int_equal(chains[i].id, got + i + 100);
			virtqueue_give(&rig.vq, &chains[i], 0);
		}
		virtqueue_publish(&rig.vq);
	}
	assert_int_equal(take(MANY), 0);
}

/* Descriptors without bytes cost no piece, but they are read. */
static void descriptors_of_nothing(void **state)
{
	for (unsigned kind = 0; kind < 3; kind++) {
		bool packed = kind == 2, table = kind;
		uint64_t features = INDIRECT | (packed ? PACKED : 0);
		unsigned num = 512;

		assert_int_equal(rig_init(&rig, features, (uint16_t)num, 0), 0);
		assert_int_equal(rig_start(&rig, base_of(features)), 0);
		empty_table(VIRTQ_CHAIN_MAX, packed);
		if (!table) /* one chain as long as the ring, again and again */
			memcpy(rig.drv.desc, rig.mem + RIG_DATA, num * sizeof(*rig.drv.desc));
		else if (!packed)
			rig.drv.desc[0] = (struct vring_desc){ RIG_DATA, 16 * VIRTQ_CHAIN_MAX, IND,
							       0 };
		if (!table)
			rig.drv.desc[num - 1].flags = 0;
		for (unsigned i = 0; i < MANY; i++) {
			if (packed)
				packed_desc(i, RIG_DATA, 16 * VIRTQ_CHAIN_MAX,
					    1u << VRING_PACKED_DESC_F_AVAIL | IND);
			else
				rig.drv.avail[2 + i] = 0;
		}
		if (!packed)
			STORE_RELEASE(rig.drv.avail[1], MANY);
		takes_some_at_a_time(table ? 1 + VIRTQ_CHAIN_MAX : num);
		rig_done(&rig);
	}
	/* together too long: a table at the end of a chain */
	assert_int_equal(rig_init(&rig, INDIRECT, 8, 0), 0);
	assert_int_equal(rig_start(&rig, 0), 0);
	empty_table(VIRTQ_CHAIN_MAX, false);
	rig.drv.desc[0] = (struct vring_desc){ RIG_DATA, 0, NEXT, 1 };
	rig.drv.desc[1] = (struct vring_desc){ RIG_DATA, 16 * VIRTQ_CHAIN_MAX, IND, 0 };
	rig.drv.avail[2] = 0;
	STORE_RELEASE(rig.drv.avail[1], 1);
	assert_int_equal(take(8), 0);
	assert_true(rig.vq.broken);
	rig_done(&rig);
}

/* A chain may have so many descriptors and no more, also in a larger ring. */
static void long_chains(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned n = VIRTQ_CHAIN_MAX + (i & 1 ? 2 : 1);
		bool table = i & 2;

		assert_int_equal(rig_init(&rig, INDIRECT, 4096, 0), 0);
		assert_int_equal(rig_start(&rig, 0), 0);
		n -= table;
		empty_table(n, false);
		if (table)
			rig.drv.desc[0] = (struct vring_desc){ RIG_DATA, 16 * n, IND, 0 };
		else
			memcpy(rig.drv.desc, rig.mem + RIG_DATA, n * sizeof(*rig.drv.desc));
		rig.drv.avail[2] = 0;
		STORE_RELEASE(rig.drv.avail[1], 1);
		assert_int_equal(take(8), !(i & 1));
		assert_int_equal(rig.vq.broken, i & 1);
		rig_done(&rig);
	}
}

/* A table whose first entry says that it is to be written: a mistake, but not in a queue that is
 * only read. */
static void table_of_dpdk(void **state)
{
	const uint16_t avail = 1u << VRING_PACKED_DESC_F_AVAIL;

	for (unsigned i = 0; i < 2; i++) {
		struct vring_packed_desc *table;

		assert_int_equal(rig_init(&rig, PACKED | INDIRECT, 8, 0), 0);
		rig.vq.only_read = i;
		assert_int_equal(rig_start(&rig, BASE_0), 0);
		table = (struct vring_packed_desc *)(rig.mem + RIG_DATA);
		table[0] = (struct vring_packed_desc){ RIG_DATA + 4096, 12, 0, WRITE };
		table[1] = (struct vring_packed_desc){ RIG_DATA + 8192, 60, 0, NEXT };
		table[2] = (struct vring_packed_desc){ RIG_DATA + 9000, 70, 0, 0 };
		packed_desc(0, RIG_DATA, 3 * 16, avail | IND);
		assert_int_equal(take(8), i);
		assert_int_equal(rig.vq.broken, !i);
		if (i) {
			assert_int_equal(chains[0].error, 0);
			assert_int_equal(chains[0].n_out, 3);
			assert_int_equal(chains[0].n_in, 0);
			assert_int_equal(chains[0].out_bytes, 142);
			assert_int_equal(chains[0].iov[0].iov_len, 12);
		}
		rig_done(&rig);
	}
}

/* A chain of more pieces than there is room for, and a batch that is cut there. */
static void arena_is_full(void **state)
{
	struct virtq_arena arena = { pieces, 0, 5 };
	struct vdrv_buf bufs[6];

	assert_int_equal(rig_init(&rig, INDIRECT, 8, 0), 0);
	assert_int_equal(rig_start(&rig, 0), 0);
	for (unsigned i = 0; i < 6; i++)
		bufs[i] = (struct vdrv_buf){ RIG_DATA + i * 100, 100, true };
	assert_int_equal(vdrv_add(&rig.drv, bufs, 3, &rig, true), 0);
	assert_int_equal(vdrv_add(&rig.drv, bufs, 3, &rig, true), 0);
	assert_int_equal(vdrv_add(&rig.drv, bufs, 6, &rig, true), 0);
	assert_int_equal(vdrv_add(&rig.drv, bufs, 1, &rig, true), 0);
	vdrv_publish(&rig.drv);
	assert_true(virtqueue_begin(&rig.vq));
	assert_int_equal(virtqueue_take(&rig.vq, chains, 8, &arena), 1);
	assert_int_equal(chains[0].n_in, 3);
	arena.n = 0;
	assert_int_equal(virtqueue_take(&rig.vq, chains, 1, &arena), 1);
	arena.n = 0;
	assert_int_equal(virtqueue_take(&rig.vq, chains, 8, &arena), 2);
	assert_int_equal(chains[0].error, -E2BIG);
	assert_int_equal(chains[1].error, 0);
	assert_int_equal(chains[1].n_in, 1);
	rig_done(&rig);
}

/* What was given is shown before memory goes, whoever would have shown it later; and told. */
static void drain_publishes(void **state)
{
	for (unsigned k = 0; k < 2; k++) {
		int call = eventfd(0, EFD_NONBLOCK);
		uint64_t count;
		uint32_t len;

		assert_int_equal(rig_init(&rig, k ? PACKED : 0, 8, 0), 0);
		assert_int_equal(rig_start(&rig, base_of(rig.features)), 0);
		virtqueue_set_call(&rig.vq, call);
		assert_int_equal(read(call, &count, 8), 8);
		vdrv_notifications(&rig.drv, true);
		assert_int_equal(vdrv_add(&rig.drv, &(struct vdrv_buf){ RIG_DATA, 100, true }, 1,
					  &rig, false),
				 0);
		vdrv_publish(&rig.drv);
		assert_int_equal(take(1), 1);
		virtqueue_give(&rig.vq, &chains[0], 100);
		assert_null(vdrv_get(&rig.drv, &len));
		assert_true(virtqueue_drain(&rig.vq));
		assert_ptr_equal(vdrv_get(&rig.drv, &len), &rig);
		assert_int_equal(len, 100);
		assert_int_equal(read(call, &count, 8), 8);
		memory_space_unmap(rig.space, 0, 0);
		/* whoever comes to show it */
		assert_false(virtqueue_begin(&rig.vq));
		rig_done(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_combination),
		cmocka_unit_test(batches),
		cmocka_unit_test(indices_wrap),
		cmocka_unit_test(wants_what_it_asked_for),
		cmocka_unit_test(call_is_swapped),
		cmocka_unit_test(put_back),
		cmocka_unit_test(drains),
		cmocka_unit_test(drain_publishes),
		cmocka_unit_test(refuses_to_start),
		cmocka_unit_test(hostile_split),
		cmocka_unit_test(hostile_available_index),
		cmocka_unit_test(hostile_packed),
		cmocka_unit_test(descriptors_of_nothing),
		cmocka_unit_test(long_chains),
		cmocka_unit_test(table_of_dpdk),
		cmocka_unit_test(arena_is_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
