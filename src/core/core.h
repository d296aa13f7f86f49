/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The I/O core: one pinned thread that serves many queues of many machines by polling. It knows
 * nothing about devices: a queue tells it what to call and what it did (struct io_queue), and the
 * scheduler decides who is called, how often, and when to sleep.
 *
 * A turn: take messages; fire due timers; poll the chosen queues, each within its budget; flush
 * what the polls gave away; pass a quiescent point. A queue is in one of three states:
 *
 *   polled   called each turn, the other side's notifications are off
 *   parked   nothing found for a while. With ops->notify, notifications are on and wake_fd (or
 *            io_queue_kick()) brings it back. Without (a doorbell in shared memory that nobody
 *            announces), pending() is looked at: often where something is likely to come soon, and
 *            every wake_bound_ns at least (look.c). Unless ops->announced says that somebody does
 *            announce what comes next: then nobody looks.
 *   off      not called at all
 *
 * The core sleeps in epoll_wait() when nothing is polled.
 *
 * Threads: control thread for everything, unless a function says "any thread" or "core".
 */
#ifndef EXITLESS_CORE_CORE_H
#define EXITLESS_CORE_CORE_H

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct io_core;
struct io_group;
struct io_queue;
struct io_share;
struct io_turn;

/* ---- what a poll gets ------------------------------------------------------------------- */

#define IO_FLUSH_MAX	 256
#define IO_SCRATCH_BYTES (256 * 1024)

/*
 * Work to do once at the end of a turn, whoever asked for it and however often in the turn (an
 * interrupt, a batch of descriptors to publish, a system call). Embedded in a sink.
 */
struct io_flush {
	void (*flush)(struct io_flush *flush, struct io_turn *turn);
	void *pending; /* private */
};

/* One turn of one core; tests make one on their stack with io_turn_init(). Core thread. */
struct io_turn {
	struct io_core *core; /* NULL in tests */
	uint64_t now_ns;      /* at the turn's start */
	/* what the queue being polled may still take in this poll */
	unsigned budget_packets;
	uint64_t budget_bytes;
	/* private to one poll; IO_SCRATCH_BYTES, cache-line aligned */
	void *scratch;
	/* whose packets are given, for sinks that treat sources alike: an address, no more */
	const void *giver;
	/* private */
	unsigned n_flush;
	struct io_flush *flush[IO_FLUSH_MAX];
};

/* For tests and for threads that are no core: @scratch holds IO_SCRATCH_BYTES. */
void io_turn_init(struct io_turn *turn, void *scratch);
/* Runs the flushes that were asked for. */
void io_turn_end(struct io_turn *turn);
/* Has @flush run at the end of the turn. If another core has it pending already, that one does it:
 * the caller changed the sink under the sink's lock, and flush() takes that lock. */
void io_turn_flush_later(struct io_turn *turn, struct io_flush *flush);

/* ---- queues ----------------------------------------------------------------------------- */

#define IO_DOORBELL_BYTES 32

struct io_work {
	unsigned packets; /* or I/O operations, when they are taken */
	unsigned ended; /* operations that had been pending: work, but nothing that a rate is for */
	uint64_t bytes;
	bool more; /* stopped by the budget, work is left */
	/* time went into something that is no packet (dropped, or not whole yet): it is charged,
	 * though there was no packet */
	bool spent;
	/* items still waiting after the poll, as far as that is cheap to know; 0 if not */
	unsigned backlog;
};

struct io_queue_ops {
	/* Core. Takes and does up to the turn's budget. Must be bounded by it whatever the guest
	 * does. */
	void (*poll)(struct io_queue *queue, struct io_turn *turn, struct io_work *work);
	/* Core. Cheap (one load or two): may there be something to do? NULL: always says yes. */
	bool (*pending)(struct io_queue *queue);
	/* Core. Turns the other side's notifications on or off. On: returns true when work came
	 * meanwhile, and then leaves them off. NULL: there are none, look at pending(). */
	bool (*notify)(struct io_queue *queue, bool on);
	/* Core, when the queue is parked: will io_queue_kick() be called before there can be work?
	 * Whoever makes the answer false calls it. NULL: no. */
	bool (*announced)(struct io_queue *queue);
};

enum io_queue_state { IO_QUEUE_OFF, IO_QUEUE_POLLED, IO_QUEUE_PARKED };

/* Counters of one queue, written by its core only; read with READ_ONCE(). */
struct io_queue_stats {
	uint64_t polls, empty_polls, packets, bytes, cycles;
	uint64_t limited;	      /* polls that ended by the budget */
	uint64_t kicks;		      /* while parked: by wake_fd or io_queue_kick() */
	uint64_t wakes;		      /* returns from parked to polled */
	uint64_t looks;		      /* at pending() while parked */
	uint64_t parked, migrated;    /* times */
	uint64_t promoted, waited_ns; /* by the scheduler */
};

/* When to look at a parked queue's doorbell (look.c). Private to the core. */
struct io_look {
	bool quiet; /* in core->quiet, and there at @at */
	unsigned at;
	uint64_t next_ns;   /* eager: of the next look */
	uint64_t looked_ns; /* the last look while awake */
	uint64_t rang_ns;   /* last sign of work */
	uint64_t expect_ns; /* last io_queue_expect(); any core */
	uint64_t gap_ns;    /* usual time between two rings */
	uint64_t steady_ns; /* the time between them, if it is always the same */
	unsigned steady;    /* how sure that is; 0: not */
};

/* Embedded in a device's queue. The owner fills the first part before io_queue_add(). */
struct io_queue {
	const struct io_queue_ops *ops;
	const char *name;	/* "vm1/net0/tx0"; owned by the device */
	struct io_group *group; /* the machine it belongs to; NULL: the core's own */
	/* With the maximum rates of its device alone; NULL: it has none. May change at any time
	 * (STORE_RELEASE()); not freed before the queue is removed. */
	struct io_group *own;
	/* Atomic, set while the queue comes to its end: it takes nothing new then, and no maximum
	 * rate holds back what it has. Whoever sets it calls io_queue_retry(). NULL: never. */
	const bool *ending;
	int wake_fd;	    /* readable when there may be work; -1: none. Only while parked */
	bool drain_wake_fd; /* an eventfd: the core reads it when it wakes by it */
	/* IO_DOORBELL_BYTES in one cache line, aligned to their size, in which something changes
	 * before pending() says yes (or the queue is kicked); NULL: none, ask pending(). Saves a
	 * sleeping core from looking at more than that. */
	const uint64_t *doorbell;

	/* private to the core; stats and state may be read by anybody with READ_ONCE() */
	struct io_core *core;
	struct io_share *share;
	enum io_queue_state state;
	int kicked;
	bool looked; /* parked: pending() is looked at */
	struct io_look look;
	bool bulk;		   /* had more than its budget at the last poll */
	uint64_t held_turn;	   /* of the core, in which a rate held it back; 0: none */
	uint64_t last_work_ns;	   /* when a poll last found something */
	uint64_t waiting_since_ns; /* bulk: since its last poll */
	unsigned packet_ns;	   /* what a packet takes, of late */
	bool small;		   /* had a few packets at the last poll */
	struct list node;	   /* in the core's list of its state */
	struct list all_node;
	struct io_queue_stats stats;
};

/* Adds to / takes from a core; returns when the core has done it. Returns 0 or -errno. A queue that
 * was removed is not being polled any more, and none of its callbacks runs. */
int io_queue_add(struct io_core *core, struct io_queue *queue);
void io_queue_remove(struct io_queue *queue);
/* Moves a running queue to another core without a pause for its other side. */
int io_queue_move(struct io_queue *queue, struct io_core *to);
/* Any thread: there may be work; a parked queue becomes polled, a sleeping core wakes. Cheap when
 * the queue is polled already: it is looked at once more before it is parked. The queue must be on
 * a core or the call does nothing. */
void io_queue_kick(struct io_queue *queue);

/* Any thread: a rate that holds @queue back is another one, or @queue->ending was set; a core that
 * sleeps until the rate lets it go on tries again now. */
void io_queue_retry(struct io_queue *queue);

/* Core @turn is of: the other side of @queue was given something that it may answer, so its
 * doorbell is worth looking at. Cheap when the queue is polled. */
void io_queue_expect(struct io_queue *queue, const struct io_turn *turn);

/* ---- timers ----------------------------------------------------------------------------- */

/* A core's timer; embedded. fire() runs on the core; the deadline may be set from any thread. */
struct io_timer {
	void (*fire)(struct io_timer *timer, struct io_turn *turn);
	uint64_t deadline_ns; /* atomic; UINT64_MAX: not armed */
	struct io_core *core;
	struct list node;
};

/* The deadline may be set before, meanwhile and between two cores: it is kept. */
void io_timer_add(struct io_core *core, struct io_timer *timer);
void io_timer_remove(struct io_timer *timer);
/* Any thread. Fires once when now >= @deadline_ns; a later call replaces it; UINT64_MAX disarms (it
 * may be firing just now). Wakes a sleeping core if needed. */
void io_timer_set(struct io_timer *timer, uint64_t deadline_ns);

/* ---- groups: a machine's share ----------------------------------------------------------- */

enum io_latency_class {
	IO_LATENCY_NORMAL, /* small backlogs go before large ones */
	IO_LATENCY_LOW,	   /* always before machines of the other classes, within its share */
	IO_LATENCY_BULK,   /* never before anybody */
};

/* Rates are over all cores and queues of the machine; 0: none. Packets are I/O operations for
 * disks. */
struct io_group_params {
	unsigned weight; /* share of a busy core's time, 1..1000; 0: 1 */
	enum io_latency_class latency;
	uint64_t max_packets_per_s, max_bytes_per_s;
	uint64_t min_packets_per_s, min_bytes_per_s; /* served before others while below */
};

struct io_group_stats {
	uint64_t packets, bytes, busy_ns;
	uint64_t limited;  /* polls held back by a maximum */
	uint64_t promoted; /* polls brought forward by a minimum */
};

/* Returns NULL on lack of memory. @name is copied. */
struct io_group *io_group_new(const char *name);
/* No queue is in it any more. */
void io_group_free(struct io_group *group);
/* Control thread, at any time. A rate that changes forgets what was overdrawn; the caller has the
 * group's queues look at it (io_queue_retry()). -EINVAL: weight above 1000, or a minimum above its
 * maximum. */
int io_group_set(struct io_group *group, const struct io_group_params *params);
void io_group_stats(const struct io_group *group, struct io_group_stats *stats);

/* ---- cores ------------------------------------------------------------------------------ */

struct io_core_params {
	int cpu;		/* to pin to; -1: none */
	unsigned turn_packets;	/* budget of one poll; 0: 64 */
	uint64_t turn_bytes;	/* budget of one poll; 0: 256 KiB */
	uint64_t park_after_ns; /* idle for this long: park; 0: 50 us */
	uint64_t park_look_ns;	/* looks at some mapped doorbells while awake; 0: 5 us */
	uint64_t wake_bound_ns; /* at each of them, awake or asleep, at least; 0: 4 ms */
	uint64_t quantum_ns;	/* a busy machine's share of a round, times its weight; 0: 20 us */
	uint64_t slice_ns;	/* bulk polls while small backlogs come in; 0: 1 us */
	bool round_robin;	/* no order: each polled queue in each turn, to compare with */
};

/* Starts the thread. Returns NULL with errno set. @name is copied ("io0"). */
struct io_core *io_core_new(const char *name, const struct io_core_params *params);
/* All queues and timers have been removed, and a grace period (rcu_wait()) has passed since, if
 * other cores are there that may have been about to wake this one. Stops and joins. */
void io_core_free(struct io_core *core);
void io_core_params_get(const struct io_core *core, struct io_core_params *params);
/* Changes everything but the CPU while it runs. */
void io_core_params_set(struct io_core *core, const struct io_core_params *params);

/* Runs @fn(@arg) on the core between two turns and returns when it is done. */
void io_core_call(struct io_core *core, void (*fn)(struct io_core *core, void *arg), void *arg);

struct io_core_stats {
	uint64_t turns, sleeps, messages, timers;
	uint64_t busy_ns, idle_ns, sleep_ns; /* turns with work, without, and asleep */
	unsigned queues, polled, parked;     /* now */
};
void io_core_stats(const struct io_core *core, struct io_core_stats *stats);

#endif
