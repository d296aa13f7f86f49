/* SPDX-License-Identifier: BSD-2-Clause */
/* DEVICE_GET_INFO, DEVICE_GET_REGION_INFO, DEVICE_GET_REGION_IO_FDS, DEVICE_GET_IRQ_INFO. */
#include "tests/device/vfio_harness.h"

#include <fcntl.h>
#include <sys/mman.h>

static void device_info(void **state)
{
	uint32_t request[4] = { 16, 0, 0, 0 }, info[4];

	assert_int_equal(vu_request(&client, 4, request, 16, NULL, 0, info, 16, NULL), 16);
	assert_int_equal(info[1], 3); /* reset, PCI */
	assert_int_equal(info[2], 9);
	assert_int_equal(info[3], 5);
	request[0] = 15;
	assert_int_equal(vu_request(&client, 4, request, 16, NULL, 0, info, 16, NULL), -EINVAL);
}

static void sizes(void **state)
{
	static const uint64_t want[9] = { 0x20000, 0, 32, 0x4000, 0, 0, 0, 4096, 0 };
	struct vfio_region_sparse_mmap_area areas[8];
	struct vfio_region_info info;
	int fd;

	for (unsigned i = 0; i < 9; i++) {
		int n = vu_region_info(&client, i, &info, areas, 8, &fd);

		assert_int_equal(n, i == 0 ? 2 : 0);
		assert_int_equal(info.size, want[i]);
		assert_int_equal(info.flags & 3, want[i] ? 3 : 0);
		assert_int_equal(info.index, i);
		assert_int_equal(fd >= 0, i == 0);
		if (fd >= 0)
			close(fd);
	}
	assert_int_equal(vu_region_info(&client, 9, &info, areas, 8, &fd), -EINVAL);
	assert_int_equal(vu_region_info(&client, UINT32_MAX, &info, areas, 8, &fd), -EINVAL);
}

/* First with too little room, as QEMU and cloud-hypervisor do. */
static void asks_twice(void **state)
{
	uint8_t request[32] = { 32 }, reply[256];
	uint32_t argsz;
	int fd = -1;

	assert_int_equal(vu_request(&client, 5, request, 32, NULL, 0, reply, 256, &fd), 32);
	memcpy(&argsz, reply, 4);
	assert_int_equal(argsz, 32 + 16 + 2 * 16);
	assert_int_equal(reply[12], 32); /* where the capabilities would be */
	assert_int_equal(fd, -1);
	memcpy(request, &argsz, 4);
	assert_int_equal(vu_request(&client, 5, request, 32, NULL, 0, reply, 256, &fd), (int)argsz);
	assert_true(fd >= 0);
	/* the client has it, and cannot take the memory away */
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	close(fd);
	argsz = 31;
	memcpy(request, &argsz, 4);
	assert_int_equal(vu_request(&client, 5, request, 32, NULL, 0, reply, 256, &fd), -EINVAL);
	argsz = UINT32_MAX;
	memcpy(request, &argsz, 4);
	assert_int_equal(vu_request(&client, 5, request, 32, NULL, 0, reply, 256, &fd), 80);
	close(fd);
}

/* A store through the mapping is in the server's memory without a message, and the other way. */
static void shared_areas(void **state)
{
	struct vfio_user_stats before, after;

	assert_int_equal(vu_bar_open(&client, 0, false), 0);
	assert_int_equal(client.bars[0].n_areas, 2);
	assert_int_equal(client.bars[0].areas[0].offset, 0x2000);
	assert_int_equal(client.bars[0].areas[1].offset, 0x3000);
	server_stats(&before);
	vu_write32(&client, 0, 0x2818, 0xfeed);
	assert_int_equal(shared_page[0x818 / 4], 0xfeed);
	shared_page[0x810 / 4] = 0xbeef;
	assert_int_equal(vu_read32(&client, 0, 0x2810), 0xbeef);
	server_stats(&after);
	assert_int_equal(before.messages, after.messages);
	assert_int_equal(recorded()->bar_writes, 0);
}

static void no_io_fds(void **state)
{
	uint32_t request[4] = { 4096, 0, 0, 0 }, reply[4];
	int fd;

	assert_int_equal(vu_request(&client, 6, request, 16, NULL, 0, reply, 16, &fd), 16);
	assert_int_equal(reply[3], 0);
	assert_int_equal(fd, -1);
	request[2] = 9;
	assert_int_equal(vu_request(&client, 6, request, 16, NULL, 0, reply, 16, &fd), -EINVAL);
}

static void interrupts(void **state)
{
	static const uint32_t counts[5] = { 1, 1, 5, 1, 1 };
	struct vfio_irq_info info;

	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(vu_irq_info(&client, i, &info), 0);
		assert_int_equal(info.count, counts[i]);
		assert_true(info.flags & VFIO_IRQ_INFO_EVENTFD);
		assert_false(info.flags & VFIO_IRQ_INFO_NORESIZE);
		assert_int_equal(!!(info.flags & VFIO_IRQ_INFO_AUTOMASKED), i == 0);
	}
	assert_int_equal(vu_irq_info(&client, 5, &info), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(device_info),  test(sizes),     test(asks_twice),
		test(shared_areas), test(no_io_fds), test(interrupts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
