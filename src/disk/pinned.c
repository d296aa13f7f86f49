/* SPDX-License-Identifier: BSD-2-Clause */
#include "disk/pinned.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BITS  21
#define CHUNK_BYTES (1ull << CHUNK_BITS)
#define USES	    64 /* of a chunk: then it is registered, which costs as much as some hundred */
#define REFUSED	    (USES + 1)

int pinned_init(struct pinned *pinned, struct io_uring *ring)
{
	int err;

	*pinned = (struct pinned){ 0 };
	pinned->chunks = calloc(PINNED_CHUNKS, sizeof(*pinned->chunks));
	if (!pinned->chunks)
		return -ENOMEM;
	err = io_uring_register_buffers_sparse(ring, PINNED_CHUNKS);
	if (err) {
		free(pinned->chunks);
		pinned->chunks = NULL;
		return err;
	}
	pinned->ring = ring;
	return 0;
}

void pinned_done(struct pinned *pinned)
{
	/* the ring lets go of the memory when it goes */
	free(pinned->chunks);
	*pinned = (struct pinned){ 0 };
}

static int add(struct pinned *pinned, unsigned slot, uint8_t *region, uint64_t region_bytes)
{
	struct pinned_chunk *chunk = &pinned->chunks[slot];
	uint64_t first = chunk->number << CHUNK_BITS, last = first + CHUNK_BYTES;
	struct iovec iov;
	__u64 tag = 0;

	first = MAX(first, (uint64_t)(uintptr_t)region);
	last = MIN(last, (uint64_t)(uintptr_t)region + region_bytes);
	iov = (struct iovec){ (void *)(uintptr_t)first, last - first };
	if (io_uring_register_buffers_update_tag(pinned->ring, slot, &iov, &tag, 1) != 1) {
		/* not memory that can be kept in place, or more than this process may keep */
		chunk->uses = REFUSED;
		return -1;
	}
	chunk->first = first;
	chunk->bytes = last - first;
	WRITE_ONCE(pinned->registered, pinned->registered + 1);
	return (int)slot;
}

int pinned_find(struct pinned *pinned, uint8_t *host, size_t len, uint8_t *region,
		uint64_t region_bytes)
{
	uint64_t at = (uintptr_t)host, number = at >> CHUNK_BITS;
	unsigned slot = number % PINNED_CHUNKS;
	struct pinned_chunk *chunk;

	if (!pinned->ring || pinned->stale || (at + len - 1) >> CHUNK_BITS != number ||
	    (uint64_t)(host - region) >= region_bytes ||
	    len > region_bytes - (uint64_t)(host - region))
		return -1;
	chunk = &pinned->chunks[slot];
	if (chunk->number != number) {
		if (chunk->uses == USES)
			return -1;
		chunk->number = number;
		chunk->uses = 0;
	}
	if (likely(chunk->uses == USES)) {
		/* regions that share a chunk */
		if (at < chunk->first || at + len > chunk->first + chunk->bytes)
			return -1;
		return (int)slot;
	}
	if (chunk->uses == REFUSED || ++chunk->uses < USES)
		return -1;
	return add(pinned, slot, region, region_bytes);
}

void pinned_forget(struct pinned *pinned)
{
	if (!pinned->ring)
		return;
	pinned->stale = false;
	if (!pinned->registered)
		return;
	WRITE_ONCE(pinned->registered, 0);
	memset(pinned->chunks, 0, PINNED_CHUNKS * sizeof(*pinned->chunks));
	io_uring_unregister_buffers(pinned->ring);
	if (io_uring_register_buffers_sparse(pinned->ring, PINNED_CHUNKS))
		pinned->ring = NULL;
}
