/* SPDX-License-Identifier: BSD-2-Clause */
/* The malloc backend by itself: its size changes both ways. */
#include "disk/backend.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SIZE 65536u

static struct disk_backend *backend;

static void rw(enum disk_op op, uint64_t offset, uint8_t *bytes, size_t len)
{
	struct iovec iov = { bytes, len };
	struct disk_io io = { .op = op, .offset = offset, .bytes = len, .iov = &iov, .n_iov = 1 };

	assert_int_equal(backend->ops->start(backend, 0, &io), 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(resized) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
