/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver's side of an 82540EM or 82574L over the vfio-user client library: resets the chip,
 * sets up one queue each way in the client's memory, and sends and receives in batches through
 * mapped doorbells. For tests and load generators. One thread per driver.
 *
 * Functions return 0 (or a count), or -errno.
 */
#ifndef EXITLESS_CLIENT_E1000_DRIVER_H
#define EXITLESS_CLIENT_E1000_DRIVER_H

#include "client/vfio_user_client.h"

#define E1000_DRIVER_BUFFER   2048u
#define E1000_DRIVER_RING_MAX 1024u

struct e1000_driver {
	struct vu_client *client;
	bool extended; /* 82574L: extended receive descriptors, MSI-X */
	bool msix;
	unsigned n; /* descriptors of each ring */
	/* guest addresses in the client's memory, and where we see them */
	uint64_t tx_ring, rx_ring, tx_buffers, rx_buffers;
	uint8_t *memory; /* of tx_ring */
	uint8_t mac[6];
	uint32_t tx_tail, tx_clean, rx_next;
	int irq_fds[3]; /* MSI-X: receive, transmit, other; INTx: the first. Non-blocking */
	uint64_t sent, received, interrupts;
};

/* Bytes of the client's memory that @n descriptors each way need. */
uint64_t e1000_driver_bytes(unsigned n);
/*
 * @client is open and has memory; the driver's part starts @skip bytes into it. @n: 8 to
 * E1000_DRIVER_RING_MAX, a multiple of 8. @trap: doorbells by messages (decided at the first
 * call for a client). -ENODEV when the device is another one, -ERANGE when the memory does not do.
 */
int e1000_driver_init(struct e1000_driver *d, struct vu_client *client, uint64_t skip, unsigned n,
		      bool trap);
/* Stops both directions and takes the interrupts away. */
void e1000_driver_done(struct e1000_driver *d);

/* Puts a frame into the next descriptor; -ENOSPC when the ring is full, -EMSGSIZE. */
int e1000_driver_queue(struct e1000_driver *d, const void *frame, uint32_t len);
/* The same with a large TCP/IPv4 segment (headers of 54 bytes) whose payload is up to @len - 54. */
int e1000_driver_queue_tso(struct e1000_driver *d, const void *frame, uint32_t len, uint16_t mss);
/* One doorbell for all that was queued. */
void e1000_driver_kick(struct e1000_driver *d);
/* Takes back what the device is done with; returns how many descriptors. */
unsigned e1000_driver_clean(struct e1000_driver *d);

/* The next frame that came: its length, and @frame filled (room for E1000_DRIVER_BUFFER); 0 if
 * there is none, -EIO if the device reports an error. *status (may be NULL) gets the descriptor's
 * status bits. */
int e1000_driver_receive(struct e1000_driver *d, void *frame, uint32_t *status);
/* Interrupts since the last call, re-armed as the stock drivers do. */
unsigned e1000_driver_interrupts(struct e1000_driver *d);
bool e1000_driver_link(struct e1000_driver *d);

#endif
