/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory that is registered with an io_uring, so that the kernel need not look up and pin the
 * pages of each request. Registered is what requests use: a chunk of 2 MiB once it was used often.
 * Used under the queue's lock; private to disk/.
 *
 * Registered pages stay where they are. A VMM that takes memory from its guest without saying so
 * (a balloon, free page reporting, virtio-mem, post-copy) would have the guest get other pages
 * there, so this is only for those who ask for it.
 */
#ifndef EXITLESS_DISK_PINNED_H
#define EXITLESS_DISK_PINNED_H

#include "base/util.h"

#include <liburing.h>
#include <stdbool.h>

#define PINNED_CHUNKS 4096 /* of 2 MiB, at most */

struct pinned_chunk {
	uint64_t number;       /* of its host address: address / 2 MiB */
	unsigned uses;	       /* so far; see pinned.c */
	uint64_t first, bytes; /* of host addresses: what is registered */
};

struct pinned {
	struct io_uring *ring;	     /* NULL: nothing is registered here */
	struct pinned_chunk *chunks; /* by number, modulo their number */
	bool stale;		     /* what is registered may not be the guest's any more */
	uint64_t registered;	     /* chunks, now; any thread, with READ_ONCE() */
};

/* 0 or -errno: the kernel cannot, or there is too little memory. Then nothing is ever pinned. */
int pinned_init(struct pinned *pinned, struct io_uring *ring);
void pinned_done(struct pinned *pinned);
/* The buffer that [@host, @host + @len) lies in, for a fixed read or write; -1: in none. The region
 * of guest memory around it, [@region, @region + @region_bytes), bounds what is registered. */
int pinned_find(struct pinned *pinned, uint8_t *host, size_t len, uint8_t *region,
		uint64_t region_bytes);
/* No request that uses a buffer is under way: lets all of them go. */
void pinned_forget(struct pinned *pinned);

#endif
