/* SPDX-License-Identifier: BSD-2-Clause */
/* A ring with both sides in one process, for the tests of virtio/. */
#ifndef EXITLESS_TESTS_UNIT_VIRTIO_RIG_H
#define EXITLESS_TESTS_UNIT_VIRTIO_RIG_H

#include "client/virtio_driver.h"
#include "virtio/virtqueue.h"

#define RIG_BYTES (8u << 20)
#define RIG_RING  0x100000u /* guest address of the ring; data from 0x400000 on */
#define RIG_DATA  0x400000u

#define PACKED	  (1ull << VIRTIO_F_RING_PACKED)
#define EVENT_IDX (1ull << VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT  (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define IN_ORDER  (1ull << VIRTIO_F_IN_ORDER)

struct rig {
	int fd;
	uint8_t *mem; /* our view: guest address 0 */
	struct memory_space *space;
	struct virtqueue vq;
	struct vdrv drv;
	uint64_t features;
	uint16_t num;
	struct iovec pieces[2048];
	struct virtq_chain chains[256]; /* what rig_take() took last */
};

/* Guest memory is mapped as regions of @region_bytes (0: one). */
int rig_init(struct rig *rig, uint64_t features, uint16_t num, uint32_t region_bytes);
void rig_done(struct rig *rig);
/* Starts the device's side at @base; -errno. */
int rig_start(struct rig *rig, uint32_t base);
/* Where a new ring begins; packed: with both wrap counters at 1. */
uint32_t rig_base(uint64_t features);
/* The driver has one more buffer, which is not published yet; its tag is the rig. Asserts. */
void rig_add(struct rig *rig, uint32_t len, bool write);
/* Takes up to @max chains; 0 also if the device may not look at its ring. */
unsigned rig_take(struct rig *rig, unsigned max);

#endif
