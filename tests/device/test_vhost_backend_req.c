/* SPDX-License-Identifier: BSD-2-Clause */
/* SET_BACKEND_REQ_FD, and what we ask of the front end: to look at the configuration anew. */
#include "disk/disk.h"
#include "tests/device/vhost_harness.h"

#include <fcntl.h>
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

static void tells_of_a_resize(void **state)
{
	struct vdrv ring;
	uint32_t base;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(vhost_request(&client.c, VHOST_SET_BACKEND_REQ_FD, NULL, 0, pair[0]), 0);
	/* not while all rings are stopped */
	resized(DISK_BYTES / 2);
	assert_false(told(pair[1]));
	assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, 64, V1), 0);
	guest_ring(&client, 0, &ring, client.kick, -1);
	resized(DISK_BYTES);
	assert_true(told(pair[1]));
	assert_false(told(pair[1]));
	/* a front end that does not read them is not waited for */
	for (unsigned i = 0; i < 2000; i++)
		resized(i % 2 ? DISK_BYTES : DISK_BYTES / 2);
	assert_true(told(pair[1]));
	assert_int_equal(vhost_ring_stop(&client.c, 0, &base), 0);
	/* nor one that has gone */
	close(pair[1]);
	guest_ring(&client, 0, &ring, client.kick, -1);
	resized(DISK_BYTES / 2);
	resized(DISK_BYTES);
	vdrv_done(&ring);
	close(pair[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(refuses),
		test_disk(tells_of_a_resize),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
