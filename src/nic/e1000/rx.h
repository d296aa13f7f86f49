/* SPDX-License-Identifier: BSD-2-Clause */
/* Between a frame on its way in (rx.c) and the descriptors it goes to (rxring.c). I/O core, under
 * rx_lock. */
#ifndef EXITLESS_NIC_E1000_RX_H
#define EXITLESS_NIC_E1000_RX_H

#include "net/offload.h"
#include "nic/e1000/e1000.h"

#define E1000_RX_HEADER 192 /* bytes of a frame of which we take a private copy */

enum e1000_rx_format { RX_LEGACY, RX_EXTENDED, RX_SPLIT };

enum e1000_rx_result {
	E1000_STORED,
	E1000_WAIT, /* no, or too few, descriptors; or the memory has just been found remote */
	E1000_DROP, /* counted */
};

/* What the registers said when a batch was given. */
struct e1000_rx_call {
	struct e1000 *dev;
	uint64_t now_ns;
	struct e1000_rx_remote *remote; /* dev's at the start */
	bool counted;			/* the frames have waited, and have been counted */
	bool some;			/* the last one to wait found some descriptors */
	uint32_t rctl, rxcsum;
	bool strip;
	uint16_t vet;
	enum e1000_rx_format format;
	uint32_t buffer_bytes;
	uint32_t split_bytes[4];
	struct e1000_ring ring[E1000_QUEUES];
	bool loaded[E1000_QUEUES];
	uint32_t causes;
};

/* A frame as the guest shall see it: header[], then the packet's bytes from @skip on, then zeros
 * (padding and, unless SECRC, the FCS) up to @len. */
struct e1000_rx_frame {
	const struct packet *packet;
	uint32_t skip, len;
	uint32_t header_len;
	/* a checksum that lies behind header[] */
	bool patch;
	uint32_t patch_at;
	uint16_t csum;
	/* for the descriptor */
	struct headers h;
	uint32_t status; /* extended format: status 19:0, errors 31:24 */
	uint16_t vlan;
	struct e1000_rss rss;
	uint8_t header[E1000_RX_HEADER + 4];
};

void e1000_rx_call_begin(struct e1000_rx_call *call, struct e1000 *dev, uint64_t now_ns);
/* Shows the heads, and sees to the interrupt. */
void e1000_rx_call_end(struct e1000_rx_call *call, struct io_turn *turn);
/* Counts a frame without gso, and asks the filters. */
bool e1000_rx_wanted(struct e1000_rx_call *call, const struct packet *packet);
/* Gives a frame without gso: filters, descriptors, counters. */
enum e1000_rx_result e1000_rx_frame_give(struct e1000_rx_call *call, const struct packet *packet);
/* @causes, with the overrun at most ten times a second. */
uint32_t e1000_rx_limit_rxo(struct e1000 *dev, uint32_t causes, uint64_t now_ns);
void e1000_rx_ring_load(struct e1000_rx_call *call, unsigned queue);
/* Stores the frame in the queue's next descriptors, or not at all. */
enum e1000_rx_result e1000_rx_store(struct e1000_rx_call *call, unsigned queue,
				    const struct e1000_rx_frame *frame);

/* ---- rxwait.c: frames that wait ------------------------------------------------------------ */

/* Keeps a copy of a frame without gso behind those that wait. False when there is no room. */
bool e1000_rx_wait_put(struct e1000_rx_call *call, const struct packet *packet);
/* The first one; its bytes stay where they are until the next call of _put() or _pop(). */
void e1000_rx_wait_first(struct e1000_rx_wait *wait, struct packet *packet, struct iovec *piece);
void e1000_rx_wait_pop(struct e1000_rx_call *call);
/* The first one has found no room again: true when it is to be dropped (counted). */
bool e1000_rx_wait_overdue(struct e1000_rx_call *call);
/* Gives what waits, as far as there are descriptors. Not with dev->rx_remote. */
void e1000_rx_wait_serve(struct e1000_rx_call *call);
/* Something waits: has somebody look after it. */
void e1000_rx_wait_arm(struct e1000 *dev, uint64_t now_ns);

#endif
