/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stages and the list of transfers between them and the transport. A transfer belongs to its stage.
 * Once submitted it is also in the space's list, first of those queued, then of those the transport
 * has taken; its bytes are then the transport's until it is done. A stage that is cleared meanwhile
 * leaves a taken transfer to the transport, which frees it.
 */
#include "memory/remote.h"

#include "memory/map.h"

#include <errno.h>
#include <stdlib.h>

struct memory_stage {
	struct memory_space *space;
	struct memory_transfer **transfers;
	unsigned n, room;
	unsigned submitted; /* the first so many */
	unsigned last[2];   /* that served memory_stage_at() */
	uint32_t bytes;
	unsigned waiting; /* written under the channel's lock */
};

struct memory_stage *memory_stage_new(struct memory_space *space)
{
	struct memory_stage *stage = calloc(1, sizeof(*stage));

	if (stage)
		stage->space = space;
	return stage;
}

void memory_stage_free(struct memory_stage *stage)
{
	if (!stage)
		return;
	memory_stage_clear(stage);
	free(stage->transfers);
	free(stage);
}

bool memory_stage_room(const struct memory_stage *stage, unsigned n, uint32_t len)
{
	return n <= MEMORY_STAGE_TRANSFERS - stage->n && len <= MEMORY_STAGE_BYTES - stage->bytes;
}

static struct memory_transfer *add(struct memory_stage *stage, uint64_t addr, uint32_t len,
				   bool write)
{
	struct memory_transfer *t;

	if (!len || !memory_stage_room(stage, 1, len)) {
		errno = ENOSPC;
		return NULL;
	}
	if (stage->n == stage->room) {
		unsigned room = stage->room ? stage->room * 2 : 64;
		void *more = realloc(stage->transfers, room * sizeof(stage->transfers[0]));

		if (!more)
			return NULL;
		stage->transfers = more;
		stage->room = room;
	}
	t = malloc(sizeof(*t) + len);
	if (!t)
		return NULL;
	*t = (struct memory_transfer){
		.addr = addr,
		.len = len,
		.write = write,
		.bytes = (uint8_t *)(t + 1),
		.stage = stage,
	};
	if (write) /* whatever fills it, nothing of anybody else's goes out */
		memset(t->bytes, 0, len);
	list_init(&t->node);
	stage->transfers[stage->n++] = t;
	stage->bytes += len;
	return t;
}

int memory_stage_fetch(struct memory_stage *stage, uint64_t addr, uint32_t len)
{
	return add(stage, addr, len, false) ? 0 : -errno;
}

void *memory_stage_write(struct memory_stage *stage, uint64_t addr, uint32_t len)
{
	struct memory_transfer *t = add(stage, addr, len, true);

	return t ? t->bytes : NULL;
}

unsigned memory_stage_mark(const struct memory_stage *stage)
{
	return stage->n;
}

void memory_stage_rollback(struct memory_stage *stage, unsigned mark)
{
	while (stage->n > MAX(mark, stage->submitted)) {
		struct memory_transfer *t = stage->transfers[--stage->n];

		stage->bytes -= t->len;
		free(t);
	}
}

/* Under the channel's lock. */
static bool finish(struct memory_transfer *t, int error)
{
	struct memory_stage *stage = t->stage;

	list_del(&t->node);
	if (!stage) {
		free(t);
		return false;
	}
	if (!t->error)
		t->error = error;
	t->done = true;
	STORE_RELEASE(stage->waiting, stage->waiting - 1);
	return !stage->waiting;
}

void memory_stage_submit(struct memory_stage *stage)
{
	struct memory_channel *channel = memory_space_channel(stage->space);
	bool was_empty;

	if (stage->submitted == stage->n)
		return;
	pthread_mutex_lock(&channel->lock);
	was_empty = list_empty(&channel->queued);
	for (; stage->submitted < stage->n; stage->submitted++) {
		struct memory_transfer *t = stage->transfers[stage->submitted];

		t->submitted = true;
		WRITE_ONCE(stage->waiting, stage->waiting + 1);
		list_add(&channel->queued, &t->node);
		if (!channel->kick)
			finish(t, -ENOTCONN);
	}
	if (was_empty && channel->kick)
		channel->kick(channel->kick_arg);
	pthread_mutex_unlock(&channel->lock);
}

bool memory_stage_waiting(const struct memory_stage *stage)
{
	return LOAD_ACQUIRE(stage->waiting);
}

static void *inside(const struct memory_transfer *t, uint64_t addr, uint32_t len)
{
	uint64_t skip = addr - t->addr;

	return !t->write && t->done && !t->error && skip < t->len && len <= t->len - skip
		       ? t->bytes + skip
		       : NULL;
}

void *memory_stage_at(struct memory_stage *stage, uint64_t addr, uint32_t len)
{
	/* A queue asks in about the order in which it fetched, by turns for a descriptor and for
	 * what that names: from the last two places on. */
	for (unsigned i = 0; i < 2 * stage->submitted; i++) {
		unsigned *last = &stage->last[i % 2], at = (*last + i / 2) % stage->submitted;
		void *p = inside(stage->transfers[at], addr, len);

		if (p) {
			*last = at;
			return p;
		}
	}
	return NULL;
}

void memory_stage_clear(struct memory_stage *stage)
{
	struct memory_channel *channel = memory_space_channel(stage->space);

	pthread_mutex_lock(&channel->lock);
	for (unsigned i = 0; i < stage->n; i++) {
		struct memory_transfer *t = stage->transfers[i];

		if (t->submitted && !t->done && t->taken) {
			t->stage = NULL; /* memory_remote_done() frees it */
			continue;
		}
		list_del(&t->node);
		free(t);
	}
	WRITE_ONCE(stage->waiting, 0);
	pthread_mutex_unlock(&channel->lock);
	stage->n = stage->submitted = stage->last[0] = stage->last[1] = 0;
	stage->bytes = 0;
}

/* ---- the transport's side ----------------------------------------------------------------- */

void memory_channel_init(struct memory_channel *channel)
{
	pthread_mutex_init(&channel->lock, NULL);
	list_init(&channel->queued);
	list_init(&channel->taken);
}

void memory_channel_done(struct memory_channel *channel)
{
	pthread_mutex_destroy(&channel->lock);
}

void memory_channel_cancel(struct memory_channel *channel, uint64_t addr, uint64_t last)
{
	struct memory_transfer *t;

	pthread_mutex_lock(&channel->lock);
	list_for_each(t, &channel->queued, node)
	{
		if (t->addr <= last && t->addr + (t->len - 1) >= addr)
			finish(t, -EFAULT);
	}
	list_for_each(t, &channel->taken, node)
	{
		if (t->addr <= last && t->addr + (t->len - 1) >= addr)
			t->error = -EFAULT;
	}
	pthread_mutex_unlock(&channel->lock);
}

void memory_remote_open(struct memory_space *space, void (*kick)(void *arg), void *arg)
{
	struct memory_channel *channel = memory_space_channel(space);

	pthread_mutex_lock(&channel->lock);
	channel->kick = kick;
	channel->kick_arg = arg;
	pthread_mutex_unlock(&channel->lock);
}

void memory_remote_close(struct memory_space *space)
{
	struct memory_channel *channel = memory_space_channel(space);
	struct memory_transfer *t;

	pthread_mutex_lock(&channel->lock);
	channel->kick = NULL;
	list_for_each(t, &channel->queued, node)
	{
		finish(t, -ENOTCONN);
	}
	pthread_mutex_unlock(&channel->lock);
}

bool memory_remote_busy(struct memory_space *space)
{
	struct memory_channel *channel = memory_space_channel(space);
	bool busy;

	pthread_mutex_lock(&channel->lock);
	busy = !list_empty(&channel->taken);
	pthread_mutex_unlock(&channel->lock);
	return busy;
}

struct memory_transfer *memory_remote_next(struct memory_space *space)
{
	struct memory_channel *channel = memory_space_channel(space);
	struct memory_transfer *t = NULL;

	pthread_mutex_lock(&channel->lock);
	if (!list_empty(&channel->queued)) {
		t = list_first(&channel->queued, struct memory_transfer, node);
		list_del(&t->node);
		list_add(&channel->taken, &t->node);
		t->taken = true;
	}
	pthread_mutex_unlock(&channel->lock);
	return t;
}

bool memory_remote_wanted(struct memory_space *space, const struct memory_transfer *t)
{
	struct memory_channel *channel = memory_space_channel(space);
	bool wanted;

	pthread_mutex_lock(&channel->lock);
	wanted = t->stage && !t->error;
	pthread_mutex_unlock(&channel->lock);
	return wanted;
}

bool memory_remote_done(struct memory_space *space, struct memory_transfer *t, int error)
{
	struct memory_channel *channel = memory_space_channel(space);
	bool last;

	pthread_mutex_lock(&channel->lock);
	last = finish(t, error);
	pthread_mutex_unlock(&channel->lock);
	return last;
}
