/* SPDX-License-Identifier: BSD-2-Clause */
/* Between a transmit ring (tx.c) and what one packet's descriptors mean (txpacket.c). I/O core,
 * under the queue's lock. */
#ifndef EXITLESS_NIC_E1000_TX_H
#define EXITLESS_NIC_E1000_TX_H

#include "net/packet.h"
#include "nic/e1000/e1000.h"

/* descriptors of one packet; more are dropped up to the next EOP */
#define E1000_TX_PACKET_DESC 256

/* In the turn's scratch memory. */
struct e1000_tx_scratch {
	struct packet_batch batch;
	/* private copies of headers that are changed on their way, one for each packet */
	uint8_t headers[PACKET_BATCH][E1000_TX_HEADER];
};

struct e1000_tx_desc {
	uint64_t address;
	uint32_t lower, upper;
};

/* A packet while its descriptors are read. */
struct e1000_tx_build {
	struct packet *packet; /* NULL before the first data descriptor */
	unsigned n_desc;
	bool bad; /* counted already; dropped at its end */
	struct e1000_tx_desc first;
};

void e1000_tx_context(struct e1000_tx *tx, const struct e1000_tx_desc *desc);
/* Adds a data (or legacy) descriptor. */
void e1000_tx_data(struct e1000_tx *tx, struct e1000_tx_scratch *scratch,
		   struct e1000_tx_build *build, const struct e1000_tx_desc *desc);
/* @last has EOP: works out the offloads and seals the packet, or drops it and counts why. */
void e1000_tx_finish(struct e1000_tx *tx, struct e1000_tx_scratch *scratch,
		     struct e1000_tx_build *build, const struct e1000_tx_desc *last);

#endif
