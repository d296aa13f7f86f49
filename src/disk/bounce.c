/* SPDX-License-Identifier: BSD-2-Clause */
#include "disk/bounce.h"

#include "base/iov.h"

#include <errno.h>
#include <stdlib.h>

#define PAGE 4096u

int bounce_init(struct bounce_pool *pool, struct bounce_locks *locks, unsigned align)
{
	pool->locks = locks;
	pool->memory = aligned_alloc(MAX(align, PAGE), (size_t)BOUNCE_BUFFERS * BOUNCE_BYTES);
	if (!pool->memory)
		return -ENOMEM;
	for (unsigned i = 0; i < BOUNCE_BUFFERS; i++) {
		struct bounce *b = &pool->all[i];

		b->data = pool->memory + (size_t)i * BOUNCE_BYTES;
		b->next = pool->free;
		pool->free = b;
	}
	return 0;
}

void bounce_done(struct bounce_pool *pool)
{
	free(pool->memory);
	pool->memory = NULL;
}

/* ---- locks ------------------------------------------------------------------------------- */

static uint64_t *lock_of(struct bounce_locks *locks, const struct bounce *b, uint64_t *bit)
{
	uint64_t hash = b->at / b->block * 0x9e3779b97f4a7c15ull >> 54;

	*bit = 1ull << hash % 64;
	return &locks->bits[hash / 64];
}

static bool lock(struct bounce_locks *locks, const struct bounce *b)
{
	uint64_t bit, *word = lock_of(locks, b, &bit);

	return !(__atomic_fetch_or(word, bit, __ATOMIC_ACQUIRE) & bit);
}

static void unlock(struct bounce_locks *locks, const struct bounce *b)
{
	uint64_t bit, *word = lock_of(locks, b, &bit);

	__atomic_fetch_and(word, ~bit, __ATOMIC_RELEASE);
}

/* ---- parts ------------------------------------------------------------------------------- */

/* A copy of what is to be written: the guest may change it meanwhile. */
static void fill(const struct bounce *b, const struct disk_io *io)
{
	if (io->op == DISK_ZEROES)
		memset(b->data + b->skip, 0, b->len);
	else
		iov_to_buf(io->iov, io->n_iov, io->done, b->data + b->skip, b->len);
}

bool bounce_begin(struct bounce_pool *pool, struct disk_io *io, unsigned block)
{
	uint64_t from = io->offset + io->done, left = io->bytes - io->done, at, bytes;
	struct bounce *b = pool->free;

	if (!b)
		return false;
	b->block = block;
	b->at = at = ALIGN_DOWN(from, block);
	b->skip = (unsigned)(from - at);
	b->fetched = b->alone = false;
	b->changes = io->op != DISK_READ && (b->skip || left < block);
	if (io->op == DISK_READ)
		bytes = ALIGN_UP(MIN(b->skip + left, (uint64_t)BOUNCE_BYTES), block);
	else if (b->changes)
		bytes = block;
	else
		bytes = ALIGN_DOWN(MIN(left, (uint64_t)BOUNCE_BYTES), block);
	b->bytes = (unsigned)bytes;
	b->len = (unsigned)MIN(left, bytes - b->skip);
	if (b->changes && !lock(pool->locks, b))
		return false;
	pool->free = b->next;
	io->bounce = b;
	if (io->op != DISK_READ && !b->changes)
		fill(b, io);
	return true;
}

void bounce_end(struct bounce_pool *pool, struct disk_io *io)
{
	struct bounce *b = io->bounce;

	if (!b)
		return;
	if (b->changes)
		unlock(pool->locks, b);
	io->bounce = NULL;
	b->next = pool->free;
	pool->free = b;
}

bool bounce_reads(const struct disk_io *io)
{
	return io->op == DISK_READ || (io->bounce->changes && !io->bounce->fetched);
}

uint8_t *bounce_from(const struct disk_io *io, uint64_t *at, unsigned *bytes)
{
	const struct bounce *b = io->bounce;
	bool part = b->alone && b->fetched;

	*at = b->at + (part ? b->skip : 0);
	*bytes = part ? b->len : b->bytes;
	return b->data + (part ? b->skip : 0);
}

int bounce_moved(struct bounce_pool *pool, struct disk_io *io, unsigned n)
{
	struct bounce *b = io->bounce;
	/* not of what is only there to make whole blocks */
	unsigned before = b->alone && b->fetched ? 0 : b->skip;

	if (b->changes && !b->fetched) {
		b->fetched = true;
		/* written whole it would make the file longer */
		b->alone = n < b->bytes;
		fill(b, io);
		return DISK_PENDING;
	}
	if (n <= before)
		return -EIO;
	n = MIN(n - before, b->len);
	if (io->op == DISK_READ)
		iov_copy(io->iov, io->n_iov, io->done, &(struct iovec){ b->data + b->skip, n }, 1,
			 0, n);
	io->done += n;
	bounce_end(pool, io);
	return 0;
}

/* ---- who waits --------------------------------------------------------------------------- */

void bounce_wait(struct bounce_pool *pool, struct disk_io *io)
{
	io->next = NULL;
	*(pool->waiting ? pool->waiting_end : &pool->waiting) = io;
	pool->waiting_end = &io->next;
}

struct disk_io *bounce_waits(const struct bounce_pool *pool)
{
	return pool->waiting;
}

void bounce_waits_no_more(struct bounce_pool *pool)
{
	pool->waiting = pool->waiting->next;
}
