/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device's side of a virtqueue, split or packed (VIRTIO 1.3, sections 2.7 and 2.8), in batches:
 *
 *	lock; virtqueue_begin();
 *	virtqueue_take()     chains of buffers, as host addresses
 *	virtqueue_give()     each, when it has been used
 *	virtqueue_publish()  all that was given; tells whether the driver wants a notification
 *	unlock; virtqueue_notify()
 *
 * The other side is hostile. Each descriptor is read exactly once, into registers, and what was
 * checked is what is used. A chain whose buffers cannot be reached is handed out with an error, for
 * the device to count and give back, with its last byte, for a device that says there what came of
 *it; a ring whose structure is wrong (index out of range, a loop, a readable buffer behind a
 *writable one) is marked broken, and nothing is taken from it until it is started again.
 *
 * Host addresses in a chain are valid until the thread's next quiescent point (memory/space.h),
 * unless the device has the transport wait for its chains before memory goes (virtqueue_drain()).
 *
 * Threads: the lock protects all but call_fd and err_fd, which are swapped by RCU. What is not
 * atomic of a queue that is not started is the control thread's alone. Functions are called with
 * the lock held unless they say otherwise.
 */
#ifndef EXITLESS_VIRTIO_VIRTQUEUE_H
#define EXITLESS_VIRTIO_VIRTQUEUE_H

#include "memory/space.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define VIRTQ_NUM_MAX  32768
#define VIRTQ_WALK_MAX 8192 /* descriptors that are read under the lock, and one chain more */
/* Descriptors of a chain, or entries of a table, however large the ring is: QEMU's limit too, so no
 * driver has more. */
#define VIRTQ_CHAIN_MAX 1024

/* Feature bits that virtqueues implement; a device adds its own. Not VIRTIO_F_RING_RESET: QEMU
 * (11.1) lets a guest have it and does not tell a vhost-user back end when it is used, which would
 * go on with rings that the guest has freed. */
#define VIRTQ_FEATURES                                                                             \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC |                        \
	 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_F_RING_PACKED |                          \
	 1ull << VIRTIO_F_IN_ORDER)

/* What the driver made available: @n_out readable pieces, then @n_in writable ones. */
struct virtq_chain {
	struct iovec *iov;
	uint64_t out_bytes, in_bytes;
	/* with an error: 0, and 1 if the last byte that is to be written to can be reached: that */
	uint16_t n_out, n_in;
	uint16_t slots;	 /* of the ring that it takes up */
	uint16_t id;	 /* split: head descriptor; packed: buffer ID */
	uint16_t record; /* in-flight region: its entry */
	bool again;	 /* taken before, by a process that is gone */
	int error;	 /* 0, -EFAULT: not in memory, -E2BIG: more pieces than there is room for */
};

/* Room for pieces. */
struct virtq_arena {
	struct iovec *iov;
	unsigned n, max;
};

/* Where the rings are: guest addresses. For packed rings @avail is the driver's event suppression
 * structure, @used the device's. */
struct virtq_config {
	uint32_t num; /* a power of two with split rings; 1..32768 */
	uint64_t desc, avail, used;
	uint64_t features; /* negotiated */
	/* as vhost-user's SET_VRING_BASE; packed, without the used position (0): it is the
	 * available one */
	uint32_t base;
};

struct virtq_stats {
	uint64_t chains, bad_chains; /* taken; handed out with an error */
	uint64_t broken;	     /* times */
	uint64_t notified, suppressed;
	uint64_t resubmitted; /* from the in-flight region */
};

struct virtq_inflight;

struct virtqueue {
	pthread_mutex_t lock;
	/* descriptors, taken over; -1: none; only with virtqueue_set_call() and _set_err() */
	int call_fd, err_fd;
	/* Set after virtqueue_init(): the device reads from this queue only, so in indirect tables
	 * a flag that says otherwise means nothing. DPDK's driver has it at the header of a packed
	 * one. */
	bool only_read;
	/* Called with the lock held, once, when a drained queue has got all chains back. */
	void (*drained)(struct virtqueue *vq, void *arg);
	void *drained_arg;
	struct virtq_stats stats;

	/* read by devices */
	bool started; /* between virtqueue_run() and _stop() */
	bool enabled; /* atomic; by the driver's or VMM's will; kept while stopped */
	bool broken;
	bool draining;	 /* atomic; nothing more is taken */
	bool suspending; /* and what is out need not come to its end: virtqueue_leave() */
	bool packed, event_idx, in_order;
	uint16_t num;
	unsigned in_flight; /* taken and not given */
	/* descriptors read since virtqueue_begin(), but for chains of one */
	uint32_t walked;

	/* private */
	bool indirect;
	bool avail_wrap, used_wrap; /* packed */
	bool batch_open;	    /* packed: first_word is not written yet */
	bool always_notify;	    /* nothing has been published yet */
	bool writes;		    /* the last chain was to be written to: so is the next */
	uint64_t last_in; /* of a chain with an error, the address of the last byte to be written to
			   */
	uint32_t walk_end;   /* the chain ends before @walked gets there, or is broken */
	uint16_t fetched;    /* split: the descriptors of so many to come are on their way */
	uint16_t avail;	     /* next to take: index (split), slot (packed) */
	uint16_t avail_seen; /* split: the driver's index as last read */
	uint16_t used;	     /* next to give */
	uint16_t published;  /* split: index the driver can see */
	uint16_t first_slot;
	uint64_t first_word;  /* packed: length, ID and flags of the first used descriptor */
	unsigned unpublished; /* chains (split), slots (packed) given since */
	bool log_writes, log_used;
	struct memory_reader reader;
	uint64_t generation; /* of the pointers below; 0: none */
	bool reachable;
	struct vring_desc *desc; /* packed: struct vring_packed_desc */
	uint16_t *avail_ring;	 /* packed: driver's struct vring_packed_desc_event */
	uint16_t *used_ring;	 /* packed: the device's */
	struct virtq_config config;
	struct virtq_inflight *inflight; /* NULL: not tracked */
};

/* 0 or -errno. @space outlives it. Not running, enabled off. */
int virtqueue_init(struct virtqueue *vq, struct memory_space *space);
/* Stops it and closes its descriptors. No core uses it any more. */
void virtqueue_done(struct virtqueue *vq);

/*
 * Control thread, lock not needed: all of a start that takes a while, with an in-flight region.
 * What is not started the core does not look into. -EINVAL: sizes, alignment; -EFAULT: not in
 * memory; -EBUSY: started. With an in-flight region (virtqueue_inflight_set()) what was in flight
 * is taken first, in the order it was in, and the base is what the region says.
 */
int virtqueue_prepare(struct virtqueue *vq, const struct virtq_config *config);
/* The rest of it: lock held, right after virtqueue_prepare(). */
void virtqueue_run(struct virtqueue *vq);
/* Both, for who has the queue alone. */
int virtqueue_start(struct virtqueue *vq, const struct virtq_config *config);
/* Nothing is taken any more, and what was given is published. Returns true if no chain is out;
 * otherwise drained() will be called. Nothing is changed by a second call. */
bool virtqueue_drain(struct virtqueue *vq);
/* The same for a queue that is tracked: chains may be left in the region too, for the next start.
 */
bool virtqueue_suspend(struct virtqueue *vq);
/* Undoes the drain of a queue that goes on. */
void virtqueue_resume(struct virtqueue *vq);
/* Stops at once. Chains that are out are forgotten: giving them back has no effect on the ring
 * (devices drop them, see virtqueue_drain()). */
void virtqueue_stop(struct virtqueue *vq);
/* As vhost-user's GET_VRING_BASE: where a start would go on. */
uint32_t virtqueue_base(const struct virtqueue *vq);
/* The base where nothing was taken that has not been given. */
uint32_t virtqueue_used_base(const struct virtqueue *vq);
/* Kept while it is stopped; what a disabled queue does is the device's affair. Lock held, or no
 * core uses it. */
void virtqueue_enable(struct virtqueue *vq, bool on);
/* Dirty logging: of buffers, and of the used ring too. */
void virtqueue_log(struct virtqueue *vq, bool writes, bool used);

/* Control thread, lock not held: takes @fd over, closes the old one when no core can use it any
 * more, and signals once on the new one if the queue is started. */
void virtqueue_set_call(struct virtqueue *vq, int fd);
void virtqueue_set_err(struct virtqueue *vq, int fd);

/* Before taking or giving, each time the lock was taken. False: the ring cannot be used now. A new
 * count of descriptors begins (virtqueue_walked_far()). */
bool virtqueue_begin(struct virtqueue *vq);

/*
 * Up to @max chains; pieces come from @arena, as long as it has room (a chain that does not fit is
 * left for the next call, unless it found the arena empty: then it has error -E2BIG), and until
 * very many descriptors have been read. Returns how many.
 */
unsigned virtqueue_take(struct virtqueue *vq, struct virtq_chain *chains, unsigned max,
			struct virtq_arena *arena);
/* So many descriptors have been read since virtqueue_begin() that only chains of one are taken
 * until the next: the poll shall end. */
static inline bool virtqueue_walked_far(const struct virtqueue *vq)
{
	return vq->walked >= VIRTQ_WALK_MAX;
}
/* A hint, after virtqueue_take(): the first bytes of up to @max chains to come will be read, or
 * written, soon. */
void virtqueue_fetch(struct virtqueue *vq, unsigned max, bool write);
/* Puts back the last @n chains that were taken, as if they had not been. */
void virtqueue_put_back(struct virtqueue *vq, const struct virtq_chain *chains, unsigned n);
/* The driver can have it: @len bytes were written from its first writable byte on (UINT32_MAX: so
 * many or more), the last of which may stand at its end instead: a status. 0: nothing was. */
void virtqueue_give(struct virtqueue *vq, const struct virtq_chain *chain, uint32_t len);
/* The same for @n chains in order, with their lengths; NULL: nothing was written to any. */
void virtqueue_give_all(struct virtqueue *vq, const struct virtq_chain *chains,
			const uint32_t *lens, unsigned n);
/* A suspended queue, or one that is broken: as if the device had died with this chain, which is
 * taken again at the next start with the same region. Nothing is written to guest memory for it any
 * more. */
void virtqueue_leave(struct virtqueue *vq, const struct virtq_chain *chain);
/* Makes visible what was given. True: call virtqueue_notify(). */
bool virtqueue_publish(struct virtqueue *vq);
/* Any online RCU reader, or the control thread; lock not needed. Never blocks. */
void virtqueue_notify(struct virtqueue *vq);
/* Asks the driver for kicks, or not to. On: returns true, and leaves them off, if there is
 * something to take. */
bool virtqueue_kicks(struct virtqueue *vq, bool on);
/* Something to take? */
bool virtqueue_pending(struct virtqueue *vq);

/* Descriptors: what the driver did cannot be true. */
void virtqueue_break(struct virtqueue *vq);

/* ---- in-flight tracking (inflight.c) ------------------------------------------------------ */

/* Bytes of region per queue of up to @num descriptors; a multiple of 64. */
size_t virtqueue_inflight_bytes(bool packed, uint16_t num);
/*
 * Before virtqueue_prepare(), lock not needed: @region is shared memory of that many bytes, which
 * stays until virtqueue_inflight_set(NULL) or _done(). Its content is not trusted. The ring may be
 * smaller than @num, not larger. 0, -EINVAL (@num is not what the region says), -ENOMEM.
 */
int virtqueue_inflight_set(struct virtqueue *vq, void *region, bool packed, uint16_t num);
/* As if @region were new: nothing in it is taken again. No queue has it. */
void virtqueue_inflight_clear(void *region);

#endif
