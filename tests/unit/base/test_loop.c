/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/clock.h"
#include "base/loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

static int runs, other_runs;
static struct loop_fd first, second;

static void remove_both(struct loop_fd *lfd, uint32_t events)
{
	runs++;
	loop_remove(&first);
	loop_remove(&second);
}

static void removed_in_its_round(void **state)
{
	struct loop *loop = loop_new();
	int a = eventfd(1, 0), b = eventfd(1, 0);

	assert_non_null(loop);
	runs = 0;
	assert_int_equal(loop_add(loop, &first, a, EPOLLIN, remove_both), 0);
	assert_int_equal(loop_add(loop, &second, b, EPOLLIN, remove_both), 0);
	assert_int_equal(loop_once(loop, 0), 0);
	assert_int_equal(loop_once(loop, 0), 0);
	assert_int_equal(runs, 1); /* both were ready, one removed the other */
	loop_remove(&first);
	loop_free(loop);
	close(a);
	close(b);
}

static void count_run(struct loop_fd *lfd, uint32_t events)
{
	runs++;
}

/* What stays ready is told again only when its pause is over; what it is asked for meanwhile holds
 * then. */
static void paused(void **state)
{
	struct loop *loop = loop_new();
	int a = eventfd(1, 0);
	uint64_t hour = time_now_ns() + 3600 * NS_PER_S;

	assert_non_null(loop);
	runs = 0;
	assert_int_equal(loop_add(loop, &first, a, EPOLLIN, count_run), 0);
	loop_pause(&first, hour);
	assert_int_equal(loop_once(loop, 0), 0);
	assert_int_equal(loop_modify(&first, EPOLLIN), 0);
	assert_int_equal(loop_once(loop, 0), 0);
	assert_int_equal(runs, 0);
	loop_pause(&first, time_now_ns()); /* over in the next round */
	assert_int_equal(loop_once(loop, 0), 0);
	assert_int_equal(loop_once(loop, 0), 0);
	assert_int_equal(runs, 1);
	loop_pause(&first, time_now_ns());
	assert_int_equal(loop_modify(&first, 0), 0);
	assert_int_equal(loop_once(loop, 0), 0);
	assert_int_equal(loop_once(loop, 0), 0);
	assert_int_equal(runs, 1);
	/* nothing is left of it when it is removed */
	loop_pause(&first, time_now_ns());
	loop_remove(&first);
	assert_null(first.pause.loop);
	loop_pause(&first, hour);
	assert_null(first.pause.loop);
	assert_int_equal(loop_add(loop, &first, a, EPOLLIN, count_run), 0);
	assert_int_equal(loop_once(loop, 0), 0);
	assert_int_equal(runs, 2);
	loop_remove(&first);
	loop_free(loop);
	close(a);
}

static int order[4], n_order;

static void fire_one(struct loop_timer *timer)
{
	order[n_order++] = 1;
}

static void fire_two(struct loop_timer *timer)
{
	order[n_order++] = 2;
}

static void timers_in_order(void **state)
{
	struct loop *loop = loop_new();
	struct loop_timer one = { 0 }, two = { 0 }, never = { 0 };
	uint64_t now = time_now_ns();

	n_order = 0;
	loop_timer_set(loop, &one, now + 2000000, fire_one);
	loop_timer_set(loop, &never, now + 1000000, fire_one);
	loop_timer_set(loop, &two, now + 1000000, fire_two);
	loop_timer_cancel(&never);
	while (n_order < 2)
		assert_int_equal(loop_once(loop, 1000), 0);
	assert_int_equal(order[0], 2);
	assert_int_equal(order[1], 1);
	assert_int_equal(loop_once(loop, 0), 0);
	assert_int_equal(n_order, 2); /* once each */
	loop_free(loop);
}

static void count(void *arg)
{
	other_runs++;
}

static void stop(void *arg)
{
	loop_stop(arg);
}

static void *poster(void *arg)
{
	for (int i = 0; i < 1000; i++)
		loop_post(arg, count, NULL);
	loop_post(arg, stop, arg);
	return NULL;
}

static void posts_from_a_thread(void **state)
{
	struct loop *loop = loop_new();
	pthread_t thread;

	other_runs = 0;
	pthread_create(&thread, NULL, poster, loop);
	assert_int_equal(loop_run(loop), 0);
	pthread_join(thread, NULL);
	assert_int_equal(other_runs, 1000);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(removed_in_its_round),
		cmocka_unit_test(paused),
		cmocka_unit_test(timers_in_order),
		cmocka_unit_test(posts_from_a_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
