/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of a virtqueue share: virtqueue.c has its life and kicks, take.c reads chains,
 * give.c writes what was used. Private to virtio/. */
#ifndef EXITLESS_VIRTIO_RING_H
#define EXITLESS_VIRTIO_RING_H

#include "virtio/inflight.h"
#include "virtio/virtqueue.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define AVAIL_BIT     (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED_BIT      (1u << VRING_PACKED_DESC_F_USED)

static ALWAYS_INLINE bool is_available(uint16_t flags, bool wrap)
{
	return !!(flags & AVAIL_BIT) == wrap && !!(flags & USED_BIT) != wrap;
}

static ALWAYS_INLINE bool packed_available(const struct virtqueue *vq, uint16_t slot, bool wrap)
{
	const struct vring_packed_desc *d = (const struct vring_packed_desc *)&vq->desc[slot];

	return is_available(LOAD_ACQUIRE(d->flags), wrap);
}

#endif
