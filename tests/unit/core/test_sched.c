/* SPDX-License-Identifier: BSD-2-Clause */
/* The scheduler's choices, turn by turn: bounded polls, small backlogs first, shares, parking. */
#include "base/clock.h"
#include "base/util.h"
#include "sched_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

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

static void parks_and_returns(void **state)
{
	struct fake doorbell = { 0 }, notified = { 0 };

	fake_add(&doorbell, &doorbell_ops, NULL);
	fake_add(&notified, &notify_ops, NULL);
	turns(1);
	assert_int_equal(doorbell.q.state, IO_QUEUE_POLLED);
	assert_false(notified.notified);
	fake_now_ns += core->params.park_after_ns + 1000;
	turns(1);
	assert_int_equal(doorbell.q.state, IO_QUEUE_PARKED);
	assert_int_equal(notified.q.state, IO_QUEUE_PARKED);
	assert_true(notified.notified);

	/* a doorbell nobody announces is looked at */
	doorbell.waiting = 3;
	fake_now_ns += core->params.park_look_ns + 1000;
	turns(1);
	assert_int_equal(doorbell.taken, 3);
	assert_int_equal(doorbell.q.state, IO_QUEUE_POLLED);

	/* one with notifications waits for its kick */
	notified.waiting = 2;
	fake_now_ns += core->params.park_look_ns + 1000;
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
	fake_now_ns += core->params.park_after_ns + 1000;
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
		test_sched(budget_bounds_a_poll),
		test_sched(byte_budget_bounds_a_poll),
		test_sched(small_goes_before_bulk),
		test_sched(small_cuts_bulk_polls),
		test_sched(round_robin_waits_for_all),
		test_sched(machines_share_not_queues),
		test_sched(weights_share_time),
		test_sched(sparse_queues_pay_too),
		test_sched(dropped_work_is_paid),
		test_sched(low_class_goes_first),
		test_sched(bulk_class_goes_before_nobody),
		test_sched(parks_and_returns),
		test_sched(no_lost_wakeup),
		cmocka_unit_test(flushes_once_per_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
