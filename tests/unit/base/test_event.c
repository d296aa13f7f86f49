/* SPDX-License-Identifier: BSD-2-Clause */
/* Eventfds whose other owner wants us to wait. */
#include "base/event.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define FULL (UINT64_MAX - 1)

static uint64_t count_of(int fd)
{
	uint64_t count = 0;

	assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
	return count;
}

static void signals_add_up(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	/* more than may lie unread */
	for (unsigned i = 0; i < 1000; i++)
		assert_true(event_fd_signal(fd));
	assert_int_equal(count_of(fd), 1000);
	assert_true(event_fd_signal(fd));
	assert_true(event_fd_drain(fd));
	assert_false(event_fd_drain(fd));
	close(fd);
	assert_false(event_fd_signal(-1));
	assert_false(event_fd_signal(fd));
	assert_false(event_fd_drain(fd));
}

/* The time limit of the test is the check: neither waits. */
static void never_waits(void **state)
{
	uint64_t full = FULL;
	int fd = eventfd(0, EFD_CLOEXEC); /* blocking */

	assert_false(event_fd_drain(fd));
	assert_int_equal(write(fd, &full, sizeof(full)), sizeof(full));
	for (unsigned i = 0; i < 100; i++)
		assert_true(event_fd_signal(fd));
	assert_true(count_of(fd) >= FULL);
	/* and it is as good as before */
	assert_true(event_fd_signal(fd));
	assert_int_equal(count_of(fd), 1);
	close(fd);
}

static int stop;

static void *adversary(void *arg)
{
	int fd = *(int *)arg;
	uint64_t full = FULL, count;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		fcntl(fd, F_SETFL, O_NONBLOCK);
		if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
			break;
		if (write(fd, &full, sizeof(full)) < 0 && errno != EAGAIN)
			break;
		fcntl(fd, F_SETFL, 0);
	}
	return NULL;
}

/* Flags and counter change while we signal and drain. */
static void never_waits_whatever_changes(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	pthread_t thread;

	__atomic_store_n(&stop, 0, __ATOMIC_RELAXED);
	assert_int_equal(pthread_create(&thread, NULL, adversary, &fd), 0);
	for (unsigned i = 0; i < 100000; i++) {
		assert_true(event_fd_signal(fd));
		if (i % 3 == 0)
			event_fd_drain(fd);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	/* whatever it waits in lets it go */
	fcntl(fd, F_SETFL, O_NONBLOCK);
	event_fd_drain(fd);
	event_fd_signal(fd);
	pthread_join(thread, NULL);
	close(fd);
}

static void *signal_from_here(void *arg)
{
	for (unsigned i = 0; i < 10; i++)
		event_fd_signal(*(int *)arg);
	return NULL;
}

/* Each thread gives back what it signals with. */
static void threads_come_and_go(void **state)
{
	int fd = eventfd(0, EFD_CLOEXEC), first, last;

	first = dup(fd);
	for (unsigned i = 0; i < 500; i++) {
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, signal_from_here, &fd), 0);
		pthread_join(thread, NULL);
	}
	assert_int_equal(count_of(fd), 5000);
	last = dup(fd);
	assert_int_equal(last, first + 1);
	close(first);
	close(last);
	close(fd);
}

static void knows_eventfds(void **state)
{
	int fds[6] = { eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_SEMAPHORE),
		       timerfd_create(CLOCK_MONOTONIC, 0), epoll_create1(0) };

	assert_int_equal(pipe(&fds[4]), 0);
	assert_true(event_fd_is(fds[0]));
	assert_true(event_fd_is(fds[1]));
	for (unsigned i = 2; i < 6; i++)
		assert_false(event_fd_is(fds[i]));
	for (unsigned i = 0; i < 6; i++)
		close(fds[i]);
	assert_false(event_fd_is(fds[0]));
	assert_false(event_fd_is(-1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signals_add_up),
		cmocka_unit_test(never_waits),
		cmocka_unit_test(never_waits_whatever_changes),
		cmocka_unit_test(threads_come_and_go),
		cmocka_unit_test(knows_eventfds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
