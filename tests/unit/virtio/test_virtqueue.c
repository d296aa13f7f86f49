/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Both sides of a ring, over every combination of ring kind, event index, in-order, indirect
 * tables, chain length, region borders and ring size.
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

static struct rig rig;

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
	assert_int_equal(rig_start(&rig, rig_base(features)), 0);
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
		n = rig_take(&rig, 1 + rnd(64));
		for (unsigned k = 0; k < n; k++) {
			/* out of order where that is allowed */
			unsigned i = features & IN_ORDER ? k : n - 1 - k;
			struct virtq_chain *c = &rig.chains[i];
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
		assert_int_equal(rig_start(&rig, rig_base(rig.features)), 0);
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
			n = rig_take(&rig, 1 + rnd(100));
			for (unsigned i = 0; i < n; i++) {
				const struct virtq_chain *c = &rig.chains[i];
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
			virtqueue_give_all(&rig.vq, rig.chains, write ? lens : NULL, n);
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

/* Split indices pass 65535, packed ones their ring many times. */
static void indices_wrap(void **state)
{
	echo(0, 16, false, 0, 140000);
	echo(PACKED | EVENT_IDX, 16, false, 0, 140000);
}

/* ---- notifications ----------------------------------------------------------------------- */

static void wants_what_it_asked_for(void **state)
{
	static const uint64_t kinds[] = { 0, EVENT_IDX, PACKED, PACKED | EVENT_IDX };
	uint32_t len;

	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		assert_int_equal(rig_init(&rig, kinds[k], 8, 0), 0);
		assert_int_equal(rig_start(&rig, rig_base(kinds[k])), 0);
		vdrv_notifications(&rig.drv, true);
		for (unsigned i = 0; i < 50; i++) {
			bool on = i % 3 != 1;

			/* device side: kicks off, on; a kick is wanted only when on */
			assert_true(virtqueue_begin(&rig.vq));
			if (i > 0) {
				assert_false(virtqueue_kicks(&rig.vq, i % 2));
				rig_add(&rig, 100, false);
				if (i % 2)
					assert_true(vdrv_publish(&rig.drv));
				else
					assert_false(vdrv_publish(&rig.drv));
			} else {
				rig_add(&rig, 100, false);
				vdrv_publish(&rig.drv);
			}
			/* something there: cannot go to sleep */
			assert_true(virtqueue_kicks(&rig.vq, true));
			vdrv_notifications(&rig.drv, on);
			assert_int_equal(rig_take(&rig, 8), 1);
			virtqueue_give(&rig.vq, &rig.chains[0], 0);
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
		assert_int_equal(rig_start(&rig, rig_base(features)), 0);
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
			assert_int_equal(rig_take(&rig, 8), 3);
			virtqueue_put_back(&rig.vq, rig.chains, 3);
			assert_int_equal(virtqueue_base(&rig.vq), base);
			assert_int_equal(rig_take(&rig, 8), 3);
			virtqueue_put_back(&rig.vq, rig.chains + 1, 2);
			virtqueue_give(&rig.vq, &rig.chains[0], 1);
			virtqueue_publish(&rig.vq);
			assert_ptr_equal(vdrv_get(&rig.drv, &len), (void *)1);
			assert_null(vdrv_get(&rig.drv, &len));
			assert_int_equal(rig_take(&rig, 8), 2);
			assert_int_equal(rig.chains[0].in_bytes, 30);
			virtqueue_give(&rig.vq, &rig.chains[0], 1);
			virtqueue_give(&rig.vq, &rig.chains[1], 1);
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
	rig_add(&rig, 1, false);
	rig_add(&rig, 1, false);
	vdrv_publish(&rig.drv);
	assert_int_equal(rig_take(&rig, 1), 1);
	assert_false(virtqueue_drain(&rig.vq));
	assert_int_equal(rig_take(&rig, 1), 0);
	assert_true(virtqueue_begin(&rig.vq));
	rig.chains[0].id = 0;
	virtqueue_give(&rig.vq, &rig.chains[0], 0);
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
	rig_add(&rig, 1, false);
	vdrv_publish(&rig.drv);
	memory_space_unmap(rig.space, 0, RIG_DATA);
	assert_int_equal(rig_take(&rig, 8), 0);
	assert_int_equal(
		memory_space_map(rig.space, 0, RIG_DATA, MEMORY_READ | MEMORY_WRITE, rig.fd, 0), 0);
	assert_int_equal(rig_take(&rig, 8), 1);
	rig_done(&rig);
}

/* A chain of more pieces than there is room for, and a batch that is cut there. */
static void arena_is_full(void **state)
{
	struct virtq_arena arena = { rig.pieces, 0, 5 };
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
	assert_int_equal(virtqueue_take(&rig.vq, rig.chains, 8, &arena), 1);
	assert_int_equal(rig.chains[0].n_in, 3);
	arena.n = 0;
	assert_int_equal(virtqueue_take(&rig.vq, rig.chains, 1, &arena), 1);
	arena.n = 0;
	assert_int_equal(virtqueue_take(&rig.vq, rig.chains, 8, &arena), 2);
	assert_int_equal(rig.chains[0].error, -E2BIG);
	assert_int_equal(rig.chains[1].error, 0);
	assert_int_equal(rig.chains[1].n_in, 1);
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
		assert_int_equal(rig_start(&rig, rig_base(rig.features)), 0);
		virtqueue_set_call(&rig.vq, call);
		assert_int_equal(read(call, &count, 8), 8);
		vdrv_notifications(&rig.drv, true);
		assert_int_equal(vdrv_add(&rig.drv, &(struct vdrv_buf){ RIG_DATA, 100, true }, 1,
					  &rig, false),
				 0);
		vdrv_publish(&rig.drv);
		assert_int_equal(rig_take(&rig, 1), 1);
		virtqueue_give(&rig.vq, &rig.chains[0], 100);
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
		cmocka_unit_test(arena_is_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
