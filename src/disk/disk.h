/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk: a virtio-blk device (VIRTIO 1.3, section 5.2) on a backend. Control thread for everything
 * here; the queues are polled by I/O cores.
 */
#ifndef EXITLESS_DISK_DISK_H
#define EXITLESS_DISK_DISK_H

#include "base/loop.h"
#include "core/core.h"
#include "virtio/device.h"

#define DISK_QUEUES_MAX	  16
#define DISK_SERIAL_BYTES 20

struct disk;

struct disk_config {
	const char *name;     /* "vm1/disk0", copied */
	const char *backend;  /* "file", "null", "malloc" */
	const char *path;     /* file: a regular file or block device */
	uint64_t size_bytes;  /* multiple of 512; 0: as large as the file */
	unsigned block_bytes; /* as the guest sees it: 512 (or 0) or 4096 */
	unsigned queues;      /* 1..16 */
	bool read_only;
	bool shared;	    /* file: locked only while rings run, so that two daemons can have it */
	bool cached;	    /* file: by the host's page cache, never O_DIRECT */
	bool pin_memory;    /* file: registers guest memory with the kernel (disk/pinned.h) */
	const char *serial; /* up to 20 characters; NULL: none */
	struct loop *loop;  /* waits for the image while others have it; NULL: EBUSY then */
};

/* A named number; @name is valid during the call only. */
typedef void disk_stat_fn(void *arg, const char *name, uint64_t value);

/*
 * Returns NULL with errno set: EINVAL (sizes, unknown backend, no file of the right kind), ERANGE
 * (the file is empty, or smaller than @size_bytes), what open() says, ENOSYS (no io_uring). @space
 * and @config->loop outlive it. The caller adds the queues to a core and removes them before
 * disk_free().
 *
 * An image that another process has locked is waited for: until it is ours the disk is there, rings
 * start and stop, and requests stay in them.
 */
struct disk *disk_new(const struct disk_config *config, struct memory_space *space);
void disk_free(struct disk *disk);
struct virtio_device *disk_device(struct disk *disk);
/* What a core polls; *n of them. */
struct io_queue *const *disk_queues(struct disk *disk, unsigned *n);
/* While it runs; tells the guest. Requests beyond the end fail from now on. @size_bytes 0: a file's
 * own size, looked at anew. 0, -EINVAL (no size), -ERANGE (the file is smaller), -ENOMEM. */
int disk_resize(struct disk *disk, uint64_t size_bytes);
uint64_t disk_size(const struct disk *disk);
/* Another process has its image. */
bool disk_waits(const struct disk *disk);
void disk_stats(struct disk *disk, disk_stat_fn *stat, void *arg);
/* Backends that disk_new() knows, NULL-terminated. */
const char *const *disk_backends(void);

#endif
