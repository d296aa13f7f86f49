/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver that changes descriptors, tables and indices while the device reads them (CVE-2020-14375
 * and its like): whatever is taken lies in the guest's memory, and a ring that was broken works
 * when it is started anew. For every kind of ring and every combination of features.
 */
#include "base/clock.h"
#include "base/util.h"
#include "rig.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define NUM    16
#define TAKEN  300 /* chains that are enough */
#define TURNS  40000
#define FRESH  100 /* turns of these that found changes, at least */
#define REGION 4096u

static struct rig rig;
static int ending;
static unsigned long flips; /* rounds of the hostile thread */
static uint64_t until;	    /* it is waited for */

static uint32_t rnd(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}

/* One word of one descriptor, mostly to what is nearly right. */
static void flip(uint64_t *state, struct vring_desc *desc, unsigned n)
{
	struct vring_desc *d = &desc[rnd(state) % n];
	static const uint16_t flags[] = { 0,
					  VRING_DESC_F_NEXT,
					  VRING_DESC_F_WRITE,
					  VRING_DESC_F_WRITE | VRING_DESC_F_NEXT,
					  VRING_DESC_F_INDIRECT,
					  VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT };
	uint16_t word = flags[rnd(state) % ARRAY_SIZE(flags)];

	switch (rnd(state) % 8) {
	case 0: WRITE_ONCE(d->addr, RIG_DATA + rnd(state) % (64 * REGION)); break;
	case 1: WRITE_ONCE(d->addr, RIG_BYTES - rnd(state) % 64); break;
	case 2: WRITE_ONCE(d->addr, (uint64_t)rnd(state) << 32); break;
	case 3: WRITE_ONCE(d->len, rnd(state) % (3 * REGION)); break;
	case 4: WRITE_ONCE(d->len, UINT32_MAX - rnd(state) % 32); break;
	case 5: WRITE_ONCE(d->len, 16 * (rnd(state) % 40)); break;
	case 6:
		if (rig.features & PACKED) {
			word |= rnd(state) & 1 ? 1u << VRING_PACKED_DESC_F_AVAIL : 0;
			word |= rnd(state) & 1 ? 1u << VRING_PACKED_DESC_F_USED : 0;
			/* where the split descriptor has its next */
			WRITE_ONCE(d->next, word);
		} else {
			WRITE_ONCE(d->flags, word);
		}
		break;
	default:
		if (rig.features & PACKED)
			WRITE_ONCE(d->flags, (uint16_t)rnd(state)); /* its ID */
		else
			WRITE_ONCE(d->next, (uint16_t)(rnd(state) % (NUM + 2)));
	}
}

static void *hostile(void *arg)
{
	uint64_t state = (uintptr_t)arg;

	while (!LOAD_ACQUIRE(ending)) {
		flip(&state, rig.drv.desc, NUM);
		flip(&state, (struct vring_desc *)(rig.mem + RIG_DATA), 64);
		if (!(rig.features & PACKED)) {
			WRITE_ONCE(rig.drv.avail[2 + rnd(&state) % NUM],
				   (uint16_t)(rnd(&state) % (rnd(&state) % 64 ? NUM : 65536)));
			/* the index mostly moves as it should, so that there is something to take
			 */
			if (rnd(&state) % 64)
				WRITE_ONCE(rig.drv.avail[1], (uint16_t)(READ_ONCE(rig.drv.used[1]) +
									rnd(&state) % NUM));
			else
				WRITE_ONCE(rig.drv.avail[1], (uint16_t)rnd(&state));
		}
		WRITE_ONCE(rig.drv.avail[0], (uint16_t)rnd(&state));
		WRITE_ONCE(rig.drv.avail[2 + ((rig.features & PACKED) ? 0 : NUM)],
			   (uint16_t)rnd(&state));
		COUNT(flips, 1);
	}
	return NULL;
}

static void check(const struct virtq_chain *chain, const uint8_t *base)
{
	uint64_t out = 0, in = 0;

	for (unsigned i = 0; i < (unsigned)chain->n_out + chain->n_in; i++) {
		const struct iovec *p = &chain->iov[i];

		if ((uint8_t *)p->iov_base < base || p->iov_len > RIG_BYTES ||
		    (uint8_t *)p->iov_base + p->iov_len > base + RIG_BYTES)
			fail_msg("a piece outside of memory");
		if (i < chain->n_out)
			out += p->iov_len;
		else
			in += p->iov_len;
	}
	assert_int_equal(out, chain->out_bytes);
	assert_int_equal(in, chain->in_bytes);
	if (chain->error) {
		/* the byte of a status at most */
		assert_int_equal(chain->n_out, 0);
		assert_in_range(chain->n_in, 0, 1);
		assert_int_equal(chain->in_bytes, chain->n_in);
	}
}

/* Returns how many chains were taken. */
static unsigned one_kind(uint64_t features, bool tracked)
{
	bool packed = features & PACKED;
	void *region = calloc(1, virtqueue_inflight_bytes(packed, NUM));
	unsigned long seen = READ_ONCE(flips);
	unsigned taken = 0, fresh = 0;
	uint32_t len;
	pthread_t thread;

	assert_int_equal(rig_init(&rig, features, NUM, REGION), 0);
	STORE_RELEASE(ending, 0);
	assert_int_equal(pthread_create(&thread, NULL, hostile, (void *)(uintptr_t)(features + 1)),
			 0);
	for (unsigned turn = 0;
	     taken < TAKEN && (turn < TURNS || (fresh < FRESH && time_now_ns() < until)); turn++) {
		struct virtq_arena arena = { rig.pieces, 0, ARRAY_SIZE(rig.pieces) };
		unsigned n, keep = turn % 5 == 4;
		unsigned long now = READ_ONCE(flips);
		const uint8_t *base;

		fresh += now != seen;
		seen = now;
		if (turn % 64 == 63)
			sched_yield();
		if (!rig.vq.started || rig.vq.broken || turn % 500 == 499) {
			uint32_t at = packed ? rig_base(features) : rig.drv.used[1];

			if (rig.vq.started && turn & 1)
				at = virtqueue_base(&rig.vq);

			virtqueue_stop(&rig.vq);
			if (tracked) /* a fresh region, or the one that was left */
				virtqueue_inflight_set(&rig.vq, region, packed, NUM);
			if (rig_start(&rig, at)) {
				memset(region, 0, virtqueue_inflight_bytes(packed, NUM));
				continue;
			}
		}
		if (!virtqueue_begin(&rig.vq))
			continue;
		base = memory_at(&rig.vq.reader, 0, 1, MEMORY_READ);
		n = virtqueue_take(&rig.vq, rig.chains, NUM, &arena);
		assert_true(n <= NUM);
		assert_true(arena.n <= arena.max);
		for (unsigned i = 0; i < n; i++)
			check(&rig.chains[i], base);
		taken += n;
		if (keep) {
			virtqueue_put_back(&rig.vq, rig.chains, n);
			continue;
		}
		for (unsigned i = 0; i < n; i++) {
			for (unsigned p = 0; p < rig.chains[i].n_in; p++) {
				struct iovec *in = &rig.chains[i].iov[rig.chains[i].n_out + p];

				/* data, and not the rings or tables */
				if ((uint8_t *)in->iov_base >= base + RIG_DATA + REGION)
					memset(in->iov_base, 0x5a, in->iov_len);
			}
			virtqueue_give(&rig.vq, &rig.chains[i], (uint32_t)rig.chains[i].in_bytes);
		}
		virtqueue_publish(&rig.vq);
		virtqueue_kicks(&rig.vq, turn & 1);
	}
	STORE_RELEASE(ending, 1);
	pthread_join(thread, NULL);
	/* the driver starts anew, and behaves */
	virtqueue_stop(&rig.vq);
	virtqueue_inflight_set(&rig.vq, NULL, false, 0);
	vdrv_done(&rig.drv);
	memset(rig.mem + RIG_RING, 0, RIG_DATA - RIG_RING);
	assert_int_equal(vdrv_init(&rig.drv, rig.mem + RIG_RING, RIG_RING, NUM, features), 0);
	assert_int_equal(rig_start(&rig, rig_base(features)), 0);
	assert_int_equal(vdrv_add(&rig.drv, &(struct vdrv_buf){ RIG_DATA, 100, true }, 1, &rig,
				  features & INDIRECT),
			 0);
	vdrv_publish(&rig.drv);
	assert_int_equal(rig_take(&rig, NUM), 1);
	virtqueue_give(&rig.vq, &rig.chains[0], 100);
	virtqueue_publish(&rig.vq);
	assert_ptr_equal(vdrv_get(&rig.drv, &len), &rig);
	rig_done(&rig);
	free(region);
	return taken;
}

static void descriptors_flip(void **state)
{
	unsigned taken = 0;

	until = time_now_ns() + 120 * NS_PER_S;
	for (unsigned bits = 0; bits < 32; bits++)
		taken += one_kind((bits & 1 ? PACKED : 0) | (bits & 2 ? INDIRECT : 0) |
					  (bits & 4 ? EVENT_IDX : 0) | (bits & 8 ? IN_ORDER : 0),
				  bits & 16);
	/* of 9600 there must be some, however fast the threads were */
	assert_true(taken > 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(descriptors_flip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
