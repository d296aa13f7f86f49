/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside of an I/O core, shared by its files and by its tests. */
#ifndef EXITLESS_CORE_PRIVATE_H
#define EXITLESS_CORE_PRIVATE_H

#include "core/core.h"

#include <pthread.h>

/* A rate as a theoretical arrival time (the generic cell rate algorithm, ITU-T I.371): each unit
 * moves @tat_ns on by its cost, and one may go while it is not in the future. Atomic: the cores
 * that serve a group share it. */
struct io_rate {
	uint64_t per_s;	 /* 0: none */
	uint64_t tat_ns; /* CLOCK_MONOTONIC */
};

struct io_group {
	char *name;
	struct io_group_params params; /* READ_ONCE() by cores */
	struct io_rate max_packets, max_bytes, min_packets, min_bytes;
	struct io_group_stats stats; /* atomic adds, once per poll */
};

/* One group's standing on one core. Core thread. */
struct io_share {
	struct io_group *group;	 /* NULL: the core's own queues */
	struct list node;	 /* in core->shares */
	struct list active_node; /* in core->active while it has bulk queues */
	struct list bulk;	 /* queues with more than a poll's worth of work */
	unsigned queues;
	int64_t deficit_ns; /* may still run this long in this round */
	uint64_t round;	    /* of the deficit */
};

/* A quiet queue, with all that a look needs: one line here and one of the doorbell. */
struct io_quiet {
	struct io_queue *queue;
	const uint64_t *doorbell;	      /* the queue's */
	uint64_t seen[IO_DOORBELL_BYTES / 8]; /* of it, when the queue was parked */
	uint64_t eager_ns; /* when to be eager again; UINT64_MAX: not by itself */
	unsigned looks;	   /* not in the queue's counter yet */
};

struct io_message {
	void (*fn)(struct io_core *core, void *arg);
	void *arg;
	bool done;
	struct io_message *next;
};

struct io_core {
	char *name;
	struct io_core_params params; /* defaults filled in; changed by message */
	pthread_t thread;
	bool threaded;		  /* false: a test calls io_core_turn() */
	uint64_t (*now_ns)(void); /* CLOCK_MONOTONIC; a test may have a clock of its own */
	int epoll_fd, wake_fd;

	/* written by others */
	int stop;
	int sleeping;
	int kicked;		   /* some queue was */
	uint64_t next_deadline_ns; /* not later than the earliest timer */
	pthread_mutex_t lock;	   /* messages */
	pthread_cond_t done;
	struct io_message *messages, **messages_tail;
	int n_messages;

	/* core thread */
	struct list queues; /* all, by all_node */
	struct list sparse; /* polled, drained at their last poll */
	struct list parked; /* with notifications or a wake_fd */
	struct list eager;  /* parked with a mapped doorbell: to be looked at soon, */
	/* or once in wake_bound_ns, the next time at quiet_look_ns. With room for all queues */
	struct io_quiet *quiet;
	unsigned n_quiet, quiet_max, quiet_cursor;
	uint64_t quiet_look_ns;
	struct list shares;
	struct list active; /* shares with bulk queues, in the order of service */
	struct list timers;
	uint64_t round;
	unsigned n_queues, n_polled, n_parked, n_looked, n_bulk;
	unsigned n_waited; /* parked with a wake_fd */
	uint64_t last_epoll_ns, last_look_ns, last_now_ns;
	uint64_t last_small_ns; /* a small backlog was served beside bulk ones */
	uint64_t small_ns,
		other_ns;	   /* spent of late on small backlogs beside bulk ones; on others */
	uint64_t limited_until_ns; /* this turn: earliest time a limited queue may go on */
	unsigned n_held;	   /* this turn: queues that a rate holds back */
	bool worked;
	struct io_turn turn;
	struct io_core_stats stats;
};

/* core.c: one turn; sleeps at its end if there is nothing to do and @may_sleep. */
void io_core_turn(struct io_core *core, bool may_sleep);
/* core.c: everything but the thread. */
struct io_core *io_core_new_unstarted(const char *name, const struct io_core_params *params);

/* queue.c */
void io_queue_wake(struct io_core *core, struct io_queue *queue, uint64_t now_ns);
void io_queue_park(struct io_core *core, struct io_queue *queue);
bool io_queue_parks(const struct io_queue *queue);
void io_core_handle_kicks(struct io_core *core, uint64_t now_ns);

/* look.c: room for one queue more; 0 or -ENOMEM. */
int io_look_reserve(struct io_core *core);
/* From when a queue is parked and must be looked at to when it is not. */
void io_look_begin(struct io_core *core, struct io_queue *queue, uint64_t now_ns);
void io_look_end(struct io_core *core, struct io_queue *queue);
/* After a nap: at all that are due. */
void io_look_due(struct io_core *core, uint64_t now_ns);
/* Awake, every park_look_ns: at some, in turn. */
void io_look_awake(struct io_core *core, uint64_t now_ns);
/* When the core is to wake for the next look; UINT64_MAX: not at all. */
uint64_t io_look_next_ns(const struct io_core *core);

/* sched.c: polls what is due. */
void io_sched_run(struct io_core *core);
struct io_share *io_share_get(struct io_core *core, struct io_group *group);
void io_share_put(struct io_core *core, struct io_share *share);
/* Takes a polled queue off the scheduler's lists. */
void io_sched_forget(struct io_core *core, struct io_queue *queue);

/* group.c */
/* May it take packets now? 0: yes, up to *packets and *bytes (lowered to what the rate leaves).
 * Otherwise the time at which it may again. */
uint64_t io_group_limit(struct io_group *group, uint64_t now_ns, unsigned *packets,
			uint64_t *bytes);
bool io_group_below_minimum(const struct io_group *group, uint64_t now_ns);
void io_group_charge(struct io_group *group, uint64_t now_ns, uint64_t packets, uint64_t bytes,
		     uint64_t busy_ns);

void io_core_wake(struct io_core *core);

#endif
