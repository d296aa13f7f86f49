/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Receive descriptors (8254x manual 3.2.3; 82574 datasheet 7.1.5 to 7.1.7): legacy, extended, and
 * packet split, whose descriptors take two places of the ring. Each is read once. A frame's
 * descriptors are collected first, so that it is stored whole or not at all; then the bytes, then
 * the write-backs in ring order, each with its status last.
 */
#include "nic/e1000/rx.h"

#include "nic/e1000/remote.h"

#include <errno.h>

#define STORE_DESC_MAX 96 /* 16 KB in buffers of 256 bytes, and some null descriptors */
#define STORE_PIECES   256

struct slot {
	uint8_t *desc;
	uint32_t len;	   /* bytes of the frame in it; split: in its buffer 0 */
	uint32_t split[3]; /* in buffers 1..3 */
	bool header_split;
};

struct store {
	unsigned n_slots;
	unsigned n_pieces;
	uint32_t total; /* bytes to place */
	uint32_t placed;
	struct slot slots[STORE_DESC_MAX];
	struct iovec pieces[STORE_PIECES];
};

void e1000_rx_ring_load(struct e1000_rx_call *call, unsigned queue)
{
	struct e1000_rx_queue *rx = &call->dev->rx[queue];

	if (call->loaded[queue])
		return;
	call->loaded[queue] = true;
	memory_reader_begin(&rx->ring_reader);
	memory_reader_begin(&rx->data_reader);
	e1000_ring_load(call->dev, RDBAL(queue), &rx->head, &call->ring[queue]);
}

/* Guest memory at any alignment; one store, and not moved before the ones above it. */
static void put32(uint8_t *p, uint32_t v)
{
	__asm__ volatile("" ::: "memory");
	memcpy(p, &v, sizeof(v));
	__asm__ volatile("" ::: "memory");
}

/* Places up to @len bytes in the buffer at @address. Returns how many (0: null, or not mapped). */
static uint32_t place(struct e1000_rx_call *call, struct e1000_rx_queue *rx, struct store *store,
		      uint64_t address, uint32_t len)
{
	struct iovec *piece = &store->pieces[store->n_pieces];
	void *host;
	int n;

	if (!len || unlikely(store->n_pieces == STORE_PIECES))
		return 0;
	if (unlikely(!address)) {
		COUNT(call->dev->rx_count.null_buffer, 1);
		return 0;
	}
	host = memory_at(&rx->data_reader, address, len, MEMORY_WRITE);
	if (likely(host)) {
		*piece = (struct iovec){ host, len };
		store->n_pieces++;
	} else {
		n = memory_iov(&rx->data_reader, address, len, MEMORY_WRITE, piece,
			       STORE_PIECES - store->n_pieces);
		if (n == -E2BIG) {
			/* no more of this frame is looked up */
			COUNT(call->dev->rx_count.bad_buffer, 1);
			store->n_pieces = STORE_PIECES;
			return 0;
		}
		if (n < 0 &&
		    (host = e1000_rx_remote_buffer(call, &rx->data_reader, address, len))) {
			*piece = (struct iovec){ host, len };
			n = 1;
		}
		if (n < 0) {
			COUNT(call->dev->rx_count.bad_buffer, call->dev->rx_remote == call->remote);
			return 0;
		}
		store->n_pieces += (unsigned)n;
	}
	store->placed += len;
	return len;
}

/* How many bytes go to buffer 0 alone; 0: the header is not split off (82574 7.1.6). */
static uint32_t split_header(const struct e1000_rx_call *call, const struct e1000_rx_frame *frame)
{
	const struct headers *h = &frame->h;
	uint32_t len = h->payload;

	if (!len && h->ipv4)
		len = h->l3 + (frame->header[h->l3] & 0xf) * 4u;
	else if (!len && h->ipv6 && !h->ipv6_ext)
		len = h->l3 + 40u;
	return len <= call->split_bytes[0] && len <= frame->len ? len : 0;
}

static void slot_fill(struct e1000_rx_call *call, struct e1000_rx_queue *rx, struct store *store,
		      struct slot *slot, const uint64_t *address,
		      const struct e1000_rx_frame *frame)
{
	uint32_t left = store->total - store->placed, header = 0;

	if (call->format != RX_SPLIT) {
		slot->len = place(call, rx, store, address[0], MIN(left, call->buffer_bytes));
		return;
	}
	if (!store->placed)
		header = split_header(call, frame);
	slot->len = place(call, rx, store, address[0],
			  MIN(left, header ? header : call->split_bytes[0]));
	slot->header_split = header && slot->len;
	for (unsigned i = 0; i < 3; i++) {
		left = store->total - store->placed;
		slot->split[i] = place(call, rx, store, address[i + 1],
				       MIN(left, call->split_bytes[i + 1]));
	}
}

static uint8_t *desc_at(struct e1000_rx_call *call, struct e1000_rx_queue *rx, uint64_t address,
			uint32_t len)
{
	uint8_t *desc = NULL;

	if (likely(!call->remote))
		desc = memory_at(&rx->ring_reader, address, len, MEMORY_READ | MEMORY_WRITE);
	if (unlikely(!desc))
		desc = e1000_rx_remote_desc(call->dev, &rx->ring_reader, address, len);
	return desc;
}

/* Descriptors for the whole frame, from the queue's head on. Moves *head behind them. */
static enum e1000_rx_result collect(struct e1000_rx_call *call, unsigned queue, struct store *store,
				    uint32_t *head, const struct e1000_rx_frame *frame)
{
	struct e1000_rx_queue *rx = &call->dev->rx[queue];
	const struct e1000_ring *ring = &call->ring[queue];
	unsigned units = call->format == RX_SPLIT ? 2 : 1;
	uint32_t at = *head, avail = 0;
	bool all = false;

	if (ring->n) {
		avail = (ring->tail + ring->n - at) % ring->n;
		all = avail + units >= ring->n; /* there will never be more */
	}
	call->some = avail >= units;
	while (store->placed < store->total) {
		struct slot *slot = &store->slots[store->n_slots];
		uint64_t address[4];
		uint32_t before = store->placed;

		if (avail < units)
			return all ? E1000_DROP : E1000_WAIT;
		if (store->n_slots == STORE_DESC_MAX || store->n_pieces + 8 > STORE_PIECES)
			return E1000_DROP;
		if (unlikely(at + units > ring->n)) { /* an odd ring of pairs */
			at = 0;
			avail -= 1;
			continue;
		}
		slot->desc = desc_at(call, rx, ring->base + (uint64_t)at * RING_DESC_BYTES,
				     units * RING_DESC_BYTES);
		if (unlikely(!slot->desc)) {
			COUNT(call->dev->rx_count.bad_ring, call->dev->rx_remote == call->remote);
			return E1000_DROP;
		}
		memcpy(address, slot->desc, units == 2 ? 32 : 8);
		__asm__ volatile("" ::: "memory");
		slot->split[0] = slot->split[1] = slot->split[2] = 0;
		slot->header_split = false;
		slot_fill(call, rx, store, slot, address, frame);
		store->n_slots++;
		at += units;
		at = at == ring->n ? 0 : at;
		avail -= units;
		if (unlikely(store->placed < store->total) && call->dev->rx_remote != call->remote)
			return E1000_WAIT;
		if (store->placed == before && !before) {
			/* nothing usable in front of the frame: used up at once, for progress */
			*head = at;
		}
	}
	*head = at;
	return E1000_STORED;
}

/* Bytes into the pieces, one after the other. */
struct cursor {
	struct iovec *piece;
	size_t at;
};

static void put(struct cursor *c, const void *buf, size_t len)
{
	const uint8_t *from = buf;

	while (len) {
		size_t here = MIN(c->piece->iov_len - c->at, len);

		memcpy((uint8_t *)c->piece->iov_base + c->at, from, here);
		from += here;
		len -= here;
		c->at += here;
		if (c->at == c->piece->iov_len) {
			c->piece++;
			c->at = 0;
		}
	}
}

static void copy_frame(struct store *store, const struct e1000_rx_frame *frame)
{
	static const uint8_t zeros[64];
	const struct packet *packet = frame->packet;
	struct cursor c = { store->pieces, 0 };
	uint32_t skip = frame->skip, left = store->total;

	put(&c, frame->header, MIN(frame->header_len, left));
	left -= MIN(frame->header_len, left);
	for (unsigned i = 0; i < packet->n_pieces && left; i++) {
		const struct iovec *piece = &packet->pieces[i];
		uint32_t here = (uint32_t)piece->iov_len;

		if (skip >= here) {
			skip -= here;
			continue;
		}
		here = MIN(here - skip, left);
		put(&c, (const uint8_t *)piece->iov_base + skip, here);
		left -= here;
		skip = 0;
	}
	while (left) {
		uint32_t here = MIN(left, (uint32_t)sizeof(zeros));

		put(&c, zeros, here);
		left -= here;
	}
	if (unlikely(frame->patch)) {
		uint32_t at = frame->patch_at;

		c = (struct cursor){ store->pieces, 0 };
		while (at >= c.piece->iov_len)
			at -= (uint32_t)(c.piece++)->iov_len;
		c.at = at;
		put(&c, &frame->csum, 2);
	}
}

static void write_back_legacy(const struct slot *slot, uint32_t status, uint16_t vlan)
{
	/* length and checksum; then status, errors, VLAN */
	put32(slot->desc + 8, slot->len);
	put32(slot->desc + 12, (status & 0xff) | (status >> 24) << 8 | (uint32_t)vlan << 16);
}

static void write_back_extended(const struct slot *slot, const struct e1000_rx_frame *frame,
				uint32_t status, uint16_t vlan)
{
	put32(slot->desc, frame->rss.type | frame->rss.queue << 8);
	put32(slot->desc + 4, frame->rss.hash);
	put32(slot->desc + 12, slot->len | (uint32_t)vlan << 16);
	put32(slot->desc + 8, status);
}

static void write_back_split(const struct slot *slot, const struct e1000_rx_frame *frame,
			     uint32_t status, uint16_t vlan)
{
	uint32_t header = slot->header_split ? RXD_HDRSP | slot->len : 0;

	put32(slot->desc, frame->rss.type | frame->rss.queue << 8);
	put32(slot->desc + 4, frame->rss.hash);
	put32(slot->desc + 12, slot->len | (uint32_t)vlan << 16);
	put32(slot->desc + 16, header | slot->split[0] << 16);
	put32(slot->desc + 20, slot->split[1] | slot->split[2] << 16);
	put32(slot->desc + 24, 0);
	put32(slot->desc + 28, 0);
	put32(slot->desc + 8, status);
}

static void write_back(const struct e1000_rx_call *call, const struct store *store,
		       const struct e1000_rx_frame *frame)
{
	for (unsigned i = 0; i < store->n_slots; i++) {
		const struct slot *slot = &store->slots[i];
		bool last = i + 1 == store->n_slots;
		/* all but the last say no more than that they are done */
		uint32_t status = last ? RXD_DD | RXD_EOP | frame->status : RXD_DD;
		uint16_t vlan = last ? frame->vlan : 0;

		switch (call->format) {
		case RX_LEGACY: write_back_legacy(slot, status, vlan); break;
		case RX_EXTENDED: write_back_extended(slot, frame, status, vlan); break;
		case RX_SPLIT: write_back_split(slot, frame, status, vlan); break;
		}
	}
}

/* Descriptors that held no buffer, and are all there is: done, with nothing in them. */
static void give_up(const struct e1000_rx_call *call, struct store *store, uint32_t used)
{
	static const struct e1000_rx_frame nothing;

	for (unsigned i = 0; i < MIN(used, store->n_slots); i++) {
		switch (call->format) {
		case RX_LEGACY: write_back_legacy(&store->slots[i], RXD_DD, 0); break;
		case RX_EXTENDED: write_back_extended(&store->slots[i], &nothing, RXD_DD, 0); break;
		case RX_SPLIT: write_back_split(&store->slots[i], &nothing, RXD_DD, 0); break;
		}
	}
}

/* RXDMT0 once when the free descriptors fall below a half, quarter or eighth. */
static void check_threshold(struct e1000_rx_call *call, unsigned queue)
{
	struct e1000_rx_queue *rx = &call->dev->rx[queue];
	const struct e1000_ring *ring = &call->ring[queue];
	uint32_t avail = (ring->tail + ring->n - rx->head.head) % ring->n;
	bool below = avail < ring->n >> (RCTL_RDMTS(call->rctl) + 1);

	if (below && !rx->min_threshold)
		call->causes |= ICR_RXDMT0;
	rx->min_threshold = below;
}

/* Descriptors in front of the frame that held no buffer are used up. */
static void skip_to(struct e1000_rx_call *call, unsigned queue, struct store *store, uint32_t head)
{
	struct e1000_rx_queue *rx = &call->dev->rx[queue];
	unsigned units = call->format == RX_SPLIT ? 2 : 1;
	uint32_t n = call->ring[queue].n;

	n = (head + n - rx->head.head) % n / units;
	give_up(call, store, n);
	if (unlikely(call->remote))
		e1000_rx_remote_post(call, queue, n);
	rx->head.head = head;
}

enum e1000_rx_result e1000_rx_store(struct e1000_rx_call *call, unsigned queue,
				    const struct e1000_rx_frame *frame)
{
	struct e1000_rx_queue *rx = &call->dev->rx[queue];
	enum e1000_rx_result result;
	struct store store;
	uint32_t head;

	e1000_rx_ring_load(call, queue);
	store.n_slots = store.n_pieces = 0;
	store.placed = 0;
	store.total = frame->len + (call->rctl & RCTL_SECRC ? 0 : 4);
	head = rx->head.head;
	result = collect(call, queue, &store, &head, frame);
	if (unlikely(result != E1000_STORED)) {
		if (unlikely(call->dev->rx_remote) && e1000_rx_remote_retry(call))
			return E1000_WAIT;
		if (result == E1000_DROP) {
			COUNT(call->dev->rx_count.no_buffer, 1);
			call->causes |= ICR_RXO;
		}
		if (head != rx->head.head)
			skip_to(call, queue, &store, head);
		return result;
	}
	copy_frame(&store, frame);
	write_back(call, &store, frame);
	if (unlikely(call->remote))
		e1000_rx_remote_post(call, queue, store.n_slots);
	rx->head.head = head;
	call->causes |= ICR_RXQ0 << queue;
	check_threshold(call, queue);
	return E1000_STORED;
}
