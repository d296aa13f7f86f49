/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rings whose addresses lead elsewhere while requests are in flight. A back end that forgets those
 * lets memory go under them, and is told by storage where to write when it is gone.
 */
#include "base/clock.h"
#include "base/util.h"
#include "disk/disk.h"
#include "tests/device/vhost_harness.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>

#define GPA	 (1ull << 21)
#define PACKED	 (1ull << VIRTIO_F_RING_PACKED)
#define NUM	 512u
#define REQUESTS 64u
#define BYTES	 8192u /* of data in each */
#define STRIDE	 0x4000u
#define RING	 0x10000000ull /* where the front end has the ring */

struct region_message {
	uint64_t pad;
	struct vhost_client_region r;
};

/* The ring, twice at the same address of the front end; the data; and what comes later. */
static const struct vhost_client_region ring_here = { 0x1000000000, 0x100000, RING, 0 },
					data = { 0x2000000000, 0x400000, 0x20000000, 0x100000 },
					ring_there = { 0x3000000000, 0x100000, RING, 0 },
					later = { 0x4000000000, 0x400000, 0x30000000, 0x500000 };
static char image[] = "/tmp/exitless-moves-XXXXXX";

static int set_protocol(uint64_t bits)
{
	return vhost_request_u64(&client.c, VHOST_SET_PROTOCOL_FEATURES, bits, -1);
}

static int remove_region(const struct vhost_client_region *r)
{
	struct region_message m = { 0, *r };

	return vhost_request(&client.c, VHOST_REM_MEM_REG, &m, sizeof(m), -1);
}

static void submit(struct vdrv *ring, const struct vhost_client_region *in, uint32_t type)
{
	for (uint64_t i = 0; i < REQUESTS; i++) {
		struct virtio_blk_outhdr hdr = { .type = type, .sector = i * (BYTES / 512) };
		uint64_t at = in->guest + i * STRIDE;
		uint8_t *host = client.mem + in->offset + i * STRIDE;
		struct vdrv_buf bufs[] = {
			{ at, sizeof(hdr), false },
			{ at + 4096, BYTES, type == VIRTIO_BLK_T_IN },
			{ at + 32, 1, true },
		};

		memcpy(host, &hdr, sizeof(hdr));
		host[32] = 0xee;
		assert_int_equal(vdrv_add(ring, bufs, 3, host, false), 0);
	}
	vdrv_publish(ring);
	assert_int_equal(write(client.kick, &(uint64_t){ 1 }, 8), 8);
}

static void match_broken(void *arg, const char *name, uint64_t value)
{
	if (!strcmp(name, "rings_broken"))
		*(uint64_t *)arg = value;
}

static uint64_t rings_broken(void)
{
	uint64_t n = 0;

	disk_stats(vhost_disk, match_broken, &n);
	return n;
}

/* All of them with their status, or up to those whose memory has gone before they were taken: of
 * these nothing can be said, and the ring breaks. */
static void wait_all_used(struct vdrv *ring, uint64_t broken)
{
	uint64_t until = time_now_ns() + 60 * NS_PER_S;
	uint8_t *host;
	uint32_t len;

	while (ring->n_free < ring->num) {
		assert_true(time_now_ns() < until);
		host = vdrv_get(ring, &len);
		if (host)
			assert_int_equal(host[32], VIRTIO_BLK_S_OK);
		else if (rings_broken() != broken)
			return;
		else
			usleep(10);
	}
}

/* Two regions at one address of the front end, which it may have while addresses are the guest's.
 * Then they are not any more, and the one that was found first goes: the ring moves with the next
 * region that comes. Then memory goes: with @wait none of which is still to be taken. */
static void with_requests_in_flight(uint64_t features, bool wait)
{
	struct vhost_client_region all = { GUEST_BASE, GUEST_BYTES, USER_BASE, 0 };
	struct vdrv ring, user;
	uint64_t count, broken = rings_broken();

	assert_int_equal(
		vhost_request_u64(&client.c, VHOST_SET_FEATURES, client.c.features | features, -1),
		0);
	assert_int_equal(set_protocol(client.c.protocol | GPA), 0);
	assert_int_equal(vhost_add_region(&client.c, &ring_here, client.memfd), 0);
	assert_int_equal(vhost_add_region(&client.c, &data, client.memfd), 0);
	assert_int_equal(vhost_add_region(&client.c, &ring_there, client.memfd), 0);
	assert_int_equal(set_protocol(client.c.protocol), 0);
	assert_int_equal(vdrv_init(&ring, client.mem, ring_here.guest, NUM, features), 0);
	user = ring;
	user.desc_addr += RING - ring_here.guest;
	user.avail_addr += RING - ring_here.guest;
	user.used_addr += RING - ring_here.guest;
	assert_int_equal(vhost_ring_start(&client.c, 0, &user, features & PACKED ? 0x80008000u : 0,
					  client.kick, client.tx_call),
			 0);
	assert_int_equal(remove_region(&all), 0);
	submit(&ring, &data, VIRTIO_BLK_T_OUT);
	while (read(client.tx_call, &count, 8) == 8)
		;
	assert_int_equal(vhost_add_region(&client.c, &later, client.memfd), 0);
	/* what was published before it moved the guest may not have been told of */
	assert_true(readable(client.tx_call));
	if (wait)
		wait_all_used(&ring, broken);
	assert_int_equal(remove_region(&data), 0);
	/* what was in flight comes back with these at the latest */
	submit(&ring, &later, VIRTIO_BLK_T_IN);
	wait_all_used(&ring, broken);
	if (wait)
		assert_int_equal(rings_broken(), broken);
	vdrv_done(&ring);
}

static void moves(void **state)
{
	for (unsigned i = 0; i < 20; i++) {
		with_requests_in_flight(i % 2 ? V1 | PACKED : V1, i % 4 < 2);
		client_again();
	}
}

/* What addresses mean does not change under a ring that runs. */
static void keeps_their_meaning(void **state)
{
	struct vdrv ring;
	uint32_t base;

	assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, NUM, V1), 0);
	guest_ring(&client, 0, &ring, client.kick, -1);
	assert_int_equal(set_protocol(client.c.protocol | GPA), REFUSED);
	/* the rest may */
	assert_int_equal(set_protocol(client.c.protocol & ~(1ull << 9)), 0);
	assert_int_equal(vhost_ring_stop(&client.c, 0, &base), 0);
	assert_int_equal(set_protocol(client.c.protocol | GPA), 0);
	assert_int_equal(vhost_ring_start(&client.c, 0, &ring, base, client.kick, -1), 0);
	assert_int_equal(set_protocol(client.c.protocol), REFUSED);
	vdrv_done(&ring);
}

static int start(void **state)
{
	int fd = mkstemp(image);

	if (fd < 0 || ftruncate(fd, DISK_BYTES) < 0 || close(fd) < 0)
		return -1;
	vhost_disk_image = image;
	return vhost_harness_start(state);
}

static int end(void **state)
{
	int err = vhost_harness_stop(state);

	unlink(image);
	return err;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_disk(moves),
		test_disk(keeps_their_meaning),
	};

	return cmocka_run_group_tests(tests, start, end);
}
