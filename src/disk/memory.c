/* SPDX-License-Identifier: BSD-2-Clause */
/* Backends without storage: nothing at all, and memory that is lost when the daemon ends. */
#include "base/iov.h"
#include "disk/backend.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

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

static int memory_start(struct disk_backend *backend, unsigned queue, struct disk_io *io)
{
	struct memory_backend *m = container_of(backend, struct memory_backend, backend);

	switch (io->op) {
	case DISK_READ:
		iov_from_buf(io->iov, io->n_iov, 0, m->bytes + io->offset, io->bytes);
		break;
	case DISK_WRITE: iov_to_buf(io->iov, io->n_iov, 0, m->bytes + io->offset, io->bytes); break;
	case DISK_DISCARD:
	case DISK_ZEROES: memset(m->bytes + io->offset, 0, io->bytes); break;
	case DISK_FLUSH: break;
	}
	return 0;
}

static uint64_t memory_size(struct disk_backend *backend)
{
	return container_of(backend, struct memory_backend, backend)->size;
}

/* Nothing is ever in progress while the queues are locked, so it may move. */
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
