/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ring of records of any length between two threads, without a lock: one thread at a time writes
 * (several serialise themselves), one reads in place. A record does not wrap: where the end is too
 * near, it is skipped.
 */
#ifndef EXITLESS_BASE_RING_H
#define EXITLESS_BASE_RING_H

#include "base/util.h"

struct ring {
	uint8_t *data;
	uint32_t size;					    /* power of two */
	uint64_t head __attribute__((aligned(CACHE_LINE))); /* writer: the reader sees up to here */
	uint64_t written;				    /* writer: and this far it has come */
	uint64_t reserved;
	uint64_t tail __attribute__((aligned(CACHE_LINE))); /* reader */
};

/* 0 or -ENOMEM. @size is a power of two. */
int ring_init(struct ring *ring, uint32_t size);
void ring_done(struct ring *ring);

/* Writer: room for a record of up to @len bytes, or NULL when there is none; then ring_commit()
 * with what was written. A reservation that is not committed costs nothing. */
void *ring_reserve(struct ring *ring, uint32_t len);
void ring_commit(struct ring *ring, uint32_t len);
/* The same in two steps, to show many records at once: ring_add() for each, ring_publish() after
 * the last. A ring_commit() shows what was added before it as well. */
void ring_add(struct ring *ring, uint32_t len);
void ring_publish(struct ring *ring);

/* Reader: starts a cursor, gets the next record (NULL: none), gives back all up to the cursor. */
uint64_t ring_cursor(const struct ring *ring);
void *ring_next(const struct ring *ring, uint64_t *cursor, uint32_t *len);
void ring_release(struct ring *ring, uint64_t cursor);

/* Any thread. */
bool ring_empty(const struct ring *ring);

#endif
