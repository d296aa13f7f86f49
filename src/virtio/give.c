/* SPDX-License-Identifier: BSD-2-Clause */
/* What was used, and whether the driver wants to hear of it. */
#include "virtio/ring.h"

static __attribute__((noinline)) void log_buffers(struct virtqueue *vq,
						  const struct virtq_chain *chain, uint32_t len)
{
	const struct iovec *in = chain->iov + chain->n_out, *last = in + chain->n_in - 1;
	uint64_t left = len == UINT32_MAX ? UINT64_MAX : len;

	if (!chain->n_in)
		return;
	for (const struct iovec *piece = in; left && piece <= last; piece++) {
		uint64_t here = MIN(left, (uint64_t)piece->iov_len);

		memory_dirty_host(&vq->reader, piece->iov_base, here);
		left -= here;
	}
	/* a status may stand there */
	if (last->iov_len)
		memory_dirty_host(&vq->reader, (uint8_t *)last->iov_base + last->iov_len - 1, 1);
}

static ALWAYS_INLINE void give_split(struct virtqueue *vq, const struct virtq_chain *chains,
				     const uint32_t *lens, unsigned n)
{
	struct vring_used_elem *ring = (struct vring_used_elem *)(vq->used_ring + 2);
	unsigned mask = vq->num - 1u, at = vq->used;

	for (unsigned i = 0; i < n; i++, at++) {
		/* both fields in one store */
		store_le64(&ring[at & mask], chains[i].id | (uint64_t)(lens ? lens[i] : 0) << 32);
	}
	vq->used = (uint16_t)at;
	vq->unpublished += n;
}

static ALWAYS_INLINE void give_packed(struct virtqueue *vq, const struct virtq_chain *chains,
				      const uint32_t *lens, unsigned n)
{
	/* in registers: the ring may be anywhere, so what is in memory is read anew after a store
	 */
	unsigned used = vq->used, num = vq->num, slots = 0;
	uint64_t mark = (uint64_t)(vq->used_wrap ? AVAIL_BIT | USED_BIT : 0) << 48;
	struct vring_desc *desc = vq->desc;
	unsigned i = 0;

	if (!n)
		return;
	do {
		const struct virtq_chain *chain = &chains[i];
		uint32_t len = lens ? lens[i] : 0;
		uint64_t word = len | (uint64_t)chain->id << 32 | mark |
				(uint64_t)(len ? VRING_DESC_F_WRITE : 0) << 48;

		if (unlikely(!i && !vq->batch_open)) {
			/* the driver looks at this one first: it is written last */
			vq->batch_open = true;
			vq->first_slot = (uint16_t)used;
			vq->first_word = word;
		} else {
			STORE_RELEASE(*(uint64_t *)(void *)&desc[used].len, word);
		}
		used += chain->slots;
		slots += chain->slots;
		if (unlikely(used >= num)) {
			used -= num;
			mark ^= (uint64_t)(AVAIL_BIT | USED_BIT) << 48;
		}
	} while (++i < n);
	vq->used = (uint16_t)used;
	vq->used_wrap = mark != 0;
	vq->unpublished += slots;
}

static ALWAYS_INLINE void give_any(struct virtqueue *vq, const struct virtq_chain *chains,
				   const uint32_t *lens, unsigned n)
{
	if (vq->packed)
		give_packed(vq, chains, lens, n);
	else
		give_split(vq, chains, lens, n);
}

void virtqueue_give_all(struct virtqueue *vq, const struct virtq_chain *chains,
			const uint32_t *lens, unsigned n)
{
	if (unlikely(vq->log_writes && lens))
		for (unsigned i = 0; i < n; i++)
			if (lens[i])
				log_buffers(vq, &chains[i], lens[i]);
	COUNT(vq->in_flight, 0u - n);
	if (likely(!vq->inflight)) {
		give_any(vq, chains, lens, n);
		return;
	}
	/* where used will be is noted with each */
	for (unsigned i = 0; i < n; i++) {
		inflight_gave(vq, &chains[i]);
		give_any(vq, &chains[i], lens ? &lens[i] : NULL, 1);
	}
}

void virtqueue_give(struct virtqueue *vq, const struct virtq_chain *chain, uint32_t len)
{
	virtqueue_give_all(vq, chain, &len, 1);
}

/* Marks @n slots of @bytes each of the array at @base, from @at, round its end. */
static __attribute__((noinline)) void log_ring(struct virtqueue *vq, uint64_t base, unsigned bytes,
					       unsigned at, unsigned n)
{
	unsigned first;

	n = MIN(n, (unsigned)vq->num);
	first = MIN(n, vq->num - at);
	memory_dirty(&vq->reader, base + (uint64_t)at * bytes, (uint64_t)first * bytes);
	memory_dirty(&vq->reader, base, (uint64_t)(n - first) * bytes);
}

static bool wants_split(struct virtqueue *vq, uint16_t old)
{
	if (!vq->event_idx)
		return !(READ_ONCE(vq->avail_ring[0]) & VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(READ_ONCE(vq->avail_ring[2 + vq->num]), vq->used, old);
}

static bool wants_packed(struct virtqueue *vq, unsigned slots)
{
	/* both fields in one load */
	uint32_t event = READ_ONCE(*(const uint32_t *)vq->avail_ring);
	unsigned flags = event >> 16 & 3, at = event & 0x7fff;
	bool wrap = event >> 15 & 1;

	if (flags != VRING_PACKED_EVENT_FLAG_DESC)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	if (wrap != vq->used_wrap)
		at -= vq->num;
	return vring_need_event((uint16_t)at, vq->used, (uint16_t)(vq->used - slots));
}

bool virtqueue_publish(struct virtqueue *vq)
{
	unsigned n = vq->unpublished;
	bool wants;

	if (n) {
		uint16_t old = vq->published;

		if (vq->packed) {
			uint64_t *second = (uint64_t *)(void *)&vq->desc[vq->first_slot].len;

			STORE_RELEASE(*second, vq->first_word);
			vq->batch_open = false;
			if (unlikely(vq->log_used))
				log_ring(vq, vq->config.desc, 16, vq->first_slot, n);
		} else {
			STORE_RELEASE(vq->used_ring[1], vq->used);
			vq->published = vq->used;
			if (unlikely(vq->log_used)) {
				log_ring(vq, vq->config.used + 4, 8, old & (vq->num - 1u), n);
				memory_dirty(&vq->reader, vq->config.used, 4);
			}
		}
		vq->unpublished = 0;
		if (unlikely(vq->inflight != NULL))
			inflight_published(vq);
		/* what the driver wants is read after it can see what it got */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		wants = vq->packed ? wants_packed(vq, n) : wants_split(vq, old);
		if (unlikely(vq->always_notify)) {
			vq->always_notify = false;
			wants = true;
		}
		if (wants)
			COUNT(vq->stats.notified, 1);
		else
			COUNT(vq->stats.suppressed, 1);
	} else {
		wants = false;
	}
	if (unlikely(vq->draining && !vq->in_flight && vq->drained))
		vq->drained(vq, vq->drained_arg);
	return wants;
}
