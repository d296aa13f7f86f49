/* SPDX-License-Identifier: BSD-2-Clause */
/* SET_BACKEND_REQ_FD, and what we ask of the front end: to look at the configuration anew. */
#include "base/clock.h"
#include "disk/disk.h"
#include "tests/device/vhost_harness.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <sys/socket.h>

static void refuses(void **state)
{
	int file = open("/dev/null", O_RDWR), pair[2];

	assert_int_equal(vhost_request(&client.c, VHOST_SET_BACKEND_REQ_FD, NULL, 0, -1), REFUSED);
	assert_int_equal(vhost_request(&client.c, VHOST_SET_BACKEND_REQ_FD, NULL, 0, file),
			 REFUSED);
	assert_int_equal(vhost_request(&client.c, VHOST_SET_BACKEND_REQ_FD, NULL, 0, client.kick),
			 REFUSED);
	/* each replaces the one before */
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		assert_int_equal(
			vhost_request(&client.c, VHOST_SET_BACKEND_REQ_FD, NULL, 0, pair[0]), 0);
		close(pair[0]);
		close(pair[1]);
	}
	close(file);
}

static void resize(void *arg)
{
	*(int *)arg = disk_resize(vhost_disk, *(int *)arg);
}

static void resized(int bytes)
{
	int result = bytes;

	on_loop(resize, &result);
	assert_int_equal(result, 0);
}

static bool told(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };
	struct vhost_header header;

	if (poll(&p, 1, 100) != 1)
		return false;
	assert_int_equal(recv(fd, &header, sizeof(header), 0), sizeof(header));
	assert_int_equal(header.request, 2); /* VHOST_USER_BACKEND_CONFIG_CHANGE_MSG */
	assert_int_equal(header.flags, 1);
	assert_int_equal(header.size, 0);
	return true;
}

static void asks(void)
{
	uint32_t m[3 + 15] = { 0, 60, 0 }, len = sizeof(m);
	struct vhost_header header;

	assert_int_equal(vhost_send(&client.c, VHOST_GET_CONFIG, 0, m, sizeof(m), NULL, 0), 0);
	assert_int_equal(vhost_receive(&client.c, &header, m, &len, NULL), 0);
	assert_int_equal(len, sizeof(m));
}

static void backend_fd(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(vhost_request(&client.c, VHOST_SET_BACKEND_REQ_FD, NULL, 0, pair[0]), 0);
}

static void tells_of_a_resize(void **state)
{
	struct vdrv ring;
	uint32_t base;
	int pair[2];

	backend_fd(pair);
	asks();
	/* not while all rings are stopped: when one starts, and then once */
	resized(DISK_BYTES / 4);
	resized(DISK_BYTES / 2);
	assert_false(told(pair[1]));
	assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, 64, V1), 0);
	guest_ring(&client, 0, &ring, client.kick, -1);
	assert_true(told(pair[1]));
	guest_ring(&client, 1, &ring, client.kick, -1);
	assert_false(told(pair[1]));
	resized(DISK_BYTES);
	assert_true(told(pair[1]));
	assert_false(told(pair[1]));
	/* again, in later lives of the driver */
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned k = 0; k < 2; k++)
			assert_int_equal(vhost_ring_stop(&client.c, k, &base), 0);
		if (i % 2)
			resized(DISK_BYTES >> i);
		assert_false(told(pair[1]));
		guest_ring(&client, i / 2, &ring, client.kick, -1);
		assert_int_equal(told(pair[1]), i % 2);
		assert_false(told(pair[1]));
	}
	/* a front end that does not read them is not waited for */
	for (unsigned i = 0; i < 2000; i++)
		resized(i % 2 ? DISK_BYTES : DISK_BYTES / 2);
	assert_true(told(pair[1]));
	assert_int_equal(vhost_ring_stop(&client.c, 0, &base), 0);
	assert_int_equal(vhost_ring_stop(&client.c, 1, &base), 0);
	/* nor one that has gone */
	close(pair[1]);
	guest_ring(&client, 0, &ring, client.kick, -1);
	resized(DISK_BYTES / 2);
	resized(DISK_BYTES);
	vdrv_done(&ring);
	close(pair[0]);
}

/* What changed while there was nobody to tell. */
static void tells_who_listens_late(void **state)
{
	struct vdrv ring;
	int pair[2];

	asks();
	assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, 64, V1), 0);
	guest_ring(&client, 0, &ring, client.kick, -1);
	resized(DISK_BYTES / 2);
	backend_fd(pair);
	assert_true(told(pair[1]));
	assert_false(told(pair[1]));
	close(pair[0]);
	close(pair[1]);
	/* one that takes its place has nothing new to hear */
	backend_fd(pair);
	assert_false(told(pair[1]));
	resized(DISK_BYTES);
	assert_true(told(pair[1]));
	close(pair[0]);
	close(pair[1]);
	vdrv_done(&ring);
}

/* A front end that connects again may not ask again: it has an older one. One that has asked needs
 * not be told. */
static void tells_who_comes_again(void **state)
{
	struct vdrv ring;
	int pair[2];

	for (unsigned i = 0; i < 4; i++) {
		bool knows = i % 2;

		backend_fd(pair);
		if (knows)
			asks();
		assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, 64, V1), 0);
		guest_ring(&client, 0, &ring, client.kick, -1);
		assert_int_equal(told(pair[1]), !knows);
		assert_false(told(pair[1]));
		close(pair[0]);
		close(pair[1]);
		vdrv_done(&ring);
		client_again();
	}
	/* without GET_CONFIG there is nothing to ask for */
	vhost_close(&client.c);
	assert_int_equal(vhost_connect(&client.c, vhost_path[DISK]), 0);
	assert_int_equal(vhost_negotiate(&client.c, V1, VHOST_ALL & ~(1ull << 9)), 0);
	assert_int_equal(vhost_add_region(&client.c,
					  &(struct vhost_client_region){ GUEST_BASE, GUEST_BYTES,
									 USER_BASE, 0 },
					  client.memfd),
			 0);
	backend_fd(pair);
	assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, 64, V1), 0);
	guest_ring(&client, 0, &ring, client.kick, -1);
	resized(DISK_BYTES / 2);
	resized(DISK_BYTES);
	assert_false(told(pair[1]));
	close(pair[0]);
	close(pair[1]);
	vdrv_done(&ring);
}

#define AT   0x10000u /* of the request in the guest's memory: header, status, data */
#define DATA (AT + 4096)

static uint8_t request(struct vdrv *ring, uint32_t type, uint64_t sector, void (*meanwhile)(int))
{
	static int calls;
	struct virtio_blk_outhdr hdr = { .type = type, .sector = sector };
	struct vdrv_buf bufs[] = { { GUEST_BASE + AT, sizeof(hdr), false },
				   { GUEST_BASE + DATA, 4096, type == VIRTIO_BLK_T_IN },
				   { GUEST_BASE + AT + 512, 1, true } };
	uint64_t until = time_now_ns() + 60 * NS_PER_S;
	uint32_t len;

	memcpy(client.mem + AT, &hdr, sizeof(hdr));
	client.mem[AT + 512] = 0xee;
	assert_int_equal(vdrv_add(ring, bufs, 3, client.mem, false), 0);
	if (vdrv_publish(ring))
		assert_int_equal(write(client.kick, &(uint64_t){ 1 }, 8), 8);
	if (meanwhile)
		meanwhile(++calls);
	while (!vdrv_get(ring, &len))
		assert_true(time_now_ns() < until);
	return client.mem[AT + 512];
}

static void another_size(int calls)
{
	resized(calls % 2 ? 8 * DISK_BYTES : DISK_BYTES);
}

/* Both ways, while requests on both sides of the end are served. */
static void resized_under_load(void **state)
{
	const uint64_t end = DISK_BYTES / 512;
	struct vdrv ring;

	assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, 64, V1), 0);
	guest_ring(&client, 0, &ring, client.kick, -1);
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t sector = 8 * i % (8 * end);
		uint8_t status = request(&ring, i % 3 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, sector,
					 another_size);

		if (sector + 8 <= end)
			assert_int_equal(status, VIRTIO_BLK_S_OK);
		else
			assert_true(status == VIRTIO_BLK_S_OK || status == VIRTIO_BLK_S_IOERR);
	}
	resized(2 * DISK_BYTES);
	memset(client.mem + DATA, 0x77, 4096);
	assert_int_equal(request(&ring, VIRTIO_BLK_T_OUT, end, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(request(&ring, VIRTIO_BLK_T_OUT, 2 * end, NULL), VIRTIO_BLK_S_IOERR);
	/* what was cut off is gone, as the guest was told */
	resized(DISK_BYTES);
	assert_int_equal(request(&ring, VIRTIO_BLK_T_IN, end, NULL), VIRTIO_BLK_S_IOERR);
	resized(2 * DISK_BYTES);
	assert_int_equal(request(&ring, VIRTIO_BLK_T_IN, end, NULL), VIRTIO_BLK_S_OK);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(client.mem[DATA + i], 0);
	resized(DISK_BYTES);
	vdrv_done(&ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(refuses),
		test_disk(tells_of_a_resize),
		test_disk(tells_who_listens_late),
		test_disk(tells_who_comes_again),
		test_disk(resized_under_load),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
