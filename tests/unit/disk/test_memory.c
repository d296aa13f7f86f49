/* SPDX-License-Identifier: BSD-2-Clause */
/* The malloc backend by itself: its size changes both ways, and what is discarded goes. */
#include "disk/backend.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE  65536u
#define LARGE (32u << 20)

static struct disk_backend *backend;

/* To its end, in parts that are not too long. */
static int run(struct disk_io *io)
{
	int err = backend->ops->start(backend, 0, io);
	bool long_one = io->bytes > DISK_PART_BYTES;

	assert_int_equal(io->done, 0);
	assert_true(err == DISK_MORE || !long_one);
	while (err == DISK_MORE) {
		uint64_t before = io->done;

		err = backend->ops->go_on(backend, 0, io);
		if (io->op == DISK_READ || io->op == DISK_WRITE)
			assert_in_range(io->done - before, 1, DISK_PART_BYTES);
	}
	return err;
}

static void rw(enum disk_op op, uint64_t offset, uint8_t *bytes, size_t len)
{
	struct iovec iov = { bytes, len };
	struct disk_io io = { .op = op, .offset = offset, .bytes = len, .iov = &iov, .n_iov = 1 };

	assert_int_equal(run(&io), 0);
}

/* @value up to @until, zero behind. */
static void holds(uint64_t bytes, uint8_t value, uint64_t until)
{
	uint8_t *buf = malloc(bytes);

	assert_int_equal(backend->ops->size(backend), bytes);
	rw(DISK_READ, 0, buf, bytes);
	for (uint64_t i = 0; i < bytes; i++)
		assert_int_equal(buf[i], i < until ? value : 0);
	free(buf);
}

static void resized(void **state)
{
	struct disk_config config = { .name = "d", .backend = "malloc", .size_bytes = SIZE };
	/* within a page, at its end, over it; and large enough to move */
	static const uint64_t sizes[] = { 512, 3584, 4096, 4608, SIZE - 512, SIZE, 64 * SIZE };
	uint8_t bytes[SIZE];

	memset(bytes, 0x5a, sizeof(bytes));
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		backend = disk_malloc_new(&config);
		assert_non_null(backend);
		holds(SIZE, 0, 0);
		rw(DISK_WRITE, 0, bytes, SIZE);
		assert_int_equal(backend->ops->resize(backend, sizes[i]), 0);
		holds(sizes[i], 0x5a, SIZE);
		/* what was cut off is gone */
		assert_int_equal(backend->ops->resize(backend, 2 * SIZE), 0);
		holds(2 * SIZE, 0x5a, sizes[i] < SIZE ? sizes[i] : SIZE);
		/* what there is no room for changes nothing */
		assert_int_equal(backend->ops->resize(backend, 1ull << 60), -ENOMEM);
		holds(2 * SIZE, 0x5a, sizes[i] < SIZE ? sizes[i] : SIZE);
		backend->ops->free(backend);
	}
}

/* Of this process, in bytes. */
static uint64_t resident(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long total, pages = 0;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu %lu", &total, &pages), 2);
	fclose(file);
	return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* What is discarded is zero, and nothing beside it; its memory is the host's again, and what had
 * none gets none. */
static void discards(void **state)
{
	struct disk_config config = { .name = "d", .backend = "malloc", .size_bytes = 4 * LARGE };
	/* from a page's middle, within a page, whole parts */
	static const struct {
		uint64_t offset, bytes;
	} ranges[] = { { 512, LARGE / 2 }, { 1024, 1024 }, { 0, LARGE }, { 4096, LARGE - 8192 } };
	uint8_t *bytes = malloc(LARGE), *read = malloc(LARGE);
	struct disk_io io;
	uint64_t before;

	for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
		uint64_t end = ranges[i].offset + ranges[i].bytes;

		for (unsigned zeroes = 0; zeroes < 3; zeroes++) {
			backend = disk_malloc_new(&config);
			memset(bytes, 0x5a, LARGE);
			rw(DISK_WRITE, 0, bytes, LARGE);
			io = (struct disk_io){ .op = zeroes ? DISK_ZEROES : DISK_DISCARD,
					       .unmap = zeroes == 2,
					       .offset = ranges[i].offset,
					       .bytes = ranges[i].bytes };
			assert_int_equal(run(&io), 0);
			memset(bytes + ranges[i].offset, 0, end - ranges[i].offset);
			rw(DISK_READ, 0, read, LARGE);
			assert_memory_equal(read, bytes, LARGE);
			backend->ops->free(backend);
		}
	}
	backend = disk_malloc_new(&config);
	memset(bytes, 0x5a, LARGE);
	rw(DISK_WRITE, 0, bytes, LARGE);
	before = resident();
	io = (struct disk_io){ .op = DISK_DISCARD, .bytes = LARGE };
	assert_int_equal(run(&io), 0);
	assert_true(resident() < before - LARGE / 2);
	before = resident();
	io = (struct disk_io){ .op = DISK_DISCARD, .bytes = 4 * LARGE };
	assert_int_equal(run(&io), 0);
	assert_true(resident() < before + LARGE);
	backend->ops->free(backend);
	free(bytes);
	free(read);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(resized), cmocka_unit_test(discards) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
