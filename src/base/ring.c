/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/ring.h"

#include <errno.h>
#include <stdlib.h>

#define HEADER 8u
#define SKIP   UINT32_MAX /* nothing more before the end */

int ring_init(struct ring *ring, uint32_t size)
{
	memset(ring, 0, sizeof(*ring));
	ring->size = size;
	ring->data = aligned_alloc(CACHE_LINE, size);
	return ring->data ? 0 : -ENOMEM;
}

void ring_done(struct ring *ring)
{
	free(ring->data);
}

static uint8_t *at(const struct ring *ring, uint64_t position)
{
	return ring->data + (position & (ring->size - 1));
}

void *ring_reserve(struct ring *ring, uint32_t len)
{
	uint32_t need = ALIGN_UP(len, HEADER) + HEADER;
	uint32_t to_end = ring->size - (uint32_t)(ring->written & (ring->size - 1));
	uint32_t skip = need > to_end ? to_end : 0;
	uint64_t used = ring->written - LOAD_ACQUIRE(ring->tail);

	if (need > ring->size || used + skip + need > ring->size)
		return NULL;
	if (skip)
		store_le32(at(ring, ring->written), SKIP);
	ring->reserved = ring->written + skip;
	return at(ring, ring->reserved) + HEADER;
}

void ring_add(struct ring *ring, uint32_t len)
{
	store_le32(at(ring, ring->reserved), len);
	ring->written = ring->reserved + HEADER + ALIGN_UP(len, HEADER);
}

void ring_publish(struct ring *ring)
{
	STORE_RELEASE(ring->head, ring->written);
}

void ring_commit(struct ring *ring, uint32_t len)
{
	ring_add(ring, len);
	ring_publish(ring);
}

uint64_t ring_cursor(const struct ring *ring)
{
	return ring->tail;
}

void *ring_next(const struct ring *ring, uint64_t *cursor, uint32_t *len)
{
	uint8_t *record;

	if (*cursor == LOAD_ACQUIRE(ring->head))
		return NULL;
	record = at(ring, *cursor);
	if (load_le32(record) == SKIP) {
		*cursor += ring->size - (*cursor & (ring->size - 1));
		record = at(ring, *cursor);
	}
	*len = load_le32(record);
	*cursor += HEADER + ALIGN_UP(*len, HEADER);
	return record + HEADER;
}

void ring_release(struct ring *ring, uint64_t cursor)
{
	STORE_RELEASE(ring->tail, cursor);
}

bool ring_empty(const struct ring *ring)
{
	return LOAD_ACQUIRE(ring->tail) == LOAD_ACQUIRE(ring->head);
}
