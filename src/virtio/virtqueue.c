/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtqueue's life: where its rings are, where it stands in them, and its kicks. Pointers to the
 * rings are looked up once per memory table (memory_reader.generation). */
#include "virtio/virtqueue.h"

#include "base/event.h"
#include "base/rcu.h"
#include "virtio/ring.h"

#include <errno.h>
#include <unistd.h>

int virtqueue_init(struct virtqueue *vq, struct memory_space *space)
{
	pthread_mutexattr_t attr;

	memset(vq, 0, sizeof(*vq));
	vq->call_fd = vq->err_fd = -1;
	memory_reader_init(&vq->reader, space);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&vq->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	return 0;
}

void virtqueue_done(struct virtqueue *vq)
{
	if (vq->call_fd >= 0)
		close(vq->call_fd);
	if (vq->err_fd >= 0)
		close(vq->err_fd);
	vq->call_fd = vq->err_fd = -1;
	inflight_free(vq);
	pthread_mutex_destroy(&vq->lock);
}

/* ---- control ----------------------------------------------------------------------------- */

static bool resolve(struct virtqueue *vq)
{
	const struct virtq_config *c = &vq->config;
	size_t num = c->num, avail_bytes = vq->packed ? 4 : 6 + 2 * num;
	size_t used_bytes = vq->packed ? 4 : 6 + 8 * num;

	vq->generation = vq->reader.generation;
	vq->desc = memory_at(&vq->reader, c->desc, 16 * num, MEMORY_READ | MEMORY_WRITE);
	vq->avail_ring = memory_at(&vq->reader, c->avail, avail_bytes, MEMORY_READ);
	vq->used_ring = memory_at(&vq->reader, c->used, used_bytes, MEMORY_READ | MEMORY_WRITE);
	/* regions need not be aligned as guest addresses are */
	vq->reachable = vq->desc && vq->avail_ring && vq->used_ring &&
			!((uintptr_t)vq->desc % 16) && !((uintptr_t)vq->used_ring % 4) &&
			!((uintptr_t)vq->avail_ring % (vq->packed ? 4 : 2));
	return vq->reachable;
}

static void set_position(struct virtqueue *vq, uint32_t base)
{
	if (vq->packed) {
		uint32_t avail = base & 0xffff, used = base >> 16;

		/* DPDK's drivers and back ends know of the lower half only. Nothing is in flight
		 * but what an in-flight region names, so with an upper half of 0 this is what is
		 * meant. */
		if (!used)
			used = avail;
		vq->avail = avail & 0x7fff;
		vq->avail_wrap = avail >> 15;
		vq->used = used & 0x7fff;
		vq->used_wrap = used >> 15;
	} else {
		vq->avail = vq->avail_seen = (uint16_t)base;
		vq->used = vq->published = READ_ONCE(vq->used_ring[1]);
	}
}

/* What was in flight lies in the slots between used and avail. */
static int recover(struct virtqueue *vq)
{
	uint16_t used = vq->packed ? (uint16_t)(vq->used | vq->used_wrap << 15) : vq->used;
	int slots = inflight_recover(vq, &used);

	if (slots < 0)
		return slots;
	if (vq->packed) {
		unsigned avail = (used & 0x7fffu) + (unsigned)slots;

		if ((used & 0x7fff) >= vq->num || slots > vq->num)
			return -EINVAL;
		vq->used = used & 0x7fff;
		vq->used_wrap = used >> 15;
		vq->avail_wrap = vq->used_wrap ^ (avail >= vq->num);
		vq->avail = (uint16_t)(avail >= vq->num ? avail - vq->num : avail);
	} else {
		vq->avail = vq->avail_seen = (uint16_t)(used + slots);
	}
	return 0;
}

int virtqueue_prepare(struct virtqueue *vq, const struct virtq_config *config)
{
	bool packed = config->features >> VIRTIO_F_RING_PACKED & 1;
	int err;

	if (vq->started)
		return -EBUSY;
	if (!config->num || config->num > VIRTQ_NUM_MAX ||
	    (!packed && !is_power_of_two(config->num)))
		return -EINVAL;
	if (config->desc % 16 || config->avail % (packed ? 4 : 2) || config->used % 4)
		return -EINVAL;
	if (packed && ((config->base & 0x7fff) >= config->num ||
		       (config->base >> 16 & 0x7fff) >= config->num))
		return -EINVAL;
	vq->config = *config;
	vq->num = (uint16_t)config->num;
	vq->packed = packed;
	vq->event_idx = config->features >> VIRTIO_RING_F_EVENT_IDX & 1;
	vq->indirect = config->features >> VIRTIO_RING_F_INDIRECT_DESC & 1;
	vq->in_order = config->features >> VIRTIO_F_IN_ORDER & 1;
	memory_reader_begin(&vq->reader);
	if (!resolve(vq))
		return -EFAULT;
	set_position(vq, config->base);
	if (vq->inflight) {
		err = recover(vq);
		if (err)
			return err;
	}
	vq->batch_open = false;
	vq->unpublished = 0;
	WRITE_ONCE(vq->in_flight, 0);
	vq->broken = vq->suspending = false;
	WRITE_ONCE(vq->draining, false);
	vq->always_notify = true;
	vq->fetched = 0;
	return 0;
}

void virtqueue_run(struct virtqueue *vq)
{
	WRITE_ONCE(vq->started, true);
}

int virtqueue_start(struct virtqueue *vq, const struct virtq_config *config)
{
	int err = virtqueue_prepare(vq, config);

	if (!err)
		virtqueue_run(vq);
	return err;
}

bool virtqueue_drain(struct virtqueue *vq)
{
	/* what was given was to be shown at the end of a turn: by then its memory may be gone */
	if (vq->started && vq->unpublished && virtqueue_begin(vq) && virtqueue_publish(vq))
		virtqueue_notify(vq);
	WRITE_ONCE(vq->draining, true);
	return !vq->started || !vq->in_flight;
}

bool virtqueue_suspend(struct virtqueue *vq)
{
	vq->suspending = vq->inflight != NULL;
	return virtqueue_drain(vq);
}

void virtqueue_leave(struct virtqueue *vq, const struct virtq_chain *chain)
{
	/* its mark stays as it is */
	COUNT(vq->in_flight, 0u - 1);
}

void virtqueue_resume(struct virtqueue *vq)
{
	vq->suspending = false;
	WRITE_ONCE(vq->draining, false);
}

void virtqueue_stop(struct virtqueue *vq)
{
	if (vq->started && vq->unpublished && virtqueue_begin(vq))
		virtqueue_publish(vq);
	WRITE_ONCE(vq->started, false);
	virtqueue_resume(vq);
	WRITE_ONCE(vq->in_flight, 0);
}

uint32_t virtqueue_base(const struct virtqueue *vq)
{
	if (!vq->packed)
		return vq->avail;
	return vq->avail | (uint32_t)vq->avail_wrap << 15 | (uint32_t)vq->used << 16 |
	       (uint32_t)vq->used_wrap << 31;
}

uint32_t virtqueue_used_base(const struct virtqueue *vq)
{
	uint32_t used = vq->used | (uint32_t)vq->used_wrap << 15;

	return vq->packed ? used | used << 16 : vq->used;
}

void virtqueue_enable(struct virtqueue *vq, bool on)
{
	/* read without the lock by who picks a queue */
	WRITE_ONCE(vq->enabled, on);
}

void virtqueue_log(struct virtqueue *vq, bool writes, bool used)
{
	vq->log_writes = writes;
	vq->log_used = writes && used;
}

static void swap_fd(int *slot, int fd)
{
	int old = __atomic_exchange_n(slot, fd, __ATOMIC_ACQ_REL);

	if (old < 0)
		return;
	rcu_wait();
	close(old);
}

void virtqueue_set_call(struct virtqueue *vq, int fd)
{
	swap_fd(&vq->call_fd, fd);
	if (READ_ONCE(vq->started))
		event_fd_signal(fd);
}

void virtqueue_set_err(struct virtqueue *vq, int fd)
{
	swap_fd(&vq->err_fd, fd);
}

void virtqueue_notify(struct virtqueue *vq)
{
	event_fd_signal(LOAD_ACQUIRE(vq->call_fd));
}

void virtqueue_break(struct virtqueue *vq)
{
	if (vq->broken)
		return;
	vq->broken = true;
	COUNT(vq->stats.broken, 1);
	event_fd_signal(LOAD_ACQUIRE(vq->err_fd));
}

bool virtqueue_begin(struct virtqueue *vq)
{
	if (unlikely(!vq->started || vq->broken))
		return false;
	vq->walked = 0;
	memory_reader_begin(&vq->reader);
	/* a region that is added behind the others comes without a new generation */
	if (unlikely(vq->generation != vq->reader.generation || !vq->reachable))
		resolve(vq);
	return vq->reachable;
}

/* ---- kicks ------------------------------------------------------------------------------- */

bool virtqueue_pending(struct virtqueue *vq)
{
	if (vq->draining)
		return false;
	if (vq->packed)
		return packed_available(vq, vq->avail, vq->avail_wrap);
	return LOAD_ACQUIRE(vq->avail_ring[1]) != vq->avail;
}

bool virtqueue_kicks(struct virtqueue *vq, bool on)
{
	uint64_t offset = 0;

	if (vq->packed) {
		struct vring_packed_desc_event *event = (void *)vq->used_ring;

		WRITE_ONCE(event->flags,
			   on ? VRING_PACKED_EVENT_FLAG_ENABLE : VRING_PACKED_EVENT_FLAG_DISABLE);
	} else if (vq->event_idx) {
		offset = 4 + 8ull * vq->num;
		/* An index that was passed asks for nothing; once round the ring it may ask for one
		 * kick too many. */
		if (on)
			WRITE_ONCE(vq->used_ring[2 + 4 * vq->num], vq->avail);
	} else {
		WRITE_ONCE(vq->used_ring[0], on ? 0 : VRING_USED_F_NO_NOTIFY);
	}
	if (unlikely(vq->log_used))
		memory_dirty(&vq->reader, vq->config.used + offset, 4);
	if (!on)
		return false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (likely(!virtqueue_pending(vq)))
		return false;
	virtqueue_kicks(vq, false);
	return true;
}
