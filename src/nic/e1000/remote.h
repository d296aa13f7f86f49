/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rings and buffers in memory without a file (memory/remote.h). A direction that meets such memory
 * has a "remote" from then until its reset, or until nothing of it is remote any more, and works in
 * rounds: read descriptors (and for transmit the data) by messages, do as always with the copies,
 * write by messages, and show the head and interrupt when the writes have been acknowledged. The
 * common path sees a NULL pointer.
 */
#ifndef EXITLESS_NIC_E1000_REMOTE_H
#define EXITLESS_NIC_E1000_REMOTE_H

#include "memory/remote.h"
#include "nic/e1000/rx.h"
#include "nic/e1000/tx.h"

/* ---- txremote.c: I/O core, under the queue's lock ------------------------------------------ */

/* What memory_at() does not give: the round's copy; NULL if there is none. The first such address
 * makes tx->remote, and the poll starts again. */
void *e1000_tx_remote_at(struct e1000_tx *tx, struct memory_reader *reader, uint64_t address,
			 uint32_t len, unsigned access);
/* True when copies are there: of what lies before @ring's tail, which is moved. False: later. */
bool e1000_tx_remote_begin(struct e1000_tx *tx, struct e1000_ring *ring, uint64_t now_ns);
/* After that: writes back the descriptors in tx->done, and raises @causes when that is done. */
void e1000_tx_remote_end(struct e1000_tx *tx, const struct e1000_ring *ring, uint32_t causes,
			 bool delay, uint64_t now_ns);
/* The direction has been turned off: what has not been sent to the client never will be. NULL is
 * allowed, here and below. */
void e1000_tx_remote_stop(struct e1000_tx_remote *remote);
void e1000_tx_remote_free(struct e1000_tx_remote *remote);

/* ---- rxremote.c: under rx_lock, but for _poll() -------------------------------------------- */

/* Frames wait: has _poll() called. */
void e1000_rx_remote_look(struct e1000 *dev);
/* I/O core: goes on with the round; takes rx_lock. */
void e1000_rx_remote_poll(struct e1000 *dev, struct io_turn *turn);
/* In a round: the copy of a descriptor; and where bytes for @address are to be put. Outside: NULL,
 * and the first remote address makes dev->rx_remote. */
void *e1000_rx_remote_desc(struct e1000 *dev, struct memory_reader *reader, uint64_t address,
			   uint32_t len);
void *e1000_rx_remote_buffer(struct e1000_rx_call *call, struct memory_reader *reader,
			     uint64_t address, uint32_t len);
/* A frame did not find room. True when it will be tried again: nothing is lost. */
bool e1000_rx_remote_retry(struct e1000_rx_call *call);
/* The @n descriptors from the queue's head on have been filled in. */
void e1000_rx_remote_post(struct e1000_rx_call *call, unsigned queue, unsigned n);
void e1000_rx_remote_stop(struct e1000 *dev);
void e1000_rx_remote_free(struct e1000_rx_remote *remote);

#endif
