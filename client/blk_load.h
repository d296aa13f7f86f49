/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A load on a disk that any vhost-user-blk server serves: the driver side of virtio-blk, with a
 * number of requests in flight per queue or at a rate, reads and writes mixed, at random or in
 * order. With verification each block that was written is known by its content, and each read of
 * such a block is checked.
 *
 * One thread per load; it may drive many loads in turn. load_clock_init() first.
 */
#ifndef EXITLESS_CLIENT_BLK_LOAD_H
#define EXITLESS_CLIENT_BLK_LOAD_H

#include "client/histogram.h"

#include <stdbool.h>
#include <stdint.h>

#define BLK_LOAD_QUEUES_MAX 16
#define BLK_LOAD_DEPTH_MAX  1024

struct blk_load;

struct blk_load_config {
	const char *path;      /* of the server's socket */
	unsigned queues;       /* 1..16 */
	unsigned depth;	       /* requests in flight per queue, 0..1024; 0: an idle device */
	uint32_t block_bytes;  /* of a request: a multiple of 512 up to 1 MiB */
	uint64_t span_bytes;   /* only this much of the disk; 0: all of it */
	unsigned read_percent; /* 0..100 of the requests; the others write */
	double rate_per_s;     /* requests of one queue, open loop; 0: closed loop */
	bool sequential;
	bool packed, indirect, event_idx; /* refused if the server has not got it */
	bool verify;			  /* at most 1 GiB of the disk is used */
	uint64_t seed;
};

struct blk_load_stats {
	uint64_t reads, writes; /* done, with errors */
	uint64_t errors;	/* status other than OK */
	uint64_t wrong;		/* reads with other data than were written */
	uint64_t kicks;
	/* open loop, at the end of what was measured */
	uint64_t unfinished; /* in flight */
	uint64_t unsent;     /* due, but there were as many in flight as may be */
	/* ns, from start (open loop: from when it was due) to done; of what was unfinished or
	 * unsent: to the end */
	struct histogram latency;
};

/*
 * Connects and starts the rings. NULL with errno set: EINVAL (configuration, or the disk is smaller
 * than a block), ERANGE (the disk has no more than *@queues), EOPNOTSUPP (a feature the server has
 * not got), EROFS (writes to a read-only disk), or why it could not connect.
 */
struct blk_load *blk_load_new(const struct blk_load_config *config, unsigned *queues);
/* Closes the connection, whatever is under way. NULL is allowed. */
void blk_load_free(struct blk_load *load);

/* Takes what is done and, if @start, starts new requests; returns how many were done. */
unsigned blk_load_poll(struct blk_load *load, bool start);
/* Requests that are not done. */
unsigned blk_load_busy(const struct blk_load *load);

/* Capacity of the disk. */
uint64_t blk_load_disk_bytes(const struct blk_load *load);
const struct blk_load_stats *blk_load_stats(const struct blk_load *load);
/* Forgets what was measured; errors and wrong data stay. */
void blk_load_clear(struct blk_load *load);

struct blk_run_phases {
	double warmup_s, seconds;
	const int *stop; /* may be NULL; nonzero: end early */
	/* may be NULL; called around what is measured, while requests are under way */
	void (*begin)(void *arg);
	void (*end)(void *arg);
	void *arg;
};

struct blk_run_result {
	double seconds;		    /* that were measured */
	uint64_t loops, idle_loops; /* rounds over all devices; those that found nothing done */
};

/*
 * Runs all loads in turn: first without measuring, then measuring, then until all requests are
 * done. 0, or -ETIMEDOUT: requests did not come back within ten seconds.
 */
int blk_loads_run(struct blk_load *const *loads, unsigned n, const struct blk_run_phases *phases,
		  struct blk_run_result *result);

#endif
