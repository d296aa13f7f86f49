/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two virtio-net devices on one switch and a disk in memory, served over vhost-user with an I/O
 * core, and guests that drive them. For the test_vhost_* programs.
 */
#ifndef EXITLESS_TESTS_DEVICE_VHOST_HARNESS_H
#define EXITLESS_TESTS_DEVICE_VHOST_HARNESS_H

#include "client/vhost_user_client.h"
#include "nic/virtio_net/virtio_net.h"
#include "tests/device/descriptors.h"
#include "transport/vhost_user.h"

/* cmocka wants these before it */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DISK	    2 /* the disk's number among the devices */
#define DISK_QUEUES 4
#define DISK_BYTES  (1u << 20)
#define PAIRS	    16 /* of each NIC's queues */
#define GUEST_BYTES (16u << 20)
#define GUEST_BASE  0x100000000ull    /* guest address of its memory */
#define USER_BASE   0x7f0000000000ull /* where its VMM has it */
#define BUF_BYTES   2048u
#define VHOST_ALL                                                                                  \
	(1ull << 0 | 1ull << 1 | 1ull << 2 | 1ull << 3 | 1ull << 4 | 1ull << 5 | 1ull << 9 |       \
	 1ull << 12 | 1ull << 13 | 1ull << 15 | 1ull << 16)
#define REFUSED -5 /* what the client says when a message was */
#define V1	(1ull << VIRTIO_F_VERSION_1)

struct guest {
	struct vhost_client c;
	int memfd;
	uint8_t *mem;
	struct vdrv rx, tx;
	int rx_call, tx_call, kick;
	uint64_t features;
	unsigned hdr_len;
	unsigned rx_buffers;
	uint8_t *wanted; /* guest_receive() */
};

extern char vhost_path[3][64];
extern struct vhost_user_server *vhost_server[3];
extern struct nic *vhost_nic[2];
extern struct net_switch *vhost_switch; /* of both */
extern struct disk *vhost_disk;
/* Before vhost_harness_start(): the disk's image, DISK_BYTES of it. NULL: it is in memory. */
extern const char *vhost_disk_image;

int vhost_harness_start(void **state);
int vhost_harness_stop(void **state);

/* The control thread's. */
struct loop *vhost_loop(void);
/* Runs @fn(@arg) on the control thread and waits. */
void on_loop(void (*fn)(void *arg), void *arg);
void nic_stat(unsigned i, const char *name, uint64_t *value);

/* Connects to device @i with memory and pair 0 running. */
void guest_start(struct guest *g, unsigned i, uint64_t features, uint16_t num, unsigned buf_bytes,
		 unsigned n_buffers);
void guest_stop(struct guest *g);
/* Memory only: negotiates and shares it. */
void guest_open(struct guest *g, unsigned i, uint64_t features);
/* What guest_open() made. */
void guest_close(struct guest *g);
/* Starts ring @index of the device, which the guest drives as @ring. */
void guest_ring(struct guest *g, unsigned index, const struct vdrv *ring, int kick, int call);
/* Sends @len bytes of frame behind @hdr in pieces of @piece bytes. */
void guest_send(struct guest *g, const void *hdr, const void *frame, uint32_t len, uint32_t piece);
/* Copies header and frame (over merged buffers) of the next packet; returns the frame's length, or
 * 0: none came within a minute. */
uint32_t guest_receive(struct guest *g, void *hdr, uint8_t *frame, uint32_t room);
/* The same, within @seconds. */
uint32_t guest_receive_for(struct guest *g, unsigned seconds, void *hdr, uint8_t *frame,
			   uint32_t room);
/* A descriptor becomes readable. Bounded by a minute, so only for what is to happen. */
bool readable(int fd);
/* Where the back end closed the connection; waits for it as readable() does. */
bool is_closed(struct vhost_client *c);
/* Waits, a minute at most, until no more than @n descriptors are open: the back end closes what it
 * has soon. */
void wait_open_fds(unsigned n);
/* How many are open once the back end has closed all it had of others than @clients, which are
 * connected: bit i for device i. */
unsigned settled_fds(unsigned clients);

/* ---- one message ------------------------------------------------------------------------- */

/* A guest on the first NIC, or on the disk, with memory and no ring: cmocka setup and teardown. */
extern struct guest client;
int client_start(void **state);
int client_start_disk(void **state);
int client_stop(void **state);
/* The same anew, after the back end dropped it. */
void client_again(void);
/* Bytes as they are. */
void send_raw(const void *bytes, size_t len);
/* With a status asked for. */
int send_state(uint32_t request, uint32_t index, uint32_t num);
int send_addr(unsigned index, uint32_t flags, uint64_t desc, uint64_t used, uint64_t avail);
/* A memory file of @bytes. */
int memory_file(size_t bytes);

#define test(fn)      cmocka_unit_test_setup_teardown(fn, client_start, client_stop)
#define test_disk(fn) cmocka_unit_test_setup_teardown(fn, client_start_disk, client_stop)

#endif
