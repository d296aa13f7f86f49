/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What one poll of a disk's queue does, with a guest that asks for as much as it can: no more than
 * the turn's budget and a part of one request, whatever the requests are, and all of it in the end.
 */
#include "client/virtio_driver.h"
#include "disk/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define MEM	     (4u << 20) /* the guest's: the ring, headers, and the last MiB for data */
#define DATA	     (3u << 20)
#define DATA_BYTES   (1u << 20)
#define REQUESTS     0x200000u
#define NUM	     256
#define SIZE	     (64u << 20) /* the disk's */
#define INDIRECT     (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define BUDGET_BYTES (256u * 1024)

static uint8_t *mem;
static int memfd, image = -1;
static struct memory_space *space;
static struct disk *disk;
static struct io_queue *queue;
static struct virtqueue *vq;
static struct vdrv ring;
static const char *place = "/dev/shm"; /* of the image */
static char path[64];
static uint64_t size = SIZE;	      /* the next one's */
static uint8_t region[64 + NUM * 16]; /* in flight */
static _Alignas(CACHE_LINE) uint8_t scratch[IO_SCRATCH_BYTES];

static void start_queue(void)
{
	struct virtq_config config = { .num = NUM,
				       .desc = ring.desc_addr,
				       .avail = ring.avail_addr,
				       .used = ring.used_addr,
				       .features = INDIRECT };

	assert_int_equal(virtqueue_inflight_set(vq, region, false, NUM), 0);
	assert_int_equal(virtqueue_start(vq, &config), 0);
	virtqueue_enable(vq, true);
}

static void open_disk(const char *backend)
{
	struct disk_config config = {
		.name = "d", .backend = backend, .path = path, .size_bytes = size, .queues = 1
	};
	unsigned n;

	memset(region, 0, sizeof(region));
	memfd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(memfd, MEM), 0);
	mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	space = memory_space_new("vm");
	assert_int_equal(memory_space_map(space, 0, MEM, MEMORY_READ | MEMORY_WRITE, memfd, 0), 0);
	if (!strcmp(backend, "file")) {
		snprintf(path, sizeof(path), "%s/exitless-blk-XXXXXX", place);
		image = mkstemp(path);
		assert_int_equal(ftruncate(image, SIZE), 0);
	}
	disk = disk_new(&config, space);
	assert_non_null(disk);
	queue = disk_queues(disk, &n)[0];
	vq = disk_device(disk)->queues[0];
	assert_int_equal(vdrv_init(&ring, mem, 0, NUM, INDIRECT), 0);
	start_queue();
}

static void close_disk(void)
{
	virtqueue_stop(vq);
	disk_free(disk);
	memory_space_free(space);
	vdrv_done(&ring);
	munmap(mem, MEM);
	close(memfd);
	if (image >= 0) {
		close(image);
		unlink(path);
	}
	image = -1;
}

static uint8_t *request(unsigned i)
{
	return mem + REQUESTS + i * 64;
}

/* Request @i, of @n times the same @len bytes of data. */
static void ask(unsigned i, uint32_t type, uint64_t sector, unsigned n, uint32_t len)
{
	bool in = type == VIRTIO_BLK_T_IN;
	struct virtio_blk_outhdr hdr = { .type = type, .sector = sector };
	uint64_t at = REQUESTS + i * 64;
	struct vdrv_buf bufs[VDRV_INDIRECT_MAX];

	memcpy(request(i), &hdr, sizeof(hdr));
	request(i)[16] = 0xee;
	bufs[0] = (struct vdrv_buf){ at, sizeof(hdr), false };
	for (unsigned k = 1; k <= n; k++)
		bufs[k] = (struct vdrv_buf){ DATA, len, in };
	bufs[n + 1] = (struct vdrv_buf){ at + 16, 1, true };
	assert_int_equal(vdrv_add(&ring, bufs, n + 2, request(i), true), 0);
	vdrv_publish(&ring);
}

/* All of the disk, by discard or write zeroes. */
static void ask_range(unsigned i, uint32_t type, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes range = { 0, SIZE / 512, flags };
	struct virtio_blk_outhdr hdr = { .type = type };
	uint64_t at = REQUESTS + i * 64;
	struct vdrv_buf bufs[] = { { at, sizeof(hdr), false },
				   { at + 32, sizeof(range), false },
				   { at + 16, 1, true } };

	memcpy(request(i), &hdr, sizeof(hdr));
	memcpy(request(i) + 32, &range, sizeof(range));
	request(i)[16] = 0xee;
	assert_int_equal(vdrv_add(&ring, bufs, 3, request(i), true), 0);
	vdrv_publish(&ring);
}

static struct io_work poll_once(void)
{
	static struct io_turn turn;
	struct io_work work = { 0 };

	io_turn_init(&turn, scratch);
	turn.budget_packets = 64;
	turn.budget_bytes = BUDGET_BYTES;
	queue->ops->poll(queue, &turn, &work);
	return work;
}

static unsigned n_polls; /* of the last poll_to_the_end(), that did more than to look */

/* Until nothing is left to do; none of the polls does more than @most bytes. Returns how many bytes
 * in all. */
static uint64_t poll_to_the_end(uint64_t most)
{
	struct io_work work;
	uint64_t bytes = 0;

	n_polls = 0;
	do {
		work = poll_once();
		n_polls += work.spent;
		assert_in_range(work.bytes, 0, most);
		bytes += work.bytes;
		assert_true(work.more || !vq->in_flight);
	} while (work.more);
	return bytes;
}

static void all_ok(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t len;
		uint8_t *done = vdrv_get(&ring, &len);

		assert_non_null(done);
		assert_int_equal(done[16], VIRTIO_BLK_S_OK);
	}
	assert_int_equal(ring.n_free, NUM);
}

static const char *const backends[] = { "malloc", "file" };

/* Reads and writes of much more than the guest's memory, as many as there can be. */
static void long_requests(void **state)
{
	const unsigned n = 24, pieces = 30, behind = 6;
	uint32_t len;

	for (unsigned b = 0; b < ARRAY_SIZE(backends); b++) {
		uint64_t bytes = 0;

		open_disk(backends[b]);
		memset(mem + DATA, 0x5a, DATA_BYTES);
		ask(0, VIRTIO_BLK_T_OUT, 0, pieces, DATA_BYTES);
		for (unsigned i = 1; i <= n; i++) {
			if (i == behind)
				ask(i, VIRTIO_BLK_T_IN, 40000, 1, 512);
			else
				ask(i, i % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, i, pieces,
				    DATA_BYTES);
		}
		for (unsigned i = 0; i <= behind; i++) {
			struct io_work work = poll_once();

			assert_true(work.more);
			assert_in_range(work.bytes, 1, BUDGET_BYTES + DISK_PART_BYTES);
			bytes += work.bytes;
		}
		/* one that came behind them does not wait for their end */
		assert_ptr_equal(vdrv_get(&ring, &len), request(behind));
		assert_int_equal(len, 513);
		/* what a stop would wait for */
		assert_in_range(vq->in_flight, behind, 15);
		bytes += poll_to_the_end(BUDGET_BYTES + DISK_PART_BYTES);
		assert_int_equal(bytes, (uint64_t)n * (pieces * DATA_BYTES + 17) + 512 + 17);
		all_ok(n);
		assert_int_equal(mem[DATA + 12345], 0x5a);
		close_disk();
	}
}

/* The whole disk, again and again. */
static void ranges(void **state)
{
	static const struct {
		uint32_t type, flags;
	} kinds[] = {
		{ VIRTIO_BLK_T_DISCARD, 0 },
		{ VIRTIO_BLK_T_WRITE_ZEROES, 0 },
		{ VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP },
	};
	const unsigned n = 20;

	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		open_disk("malloc");
		memset(mem + DATA, 0x5a, 512);
		ask(0, VIRTIO_BLK_T_OUT, 4711, 1, 512);
		poll_to_the_end(BUDGET_BYTES);
		all_ok(1);
		for (unsigned i = 0; i < n; i++)
			ask_range(i, kinds[k].type, kinds[k].flags);
		/* no bytes that a rate is for, but time that is charged, a part at each poll;
		 * memory goes quicker than it is cleared */
		assert_int_equal(poll_to_the_end(BUDGET_BYTES), n * 33);
		assert_in_range(n_polls, (uint64_t)n * SIZE / (BUDGET_BYTES + 8 * DISK_PART_BYTES),
				(uint64_t)n * SIZE / DISK_PART_BYTES + n);
		all_ok(n);
		ask(0, VIRTIO_BLK_T_IN, 4711, 1, 512);
		poll_to_the_end(BUDGET_BYTES);
		all_ok(1);
		for (unsigned i = 0; i < 512; i++)
			assert_int_equal(mem[DATA + i], 0);
		close_disk();
	}
}

/* A queue that is drained comes to the end of them, one that breaks forgets them, and one that is
 * suspended leaves them for its next start. */
static void ends_in_between(void **state)
{
	for (unsigned how = 0; how < 3; how++) {
		open_disk("malloc");
		for (unsigned i = 0; i < 4; i++)
			ask(i, VIRTIO_BLK_T_IN, 0, 30, DATA_BYTES);
		for (unsigned i = 0; i < 4; i++)
			assert_true(poll_once().more);
		assert_int_equal(vq->in_flight, 4);
		if (how == 0) {
			assert_false(virtqueue_drain(vq));
			ask(4, VIRTIO_BLK_T_IN, 0, 1, 512);
			poll_to_the_end(BUDGET_BYTES + DISK_PART_BYTES);
			assert_int_equal(vq->in_flight, 0);
			virtqueue_resume(vq);
			poll_to_the_end(BUDGET_BYTES);
			all_ok(5);
		} else if (how == 1) {
			virtqueue_break(vq);
			assert_false(poll_once().more);
			assert_int_equal(vq->in_flight, 0);
			assert_int_equal(ring.used[1], 0);
		} else {
			assert_false(virtqueue_suspend(vq));
			poll_once();
			assert_int_equal(vq->in_flight, 0);
			assert_int_equal(ring.used[1], 0);
			/* left for the next start */
			virtqueue_stop(vq);
			start_queue();
			poll_to_the_end(BUDGET_BYTES + DISK_PART_BYTES);
			all_ok(4);
		}
		close_disk();
	}
}

/* Made smaller while it is read. */
static void cut_off(void **state)
{
	uint32_t len;

	open_disk("malloc");
	ask(0, VIRTIO_BLK_T_IN, 0, 30, DATA_BYTES);
	assert_true(poll_once().more);
	assert_int_equal(disk_resize(disk, 1u << 20), 0);
	poll_to_the_end(BUDGET_BYTES);
	assert_ptr_equal(vdrv_get(&ring, &len), request(0));
	assert_int_equal(request(0)[16], VIRTIO_BLK_S_IOERR);
	close_disk();
}

/* A size that is no whole number of blocks is what it is when the disk is made. */
static void blocks_in_part(void **state)
{
	struct disk_config config = { .name = "d",
				      .backend = "malloc",
				      .size_bytes = SIZE + 512,
				      .block_bytes = 4096,
				      .queues = 1 };

	space = memory_space_new("vm");
	disk = disk_new(&config, space);
	assert_non_null(disk);
	assert_int_equal(disk_size(disk), SIZE);
	assert_int_equal(disk_resize(disk, SIZE / 2 + 1024), 0);
	assert_int_equal(disk_size(disk), SIZE / 2);
	assert_int_equal(disk_resize(disk, SIZE / 2 + 1024), 0);
	assert_int_equal(disk_resize(disk, 512), -EINVAL);
	assert_int_equal(disk_size(disk), SIZE / 2);
	disk_free(disk);
	memory_space_free(space);
}

/* Once, however late they end. */
static void counted_once(void **state)
{
	const unsigned n = 20;

	place = ".";
	open_disk("file");
	place = "/dev/shm";
	for (unsigned i = 0; i < n; i++) {
		unsigned packets = 0, ended = 0;
		uint32_t len;

		ask(i, VIRTIO_BLK_T_OUT, 8 * i, 1, 4096);
		do {
			struct io_work work = poll_once();

			packets += work.packets;
			ended += work.ended;
		} while (!vdrv_get(&ring, &len));
		assert_int_equal(request(i)[16], VIRTIO_BLK_S_OK);
		assert_int_equal(packets, 1);
		assert_in_range(ended, 0, 1); /* 0: at once */
	}
	close_disk();
}

/* What cannot be done is said so where the driver looks, if that can be reached: it may not look at
 * the length, and the status may be an old one. */
static void no_old_status(void **state)
{
	const uint64_t at = REQUESTS, nowhere = 1ull << 40;
	const unsigned n = 300; /* more than a request may have */
	struct vring_desc *table;
	uint32_t len;

	for (unsigned how = 0; how < 5; how++) {
		struct virtio_blk_outhdr hdr = { .type = VIRTIO_BLK_T_IN };
		/* data, in pieces; the header; and the last of them together with the status */
		struct vdrv_buf bufs[][4] = {
			{ { at, 16, false }, { nowhere, 512, true }, { at + 16, 1, true } },
			{ { nowhere, 16, false }, { DATA, 512, true }, { at + 16, 1, true } },
			{ { at, 16, false }, { nowhere, 512, true }, { at + 9, 8, true } },
			{ { at, 16, false }, { DATA, 512, true }, { nowhere, 1, true } },
		};

		open_disk("malloc");
		memcpy(request(0), &hdr, sizeof(hdr));
		request(0)[16] = VIRTIO_BLK_S_OK;
		if (how < 4) {
			assert_int_equal(vdrv_add(&ring, bufs[how], 3, request(0), how % 2), 0);
		} else {
			assert_int_equal(vdrv_add(&ring, bufs[0], 3, request(0), true), 0);
			table = (struct vring_desc *)(mem + (1u << 20));
			table[0] = (struct vring_desc){ at, 16, VRING_DESC_F_NEXT, 1 };
			for (unsigned i = 1; i <= n; i++)
				table[i] = (struct vring_desc){ DATA, 512,
								VRING_DESC_F_NEXT |
									VRING_DESC_F_WRITE,
								(uint16_t)(i + 1) };
			table[n + 1] = (struct vring_desc){ at + 16, 1, VRING_DESC_F_WRITE, 0 };
			ring.desc[0].addr = 1u << 20;
			ring.desc[0].len = (n + 2) * 16;
		}
		vdrv_publish(&ring);
		poll_once();
		assert_int_equal(vq->in_flight, 0);
		if (how == 3) {
			/* nothing can be said */
			assert_true(vq->broken);
			assert_null(vdrv_get(&ring, &len));
		} else {
			assert_false(vq->broken);
			assert_ptr_equal(vdrv_get(&ring, &len), request(0));
			assert_int_equal(len, 1);
			assert_int_equal(request(0)[16], VIRTIO_BLK_S_IOERR);
		}
		close_disk();
	}
}

/* One whose image another daemon may have; no ring. */
static struct virtio_device *open_shared(void)
{
	struct disk_config config = {
		.name = "d", .backend = "file", .path = path, .queues = 1, .shared = true
	};

	snprintf(path, sizeof(path), "%s/exitless-blk-XXXXXX", place);
	image = mkstemp(path);
	assert_int_equal(ftruncate(image, SIZE), 0);
	space = memory_space_new("vm");
	disk = disk_new(&config, space);
	assert_non_null(disk);
	return disk_device(disk);
}

static void close_shared(void)
{
	disk_free(disk);
	memory_space_free(space);
	close(image);
	unlink(path);
	image = -1;
}

static int n_changes;

static void changed(struct virtio_device *dev, void *arg)
{
	n_changes++;
}

/* An image that another daemon made larger, or smaller, while it had it. */
static void size_when_used(void **state)
{
	struct virtio_device *dev = open_shared();

	dev->config_changed = changed;
	n_changes = 0;
	assert_int_equal(dev->ops->use(dev, true), 0);
	assert_int_equal(n_changes, 0);
	assert_int_equal(dev->ops->use(dev, false), 0);
	assert_int_equal(ftruncate(image, 2 * SIZE), 0);
	assert_int_equal(disk_size(disk), SIZE);
	assert_int_equal(dev->ops->use(dev, true), 0);
	assert_int_equal(disk_size(disk), 2 * SIZE);
	assert_int_equal(n_changes, 1);
	assert_int_equal(dev->ops->use(dev, false), 0);
	assert_int_equal(ftruncate(image, SIZE), 0);
	assert_int_equal(dev->ops->use(dev, true), 0);
	assert_int_equal(disk_size(disk), SIZE);
	assert_int_equal(n_changes, 2);
	close_shared();
}

/* A client can use it and let it go as often as it likes. */
static void says_so_a_few_times(void **state)
{
	int log = memfd_create("log", MFD_CLOEXEC), err = dup(STDERR_FILENO);
	struct virtio_device *dev;
	unsigned lines = 0;
	char c;

	dev = open_shared();
	assert_int_equal(ftruncate(image, 0), 0);
	assert_true(log >= 0 && err >= 0);
	dup2(log, STDERR_FILENO);
	for (unsigned i = 0; i < 100; i++) {
		dev->ops->use(dev, true);
		dev->ops->use(dev, false);
	}
	dup2(err, STDERR_FILENO);
	assert_int_equal(lseek(log, 0, SEEK_SET), 0);
	while (read(log, &c, 1) == 1)
		lines += c == '\n';
	assert_in_range(lines, 1, 10);
	close_shared();
	close(log);
	close(err);
}

/* More than the ring has a length for. */
static void logs_long_reads(void **state)
{
	const uint64_t half = 2ull << 30, at = 1ull << 32, pages = 2 * half / 4096 + 1;
	const uint64_t log_bytes = (at + 3 * half) / 4096 / 8;
	struct virtio_blk_outhdr hdr = { .type = VIRTIO_BLK_T_IN };
	struct vdrv_buf bufs[] = { { REQUESTS, sizeof(hdr), false },
				   { at, (uint32_t)half, true },
				   { at + half, (uint32_t)half, true },
				   { at + 2 * half, 512, true },
				   { REQUESTS + 16, 1, true } };
	int log = memfd_create("log", MFD_CLOEXEC), large = memfd_create("large", MFD_CLOEXEC);
	uint64_t marked = 0;
	uint8_t *bits;

	size = 3 * half;
	open_disk("null");
	size = SIZE;
	assert_int_equal(ftruncate(large, (off_t)(3 * half)), 0);
	assert_int_equal(ftruncate(log, (off_t)log_bytes), 0);
	bits = mmap(NULL, log_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, log, 0);
	assert_int_equal(
		memory_space_map(space, at, 3 * half, MEMORY_READ | MEMORY_WRITE, large, 0), 0);
	assert_int_equal(memory_space_log(space, log, 0, log_bytes), 0);
	virtqueue_log(vq, true, false);
	memcpy(request(0), &hdr, sizeof(hdr));
	assert_int_equal(vdrv_add(&ring, bufs, 5, request(0), true), 0);
	vdrv_publish(&ring);
	poll_once();
	all_ok(1);
	for (uint64_t i = 0; i < log_bytes / 8; i++)
		marked += (uint64_t)__builtin_popcountll(((uint64_t *)(void *)bits)[i]);
	assert_int_equal(marked, pages + 1); /* and the status */
	/* one that is refused writes its status alone, far behind the data or not */
	memset(bits, 0, log_bytes);
	hdr.sector = UINT32_MAX;
	memcpy(request(0), &hdr, sizeof(hdr));
	assert_int_equal(vdrv_add(&ring, bufs, 3, request(0), true), 0);
	vdrv_publish(&ring);
	poll_once();
	marked = 0;
	for (uint64_t i = 0; i < log_bytes / 8; i++)
		marked += (uint64_t)__builtin_popcountll(((uint64_t *)(void *)bits)[i]);
	assert_int_equal(marked, 2);
	close_disk();
	munmap(bits, log_bytes);
	close(log);
	close(large);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(long_requests),   cmocka_unit_test(ranges),
		cmocka_unit_test(ends_in_between), cmocka_unit_test(cut_off),
		cmocka_unit_test(blocks_in_part),  cmocka_unit_test(counted_once),
		cmocka_unit_test(no_old_status),   cmocka_unit_test(logs_long_reads),
		cmocka_unit_test(size_when_used),  cmocka_unit_test(says_so_a_few_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
