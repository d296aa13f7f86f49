/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/rcu.h"
#include "base/sanitize.h"
#include "base/util.h"
#include "memory/space.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE  4096u
#define RW    (MEMORY_READ | MEMORY_WRITE)
#define PAGES 64

static struct memory_space *space;
static struct memory_reader reader;
static int fd;
static uint8_t *bytes; /* our view of the file */

static bool no_memory;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	return no_memory ? NULL : __real_malloc(size);
}

static int setup(void **state)
{
	fd = memfd_create("guest", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, PAGES * PAGE) < 0)
		return -1;
	bytes = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	space = memory_space_new("vm");
	memory_reader_init(&reader, space);
	memory_reader_begin(&reader);
	return bytes == MAP_FAILED || !space ? -1 : 0;
}

static int teardown(void **state)
{
	memory_space_free(space);
	munmap(bytes, PAGES * PAGE);
	close(fd);
	return 0;
}

static void map(uint64_t addr, uint64_t size, unsigned access, uint64_t offset)
{
	assert_int_equal(memory_space_map(space, addr, size, access, fd, offset), 0);
	memory_reader_begin(&reader);
}

static void translates(void **state)
{
	uint8_t *p;

	map(0x100000, 4 * PAGE, RW, 8 * PAGE);
	map(0x10000, PAGE, MEMORY_READ, 0);
	p = memory_at(&reader, 0x100010, 16, MEMORY_WRITE);
	assert_non_null(p);
	*p = 0x5a;
	assert_int_equal(bytes[8 * PAGE + 0x10], 0x5a);
	/* whole region, and one byte past either end */
	assert_non_null(memory_at(&reader, 0x100000, 4 * PAGE, MEMORY_READ));
	assert_null(memory_at(&reader, 0x100000, 4 * PAGE + 1, MEMORY_READ));
	assert_null(memory_at(&reader, 0xfffff, 1, MEMORY_READ));
	assert_null(memory_at(&reader, 0x100000 + 4 * PAGE, 1, MEMORY_READ));
	assert_null(memory_at(&reader, 0x100000, 0, MEMORY_READ));
	/* ranges that wrap */
	assert_null(memory_at(&reader, 0x100010, UINT64_MAX, MEMORY_READ));
	assert_null(memory_at(&reader, UINT64_MAX, 2, MEMORY_READ));
	/* read-only */
	assert_non_null(memory_at(&reader, 0x10000, 8, MEMORY_READ));
	assert_null(memory_at(&reader, 0x10000, 8, MEMORY_WRITE));
	assert_null(memory_at(&reader, 0x10000, 8, RW));
}

static void crosses_regions(void **state)
{
	struct iovec iov[4];
	char buf[32];

	map(0x1000, PAGE, RW, 5 * PAGE);
	map(0x2000, PAGE, RW, 2 * PAGE);
	map(0x4000, PAGE, RW, 3 * PAGE);
	memcpy(bytes + 5 * PAGE + PAGE - 4, "abcd", 4);
	memcpy(bytes + 2 * PAGE, "efgh", 4);
	assert_int_equal(memory_iov(&reader, 0x1ffc, 8, MEMORY_READ, iov, 4), 2);
	assert_int_equal(iov[0].iov_len, 4);
	assert_memory_equal(iov[0].iov_base, "abcd", 4);
	assert_memory_equal(iov[1].iov_base, "efgh", 4);
	assert_int_equal(memory_iov(&reader, 0x1ffc, 8, MEMORY_READ, iov, 1), -E2BIG);
	assert_int_equal(memory_iov(&reader, 0x1ffc, 0, MEMORY_READ, iov, 4), 0);
	assert_int_equal(memory_iov(&reader, 0x2ffc, 8, MEMORY_READ, iov, 4), -EFAULT);
	assert_int_equal(memory_iov(&reader, UINT64_MAX - 1, 8, MEMORY_READ, iov, 4), -EFAULT);
	assert_int_equal(memory_read(&reader, 0x1ffc, buf, 8), 0);
	assert_memory_equal(buf, "abcdefgh", 8);
	assert_int_equal(memory_write(&reader, 0x1ffe, "1234", 4), 0);
	assert_memory_equal(bytes + 5 * PAGE + PAGE - 2, "12", 2);
	assert_memory_equal(bytes + 2 * PAGE, "34", 2);
	/* a range with a hole changes nothing */
	assert_int_equal(memory_write(&reader, 0x2ffe, "zzzz", 4), -EFAULT);
	assert_int_equal(bytes[2 * PAGE + PAGE - 1], 0);
}

static void refuses(void **state)
{
	int pipes[2], read_only;
	char path[64];

	map(0x10000, 2 * PAGE, RW, 0);
	assert_int_equal(memory_space_map(space, 0x20000, 0, RW, fd, 0), -EINVAL);
	assert_int_equal(memory_space_map(space, UINT64_MAX - PAGE + 2, PAGE, RW, fd, 0), -EINVAL);
	assert_int_equal(memory_space_map(space, 0x20000, PAGE, MEMORY_WRITE, fd, 0), -EINVAL);
	assert_int_equal(memory_space_map(space, 0x20000, PAGE, RW, fd, 123), -EINVAL);
	assert_int_equal(memory_space_map(space, 0x20000, PAGE, RW, fd, PAGES * PAGE), -ERANGE);
	assert_int_equal(memory_space_map(space, 0x20000, (PAGES + 1) * PAGE, RW, fd, 0), -ERANGE);
	assert_int_equal(memory_space_map(space, 0x20000, PAGE, RW, fd, UINT64_MAX - PAGE + 1),
			 -ERANGE);
	assert_int_equal(memory_space_map(space, 0x11000, PAGE, RW, fd, 0), -EEXIST);
	assert_int_equal(memory_space_map(space, 0xf000, 2 * PAGE, RW, fd, 0), -EEXIST);
	assert_int_equal(memory_space_map(space, 0x10000, 2 * PAGE, RW, fd, 0), 0); /* the same */
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(memory_space_map(space, 0x20000, PAGE, RW, pipes[0], 0), -EINVAL);
	assert_int_equal(memory_space_map(space, 0x20000, PAGE, RW, 9999, 0), -EINVAL);
	close(pipes[0]);
	close(pipes[1]);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	read_only = open(path, O_RDONLY);
	assert_true(read_only >= 0);
	assert_int_equal(memory_space_map(space, 0x20000, PAGE, RW, read_only, 0), -EACCES);
	assert_int_equal(memory_space_map(space, 0x20000, PAGE, MEMORY_READ, read_only, 0), 0);
	close(read_only);
}

static void unmaps_ranges(void **state)
{
	struct memory_stats stats;

	for (unsigned i = 0; i < 10; i++)
		map(0x10000 + i * 2 * PAGE, PAGE, RW, i * PAGE);
	memory_space_stats(space, &stats);
	assert_int_equal(stats.regions, 10);
	assert_int_equal(stats.files, 1);
	/* a part of a region does not take it away */
	assert_int_equal(memory_space_unmap(space, 0x10000, PAGE / 2), 0);
	assert_int_equal(memory_space_unmap(space, 0, 0x10000), 0);
	assert_int_equal(memory_space_unmap(space, 0x11000, 4 * PAGE), 2);
	memory_reader_begin(&reader);
	assert_null(memory_at(&reader, 0x12000, 1, MEMORY_READ));
	assert_non_null(memory_at(&reader, 0x16000, 1, MEMORY_READ));
	assert_int_equal(memory_space_unmap(space, 0, 0), 8);
	memory_space_stats(space, &stats);
	assert_int_equal(stats.regions, 0);
	assert_int_equal(stats.files, 0);
	assert_int_equal(stats.bytes, 0);
}

/* It must not fail, so it does without a new table. */
static void unmaps_without_memory(void **state)
{
	struct memory_stats stats;

	for (unsigned i = 0; i < 4; i++)
		map(0x10000 + i * 2 * PAGE, PAGE, RW, i * PAGE);
	no_memory = true;
	assert_int_equal(memory_space_unmap(space, 0x12000, 3 * PAGE), 2);
	no_memory = false;
	memory_reader_begin(&reader);
	assert_non_null(memory_at(&reader, 0x10000, 1, MEMORY_READ));
	assert_null(memory_at(&reader, 0x12000, 1, MEMORY_READ));
	assert_null(memory_at(&reader, 0x14000, 1, MEMORY_READ));
	assert_non_null(memory_at(&reader, 0x16000, 1, MEMORY_READ));
	memory_space_stats(space, &stats);
	assert_int_equal(stats.regions, 2);
	assert_int_equal(stats.bytes, 2 * PAGE);
	assert_int_equal(stats.unmaps, 2);
}

static void remote_regions(void **state)
{
	struct iovec iov;

	assert_int_equal(memory_space_map(space, 0x10000, PAGE, RW, -1, 0), 0);
	assert_int_equal(memory_space_map(space, 0x10000, PAGE, RW, -1, 0), 0);
	memory_reader_begin(&reader);
	assert_null(memory_at(&reader, 0x10000, 1, MEMORY_READ));
	assert_int_equal(memory_iov(&reader, 0x10000, 1, MEMORY_READ, &iov, 1), -EFAULT);
}

static void many_regions(void **state)
{
	int err = 0;
	unsigned n;

	for (n = 0; !err && n < MEMORY_REGIONS_MAX + 1; n++)
		err = memory_space_map(space, (uint64_t)(n ^ 1) * 2 * PAGE, PAGE, RW, fd,
				       n % PAGES * PAGE);
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(n, MEMORY_REGIONS_MAX + 1);
	memory_reader_begin(&reader);
	for (unsigned i = 0; i < MEMORY_REGIONS_MAX; i += 97) {
		assert_non_null(
			memory_at(&reader, (uint64_t)(i ^ 1) * 2 * PAGE + 8, 8, MEMORY_READ));
		assert_null(
			memory_at(&reader, (uint64_t)(i ^ 1) * 2 * PAGE + PAGE, 8, MEMORY_READ));
	}
	assert_int_equal(memory_space_unmap(space, 0, 0), MEMORY_REGIONS_MAX);
}

static void survives_truncation(void **state)
{
	struct memory_space *other = memory_space_new("other");
	struct memory_reader other_reader;
	int other_fd = memfd_create("other", MFD_CLOEXEC);
	char buf[8] = "xxxxxxx";
	struct memory_stats stats;

	assert_int_equal(memory_faults_init(), 0); /* cmocka has a handler of its own per test */
	assert_int_equal(ftruncate(other_fd, PAGE), 0);
	assert_int_equal(memory_space_map(other, 0, PAGE, RW, other_fd, 0), 0);
	memory_reader_init(&other_reader, other);
	memory_reader_begin(&other_reader);
	assert_int_equal(memory_write(&other_reader, 0, "alive", 6), 0);

	map(0, PAGES * PAGE, RW, 0);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_false(memory_space_failed(space));
	assert_int_equal(memory_read(&reader, 10 * PAGE, buf, 8), 0);
	assert_memory_equal(buf, "\0\0\0\0\0\0\0", 8);
	assert_int_equal(memory_write(&reader, 20 * PAGE, buf, 8), 0);
	assert_true(memory_space_failed(space));
	memory_space_stats(space, &stats);
	assert_int_equal(stats.faults, 2); /* each for its own page */

	assert_false(memory_space_failed(other));
	assert_int_equal(memory_read(&other_reader, 0, buf, 6), 0);
	assert_string_equal(buf, "alive");
	/* a new client with sound memory starts afresh */
	assert_int_equal(memory_space_unmap(space, 0, 0), 1);
	assert_false(memory_space_failed(space));
	memory_space_free(other);
	close(other_fd);
}

/* One file that grows is mapped anew each time, and so is each further file. */
static void no_more_than_its_share_of_files(void **state)
{
	struct memory_space *others[9];
	int small = memfd_create("other", MFD_CLOEXEC);
	struct memory_stats stats;

	for (unsigned i = 0; i < MEMORY_FILES_MAX; i++) {
		assert_int_equal(ftruncate(fd, (PAGES + i) * PAGE), 0);
		map(i * PAGE, PAGE, RW, (PAGES + i - 1) * PAGE);
	}
	memory_space_stats(space, &stats);
	assert_int_equal(stats.files, MEMORY_FILES_MAX);
	assert_int_equal(ftruncate(small, PAGE), 0);
	assert_int_equal(memory_space_map(space, 1 << 30, PAGE, RW, small, 0), -ENOSPC);
	assert_int_equal(memory_space_log(space, small, 0, 8), -ENOSPC);
	map(1 << 30, PAGE, RW, 0); /* one that is mapped already */
	/* others have theirs, each as many */
	for (unsigned i = 0; i < 9; i++) {
		others[i] = memory_space_new("other");
		for (unsigned k = 0; k < MEMORY_FILES_MAX; k++) {
			unsigned page = i * MEMORY_FILES_MAX + k;

			assert_int_equal(ftruncate(small, (page + 1) * PAGE), 0);
			assert_int_equal(
				memory_space_map(others[i], k * PAGE, PAGE, RW, small, page * PAGE),
				0);
		}
	}
	for (unsigned i = 0; i < 9; i++)
		memory_space_free(others[i]);
	assert_int_equal(memory_space_unmap(space, 0, 0), MEMORY_FILES_MAX + 1);
	assert_int_equal(memory_space_map(space, 0, PAGE, RW, small, 0), 0);
	close(small);
}

/* A file costs its client nothing while there is nothing in it. */
static void no_more_than_its_share_of_bytes(void **state)
{
	int large = memfd_create("large", MFD_CLOEXEC), err;

	assert_int_equal(ftruncate(large, (off_t)MEMORY_FILE_BYTES_MAX + PAGE), 0);
	assert_int_equal(memory_space_map(space, 0, PAGE, RW, large, 0), -ENOSPC);
	assert_int_equal(ftruncate(large, (off_t)MEMORY_FILE_BYTES_MAX), 0);
	err = memory_space_map(space, 0, PAGE, RW, large, 0);
	if (err) {
		assert_int_equal(err, -ENOMEM); /* ThreadSanitizer leaves us less than that */
	} else {
		assert_int_equal(memory_space_map(space, PAGE, PAGE, RW, large, PAGE), 0);
		assert_int_equal(memory_space_map(space, 2 * PAGE, PAGE, RW, fd, 0), -ENOSPC);
		assert_int_equal(memory_space_unmap(space, 0, 0), 2);
		memory_space_settle(space); /* of what is there for all */
	}
	map(0, PAGE, RW, 0);
	close(large);
}

/* What some clients map does not keep others from having a guest of a usual size. */
static void some_is_left_for_others(void **state)
{
	struct memory_space *greedy[MEMORY_ALL_BYTES_MAX / MEMORY_FILE_BYTES_MAX];
	int large, usual;
	unsigned n;

	if (SANITIZED)
		skip(); /* a minute of clearing shadow memory, and less room */
	large = memfd_create("large", MFD_CLOEXEC);
	usual = memfd_create("usual", MFD_CLOEXEC);
	assert_int_equal(ftruncate(large, (off_t)MEMORY_FILE_BYTES_MAX), 0);
	assert_int_equal(ftruncate(usual, (off_t)MEMORY_CROWDED_BYTES_MAX), 0);
	for (n = 0; n < ARRAY_SIZE(greedy); n++) {
		/* the last one a little less: other tests' files may still be unmapped */
		if (n + 1 == ARRAY_SIZE(greedy))
			assert_int_equal(ftruncate(large, (off_t)MEMORY_FILE_BYTES_MAX - (1 << 30)),
					 0);
		greedy[n] = memory_space_new("greedy");
		assert_int_equal(memory_space_map(greedy[n], 0, PAGE, RW, large, 0), 0);
	}
	assert_int_equal(ftruncate(large, (off_t)MEMORY_FILE_BYTES_MAX), 0);
	assert_int_equal(memory_space_map(space, 0, PAGE, RW, large, 0), -ENOSPC);
	map(0, PAGE, RW, 0);
	assert_int_equal(memory_space_map(space, PAGE, PAGE, RW, usual, 0), -ENOSPC);
	assert_int_equal(memory_space_unmap(space, 0, 0), 1);
	assert_int_equal(memory_space_map(space, 0, PAGE, RW, usual, 0), 0);
	assert_int_equal(memory_space_map(space, PAGE, PAGE, RW, fd, 0), -ENOSPC);
	assert_int_equal(memory_space_unmap(space, 0, 0), 1);
	memory_space_settle(space);
	/* it is there again once it is unmapped, not before */
	assert_int_equal(memory_space_unmap(greedy[0], 0, 0), 1);
	memory_space_settle(greedy[0]);
	assert_int_equal(memory_space_map(space, 0, PAGE, RW, large, 0), 0);
	while (n--) {
		memory_space_unmap(greedy[n], 0, 0);
		memory_space_settle(greedy[n]);
		memory_space_free(greedy[n]);
	}
	memory_space_unmap(space, 0, 0);
	memory_space_settle(space);
	close(large);
	close(usual);
}

/* Files of a disk, or of something that only looks like one, may keep us waiting. */
static void only_memory_files(void **state)
{
	static const char *const paths[] = { "/proc/self/exe", "/sys/devices/system/cpu/online" };

	for (unsigned i = 0; i < 2; i++) {
		int file = open(paths[i], O_RDONLY | O_CLOEXEC);

		assert_true(file >= 0);
		/* the machine may have its programs in memory */
		if (memory_is_file(file)) {
			close(file);
			continue;
		}
		assert_int_equal(memory_space_map(space, 0, PAGE, MEMORY_READ, file, 0), -EINVAL);
		assert_int_equal(memory_space_log(space, file, 0, 8), -EINVAL);
		close(file);
	}
	assert_true(memory_is_file(fd));
	map(0, PAGE, RW, 0);
}

/* What is still in the file is still the file's, and nothing is laid over it. */
static void truncation_leaves_the_rest(void **state)
{
	char buf[8] = "";

	assert_int_equal(memory_faults_init(), 0);
	memcpy(bytes, "kept", 5);
	map(0, PAGES * PAGE, RW, 0);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	assert_int_equal(memory_read(&reader, 10 * PAGE, buf, 8), 0);
	assert_true(memory_space_failed(space));
	assert_int_equal(memory_read(&reader, 0, buf, 5), 0);
	assert_string_equal(buf, "kept");
	assert_int_equal(memory_write(&reader, 8, "new", 4), 0);
	assert_string_equal((char *)bytes + 8, "new");
}

/* It may end within a page (fallocate() sees to that), but its mapping does not. */
static void huge_file_of_an_odd_length(void **state)
{
	int huge = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	char buf[8] = "xxxxxxx";

	if (huge < 0 || fallocate(huge, 0, 0, PAGE) < 0) {
		close(huge);
		skip(); /* no huge page is free */
	}
	assert_int_equal(memory_faults_init(), 0);
	assert_int_equal(memory_space_map(space, 0, PAGE, RW, huge, 0), 0);
	memory_reader_begin(&reader);
	assert_int_equal(ftruncate(huge, 0), 0);
	assert_int_equal(memory_read(&reader, 8, buf, 8), 0);
	assert_memory_equal(buf, "\0\0\0\0\0\0\0", 8);
	assert_true(memory_space_failed(space));
	close(huge);
}

/* Of the process's mappings those in this range: elsewhere they come and go, as what the tests
 * before left is unmapped by a thread. */
static unsigned mappings_in(const void *range, uint64_t len)
{
	uintptr_t begin = (uintptr_t)range, from, to;
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned n = 0;

	while (fscanf(f, "%" SCNxPTR "-%" SCNxPTR "%*[^\n]", &from, &to) == 2)
		n += from < begin + len && to > begin;
	fclose(f);
	return n;
}

/* Accesses all over a file that is gone: few mappings take its place, not one for each. */
static void truncation_everywhere(void **state)
{
	const uint64_t pages = 1 << 18;
	struct memory_stats stats;
	void *at;

	assert_int_equal(memory_faults_init(), 0);
	assert_int_equal(ftruncate(fd, (off_t)(pages * PAGE)), 0);
	map(0, pages * PAGE, RW, 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	at = memory_at(&reader, 0, pages * PAGE, MEMORY_WRITE);
	assert_non_null(at);
	assert_int_equal(mappings_in(at, pages * PAGE), 1);
	for (uint64_t i = 0; i < 4096; i++)
		assert_int_equal(memory_write(&reader, i * 40503 % pages * PAGE, &i, 8), 0);
	assert_in_range(mappings_in(at, pages * PAGE), 1, 40);
	memory_space_stats(space, &stats);
	assert_in_range(stats.faults, 2, 20);
	assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
}

/* The fault may come in an atomic access, in the middle of what ThreadSanitizer does for it. */
static void survives_truncation_in_atomics(void **state)
{
	struct memory_stats stats;
	uint8_t *at;

	assert_int_equal(memory_faults_init(), 0);
	map(0, PAGES * PAGE, RW, 0);
	at = memory_at(&reader, 3 * PAGE, 1, MEMORY_WRITE);
	assert_non_null(at);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	STORE_RELEASE(*at, 1);
	assert_int_equal(LOAD_ACQUIRE(*at), 1);
	assert_true(memory_space_failed(space));
	memory_space_stats(space, &stats);
	assert_int_equal(stats.faults, 1);
}

/* A reader thread translates and reads all the time while regions come and go under it. */
static int stop_reading;
static uint64_t reads;

static void *read_always(void *arg)
{
	struct memory_reader r;
	uint64_t value;

	rcu_reader_register();
	memory_reader_init(&r, space);
	while (!LOAD_ACQUIRE(stop_reading)) {
		memory_reader_begin(&r);
		for (unsigned i = 0; i < 8; i++) {
			uint64_t *p = memory_at(&r, i * PAGE, 8, MEMORY_READ);

			if (p) {
				value = READ_ONCE(*p);
				if (value != 0x1122334455667788ull)
					abort();
				COUNT(reads, 1);
			}
		}
		rcu_reader_quiescent();
	}
	rcu_reader_unregister();
	return NULL;
}

static void changes_under_a_reader(void **state)
{
	pthread_t thread;

	for (unsigned i = 0; i < PAGES; i++)
		memcpy(bytes + i * PAGE, &(uint64_t){ 0x1122334455667788ull }, 8);
	stop_reading = 0;
	pthread_create(&thread, NULL, read_always, NULL);
	for (unsigned round = 0; round < 500 || READ_ONCE(reads) < 1000; round++) {
		for (unsigned i = 0; i < 8; i++)
			memory_space_map(space, i * PAGE, PAGE, RW, fd, (round + i) % PAGES * PAGE);
		assert_int_equal(memory_space_unmap(space, 2 * PAGE, 3 * PAGE), 3);
		assert_int_equal(memory_space_unmap(space, 0, 0), 5);
	}
	STORE_RELEASE(stop_reading, 1);
	pthread_join(thread, NULL);
}

static void logs_dirty_pages(void **state)
{
	int log = memfd_create("log", MFD_CLOEXEC);
	struct memory_reader r;
	uint8_t *bits;

	assert_int_equal(ftruncate(log, PAGE), 0);
	bits = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, log, 0);
	assert_ptr_not_equal(bits, MAP_FAILED);
	/* the same page of the file at two places */
	assert_int_equal(memory_space_map(space, 0x10000, 2 * PAGE, RW, fd, 0), 0);
	assert_int_equal(memory_space_map(space, 0x40000, PAGE, RW, fd, PAGE), 0);
	memory_reader_init(&r, space);
	memory_reader_begin(&r);
	memory_dirty(&r, 0x10000, 1); /* no log: nothing */
	assert_int_equal(memory_space_log(space, log, 0, 0), -EINVAL);
	assert_int_equal(memory_space_log(space, log, 1, PAGE), -ERANGE);
	assert_int_equal(memory_space_log(space, log, UINT64_MAX, 2), -ERANGE);
	assert_int_equal(memory_space_log(space, log, 8, 16), 0);
	memory_reader_begin(&r);
	memory_dirty(&r, 0x10fff, 2);
	assert_int_equal(bits[8 + 2], 3); /* pages 16 and 17 */
	bits[8 + 2] = 0;
	memory_dirty_host(&r, memory_at(&r, 0x11000, 8, MEMORY_WRITE), 8);
	/* page 17 or 64, which shows the same */
	assert_int_equal((bits[8 + 2] == 2) + (bits[8 + 8] == 1), 1);
	assert_int_equal((bits[8 + 2] != 0) + (bits[8 + 8] != 0), 1);
	/* outside: ignored */
	memory_dirty(&r, 16 * 8 * PAGE, PAGE);
	memory_dirty(&r, UINT64_MAX - 5, 100);
	memory_dirty(&r, 127 * PAGE, 10 * PAGE);
	assert_int_equal(bits[8 + 15], 0x80);
	assert_int_equal(bits[8 + 16], 0);
	assert_int_equal(memory_space_log(space, -1, 0, 0), 0);
	munmap(bits, PAGE);
	close(log);
}

/* Every range from and to somewhere near the borders of words, in logs that begin anywhere. */
static void logs_ranges(void **state)
{
	int log = memfd_create("log", MFD_CLOEXEC);
	struct memory_reader r;
	uint8_t *bits;

	assert_int_equal(ftruncate(log, PAGE), 0);
	bits = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, log, 0);
	memory_reader_init(&r, space);
	for (unsigned offset = 0; offset < 9; offset++) {
		/* 300 pages and a few; all of the file behind it is other people's */
		assert_int_equal(memory_space_log(space, log, offset, 38), 0);
		memory_reader_begin(&r);
		for (uint64_t first = 0; first < 70; first++)
			for (uint64_t n = 1; n < 320; n += first % 8 ? 7 : 1) {
				uint64_t end = MIN(first + n, 38 * 8u);

				uint8_t wanted[128] = { 0 };

				for (uint64_t i = first; i < end; i++)
					wanted[offset + i / 8] |= (uint8_t)(1u << i % 8);
				memset(bits, 0, sizeof(wanted));
				memory_dirty(&r, first * PAGE + 5, n * PAGE - 5);
				assert_memory_equal(bits, wanted, sizeof(wanted));
			}
	}
	munmap(bits, PAGE);
	close(log);
}

/* A piece is marked where it is, and at one address only, whatever else shows the same memory and
 * however much of it; before the log came and after; without knowing which region served last. */
static void logs_pieces(void **state)
{
	const uint64_t far = 1ull << 36, step = 1ull << 20;
	unsigned n = 0, shown_at = 0, log_bytes = (unsigned)((far + 256 * step) / PAGE / 8);
	struct {
		uint64_t addr, first, pages;
	} regions[100];
	int log = memfd_create("log", MFD_CLOEXEC);
	struct memory_reader r, other;
	uint8_t *bits;

	assert_int_equal(ftruncate(log, log_bytes), 0);
	bits = mmap(NULL, log_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, log, 0);
	memory_reader_init(&other, space);
	srand(1);
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < 5 && n < 100; i++, n++) {
			/* in front of the others or behind them */
			uint64_t k = i % 2 ? 100 + n : 100 - n, pages, first;

			first = (uint64_t)rand() % PAGES;
			pages = 1 + (uint64_t)rand() % (PAGES - first);
			regions[n].addr = far + k * step;
			regions[n].first = first;
			regions[n].pages = pages;
			assert_int_equal(memory_space_map(space, regions[n].addr, pages * PAGE, RW,
							  fd, first * PAGE),
					 0);
		}
		if (round == 3)
			assert_int_equal(memory_space_log(space, log, 0, log_bytes), 0);
		if (round < 3)
			continue;
		if (round > 20) {
			n--;
			assert_int_equal(
				memory_space_unmap(space, regions[n].addr, regions[n].pages * PAGE),
				1);
		}
		for (unsigned i = 0; i < n; i++) {
			uint64_t len = regions[i].pages * PAGE, skip = (uint64_t)rand() % len, at;
			const uint8_t *host;
			unsigned found = 0;

			len = 1 + (uint64_t)rand() % (len - skip);
			at = regions[i].first * PAGE + skip;
			memory_reader_begin(&other);
			host = memory_at(&other, regions[i].addr + skip, len, MEMORY_WRITE);
			assert_non_null(host);
			memory_reader_init(&r, space);
			memory_reader_begin(&r);
			memory_dirty_host(rand() % 2 ? &r : &other, host, len);
			for (unsigned k = 0; k < n; k++) {
				uint64_t from = regions[k].addr / PAGE;

				for (uint64_t page = 0; page < regions[k].pages; page++) {
					uint64_t bit = from + page;
					bool mark = bits[bit / 8] >> bit % 8 & 1;

					if (!mark)
						continue;
					assert_in_range(regions[k].first + page, at / PAGE,
							(at + len - 1) / PAGE);
					found++;
					bits[bit / 8] &= (uint8_t) ~(1u << bit % 8);
				}
			}
			assert_int_equal(found, (at + len - 1) / PAGE - at / PAGE + 1);
			shown_at++;
		}
	}
	assert_in_range(shown_at, 500, 5000);
	munmap(bits, log_bytes);
	close(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(translates, setup, teardown),
		cmocka_unit_test_setup_teardown(crosses_regions, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(unmaps_ranges, setup, teardown),
		cmocka_unit_test_setup_teardown(unmaps_without_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(remote_regions, setup, teardown),
		cmocka_unit_test_setup_teardown(many_regions, setup, teardown),
		cmocka_unit_test_setup_teardown(no_more_than_its_share_of_files, setup, teardown),
		cmocka_unit_test_setup_teardown(no_more_than_its_share_of_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(some_is_left_for_others, setup, teardown),
		cmocka_unit_test_setup_teardown(only_memory_files, setup, teardown),
		cmocka_unit_test_setup_teardown(survives_truncation, setup, teardown),
		cmocka_unit_test_setup_teardown(truncation_leaves_the_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(huge_file_of_an_odd_length, setup, teardown),
		cmocka_unit_test_setup_teardown(truncation_everywhere, setup, teardown),
		cmocka_unit_test_setup_teardown(survives_truncation_in_atomics, setup, teardown),
		cmocka_unit_test_setup_teardown(logs_dirty_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(logs_ranges, setup, teardown),
		cmocka_unit_test_setup_teardown(logs_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(changes_under_a_reader, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
