/* SPDX-License-Identifier: BSD-2-Clause */
/* Real threads: messages, timers, kicks, sleep, and queues that move between cores under load. */
#include "base/clock.h"
#include "base/util.h"
#include "core/core.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <urcu-qsbr.h>

#include <cmocka.h>

static struct io_core *cores[2];

static int setup(void **state)
{
	struct io_core_params params = { .cpu = -1, .wake_bound_ns = 2 * NS_PER_MS };

	cores[0] = io_core_new("io0", &params);
	cores[1] = io_core_new("io1", &params);
	return cores[0] && cores[1] ? 0 : -1;
}

static int teardown(void **state)
{
	io_core_free(cores[0]);
	io_core_free(cores[1]);
	return 0;
}

/* A queue whose work is a number that another thread raises; polls count it down to what was done.
 * Like a device's, its poll runs under a lock. */
struct counter {
	struct io_queue q;
	pthread_mutex_t lock;
	uint64_t wanted, done, unsafe;
	bool announced;
};

static bool counter_pending(struct io_queue *queue)
{
	struct counter *c = container_of(queue, struct counter, q);

	return LOAD_ACQUIRE(c->wanted) != READ_ONCE(c->done);
}

static void counter_poll(struct io_queue *queue, struct io_turn *turn, struct io_work *work)
{
	struct counter *c = container_of(queue, struct counter, q);
	uint64_t n;

	pthread_mutex_lock(&c->lock);
	n = MIN(LOAD_ACQUIRE(c->wanted) - c->done, (uint64_t)turn->budget_packets);
	STORE_RELEASE(c->done, c->done + n);
	pthread_mutex_unlock(&c->lock);
	work->packets = (unsigned)n;
	work->more = counter_pending(queue);
}

static bool counter_announced(struct io_queue *queue)
{
	return READ_ONCE(container_of(queue, struct counter, q)->announced);
}

/* As queues do that look at their guest's memory for this: what is under RCU has to stay. */
static bool counter_notify(struct io_queue *queue, bool on)
{
	if (!urcu_qsbr_read_ongoing())
		COUNT(container_of(queue, struct counter, q)->unsafe, 1);
	return on && counter_pending(queue);
}

static const struct io_queue_ops looked_ops = { .poll = counter_poll,
						.pending = counter_pending,
						.announced = counter_announced };
static const struct io_queue_ops notify_ops = { counter_poll, counter_pending, counter_notify };

static void counter_init(struct counter *c, const struct io_queue_ops *ops)
{
	*c = (struct counter){ .q = { .ops = ops, .name = "c", .wake_fd = -1 } };
	pthread_mutex_init(&c->lock, NULL);
}

static void wait_done(struct counter *c)
{
	while (LOAD_ACQUIRE(c->done) != c->wanted)
		usleep(50);
}

static void wait_asleep(struct io_core *core)
{
	struct io_core_stats stats;
	uint64_t sleeps;

	io_core_stats(core, &stats);
	sleeps = stats.sleeps;
	do {
		usleep(200);
		io_core_stats(core, &stats);
	} while (stats.polled || stats.sleeps == sleeps);
}

/* Runs on the core. */
static void get_stats(struct io_core *core, void *stats)
{
	io_core_stats(core, stats);
}

/* Until a nap has begun that finds whatever was signalled before. */
static void wait_nap(struct io_core *core)
{
	struct io_core_stats before, stats;

	io_core_call(core, get_stats, &before);
	do {
		usleep(50);
		io_core_stats(core, &stats);
	} while (stats.sleeps == before.sleeps);
}

static void wakes_for_a_mapped_doorbell(void **state)
{
	struct counter c;

	counter_init(&c, &looked_ops);
	assert_int_equal(io_queue_add(cores[0], &c.q), 0);
	for (unsigned i = 0; i < 5; i++) {
		wait_asleep(cores[0]);
		STORE_RELEASE(c.wanted, c.wanted + 3);
		wait_done(&c);
	}
	assert_true(READ_ONCE(c.q.stats.wakes) >= 5);
	io_queue_remove(&c.q);
	assert_int_equal(c.q.state, IO_QUEUE_OFF);
}

static void wakes_for_a_kick(void **state)
{
	struct counter c;

	counter_init(&c, &notify_ops);
	assert_int_equal(io_queue_add(cores[0], &c.q), 0);
	for (unsigned i = 0; i < 20000; i++) {
		STORE_RELEASE(c.wanted, c.wanted + 1);
		io_queue_kick(&c.q);
		if (i % 16 == 0)
			wait_done(&c);
		if (i % 1000 == 0)
			usleep(500); /* let it park and sleep */
	}
	wait_done(&c);
	io_queue_remove(&c.q);
}

static void wakes_for_an_eventfd(void **state)
{
	struct counter c;
	uint64_t one = 1;

	counter_init(&c, &notify_ops);
	c.q.wake_fd = eventfd(0, EFD_NONBLOCK);
	c.q.drain_wake_fd = true;
	assert_int_equal(io_queue_add(cores[0], &c.q), 0);
	for (unsigned i = 0; i < 2000; i++) {
		STORE_RELEASE(c.wanted, c.wanted + 1);
		assert_int_equal(write(c.q.wake_fd, &one, 8), 8);
		wait_done(&c);
		if (i % 100 == 0)
			usleep(500);
	}
	/* asleep it is announced by nothing else, and counted */
	for (unsigned i = 0; i < 3; i++) {
		struct io_core_stats stats;
		uint64_t kicks, asleep;

		/* a nap that is over has taken the events of earlier writes; parked after that, and
		 * for a turn, it stays so */
		wait_nap(cores[0]);
		io_core_call(cores[0], get_stats, &stats);
		while (READ_ONCE(c.q.state) != IO_QUEUE_PARKED)
			usleep(50);
		io_core_call(cores[0], get_stats, &stats);
		/* nothing is due: this nap ends by the event only, and counts before it has ended
		 */
		io_core_stats(cores[0], &stats);
		asleep = stats.sleep_ns;
		do {
			usleep(1000);
			io_core_stats(cores[0], &stats);
		} while (stats.sleep_ns < asleep + NS_PER_MS);
		kicks = READ_ONCE(c.q.stats.kicks);
		STORE_RELEASE(c.wanted, c.wanted + 1);
		assert_int_equal(write(c.q.wake_fd, &one, 8), 8);
		wait_done(&c);
		assert_int_equal(READ_ONCE(c.q.stats.kicks), kicks + 1);
	}
	io_queue_remove(&c.q);
	assert_int_equal(c.unsafe, 0);
	close(c.q.wake_fd);
}

static int stop_raising;

static void *raise_always(void *arg)
{
	struct counter *c = arg;

	while (!LOAD_ACQUIRE(stop_raising)) {
		STORE_RELEASE(c->wanted, c->wanted + 1);
		io_queue_kick(&c->q);
		if (c->wanted % 512 == 0)
			usleep(100);
	}
	return NULL;
}

/* Between cores and back, all the while new work comes: nothing is lost or done twice. */
static void moves_under_load(void **state)
{
	struct counter c;
	pthread_t thread;

	counter_init(&c, &notify_ops);
	stop_raising = 0;
	assert_int_equal(io_queue_add(cores[0], &c.q), 0);
	pthread_create(&thread, NULL, raise_always, &c);
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(io_queue_move(&c.q, cores[(i + 1) % 2]), 0);
	STORE_RELEASE(stop_raising, 1);
	pthread_join(thread, NULL);
	io_queue_kick(&c.q);
	wait_done(&c);
	assert_int_equal(c.q.stats.migrated, 300);
	io_queue_remove(&c.q);
}

struct alarm {
	struct io_timer timer;
	unsigned fired;
	uint64_t late_ns;
};

static void ring(struct io_timer *timer, struct io_turn *turn)
{
	struct alarm *alarm = container_of(timer, struct alarm, timer);

	COUNT(alarm->fired, 1);
}

static void timers_fire_once(void **state)
{
	struct alarm a = { .timer = { .fire = ring, .deadline_ns = UINT64_MAX } }, b = a;

	io_timer_add(cores[0], &a.timer);
	io_timer_add(cores[0], &b.timer);
	for (unsigned i = 1; i <= 20; i++) {
		io_timer_set(&b.timer, time_now_ns() + 3600 * NS_PER_S);
		io_timer_set(&a.timer, time_now_ns() + 200000);
		while (READ_ONCE(a.fired) < i)
			usleep(20);
	}
	usleep(2000);
	assert_int_equal(READ_ONCE(a.fired), 20);
	assert_int_equal(READ_ONCE(b.fired), 0);
	io_timer_set(&a.timer, time_now_ns() + 3600 * NS_PER_S);
	io_timer_set(&a.timer, UINT64_MAX);
	io_timer_remove(&a.timer);
	io_timer_remove(&b.timer);
	assert_int_equal(a.fired, 20);
}

static void count_call(struct io_core *core, void *arg)
{
	++*(unsigned *)arg; /* no atomics: the call is synchronous */
}

static void calls_are_synchronous(void **state)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 2000; i++) {
		io_core_call(cores[i % 2], count_call, &n);
		assert_int_equal(n, i + 1);
	}
}

static void idle_core_sleeps(void **state)
{
	struct counter c[10];
	struct io_core_stats before, after;
	uint64_t start;

	for (unsigned i = 0; i < 10; i++) {
		counter_init(&c[i], &looked_ops);
		assert_int_equal(io_queue_add(cores[0], &c[i].q), 0);
	}
	wait_asleep(cores[0]);
	usleep(100000); /* let the looks get rare */
	start = time_now_ns();
	io_core_stats(cores[0], &before);
	usleep(100000);
	io_core_stats(cores[0], &after);
	/* at most 5 naps in 1 ms; a busy loop would make hundreds of turns */
	assert_true(after.turns - before.turns < (time_now_ns() - start) / 100000);
	for (unsigned i = 0; i < 10; i++)
		io_queue_remove(&c[i].q);
}

/* What nobody needs to look at costs nothing: the core sleeps until it is kicked. */
static void announced_queue_wakes_nobody(void **state)
{
	struct counter c;
	struct io_core_stats before, after;

	counter_init(&c, &looked_ops);
	c.announced = true;
	assert_int_equal(io_queue_add(cores[0], &c.q), 0);
	while (READ_ONCE(c.q.state) != IO_QUEUE_PARKED)
		usleep(50);
	/* no earlier call ends more than this nap */
	wait_nap(cores[0]);
	io_core_stats(cores[0], &before);
	usleep(50000); /* looked at, it would be 25 times at least */
	io_core_stats(cores[0], &after);
	assert_true(after.sleeps - before.sleeps <= 1);
	assert_int_equal(READ_ONCE(c.q.stats.looks), 0);

	STORE_RELEASE(c.wanted, 7);
	WRITE_ONCE(c.announced, false);
	io_queue_kick(&c.q);
	wait_done(&c);
	/* and from now on it is looked at */
	wait_asleep(cores[0]);
	STORE_RELEASE(c.wanted, 8);
	wait_done(&c);
	io_queue_remove(&c.q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(wakes_for_a_mapped_doorbell, setup, teardown),
		cmocka_unit_test_setup_teardown(wakes_for_a_kick, setup, teardown),
		cmocka_unit_test_setup_teardown(wakes_for_an_eventfd, setup, teardown),
		cmocka_unit_test_setup_teardown(moves_under_load, setup, teardown),
		cmocka_unit_test_setup_teardown(timers_fire_once, setup, teardown),
		cmocka_unit_test_setup_teardown(calls_are_synchronous, setup, teardown),
		cmocka_unit_test_setup_teardown(idle_core_sleeps, setup, teardown),
		cmocka_unit_test_setup_teardown(announced_queue_wakes_nobody, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
