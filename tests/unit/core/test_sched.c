/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The scheduler's choices, turn by turn, without a thread and on a clock of the test's own: a
 * packet takes as long as its queue says, a turn 100 ns, and nothing else any time.
 */
#include "base/clock.h"
#include "base/rcu.h"
#include "base/util.h"
#include "core/private.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct fake {
	struct io_queue q;
	uint64_t waiting; /* packets; UINT64_MAX: endless */
	unsigned bytes;	  /* of a packet */
	unsigned spin_ns; /* a packet's cost */
	uint64_t taken;
	unsigned polls;
	bool notified;
	bool drops; /* makes nothing of what is waiting */
	unsigned largest_poll;
};

static uint64_t fake_now_ns;

static uint64_t fake_clock(void)
{
	return fake_now_ns;
}

static struct fake *order[4096];
static unsigned n_order;

static void fake_poll(struct io_queue *queue, struct io_turn *turn, struct io_work *work)
{
	struct fake *fake = container_of(queue, struct fake, q);
	uint64_t n = MIN(fake->waiting, (uint64_t)turn->budget_packets);

	if (fake->bytes)
		n = MIN(n, MAX(turn->budget_bytes / fake->bytes, 1ull));
	fake_now_ns += n * fake->spin_ns;
	if (fake->waiting != UINT64_MAX)
		fake->waiting -= n;
	fake->taken += n;
	fake->polls++;
	fake->largest_poll = MAX(fake->largest_poll, (unsigned)n);
	if (fake->drops) {
		work->spent = n > 0;
		return;
	}
	work->packets = (unsigned)n;
	work->bytes = n * fake->bytes;
	work->more = fake->waiting > 0;
	if (n && n_order < ARRAY_SIZE(order))
		order[n_order++] = fake;
}

static bool fake_pending(struct io_queue *queue)
{
	return container_of(queue, struct fake, q)->waiting > 0;
}

static bool fake_notify(struct io_queue *queue, bool on)
{
	struct fake *fake = container_of(queue, struct fake, q);

	fake->notified = on;
	return on && fake->waiting;
}

static const struct io_queue_ops doorbell_ops = { .poll = fake_poll, .pending = fake_pending };
static const struct io_queue_ops notify_ops = { fake_poll, fake_pending, fake_notify };

static struct io_core *core;

static int setup(void **state)
{
	struct io_core_params params = { .cpu = -1, .turn_packets = 16, .quantum_ns = 100000 };

	n_order = 0;
	core = io_core_new_unstarted("io0", &params);
	if (!core)
		return -1;
	fake_now_ns = core->last_now_ns;
	core->now_ns = fake_clock;
	rcu_reader_register();
	return 0;
}

static int teardown(void **state)
{
	io_core_free(core);
	rcu_reader_unregister();
	return 0;
}

static void fake_add(struct fake *fake, const struct io_queue_ops *ops, struct io_group *group)
{
	fake->q.ops = ops;
	fake->q.name = "q";
	fake->q.group = group;
	fake->q.wake_fd = -1;
	assert_int_equal(io_queue_add(core, &fake->q), 0);
}

static void turns(unsigned n)
{
	while (n--) {
		fake_now_ns += 100;
		io_core_turn(core, false);
	}
}

static void budget_bounds_a_poll(void **state)
{
	struct fake fake = { .waiting = 1000, .bytes = 100 };

	fake_add(&fake, &doorbell_ops, NULL);
	turns(100);
	assert_int_equal(fake.waiting, 0);
	assert_int_equal(fake.taken, 1000);
	assert_int_equal(fake.largest_poll, 16);
	assert_int_equal(fake.q.stats.packets, 1000);
	assert_int_equal(fake.q.stats.bytes, 100000);
	assert_int_equal(fake.q.stats.limited, 1000 / 16);
	io_queue_remove(&fake.q);
	assert_int_equal(fake.q.state, IO_QUEUE_OFF);
	fake.waiting = 1;
	turns(3);
	assert_int_equal(fake.waiting, 1); /* off is off */
}

static void byte_budget_bounds_a_poll(void **state)
{
	struct fake fake = { .waiting = 100, .bytes = 65536 };

	fake_add(&fake, &doorbell_ops, NULL);
	turns(200);
	assert_int_equal(fake.taken, 100);
	assert_int_equal(fake.largest_poll, 4); /* 256 KiB */
	io_queue_remove(&fake.q);
}

/* A small backlog goes ahead of the bulk senders: one bounded poll of somebody else at most is in
 * between. */
static void small_goes_before_bulk(void **state)
{
	struct io_group *groups[9];
	struct fake bulk[8] = { 0 }, small = { 0 };

	core->params.park_after_ns = NS_PER_S; /* stays polled */
	for (unsigned i = 0; i < 9; i++)
		groups[i] = io_group_new("vm");
	for (unsigned i = 0; i < 8; i++) {
		bulk[i].waiting = UINT64_MAX;
		bulk[i].spin_ns = 100;
		fake_add(&bulk[i], &doorbell_ops, groups[i]);
	}
	fake_add(&small, &doorbell_ops, groups[8]);
	turns(50);
	for (unsigned round = 0; round < 20; round++) {
		small.waiting = 1;
		n_order = 0;
		turns(1);
		assert_int_equal(small.waiting, 0);
		assert_ptr_equal(order[0], &small);
		turns(7);
	}
	assert_true(small.q.stats.promoted >= 20);
	for (unsigned i = 0; i < 8; i++)
		io_queue_remove(&bulk[i].q);
	io_queue_remove(&small.q);
	for (unsigned i = 0; i < 9; i++)
		io_group_free(groups[i]);
}

static double share_of(const struct fake *fakes, unsigned n)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += fakes[i].taken;
	return (double)sum;
}

/* A machine that sends one packet at a time, at once again, is not held back for its share while
 * it is light work; and beside it bulk polls are a slice long. When it is gone, they are not. */
static void small_cuts_bulk_polls(void **state)
{
	struct io_group *groups[9];
	struct io_core_params params;
	struct fake bulk[8] = { 0 }, small = { .spin_ns = 100 };
	uint64_t before;

	io_core_params_get(core, &params);
	params.slice_ns = 400;
	params.quantum_ns = 1000;
	io_core_params_set(core, &params);
	for (unsigned i = 0; i < ARRAY_SIZE(bulk); i++) {
		groups[i] = io_group_new("bulk");
		bulk[i].waiting = UINT64_MAX;
		bulk[i].spin_ns = 100;
		fake_add(&bulk[i], &doorbell_ops, groups[i]);
	}
	groups[8] = io_group_new("small");
	fake_add(&small, &doorbell_ops, groups[8]);
	turns(100);
	assert_int_equal(bulk[0].largest_poll, 16);
	for (unsigned t = 0; t < 1000; t++) {
		if (t == 100) /* it is polled again, and the estimates have come in */
			for (unsigned i = 0; i < ARRAY_SIZE(bulk); i++)
				bulk[i].largest_poll = 0;
		small.waiting = 1;
		before = small.taken;
		turns(1);
		if (t >= 100)
			assert_int_equal(small.taken, before + 1);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bulk); i++)
		assert_in_range(bulk[i].largest_poll, 1, 5);
	turns(2000);
	for (unsigned i = 0; i < ARRAY_SIZE(bulk); i++) {
		assert_int_equal(bulk[i].largest_poll, 16);
		io_queue_remove(&bulk[i].q);
	}
	io_queue_remove(&small.q);
	for (unsigned i = 0; i < 9; i++)
		io_group_free(groups[i]);
}

/* Without the order, a small backlog waits for every bulk sender's poll. */
static void round_robin_waits_for_all(void **state)
{
	struct io_core_params params;
	struct fake bulk[8] = { 0 }, small = { 0 };
	unsigned since = 0, longest = 0;

	io_core_params_get(core, &params);
	params.round_robin = true;
	io_core_params_set(core, &params);
	for (unsigned i = 0; i < ARRAY_SIZE(bulk); i++) {
		bulk[i].waiting = UINT64_MAX;
		bulk[i].spin_ns = 100;
		fake_add(&bulk[i], &doorbell_ops, NULL);
	}
	fake_add(&small, &doorbell_ops, NULL);
	for (unsigned t = 0; t < 100; t++) {
		small.waiting = 1;
		turns(1);
	}
	for (unsigned i = 0; i < n_order; i++, since++) {
		if (order[i] != &small)
			continue;
		longest = MAX(longest, since);
		since = 0;
	}
	assert_int_equal(longest, 9);
	for (unsigned i = 0; i < ARRAY_SIZE(bulk); i++) {
		assert_int_equal(bulk[i].polls, 100);
		io_queue_remove(&bulk[i].q);
	}
	io_queue_remove(&small.q);
}

/* A machine with 16 queues gets what one with a single queue gets. */
static void machines_share_not_queues(void **state)
{
	struct io_group *many = io_group_new("many"), *one = io_group_new("one");
	struct fake queues[16] = { 0 }, single = { .waiting = UINT64_MAX, .spin_ns = 300 };
	double ratio;

	for (unsigned i = 0; i < 16; i++) {
		queues[i].waiting = UINT64_MAX;
		queues[i].spin_ns = 300;
		fake_add(&queues[i], &doorbell_ops, many);
	}
	fake_add(&single, &doorbell_ops, one);
	turns(8000);
	ratio = share_of(queues, 16) / share_of(&single, 1);
	assert_true(ratio > 0.95 && ratio < 1.05);
	/* and the 16 get the same each */
	for (unsigned i = 1; i < 16; i++)
		assert_true(queues[i].polls + 2 >= queues[0].polls &&
			    queues[i].polls <= queues[0].polls + 2);
	for (unsigned i = 0; i < 16; i++)
		io_queue_remove(&queues[i].q);
	io_queue_remove(&single.q);
	io_group_free(many);
	io_group_free(one);
}

/* Shares of time: the one with the dear packets gets fewer of them. */
static void weights_share_time(void **state)
{
	struct io_group *a = io_group_new("a"), *b = io_group_new("b");
	struct fake cheap = { .waiting = UINT64_MAX, .spin_ns = 200 };
	struct fake dear = { .waiting = UINT64_MAX, .spin_ns = 800 };
	struct io_group_params params = { .weight = 3 };
	struct io_group_stats sa, sb;
	double ratio;

	assert_int_equal(io_group_set(b, &params), 0);
	fake_add(&cheap, &doorbell_ops, a);
	fake_add(&dear, &doorbell_ops, b);
	turns(6000);
	io_group_stats(a, &sa);
	io_group_stats(b, &sb);
	ratio = (double)sb.busy_ns / (double)sa.busy_ns;
	assert_true(ratio > 2.8 && ratio < 3.2);
	io_queue_remove(&cheap.q);
	io_queue_remove(&dear.q);
	io_group_free(a);
	io_group_free(b);
}

/* Many queues that stay just under the budget do not get round the shares. */
static void sparse_queues_pay_too(void **state)
{
	struct io_group *sly = io_group_new("sly"), *fair = io_group_new("fair");
	struct fake queues[8] = { 0 }, bulk = { .waiting = UINT64_MAX, .spin_ns = 500 };
	struct io_group_stats s, f;

	for (unsigned i = 0; i < 8; i++) {
		queues[i].spin_ns = 500;
		fake_add(&queues[i], &doorbell_ops, sly);
	}
	fake_add(&bulk, &doorbell_ops, fair);
	for (unsigned t = 0; t < 4000; t++) {
		for (unsigned i = 0; i < 8; i++)
			queues[i].waiting = 15;
		turns(1);
	}
	io_group_stats(sly, &s);
	io_group_stats(fair, &f);
	assert_true((double)s.busy_ns / (double)f.busy_ns < 1.1);
	for (unsigned i = 0; i < 8; i++)
		io_queue_remove(&queues[i].q);
	io_queue_remove(&bulk.q);
	io_group_free(sly);
	io_group_free(fair);
}

/* Nor do those whose work comes to nothing. */
static void dropped_work_is_paid(void **state)
{
	struct io_group *sly = io_group_new("sly"), *fair = io_group_new("fair");
	struct fake queues[2] = { 0 }, bulk = { .waiting = UINT64_MAX, .spin_ns = 500 };
	struct io_group_stats stats;
	uint64_t start;

	for (unsigned i = 0; i < 2; i++) {
		queues[i].spin_ns = 1000;
		queues[i].drops = true;
		fake_add(&queues[i], &doorbell_ops, sly);
	}
	fake_add(&bulk, &doorbell_ops, fair);
	start = fake_now_ns;
	for (unsigned t = 0; t < 4000; t++) {
		for (unsigned i = 0; i < 2; i++)
			queues[i].waiting = 15;
		turns(1);
	}
	/* half of the time each, and what each has is what it was charged */
	assert_true((double)(bulk.taken * 500) / (double)(fake_now_ns - start) > 0.45);
	io_group_stats(fair, &stats);
	assert_int_equal(stats.busy_ns, bulk.taken * 500);
	io_group_stats(sly, &stats);
	assert_int_equal(stats.busy_ns, (queues[0].taken + queues[1].taken) * 1000);
	assert_int_equal(stats.packets, 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(queues[i].q.stats.empty_polls, 0);
		io_queue_remove(&queues[i].q);
	}
	io_queue_remove(&bulk.q);
	io_group_free(sly);
	io_group_free(fair);
}

/* Small backlogs of a machine of class "low" go before those of others, in whatever order they
 * came; but not beyond its share. */
static void low_class_goes_first(void **state)
{
	struct io_group *groups[3];
	struct io_group_params low = { .latency = IO_LATENCY_LOW }, normal = { 0 };
	struct fake fakes[3] = { { .spin_ns = 100 },
				 { .spin_ns = 100 },
				 { .waiting = UINT64_MAX, .spin_ns = 500 } };
	struct io_group_stats stats, others;

	core->params.park_after_ns = NS_PER_S; /* stays polled */
	for (unsigned i = 0; i < 3; i++) {
		groups[i] = io_group_new("vm");
		fake_add(&fakes[i], &doorbell_ops, groups[i]);
	}
	turns(10);
	for (unsigned round = 0; round < 20; round++) {
		unsigned first = round % 2;

		assert_int_equal(io_group_set(groups[first], &low), 0);
		assert_int_equal(io_group_set(groups[!first], &normal), 0);
		fakes[0].waiting = fakes[1].waiting = 1;
		n_order = 0;
		turns(1);
		assert_ptr_equal(order[0], &fakes[first]);
		assert_ptr_equal(order[1], &fakes[!first]);
		assert_ptr_equal(order[2], &fakes[2]);
		turns(7);
	}
	fakes[1].spin_ns = 500;
	io_group_stats(groups[1], &stats);
	io_group_stats(groups[2], &others);
	stats.busy_ns = -stats.busy_ns;
	others.busy_ns = -others.busy_ns;
	for (unsigned t = 0; t < 4000; t++) {
		fakes[1].waiting = 15;
		turns(1);
	}
	stats.busy_ns += READ_ONCE(groups[1]->stats.busy_ns);
	others.busy_ns += READ_ONCE(groups[2]->stats.busy_ns);
	assert_true((double)stats.busy_ns / (double)others.busy_ns < 1.1);
	for (unsigned i = 0; i < 3; i++) {
		io_queue_remove(&fakes[i].q);
		io_group_free(groups[i]);
	}
}

/* And those of class "bulk" wait their turn, however small they are. */
static void bulk_class_goes_before_nobody(void **state)
{
	struct io_group *groups[5];
	struct io_group_params params = { .latency = IO_LATENCY_BULK };
	struct fake fakes[5] = { 0 };
	unsigned ahead = 0;

	core->params.park_after_ns = NS_PER_S; /* stays polled */
	core->params.quantum_ns = 20000; /* three polls: a round is twelve, and no shorter ones */
	for (unsigned i = 0; i < 5; i++) {
		groups[i] = io_group_new("vm");
		fakes[i].waiting = i ? UINT64_MAX : 0;
		fakes[i].spin_ns = 500;
		fake_add(&fakes[i], &doorbell_ops, groups[i]);
	}
	assert_int_equal(io_group_set(groups[0], &params), 0);
	turns(50);
	for (unsigned round = 0; round < 20; round++) {
		fakes[0].waiting = 1;
		n_order = 0;
		turns(40);
		assert_int_equal(fakes[0].waiting, 0);
		ahead += order[0] == &fakes[0];
	}
	assert_true(ahead < 10); /* it may be its turn just then */
	assert_int_equal(fakes[0].q.stats.promoted, 0);
	/* with nobody there to wait for it is served at once */
	for (unsigned i = 1; i < 5; i++)
		io_queue_remove(&fakes[i].q);
	fakes[0].waiting = 1;
	turns(1);
	assert_int_equal(fakes[0].waiting, 0);
	io_queue_remove(&fakes[0].q);
	for (unsigned i = 0; i < 5; i++)
		io_group_free(groups[i]);
}

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

static void spin(uint64_t ns)
{
	fake_now_ns += ns;
}

static void parks_and_returns(void **state)
{
	struct fake doorbell = { 0 }, notified = { 0 };

	fake_add(&doorbell, &doorbell_ops, NULL);
	fake_add(&notified, &notify_ops, NULL);
	turns(1);
	assert_int_equal(doorbell.q.state, IO_QUEUE_POLLED);
	assert_false(notified.notified);
	spin(core->params.park_after_ns + 1000);
	turns(1);
	assert_int_equal(doorbell.q.state, IO_QUEUE_PARKED);
	assert_int_equal(notified.q.state, IO_QUEUE_PARKED);
	assert_true(notified.notified);

	/* a doorbell nobody announces is looked at */
	doorbell.waiting = 3;
	spin(core->params.park_look_ns + 1000);
	turns(1);
	assert_int_equal(doorbell.taken, 3);
	assert_int_equal(doorbell.q.state, IO_QUEUE_POLLED);

	/* one with notifications waits for its kick */
	notified.waiting = 2;
	spin(core->params.park_look_ns + 1000);
	turns(3);
	assert_int_equal(notified.taken, 0);
	io_queue_kick(&notified.q);
	turns(1);
	assert_int_equal(notified.taken, 2);
	assert_false(notified.notified);
	assert_int_equal(notified.q.stats.kicks, 1);
	io_queue_kick(&notified.q); /* polled already: nothing to do */
	assert_int_equal(notified.q.stats.kicks, 1);
	io_queue_remove(&doorbell.q);
	io_queue_remove(&notified.q);
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
		spin(10 * NS_PER_MS);
	}
	io_group_free(limited);
	io_group_free(other);
}

/* Work that arrives while the queue is being parked is not lost. */
static bool late_notify(struct io_queue *queue, bool on)
{
	if (on)
		container_of(queue, struct fake, q)->waiting = 1;
	return on;
}

static void no_lost_wakeup(void **state)
{
	static const struct io_queue_ops ops = { fake_poll, fake_pending, late_notify };
	struct fake fake = { 0 };

	fake_add(&fake, &ops, NULL);
	spin(core->params.park_after_ns + 1000);
	turns(1);
	assert_int_equal(fake.q.state, IO_QUEUE_POLLED);
	turns(1);
	assert_int_equal(fake.taken, 1);
	io_queue_remove(&fake.q);
}

static unsigned flushes;

static void flushed(struct io_flush *flush, struct io_turn *turn)
{
	flushes++;
}

static void flushes_once_per_turn(void **state)
{
	struct io_flush a = { .flush = flushed }, b = { .flush = flushed };
	struct io_turn one, two;

	io_turn_init(&one, NULL);
	io_turn_init(&two, NULL);
	flushes = 0;
	io_turn_flush_later(&one, &a);
	io_turn_flush_later(&one, &a);
	io_turn_flush_later(&one, &b);
	io_turn_flush_later(&two, &a); /* pending on the other core */
	io_turn_end(&two);
	assert_int_equal(flushes, 0);
	io_turn_end(&one);
	assert_int_equal(flushes, 2);
	io_turn_flush_later(&two, &a);
	io_turn_end(&two);
	assert_int_equal(flushes, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(budget_bounds_a_poll, setup, teardown),
		cmocka_unit_test_setup_teardown(byte_budget_bounds_a_poll, setup, teardown),
		cmocka_unit_test_setup_teardown(small_goes_before_bulk, setup, teardown),
		cmocka_unit_test_setup_teardown(small_cuts_bulk_polls, setup, teardown),
		cmocka_unit_test_setup_teardown(round_robin_waits_for_all, setup, teardown),
		cmocka_unit_test_setup_teardown(machines_share_not_queues, setup, teardown),
		cmocka_unit_test_setup_teardown(weights_share_time, setup, teardown),
		cmocka_unit_test_setup_teardown(sparse_queues_pay_too, setup, teardown),
		cmocka_unit_test_setup_teardown(dropped_work_is_paid, setup, teardown),
		cmocka_unit_test_setup_teardown(low_class_goes_first, setup, teardown),
		cmocka_unit_test_setup_teardown(bulk_class_goes_before_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(maximum_rate, setup, teardown),
		cmocka_unit_test_setup_teardown(no_rate_keeps_from_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(limited_keeps_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(another_rate_begins_anew, setup, teardown),
		cmocka_unit_test(refused_params),
		cmocka_unit_test_setup_teardown(minimum_rate, setup, teardown),
		cmocka_unit_test_setup_teardown(parks_and_returns, setup, teardown),
		cmocka_unit_test_setup_teardown(limit_of_one_delays_no_other, setup, teardown),
		cmocka_unit_test_setup_teardown(no_lost_wakeup, setup, teardown),
		cmocka_unit_test(flushes_once_per_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
