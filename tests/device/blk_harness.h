/* SPDX-License-Identifier: BSD-2-Clause */
/* A disk in a process of its own, as the daemon has it, and a guest that drives one ring of it. */
#ifndef EXITLESS_TESTS_DEVICE_BLK_HARNESS_H
#define EXITLESS_TESTS_DEVICE_BLK_HARNESS_H

#include "base/util.h"
#include "client/vhost_user_client.h"

#include <linux/virtio_blk.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include <cmocka.h>

#define SIZE	 (8u << 20)
#define MEM	 (16u << 20)
#define SLOT	 0x400000u /* requests: 64 KiB each from here on */
#define NUM	 64
#define PACKED	 (1ull << VIRTIO_F_RING_PACKED)
#define INDIRECT (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define V1	 (1ull << VIRTIO_F_VERSION_1)
#define F(name)	 (1ull << VIRTIO_BLK_F_##name)
#define PROTOCOL (1ull << 0 | 1ull << 3 | 1ull << 9 | 1ull << 12 | 1ull << 13 | 1ull << 15)

/* The disk that server_start() makes: its image, and what it is told. */
extern char image[64];
extern bool pin, shared, cached;

/* The VMM and its guest, and what they take of features and protocol features. */
extern struct vhost_client c;
extern struct vdrv ring;
extern uint8_t *mem;
extern int kick, call;
extern uint64_t features, protocol;
/* Of requests in flight; -1: none. An empty file: the back end is to make it. */
extern int inflight;

/* Of a group of tests. */
int blk_setup(void **state);
int blk_teardown(void **state);

void server_start(const char *backend, bool read_only);
/* By SIGKILL. */
void server_kill(void);

/* With memory and a ring of its own. */
void guest_start(uint64_t wanted);
void guest_stop(void);
/* The server has just been forked. */
void wait_connected(void);
/* Connects, and starts the ring from @base on. */
void attach(uint32_t base);

/* Requests have a slot each: a header at its start, the status behind it, data further on, in
 * pieces of @piece. */
uint8_t *slot(unsigned i);
uint8_t *data(unsigned i);
void submit(unsigned i, uint32_t type, uint64_t sector, uint32_t len, bool in, uint32_t piece);
/* What was used next. A server that ended, or does nothing for a minute, is a failure. */
uint8_t *wait_used(uint32_t *len);
/* The slot of that. */
unsigned finish(void);
/* Submits slot 0, and returns its status. */
uint8_t request(uint32_t type, uint64_t sector, uint32_t len, bool in);
void fill(unsigned i, uint32_t len, uint8_t seed);
void check(unsigned i, uint32_t len, uint8_t seed);

struct config_message {
	uint32_t offset, size, flags;
	struct virtio_blk_config config;
} __attribute__((packed));

/* All of it. */
void get_config(struct config_message *m);

#endif
