/* SPDX-License-Identifier: BSD-2-Clause */
/* The file backend by itself: on storage (beside this program) and in memory (/dev/shm). */
#include "disk/backend.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/loop.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE (2u << 20)
#define ODD  512u /* bytes of the file behind the last page */

/* What the kernel does, from here on, beside what it does: */
static bool no_alignment;	/* it does not say what O_DIRECT needs */
static bool refuses_direct;	/* reads and writes of the second registered file, which is that */
static unsigned reads_by_cache; /* that it was asked for */

int __real_statx(int fd, const char *name, int flags, unsigned mask, struct statx *stx);
int __wrap_statx(int fd, const char *name, int flags, unsigned mask, struct statx *stx);
int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);

int __wrap_statx(int fd, const char *name, int flags, unsigned mask, struct statx *stx)
{
	if (no_alignment) {
		errno = ENOSYS;
		return -1;
	}
	return __real_statx(fd, name, flags, mask, stx);
}

int __wrap_io_uring_submit(struct io_uring *ring)
{
	for (unsigned i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++) {
		struct io_uring_sqe *sqe = &ring->sq.sqes[i & *ring->sq.kring_mask];

		if (sqe->opcode != IORING_OP_READ && sqe->opcode != IORING_OP_WRITE)
			continue;
		if (refuses_direct && sqe->fd == 1)
			sqe->opcode = IORING_OP_LAST; /* -EINVAL */
		reads_by_cache += sqe->opcode == IORING_OP_READ && !sqe->fd;
	}
	return __real_io_uring_submit(ring);
}

static const char *const places[] = { ".", "/dev/shm" };

static char path[64];
static int file;
static struct disk_backend *backend;
static uint8_t *memory; /* SIZE + a page */

static void open_disk(const char *place, bool cached, bool pin)
{
	struct disk_config config = { .name = "d",
				      .backend = "file",
				      .path = path,
				      .queues = 2,
				      .cached = cached,
				      .pin_memory = pin };

	snprintf(path, sizeof(path), "%s/exitless-disk-XXXXXX", place);
	file = mkstemp(path);
	assert_true(file >= 0);
	for (unsigned i = 0; i < SIZE; i++)
		memory[i] = (uint8_t)(i * 7 + i / 4096);
	assert_int_equal(pwrite(file, memory, SIZE, 0), SIZE);
	assert_int_equal(pwrite(file, memory, ODD, SIZE), ODD);
	backend = disk_file_new(&config);
	assert_non_null(backend);
	assert_int_equal(backend->ops->size(backend), SIZE + ODD);
	memset(memory, 0xee, SIZE);
}

static void close_disk(void)
{
	backend->ops->free(backend);
	close(file);
	unlink(path);
}

static uint8_t expected(unsigned at)
{
	return (uint8_t)(at * 7 + at / 4096);
}

static void wait_on(unsigned queue, unsigned n)
{
	struct disk_io *done[64];

	while (n) {
		unsigned got = backend->ops->reap(backend, queue, done, ARRAY_SIZE(done));

		assert_true(got <= n);
		n -= got;
	}
}

static void wait_for(unsigned n)
{
	wait_on(0, n);
}

/* To its end; its result. */
static int run(struct disk_io *io)
{
	int err = backend->ops->start(backend, 0, io);

	while (err == DISK_MORE) {
		uint64_t before = io->done;

		err = backend->ops->go_on(backend, 0, io);
		assert_in_range(io->done - before, err && err != DISK_MORE ? 0 : 1,
				DISK_PART_BYTES);
	}
	backend->ops->submit(backend, 0);
	if (err != DISK_PENDING)
		return err;
	wait_for(1);
	return io->result;
}

static struct disk_io rw(enum disk_op op, uint64_t offset, struct iovec *iov, unsigned n)
{
	struct disk_io io = { .op = op, .offset = offset, .iov = iov, .n_iov = n };

	for (unsigned i = 0; i < n; i++)
		io.bytes += iov[i].iov_len;
	io.region = memory;
	io.region_bytes = SIZE + 4096;
	return io;
}

static void aligned_or_not(void **state)
{
	for (unsigned p = 0; p < ARRAY_SIZE(places); p++) {
		for (unsigned cached = 0; cached < 2; cached++) {
			open_disk(places[p], cached, false);
			for (unsigned shift = 0; shift < 1024; shift += 37) {
				struct iovec iov[] = { { memory + shift, 512 },
						       { memory + 8192 + shift, 4096 },
						       { memory + 65536, 1024 } };
				struct disk_io io = rw(DISK_READ, 512 * (shift % 5), iov, 3);

				assert_int_equal(run(&io), 0);
				for (unsigned i = 0; i < 4096; i++)
					assert_int_equal(memory[8192 + shift + i],
							 expected(512 * (shift % 5) + 512 + i));
				/* and back: nothing changes */
				io = rw(DISK_WRITE, 512 * (shift % 5), iov, 3);
				io.durable = shift & 1;
				assert_int_equal(run(&io), 0);
			}
			close_disk();
		}
	}
}

/* Pages of the file that are in the host's cache. */
static unsigned cached_pages(void)
{
	unsigned char in[SIZE / 4096];
	unsigned n = 0;
	void *map = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, file, 0);

	assert_true(map != MAP_FAILED);
	assert_int_equal(mincore(map, SIZE, in), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(in); i++)
		n += in[i] & 1;
	munmap(map, SIZE);
	return n;
}

/* Wherever the guest's pieces lie: what goes through the cache beside what goes past it could write
 * old sectors back over new ones. */
static void nothing_goes_through_the_cache(void **state)
{
	int direct;

	open_disk(".", false, false);
	direct = open(path, O_RDONLY | O_DIRECT);
	if (direct < 0) {
		close_disk();
		skip();
	}
	assert_int_equal(fsync(file), 0);
	assert_int_equal(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED), 0);
	assert_int_equal(cached_pages(), 0);
	for (unsigned shift = 0; shift < 4096; shift += 1 + shift / 3) {
		uint64_t sector = shift % 9;
		/* longer than a part, and of less than a page at both ends */
		struct iovec iov[] = { { memory + shift, 1024 },
				       { memory + 8192 + shift, 4096 * 40 + 37 },
				       { memory + (1u << 20), 512 - 37 } };
		struct disk_io io = rw(DISK_READ, 512 * sector, iov, 3);

		assert_int_equal(run(&io), 0);
		for (unsigned i = 0; i < iov[1].iov_len; i++)
			assert_int_equal(memory[8192 + shift + i],
					 expected((unsigned)(512 * sector + 1024 + i)));
		io = rw(DISK_WRITE, 512 * sector, iov, 3);
		assert_int_equal(run(&io), 0);
		io = rw(DISK_WRITE, 512 * (sector + 1), &(struct iovec){ memory + shift, 512 }, 1);
		memcpy(memory + shift, memory + shift + 512, 512);
		assert_int_equal(run(&io), 0);
		assert_int_equal(cached_pages(), 0);
	}
	assert_int_equal(pread(direct, memory, SIZE, 0), SIZE);
	for (unsigned i = 0; i < SIZE; i++)
		assert_int_equal(memory[i], expected(i));
	close(direct);
	close_disk();
}

/* More of them than there are buffers, and then none is wanted any more. */
static void waits_for_a_buffer(void **state)
{
	static struct disk_io ios[DISK_DEPTH];
	static struct iovec iov[DISK_DEPTH];

	open_disk(".", false, false);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < DISK_DEPTH; i++) {
			iov[i] = (struct iovec){ memory + 4096 * i + 1, 2048 };
			ios[i] = rw(DISK_READ, 512 * i, &iov[i], 1);
			ios[i].result = DISK_PENDING;
			assert_int_equal(backend->ops->start(backend, 0, &ios[i]), DISK_PENDING);
		}
		backend->ops->submit(backend, 0);
		if (round)
			backend->ops->cancel(backend, 0);
		wait_for(DISK_DEPTH);
		for (unsigned i = 0; i < DISK_DEPTH; i++) {
			if (round && ios[i].result == -ECANCELED)
				continue;
			assert_int_equal(ios[i].result, 0);
			assert_int_equal(memory[4096 * i + 1 + 2047], expected(512 * i + 2047));
		}
	}
	close_disk();
}

static void last_sector(void **state)
{
	for (unsigned p = 0; p < ARRAY_SIZE(places); p++) {
		struct iovec iov = { memory, ODD };
		struct disk_io io = rw(DISK_READ, SIZE, &iov, 1);

		open_disk(places[p], false, false);
		assert_int_equal(run(&io), 0);
		for (unsigned i = 0; i < ODD; i++)
			assert_int_equal(memory[i], expected(i));
		close_disk();
	}
}

/* The host has cut the file: what is there comes, the request fails, the guest's pieces stay. */
static void beyond_the_end(void **state)
{
	for (unsigned p = 0; p < ARRAY_SIZE(places); p++) {
		struct iovec iov[] = { { memory, 4096 }, { memory + 8192, 8192 } };
		struct disk_io io = rw(DISK_READ, SIZE - 8192, iov, 2);

		open_disk(places[p], false, false);
		assert_int_equal(ftruncate(file, SIZE - 1000), 0);
		assert_int_equal(run(&io), -EIO);
		assert_int_equal(memory[0], expected(SIZE - 8192));
		assert_ptr_equal(iov[1].iov_base, memory + 8192);
		assert_int_equal(iov[1].iov_len, 8192);
		io = rw(DISK_READ, SIZE, iov, 2);
		assert_int_equal(run(&io), -EIO);
		close_disk();
	}
}

static void zeroes_and_discard(void **state)
{
	for (unsigned p = 0; p < ARRAY_SIZE(places); p++) {
		for (unsigned kind = 0; kind < 4; kind++) {
			struct iovec iov = { memory, SIZE };
			struct disk_io io = { .op = kind == 3 ? DISK_DISCARD : DISK_ZEROES,
					      .offset = 4096 + 512,
					      .bytes = (1u << 20) + 1536,
					      .unmap = kind & 1,
					      .durable = kind & 2 };

			open_disk(places[p], false, false);
			assert_int_equal(run(&io), 0);
			io = rw(DISK_READ, 0, &iov, 1);
			assert_int_equal(run(&io), 0);
			for (unsigned i = 0; i < SIZE; i++) {
				bool in = i >= 4608 && i < 4608 + (1u << 20) + 1536;

				assert_int_equal(memory[i], in ? 0 : expected(i));
			}
			io = (struct disk_io){ .op = DISK_FLUSH };
			assert_int_equal(run(&io), 0);
			close_disk();
		}
	}
}

/* As many as a queue can have: all fit, whatever else is in the ring. */
static void full_ring(void **state)
{
	static struct disk_io ios[DISK_DEPTH];
	static struct iovec iov[DISK_DEPTH];
	unsigned pending = 0;

	open_disk(".", false, false);
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < DISK_DEPTH; i++) {
			int err;

			iov[i] = (struct iovec){ memory + 4096 * i, 4096 };
			ios[i] = rw(i % 16 ? DISK_READ : DISK_FLUSH, 4096 * i, &iov[i], 1);
			err = backend->ops->start(backend, 0, &ios[i]);
			assert_int_equal(err, DISK_PENDING);
			pending++;
		}
		backend->ops->submit(backend, 0);
		wait_for(pending);
		pending = 0;
		for (unsigned i = 0; i < DISK_DEPTH; i++) {
			assert_int_equal(ios[i].result, 0);
			assert_int_equal(memory[4096 * i + 5],
					 i % 16 ? expected(4096 * i + 5) : 0xee);
		}
	}
	close_disk();
}

static void pinned_memory(void **state)
{
	open_disk(".", false, true);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 512; i++) {
			struct iovec iov = { memory + 4096 * i, 4096 };
			struct disk_io io = rw(DISK_READ, 4096 * (511 - i), &iov, 1);

			assert_int_equal(run(&io), 0);
			assert_int_equal(memory[4096 * i + 9], expected(4096 * (511 - i) + 9));
			io = rw(DISK_WRITE, 4096 * (511 - i), &iov, 1);
			assert_int_equal(run(&io), 0);
		}
		if (!backend->ops->pinned(backend)) {
			print_message("this kernel or user cannot register memory\n");
			break;
		}
		/* other pages at the same place: what was registered must not be used */
		backend->ops->memory_changed(backend, 0);
		assert_int_equal(backend->ops->pinned(backend), 0);
		assert_int_equal(madvise(memory, SIZE, MADV_DONTNEED), 0);
	}
	close_disk();
}

/* Threads of this process in which the kernel works for its rings. */
static unsigned kernel_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *task;
	unsigned n = 0;

	assert_non_null(tasks);
	while ((task = readdir(tasks))) {
		char name[300], comm[32] = "";
		FILE *f;

		snprintf(name, sizeof(name), "/proc/self/task/%s/comm", task->d_name);
		f = fopen(name, "re");
		if (!f)
			continue;
		n += fgets(comm, sizeof(comm), f) && !strncmp(comm, "iou-wrk", 7);
		fclose(f);
	}
	closedir(tasks);
	return n;
}

/* What the kernel would copy for long is not copied while the core waits. */
static void long_requests_go_to_a_thread(void **state)
{
	int status;
	pid_t child;

	fflush(NULL);
	/* no thread is left of other tests */
	child = fork();
	if (!child) {
		struct iovec iov = { memory, SIZE };
		struct disk_io io = rw(DISK_READ, 0, &iov, 1);
		int err;

		open_disk(".", true, false);
		err = backend->ops->start(backend, 0, &io);
		/* in memory, and done in parts: nothing to see here */
		if (err != DISK_PENDING)
			goto out;
		err = kernel_threads();
		backend->ops->submit(backend, 0);
		wait_for(1);
		err |= io.result || memory[SIZE - 1] != expected(SIZE - 1) || !kernel_threads();
	out:
		close_disk();
		_exit(err && err != DISK_MORE);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* A loop device of 4096-byte blocks on the file; false: there can be none here. */
static bool open_loop(int *loop, char *name, size_t room)
{
	struct loop_config config = { .fd = (uint32_t)file, .block_size = 4096 };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), n;

	*loop = -1;
	for (unsigned tries = 0; control >= 0 && *loop < 0 && tries < 8; tries++) {
		n = ioctl(control, LOOP_CTL_GET_FREE);
		if (n < 0)
			break;
		snprintf(name, room, "/dev/loop%d", n);
		*loop = open(name, O_RDWR | O_CLOEXEC);
		if (*loop >= 0 && ioctl(*loop, LOOP_CONFIGURE, &config) < 0) {
			close(*loop);
			*loop = -1;
		}
	}
	if (control >= 0)
		close(control);
	return *loop >= 0;
}

/* A device whose blocks are larger than the guest's sectors. */
static void larger_blocks(void **state)
{
	static struct disk_io ios[64];
	static struct iovec iov[64];
	static const struct {
		enum disk_op op;
		uint64_t offset, bytes;
		bool unmap;
	} ranges[] = {
		{ DISK_ZEROES, 512, 512, false },
		{ DISK_ZEROES, 12288 + 512, 8192, false },
		{ DISK_ZEROES, 65536, 4096, true },
		{ DISK_ZEROES, 1u << 20, (256u << 10) + 4608, true },
		{ DISK_DISCARD, 512, 512, false },
	};
	char name[32];
	struct disk_config config = { .name = "d", .backend = "file", .path = name, .queues = 1 };
	struct disk_backend *of_file;
	struct iovec all = { memory, SIZE };
	uint8_t *wanted = malloc(SIZE);
	struct disk_io io;
	int loop;

	open_disk(".", true, false);
	if (!open_loop(&loop, name, sizeof(name))) {
		free(wanted);
		close_disk();
		skip();
	}
	of_file = backend;
	backend = disk_file_new(&config);
	assert_non_null(backend);
	assert_int_equal(backend->discard_bytes, 4096);
	for (unsigned i = 0; i < SIZE; i++)
		wanted[i] = expected(i);
	for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
		io = (struct disk_io){ .op = ranges[i].op,
				       .offset = ranges[i].offset,
				       .bytes = ranges[i].bytes,
				       .unmap = ranges[i].unmap };
		assert_int_equal(run(&io), 0);
		if (io.op == DISK_ZEROES)
			memset(wanted + ranges[i].offset, 0, ranges[i].bytes);
	}
	/* sectors of the same blocks at once */
	for (unsigned i = 0; i < 64; i++) {
		uint64_t offset = 512 * (uint64_t)(100 + i);

		memset(memory + 512 * i, (int)(0x80 + i), 512);
		memset(wanted + offset, (int)(0x80 + i), 512);
		iov[i] = (struct iovec){ memory + 512 * i, 512 };
		ios[i] = rw(DISK_WRITE, offset, &iov[i], 1);
		assert_int_equal(backend->ops->start(backend, 0, &ios[i]), DISK_PENDING);
	}
	backend->ops->submit(backend, 0);
	wait_for(64);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(ios[i].result, 0);
	memset(memory, 0xee, SIZE);
	io = rw(DISK_READ, 0, &all, 1);
	assert_int_equal(run(&io), 0);
	assert_memory_equal(memory, wanted, SIZE);
	memset(memory, 0xee, SIZE);
	io = rw(DISK_READ, 512, &(struct iovec){ memory + 7, SIZE - 1024 }, 1);
	assert_int_equal(run(&io), 0);
	assert_memory_equal(memory + 7, wanted + 512, SIZE - 1024);
	backend->ops->free(backend);
	backend = of_file;
	assert_int_equal(ioctl(loop, LOOP_CLR_FD), 0);
	close(loop);
	free(wanted);
	close_disk();
}

/* Started on @queue; the kernel has time to do what it was asked for, and nobody looks yet. */
static void begin(unsigned queue, struct disk_io *io)
{
	assert_int_equal(backend->ops->start(backend, queue, io), DISK_PENDING);
	backend->ops->submit(backend, queue);
	usleep(100000);
}

/* In the order of the file, as the guest sees it. */
static void check_sectors(const uint8_t *values, unsigned n)
{
	uint8_t sectors[16 * 512];

	assert_int_equal(pread(file, sectors, n * 512, 0), n * 512);
	for (unsigned i = 0; i < n * 512; i++)
		assert_int_equal(sectors[i], values[i / 512]);
}

static void fill_sectors(uint8_t value)
{
	memset(memory, value, 16 * 512);
	assert_int_equal(pwrite(file, memory, 16 * 512, 0), 16 * 512);
	assert_int_equal(fsync(file), 0);
}

/* Beside a write of another sector in a block of which both are a part. */
static void zeroes_beside_a_write(void **state)
{
	static const struct {
		unsigned first, n, write;
		uint8_t after[16];
	} cases[] = {
		{ 0, 4, 4, { 0, 0, 0, 0, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 } },
		{ 5, 1, 4, { 1, 1, 1, 1, 2, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 } },
		{ 3, 7, 0, { 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1 } },
		{ 0, 9, 15, { 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2 } },
	};

	for (unsigned i = 0; i < 4 * ARRAY_SIZE(cases); i++) {
		const unsigned k = i / 4;
		struct iovec iov = { memory, 512 };
		struct disk_io write = rw(DISK_WRITE, 512 * cases[k].write, &iov, 1);
		struct disk_io zeroes = { .op = DISK_ZEROES,
					  .offset = 512 * cases[k].first,
					  .bytes = 512 * cases[k].n,
					  .unmap = i & 1,
					  .durable = i & 2 };

		no_alignment = true;
		open_disk(".", false, false);
		no_alignment = false;
		fill_sectors(1);
		memset(memory, 2, 512);
		begin(0, &write); /* by now it has read the block */
		begin(1, &zeroes);
		wait_for(1);
		wait_on(1, 1);
		assert_int_equal(write.result, 0);
		assert_int_equal(zeroes.result, 0);
		check_sectors(cases[k].after, 16);
		close_disk();
	}
}

/* What cannot go past the cache after all goes by it: several that find out at once, too. */
static void direct_does_not_work(void **state)
{
	struct disk_io ios[8];
	struct iovec iov[8];

	for (unsigned op = 0; op < 2; op++) {
		for (unsigned kind = 0; kind < 2; kind++) {
			no_alignment = kind;
			open_disk(".", false, false);
			no_alignment = false;
			refuses_direct = true;
			for (unsigned i = 0; i < 8; i++) {
				iov[i] = (struct iovec){ memory + 8192 * i + 1, 4096 };
				for (unsigned k = 0; op && k < 4096; k++)
					memory[8192 * i + 1 + k] = expected(4096 * i + k);
				ios[i] = rw(op ? DISK_WRITE : DISK_READ, 4096 * i, &iov[i], 1);
				assert_int_equal(backend->ops->start(backend, i % 2, &ios[i]),
						 DISK_PENDING);
			}
			backend->ops->submit(backend, 0);
			backend->ops->submit(backend, 1);
			wait_on(0, 4);
			wait_on(1, 4);
			refuses_direct = false;
			for (unsigned i = 0; i < 8; i++) {
				assert_int_equal(ios[i].result, 0);
				for (unsigned k = 0; !op && k < 4096; k++)
					assert_int_equal(memory[8192 * i + 1 + k],
							 expected(4096 * i + k));
			}
			assert_int_equal(pread(file, memory, 8 * 4096, 0), 8 * 4096);
			for (unsigned i = 0; i < 8 * 4096; i++)
				assert_int_equal(memory[i], expected(i));
			close_disk();
		}
	}
}

/* That is found out while a sector is written, whose block was read already, past the cache or by
 * it: others write there without a lock from then on. */
static void direct_stops_to_work(void **state)
{
	static const uint8_t after[] = { 1, 1, 1, 3, 2, 1, 1, 1, 1 };
	static const uint8_t zeroed[] = { 1, 1, 1, 3, 0, 1, 1, 1, 1 };

	int direct;

	open_disk(".", false, false);
	direct = open(path, O_RDONLY | O_DIRECT);
	close_disk();
	if (direct < 0)
		skip();
	close(direct);
	for (unsigned i = 0; i < 4; i++) {
		bool by_cache = i & 1, zeroes = i & 2;
		struct iovec iov = { memory, 512 }, other_iov = { memory + 4096, 512 };
		struct iovec far_iov = { memory + 8192, 4096 };
		struct disk_io write = rw(DISK_WRITE, 512 * 4, &iov, 1);
		struct disk_io other = rw(DISK_WRITE, 512 * 3, &other_iov, 1);
		struct disk_io far = rw(DISK_READ, 1u << 20, &far_iov, 1);

		no_alignment = true;
		open_disk(".", false, false);
		no_alignment = false;
		fill_sectors(1);
		memset(memory, 2, 512);
		memset(memory + 4096, 3, 512);
		if (zeroes) {
			if (by_cache) {
				close_disk();
				continue; /* the file does it, or it is written as it is */
			}
			write = (struct disk_io){ .op = DISK_ZEROES,
						  .offset = 512 * 4,
						  .bytes = 512 };
		}
		refuses_direct = by_cache;
		reads_by_cache = 0;
		begin(0, &write);
		while (by_cache && !reads_by_cache) {
			struct disk_io *none;

			assert_int_equal(backend->ops->reap(backend, 0, &none, 1), 0);
			backend->ops->submit(backend, 0);
			usleep(100000);
		}
		refuses_direct = true;
		begin(1, &far);
		wait_on(1, 1);
		assert_int_equal(far.result, 0);
		begin(1, &other);
		wait_on(1, 1);
		assert_int_equal(other.result, 0);
		wait_for(1);
		refuses_direct = false;
		assert_int_equal(write.result, 0);
		check_sectors(zeroes ? zeroed : after, ARRAY_SIZE(after));
		close_disk();
	}
}

static int setup(void **state)
{
	memory = mmap(NULL, SIZE + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		      0);
	return memory == MAP_FAILED;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aligned_or_not),
		cmocka_unit_test(nothing_goes_through_the_cache),
		cmocka_unit_test(waits_for_a_buffer),
		cmocka_unit_test(last_sector),
		cmocka_unit_test(beyond_the_end),
		cmocka_unit_test(zeroes_and_discard),
		cmocka_unit_test(full_ring),
		cmocka_unit_test(pinned_memory),
		cmocka_unit_test(larger_blocks),
		cmocka_unit_test(zeroes_beside_a_write),
		cmocka_unit_test(direct_does_not_work),
		cmocka_unit_test(direct_stops_to_work),
		cmocka_unit_test(long_requests_go_to_a_thread),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
