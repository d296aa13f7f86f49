/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Transmit rounds over messages. The descriptors before the tail and their data are the device's
 * until they are reported done, so copies made after the tail was read are good for the round, and
 * for that only: a ring comes round. A status byte is written by a message of its own, because the
 * bytes beside it are the driver's again as soon as it has seen an earlier one.
 */
#include "nic/e1000/remote.h"

#include <stdlib.h>

#define WINDOW	     512u /* descriptors of a round; two packets of the longest kind */
#define PACKET_BYTES (128u * 1024)

_Static_assert(WINDOW *RING_DESC_BYTES + PACKET_BYTES <= MEMORY_STAGE_BYTES, "one packet fits");
_Static_assert(2 * WINDOW + 2 <= MEMORY_STAGE_TRANSFERS, "each descriptor: data and status");

struct e1000_tx_remote {
	struct memory_stage *stage;
	enum { IDLE, DESCRIPTORS, DATA, WRITTEN } phase;
	/* of the round: the ring as it was, and the descriptors it is about */
	struct e1000_ring ring;
	uint32_t head, end;
	bool needed; /* something was remote */
	/* when all is written */
	uint32_t causes;
	bool delay;
};

void e1000_tx_remote_free(struct e1000_tx_remote *r)
{
	if (!r)
		return;
	memory_stage_free(r->stage);
	free(r);
}

static void end_round(struct e1000_tx_remote *r)
{
	memory_stage_clear(r->stage);
	r->phase = IDLE;
}

void e1000_tx_remote_stop(struct e1000_tx_remote *r)
{
	if (r)
		end_round(r);
}

void *e1000_tx_remote_at(struct e1000_tx *tx, struct memory_reader *reader, uint64_t address,
			 uint32_t len, unsigned access)
{
	struct e1000_tx_remote *r = tx->remote;

	if (r)
		return memory_stage_at(r->stage, address, len);
	if (!memory_is_remote(reader, address, len, access))
		return NULL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->stage = memory_stage_new(reader->space);
	if (r->stage)
		tx->remote = r;
	else
		free(r);
	return NULL;
}

static uint64_t desc_address(const struct e1000_tx_remote *r, uint32_t at)
{
	return r->ring.base + (uint64_t)at * RING_DESC_BYTES;
}

static void fetch(struct e1000_tx_remote *r, struct memory_reader *reader, uint64_t address,
		  uint32_t len, unsigned access)
{
	if (!memory_is_remote(reader, address, len, access))
		return;
	r->needed = true;
	memory_stage_fetch(r->stage, address, len); /* if it fails, it is not there */
}

static void fetch_descriptors(struct e1000_tx *tx, struct e1000_tx_remote *r)
{
	uint32_t n = (r->ring.tail + r->ring.n - r->head) % r->ring.n, first;

	n = MIN(n, WINDOW);
	first = MIN(n, r->ring.n - r->head);
	r->end = (r->head + n) % r->ring.n;
	fetch(r, &tx->ring_reader, desc_address(r, r->head), first * RING_DESC_BYTES,
	      MEMORY_READ | MEMORY_WRITE);
	if (n > first)
		fetch(r, &tx->ring_reader, r->ring.base, (n - first) * RING_DESC_BYTES,
		      MEMORY_READ | MEMORY_WRITE);
}

/* Of the whole packets in the window, as many as a poll may take, and as fit. */
static void fetch_data(struct e1000_tx *tx, struct e1000_tx_remote *r)
{
	uint32_t at = r->head, end = r->head, bytes = 0;
	unsigned n = 0, packets = 0;

	while (at != r->end && packets < PACKET_BATCH) {
		uint64_t address = desc_address(r, at);
		struct e1000_tx_desc desc;
		uint32_t len;
		void *p = memory_at(&tx->ring_reader, address, sizeof(desc), MEMORY_READ);

		if (!p)
			p = memory_stage_at(r->stage, address, sizeof(desc));
		at = at + 1 == r->ring.n ? 0 : at + 1;
		if (!p) {
			end = at; /* the poll finds that out, too, and counts it */
			break;
		}
		memcpy(&desc, p, sizeof(desc));
		if (desc.lower & TXD_DEXT && TXD_DTYP(desc.lower) == TXD_DTYP_CONTEXT) {
			end = n ? end : at;
			continue;
		}
		len = desc.lower & (desc.lower & TXD_DEXT ? TXD_LEN_DATA : TXD_LEN_LEGACY);
		if (len && desc.address && len <= PACKET_BYTES - bytes) {
			if (!memory_stage_room(r->stage, WINDOW, len))
				break;
			bytes += len;
			fetch(r, &tx->data_reader, desc.address, len, MEMORY_READ);
		}
		n++;
		if (desc.lower & TXD_EOP || n == E1000_TX_PACKET_DESC || n + 1 >= r->ring.n) {
			end = at;
			packets++;
			n = 0;
			bytes = 0;
		}
	}
	r->end = end;
}

/* Everything is written. */
static void finish(struct e1000_tx *tx, uint64_t now_ns)
{
	struct e1000_tx_remote *r = tx->remote;

	e1000_head_publish(&tx->head);
	if (r->causes)
		e1000_irq_tx(tx->dev, r->causes, r->delay ? E1000_TX_MUCH : E1000_TX_AT_ONCE,
			     now_ns);
	end_round(r);
	if (!r->needed) {
		e1000_tx_remote_free(r);
		tx->remote = NULL;
	}
	WRITE_ONCE(tx->recheck, 1);
}

bool e1000_tx_remote_begin(struct e1000_tx *tx, struct e1000_ring *ring, uint64_t now_ns)
{
	struct e1000_tx_remote *r = tx->remote;

	if (memory_stage_waiting(r->stage))
		return false;
	if (r->phase == WRITTEN) {
		finish(tx, now_ns);
		return false; /* the next poll reads the ring afresh */
	}
	memory_reader_begin(&tx->ring_reader);
	memory_reader_begin(&tx->data_reader);
	if (r->phase != IDLE &&
	    (r->ring.base != ring->base || r->ring.n != ring->n || r->head != tx->head.head)) {
		end_round(r);
	}
	if (!ring->n || ring->tail == tx->head.head)
		return false;
	if (r->phase == IDLE) {
		r->ring = *ring;
		r->head = tx->head.head;
		r->needed = false;
		fetch_descriptors(tx, r);
		memory_stage_submit(r->stage);
		r->phase = DESCRIPTORS;
		if (memory_stage_waiting(r->stage))
			return false;
	}
	if (r->phase == DESCRIPTORS) {
		fetch_data(tx, r);
		if (r->end == r->head) {
			/* no whole packet yet; the tail will tell, if it has not yet */
			if (r->ring.tail != ring->tail)
				WRITE_ONCE(tx->recheck, 1);
			end_round(r);
			return false;
		}
		memory_stage_submit(r->stage);
		r->phase = DATA;
		if (memory_stage_waiting(r->stage))
			return false;
	}
	ring->tail = r->end;
	return true;
}

void e1000_tx_remote_end(struct e1000_tx *tx, const struct e1000_ring *ring, uint32_t causes,
			 bool delay, uint64_t now_ns)
{
	struct e1000_tx_remote *r = tx->remote;

	if (tx->head.head == r->head) {
		/* not even the first: its descriptor or the ring is bad */
		end_round(r);
		return;
	}
	for (unsigned i = 0; i < tx->n_done; i++) {
		uint64_t at = ring->base + (uint64_t)tx->done[i] * RING_DESC_BYTES + 12;
		uint8_t *sta = memory_at(&tx->ring_reader, at, 1, MEMORY_WRITE);

		if (!sta && memory_is_remote(&tx->ring_reader, at, 1, MEMORY_WRITE))
			sta = memory_stage_write(r->stage, at, 1);
		if (sta)
			STORE_RELEASE(*sta, TXD_STA_DD);
	}
	r->causes = causes;
	r->delay = delay;
	r->phase = WRITTEN;
	memory_stage_submit(r->stage);
	if (!memory_stage_waiting(r->stage))
		finish(tx, now_ns);
}
