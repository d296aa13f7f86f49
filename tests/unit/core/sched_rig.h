/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A core without a thread, on a clock of the test's own: a packet takes as long as its queue says,
 * a turn 100 ns, and nothing else any time. One thread, one core at a time.
 */
#ifndef EXITLESS_TEST_SCHED_RIG_H
#define EXITLESS_TEST_SCHED_RIG_H

#include "core/private.h"

#include <stdbool.h>
#include <stdint.h>

struct fake {
	struct io_queue q;
	uint64_t waiting; /* packets; UINT64_MAX: endless */
	unsigned bytes;	  /* of a packet */
	unsigned spin_ns; /* a packet's cost */
	uint64_t taken;
	unsigned polls;
	bool notified;
	bool drops; /* makes nothing of what is waiting */
	unsigned largest_poll;
};

extern struct io_core *core;
extern uint64_t fake_now_ns;
/* Who made progress, poll by poll; what is beyond the end is not written down. */
extern struct fake *order[4096];
extern unsigned n_order;

/* A doorbell that nobody announces; and one whose guest is asked for notifications. */
extern const struct io_queue_ops doorbell_ops, notify_ops;

int sched_rig_start(void **state);
int sched_rig_stop(void **state);

#define test_sched(function)                                                                       \
	cmocka_unit_test_setup_teardown(function, sched_rig_start, sched_rig_stop)

void fake_poll(struct io_queue *queue, struct io_turn *turn, struct io_work *work);
bool fake_pending(struct io_queue *queue);
/* Adds @fake to the core, for the machine @group or for none (NULL). */
void fake_add(struct fake *fake, const struct io_queue_ops *ops, struct io_group *group);
/* @n turns of 100 ns each, and what their polls cost. */
void turns(unsigned n);

#endif
