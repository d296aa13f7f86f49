/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VM exits by reason, counted by histograms on KVM's tracepoints kvm_exit and kvm_msr in a tracing
 * instance of one's own, which disturbs no other use of tracing. Counting costs each exit some ten
 * nanoseconds while it goes on.
 */
#ifndef EXITLESS_HOST_EXITS_H
#define EXITLESS_HOST_EXITS_H

#include "host/host.h"

#include <jansson.h>

struct exits; /* counting */

/* Begins to count, for all machines. NULL with @error set: no tracefs, no right, no KVM, or a
 * kernel without histograms. Until exits_end() the calling thread takes no SIGINT, SIGTERM and
 * SIGHUP, whose end would leave the histograms counting. Those that a process left that was killed
 * are removed. */
struct exits *exits_begin(struct host *host, struct host_error *error);
/* Waits until @seconds are over, or one of these signals comes; returns how many seconds it was. */
double exits_wait(struct exits *exits, unsigned seconds);
/* Ends it, frees @exits. The counts: for each thread's number (as text) an object of reasons and
 * how often. NULL with @error set. A signal that came meanwhile takes effect before it returns. */
json_t *exits_end(struct host *host, struct exits *exits, struct host_error *error);

/* The same from the text of the two histograms. */
json_t *exits_parse(const char *exits, const char *msrs);

/* Is that reason one that interrupts and the timer cause? */
bool exits_by_interrupts(const char *reason);

#endif
