/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Eventfds: our own, and those that a client gave us. It keeps the same open file, so it may change
 * the file's flags and its counter at any moment: O_NONBLOCK is no promise, and a write() to a
 * counter that the client filled, or a read() of one that it emptied, would wait for it. Neither of
 * these ever does. Any thread.
 */
#ifndef EXITLESS_BASE_EVENT_H
#define EXITLESS_BASE_EVENT_H

#include <stdbool.h>

/* One of our own, non-blocking, that nobody else has: wakes who waits for it. */
void event_fd_wake(int fd);

/* Whether @fd is an eventfd, and nothing else that can be waited for. */
bool event_fd_is(int fd);
/* Adds 1. Returns false if @fd is -1 or no eventfd; a counter that is full stays as it is, and
 * that is no failure: whoever waits for it sees it. */
bool event_fd_signal(int fd);
/* Takes what is in it. Returns whether there was anything. */
bool event_fd_drain(int fd);

#endif
