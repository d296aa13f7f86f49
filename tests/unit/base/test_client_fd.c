/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/client_fd.h"
#include "base/event.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* Until all is closed. */
static void wait_idle(struct client_closer *c)
{
	struct pollfd pfd = { client_closer_event(c), POLLIN, 0 };

	do {
		assert_int_equal(poll(&pfd, 1, 60000), 1);
		event_fd_drain(pfd.fd);
	} while (client_closer_busy(c));
}

static void knows_the_harmless(void **state)
{
	int pipes[2], pair[2];
	int harmless[] = { eventfd(0, 0), eventfd(7, EFD_SEMAPHORE), memfd_create("m", 0),
			   memfd_create("m", MFD_ALLOW_SEALING) };
	int others[] = { open("/dev/null", O_RDWR),
			 open("/proc/self/status", O_RDONLY),
			 open("/", O_RDONLY),
			 open("/", O_PATH),
			 0,
			 0,
			 0,
			 0 };

	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	memcpy(others + 4, pipes, sizeof(pipes));
	memcpy(others + 6, pair, sizeof(pair));
	for (unsigned i = 0; i < 4; i++) {
		assert_true(client_fd_is_harmless(harmless[i]));
		close(harmless[i]);
	}
	for (unsigned i = 0; i < 8; i++) {
		assert_true(is_open(others[i]));
		assert_false(client_fd_is_harmless(others[i]));
		close(others[i]);
	}
	assert_false(client_fd_is_harmless(-1));
}

/* With its last descriptor its pages are freed. */
static void knows_what_holds_much(void **state)
{
	int fd = memfd_create("m", 0), one = memfd_create("m", 0), none = memfd_create("m", 0);

	assert_int_equal(ftruncate(none, 1 << 30), 0);
	assert_true(client_fd_is_harmless(none));
	assert_int_equal(fallocate(one, 0, 0, 4096), 0);
	assert_true(client_fd_is_harmless(one));
	assert_int_equal(fallocate(fd, 0, 0, 1 << 20), 0);
	assert_false(client_fd_is_harmless(fd));
	close(fd);
	close(one);
	close(none);
}

static void closes(void **state)
{
	struct client_closer *c = client_closer_new();
	int fds[200];

	assert_false(client_closer_busy(c));
	client_closer_close(c, -1);
	fds[0] = eventfd(0, 0);
	client_closer_close(c, fds[0]);
	assert_false(client_closer_busy(c));
	assert_false(is_open(fds[0]));
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 200; i++)
			fds[i] = open("/dev/null", O_RDONLY);
		for (unsigned i = 0; i < 200; i++)
			client_closer_close(c, fds[i]);
		wait_idle(c);
		for (unsigned i = 0; i < 200; i++)
			assert_false(is_open(fds[i]));
	}
	client_closer_free(c);
	client_closer_free(NULL);
}

/* The owner is gone, and what it gave is closed all the same. */
static void goes_before_it_is_done(void **state)
{
	for (unsigned round = 0; round < 100; round++) {
		struct client_closer *c = client_closer_new();
		int pair[2];
		char byte;

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		client_closer_close(c, pair[0]);
		client_closer_free(c);
		assert_int_equal(read(pair[1], &byte, 1), 0);
		close(pair[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_the_harmless),
		cmocka_unit_test(knows_what_holds_much),
		cmocka_unit_test(closes),
		cmocka_unit_test(goes_before_it_is_done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
