/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control thread's event loop: file descriptors, timers, and calls from other threads. One
 * thread runs it; all functions but loop_post() and loop_stop() are for that thread only.
 * Callbacks must not block: a guest may be waiting for an answer on another descriptor.
 */
#ifndef EXITLESS_BASE_LOOP_H
#define EXITLESS_BASE_LOOP_H

#include "base/list.h"

#include <stdint.h>

struct loop;

struct loop_timer {
	void (*fire)(struct loop_timer *timer);
	uint64_t deadline_ns; /* CLOCK_MONOTONIC */
	struct list node;
	struct loop *loop; /* NULL while not armed */
};

/* A descriptor that is watched; embedded in its owner, who closes the descriptor itself. */
struct loop_fd {
	int fd;
	/* @events: EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR as epoll_wait() gave them */
	void (*ready)(struct loop_fd *lfd, uint32_t events);
	struct loop *loop; /* NULL while not watched */
	uint32_t events;   /* asked for */
	struct loop_timer pause;
};

/* Returns NULL with errno set. */
struct loop *loop_new(void);
void loop_free(struct loop *loop);

/* Runs until loop_stop(). Returns 0 or -errno. */
int loop_run(struct loop *loop);
/* Handles what is ready, waiting up to @timeout_ms (-1: for ever) for it. Returns 0 or -errno. */
int loop_once(struct loop *loop, int timeout_ms);
/* Any thread, and signal handlers. */
void loop_stop(struct loop *loop);

/* Watches @fd for @events (EPOLLIN...; level-triggered unless EPOLLET is one). Returns 0 or -errno.
 */
int loop_add(struct loop *loop, struct loop_fd *lfd, int fd, uint32_t events,
	     void (*ready)(struct loop_fd *lfd, uint32_t events));
int loop_modify(struct loop_fd *lfd, uint32_t events);
/* Does not watch it until @until_ns (CLOCK_MONOTONIC), whatever loop_modify() asks for meanwhile:
 * for what is ready and cannot be served now. Errors and hangups are told all the same. */
void loop_pause(struct loop_fd *lfd, uint64_t until_ns);
/* Stops watching; no callback of @lfd runs after it returns. Nothing if not watched. */
void loop_remove(struct loop_fd *lfd);

/* Arms or re-arms; fires once, from the loop. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns,
		    void (*fire)(struct loop_timer *timer));
void loop_timer_cancel(struct loop_timer *timer);

/* Any thread: has @fn(@arg) called by the loop soon, in order. Returns 0 or -ENOMEM. */
int loop_post(struct loop *loop, void (*fn)(void *arg), void *arg);

#endif
