/* SPDX-License-Identifier: BSD-2-Clause */
/* DMA_MAP and DMA_UNMAP. */
#include "tests/device/vfio_harness.h"

#include <fcntl.h>
#include <sys/mman.h>

#define PAGE 4096u

static int guest_fd;

static void open_guest(void)
{
	guest_fd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(guest_fd, 64 * PAGE), 0);
}

struct peek {
	uint64_t addr;
	char bytes[8];
	int err;
};

static void peek_on_server(void *arg)
{
	struct peek *peek = arg;
	struct memory_reader reader;

	memory_reader_init(&reader, space);
	memory_reader_begin(&reader);
	peek->err = memory_read(&reader, peek->addr, peek->bytes, sizeof(peek->bytes));
}

static int peek(uint64_t addr, const char *want)
{
	struct peek p = { .addr = addr };

	on_server(peek_on_server, &p);
	if (!p.err)
		assert_memory_equal(p.bytes, want, 8);
	return p.err;
}

static void maps_files(void **state)
{
	open_guest();
	assert_int_equal(pwrite(guest_fd, "page ten", 8, 10 * PAGE), 8);
	assert_int_equal(vu_dma_map(&client, 0x40000, 4 * PAGE, guest_fd, 8 * PAGE, 3), 0);
	assert_int_equal(peek(0x40000 + 2 * PAGE, "page ten"), 0);
	assert_int_equal(recorded()->memory_changes, 1);
	/* the same again, with a fresh descriptor */
	assert_int_equal(vu_dma_map(&client, 0x40000, 4 * PAGE, guest_fd, 8 * PAGE, 3), 0);
	assert_int_equal(vu_dma_unmap(&client, 0x40000, 4 * PAGE), 0);
	assert_int_equal(peek(0x40000 + 2 * PAGE, ""), -EFAULT);
	assert_int_equal(recorded()->memory_changes, 3);
	close(guest_fd);
}

static void without_a_file(void **state)
{
	assert_int_equal(vu_dma_map(&client, 0x40000, PAGE, -1, 0, 3), 0);
	assert_int_equal(peek(0x40000, ""), -EFAULT);
	assert_int_equal(vu_dma_unmap(&client, 0x40000, PAGE), 0);
}

static void unmaps_ranges_that_match_nothing(void **state)
{
	open_guest();
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(vu_dma_map(&client, i * 2 * PAGE, PAGE, guest_fd, 0, 3), 0);
	/* a vIOMMU's disabling does this */
	assert_int_equal(vu_dma_unmap(&client, 1ull << 46, 1ull << 46), 0);
	assert_int_equal(vu_dma_unmap(&client, 0xfef00000, 1ull << 40), 0);
	assert_int_equal(vu_dma_unmap(&client, 0, 3 * PAGE), 0);
	assert_int_equal(peek(0, ""), -EFAULT);
	assert_int_equal(peek(2 * PAGE, ""), -EFAULT);
	assert_int_equal(peek(4 * PAGE, "\0\0\0\0\0\0\0\0"), 0);
	close(guest_fd);
}

/* As the kernel's vfio: all of a mapping or nothing of anything. */
static void cuts_no_mapping(void **state)
{
	static const struct {
		uint64_t addr, size;
	} cuts[] = {
		{ 0, 3 * PAGE },	  { 3 * PAGE, PAGE },		{ 3 * PAGE, 2 * PAGE },
		{ 4 * PAGE, PAGE },	  { 5 * PAGE, 8 * PAGE },	{ 2 * PAGE, 8 * PAGE - 1 },
		{ 3 * PAGE, UINT64_MAX }, { 2 * PAGE + 1, 1ull << 40 },
	};
	const bool mapped[10] = { true, false, true, true, true, true, false, false, true, true };

	open_guest();
	assert_int_equal(vu_dma_map(&client, 0, PAGE, guest_fd, 0, 3), 0);
	assert_int_equal(vu_dma_map(&client, 2 * PAGE, 4 * PAGE, guest_fd, 0, 3), 0);
	assert_int_equal(vu_dma_map(&client, 8 * PAGE, 2 * PAGE, guest_fd, 0, 3), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(cuts); i++) {
		assert_int_equal(vu_dma_unmap(&client, cuts[i].addr, cuts[i].size), -EINVAL);
		for (unsigned page = 0; page < 10; page++)
			assert_int_equal(peek(page * PAGE, "\0\0\0\0\0\0\0\0"),
					 mapped[page] ? 0 : -EFAULT);
	}
	assert_int_equal(vu_dma_unmap(&client, PAGE, 5 * PAGE), 0);
	assert_int_equal(peek(2 * PAGE, ""), -EFAULT);
	assert_int_equal(peek(8 * PAGE, "\0\0\0\0\0\0\0\0"), 0);
	close(guest_fd);
}

/* No migration is offered, so nobody asks; who does learns that there is no bitmap. */
static void no_dirty_bitmap(void **state)
{
	const struct {
		uint32_t argsz, flags;
		uint64_t addr, size;
		uint64_t page_size, bytes, bits;
	} unmap = { sizeof(unmap), 1, 0, PAGE, PAGE, 8, 0 };
	uint8_t reply[sizeof(unmap)];

	open_guest();
	assert_int_equal(vu_dma_map(&client, 0, PAGE, guest_fd, 0, 3), 0);
	assert_int_equal(
		vu_request(&client, 3, &unmap, sizeof(unmap), NULL, 0, reply, sizeof(reply), NULL),
		-EINVAL);
	assert_int_equal(peek(0, "\0\0\0\0\0\0\0\0"), 0);
	close(guest_fd);
}

static void unmaps_all(void **state)
{
	const struct {
		uint32_t argsz, flags;
		uint64_t addr, size;
	} all = { 24, 2, 0, 0 };
	uint8_t reply[24];

	open_guest();
	assert_int_equal(vu_dma_map(&client, 0, PAGE, guest_fd, 0, 3), 0);
	assert_int_equal(vu_request(&client, 3, &all, sizeof(all), NULL, 0, reply, 24, NULL), 24);
	assert_int_equal(peek(0, ""), -EFAULT);
	assert_int_equal(vu_dma_unmap(&client, 0, 0), -EINVAL); /* without the flag */
	close(guest_fd);
}

static void refuses(void **state)
{
	int pipes[2], read_only, device = open("/dev/zero", O_RDWR);
	char path[64];

	open_guest();
	assert_int_equal(vu_dma_map(&client, 0x10000, 2 * PAGE, guest_fd, 0, 3), 0);
	assert_int_equal(vu_dma_map(&client, 0x20000, 0, guest_fd, 0, 3), -EINVAL);
	assert_int_equal(vu_dma_map(&client, UINT64_MAX - PAGE + 2, PAGE, guest_fd, 0, 3), -EINVAL);
	assert_int_equal(vu_dma_map(&client, 0x11000, PAGE, guest_fd, 0, 3), -EEXIST);
	assert_int_equal(vu_dma_map(&client, 0x20000, PAGE, guest_fd, 64 * PAGE, 3), -ERANGE);
	assert_int_equal(vu_dma_map(&client, 0x20000, PAGE, guest_fd, 17, 3), -EINVAL);
	assert_int_equal(vu_dma_map(&client, 0x20000, PAGE, guest_fd, 0, 0), -EINVAL);
	assert_int_equal(vu_dma_map(&client, 0x20000, PAGE, device, 0, 3), -EINVAL);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(vu_dma_map(&client, 0x20000, PAGE, pipes[0], 0, 3), -EINVAL);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", guest_fd);
	read_only = open(path, O_RDONLY);
	assert_int_equal(vu_dma_map(&client, 0x20000, PAGE, read_only, 0, 3), -EACCES);
	assert_int_equal(vu_dma_map(&client, 0x20000, PAGE, read_only, 0, 1), 0);
	close(read_only);
	close(pipes[0]);
	close(pipes[1]);
	close(device);
	close(guest_fd);
}

static void too_many(void **state)
{
	int err = 0;
	unsigned n;

	for (n = 0; !err && n < 70000; n++)
		err = vu_dma_map(&client, (uint64_t)n * 2 * PAGE, PAGE, -1, 0, 3);
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(n, MEMORY_REGIONS_MAX + 1);
	vu_close(&client);
	expect_serving();
}

static void leaks_no_descriptor(void **state)
{
	unsigned before;

	open_guest();
	before = open_fds();
	for (unsigned i = 0; i < 500; i++) {
		assert_int_equal(vu_dma_map(&client, 0, PAGE, guest_fd, 0, 3), 0);
		assert_int_equal(vu_dma_map(&client, 1, PAGE, guest_fd, 0, 3), -EEXIST);
		assert_int_equal(vu_dma_unmap(&client, 0, PAGE), 0);
	}
	assert_int_equal(open_fds(), before);
	close(guest_fd);
}

/* The memory file shrinks under a mapping: the access survives, the client is dropped, another is
 * served. */
static void check(void *arg)
{
	vfio_user_server_check(server);
}

static void truncated_file(void **state)
{
	struct memory_stats stats;

	assert_int_equal(memory_faults_init(), 0);
	open_guest();
	assert_int_equal(vu_dma_map(&client, 0, 64 * PAGE, guest_fd, 0, 3), 0);
	on_server(check, NULL);
	assert_int_equal(ftruncate(guest_fd, 0), 0);
	assert_int_equal(peek(32 * PAGE, "\0\0\0\0\0\0\0\0"), 0);
	on_server(check, NULL);
	expect_dropped(&client);
	expect_serving();
	memory_space_stats(space, &stats);
	assert_int_equal(stats.faults, 1);
	assert_int_equal(stats.regions, 0);
	close(guest_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(maps_files),
		test(without_a_file),
		test(unmaps_ranges_that_match_nothing),
		test(cuts_no_mapping),
		test(no_dirty_bitmap),
		test(unmaps_all),
		test(refuses),
		test(too_many),
		test(leaks_no_descriptor),
		test(truncated_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
