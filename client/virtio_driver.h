/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver's side of a virtqueue, split or packed, over memory that a device can see: for tests
 * and load clients. One thread per ring. Nothing is allocated after vdrv_init().
 */
#ifndef EXITLESS_CLIENT_VIRTIO_DRIVER_H
#define EXITLESS_CLIENT_VIRTIO_DRIVER_H

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VDRV_INDIRECT_MAX 32 /* buffers of an indirect chain */

struct vdrv_buf {
	uint64_t addr; /* as the device sees it */
	uint32_t len;
	bool write; /* by the device; these come last */
};

struct vdrv_slot {
	void *token;
	uint16_t n; /* descriptors; 0: free */
	uint16_t next;
};

struct vdrv {
	bool packed, event_idx, in_order;
	uint16_t num;
	uint16_t n_free;
	/* as a device wants to know it; packed: avail is the driver's event structure */
	uint64_t desc_addr, avail_addr, used_addr, indirect_addr;
	struct vring_desc *desc; /* packed: struct vring_packed_desc */
	uint16_t *avail, *used;
	struct vring_desc *indirect;
	/* split: free descriptors as a FIFO list; packed: free IDs */
	uint16_t free_head, free_tail;
	uint16_t next_avail, next_used;
	bool avail_wrap, used_wrap;
	uint16_t published; /* split: available index; packed: slots added since are added */
	uint16_t added;
	uint16_t first_slot, first_flags; /* packed: of what is not published */
	struct vdrv_slot *slots;
};

/* Memory that a ring of @num takes, indirect tables included; a multiple of 4096. */
size_t vdrv_bytes(unsigned num);
/* @mem: zeroed, 4096-aligned, seen by the device at @addr. Returns 0 or -ENOMEM. */
int vdrv_init(struct vdrv *ring, void *mem, uint64_t addr, unsigned num, uint64_t features);
void vdrv_done(struct vdrv *ring);

/* Adds a chain, by an indirect table if @indirect. 0, or -ENOSPC: the ring is full. */
int vdrv_add(struct vdrv *ring, const struct vdrv_buf *bufs, unsigned n, void *token,
	     bool indirect);
/* Makes visible what was added; true if the device wants a kick. */
bool vdrv_publish(struct vdrv *ring);
/* A chain that the device has used: its token, or NULL if there is none. */
void *vdrv_get(struct vdrv *ring, uint32_t *len);
/* Whether the device shall notify of the next used chain. */
void vdrv_notifications(struct vdrv *ring, bool on);

#endif
