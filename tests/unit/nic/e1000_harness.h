/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One NIC with guest memory, driven as a driver would through its PCI function; polls and gives
 * run on the test's own thread. What it transmits is recorded (net_switch_forward() is the
 * harness's own).
 */
#ifndef EXITLESS_TESTS_UNIT_NIC_E1000_HARNESS_H
#define EXITLESS_TESTS_UNIT_NIC_E1000_HARNESS_H

#include "base/util.h"
#include "net/offload.h"
#include "nic/e1000/e1000.h"
#include "nic/nic.h"

/* cmocka wants these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GUEST_BASE 0x100000ull
#define GUEST_SIZE 0x400000ull
#define TX_RING	   (GUEST_BASE + 0x0000)
#define RX_RING	   (GUEST_BASE + 0x2000)
#define TX_BUFFER  (GUEST_BASE + 0x10000)
#define RX_BUFFER  (GUEST_BASE + 0x100000)
#define RING_N	   64u
#define BUFFER	   2048u

#define SENT_MAX 256
struct sent {
	uint32_t len;
	struct offload off;
	bool tagged;
	uint16_t tci;
	uint8_t bytes[70000];
};

extern struct nic *nic;
extern struct e1000 *dev;
extern struct memory_space *space;
extern uint8_t *guest; /* GUEST_BASE */
extern struct sent *sent;
extern unsigned n_sent;
extern struct io_turn turn;

/* setup functions for cmocka */
int start_82540em(void **state);
int start_82574l(void **state);
int start_82574l_trapped(void **state);
int stop(void **state);

uint32_t rd(uint32_t offset);
void wr(uint32_t offset, uint32_t value);
void bus_master(bool on);
void *at(uint64_t address); /* guest memory */
int guest_file(void);

/* Interrupts: @mode with one eventfd per vector; fired() counts and clears. */
void interrupts(enum pci_irq_index mode);
unsigned fired(unsigned vector);
/* Puts the clock forward to the deadline of the device's timer, which fires; false if it has none.
 * Otherwise no time passes. */
bool timer_run(void);
/* The same for the timer that looks after frames that wait. */
bool wait_timer_run(void);

/* Transmit: Linux's order of writes; queue 0 unless said. */
void tx_start(unsigned queue);
void tx_desc(unsigned queue, uint32_t index, uint64_t address, uint32_t lower, uint32_t upper);
void tx_poll(unsigned queue);
/* One legacy descriptor with EOP, IFCS and RS; sets the tail and polls. */
void tx_frame(uint32_t index, const void *frame, uint32_t len);

/* Receive */
void rx_start(unsigned queue, uint32_t rctl);
/* Gives one packet of contiguous bytes; returns what the device took. */
unsigned rx_give(const void *bytes, uint32_t len, const struct offload *off, int tci);
uint64_t stat(const char *name);

/* Frames: returns the length. */
uint32_t frame_udp(uint8_t *frame, const uint8_t *dst, uint32_t payload);
uint32_t frame_tcp(uint8_t *frame, const uint8_t *dst, uint32_t payload);
/* What is left to do for such a frame that is to be cut up, each with so much payload. */
struct offload tcp_segment(uint16_t size);
extern const uint8_t own_mac[6], peer_mac[6];

/* Rows of a table of tests: on one of the two chips, on both, or with doorbells that trap. */
#define em(fn)                                                                                     \
	{                                                                                          \
		"82540EM " #fn, fn, start_82540em, stop, NULL                                      \
	}
#define l(fn)                                                                                      \
	{                                                                                          \
		"82574L " #fn, fn, start_82574l, stop, NULL                                        \
	}
#define trap(fn)                                                                                   \
	{                                                                                          \
		"82574L trapped " #fn, fn, start_82574l_trapped, stop, NULL                        \
	}
#define both(fn) em(fn), l(fn)

#endif
