/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VIRTIO 1.3, sections 2.7 (split) and 2.8 (packed), from the driver's side. Free descriptors are a
 * FIFO, so that with VIRTIO_F_IN_ORDER they are used in ring order, as section 2.7.9 wants it.
 */
#include "client/virtio_driver.h"

#include "base/util.h"

#include <errno.h>
#include <stdlib.h>

#define AVAIL_BIT (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED_BIT  (1u << VRING_PACKED_DESC_F_USED)

static size_t ring_bytes(unsigned num)
{
	return ALIGN_UP(16 * (size_t)num, (size_t)4096) +
	       ALIGN_UP(6 + 2 * (size_t)num, (size_t)4096) +
	       ALIGN_UP(6 + 8 * (size_t)num, (size_t)4096);
}

size_t vdrv_bytes(unsigned num)
{
	return ring_bytes(num) + (size_t)num * VDRV_INDIRECT_MAX * 16;
}

int vdrv_init(struct vdrv *ring, void *mem, uint64_t addr, unsigned num, uint64_t features)
{
	size_t avail = ALIGN_UP(16 * (size_t)num, (size_t)4096);
	size_t used = avail + ALIGN_UP(6 + 2 * (size_t)num, (size_t)4096);

	*ring = (struct vdrv){
		.packed = features >> VIRTIO_F_RING_PACKED & 1,
		.event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1,
		.in_order = features >> VIRTIO_F_IN_ORDER & 1,
		.num = (uint16_t)num,
		.n_free = (uint16_t)num,
		.desc_addr = addr,
		.avail_addr = addr + avail,
		.used_addr = addr + used,
		.indirect_addr = addr + ring_bytes(num),
		.desc = mem,
		.avail = (void *)((uint8_t *)mem + avail),
		.used = (void *)((uint8_t *)mem + used),
		.indirect = (void *)((uint8_t *)mem + ring_bytes(num)),
		.free_tail = (uint16_t)(num - 1),
		.avail_wrap = true,
		.used_wrap = true,
	};
	ring->slots = calloc(num, sizeof(*ring->slots));
	if (!ring->slots)
		return -ENOMEM;
	for (unsigned i = 0; i < num; i++)
		ring->slots[i].next = (uint16_t)(i + 1);
	return 0;
}

void vdrv_done(struct vdrv *ring)
{
	free(ring->slots);
	ring->slots = NULL;
}

static void put_free(struct vdrv *ring, uint16_t first, uint16_t last, uint16_t n)
{
	if (ring->n_free)
		ring->slots[ring->free_tail].next = first;
	else
		ring->free_head = first;
	ring->free_tail = last;
	ring->n_free = (uint16_t)(ring->n_free + n);
}

static void fill_indirect(struct vdrv *ring, uint16_t id, const struct vdrv_buf *bufs, unsigned n)
{
	struct vring_desc *table = &ring->indirect[(size_t)id * VDRV_INDIRECT_MAX];

	for (unsigned i = 0; i < n; i++) {
		uint16_t flags = bufs[i].write ? VRING_DESC_F_WRITE : 0;

		if (ring->packed) {
			((struct vring_packed_desc *)table)[i] = (struct vring_packed_desc){
				.addr = bufs[i].addr, .len = bufs[i].len, .flags = flags
			};
			continue;
		}
		if (i + 1 < n)
			flags |= VRING_DESC_F_NEXT;
		table[i] = (struct vring_desc){ .addr = bufs[i].addr,
						.len = bufs[i].len,
						.flags = flags,
						.next = (uint16_t)(i + 1) };
	}
}

static void add_split(struct vdrv *ring, const struct vdrv_buf *bufs, unsigned n, bool indirect,
		      void *token)
{
	uint16_t head = ring->free_head, at = head, last = head;
	unsigned n_desc = indirect ? 1 : n;

	for (unsigned i = 0; i < n_desc; i++) {
		struct vring_desc *d = &ring->desc[at];

		d->addr = indirect ? ring->indirect_addr + (uint64_t)head * VDRV_INDIRECT_MAX * 16
				   : bufs[i].addr;
		d->len = indirect ? n * 16 : bufs[i].len;
		d->flags = indirect ? VRING_DESC_F_INDIRECT
				    : (uint16_t)((bufs[i].write ? VRING_DESC_F_WRITE : 0) |
						 (i + 1 < n_desc ? VRING_DESC_F_NEXT : 0));
		d->next = ring->slots[at].next;
		last = at;
		at = ring->slots[at].next;
	}
	ring->slots[head].token = token;
	ring->slots[head].n = (uint16_t)n_desc;
	ring->free_head = at;
	ring->n_free = (uint16_t)(ring->n_free - n_desc);
	(void)last;
	ring->avail[2 + (ring->next_avail++ & (ring->num - 1))] = head;
	ring->added++;
}

static void add_packed(struct vdrv *ring, const struct vdrv_buf *bufs, unsigned n, bool indirect,
		       void *token)
{
	struct vring_packed_desc *desc = (struct vring_packed_desc *)ring->desc;
	uint16_t id = ring->free_head, head_slot = ring->next_avail, head_flags = 0;
	unsigned n_desc = indirect ? 1 : n;

	for (unsigned i = 0; i < n_desc; i++) {
		struct vring_packed_desc *d = &desc[ring->next_avail];
		uint16_t flags = ring->avail_wrap ? AVAIL_BIT : USED_BIT;

		d->addr = indirect ? ring->indirect_addr + (uint64_t)id * VDRV_INDIRECT_MAX * 16
				   : bufs[i].addr;
		d->len = indirect ? n * 16 : bufs[i].len;
		d->id = id;
		if (indirect)
			flags |= VRING_DESC_F_INDIRECT;
		else
			flags |= (uint16_t)((bufs[i].write ? VRING_DESC_F_WRITE : 0) |
					    (i + 1 < n_desc ? VRING_DESC_F_NEXT : 0));
		if (i)
			WRITE_ONCE(d->flags, flags);
		else
			head_flags = flags;
		if (++ring->next_avail == ring->num) {
			ring->next_avail = 0;
			ring->avail_wrap = !ring->avail_wrap;
		}
	}
	/* one ID per chain; @n_free counts slots of the ring */
	ring->slots[id].token = token;
	ring->slots[id].n = (uint16_t)n_desc;
	ring->free_head = ring->slots[id].next;
	ring->n_free = (uint16_t)(ring->n_free - n_desc);
	if (!ring->added) {
		ring->first_slot = head_slot;
		ring->first_flags = head_flags;
	} else {
		STORE_RELEASE(desc[head_slot].flags, head_flags);
	}
	ring->added = (uint16_t)(ring->added + n_desc);
}

int vdrv_add(struct vdrv *ring, const struct vdrv_buf *bufs, unsigned n, void *token, bool indirect)
{
	if (!n || (indirect ? 1 : n) > ring->n_free || (indirect && n > VDRV_INDIRECT_MAX))
		return -ENOSPC;
	if (indirect)
		fill_indirect(ring, ring->free_head, bufs, n);
	if (ring->packed)
		add_packed(ring, bufs, n, indirect, token);
	else
		add_split(ring, bufs, n, indirect, token);
	return 0;
}

bool vdrv_publish(struct vdrv *ring)
{
	uint16_t added = ring->added, old = ring->published;
	uint32_t event;
	unsigned at;

	if (!added)
		return false;
	ring->added = 0;
	if (!ring->packed) {
		STORE_RELEASE(ring->avail[1], ring->next_avail);
		ring->published = ring->next_avail;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (ring->event_idx)
			return vring_need_event(READ_ONCE(ring->used[2 + 4 * ring->num]),
						ring->next_avail, old);
		return !(READ_ONCE(ring->used[0]) & VRING_USED_F_NO_NOTIFY);
	}
	STORE_RELEASE(((struct vring_packed_desc *)ring->desc)[ring->first_slot].flags,
		      ring->first_flags);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	event = READ_ONCE(*(uint32_t *)ring->used);
	if ((event >> 16 & 3) != VRING_PACKED_EVENT_FLAG_DESC)
		return (event >> 16 & 3) == VRING_PACKED_EVENT_FLAG_ENABLE;
	at = event & 0x7fff;
	if ((event >> 15 & 1) != ring->avail_wrap)
		at -= ring->num;
	return vring_need_event((uint16_t)at, ring->next_avail,
				(uint16_t)(ring->next_avail - added));
}

static void *get_packed(struct vdrv *ring, uint32_t *len)
{
	struct vring_packed_desc *d = &((struct vring_packed_desc *)ring->desc)[ring->next_used];
	uint16_t flags = LOAD_ACQUIRE(d->flags), id, n;
	void *token;

	if (!!(flags & AVAIL_BIT) != ring->used_wrap || !!(flags & USED_BIT) != ring->used_wrap)
		return NULL;
	id = d->id;
	if (id >= ring->num || !ring->slots[id].n)
		return NULL; /* the device is wrong */
	*len = d->len;
	token = ring->slots[id].token;
	n = ring->slots[id].n;
	ring->slots[id].n = 0;
	ring->slots[id].next = ring->free_head;
	ring->free_head = id;
	ring->n_free = (uint16_t)(ring->n_free + n);
	ring->next_used = (uint16_t)(ring->next_used + n);
	if (ring->next_used >= ring->num) {
		ring->next_used = (uint16_t)(ring->next_used - ring->num);
		ring->used_wrap = !ring->used_wrap;
	}
	return token;
}

void *vdrv_get(struct vdrv *ring, uint32_t *len)
{
	struct vring_used_elem *elem;
	uint16_t last;
	uint32_t id;
	void *token;

	if (ring->packed)
		return get_packed(ring, len);
	if (LOAD_ACQUIRE(ring->used[1]) == ring->next_used)
		return NULL;
	elem = &((struct vring_used_elem *)(ring->used + 2))[ring->next_used & (ring->num - 1)];
	id = elem->id;
	if (id >= ring->num || !ring->slots[id].n)
		return NULL; /* the device is wrong */
	*len = elem->len;
	ring->next_used++;
	token = ring->slots[id].token;
	last = (uint16_t)id;
	for (unsigned i = 1; i < ring->slots[id].n; i++)
		last = ring->slots[last].next;
	put_free(ring, (uint16_t)id, last, ring->slots[id].n);
	ring->slots[id].n = 0;
	return token;
}

void vdrv_notifications(struct vdrv *ring, bool on)
{
	if (ring->packed)
		WRITE_ONCE(ring->avail[1],
			   on ? VRING_PACKED_EVENT_FLAG_ENABLE : VRING_PACKED_EVENT_FLAG_DISABLE);
	else if (ring->event_idx)
		WRITE_ONCE(ring->avail[2 + ring->num],
			   (uint16_t)(on ? ring->next_used : ring->next_used - 1));
	else
		WRITE_ONCE(ring->avail[0], on ? 0 : VRING_AVAIL_F_NO_INTERRUPT);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
