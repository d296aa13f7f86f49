/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two NICs on a switch, each served over a socket and driven through rings in its client's memory,
 * with an I/O core as in the daemon.
 */
#ifndef EXITLESS_TESTS_DEVICE_NIC_HARNESS_H
#define EXITLESS_TESTS_DEVICE_NIC_HARNESS_H

#include "base/util.h"
#include "client/e1000_driver.h"
#include "nic/nic.h"
#include "transport/vfio_user.h"

/* cmocka wants these before it */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GUEST_BASE 0x100000ull
#define GUEST_SIZE (4ull << 20)
#define RING_N	   256u

struct machine {
	struct memory_space *space;
	struct nic *nic;
	struct vfio_user_server *server;
	char path[80];
	struct vu_client client;
	struct e1000_driver driver;
	int (*announce)(struct vu_client *c); /* its memory; NULL: as a whole, with its file */
};

extern struct machine machines[2];

/* Both served, connected and with a driver. @announce: of both; may be NULL. */
int nics_start(const char *a, const char *b, int (*announce)(struct vu_client *c));
/* cmocka's teardown. */
int nics_stop(void **state);
/* The device's counter of that name. */
uint64_t counter(const struct machine *m, const char *name);
/* Runs @fn on the servers' thread and returns when it is done. */
void on_servers(void (*fn)(void *arg), void *arg);

void machine_connect(struct machine *m);
/* Goes without a word. */
void machine_disconnect(struct machine *m);
/* Until its server has noticed, too. */
void wait_disconnected(const struct machine *m);

uint32_t make_frame(uint8_t *frame, const struct machine *from, const struct machine *to,
		    uint32_t number, uint32_t len);
/* Serves what the devices of both want of memory without a file. */
void serve_both(void);
/* The next frame of @to within 60 s. */
uint32_t wait_frame(struct machine *to, uint8_t *frame);
/* Forgets what is on its way. Both have fresh rings, or such as go on. */
void skip_frames(struct machine *from, struct machine *to);
/* @n frames of all lengths, checked. */
void transfer(struct machine *from, struct machine *to, unsigned n);
/* @n frames that find no descriptor, and then get one at a time. Nothing else is on its way. */
void transfer_one_by_one(struct machine *from, struct machine *to, unsigned n);
/* A large TCP segment, checked as it arrives in parts. */
void transfer_segment(struct machine *from, struct machine *to);

#endif
