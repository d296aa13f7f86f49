/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Backends without storage: nothing at all, and memory that is lost when the daemon ends. What
 * memory has to copy or to clear is the core's own time: long requests are done in parts.
 */
#include "base/iov.h"
#include "disk/backend.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Memory is given back quicker than it is written, and a huge page best as a whole. */
#define DISCARD_PART_BYTES (8 * DISK_PART_BYTES)

struct memory_backend {
	struct disk_backend backend;
	uint8_t *bytes;
	uint64_t size;
};

static void null_free(struct disk_backend *backend)
{
	free(backend);
}

static int null_start(struct disk_backend *backend, unsigned queue, struct disk_io *io)
{
	return 0;
}

static const struct disk_backend_ops null_ops = { .free = null_free, .start = null_start };

struct disk_backend *disk_null_new(const struct disk_config *config)
{
	struct disk_backend *backend;

	if (!config->size_bytes) {
		errno = EINVAL;
		return NULL;
	}
	backend = calloc(1, sizeof(*backend));
	if (!backend)
		return NULL;
	backend->ops = &null_ops;
	backend->can_discard = true;
	return backend;
}

static void memory_free(struct disk_backend *backend)
{
	struct memory_backend *m = container_of(backend, struct memory_backend, backend);

	munmap(m->bytes, m->size);
	free(m);
}

/* Gives whole pages back, clears the rest. */
static void discard(uint8_t *bytes, uint64_t n)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint8_t *end = bytes + n;
	uint8_t *first = (uint8_t *)ALIGN_UP((uintptr_t)bytes, page);
	uint8_t *last = (uint8_t *)((uintptr_t)end & ~(page - 1));

	if (first >= last || madvise(first, (size_t)(last - first), MADV_DONTNEED)) {
		memset(bytes, 0, n);
		return;
	}
	memset(bytes, 0, (size_t)(first - bytes));
	memset(last, 0, (size_t)(end - last));
}

/* How much of @io comes next: up to where the next part of the disk begins. */
static uint64_t part_of(const struct disk_io *io, uint64_t part)
{
	return MIN(io->bytes - io->done, part - (io->offset + io->done) % part);
}

static int memory_go_on(struct disk_backend *backend, unsigned queue, struct disk_io *io)
{
	struct memory_backend *m = container_of(backend, struct memory_backend, backend);
	bool discards = io->op == DISK_DISCARD || (io->op == DISK_ZEROES && io->unmap);
	uint64_t n = part_of(io, discards ? DISCARD_PART_BYTES : DISK_PART_BYTES);
	uint8_t *at = m->bytes + io->offset + io->done;

	/* made smaller since the last part */
	if (io->offset + io->bytes > m->size)
		return -EIO;
	if (io->op == DISK_READ)
		iov_from_buf(io->iov, io->n_iov, io->done, at, n);
	else if (io->op == DISK_WRITE)
		iov_to_buf(io->iov, io->n_iov, io->done, at, n);
	else if (discards)
		discard(at, n);
	else
		memset(at, 0, n);
	io->done += n;
	return io->done == io->bytes ? 0 : DISK_MORE;
}

static int memory_start(struct disk_backend *backend, unsigned queue, struct disk_io *io)
{
	struct memory_backend *m = container_of(backend, struct memory_backend, backend);

	if (io->op == DISK_FLUSH)
		return 0;
	if (unlikely(io->bytes > DISK_PART_BYTES || io->op > DISK_WRITE))
		return DISK_MORE;
	if (io->op == DISK_READ)
		iov_from_buf(io->iov, io->n_iov, 0, m->bytes + io->offset, io->bytes);
	else
		iov_to_buf(io->iov, io->n_iov, 0, m->bytes + io->offset, io->bytes);
	return 0;
}

static uint64_t memory_size(struct disk_backend *backend)
{
	return container_of(backend, struct memory_backend, backend)->size;
}

/* Whatever is in progress looks for it anew with each part, so it may move. */
static int memory_resize(struct disk_backend *backend, uint64_t bytes)
{
	struct memory_backend *m = container_of(backend, struct memory_backend, backend);
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	void *moved;

	/* of the page that stays in part, the rest */
	if (bytes < m->size)
		memset(m->bytes + bytes, 0, MIN(ALIGN_UP(bytes, page), m->size) - bytes);
	moved = mremap(m->bytes, m->size, bytes, MREMAP_MAYMOVE);
	if (moved == MAP_FAILED)
		return -ENOMEM; /* beyond the address space the kernel says EINVAL */
	m->bytes = moved;
	m->size = bytes;
	return 0;
}

static const struct disk_backend_ops memory_ops = {
	.free = memory_free,
	.start = memory_start,
	.go_on = memory_go_on,
	.size = memory_size,
	.resize = memory_resize,
};

struct disk_backend *disk_malloc_new(const struct disk_config *config)
{
	struct memory_backend *m;

	if (!config->size_bytes) {
		errno = EINVAL;
		return NULL;
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->backend.ops = &memory_ops;
	m->backend.can_discard = true;
	m->size = config->size_bytes;
	m->bytes = mmap(NULL, m->size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->bytes == MAP_FAILED) {
		free(m);
		return NULL;
	}
	return &m->backend;
}
