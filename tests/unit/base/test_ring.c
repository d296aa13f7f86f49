/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/ring.h"
#include "base/util.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SIZE	4096u
#define RECORDS 20000u

static struct ring ring;

static void fills_and_empties(void **state)
{
	uint64_t cursor;
	uint32_t len;
	unsigned n = 0;

	assert_int_equal(ring_init(&ring, SIZE), 0);
	assert_true(ring_empty(&ring));
	assert_null(ring_reserve(&ring, SIZE));
	assert_non_null(ring_reserve(&ring, SIZE - 8));
	while (ring_reserve(&ring, 100)) {
		ring_commit(&ring, 90 + n % 10);
		n++;
	}
	assert_in_range(n, 36, 39);
	cursor = ring_cursor(&ring);
	for (unsigned i = 0; i < n; i++) {
		assert_non_null(ring_next(&ring, &cursor, &len));
		assert_int_equal(len, 90 + i % 10);
	}
	assert_null(ring_next(&ring, &cursor, &len));
	assert_null(ring_reserve(&ring, 100));
	ring_release(&ring, cursor);
	assert_true(ring_empty(&ring));
	assert_non_null(ring_reserve(&ring, 100));
	ring_done(&ring);
}

/* Records that were added are seen when they are published, all at once, and count as used. */
static void records_are_shown_together(void **state)
{
	uint64_t cursor;
	uint32_t len;

	assert_int_equal(ring_init(&ring, SIZE), 0);
	for (unsigned i = 1; i <= 3; i++) {
		assert_non_null(ring_reserve(&ring, 100));
		ring_add(&ring, i);
		assert_true(ring_empty(&ring));
	}
	assert_null(ring_reserve(&ring, SIZE - 8));
	cursor = ring_cursor(&ring);
	assert_null(ring_next(&ring, &cursor, &len));
	ring_publish(&ring);
	for (unsigned i = 1; i <= 3; i++) {
		assert_non_null(ring_next(&ring, &cursor, &len));
		assert_int_equal(len, i);
	}
	assert_null(ring_next(&ring, &cursor, &len));
	ring_done(&ring);
}

static uint32_t length(unsigned i)
{
	return i * 7919u % 1500;
}

static void *writer(void *arg)
{
	for (unsigned i = 0; i < RECORDS; i++) {
		uint8_t *p;

		while (!(p = ring_reserve(&ring, 1500)))
			sched_yield();
		memset(p, (int)i, length(i));
		ring_commit(&ring, length(i));
	}
	return NULL;
}

static void between_threads(void **state)
{
	pthread_t thread;
	unsigned i = 0;

	assert_int_equal(ring_init(&ring, SIZE), 0);
	pthread_create(&thread, NULL, writer, NULL);
	while (i < RECORDS) {
		uint64_t cursor = ring_cursor(&ring);
		uint32_t len;
		uint8_t *p = ring_next(&ring, &cursor, &len);

		if (!p) {
			sched_yield();
			continue;
		}
		assert_int_equal(len, length(i));
		for (uint32_t k = 0; k < len; k++)
			if (p[k] != (uint8_t)i)
				fail();
		ring_release(&ring, cursor);
		i++;
	}
	pthread_join(thread, NULL);
	ring_done(&ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_are_shown_together),
		cmocka_unit_test(fills_and_empties),
		cmocka_unit_test(between_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
