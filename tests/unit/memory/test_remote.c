/* SPDX-License-Identifier: BSD-2-Clause */
/* Stages, with the test as the transport. */
#include "memory/remote.h"

#include "base/util.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096u
#define RW   (MEMORY_READ | MEMORY_WRITE)

static struct memory_space *space;
static struct memory_stage *stage;
static unsigned kicks;

static void kick(void *arg)
{
	kicks++;
}

static int setup(void **state)
{
	space = memory_space_new("vm");
	stage = memory_stage_new(space);
	kicks = 0;
	memory_remote_open(space, kick, NULL);
	return space && stage ? 0 : -1;
}

static int teardown(void **state)
{
	memory_stage_free(stage);
	memory_space_free(space);
	return 0;
}

/* The next transfer, which must be this one. */
static struct memory_transfer *next(uint64_t addr, uint32_t len, bool write)
{
	struct memory_transfer *t = memory_remote_next(space);

	assert_non_null(t);
	assert_int_equal(t->addr, addr);
	assert_int_equal(t->len, len);
	assert_int_equal(t->write, write);
	return t;
}

static void knows_what_is_remote(void **state)
{
	struct memory_reader reader;
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_int_equal(memory_space_map(space, 0x10000, PAGE, RW, fd, 0), 0);
	assert_int_equal(memory_space_map(space, 0x11000, PAGE, RW, -1, 0), 0);
	assert_int_equal(memory_space_map(space, 0x12000, PAGE, MEMORY_READ, -1, 0), 0);
	memory_reader_init(&reader, space);
	memory_reader_begin(&reader);
	assert_int_equal(memory_where(&reader, 0x10000, PAGE, RW), MEMORY_LOCAL);
	assert_int_equal(memory_where(&reader, 0xffff, 2, RW), MEMORY_NOWHERE);
	assert_true(memory_is_remote(&reader, 0x11000, PAGE, RW));
	assert_true(memory_is_remote(&reader, 0x10ffc, 8, RW)); /* over the border */
	assert_false(memory_is_remote(&reader, 0x12000, 8, RW));
	assert_true(memory_is_remote(&reader, 0x11ffc, 8, MEMORY_READ));
	assert_false(memory_is_remote(&reader, 0x12ffc, 8, MEMORY_READ)); /* ends outside */
	assert_false(memory_is_remote(&reader, 0x20000, 8, MEMORY_READ));
	assert_false(memory_is_remote(&reader, 0x11000, 0, MEMORY_READ));
	assert_false(memory_is_remote(&reader, 0x11000, UINT64_MAX, MEMORY_READ));
	/* a reader is not confused by it */
	assert_null(memory_at(&reader, 0x11000, 8, MEMORY_READ));
	assert_non_null(memory_at(&reader, 0x10000, 8, MEMORY_READ));
	close(fd);
}

static void reads(void **state)
{
	struct memory_transfer *t;
	uint8_t *p;

	assert_int_equal(memory_stage_fetch(stage, 0x1000, 16), 0);
	assert_int_equal(memory_stage_fetch(stage, 0x2000, 8), 0);
	assert_null(memory_remote_next(space)); /* not submitted yet */
	memory_stage_submit(stage);
	assert_int_equal(kicks, 1);
	assert_true(memory_stage_waiting(stage));
	assert_false(memory_remote_busy(space));
	t = next(0x1000, 16, false);
	assert_true(memory_remote_busy(space));
	assert_true(memory_remote_wanted(space, t));
	memset(t->bytes, 7, 16);
	assert_null(memory_stage_at(stage, 0x1000, 16)); /* not all of it has come */
	assert_false(memory_remote_done(space, t, 0));
	t = next(0x2000, 8, false);
	memset(t->bytes, 8, 8);
	assert_true(memory_remote_done(space, t, 0)); /* the last */
	assert_false(memory_stage_waiting(stage));
	assert_false(memory_remote_busy(space));
	p = memory_stage_at(stage, 0x1004, 12);
	assert_non_null(p);
	assert_int_equal(p[0], 7);
	assert_non_null(memory_stage_at(stage, 0x2000, 8));
	assert_non_null(memory_stage_at(stage, 0x1000, 16));
	assert_null(memory_stage_at(stage, 0x1004, 13));
	assert_null(memory_stage_at(stage, 0xfff, 4));
	assert_null(memory_stage_at(stage, 0x1000, 0x1008));
	assert_null(memory_stage_at(stage, UINT64_MAX, 8));
	memory_stage_clear(stage);
	assert_null(memory_stage_at(stage, 0x1000, 16));
}

/* A page for each transfer, so that looking at one can be forbidden. */
static uint8_t *arena;
static unsigned arena_pages;
static bool arena_used;

#define ARENA_PAGES 256u
#define ARENA_PAGE  4096u

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void __real_free(void *p);
void __wrap_free(void *p);

void *__wrap_malloc(size_t size)
{
	if (!arena_used)
		return __real_malloc(size);
	return arena_pages < ARENA_PAGES ? arena + arena_pages++ * ARENA_PAGE : NULL;
}

void __wrap_free(void *p)
{
	if (!arena || (uintptr_t)p - (uintptr_t)arena >= ARENA_PAGES * ARENA_PAGE)
		__real_free(p);
}

/* A ring and its descriptors' data, asked for by turns: only near transfers are looked at. */
static void finds_without_a_search(void **state)
{
	arena = mmap(NULL, ARENA_PAGES * ARENA_PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(arena, MAP_FAILED);
	arena_used = true;
	assert_int_equal(memory_stage_fetch(stage, 0x1000, 2048), 0);
	for (unsigned i = 1; i < ARENA_PAGES; i++)
		assert_int_equal(memory_stage_fetch(stage, i * 0x10000, 64), 0);
	arena_used = false;
	memory_stage_submit(stage);
	for (unsigned i = 0; i < ARENA_PAGES; i++)
		memory_remote_done(space, memory_remote_next(space), 0);
	for (unsigned i = 1; i < ARENA_PAGES; i++) {
		/* the ring, what comes after it, the last data and the next */
		unsigned first = MAX(i - 1, 2u), end = MIN(i + 2, ARENA_PAGES);

		mprotect(arena + 2 * ARENA_PAGE, (ARENA_PAGES - 2) * ARENA_PAGE, PROT_NONE);
		if (first < end)
			mprotect(arena + first * ARENA_PAGE, (end - first) * ARENA_PAGE,
				 PROT_READ | PROT_WRITE);
		assert_non_null(memory_stage_at(stage, 0x1000 + (i - 1) * 8, 8));
		assert_non_null(memory_stage_at(stage, i * 0x10000, 64));
	}
	mprotect(arena, ARENA_PAGES * ARENA_PAGE, PROT_READ | PROT_WRITE);
	memory_stage_clear(stage);
	munmap(arena, ARENA_PAGES * ARENA_PAGE);
	arena = NULL;
}

static void writes_in_order(void **state)
{
	unsigned mark;

	for (uint64_t i = 0; i < 10; i++)
		memset(memory_stage_write(stage, i * 0x100, 4), (int)i, 4);
	mark = memory_stage_mark(stage);
	memory_stage_write(stage, 0x5000, 4);
	memory_stage_rollback(stage, mark);
	memory_stage_submit(stage);
	memory_stage_rollback(stage, 0); /* too late */
	for (uint64_t i = 0; i < 10; i++) {
		struct memory_transfer *t = next(i * 0x100, 4, true);

		assert_int_equal(t->bytes[3], i);
		assert_int_equal(memory_remote_done(space, t, 0), i == 9);
	}
	assert_null(memory_remote_next(space));
	/* what was written is no copy of the guest's memory */
	assert_null(memory_stage_at(stage, 0x100, 4));
}

static void what_failed_is_not_there(void **state)
{
	memory_stage_fetch(stage, 0x1000, 16);
	memory_stage_fetch(stage, 0x2000, 16);
	memory_stage_submit(stage);
	memory_remote_done(space, next(0x1000, 16, false), -EFAULT);
	assert_true(memory_remote_done(space, next(0x2000, 16, false), 0));
	assert_null(memory_stage_at(stage, 0x1000, 16));
	assert_non_null(memory_stage_at(stage, 0x2000, 16));
}

static void bounded(void **state)
{
	unsigned n = 0;

	assert_int_equal(memory_stage_fetch(stage, 0, 0), -ENOSPC);
	assert_int_equal(memory_stage_fetch(stage, 0, MEMORY_STAGE_BYTES + 1), -ENOSPC);
	assert_int_equal(memory_stage_fetch(stage, 0, MEMORY_STAGE_BYTES), 0);
	assert_null(memory_stage_write(stage, 0, 1));
	assert_false(memory_stage_room(stage, 1, 1));
	memory_stage_clear(stage);
	while (memory_stage_room(stage, 1, 1)) {
		assert_int_equal(memory_stage_fetch(stage, n * 16, 1), 0);
		n++;
	}
	assert_int_equal(n, MEMORY_STAGE_TRANSFERS);
	assert_int_equal(memory_stage_fetch(stage, 0, 1), -ENOSPC);
	memory_stage_rollback(stage, 1);
	assert_true(memory_stage_room(stage, MEMORY_STAGE_TRANSFERS - 1, MEMORY_STAGE_BYTES - 1));
	assert_false(memory_stage_room(stage, MEMORY_STAGE_TRANSFERS, 1));
}

static void without_a_transport(void **state)
{
	struct memory_transfer *taken;

	memory_remote_close(space);
	memory_stage_fetch(stage, 0x1000, 16);
	memory_stage_submit(stage);
	assert_false(memory_stage_waiting(stage)); /* failed at once */
	assert_null(memory_stage_at(stage, 0x1000, 16));
	assert_null(memory_remote_next(space));
	memory_stage_clear(stage);
	/* and one that goes */
	memory_remote_open(space, kick, NULL);
	memory_stage_fetch(stage, 0x1000, 16);
	memory_stage_fetch(stage, 0x2000, 16);
	memory_stage_submit(stage);
	taken = next(0x1000, 16, false);
	memory_remote_close(space);
	assert_true(memory_stage_waiting(stage)); /* for the one that was taken */
	assert_null(memory_remote_next(space));
	assert_true(memory_remote_done(space, taken, -ENOTCONN));
}

static void cleared_under_way(void **state)
{
	struct memory_transfer *first, *second;

	for (unsigned i = 0; i < 3; i++)
		memory_stage_fetch(stage, 0x1000 * i, 16);
	memory_stage_submit(stage);
	first = next(0, 16, false);
	second = next(0x1000, 16, false);
	memory_stage_clear(stage);
	assert_false(memory_stage_waiting(stage));
	assert_null(memory_remote_next(space)); /* the third never goes */
	assert_true(memory_remote_busy(space));
	assert_false(memory_remote_wanted(space, first));
	memset(first->bytes, 1, 16);
	assert_false(memory_remote_done(space, first, 0)); /* and is freed */
	/* the stage is good for more meanwhile */
	memory_stage_fetch(stage, 0x1000, 16);
	memory_stage_submit(stage);
	assert_false(memory_remote_done(space, second, 0));
	assert_null(memory_stage_at(stage, 0x1000, 16));
	assert_true(memory_remote_done(space, next(0x1000, 16, false), 0));
	assert_non_null(memory_stage_at(stage, 0x1000, 16));
	assert_false(memory_remote_busy(space));
}

static void unmapped_under_way(void **state)
{
	struct memory_transfer *taken;

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(memory_space_map(space, PAGE * i, PAGE, RW, -1, 0), 0);
	memory_stage_fetch(stage, 0, 16);
	memory_stage_fetch(stage, PAGE - 8, 16); /* reaches into the second page */
	memory_stage_fetch(stage, PAGE * 2, 16);
	memory_stage_submit(stage);
	taken = next(0, 16, false);
	assert_int_equal(memory_space_unmap(space, 0, PAGE), 1);
	assert_false(memory_remote_wanted(space, taken));
	memory_remote_done(space, taken, 0);
	assert_true(memory_remote_done(space, next(PAGE * 2, 16, false), 0));
	assert_null(memory_stage_at(stage, 0, 16));
	assert_null(memory_stage_at(stage, PAGE - 8, 16));
	assert_non_null(memory_stage_at(stage, PAGE * 2, 16));
}

/* A transport thread answers what several queues ask, some of which change their minds. */
static int stop;

static void *transport(void *arg)
{
	while (!LOAD_ACQUIRE(stop)) {
		struct memory_transfer *t = memory_remote_next(space);

		if (!t)
			continue;
		if (!t->write)
			memset(t->bytes, (int)(t->addr >> 12), t->len);
		memory_remote_done(space, t, 0);
	}
	return NULL;
}

static void *queue(void *arg)
{
	struct memory_stage *mine = memory_stage_new(space);
	uint64_t base = (uint64_t)(uintptr_t)arg << 20;

	for (unsigned round = 0; round < 300; round++) {
		for (unsigned i = 0; i < 8; i++) {
			assert_int_equal(memory_stage_fetch(mine, base + (i << 12), 64), 0);
			memset(memory_stage_write(mine, base, 8), 0, 8);
		}
		memory_stage_submit(mine);
		while (round % 3 && memory_stage_waiting(mine))
			;
		for (unsigned i = 0; round % 3 && i < 8; i++) {
			uint8_t *p = memory_stage_at(mine, base + (i << 12) + 60, 4);

			assert_non_null(p);
			assert_int_equal(*p, ((base >> 12) + i) & 0xff);
		}
		memory_stage_clear(mine);
	}
	memory_stage_free(mine);
	return NULL;
}

static void threads(void **state)
{
	pthread_t server, queues[2];

	stop = 0;
	assert_int_equal(pthread_create(&server, NULL, transport, NULL), 0);
	for (uintptr_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&queues[i], NULL, queue, (void *)(i + 1)), 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(queues[i], NULL);
	STORE_RELEASE(stop, 1);
	pthread_join(server, NULL);
	assert_false(memory_remote_busy(space));
}

#define test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(knows_what_is_remote),	test(reads),
		test(finds_without_a_search),	test(writes_in_order),
		test(what_failed_is_not_there), test(bounded),
		test(without_a_transport),	test(cleared_under_way),
		test(unmapped_under_way),	test(threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
