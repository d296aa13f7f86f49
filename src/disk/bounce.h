/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Buffers for requests that cannot go past the host's page cache as they are: because of where the
 * guest's pieces lie, or because they begin or end within a block. Such a request is done in parts,
 * each through a buffer; a part that is less than a block is read, changed and written. A queue has
 * a few buffers, and requests wait for one in turn. Private to disk/; used under the queue's lock,
 * but for the locks of blocks, which all queues of a file share.
 */
#ifndef EXITLESS_DISK_BOUNCE_H
#define EXITLESS_DISK_BOUNCE_H

#include "disk/backend.h"

#define BOUNCE_BYTES   (64u * 1024) /* of a buffer: one part at most */
#define BOUNCE_BUFFERS 8u	    /* of a queue */

/* One part of a request. */
struct bounce {
	uint8_t *data;
	struct bounce *next;
	uint64_t at;	    /* of the file: a multiple of the block */
	unsigned bytes;	    /* so many from there, whole blocks, */
	unsigned skip, len; /* and what the request means of them */
	unsigned block;
	bool changes; /* is read first, then written; the block is locked */
	bool fetched; /* and that is done */
	bool alone;   /* only what the request means is written, by the host's page cache */
};

/* Blocks of which a part is changed just now: what is read and written back must be nobody else's
 * meanwhile. A bit each, by hash. */
struct bounce_locks {
	uint64_t bits[16]; /* atomic */
};

struct bounce_pool {
	struct bounce_locks *locks;
	uint8_t *memory;
	struct bounce all[BOUNCE_BUFFERS], *free;
	struct disk_io *waiting, **waiting_end;
};

/* 0 or -ENOMEM. Buffers are aligned to @align, a power of two, and to a page. */
int bounce_init(struct bounce_pool *pool, struct bounce_locks *locks, unsigned align);
void bounce_done(struct bounce_pool *pool);

/* Plans the next part of @io (READ, WRITE, ZEROES) as io->bounce; @block is a power of two and no
 * more than BOUNCE_BYTES. False: it has to wait. */
bool bounce_begin(struct bounce_pool *pool, struct disk_io *io, unsigned block);
/* What is to be done for the part now: read into the buffer? Otherwise it is written from
 * bounce_from() on, so many bytes. */
bool bounce_reads(const struct disk_io *io);
uint8_t *bounce_from(const struct disk_io *io, uint64_t *at, unsigned *bytes);
/* It was, and @n bytes were moved. 0: io->done tells how far @io is, and the part is over;
 * DISK_PENDING: the part goes on; -EIO: the file ends before it. */
int bounce_moved(struct bounce_pool *pool, struct disk_io *io, unsigned n);
/* The part is over, or given up. Nothing if there is none. */
void bounce_end(struct bounce_pool *pool, struct disk_io *io);

/* Requests that wait, in turn. The first; NULL: none. */
void bounce_wait(struct bounce_pool *pool, struct disk_io *io);
struct disk_io *bounce_waits(const struct bounce_pool *pool);
void bounce_waits_no_more(struct bounce_pool *pool);

#endif
