/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When a sleeping core looks at doorbells that nobody announces: how many naps that takes, and how
 * long a ring waits. Without a thread, on a clock of the test's own: a nap ends when it was to.
 */
#include "base/clock.h"
#include "base/rcu.h"
#include "base/util.h"
#include "core/private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define US	  NS_PER_US
#define MS	  NS_PER_MS
#define DOORBELLS 128

/* line[3] rings, the others mean nothing. */
struct bell {
	struct io_queue q;
	_Alignas(IO_DOORBELL_BYTES) uint64_t line[IO_DOORBELL_BYTES / 8];
	uint64_t seen, rung_ns, waited_ns;
	unsigned asked;
};

static uint64_t now_ns;
static struct io_core *core;
static struct bell bells[DOORBELLS];

static uint64_t fake_clock(void)
{
	return now_ns;
}

static bool bell_pending(struct io_queue *queue)
{
	struct bell *bell = container_of(queue, struct bell, q);

	bell->asked++;
	return bell->line[3] != bell->seen;
}

static void bell_poll(struct io_queue *queue, struct io_turn *turn, struct io_work *work)
{
	struct bell *bell = container_of(queue, struct bell, q);

	if (bell->line[3] == bell->seen)
		return;
	bell->waited_ns = now_ns - bell->rung_ns;
	work->packets = (unsigned)(bell->line[3] - bell->seen);
	bell->seen = bell->line[3];
}

static const struct io_queue_ops bell_ops = { .poll = bell_poll, .pending = bell_pending };

static void start(uint64_t wake_bound_ns)
{
	struct io_core_params params = { .cpu = -1, .wake_bound_ns = wake_bound_ns };

	core = io_core_new_unstarted("io0", &params);
	assert_non_null(core);
	core->now_ns = fake_clock;
	now_ns = core->last_now_ns;
}

static void add(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		bells[i] = (struct bell){ .q = { .ops = &bell_ops, .name = "q", .wake_fd = -1 } };
		/* half of them as doorbells that the core can look at by itself */
		if (i % 2)
			bells[i].q.doorbell = bells[i].line;
		assert_int_equal(io_queue_add(core, &bells[i].q), 0);
	}
}

static int setup(void **state)
{
	rcu_reader_register();
	start(4 * MS);
	return 0;
}

static int teardown(void **state)
{
	while (!list_empty(&core->queues))
		io_queue_remove(list_first(&core->queues, struct io_queue, all_node));
	io_core_free(core);
	rcu_reader_unregister();
	return 0;
}

/* Turns until all is parked, then naps, up to @end. Returns how many naps. */
static unsigned sleep_until(uint64_t end)
{
	unsigned naps = 0;

	while (now_ns < end) {
		uint64_t next;

		if (core->n_polled) {
			io_core_turn(core, false);
			now_ns += 10 * US;
			continue;
		}
		next = MAX(io_look_next_ns(core), now_ns);
		assert_true(next <= now_ns + core->params.wake_bound_ns);
		if (next > end) {
			now_ns = end;
			break;
		}
		now_ns = next;
		io_look_due(core, now_ns);
		naps++;
	}
	return naps;
}

static unsigned sleep_for(uint64_t ns)
{
	return sleep_until(now_ns + ns);
}

/* Rings at once; returns how long that waited. */
static uint64_t ring(struct bell *bell)
{
	bell->line[3]++;
	bell->rung_ns = now_ns;
	while (bell->line[3] != bell->seen)
		sleep_for(10 * US);
	return bell->waited_ns;
}

static uint64_t looks(const struct bell *bell)
{
	const struct io_look *look = &bell->q.look;

	return bell->q.stats.looks + (look->quiet ? core->quiet[look->at].looks : 0);
}

static void quiet_ones_share_their_naps(void **state)
{
	uint64_t before;

	add(DOORBELLS);
	sleep_for(NS_PER_S);
	before = looks(&bells[3]);
	assert_in_range(sleep_for(NS_PER_S), 249, 252);
	assert_in_range(looks(&bells[3]) - before, 249, 252);
}

/* One guest that does something now and then does not make the others cost more. */
static void one_rings_now_and_then(void **state)
{
	unsigned naps = 0;
	uint64_t before;

	add(DOORBELLS);
	sleep_for(NS_PER_S);
	for (unsigned i = 0; i < 10; i++) {
		ring(&bells[0]);
		sleep_for(NS_PER_S / 2);
	}
	before = looks(&bells[3]);
	for (unsigned i = 0; i < 20; i++) {
		ring(&bells[0]);
		naps += sleep_for(NS_PER_S / 2);
	}
	/* 250 a second for the bound, and 100 or less for each ring */
	assert_in_range(naps / 10, 250, 450);
	assert_in_range(looks(&bells[3]) - before, 2490, 3300);
}

static void found_within_the_bound(void **state)
{
	static const uint64_t bounds[] = { 10 * US, 30 * US, 100 * US, 4 * MS, NS_PER_S };
	unsigned seed = 1;

	for (unsigned b = 0; b < ARRAY_SIZE(bounds); b++) {
		teardown(NULL);
		rcu_reader_register();
		start(bounds[b]);
		add(8);
		for (unsigned i = 0; i < 300; i++) {
			seed = seed * 1103515245 + 12345;
			sleep_for((seed >> 8) % (i % 3 ? 50 * US : MIN(20 * bounds[b], NS_PER_S)));
			/* and the turn in which the poll is */
			assert_in_range(ring(&bells[seed >> 8 & 7]), 0, bounds[b] + 20 * US);
		}
	}
}

/* An answer soon after, or the next packet of a burst that was just too long apart. */
static void found_soon_after(void **state)
{
	add(2);
	sleep_for(NS_PER_S);
	ring(&bells[0]);
	for (uint64_t gap = 100 * US; gap < 50 * MS; gap += gap / 3) {
		sleep_for(gap);
		assert_in_range(ring(&bells[0]), 0, MAX(gap / 7, 60 * US));
	}
}

static void found_by_the_usual_gap(void **state)
{
	unsigned seed = 7;
	uint64_t sum = 0;

	add(2);
	for (unsigned i = 0; i < 200; i++) {
		uint64_t waited;

		seed = seed * 1103515245 + 12345;
		sleep_for(5 * MS + (seed >> 8) % (30 * MS));
		waited = ring(&bells[0]);
		if (i >= 100)
			sum += waited;
	}
	/* looks 200 us apart: half of that */
	assert_in_range(sum / 100, 0, 170 * US);
}

/* A ping: looked out for when it is due, and the core sleeps in between. */
static void found_by_the_clock(void **state)
{
	static const uint64_t gaps[] = { 50 * MS, 200 * MS, NS_PER_S };
	unsigned seed = 7;

	add(2);
	for (unsigned g = 0; g < ARRAY_SIZE(gaps); g++) {
		uint64_t at = now_ns;
		unsigned naps = 0;

		for (unsigned i = 0; i < 30; i++) {
			uint64_t waited;

			seed = seed * 1103515245 + 12345;
			at += gaps[g];
			naps = sleep_until(at + (seed >> 8) % (600 * US));
			waited = ring(&bells[0]);
			if (i >= 20)
				assert_in_range(waited, 0, 220 * US);
		}
		assert_in_range(naps, 0, 250 + 300 * gaps[g] / NS_PER_S + 200);
	}
}

static void looked_at_when_an_answer_is_expected(void **state)
{
	struct io_turn turn = { .core = core };
	unsigned naps;

	add(DOORBELLS);
	sleep_for(NS_PER_S);
	turn.now_ns = now_ns;
	io_queue_expect(&bells[5].q, &turn);
	sleep_for(500 * US);
	assert_in_range(ring(&bells[5]), 0, 60 * US);
	/* what is not answered costs little: no more than sixty naps */
	sleep_for(NS_PER_S);
	turn.now_ns = now_ns;
	for (unsigned i = 0; i < DOORBELLS; i++)
		io_queue_expect(&bells[i].q, &turn);
	naps = sleep_for(NS_PER_S);
	assert_in_range(naps, 250, 310);
}

/* From another core it is a kick, and no second one soon. */
static void expected_by_another_core(void **state)
{
	struct io_turn turn = { 0 };

	add(1);
	sleep_for(NS_PER_S);
	turn.now_ns = now_ns;
	io_queue_expect(&bells[0].q, &turn);
	assert_int_equal(bells[0].q.stats.kicks, 1);
	io_core_handle_kicks(core, now_ns);
	assert_int_equal(bells[0].q.state, IO_QUEUE_POLLED);
	sleep_for(100 * US);
	assert_int_equal(bells[0].q.state, IO_QUEUE_PARKED);
	turn.now_ns = now_ns;
	io_queue_expect(&bells[0].q, &turn);
	assert_int_equal(bells[0].q.stats.kicks, 1);
	sleep_for(100 * US);
	assert_in_range(ring(&bells[0]), 0, 60 * US);
}

/* Awake for somebody else: a few looks at a time, and each within the bound all the same. */
static void looks_little_while_awake(void **state)
{
	uint64_t before[DOORBELLS], sum = 0;

	add(DOORBELLS);
	sleep_for(NS_PER_S);
	for (unsigned i = 0; i < DOORBELLS; i++)
		before[i] = looks(&bells[i]);
	for (unsigned i = 0; i < 4000; i++) {
		now_ns += US;
		io_core_turn(core, false);
	}
	for (unsigned i = 0; i < DOORBELLS; i++) {
		assert_true(looks(&bells[i]) - before[i] >= 20);
		sum += looks(&bells[i]) - before[i];
	}
	/* eight every 5 us, and all once */
	assert_in_range(sum, 0, 800 * 8 + 2 * DOORBELLS);
}

static void bound_changes(void **state)
{
	struct io_core_params params;

	add(4);
	sleep_for(NS_PER_S);
	io_core_params_get(core, &params);
	params.wake_bound_ns = MS;
	io_core_params_set(core, &params);
	assert_in_range(ring(&bells[1]), 0, MS + 20 * US);
	sleep_for(100 * MS);
	assert_in_range(ring(&bells[2]), 0, MS + 20 * US);
}

/* What changes in a doorbell's line and is no work is asked about once. */
static void other_words_are_no_work(void **state)
{
	unsigned asked;

	add(2);
	sleep_for(NS_PER_S);
	asked = bells[1].asked;
	sleep_for(NS_PER_S);
	assert_int_equal(bells[1].asked, asked);
	bells[1].line[1]++;
	sleep_for(NS_PER_S);
	assert_in_range(bells[1].asked, asked + 1, asked + 2);
	assert_int_equal(bells[1].q.state, IO_QUEUE_PARKED);
	assert_in_range(ring(&bells[1]), 0, 4 * MS + 20 * US);
}

/* ---- rung at any moment ------------------------------------------------------------------- */

/* The core asks the test for the time and for work; between any two of these something may ring.
 * @left counts down to then. */
static unsigned left;
static bool kicks;

static void moment(void)
{
	if (!left || --left)
		return;
	bells[0].line[3]++;
	if (kicks)
		io_queue_kick(&bells[0].q);
}

static uint64_t moment_clock(void)
{
	moment();
	return now_ns;
}

static bool moment_pending(struct io_queue *queue)
{
	bool pending;

	moment();
	pending = bell_pending(queue);
	moment();
	return pending;
}

static void moment_poll(struct io_queue *queue, struct io_turn *turn, struct io_work *work)
{
	moment();
	bell_poll(queue, turn, work);
	moment();
}

static bool moment_announced(struct io_queue *queue)
{
	moment();
	return kicks;
}

/* Of the other side's notifications, nothing is known but that they are on: a kick is its own. */
static bool moment_notify(struct io_queue *queue, bool on)
{
	moment();
	return false;
}

/* From the last that was polled until the queue is parked, and while it is: the ring is heard. */
static void rung_while_parking(const struct io_queue_ops *ops)
{
	struct bell *bell = &bells[0];
	unsigned n = 0, turns;

	add(1);
	bell->q.ops = ops;
	core->now_ns = moment_clock;
	do {
		left = 0;
		ring(bell);
		left = ++n;
		for (turns = 0; left && turns < 1000; turns++) {
			io_core_turn(core, false);
			now_ns += US;
		}
		assert_int_equal(left, 0);
		/* a kick is heard at once, a doorbell within the bound of 4 ms */
		for (turns = 0; bell->seen != bell->line[3]; turns++) {
			assert_true(turns < 5000);
			io_core_turn(core, false);
			now_ns += US;
		}
	} while (n < 400);
	assert_in_range(bell->q.stats.parked, 20, n);
}

static const struct io_queue_ops looked_ops = { .poll = moment_poll,
						.pending = moment_pending,
						.announced = moment_announced };
static const struct io_queue_ops notified_ops = { .poll = moment_poll, .notify = moment_notify };

static void rung_at_any_moment(void **state)
{
	kicks = false;
	rung_while_parking(&looked_ops);
}

static void kicked_at_any_moment(void **state)
{
	kicks = true;
	rung_while_parking(&looked_ops);
}

static void kicked_at_any_moment_beside_notifications(void **state)
{
	kicks = true;
	rung_while_parking(&notified_ops);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(quiet_ones_share_their_naps),
		T(one_rings_now_and_then),
		T(found_within_the_bound),
		T(found_soon_after),
		T(found_by_the_usual_gap),
		T(found_by_the_clock),
		T(looked_at_when_an_answer_is_expected),
		T(expected_by_another_core),
		T(looks_little_while_awake),
		T(bound_changes),
		T(other_words_are_no_work),
		T(rung_at_any_moment),
		T(kicked_at_any_moment),
		T(kicked_at_any_moment_beside_notifications),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
