/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The thread is made when there is something to close and ends when there is nothing left. The
 * closer belongs to its owner and to that thread: the last of them frees it, so an owner that goes
 * does not wait for a close() either.
 */
#include "base/client_fd.h"

#include "base/event.h"
#include "base/thread.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of one message (SCM_MAX_FD is 253) with what was kept of it, sockets, and room. */
#define FDS_MAX 512
/* Of 512 bytes, in a memory file: freeing them is no more work than handing it to a thread. */
#define SMALL_BLOCKS 128

struct client_closer {
	pthread_mutex_t lock;
	int fds[FDS_MAX]; /* to be closed */
	unsigned n;
	bool busy;     /* there is a thread */
	unsigned refs; /* the owner's and the thread's */
	int event_fd;
};

bool client_fd_is_harmless(int fd)
{
	struct stat st;

	if (fcntl(fd, F_GET_SEALS) >= 0)
		return !fstat(fd, &st) && st.st_blocks <= SMALL_BLOCKS;
	return event_fd_is(fd);
}

struct client_closer *client_closer_new(void)
{
	struct client_closer *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return NULL;
	c->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (c->event_fd < 0) {
		err = errno;
		free(c);
		errno = err;
		return NULL;
	}
	pthread_mutex_init(&c->lock, NULL);
	c->refs = 1;
	return c;
}

static void put(struct client_closer *c)
{
	if (__atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL))
		return;
	pthread_mutex_destroy(&c->lock);
	close(c->event_fd);
	free(c);
}

void client_closer_free(struct client_closer *closer)
{
	if (closer)
		put(closer);
}

static void *run(void *arg)
{
	struct client_closer *c = arg;

	pthread_mutex_lock(&c->lock);
	while (c->n) {
		int fd = c->fds[--c->n];

		pthread_mutex_unlock(&c->lock);
		close(fd);
		pthread_mutex_lock(&c->lock);
	}
	STORE_RELEASE(c->busy, false);
	event_fd_wake(c->event_fd);
	pthread_mutex_unlock(&c->lock);
	put(c);
	return NULL;
}

void client_closer_close(struct client_closer *c, int fd)
{
	if (fd < 0)
		return;
	if (client_fd_is_harmless(fd)) {
		close(fd);
		return;
	}
	pthread_mutex_lock(&c->lock);
	if (c->n < FDS_MAX) {
		c->fds[c->n++] = fd;
		fd = -1;
	}
	if (!c->busy) {
		__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
		STORE_RELEASE(c->busy, true);
		if (thread_start(run, c)) {
			/* the machine is out of threads: as well as it can be done without */
			STORE_RELEASE(c->busy, false);
			__atomic_sub_fetch(&c->refs, 1, __ATOMIC_RELAXED);
			fd = c->fds[--c->n];
		}
	}
	pthread_mutex_unlock(&c->lock);
	if (fd >= 0)
		close(fd);
}

bool client_closer_busy(const struct client_closer *closer)
{
	return LOAD_ACQUIRE(closer->busy);
}

int client_closer_event(const struct client_closer *closer)
{
	return closer->event_fd;
}
