/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device dies at every point between taking and publishing; the next one finds all that was not
 * published, once, in order. And regions that are garbage.
 */
#include "base/util.h"
#include "rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define NUM 16

static struct rig rig;

static void die(void)
{
	/* what a process leaves: the ring and the region */
	virtqueue_done(&rig.vq);
	virtqueue_init(&rig.vq, rig.space);
}

static uintptr_t number_of(const struct virtq_chain *chain)
{
	uint8_t *data = memory_at(&rig.vq.reader, RIG_DATA, 1, MEMORY_READ);

	return (uintptr_t)((uint8_t *)chain->iov[0].iov_base - data) / 64;
}

/* Submits @n of 1..3 descriptors, dies with @taken taken, of which @given are given and @published
 * of those are published. The region has room for @room. */
static void one_death(uint64_t features, uint16_t room, unsigned n, unsigned taken, unsigned given,
		      unsigned published)
{
	bool packed = features & PACKED;
	void *region = calloc(1, virtqueue_inflight_bytes(packed, room));
	unsigned char seen[64] = { 0 };
	unsigned i, again = 0;
	uint32_t len, base = rig_base(packed ? PACKED : 0);
	void *token;

	assert_int_equal(rig_init(&rig, features, NUM, 0), 0);
	/* twice, so that the second life begins in the middle of the ring */
	for (unsigned life = 0; life < 3; life++) {
		assert_int_equal(virtqueue_inflight_set(&rig.vq, region, packed, room), 0);
		assert_int_equal(rig_start(&rig, base), 0);
		if (!life) {
			again = 0;
		} else {
			/* all that was not published is there again, oldest first */
			again = taken - published;
			assert_int_equal(rig.vq.stats.resubmitted, 0);
			if (again)
				assert_int_equal(rig_take(&rig, NUM), again);
			assert_int_equal(rig.vq.stats.resubmitted, again);
			for (i = 0; i < again; i++) {
				assert_int_equal(rig.chains[i].error, 0);
				if (i)
					assert_true(number_of(&rig.chains[i]) >
						    number_of(&rig.chains[i - 1]));
				virtqueue_give(&rig.vq, &rig.chains[i], 7);
			}
			virtqueue_publish(&rig.vq);
			while ((i = rig_take(&rig, NUM))) {
				while (i--)
					virtqueue_give(&rig.vq, &rig.chains[i], 7);
				virtqueue_publish(&rig.vq);
			}
			while ((token = vdrv_get(&rig.drv, &len)))
				seen[(uintptr_t)token - 1]++;
			for (i = 0; i < n; i++)
				assert_int_equal(seen[i], 1);
			assert_int_equal(rig.drv.n_free, NUM);
			assert_null(vdrv_get(&rig.drv, &len));
		}
		memset(seen, 0, sizeof(seen));
		for (i = 0; i < n; i++) {
			struct vdrv_buf bufs[3];

			for (unsigned b = 0; b < 3; b++)
				bufs[b] = (struct vdrv_buf){ RIG_DATA + i * 64 + b * 8, 8, b > 0 };
			assert_int_equal(vdrv_add(&rig.drv, bufs, 1 + i % 3,
						  (void *)(uintptr_t)(i + 1), false),
					 0);
		}
		vdrv_publish(&rig.drv);
		for (i = 0; i < taken; i++) {
			struct virtq_chain one;

			assert_int_equal(rig_take(&rig, 1), 1);
			one = rig.chains[0];
			if (i < given)
				virtqueue_give(&rig.vq, &one, 7);
			if (i + 1 == published)
				virtqueue_publish(&rig.vq);
		}
		base = virtqueue_base(&rig.vq);
		if (!packed)
			base = rig.drv.used[1]; /* what a VMM restores when nobody answers */
		die();
	}
	rig_done(&rig);
	free(region);
}

static void every_death(void **state)
{
	for (unsigned k = 0; k < 4; k++)
		for (unsigned n = 1; n <= 7; n++)
			for (unsigned taken = 0; taken <= n; taken++)
				for (unsigned given = 0; given <= taken; given++)
					for (unsigned published = 0; published <= given;
					     published++)
						one_death(k % 2 ? PACKED : 0, k / 2 ? 3 * NUM : NUM,
							  n, taken, given, published);
}

/* Split: the index is out, the region does not know yet (the narrowest window). */
static void dies_right_after_publishing(void **state)
{
	uint8_t *region = calloc(1, virtqueue_inflight_bytes(false, NUM)), *before;
	size_t bytes = virtqueue_inflight_bytes(false, NUM);

	before = malloc(bytes);
	assert_int_equal(rig_init(&rig, 0, NUM, 0), 0);
	assert_int_equal(virtqueue_inflight_set(&rig.vq, region, false, NUM), 0);
	assert_int_equal(rig_start(&rig, 0), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(vdrv_add(&rig.drv,
					  &(struct vdrv_buf){ RIG_DATA + 64 * i, 8, false }, 1,
					  &rig, false),
				 0);
	vdrv_publish(&rig.drv);
	assert_int_equal(rig_take(&rig, 3), 3);
	virtqueue_give(&rig.vq, &rig.chains[0], 0);
	virtqueue_give(&rig.vq, &rig.chains[2], 0);
	memcpy(before, region, bytes);
	virtqueue_publish(&rig.vq);
	memcpy(region, before, bytes);
	die();
	assert_int_equal(virtqueue_inflight_set(&rig.vq, region, false, NUM), 0);
	assert_int_equal(rig_start(&rig, 2), 0);
	assert_int_equal(rig_take(&rig, 8), 1);
	assert_int_equal(number_of(&rig.chains[0]), 1);
	assert_int_equal(virtqueue_base(&rig.vq), 3);
	rig_done(&rig);
	free(region);
	free(before);
}

/* Several are given at once, and death comes when the driver can see them and the region does not
 * know. */
static void gives_many(void **state)
{
	for (unsigned k = 0; k < 2; k++) {
		size_t bytes = virtqueue_inflight_bytes(k, NUM);
		uint8_t *region = calloc(1, bytes), *before = malloc(bytes);
		uint32_t lens[3] = { 8, 8, 8 };

		assert_int_equal(rig_init(&rig, k ? PACKED : 0, NUM, 0), 0);
		assert_int_equal(virtqueue_inflight_set(&rig.vq, region, k, NUM), 0);
		assert_int_equal(rig_start(&rig, rig_base(k ? PACKED : 0)), 0);
		for (unsigned i = 0; i < 4; i++) {
			struct vdrv_buf bufs[2] = { { RIG_DATA + 64 * i, 8, true },
						    { RIG_DATA + 64 * i + 32, 8, true } };

			assert_int_equal(vdrv_add(&rig.drv, bufs, 1 + i % 2, &rig, false), 0);
		}
		vdrv_publish(&rig.drv);
		assert_int_equal(rig_take(&rig, 4), 4);
		virtqueue_give_all(&rig.vq, rig.chains, lens, 3);
		memcpy(before, region, bytes);
		virtqueue_publish(&rig.vq);
		memcpy(region, before, bytes);
		die();
		assert_int_equal(virtqueue_inflight_set(&rig.vq, region, k, NUM), 0);
		assert_int_equal(rig_start(&rig, k ? rig_base(PACKED) : 3), 0);
		assert_int_equal(virtqueue_used_base(&rig.vq), k ? 0x80048004u : 3);
		assert_int_equal(rig_take(&rig, NUM), 1);
		assert_int_equal(number_of(&rig.chains[0]), 3);
		rig_done(&rig);
		free(region);
		free(before);
	}
}

static void refuses_other_sizes(void **state)
{
	uint16_t region[512] = { 0 };

	assert_int_equal(rig_init(&rig, 0, NUM, 0), 0);
	region[4] = 1;	     /* version */
	region[5] = NUM * 2; /* descriptors */
	assert_int_equal(virtqueue_inflight_set(&rig.vq, region, false, NUM), -EINVAL);
	region[4] = 2;
	region[5] = NUM;
	assert_int_equal(virtqueue_inflight_set(&rig.vq, region, false, NUM), -EINVAL);
	region[4] = 0;
	/* another kind or size than the ring that is started then */
	assert_int_equal(virtqueue_inflight_set(&rig.vq, region, true, NUM), 0);
	assert_int_equal(rig_start(&rig, 0), -EINVAL);
	assert_int_equal(virtqueue_inflight_set(&rig.vq, NULL, false, NUM), 0);
	assert_int_equal(rig_start(&rig, 0), 0);
	rig_done(&rig);
}

/* A driver may choose a smaller ring than the region is for. What is marked must be of it. */
static void smaller_ring(void **state)
{
	for (unsigned k = 0; k < 2; k++) {
		const uint16_t room = 2 * NUM;
		size_t bytes = virtqueue_inflight_bytes(k, room), each = k ? 32 : 16;
		uint8_t *region = calloc(1, bytes);
		uint32_t base = rig_base(k ? PACKED : 0);

		assert_int_equal(rig_init(&rig, k ? PACKED : 0, NUM, 0), 0);
		assert_int_equal(virtqueue_inflight_set(&rig.vq, region, k, NUM / 2), 0);
		assert_int_equal(rig_start(&rig, base), -EINVAL);
		memset(region, 0, bytes);
		for (unsigned entry = 0; entry < room; entry++) {
			assert_int_equal(virtqueue_inflight_set(&rig.vq, region, k, room), 0);
			assert_int_equal(rig_start(&rig, base), 0);
			virtqueue_stop(&rig.vq);
			region[each * (1 + entry)] = 1;
			if (k) /* num */
				region[each * (1 + entry) + 6] = 1;
			assert_int_equal(virtqueue_inflight_set(&rig.vq, region, k, room), 0);
			assert_int_equal(rig_start(&rig, base), k || entry < NUM ? 0 : -EINVAL);
			virtqueue_stop(&rig.vq);
			region[each * (1 + entry)] = 0;
		}
		for (unsigned i = 0; k && i < 2; i++) {
			/* used positions, which the ring is looked at */
			memset(region + 16, 0, 4);
			region[16 + 2 * i] = NUM;
			assert_int_equal(virtqueue_inflight_set(&rig.vq, region, k, room), 0);
			assert_int_equal(rig_start(&rig, base), -EINVAL);
		}
		rig_done(&rig);
		free(region);
	}
}

/* CVE-2026-63110: the region is in the hands of whoever sends it. */
static void garbage(void **state)
{
	size_t bytes = virtqueue_inflight_bytes(true, 2 * NUM);
	uint8_t *region = malloc(bytes);
	uint32_t seed = 7;

	for (unsigned round = 0; round < 20000; round++) {
		bool packed = round & 1;
		uint16_t room = round & 2 ? 2 * NUM : NUM;
		unsigned n;

		assert_int_equal(rig_init(&rig, packed ? PACKED : 0, NUM, 0), 0);
		for (size_t i = 0; i < bytes; i++) {
			seed = seed * 1664525 + 1013904223;
			region[i] = (uint8_t)(seed >> 24) & (round % 3 ? 0x0f : 0xff);
		}
		memcpy(region + 8, &(uint16_t){ 1 }, 2);
		memcpy(region + 10, &room, 2);
		assert_int_equal(virtqueue_inflight_set(&rig.vq, region, packed, room), 0);
		if (!rig_start(&rig, rig_base(packed ? PACKED : 0))) {
			for (unsigned turns = 0; turns < 4 && virtqueue_begin(&rig.vq); turns++) {
				n = rig_take(&rig, NUM);
				assert_true(n <= NUM);
				while (n--)
					virtqueue_give(&rig.vq, &rig.chains[n], 0);
				virtqueue_publish(&rig.vq);
			}
		}
		rig_done(&rig);
	}
	free(region);
}

/* Any counters, in any order; those that are the same come by entry. */
static void oldest_first(void **state)
{
	const uint16_t num = 256;
	uint8_t *region = calloc(1, virtqueue_inflight_bytes(false, num));

	srand(1);
	for (unsigned round = 0; round < 64; round++) {
		uint64_t counters[256], last = 0, mask = UINT64_MAX << round % 64;
		unsigned last_id = 0, n = 0, marked = 0;

		assert_int_equal(rig_init(&rig, 0, num, 0), 0);
		region[8] = 1; /* version */
		store_le16(region + 10, num);
		store_le16(region + 14, 0);
		for (unsigned i = 0; i < num; i++) {
			uint8_t *entry = region + 16 + 16 * i;

			counters[i] = (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^
				      (uint64_t)rand();
			counters[i] = round % 2 ? counters[i] & mask : counters[i] & ~mask;
			entry[0] = round < 2 || rand() % 4 != 0;
			marked += entry[0];
			store_le64(entry + 8, counters[i]);
			rig.drv.desc[i] = (struct vring_desc){ .addr = RIG_DATA, .len = 8 };
		}
		assert_int_equal(virtqueue_inflight_set(&rig.vq, region, false, num), 0);
		assert_int_equal(rig_start(&rig, 0), 0);
		while (n < marked) {
			unsigned took = rig_take(&rig, NUM);

			assert_in_range(took, 1, marked - n);
			for (unsigned i = 0; i < took; i++, n++) {
				unsigned id = rig.chains[i].id;

				assert_true(region[16 + 16 * id]);
				if (n)
					assert_true(counters[id] > last ||
						    (counters[id] == last && id > last_id));
				last = counters[id];
				last_id = id;
				virtqueue_give(&rig.vq, &rig.chains[i], 0);
			}
			virtqueue_publish(&rig.vq);
		}
		assert_int_equal(rig_take(&rig, NUM), 0);
		rig_done(&rig);
	}
	free(region);
}

/* What is taken again breaks the ring: nothing new is taken from it. */
static void broken_by_what_is_left(void **state)
{
	for (unsigned k = 0; k < 2; k++) {
		uint8_t *region = calloc(1, virtqueue_inflight_bytes(k, NUM));

		assert_int_equal(rig_init(&rig, k ? PACKED : 0, NUM, 0), 0);
		assert_int_equal(virtqueue_inflight_set(&rig.vq, region, k, NUM), 0);
		assert_int_equal(rig_start(&rig, rig_base(k ? PACKED : 0)), 0);
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(vdrv_add(&rig.drv,
						  &(struct vdrv_buf){ RIG_DATA + 64 * i, 8, true },
						  1, &rig, false),
					 0);
		vdrv_publish(&rig.drv);
		assert_int_equal(rig_take(&rig, 1), 1);
		die();
		/* the one that was taken is a table, which was not agreed on, or leads to itself */
		if (k) {
			store_le16(region + 32 + 18, VRING_DESC_F_INDIRECT); /* flags */
		} else {
			rig.drv.desc[0].flags = VRING_DESC_F_NEXT;
			rig.drv.desc[0].next = 0;
		}
		assert_int_equal(virtqueue_inflight_set(&rig.vq, region, k, NUM), 0);
		assert_int_equal(rig_start(&rig, rig_base(k ? PACKED : 0)), 0);
		assert_int_equal(rig_take(&rig, NUM), 0);
		assert_true(rig.vq.broken);
		assert_int_equal(rig.vq.in_flight, 0);
		rig_done(&rig);
		free(region);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_death),	cmocka_unit_test(dies_right_after_publishing),
		cmocka_unit_test(gives_many),	cmocka_unit_test(refuses_other_sizes),
		cmocka_unit_test(smaller_ring), cmocka_unit_test(garbage),
		cmocka_unit_test(oldest_first), cmocka_unit_test(broken_by_what_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
