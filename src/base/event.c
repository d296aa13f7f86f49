/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Signalling by write() can wait: eventfd(2) does so when the counter is full and the file is not
 * non-blocking, and looks at both only then. RWF_NOWAIT is refused for this write, and a look
 * before it can be too early. But the kernel's own signals of an eventfd never wait. So each thread
 * has a context for asynchronous I/O (io_setup(2)) and asks there for a write of no bytes to
 * /dev/null, which is done at once, and for the eventfd to be told (IOCB_FLAG_RESFD). It costs
 * about half a microsecond more than write().
 *
 * Draining is a read with RWF_NOWAIT, which eventfds know.
 */
#include "base/event.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define DEPTH 64 /* completions that may lie unread */

struct signaller {
	aio_context_t context;
	int null_fd; /* -1: there is no asynchronous I/O to be had */
	unsigned unread;
};

static pthread_key_t key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static __thread struct signaller *own;

static void signaller_free(void *arg)
{
	struct signaller *s = arg;

	if (s->null_fd >= 0) {
		syscall(SYS_io_destroy, s->context);
		close(s->null_fd);
	}
	free(s);
	own = NULL;
}

static void key_make(void)
{
	if (pthread_key_create(&key, signaller_free))
		abort(); /* there are a thousand */
}

static struct signaller *signaller_new(void)
{
	struct signaller *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	pthread_once(&key_once, key_make);
	s->null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (s->null_fd >= 0 && syscall(SYS_io_setup, DEPTH, &s->context) < 0) {
		close(s->null_fd);
		s->null_fd = -1;
	}
	pthread_setspecific(key, s);
	own = s;
	return s;
}

/* Without asynchronous I/O (fs.aio-max-nr used up, a kernel without it) there is a look before the
 * write; a client that is quick enough can make it wait. */
static bool signal_by_write(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };
	static const uint64_t one = 1;

	if (poll(&pfd, 1, 0) == 1 && !(pfd.revents & POLLOUT))
		return true; /* full */
	return write(fd, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN;
}

static void reap(struct signaller *s)
{
	struct timespec no_time = { 0, 0 };
	struct io_event events[DEPTH];

	syscall(SYS_io_getevents, s->context, 0, DEPTH, events, &no_time);
	s->unread = 0;
}

bool event_fd_signal(int fd)
{
	struct signaller *s = own;
	struct iocb request, *requests = &request;
	long done;

	if (fd < 0)
		return false;
	if (!s)
		s = signaller_new();
	if (!s || s->null_fd < 0)
		return signal_by_write(fd);
	memset(&request, 0, sizeof(request));
	request.aio_lio_opcode = IOCB_CMD_PWRITE;
	request.aio_fildes = (uint32_t)s->null_fd;
	request.aio_buf = (uint64_t)(uintptr_t)&request;
	request.aio_flags = IOCB_FLAG_RESFD;
	request.aio_resfd = (uint32_t)fd;
	done = syscall(SYS_io_submit, s->context, 1, &requests);
	if (done < 0 && errno == EAGAIN) {
		reap(s);
		done = syscall(SYS_io_submit, s->context, 1, &requests);
	}
	if (++s->unread >= DEPTH / 2)
		reap(s);
	return done == 1;
}

void event_fd_wake(int fd)
{
	static const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return; /* full: it is readable then, which is all we want */
}

bool event_fd_drain(int fd)
{
	uint64_t count;
	struct iovec iov = { &count, sizeof(count) };

	return preadv2(fd, &iov, 1, -1, RWF_NOWAIT) == sizeof(count);
}

bool event_fd_is(int fd)
{
	char path[64], target[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	return !strcmp(target, "anon_inode:[eventfd]");
}
