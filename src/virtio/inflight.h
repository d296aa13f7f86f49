/* SPDX-License-Identifier: BSD-2-Clause */
/* In-flight tracking as the virtqueue uses it; private to virtio/. Lock held, but at
 * start. */
#ifndef EXITLESS_VIRTIO_INFLIGHT_H
#define EXITLESS_VIRTIO_INFLIGHT_H

#include "virtio/virtqueue.h"

/* A descriptor in registers. @next: of split rings; @id: of packed ones. */
struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next, id;
};

void inflight_free(struct virtqueue *vq);
/* At start: finds out what was in flight, and returns how many ring slots that is, or -EINVAL (a
 * ring larger than the region, marks that cannot be its own). The
 * used position (packed: with its wrap counter in bit 15) comes from the ring in a split queue, and
 * from the region in a packed one, unless that is fresh. */
int inflight_recover(struct virtqueue *vq, uint16_t *used);

/* The next chain to take again; false: none left. Split: its head. Packed: its record. */
bool inflight_next(struct virtqueue *vq, uint16_t *entry);
/* Undoes the last @n of them. */
void inflight_unnext(struct virtqueue *vq, unsigned n);
/* Packed: descriptor number @i of @record, which stands at *@entry: for 0 that is set here, and
 * each call leaves it at the next one. False: no more, or nonsense. */
bool inflight_desc(struct virtqueue *vq, uint16_t record, unsigned i, uint16_t *entry,
		   struct virtq_desc *desc);

/* Split: chain with this head was taken. */
void inflight_took_split(struct virtqueue *vq, uint16_t head);
/* Packed: descriptors of a chain that is being read; then either it was taken (returns the record),
 * or not. */
void inflight_saw(struct virtqueue *vq, const struct virtq_desc *desc);
uint16_t inflight_took_packed(struct virtqueue *vq);
void inflight_forget(struct virtqueue *vq);
/* Put back. */
void inflight_untook(struct virtqueue *vq, const struct virtq_chain *chain);
/* Given, then published. */
void inflight_gave(struct virtqueue *vq, const struct virtq_chain *chain);
void inflight_published(struct virtqueue *vq);

#endif
