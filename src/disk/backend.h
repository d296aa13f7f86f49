/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a disk's requests are done by; private to disk/. A backend has a part per queue, which the
 * core that polls that queue uses alone (under the queue's lock).
 */
#ifndef EXITLESS_DISK_BACKEND_H
#define EXITLESS_DISK_BACKEND_H

#include "disk/disk.h"

enum disk_op { DISK_READ, DISK_WRITE, DISK_FLUSH, DISK_DISCARD, DISK_ZEROES };

/* One operation. Pieces, offset and bytes have been checked against the disk's size. */
struct disk_io {
	enum disk_op op;
	bool durable; /* WRITE, ZEROES: on stable storage before it is done */
	bool unmap;   /* ZEROES: may deallocate */
	uint64_t offset, bytes;
	struct iovec *iov; /* READ, WRITE; stays as it is until it is done */
	unsigned n_iov;	   /* DISK_PIECES at most */
	/* the guest's memory around the last piece */
	uint8_t *region;
	uint64_t region_bytes;
	int result; /* 0 or -errno, when it is done */
	/* the backend's own, 0 at first */
	bool direct;	    /* what is under way goes past the host's page cache */
	struct iovec *rest; /* after a part of it was done */
	unsigned n_rest, step;
	uint64_t done; /* bytes, so far */
	uint64_t part; /* bytes, of what is under way */
	struct bounce *bounce;
	struct disk_io *next;
};

#define DISK_PENDING 1
#define DISK_MORE    2

#define DISK_PIECES 256
/* What a core does by itself in one go, so that others have their turn. */
#define DISK_PART_BYTES (256u * 1024)

struct disk_backend;

struct disk_backend_ops {
	void (*free)(struct disk_backend *backend);
	/* Core. 0 or -errno: done; DISK_PENDING: reap() will tell; DISK_MORE: go_on() does it;
	 * -EAGAIN: no room, later. */
	int (*start)(struct disk_backend *backend, unsigned queue, struct disk_io *io);
	/* Core. The next part of it, which @io->done tells: 0 or -errno: done; DISK_MORE: there is
	 * more. Whoever has no time for that lets it be. NULL: start() never says DISK_MORE. */
	int (*go_on)(struct disk_backend *backend, unsigned queue, struct disk_io *io);
	/* Core, once after a batch of starts. NULL: nothing to do. */
	void (*submit)(struct disk_backend *backend, unsigned queue);
	/* Core. Up to @max that are done, with their result. NULL: nothing is ever pending. */
	unsigned (*reap)(struct disk_backend *backend, unsigned queue, struct disk_io **done,
			 unsigned max);
	/* Core. What is pending shall end soon, if need be with -ECANCELED. Called again and again
	 * until nothing is. NULL: nothing is ever pending for long. */
	void (*cancel)(struct disk_backend *backend, unsigned queue);
	/* Lock held: guest memory changed, or the guest has gone. NULL: does not matter. */
	void (*memory_changed)(struct disk_backend *backend, unsigned queue);
	/* Any thread; chunks of guest memory that are kept in place. NULL: none. */
	uint64_t (*pinned)(struct disk_backend *backend);
	/* Control thread: keeps others from using the storage, or lets them; nothing is locked at
	 * first. 0, -EAGAIN: somebody else has it. May be NULL. */
	int (*lock)(struct disk_backend *backend, bool on);
	/* Control thread: bytes there are now; 0: as many as are asked for. May be NULL. */
	uint64_t (*size)(struct disk_backend *backend);
	/* Control thread, with all queues' locks held: makes it @bytes long; what is added reads as
	 * zero, what is cut off is lost. 0 or -errno. NULL: size() is given. */
	int (*resize)(struct disk_backend *backend, uint64_t bytes);
};

struct disk_backend {
	const struct disk_backend_ops *ops;
	bool can_discard;
	unsigned discard_bytes; /* of such blocks, whole ones; 0: of any */
};

/* NULL with errno set. */
struct disk_backend *disk_null_new(const struct disk_config *config);
struct disk_backend *disk_malloc_new(const struct disk_config *config);
struct disk_backend *disk_file_new(const struct disk_config *config);

/* Requests in flight per queue, at most. */
#define DISK_DEPTH 256

#endif
