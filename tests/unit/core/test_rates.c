/* SPDX-License-Identifier: BSD-2-Clause */
/* Maximum and minimum rates of machines and devices. */
#include "base/clock.h"
#include "base/util.h"
#include "sched_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Packets of a thousand bytes each that an endless sender gets through in a second, of a machine
 * and a device with these limits; NULL: it has none. */
static double rate_with(const struct io_group_params *params, const struct io_group_params *own)
{
	struct io_group *group = io_group_new("vm"), *device = io_group_new("device");
	struct fake fake = { .waiting = UINT64_MAX, .bytes = 1000 };
	struct io_group_stats stats, of_device;
	uint64_t start = fake_now_ns, elapsed;

	assert_int_equal(io_group_set(group, params), 0);
	fake_add(&fake, &doorbell_ops, group);
	if (own) {
		assert_int_equal(io_group_set(device, own), 0);
		fake.q.own = device;
	}
	do {
		turns(10);
		elapsed = fake_now_ns - start;
	} while (elapsed < 200 * NS_PER_MS);
	io_group_stats(group, &stats);
	io_group_stats(device, &of_device);
	assert_true(stats.limited + of_device.limited > 0);
	assert_int_equal(stats.packets, fake.taken);
	assert_int_equal(stats.bytes, fake.taken * 1000);
	io_queue_remove(&fake.q);
	io_group_free(group);
	io_group_free(device);
	return (double)fake.taken * 1e9 / (double)elapsed;
}

/* The rate, and one burst; of several the lowest one. */
static void maximum_rate(void **state)
{
	static const struct io_group_params limits[] = {
		{ .max_packets_per_s = 100000 },
		{ .max_bytes_per_s = 100000000 },
		{ .max_packets_per_s = 100000, .max_bytes_per_s = 200000000 },
		{ .max_packets_per_s = 200000, .max_bytes_per_s = 100000000 },
	};
	static const struct io_group_params none, more = { .max_packets_per_s = 150000 };

	for (unsigned i = 0; i < ARRAY_SIZE(limits); i++) {
		double rates[] = { rate_with(&limits[i], NULL), rate_with(&none, &limits[i]),
				   rate_with(&more, &limits[i]), rate_with(&limits[i], &more) };

		for (unsigned k = 0; k < ARRAY_SIZE(rates); k++)
			assert_true(rates[k] > 99000 && rates[k] < 103000);
	}
}

/* A machine that may not go now, by its own maximum or by that of its device, leaves the turn to
 * those that may; also if it is below its minimum, or if it has more of its quantum left. */
static void limited_keeps_nobody(void **state)
{
	static const struct {
		struct io_group_params machine, device;
	} cases[] = {
		{ .machine = { .max_packets_per_s = 1000 } },
		{ .device = { .max_packets_per_s = 1000 } },
		{ { .min_packets_per_s = 100000 }, { .max_packets_per_s = 1000 } },
		{ { .min_bytes_per_s = 100000000, .weight = 100 }, { .max_bytes_per_s = 100000 } },
	};

	for (unsigned c = 0; c < ARRAY_SIZE(cases); c++) {
		struct io_group *group = io_group_new("limited"), *own = io_group_new("device");
		struct io_group *other = io_group_new("other");
		struct fake held[2] = { 0 }, free = { .waiting = UINT64_MAX, .spin_ns = 100 };
		struct fake sibling = free;
		uint64_t start = fake_now_ns;

		assert_int_equal(io_group_set(group, &cases[c].machine), 0);
		assert_int_equal(io_group_set(own, &cases[c].device), 0);
		for (unsigned i = 0; i < ARRAY_SIZE(held); i++) {
			held[i].waiting = UINT64_MAX;
			held[i].spin_ns = 100;
			held[i].bytes = 100;
			held[i].q.own = own;
			fake_add(&held[i], &doorbell_ops, group);
		}
		turns(10);
		fake_add(&free, &doorbell_ops, other);
		turns(1000);
		/* the others have one now and then */
		assert_in_range(free.polls, 980, 1000);
		assert_true(held[0].taken + held[1].taken < 100);
		assert_in_range(held[0].q.stats.waited_ns + held[1].q.stats.waited_ns, 0,
				2 * (fake_now_ns - start));

		/* and another device of the same machine, if the limit is the device's */
		if (!cases[c].machine.max_packets_per_s) {
			free.waiting = 0;
			fake_add(&sibling, &doorbell_ops, group);
			turns(1000);
			assert_in_range(sibling.polls, 980, 1000);
			io_queue_remove(&sibling.q);
		}
		for (unsigned i = 0; i < ARRAY_SIZE(held); i++)
			io_queue_remove(&held[i].q);
		io_queue_remove(&free.q);
		io_group_free(group);
		io_group_free(own);
		io_group_free(other);
	}
}

/* What a queue has when it comes to its end no rate holds back, and a core that sleeps until that
 * lets it go on wakes. */
static void no_rate_keeps_from_the_end(void **state)
{
	const struct io_group_params slow = { .max_packets_per_s = 1 };
	struct io_group *group = io_group_new("vm");
	struct fake fake = { .waiting = 100 };
	bool ending = false;

	assert_int_equal(io_group_set(group, &slow), 0);
	fake.q.ending = &ending;
	fake_add(&fake, &doorbell_ops, group);
	turns(10);
	assert_int_equal(fake.taken, 1);
	ending = true;
	core->kicked = 0;
	io_queue_retry(&fake.q);
	assert_true(core->kicked);
	turns(10);
	assert_int_equal(fake.taken, 100);
	/* and one that does not is */
	ending = false;
	fake.waiting = 100;
	turns(10);
	assert_int_equal(fake.taken, 100);
	io_queue_remove(&fake.q);
	io_group_free(group);
}

/* What was overdrawn at one rate holds nobody back at another, and at the same one it does. */
static void another_rate_begins_anew(void **state)
{
	static const struct {
		struct io_group_params slow, other;
	} cases[] = {
		{ { .max_bytes_per_s = 1 }, { .max_bytes_per_s = 1000000000 } },
		{ { .max_bytes_per_s = 1 }, { .weight = 1 } },
		{ { .max_packets_per_s = 1 }, { .max_packets_per_s = 1000000 } },
	};

	for (unsigned c = 0; c < 2 * ARRAY_SIZE(cases); c++) {
		bool own = c % 2;
		struct io_group *group = io_group_new("vm");
		struct fake fake = { .waiting = UINT64_MAX, .bytes = 64000, .spin_ns = 1000 };
		uint64_t taken;

		assert_int_equal(io_group_set(group, &cases[c / 2].slow), 0);
		fake.q.own = own ? group : NULL;
		fake_add(&fake, &doorbell_ops, own ? NULL : group);
		turns(10);
		assert_int_equal(fake.taken, 1);
		assert_int_equal(io_group_set(group, &cases[c / 2].slow), 0);
		turns(10);
		assert_int_equal(fake.taken, 1);
		assert_int_equal(io_group_set(group, &cases[c / 2].other), 0);
		turns(1);
		taken = fake.taken;
		assert_true(taken > 1);
		/* and back: from now on, not from what was taken meanwhile */
		assert_int_equal(io_group_set(group, &cases[c / 2].slow), 0);
		turns(10);
		assert_int_equal(fake.taken, taken + 1);
		io_queue_remove(&fake.q);
		io_group_free(group);
	}
}

static void refused_params(void **state)
{
	static const struct io_group_params refused[] = {
		{ .weight = 1001 },
		{ .latency = IO_LATENCY_BULK + 1 },
		{ .min_packets_per_s = 200000, .max_packets_per_s = 100000 },
		{ .min_bytes_per_s = 2, .max_bytes_per_s = 1 },
	};
	struct io_group *group = io_group_new("vm");

	for (unsigned i = 0; i < ARRAY_SIZE(refused); i++)
		assert_int_equal(io_group_set(group, &refused[i]), -EINVAL);
	io_group_free(group);
}

/* Below its minimum a machine is served although its share of time is small. */
static void served_below(const struct io_group_params *params)
{
	struct io_group *groups[5];
	struct fake fakes[5] = { 0 };

	for (unsigned i = 0; i < 5; i++) {
		groups[i] = io_group_new("vm");
		fakes[i].waiting = UINT64_MAX;
		fakes[i].bytes = 100;
		fakes[i].spin_ns = 500;
	}
	assert_int_equal(io_group_set(groups[4], params), 0);
	for (unsigned i = 0; i < 5; i++)
		fake_add(&fakes[i], &doorbell_ops, groups[i]);
	turns(2000);
	/* never reaches so high a minimum: gets nearly all */
	assert_true(fakes[4].taken >
		    4 * (fakes[0].taken + fakes[1].taken + fakes[2].taken + fakes[3].taken));
	assert_true(groups[4]->stats.promoted > 0);
	for (unsigned i = 0; i < 5; i++) {
		io_queue_remove(&fakes[i].q);
		io_group_free(groups[i]);
	}
}

static void minimum_rate(void **state)
{
	struct io_group_params packets = { .min_packets_per_s = 1000000000 };
	struct io_group_params bytes = { .min_bytes_per_s = 100000000000 };

	served_below(&packets);
	served_below(&bytes);
}

/* A turn that may end in a nap; the nap takes no time, something wakes the core at once. True when
 * there was one. */
static bool turn_and_nap(void)
{
	uint64_t sleeps = core->stats.sleeps;

	io_core_wake(core);
	fake_now_ns += 100;
	io_core_turn(core, true);
	return core->stats.sleeps > sleeps;
}

/* One machine's limit does not have the core sleep while another's queue is polled and unannounced
 * work may come to it. When that is parked, it does. */
static void limit_of_one_delays_no_other(void **state)
{
	static const struct io_queue_ops *kinds[] = { &doorbell_ops, &notify_ops };
	struct io_group_params params = { .max_packets_per_s = 1000 };
	struct io_group *limited = io_group_new("limited"), *other = io_group_new("other");

	assert_int_equal(io_group_set(limited, &params), 0);
	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct fake bulk[3] = { 0 }, quick = { 0 };
		unsigned naps = 0;

		for (unsigned i = 0; i < ARRAY_SIZE(bulk); i++) {
			bulk[i].waiting = UINT64_MAX;
			fake_add(&bulk[i], &doorbell_ops, limited);
		}
		turns(10); /* and what it may take at once is used up */
		fake_add(&quick, kinds[k], other);
		for (unsigned round = 0; round < 10; round++) {
			for (unsigned t = 0; t < core->params.park_after_ns / 200; t++)
				assert_false(turn_and_nap());
			quick.waiting = 1;
			turns(1);
			assert_int_equal(quick.waiting, 0);
		}
		for (unsigned t = 0; t < core->params.park_after_ns / 50; t++)
			naps += turn_and_nap();
		assert_int_equal(quick.q.state, IO_QUEUE_PARKED);
		assert_true(naps > 0);
		for (unsigned i = 0; i < ARRAY_SIZE(bulk); i++)
			io_queue_remove(&bulk[i].q);
		io_queue_remove(&quick.q);
		fake_now_ns += 10 * NS_PER_MS;
	}
	io_group_free(limited);
	io_group_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_sched(maximum_rate),
		test_sched(no_rate_keeps_from_the_end),
		test_sched(limited_keeps_nobody),
		test_sched(another_rate_begins_anew),
		cmocka_unit_test(refused_params),
		test_sched(minimum_rate),
		test_sched(limit_of_one_delays_no_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
