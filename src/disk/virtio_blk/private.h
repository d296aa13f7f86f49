/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of this device share. */
#ifndef EXITLESS_DISK_VIRTIO_BLK_PRIVATE_H
#define EXITLESS_DISK_VIRTIO_BLK_PRIVATE_H

#include "base/log.h"
#include "disk/backend.h"
#include "disk/claim.h"

#include <linux/virtio_blk.h>

#define SECTOR	   512u
#define SEG_MAX	   126u
#define PIECES	   DISK_PIECES /* data over region borders, header and status */
#define FEATURE(f) (1ull << VIRTIO_BLK_F_##f)
#define RANGE_MAX  (1u << 22) /* sectors of one discard: 2 GiB */

_Static_assert(PIECES >= 2 * SEG_MAX + 4, "each may lie over a border");

struct blk_request {
	struct disk_io io; /* first: the backend hands this back */
	struct virtq_chain chain;
	uint8_t *status;
	uint32_t written; /* data bytes that the device wrote */
	struct blk_request *next;
	struct iovec iov[PIECES];
};

struct blk_queue {
	struct virtqueue vq;
	struct io_queue io;
	struct disk *disk;
	unsigned index;
	char name[48];
	struct blk_request *requests, *free;
	struct blk_request *parts, **parts_end; /* done in parts, in turn */
	unsigned n_parts;
	uint64_t generation; /* of guest memory, when it was last looked at */
	uint64_t ops[5], bytes_read, bytes_written, errors, malformed;
};

struct disk {
	char *name;
	char serial[DISK_SERIAL_BYTES];
	bool read_only;
	unsigned block_bytes;
	struct disk_backend *backend;
	uint64_t sectors;     /* atomic */
	uint64_t asked_bytes; /* 0: as large as the file */
	bool shared;
	bool ready; /* atomic: the image is ours, or will be when it is used (shared) */
	struct disk_claim claim;
	struct virtio_device dev;
	bool begun;	/* something has come of a driver since the last reset */
	bool cache;	/* as drivers that can switch it find it, and left it */
	uint64_t *kept; /* where that outlasts us; NULL: nowhere */
	bool writeback; /* atomic: the guest flushes when it wants durability */
	struct log_limit limit;
	struct blk_queue *queues;
	unsigned n_queues;
	struct io_queue *io[DISK_QUEUES_MAX];
};

/* requests.c: a queue's core serves it. */
extern const struct io_queue_ops blk_queue_ops;

#endif
