/* SPDX-License-Identifier: BSD-2-Clause */
/* Rings as only a hostile driver fills them, and those that merely look so. */
#include "base/util.h"
#include "rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct rig rig;

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
	assert_int_equal(rig_start(&rig, rig_base(features)), 0);
	memcpy(rig.mem + RIG_DATA, h->table, sizeof(h->table));
	memcpy(rig.drv.desc, h->d, sizeof(h->d));
	rig.drv.avail[2] = 0;
	STORE_RELEASE(rig.drv.avail[1], 1);
	if (rig_take(&rig, 8) && h->what == BREAKS)
		fail_msg("%s: taken", h->name);
	if (h->what == BREAKS) {
		assert_true(rig.vq.broken);
		assert_int_equal(rig_take(&rig, 8), 0);
		assert_int_equal(rig.vq.in_flight, 0);
	} else {
		assert_false(rig.vq.broken);
		assert_int_equal(rig.vq.in_flight, 1);
		assert_int_equal(rig.chains[0].error, h->what == FAULTS ? -EFAULT : 0);
		assert_int_equal(rig.chains[0].out_bytes + rig.chains[0].in_bytes, h->bytes);
		if (h->what == FAULTS)
			assert_int_equal(rig.chains[0].n_out + rig.chains[0].n_in, 0);
		virtqueue_give(&rig.vq, &rig.chains[0], 0);
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
		assert_int_equal(rig_take(&rig, 8), 0);
		assert_true(rig.vq.broken);
		/* started anew it works */
		virtqueue_stop(&rig.vq);
		rig.drv.avail[1] = 0;
		assert_int_equal(rig_start(&rig, 0), 0);
		rig_add(&rig, 8, false);
		vdrv_publish(&rig.drv);
		assert_int_equal(rig_take(&rig, 8), 1);
		rig_done(&rig);
	}
	/* moving back */
	assert_int_equal(rig_init(&rig, 0, 8, 0), 0);
	assert_int_equal(rig_start(&rig, 0), 0);
	rig_add(&rig, 8, false);
	rig_add(&rig, 8, false);
	vdrv_publish(&rig.drv);
	assert_int_equal(rig_take(&rig, 8), 2);
	rig.drv.avail[1] = 1;
	assert_int_equal(rig_take(&rig, 8), 0);
	assert_true(rig.vq.broken);
	rig_done(&rig);
	/* a head that is none */
	assert_int_equal(rig_init(&rig, 0, 8, 0), 0);
	assert_int_equal(rig_start(&rig, 0), 0);
	rig.drv.avail[2] = 8;
	rig.drv.avail[1] = 1;
	assert_int_equal(rig_take(&rig, 8), 0);
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
	assert_int_equal(rig_start(&rig, rig_base(PACKED)), 0);
	for (unsigned i = 0; i < 8; i++)
		packed_desc(i, RIG_DATA, 8, avail | NEXT);
	assert_int_equal(rig_take(&rig, 8), 0);
	assert_true(rig.vq.broken);
	rig_done(&rig);
	/* indirect that was not negotiated; in a table; wrong lengths; with NEXT */
	for (unsigned i = 0; i < 5; i++) {
		static const uint32_t len[] = { 16, 16, 0, 15, 16 };

		assert_int_equal(rig_init(&rig, PACKED | (i ? INDIRECT : 0), 8, 0), 0);
		assert_int_equal(rig_start(&rig, rig_base(PACKED)), 0);
		((struct vring_packed_desc *)(rig.mem + RIG_DATA))->flags = i == 4 ? 0 : IND;
		packed_desc(0, RIG_DATA, len[i], avail | IND | (i == 4 ? NEXT : 0));
		packed_desc(1, RIG_DATA, 16, avail);
		assert_int_equal(rig_take(&rig, 8), 0);
		assert_true(rig.vq.broken);
		rig_done(&rig);
	}
	/* of a chain that cannot be reached, the slots and the ID are known all the same */
	assert_int_equal(rig_init(&rig, PACKED, 8, 0), 0);
	assert_int_equal(rig_start(&rig, rig_base(PACKED)), 0);
	packed_desc(0, 1ull << 40, 8, avail | NEXT);
	packed_desc(1, RIG_DATA, 8, avail | NEXT | WRITE);
	packed_desc(2, RIG_DATA, 8, avail);
	packed_desc(3, RIG_DATA, 8, avail);
	assert_int_equal(rig_take(&rig, 8), 2);
	assert_int_equal(rig.chains[0].error, -EFAULT);
	assert_int_equal(rig.chains[0].slots, 3);
	assert_int_equal(rig.chains[0].id, 102);
	/* and its last byte */
	assert_int_equal(rig.chains[0].n_in, 1);
	assert_ptr_equal(rig.chains[0].iov[0].iov_base,
			 memory_at(&rig.vq.reader, RIG_DATA + 7, 1, MEMORY_READ));
	assert_int_equal(rig.chains[1].error, 0);
	assert_int_equal(rig.chains[1].id, 103);
	rig_done(&rig);
	/* an ID out of range is the driver's own affair: it comes back */
	assert_int_equal(rig_init(&rig, PACKED, 8, 0), 0);
	assert_int_equal(rig_start(&rig, rig_base(PACKED)), 0);
	packed_desc(0, RIG_DATA, 8, avail);
	assert_int_equal(rig_take(&rig, 8), 1);
	assert_int_equal(rig.chains[0].id, 100);
	virtqueue_give(&rig.vq, &rig.chains[0], 0);
	virtqueue_publish(&rig.vq);
	assert_int_equal(((struct vring_packed_desc *)rig.drv.desc)[0].id, 100);
	/* wrap bits that flip: the same slot is not taken twice */
	packed_desc(0, RIG_DATA, 8, avail);
	assert_int_equal(rig_take(&rig, 8), 0);
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
		n = rig_take(&rig, MANY);
		assert_false(rig.vq.broken);
		assert_int_equal(n, MIN(at_a_time, MANY - got));
		assert_int_equal(virtqueue_walked_far(&rig.vq), n == at_a_time);
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(rig.chains[i].error, 0);
			assert_int_equal(rig.chains[i].n_in + rig.chains[i].n_out, 0);
			if (rig.vq.packed)
				assert_int_equal(rig.chains[i].id, got + i + 100);
			virtqueue_give(&rig.vq, &rig.chains[i], 0);
		}
		virtqueue_publish(&rig.vq);
	}
	assert_int_equal(rig_take(&rig, MANY), 0);
}

/* Descriptors without bytes cost no piece, but they are read. */
static void descriptors_of_nothing(void **state)
{
	for (unsigned kind = 0; kind < 3; kind++) {
		bool packed = kind == 2, table = kind;
		uint64_t features = INDIRECT | (packed ? PACKED : 0);
		unsigned num = 512;

		assert_int_equal(rig_init(&rig, features, (uint16_t)num, 0), 0);
		assert_int_equal(rig_start(&rig, rig_base(features)), 0);
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
	assert_int_equal(rig_take(&rig, 8), 0);
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
		assert_int_equal(rig_take(&rig, 8), !(i & 1));
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
		assert_int_equal(rig_start(&rig, rig_base(PACKED)), 0);
		table = (struct vring_packed_desc *)(rig.mem + RIG_DATA);
		table[0] = (struct vring_packed_desc){ RIG_DATA + 4096, 12, 0, WRITE };
		table[1] = (struct vring_packed_desc){ RIG_DATA + 8192, 60, 0, NEXT };
		table[2] = (struct vring_packed_desc){ RIG_DATA + 9000, 70, 0, 0 };
		packed_desc(0, RIG_DATA, 3 * 16, avail | IND);
		assert_int_equal(rig_take(&rig, 8), i);
		assert_int_equal(rig.vq.broken, !i);
		if (i) {
			assert_int_equal(rig.chains[0].error, 0);
			assert_int_equal(rig.chains[0].n_out, 3);
			assert_int_equal(rig.chains[0].n_in, 0);
			assert_int_equal(rig.chains[0].out_bytes, 142);
			assert_int_equal(rig.chains[0].iov[0].iov_len, 12);
		}
		rig_done(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile_split),  cmocka_unit_test(hostile_available_index),
		cmocka_unit_test(hostile_packed), cmocka_unit_test(descriptors_of_nothing),
		cmocka_unit_test(long_chains),	  cmocka_unit_test(table_of_dpdk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
