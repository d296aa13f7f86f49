/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk's claim to its image, which another process may have at the moment; private to disk/.
 * Nobody waits for it: it is tried again by a timer. Control thread.
 */
#ifndef EXITLESS_DISK_CLAIM_H
#define EXITLESS_DISK_CLAIM_H

#include "base/loop.h"
#include "disk/backend.h"

struct disk_claim {
	struct disk_backend *backend;
	struct loop *loop; /* NULL: is tried once */
	/* The image is ours since now; -EAGAIN came first. */
	void (*got)(struct disk_claim *claim);
	/* its own, 0 at first */
	struct loop_timer timer;
	uint64_t since_ns;
};

/* 0: the image is ours, or nobody could take it. -EAGAIN: somebody else's, and got() will be called
 * from the loop. Else what the host says of the image: -EBUSY without a loop. */
int disk_claim_make(struct disk_claim *claim);
/* Does not try again. */
void disk_claim_end(struct disk_claim *claim);

#endif
