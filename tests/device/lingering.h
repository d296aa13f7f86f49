/* SPDX-License-Identifier: BSD-2-Clause */
/* A descriptor whose close() lasts until somebody else says so: a TCP socket that lingers, with
 * more to be sent than its peer has room for. */
#ifndef TESTS_DEVICE_LINGERING_H
#define TESTS_DEVICE_LINGERING_H

#include "base/loop.h"

#include <netinet/in.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct lingering {
	int fd;	  /* the test closes its own when it has sent it */
	int peer; /* when this is closed, so is @fd */
};

static inline struct lingering lingering_open(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	struct linger for_long = { 1, 3600 };
	socklen_t len = sizeof(address);
	static const char bytes[65536];
	struct lingering l;

	assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	l.fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(l.fd, (struct sockaddr *)&address, sizeof(address)), 0);
	l.peer = accept(listener, NULL, NULL);
	assert_true(l.peer >= 0);
	close(listener);
	assert_int_equal(setsockopt(l.fd, SOL_SOCKET, SO_LINGER, &for_long, sizeof(for_long)), 0);
	while (send(l.fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	return l;
}

/* The server's thread does nothing until lingering_sent(): what is sent meanwhile is all there when
 * it looks, and the descriptor is not the test's any more. */
struct lingering_gate {
	struct loop *loop;
	sem_t open;
};

static inline void lingering_wait(void *arg)
{
	struct lingering_gate *gate = arg;

	while (sem_wait(&gate->open))
		;
}

static inline void lingering_begin(struct lingering_gate *gate, struct loop *loop)
{
	gate->loop = loop;
	sem_init(&gate->open, 0, 0);
	assert_int_equal(loop_post(loop, lingering_wait, gate), 0);
}

static inline void lingering_sent(struct lingering_gate *gate, struct lingering *l)
{
	close(l->fd);
	sem_post(&gate->open);
}

#endif
