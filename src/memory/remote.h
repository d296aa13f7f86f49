/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory without a file: the client reads and writes it for us, by messages. An I/O core must not
 * wait for an answer, so a queue that meets such memory works in rounds, each on a stage:
 *
 *   - it names what it needs (memory_stage_fetch()) and submits; until all of it has come
 *     (memory_stage_waiting()) it does nothing;
 *   - it works on the copies (memory_stage_at()) and names what it writes (memory_stage_write());
 *   - it submits the writes, and tells the guest (head, interrupt) when all are acknowledged;
 *   - it clears the stage, so that no copy is used twice.
 *
 * Writes are done in the order in which they were named. What failed is not there:
 * memory_stage_at() gives NULL. A stage holds a bounded number of bytes and of transfers, and is
 * the only queue there is, so a client that answers slowly, or never, holds up its own device only.
 *
 * A stage belongs to a queue and is used under that queue's lock. The transport's side is the
 * control thread's. Between them is the space's list of transfers, under a lock of its own that is
 * held for a few instructions.
 */
#ifndef EXITLESS_MEMORY_REMOTE_H
#define EXITLESS_MEMORY_REMOTE_H

#include "base/list.h"
#include "memory/space.h"

struct memory_stage;

#define MEMORY_STAGE_BYTES     (512u * 1024)
#define MEMORY_STAGE_TRANSFERS 2048u

/* Not all of it mapped for this access; mapped, with files; mapped, some of it without a file. */
enum memory_place { MEMORY_NOWHERE, MEMORY_LOCAL, MEMORY_REMOTE };

/* What lies in more regions than these counts as not mapped: looking at each takes its time. */
#define MEMORY_WHERE_PIECES 64u

enum memory_place memory_where(struct memory_reader *reader, uint64_t addr, uint64_t len,
			       unsigned access);

static inline bool memory_is_remote(struct memory_reader *reader, uint64_t addr, uint64_t len,
				    unsigned access)
{
	return memory_where(reader, addr, len, access) == MEMORY_REMOTE;
}

/* ---- a queue's side ----------------------------------------------------------------------- */

/* NULL on lack of memory. */
struct memory_stage *memory_stage_new(struct memory_space *space);
void memory_stage_free(struct memory_stage *stage);

/* Adds a read. -ENOSPC when the stage is full, -ENOMEM. */
int memory_stage_fetch(struct memory_stage *stage, uint64_t addr, uint32_t len);
/* Adds a write; returns where its @len bytes have to be put before they are submitted. NULL when
 * the stage is full. */
void *memory_stage_write(struct memory_stage *stage, uint64_t addr, uint32_t len);
/* Room for @n more transfers of @len bytes together? */
bool memory_stage_room(const struct memory_stage *stage, unsigned n, uint32_t len);
/* Takes back what was added behind a mark, and not submitted. */
unsigned memory_stage_mark(const struct memory_stage *stage);
void memory_stage_rollback(struct memory_stage *stage, unsigned mark);
/* Has the client asked for all that was added since the last call. */
void memory_stage_submit(struct memory_stage *stage);
/* Any answer still missing? */
bool memory_stage_waiting(const struct memory_stage *stage);
/* The copy of [@addr, @addr + @len), ours to change; NULL unless one read brought all of it. */
void *memory_stage_at(struct memory_stage *stage, uint64_t addr, uint32_t len);
/* Forgets everything. What has not been sent yet never will be. */
void memory_stage_clear(struct memory_stage *stage);

/* ---- the transport's side: control thread -------------------------------------------------- */

struct memory_transfer {
	uint64_t addr;
	uint32_t len;
	bool write;
	uint8_t *bytes; /* to be sent, or filled */
	/* the transport's own; 0 at first */
	uint32_t asked, answered; /* bytes */
	bool failed;
	/* private */
	struct memory_stage *stage; /* NULL: nobody wants it any more */
	struct list node;	    /* in the space's list of those queued, or of those taken */
	bool submitted, taken, done;
	int error;
};

/* From now on transfers are taken. @kick(@arg): any thread, under a lock: there are some. */
void memory_remote_open(struct memory_space *space, void (*kick)(void *arg), void *arg);
/* Fails those queued, and all that come. The transport gives back those it has taken. */
void memory_remote_close(struct memory_space *space);
/* Any thread: has the transport taken a transfer that it has not given back? Also of a stage that
 * was cleared: a message that was sent may still be acted on. */
bool memory_remote_busy(struct memory_space *space);
/* The next transfer, or NULL. The caller gives it back by memory_remote_done(). */
struct memory_transfer *memory_remote_next(struct memory_space *space);
/* False when nobody wants the rest of it. */
bool memory_remote_wanted(struct memory_space *space, const struct memory_transfer *transfer);
/* @error: 0 or a negative errno. Returns true when its stage now waits for nothing: the device
 * should look again (it may also do so at any other time). */
bool memory_remote_done(struct memory_space *space, struct memory_transfer *transfer, int error);

#endif
