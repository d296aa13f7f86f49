/* SPDX-License-Identifier: BSD-2-Clause */
/* Files leave the address space on a thread of their own, however long that takes. */
#include "memory/space.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096u
#define MB   (1ull << 20)
#define RW   (MEMORY_READ | MEMORY_WRITE)

static struct memory_space *space;
static struct memory_reader reader;
static pthread_t control;
/* Of munmap(): none on another thread returns before it may. */
static sem_t may;
static bool held;
static unsigned by_control, by_others;
static size_t longest, bytes;
static uint8_t *next; /* behind the last piece */

int __real_munmap(void *at, size_t len);
int __wrap_munmap(void *at, size_t len);

int __wrap_munmap(void *at, size_t len)
{
	if (pthread_equal(pthread_self(), control)) {
		by_control++;
		return __real_munmap(at, len);
	}
	if (READ_ONCE(held))
		sem_wait(&may);
	bytes += len;
	longest = MAX(longest, len);
	next = (uint8_t *)at + len;
	__atomic_add_fetch(&by_others, 1, __ATOMIC_RELEASE);
	return __real_munmap(at, len);
}

static void hold(void)
{
	sem_init(&may, 0, 0);
	WRITE_ONCE(held, true);
}

static void let_go(void)
{
	WRITE_ONCE(held, false);
	sem_post(&may);
}

static int setup(void **state)
{
	space = memory_space_new("vm");
	memory_reader_init(&reader, space);
	memory_reader_begin(&reader);
	control = pthread_self();
	by_control = by_others = 0;
	longest = bytes = 0;
	return space ? 0 : -1;
}

static int teardown(void **state)
{
	memory_space_unmap(space, 0, 0);
	memory_space_settle(space);
	memory_space_free(space);
	return 0;
}

static int file_of(uint64_t size)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static uint8_t *at(uint64_t addr)
{
	memory_reader_begin(&reader);
	return memory_at(&reader, addr, 1, MEMORY_READ);
}

/* One mapping more and one less. */
static int come_and_go(uint64_t size)
{
	int fd = file_of(size), err = memory_space_map(space, 0, PAGE, RW, fd, 0);

	close(fd);
	if (!err)
		assert_int_equal(memory_space_unmap(space, 0, 0), 1);
	return err;
}

static void on_another_thread(void **state)
{
	struct memory_stats stats;
	int fd = file_of(16 * MB);
	unsigned char there;
	uint8_t *was;

	assert_int_equal(memory_space_map(space, 0, 16 * MB, RW, fd, 0), 0);
	was = at(0);
	hold();
	assert_int_equal(memory_space_unmap(space, 0, 0), 1);
	memory_space_stats(space, &stats);
	assert_int_equal(stats.files, 0);
	assert_int_equal(stats.regions, 0);
	assert_int_equal(by_control, 0);
	assert_int_equal(mincore(was, PAGE, &there), 0); /* mapped */
	/* the same file again has nothing to do with it */
	assert_int_equal(memory_space_map(space, 0, 16 * MB, RW, fd, 0), 0);
	assert_ptr_not_equal(at(0), was);
	*at(0) = 7;
	let_go();
	memory_space_settle(space);
	assert_int_equal(mincore(was, PAGE, &there), -1);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(*at(0), 7);
	assert_int_equal(by_others, 1);
	assert_int_equal(by_control, 0);
	close(fd);
}

/* A log goes the same way, as does a region that the device and its client share. */
static void whatever_it_was_for(void **state)
{
	int fd = file_of(MB), other = file_of(MB);
	struct memory_file *file;
	uint8_t *shared;

	assert_int_equal(memory_space_log(space, fd, 0, PAGE), 0);
	assert_int_equal(memory_space_share(space, other, 0, PAGE, &file, &shared), 0);
	hold();
	assert_int_equal(memory_space_log(space, -1, 0, 0), 0);
	memory_space_unshare(file);
	let_go();
	memory_space_settle(space);
	assert_int_equal(by_others, 2);
	assert_int_equal(by_control, 0);
	close(fd);
	close(other);
}

static void in_pieces(void **state)
{
	int fd = file_of(1000 * MB + PAGE);
	uint8_t *was;

	assert_int_equal(memory_space_map(space, 0, PAGE, RW, fd, 0), 0);
	was = at(0);
	assert_int_equal(memory_space_unmap(space, 0, 0), 1);
	memory_space_settle(space);
	assert_int_equal(bytes, 1000 * MB + PAGE);
	assert_ptr_equal(next, was + bytes);
	assert_in_range(longest, PAGE, 64 * MB);
	assert_in_range(by_others, 2, 32);
	close(fd);
}

/* What is no work is done at once. */
static void little_ones(void **state)
{
	hold();
	assert_int_equal(come_and_go(PAGE), 0);
	assert_int_equal(by_control, 1);
	let_go();
	memory_space_settle(space);
	assert_int_equal(by_others, 0);
}

static void more_than_there_should_be(void **state)
{
	hold();
	for (unsigned i = 0; i < MEMORY_UNMAPS_MAX; i++) {
		assert_int_equal(come_and_go(MB), 0);
		assert_false(memory_space_behind(space));
	}
	assert_int_equal(come_and_go(MB), 0);
	assert_true(memory_space_behind(space));
	sem_post(&may); /* one less */
	while (memory_space_behind(space))
		sched_yield();
	let_go();
	memory_space_settle(space);
	assert_int_equal(by_others, MEMORY_UNMAPS_MAX + 1);
	assert_int_equal(by_control, 0);
}

static void longer_than_they_should_be(void **state)
{
	int err;

	hold();
	err = come_and_go(MEMORY_UNMAP_BYTES_MAX);
	assert_true(!err || err == -ENOMEM); /* ThreadSanitizer leaves us little */
	assert_false(memory_space_behind(space));
	assert_int_equal(come_and_go(MB), 0);
	assert_int_equal(memory_space_behind(space), !err);
	let_go();
	memory_space_settle(space);
	assert_false(memory_space_behind(space));
}

/* The space does not wait either. */
static void space_goes_before(void **state)
{
	int fd = file_of(MB);
	unsigned char there;
	uint8_t *was;

	hold();
	assert_int_equal(come_and_go(MB), 0);
	assert_int_equal(memory_space_map(space, 0, PAGE, RW, fd, 0), 0);
	was = at(0);
	memory_space_free(space);
	assert_int_equal(mincore(was, PAGE, &there), 0);
	assert_int_equal(by_control, 0);
	let_go();
	while (LOAD_ACQUIRE(by_others) < 2)
		sched_yield();
	close(fd);
	space = memory_space_new("vm");
}

/* Closing these frees nothing. */
static void holds_files(void **state)
{
	int fd = file_of(MB), other = file_of(MB), event = eventfd(0, 0);
	int same = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	assert_false(memory_space_holds(space, fd));
	assert_int_equal(memory_space_map(space, 0, PAGE, RW, fd, 0), 0);
	assert_true(memory_space_holds(space, fd));
	assert_true(memory_space_holds(space, same));
	assert_false(memory_space_holds(space, other));
	assert_false(memory_space_holds(space, event));
	assert_false(memory_space_holds(space, -1));
	assert_int_equal(memory_space_unmap(space, 0, 0), 1);
	assert_false(memory_space_holds(space, fd));
	close(fd);
	close(other);
	close(same);
	close(event);
}

int main(void)
{
#define test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		test(on_another_thread),
		test(whatever_it_was_for),
		test(in_pieces),
		test(little_ones),
		test(more_than_there_should_be),
		test(longer_than_they_should_be),
		test(space_goes_before),
		test(holds_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
