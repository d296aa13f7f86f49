/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * epoll, an eventfd for posts, and timers in a sorted list (there are few). A watched descriptor
 * may be removed by any callback of the same round: removed entries are blanked out of the round's
 * array, so no callback runs for something that is gone.
 */
#include "base/loop.h"

#include "base/clock.h"
#include "base/event.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS 64

struct post {
	void (*fn)(void *arg);
	void *arg;
	struct post *next;
};

struct loop {
	int epoll_fd;
	struct loop_fd wake;
	int stop;
	struct list timers; /* by deadline */
	pthread_mutex_t lock;
	struct post *posts, **posts_tail;
	/* the round being handled */
	struct epoll_event events[EVENTS];
	int n_events;
};

static void run_posts(struct loop *loop)
{
	struct post *post, *next;

	pthread_mutex_lock(&loop->lock);
	post = loop->posts;
	loop->posts = NULL;
	loop->posts_tail = &loop->posts;
	pthread_mutex_unlock(&loop->lock);
	for (; post; post = next) {
		next = post->next;
		post->fn(post->arg);
		free(post);
	}
}

static void woken(struct loop_fd *lfd, uint32_t events)
{
	uint64_t count;

	if (read(lfd->fd, &count, sizeof(count)) < 0)
		return;
	run_posts(container_of(lfd, struct loop, wake));
}

struct loop *loop_new(void)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int fd, err;

	if (!loop)
		return NULL;
	list_init(&loop->timers);
	loop->posts_tail = &loop->posts;
	pthread_mutex_init(&loop->lock, NULL);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		err = errno;
		goto free_loop;
	}
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0) {
		err = errno;
		goto close_epoll;
	}
	err = -loop_add(loop, &loop->wake, fd, EPOLLIN, woken);
	if (!err)
		return loop;
	close(fd);
close_epoll:
	close(loop->epoll_fd);
free_loop:
	pthread_mutex_destroy(&loop->lock);
	free(loop);
	errno = err;
	return NULL;
}

void loop_free(struct loop *loop)
{
	struct post *post, *next;

	if (!loop)
		return;
	close(loop->wake.fd);
	close(loop->epoll_fd);
	for (post = loop->posts; post; post = next) {
		next = post->next;
		free(post);
	}
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

int loop_run(struct loop *loop)
{
	while (!LOAD_ACQUIRE(loop->stop)) {
		int err = loop_once(loop, -1);

		if (err)
			return err;
	}
	return 0;
}

void loop_stop(struct loop *loop)
{
	STORE_RELEASE(loop->stop, 1);
	event_fd_wake(loop->wake.fd);
}

static int timeout_until(const struct loop *loop, int timeout_ms)
{
	uint64_t now, deadline;
	int ms;

	if (list_empty(&loop->timers))
		return timeout_ms;
	now = time_now_ns();
	deadline = list_first(&loop->timers, struct loop_timer, node)->deadline_ns;
	if (deadline <= now)
		return 0;
	ms = (int)MIN((deadline - now + NS_PER_MS - 1) / NS_PER_MS, (uint64_t)3600 * 1000);
	return timeout_ms < 0 ? ms : MIN(ms, timeout_ms);
}

static void fire_timers(struct loop *loop)
{
	uint64_t now = time_now_ns();

	while (!list_empty(&loop->timers)) {
		struct loop_timer *timer = list_first(&loop->timers, struct loop_timer, node);

		if (timer->deadline_ns > now)
			break;
		loop_timer_cancel(timer);
		timer->fire(timer);
	}
}

int loop_once(struct loop *loop, int timeout_ms)
{
	int n;

	n = epoll_wait(loop->epoll_fd, loop->events, EVENTS, timeout_until(loop, timeout_ms));
	if (n < 0 && errno != EINTR)
		return -errno;
	loop->n_events = MAX(n, 0);
	for (int i = 0; i < loop->n_events; i++) {
		struct loop_fd *lfd = loop->events[i].data.ptr;

		if (lfd)
			lfd->ready(lfd, loop->events[i].events);
	}
	loop->n_events = 0;
	fire_timers(loop);
	return 0;
}

int loop_add(struct loop *loop, struct loop_fd *lfd, int fd, uint32_t events,
	     void (*ready)(struct loop_fd *lfd, uint32_t events))
{
	struct epoll_event event = { .events = events, .data.ptr = lfd };

	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	lfd->fd = fd;
	lfd->ready = ready;
	lfd->loop = loop;
	lfd->events = events;
	lfd->pause.loop = NULL;
	return 0;
}

static int watch(struct loop_fd *lfd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = lfd };

	return epoll_ctl(lfd->loop->epoll_fd, EPOLL_CTL_MOD, lfd->fd, &event) < 0 ? -errno : 0;
}

int loop_modify(struct loop_fd *lfd, uint32_t events)
{
	int err;

	if (!lfd->loop)
		return -ENOENT;
	err = lfd->pause.loop ? 0 : watch(lfd, events);
	if (!err)
		lfd->events = events;
	return err;
}

static void pause_over(struct loop_timer *timer)
{
	struct loop_fd *lfd = container_of(timer, struct loop_fd, pause);

	watch(lfd, lfd->events);
}

void loop_pause(struct loop_fd *lfd, uint64_t until_ns)
{
	if (!lfd->loop || watch(lfd, 0))
		return;
	loop_timer_set(lfd->loop, &lfd->pause, until_ns, pause_over);
}

void loop_remove(struct loop_fd *lfd)
{
	struct loop *loop = lfd->loop;

	if (!loop)
		return;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, lfd->fd, NULL);
	for (int i = 0; i < loop->n_events; i++)
		if (loop->events[i].data.ptr == lfd)
			loop->events[i].data.ptr = NULL;
	loop_timer_cancel(&lfd->pause);
	lfd->loop = NULL;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns,
		    void (*fire)(struct loop_timer *timer))
{
	struct list *at;

	loop_timer_cancel(timer);
	timer->deadline_ns = deadline_ns;
	timer->fire = fire;
	timer->loop = loop;
	for (at = loop->timers.next; at != &loop->timers; at = at->next)
		if (list_entry(at, struct loop_timer, node)->deadline_ns > deadline_ns)
			break;
	list_add(at, &timer->node); /* in front of @at */
}

void loop_timer_cancel(struct loop_timer *timer)
{
	if (!timer->loop)
		return;
	list_del(&timer->node);
	timer->loop = NULL;
}

int loop_post(struct loop *loop, void (*fn)(void *arg), void *arg)
{
	struct post *post = malloc(sizeof(*post));

	if (!post)
		return -ENOMEM;
	*post = (struct post){ .fn = fn, .arg = arg };
	pthread_mutex_lock(&loop->lock);
	*loop->posts_tail = post;
	loop->posts_tail = &post->next;
	pthread_mutex_unlock(&loop->lock);
	event_fd_wake(loop->wake.fd);
	return 0;
}
