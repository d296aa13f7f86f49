/* SPDX-License-Identifier: BSD-2-Clause */
/* The last of a guest's memory is freed by whoever lets go of it last, which takes as long as there
 * are pages: never the server's thread. */
#include "tests/device/vfio_harness.h"

#include "base/util.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define SIZE (1u << 20)

static pthread_t servers, own;
/* Neither munmap() nor close() of much memory returns on another thread before it may. */
static bool held;
/* Done so far with much memory, by the server's thread and by others. */
static unsigned unmapped_by_server, closed_by_server, closed_by_others;

int __real_munmap(void *at, size_t len);
int __wrap_munmap(void *at, size_t len);
int __real_close(int fd);
int __wrap_close(int fd);

static void wait_until_it_may(void)
{
	while (READ_ONCE(held))
		usleep(100);
}

int __wrap_munmap(void *at, size_t len)
{
	if (pthread_equal(pthread_self(), READ_ONCE(servers)))
		unmapped_by_server++;
	else if (!pthread_equal(pthread_self(), READ_ONCE(own)))
		wait_until_it_may();
	return __real_munmap(at, len);
}

int __wrap_close(int fd)
{
	struct stat st;

	if (fcntl(fd, F_GET_SEALS) >= 0 && !fstat(fd, &st) && st.st_blocks >= SIZE / 512) {
		if (pthread_equal(pthread_self(), READ_ONCE(servers))) {
			closed_by_server++;
		} else if (!pthread_equal(pthread_self(), READ_ONCE(own))) {
			wait_until_it_may();
			__atomic_add_fetch(&closed_by_others, 1, __ATOMIC_RELAXED);
		}
	}
	return __real_close(fd);
}

static void who(void *arg)
{
	WRITE_ONCE(servers, pthread_self());
	unmapped_by_server = closed_by_server = 0;
	WRITE_ONCE(closed_by_others, 0);
}

static int start(void **state)
{
	WRITE_ONCE(own, pthread_self());
	if (client_start(state))
		return -1;
	on_server(who, NULL);
	WRITE_ONCE(held, true);
	return 0;
}

static void let_go(void)
{
	WRITE_ONCE(held, false);
}

static int stop(void **state)
{
	let_go();
	return client_stop(state);
}

static int much(void)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fallocate(fd, 0, 0, SIZE), 0);
	return fd;
}

static void wait_connected(bool connected)
{
	struct vfio_user_stats stats;

	do {
		server_stats(&stats);
	} while (stats.connected != connected);
}

/* Its memory is still being unmapped when the next one comes. */
static void client_goes(void **state)
{
	struct memory_stats stats;
	uint16_t id = 0;
	int fd = much();

	assert_int_equal(vu_dma_map(&client, 0, SIZE, fd, 0, 3), 0);
	close(fd);
	vu_close(&client);
	wait_connected(false);
	memory_space_stats(space, &stats);
	assert_int_equal(stats.files, 0);
	assert_int_equal(vu_open(&client, server_path()), 0);
	assert_int_equal(vu_region_read(&client, VFIO_PCI_CONFIG_REGION_INDEX, 2, &id, 2), 0);
	assert_int_equal(id, 0x10d3);
	assert_int_equal(unmapped_by_server, 0);
	assert_int_equal(closed_by_server, 1); /* once it was mapped */
}

static void unmapped(void **state)
{
	int fd = much();

	assert_int_equal(vu_dma_map(&client, 0, SIZE, fd, 0, 3), 0);
	assert_int_equal(vu_dma_unmap(&client, 0, SIZE), 0);
	assert_int_equal(vu_dma_map(&client, 0, SIZE, fd, 0, 3), 0);
	close(fd);
	assert_int_equal(vu_reset(&client), 0);
	assert_int_equal(unmapped_by_server, 0);
}

/* What is mapped is held by that: its descriptor is closed at once, and nobody waits. */
static void mapped(void **state)
{
	struct vfio_user_stats stats;
	int fd = much();

	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(vu_dma_map(&client, i * 4096, 4096, fd, i * 4096, 3), 0);
	assert_int_equal(vu_dma_map(&client, 0, 4096, fd, 0, 3), 0); /* the same */
	server_stats(&stats);
	assert_false(stats.closing);
	assert_int_equal(closed_by_server, 11);
	close(fd);
}

/* It waits for the end of what it sent in vain, and nobody else does. */
static void refused(void **state)
{
	const struct {
		uint32_t argsz, flags;
		uint64_t offset, addr, size;
	} map = { 32, 0, 0, 0, 4096 };
	struct pollfd pfd = { client.fd, POLLIN, 0 };
	struct vfio_user_stats stats;
	int fd = much();

	assert_int_equal(vu_send(&client, 2, 0, &map, sizeof(map), &fd, 1), 0);
	close(fd);
	assert_int_equal(vu_receive(&client, 2, NULL, 0, NULL), -EINVAL);
	assert_int_equal(vu_send(&client, 13, 0, NULL, 0, NULL, 0), 0);
	server_stats(&stats);
	assert_true(stats.closing);
	assert_int_equal(closed_by_server, 0);
	assert_int_equal(poll(&pfd, 1, 0), 0);
	let_go();
	assert_int_equal(vu_receive(&client, 13, NULL, 0, NULL), 0);
	assert_int_equal(READ_ONCE(closed_by_others), 1);
}

/* One after the other leaves its memory behind: in the end the next one has to wait. */
static void again_and_again(void **state)
{
	struct pollfd pfd = { .events = POLLIN };
	struct vfio_user_stats stats;

	for (unsigned i = 0;; i++) {
		int fd = much();

		assert_int_equal(vu_dma_map(&client, 0, SIZE, fd, 0, 3), 0);
		close(fd);
		vu_close(&client);
		wait_connected(false);
		assert_int_equal(vu_connect(&client, server_path()), 0);
		if (i == MEMORY_UNMAPS_MAX)
			break;
		assert_int_equal(vu_negotiate(&client), 0);
	}
	/* the loop has looked at the connection once it has answered twice behind it */
	server_stats(&stats);
	server_stats(&stats);
	assert_false(stats.connected);
	assert_int_equal(stats.connections, MEMORY_UNMAPS_MAX + 1);
	pfd.fd = client.fd;
	assert_int_equal(poll(&pfd, 1, 0), 0);
	let_go();
	assert_int_equal(vu_negotiate(&client), 0);
	assert_int_equal(unmapped_by_server, 0);
}

int main(void)
{
#define test_held(fn) cmocka_unit_test_setup_teardown(fn, start, stop)
	const struct CMUnitTest tests[] = {
		test_held(client_goes), test_held(unmapped),	    test_held(mapped),
		test_held(refused),	test_held(again_and_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
