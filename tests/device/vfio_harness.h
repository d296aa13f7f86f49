/* SPDX-License-Identifier: BSD-2-Clause */
/* A vfio-user server on a thread of its own, with a PCI function that records what it is told. */
#ifndef EXITLESS_TESTS_DEVICE_VFIO_HARNESS_H
#define EXITLESS_TESTS_DEVICE_VFIO_HARNESS_H

#include "client/vfio_user_client.h"
#include "memory/space.h"
#include "tests/device/descriptors.h"
#include "transport/vfio_user.h"

/* cmocka wants these before it */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GUEST_BASE 0x100000ull
#define GUEST_SIZE 0x100000ull

/* What the function was told. */
struct recorder {
	unsigned bar_reads, bar_writes, resets, memory_changes;
	unsigned last_bar;
	uint64_t last_offset;
	size_t last_len;
	uint8_t last_data[64];
};

extern struct vfio_user_server *server;
extern struct pci_function *function;
extern struct memory_space *space;
extern uint32_t *shared_page; /* the server's view of BAR0 + 0x2000 */
extern struct vu_client client;
/* Called by the function for each write to a BAR, on the server's thread. NULL, at first: nobody.
 */
extern void (*bar_written)(uint64_t offset);

/* cmocka setup and teardown: server started; with a negotiated client, or without. */
int server_start(void **state);
int server_stop(void **state);
int client_start(void **state);
int client_stop(void **state);

const char *server_path(void);
struct loop *server_loop(void);
/* Runs @fn on the server's thread and returns when it is done. */
void on_server(void (*fn)(void *arg), void *arg);
/* As it is once the server has done what it has read; valid until the next call. */
const struct recorder *recorded(void);
void server_stats(struct vfio_user_stats *stats);
/* Waits until the server has noticed that its client is gone, and closed all that was its. */
void wait_disconnected(void);
/* The connection must be closed by the server, within the client's time limit. */
void expect_dropped(struct vu_client *c);
/* A new client is served as before. */
void expect_serving(void);
/* The count of an eventfd since the last call; 0 if none. */
uint64_t drain(int fd);

#define test(fn)	   cmocka_unit_test_setup_teardown(fn, client_start, client_stop)
#define test_no_client(fn) cmocka_unit_test_setup_teardown(fn, server_start, server_stop)

#endif
