/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads that are made when there is something to wait for, and end by themselves. */
#ifndef EXITLESS_BASE_THREAD_H
#define EXITLESS_BASE_THREAD_H

/* Runs @run(@arg) on a thread of its own, detached, with a small stack. Returns 0 or a positive
 * errno. */
int thread_start(void *(*run)(void *arg), void *arg);

#endif
