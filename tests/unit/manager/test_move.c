/* SPDX-License-Identifier: BSD-2-Clause */
/* An endpoint moves from core to core, and its timer with it, while its queue sets the timer. */
#include "base/clock.h"
#include "base/util.h"
#include "manager/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

/* Sets its timer when it has fired, as a device that holds back an interrupt does. */
struct ticker {
	struct io_queue queue;
	struct io_timer timer;
	bool armed; /* atomic: while they move, the timer may be on the other core */
	unsigned fired;
};

static void ticker_poll(struct io_queue *queue, struct io_turn *turn, struct io_work *work)
{
	struct ticker *t = container_of(queue, struct ticker, queue);

	work->packets = 1;
	work->more = true;
	if (__atomic_exchange_n(&t->armed, true, __ATOMIC_ACQ_REL))
		return;
	io_timer_set(&t->timer, turn->now_ns + 20 * NS_PER_US);
}

static bool ticker_pending(struct io_queue *queue)
{
	return true;
}

static void ticker_fire(struct io_timer *timer, struct io_turn *turn)
{
	struct ticker *t = container_of(timer, struct ticker, timer);

	__atomic_store_n(&t->armed, false, __ATOMIC_RELEASE);
	COUNT(t->fired, 1);
}

static const struct io_queue_ops ticker_ops = { .poll = ticker_poll, .pending = ticker_pending };

static void timer_is_set_in_the_middle(void **state)
{
	struct io_core_params params = { .cpu = -1, .wake_bound_ns = 2 * NS_PER_MS };
	struct core cores[2] = { { .io = io_core_new("io0", &params) },
				 { .io = io_core_new("io1", &params) } };
	struct ticker t = { .queue = { .ops = &ticker_ops, .name = "ticker", .wake_fd = -1 },
			    .timer = { .fire = ticker_fire, .deadline_ns = UINT64_MAX } };
	struct io_queue *queues[] = { &t.queue };
	struct io_timer *timers[] = { &t.timer };
	struct endpoint end = { .queues = queues, .n_queues = 1, .timers = timers, .n_timers = 1 };
	struct why why;

	assert_true(cores[0].io && cores[1].io);
	assert_int_equal(endpoint_start(&end, &cores[0], NULL, &why), 0);
	for (unsigned i = 1; i <= 1000; i++) {
		uint64_t until = time_now_ns() + 60 * NS_PER_S;
		unsigned fired = READ_ONCE(t.fired);

		assert_int_equal(endpoint_move(&end, &cores[i % 2], &why), 0);
		while (READ_ONCE(t.fired) == fired) {
			assert_true(time_now_ns() < until);
			usleep(100);
		}
	}
	endpoint_stop(&end);
	io_core_free(cores[0].io);
	io_core_free(cores[1].io);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(timer_is_set_in_the_middle) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
