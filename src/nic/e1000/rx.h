/* SPDX-License-Identifier: BSD-2-Clause */
/* Between a frame on its way in (rx.c) and the descriptors it goes to (rxring.c). I/O core, under
 * rx_lock. */
#ifndef EXITLESS_NIC_E1000_RX_H
#define EXITLESS_NIC_E1000_RX_H

#include "net/offload.h"
#include "nic/e1000/e1000.h"

#define E1000_RX_HEADER 192 /* bytes of a frame of which we take a private copy */

enum e1000_rx_format { RX_LEGACY, RX_EXTENDED, RX_SPLIT };

/* What the registers said when a batch was given. */
struct e1000_rx_call {
	struct e1000 *dev;
	struct e1000_rx_remote *remote; /* dev's at the start */
	bool counted;			/* the frames are, by e1000_rx_wanted() */
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

void e1000_rx_call_begin(struct e1000_rx_call *call, struct e1000 *dev);
/* Counts a frame without gso, and asks the filters. */
bool e1000_rx_wanted(struct e1000_rx_call *call, const struct packet *packet);
/* Gives a frame without gso: filters, descriptors, counters. */
bool e1000_rx_frame_give(struct e1000_rx_call *call, const struct packet *packet);
/* @causes, with the overrun at most ten times a second. */
uint32_t e1000_rx_limit_rxo(struct e1000 *dev, uint32_t causes, uint64_t now_ns);
void e1000_rx_ring_load(struct e1000_rx_call *call, unsigned queue);
/* Stores the frame in the queue's next descriptors; false when there are not enough (counted). */
bool e1000_rx_store(struct e1000_rx_call *call, unsigned queue, const struct e1000_rx_frame *frame);

#endif
