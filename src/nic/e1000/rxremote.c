/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Receive rounds over messages. Frames wait (rxwait.c), as they do in the chip's packet buffer
 * while it fetches descriptors. A round reads the descriptors from the head
 * to the tail, which are the device's; stores frames into private buffers that are then written,
 * each frame's bytes before its descriptors, and of a descriptor the word with DD last.
 *
 * The rounds are driven by the first transmit queue's polls.
 */
#include "nic/e1000/remote.h"

#include "base/clock.h"

#include <stdlib.h>

#define WINDOW 512u /* descriptors of a queue in a round */
/* what one frame may need of a stage */
#define STORE_TRANSFERS 512u
#define STORE_BYTES	(32u * 1024)

_Static_assert(E1000_QUEUES *WINDOW *RING_DESC_BYTES + STORE_BYTES <= MEMORY_STAGE_BYTES,
	       "one frame fits");

struct e1000_rx_remote {
	struct memory_stage *stage;
	enum { IDLE, DESCRIPTORS, WRITTEN } phase;
	/* of the round */
	struct e1000_ring ring[E1000_QUEUES];
	uint32_t head[E1000_QUEUES];
	bool needed; /* something was remote */
	bool stored; /* a frame */
	bool retry;  /* a frame found no room behind others */
	unsigned mark;
	uint32_t causes; /* when all is written */
	/* a frame found too few descriptors: nothing to do while the tails are these */
	bool starved;
	uint32_t tail[E1000_QUEUES];
};

void e1000_rx_remote_free(struct e1000_rx_remote *r)
{
	if (!r)
		return;
	memory_stage_free(r->stage);
	free(r);
}

static void end_round(struct e1000_rx_remote *r)
{
	memory_stage_clear(r->stage);
	r->phase = IDLE;
}

void e1000_rx_remote_stop(struct e1000 *dev)
{
	struct e1000_rx_remote *r = dev->rx_remote;

	if (!r)
		return;
	end_round(r);
}

void e1000_rx_remote_look(struct e1000 *dev)
{
	STORE_RELEASE(dev->tx[0].recheck, 1);
	io_queue_kick(&dev->tx[0].queue);
}

static void make_remote(struct e1000 *dev)
{
	struct e1000_rx_remote *r = calloc(1, sizeof(*r));

	if (!r)
		return;
	r->stage = memory_stage_new(dev->nic.space);
	if (!r->stage) {
		free(r);
		return;
	}
	WRITE_ONCE(dev->rx_remote, r);
}

void *e1000_rx_remote_desc(struct e1000 *dev, struct memory_reader *reader, uint64_t address,
			   uint32_t len)
{
	if (dev->rx_remote)
		return memory_stage_at(dev->rx_remote->stage, address, len);
	if (memory_is_remote(reader, address, len, MEMORY_READ | MEMORY_WRITE))
		make_remote(dev);
	return NULL;
}

void *e1000_rx_remote_buffer(struct e1000_rx_call *call, struct memory_reader *reader,
			     uint64_t address, uint32_t len)
{
	if (!memory_is_remote(reader, address, len, MEMORY_WRITE))
		return NULL;
	/* What is put into the stage outside of a round would go out with the next, unfilled. */
	if (!call->remote) {
		if (!call->dev->rx_remote)
			make_remote(call->dev);
		return NULL;
	}
	call->remote->needed = true;
	return memory_stage_write(call->remote->stage, address, len);
}

/* ---- a round ------------------------------------------------------------------------------ */

static void fetch(struct e1000 *dev, struct e1000_rx_remote *r, unsigned queue, uint32_t at,
		  uint32_t n)
{
	uint64_t address = r->ring[queue].base + (uint64_t)at * RING_DESC_BYTES;

	enum memory_place place = memory_where(&dev->rx[queue].ring_reader, address,
					       n * RING_DESC_BYTES, MEMORY_READ | MEMORY_WRITE);

	/* by messages even if it has a file, so that all is written in one order */
	if (place == MEMORY_NOWHERE || memory_stage_fetch(r->stage, address, n * RING_DESC_BYTES))
		return;
	r->needed |= place == MEMORY_REMOTE;
}

static void fetch_descriptors(struct e1000 *dev, struct e1000_rx_remote *r)
{
	struct e1000_rx_call call;

	e1000_rx_call_begin(&call, dev, 0);
	r->needed = r->starved = false;
	for (unsigned q = 0; q < dev->variant->n_queues; q++) {
		struct e1000_ring *ring = &r->ring[q];
		uint32_t head, n = 0, first;

		e1000_rx_ring_load(&call, q);
		*ring = call.ring[q];
		head = r->head[q] = dev->rx[q].head.head;
		r->tail[q] = ring->tail;
		if (ring->n)
			n = MIN((ring->tail + ring->n - head) % ring->n, WINDOW);
		if (!n)
			continue;
		ring->tail = (head + n) % ring->n;
		first = MIN(n, ring->n - head);
		fetch(dev, r, q, head, first);
		fetch(dev, r, q, 0, n - first);
	}
	memory_stage_submit(r->stage);
	r->phase = DESCRIPTORS;
}

bool e1000_rx_remote_retry(struct e1000_rx_call *call)
{
	struct e1000_rx_remote *r = call->dev->rx_remote;

	if (!r)
		return false;
	if (!call->remote)
		return true; /* found remote just now: it will be kept */
	memory_stage_rollback(r->stage, r->mark);
	r->retry = r->stored;
	return r->retry;
}

void e1000_rx_remote_post(struct e1000_rx_call *call, unsigned queue, unsigned n)
{
	struct e1000_rx_remote *r = call->remote;
	const struct e1000_ring *ring = &call->ring[queue];
	unsigned units = call->format == RX_SPLIT ? 2 : 1;
	uint32_t status_at = call->format == RX_LEGACY ? 12 : 8;
	uint32_t at = call->dev->rx[queue].head.head, len = units * RING_DESC_BYTES;

	for (unsigned i = 0; i < n; i++) {
		uint64_t address;
		uint8_t *desc, *bytes, *status;

		if (at + units > ring->n)
			at = 0;
		address = ring->base + (uint64_t)at * RING_DESC_BYTES;
		desc = memory_stage_at(r->stage, address, len);
		bytes = memory_stage_write(r->stage, address, len);
		status = memory_stage_write(r->stage, address + status_at, 4);
		if (!desc || !bytes || !status)
			return; /* out of memory: as if the chip had died there */
		memcpy(bytes, desc, len);
		memset(bytes + status_at, 0, 4);
		memcpy(status, desc + status_at, 4);
		at = at + units == ring->n ? 0 : at + units;
	}
	r->stored = true;
}

static bool same_rings(struct e1000 *dev, const struct e1000_rx_remote *r,
		       struct e1000_rx_call *call)
{
	for (unsigned q = 0; q < dev->variant->n_queues; q++) {
		e1000_rx_ring_load(call, q);
		if (call->ring[q].base != r->ring[q].base || call->ring[q].n != r->ring[q].n ||
		    dev->rx[q].head.head != r->head[q])
			return false;
		call->ring[q].tail = r->ring[q].tail;
	}
	return true;
}

/* Everything is written. */
static void finish(struct e1000 *dev, struct e1000_rx_remote *r, uint64_t now_ns)
{
	for (unsigned q = 0; q < dev->variant->n_queues; q++)
		e1000_head_publish(&dev->rx[q].head);
	if (r->causes)
		e1000_irq_rx(dev, r->causes, now_ns);
	end_round(r);
	if (!r->needed && !dev->rx_wait.n) {
		WRITE_ONCE(dev->rx_remote, NULL);
		e1000_rx_remote_free(r);
		e1000_rx_wait_clear(dev);
	}
}

static void store_frames(struct e1000 *dev, struct e1000_rx_remote *r, uint64_t now_ns)
{
	struct e1000_rx_call call;
	struct packet packet;
	struct iovec piece;

	e1000_rx_call_begin(&call, dev, now_ns);
	if (!same_rings(dev, r, &call)) {
		end_round(r);
		return;
	}
	call.counted = true;
	r->stored = r->retry = false;
	while (dev->rx_wait.n && memory_stage_room(r->stage, STORE_TRANSFERS, STORE_BYTES)) {
		r->mark = memory_stage_mark(r->stage);
		e1000_rx_wait_first(&dev->rx_wait, &packet, &piece);
		if (e1000_rx_frame_give(&call, &packet) == E1000_WAIT &&
		    (r->retry || !e1000_rx_wait_overdue(&call))) {
			r->starved = !r->retry;
			break;
		}
		e1000_rx_wait_pop(&call);
	}
	if (r->starved)
		e1000_rx_wait_arm(dev, now_ns);
	r->causes = e1000_rx_limit_rxo(dev, call.causes, now_ns);
	r->phase = WRITTEN;
	memory_stage_submit(r->stage);
	if (!memory_stage_waiting(r->stage))
		finish(dev, r, now_ns);
}

/* The tails are looked at when a frame comes, or the guest sends, and at times (rxwait.c). */
static bool still_starved(struct e1000 *dev, const struct e1000_rx_remote *r, uint64_t now_ns)
{
	if (!r->starved || now_ns - dev->rx_wait.since_ns > NS_PER_S)
		return false;
	for (unsigned q = 0; q < dev->variant->n_queues; q++)
		if ((e1000_page(dev, RDT(q)) & RING_PTR_MASK) != r->tail[q])
			return false;
	return true;
}

void e1000_rx_remote_poll(struct e1000 *dev, struct io_turn *turn)
{
	struct e1000_rx_remote *r;

	pthread_mutex_lock(&dev->rx_lock);
	r = dev->rx_remote;
	if (!r || memory_stage_waiting(r->stage))
		goto out;
	if (r->phase == WRITTEN) {
		finish(dev, r, turn->now_ns);
		r = dev->rx_remote;
	}
	if (!r || !dev->rx_wait.n)
		goto out;
	if (!(e1000_get(dev, RCTL) & RCTL_EN) || !e1000_dma_ok(dev)) {
		e1000_rx_remote_stop(dev);
		e1000_rx_wait_stop(dev);
		goto out;
	}
	if (r->phase == IDLE && still_starved(dev, r, turn->now_ns))
		goto out;
	if (r->phase == IDLE)
		fetch_descriptors(dev, r);
	if (!memory_stage_waiting(r->stage)) {
		store_frames(dev, r, turn->now_ns);
		if (!dev->rx_remote || !dev->rx_remote->starved)
			e1000_rx_remote_look(dev);
	}
out:
	pthread_mutex_unlock(&dev->rx_lock);
}
