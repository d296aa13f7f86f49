/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk in a process of its own, and a guest that drives it: every kind of request on every kind
 * of ring and backend, what only a hostile guest sends, and kill -9 in the middle of it.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "client/vhost_user_client.h"
#include "disk/disk.h"
#include "transport/vhost_user.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/virtio_blk.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SIZE	 (8u << 20)
#define MEM	 (16u << 20)
#define SLOT	 0x400000u /* requests: 64 KiB each from here on */
#define NUM	 64
#define PACKED	 (1ull << VIRTIO_F_RING_PACKED)
#define INDIRECT (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define V1	 (1ull << VIRTIO_F_VERSION_1)
#define F(name)	 (1ull << VIRTIO_BLK_F_##name)
#define PROTOCOL (1ull << 0 | 1ull << 3 | 1ull << 9 | 1ull << 12 | 1ull << 13 | 1ull << 15)

static char directory[] = "/tmp/exitless-blk-XXXXXX", path[64], image[64];
static pid_t server;
static struct vhost_client c;
static struct vdrv ring;
static uint8_t *mem;
static int memfd, kick, call, inflight = -1;
static uint64_t features;
static bool pin, shared, cached;
static uint64_t protocol = PROTOCOL;

/* ---- the daemon's half ------------------------------------------------------------------- */

static void serve(const char *backend, bool read_only)
{
	struct loop *loop = loop_new();
	struct disk_config config = { .name = "vm/disk",
				      .backend = backend,
				      .path = image,
				      .size_bytes = SIZE,
				      .queues = 2,
				      .read_only = read_only,
				      .shared = shared,
				      .pin_memory = pin,
				      .cached = cached,
				      .loop = loop,
				      .serial = "a serial of 20 chars" };
	struct vhost_user_config vhost = { .path = path, .owner = (uid_t)-1, .group = (gid_t)-1 };
	struct io_core_params params = { .cpu = -1 };
	struct io_core *core = io_core_new("io0", &params);
	struct memory_space *space = memory_space_new("vm");
	struct disk *disk = disk_new(&config, space);
	struct io_queue *const *queues;
	unsigned n;

	memory_faults_init();
	if (!disk) {
		perror("disk_new");
		_exit(1);
	}
	queues = disk_queues(disk, &n);
	for (unsigned i = 0; i < n; i++)
		io_queue_add(core, queues[i]);
	if (!vhost_user_server_new(loop, &vhost, disk_device(disk)))
		_exit(1);
	loop_run(loop);
	_exit(0);
}

static void server_start(const char *backend, bool read_only)
{
	fflush(NULL);
	server = fork();
	if (!server) {
		/* not left behind by a test that is killed */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(backend, read_only);
	}
}

static void server_kill(void)
{
	if (server <= 0)
		return;
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	server = 0;
}

/* ---- the guest's half -------------------------------------------------------------------- */

static void guest_memory(void)
{
	memfd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(memfd, MEM), 0);
	mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	kick = eventfd(0, EFD_NONBLOCK);
	call = eventfd(0, EFD_NONBLOCK);
}

/* The server has just been forked. */
static void wait_connected(void)
{
	unsigned tries = 60; /* of a second */

	while (vhost_connect(&c, path))
		assert_true(--tries);
}

static void attach(uint32_t base)
{
	/* many regions, so that requests cross their borders */
	wait_connected();
	assert_int_equal(vhost_negotiate(&c, features, protocol), 0);
	assert_int_equal(c.features & features, features);
	for (uint64_t at = 0; at < MEM;) {
		uint64_t size = at < SLOT ? SLOT : 0x10000;
		struct vhost_client_region region = { at, size, at, at };

		assert_int_equal(vhost_add_region(&c, &region, memfd), 0);
		at += size;
	}
	if (inflight >= 0) {
		struct {
			uint64_t size, offset;
			uint16_t queues, num;
		} m = { 0, 0, 1, NUM };
		struct vhost_header header;
		uint32_t len = 20;
		int fd;

		m.size = (uint64_t)lseek(inflight, 0, SEEK_END);
		if (!m.size) {
			close(inflight);
			assert_int_equal(vhost_send(&c, VHOST_GET_INFLIGHT_FD, 0, &m, 20, NULL, 0),
					 0);
			assert_int_equal(vhost_receive(&c, &header, &m, &len, &fd), 0);
			assert_int_equal(len, 20);
			assert_true(fd >= 0);
			inflight = fd;
		}
		assert_int_equal(vhost_request(&c, VHOST_SET_INFLIGHT_FD, &m, 20, inflight), 0);
	}
	assert_int_equal(vhost_ring_start(&c, 0, &ring, base, kick, call), 0);
}

static void guest_start(uint64_t wanted)
{
	features = wanted;
	guest_memory();
	assert_int_equal(vdrv_init(&ring, mem, 0, NUM, features), 0);
	vdrv_notifications(&ring, true);
	attach(features & PACKED ? 0x80008000u : 0);
}

static void guest_stop(void)
{
	vhost_close(&c);
	vdrv_done(&ring);
	munmap(mem, MEM);
	close(memfd);
	close(kick);
	close(call);
}

static uint8_t *slot(unsigned i)
{
	return mem + SLOT + i * 0x10000;
}

/* Header at the slot's start, status behind, data from 64 on. */
static void submit(unsigned i, uint32_t type, uint64_t sector, uint32_t len, bool in,
		   uint32_t piece)
{
	uint64_t at = SLOT + i * 0x10000ull;
	struct virtio_blk_outhdr hdr = { .type = type, .sector = sector };
	struct vdrv_buf bufs[VDRV_INDIRECT_MAX];
	unsigned n = 0;

	memcpy(slot(i), &hdr, sizeof(hdr));
	slot(i)[32] = 0xee;
	bufs[n++] = (struct vdrv_buf){ at, 16, false };
	for (uint32_t done = 0; done < len;) {
		uint32_t here = MIN(piece, len - done);

		bufs[n++] = (struct vdrv_buf){ at + 512 + done, here, in };
		done += here;
	}
	bufs[n++] = (struct vdrv_buf){ at + 32, 1, true };
	assert_int_equal(vdrv_add(&ring, bufs, n, slot(i), features & INDIRECT), 0);
	if (vdrv_publish(&ring))
		assert_int_equal(write(kick, &(uint64_t){ 1 }, 8), 8);
}

/* What was used next. A server that ended, or does nothing for a minute, is a failure. */
static uint8_t *wait_used(uint32_t *len)
{
	uint64_t until = time_now_ns() + 60 * NS_PER_S;
	uint8_t *done = vdrv_get(&ring, len);

	while (!done) {
		if (waitpid(server, NULL, WNOHANG)) {
			server = 0;
			fail_msg("the server ended");
		}
		assert_true(time_now_ns() < until);
		usleep(10);
		done = vdrv_get(&ring, len);
	}
	return done;
}

static unsigned finish(void)
{
	uint32_t len;
	uint8_t *done = wait_used(&len);

	assert_true(len >= 1 || done[32] == 0xee);
	return (unsigned)(done - mem - SLOT) / 0x10000;
}

static uint8_t request(uint32_t type, uint64_t sector, uint32_t len, bool in)
{
	submit(0, type, sector, len, in, 4096);
	assert_int_equal(finish(), 0);
	return slot(0)[32];
}

static uint8_t *data(unsigned i)
{
	return slot(i) + 512;
}

static void fill(unsigned i, uint32_t len, uint8_t seed)
{
	for (uint32_t k = 0; k < len; k++)
		data(i)[k] = (uint8_t)(k * 13 + seed + k / 512);
}

static void check(unsigned i, uint32_t len, uint8_t seed)
{
	for (uint32_t k = 0; k < len; k++)
		assert_int_equal(data(i)[k], (uint8_t)(k * 13 + seed + k / 512));
}

/* ---- tests ------------------------------------------------------------------------------- */

static void reads_and_writes(const char *backend, uint64_t extra)
{
	struct virtio_blk_discard_write_zeroes range = { .sector = 16, .num_sectors = 8 };

	server_start(backend, false);
	guest_start(V1 | F(FLUSH) | F(DISCARD) | F(WRITE_ZEROES) | extra);
	for (unsigned i = 0; i < 32; i++) {
		uint32_t len = 512 * (1 + i * 5 % 60);

		/* with pieces that are not aligned for O_DIRECT too */
		fill(i, len, (uint8_t)i);
		submit(i, VIRTIO_BLK_T_OUT, 128 * i, len, false,
		       i % 3		     ? 4096
		       : features & INDIRECT ? 1500
					     : 16384);
		assert_int_equal(finish(), i);
		assert_int_equal(slot(i)[32], VIRTIO_BLK_S_OK);
		memset(data(i), 0, len);
	}
	assert_int_equal(request(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	/* many at once, in any order */
	for (unsigned i = 0; i < 16; i++)
		submit(i, VIRTIO_BLK_T_IN, 128 * i, 512 * (1 + i * 5 % 60), true, 32768);
	for (unsigned i = 0; i < 16; i++) {
		unsigned k = finish();

		assert_int_equal(slot(k)[32], VIRTIO_BLK_S_OK);
		check(k, 512 * (1 + k * 5 % 60), (uint8_t)k);
	}
	/* zeroes, and the rest untouched */
	fill(0, 16384, 7);
	assert_int_equal(request(VIRTIO_BLK_T_OUT, 8, 16384, false), VIRTIO_BLK_S_OK);
	memcpy(data(0), &range, sizeof(range));
	assert_int_equal(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false), VIRTIO_BLK_S_OK);
	assert_int_equal(request(VIRTIO_BLK_T_IN, 8, 16384, true), VIRTIO_BLK_S_OK);
	for (unsigned k = 4096; k < 8192; k++)
		assert_int_equal(data(0)[k], 0);
	assert_int_equal(data(0)[8192], (uint8_t)(8192 * 13 + 7 + 16));
	memcpy(data(0), &range, sizeof(range));
	assert_int_equal(request(VIRTIO_BLK_T_DISCARD, 0, 16, false), VIRTIO_BLK_S_OK);
	/* the serial number, whole and cut off */
	assert_int_equal(request(VIRTIO_BLK_T_GET_ID, 0, 20, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(data(0), "a serial of 20 chars", 20);
	memset(data(0), 0, 20);
	assert_int_equal(request(VIRTIO_BLK_T_GET_ID, 0, 8, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(data(0), "a serial\0\0", 10);
	guest_stop();
	server_kill();
}

static void malloc_disk(void **state)
{
	reads_and_writes("malloc", 0);
	reads_and_writes("malloc", PACKED);
	reads_and_writes("malloc", INDIRECT | PACKED);
}

static void file_disk(void **state)
{
	reads_and_writes("file", 0);
	reads_and_writes("file", PACKED | INDIRECT);
	reads_and_writes("file", INDIRECT | (1ull << VIRTIO_RING_F_EVENT_IDX));
	pin = true;
	reads_and_writes("file", 0);
	pin = false;
}

struct config_message {
	uint32_t offset, size, flags;
	struct virtio_blk_config config;
} __attribute__((packed));

static void get_config(struct config_message *m)
{
	struct vhost_header header;
	uint32_t len = sizeof(*m);

	*m = (struct config_message){ 0, sizeof(m->config), 0, { 0 } };
	assert_int_equal(vhost_send(&c, VHOST_GET_CONFIG, 0, m, sizeof(*m), NULL, 0), 0);
	assert_int_equal(vhost_receive(&c, &header, m, &len, NULL), 0);
	assert_int_equal(len, sizeof(*m));
}

static void configuration(void **state)
{
	struct config_message m;

	server_start("null", true);
	guest_start(V1 | F(RO));
	get_config(&m);
	assert_int_equal(m.config.capacity, SIZE / 512);
	assert_int_equal(m.config.num_queues, 2);
	assert_int_equal(m.config.blk_size, 512);
	/* the capacity is not the guest's to write */
	m.offset = 0;
	m.size = 8;
	m.flags = 0;
	assert_int_equal(vhost_request(&c, VHOST_SET_CONFIG, &m, 20, -1), -5);
	m.offset = offsetof(struct virtio_blk_config, wce);
	m.size = 1;
	assert_int_equal(vhost_request(&c, VHOST_SET_CONFIG, &m, 13, -1), 0);
	/* read-only */
	assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, 512, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	assert_int_equal(request(VIRTIO_BLK_T_DISCARD, 0, 16, false), VIRTIO_BLK_S_UNSUPP);
	guest_stop();
	server_kill();
}

/* cachestat(2), since Linux 6.5; newer than some systems' headers. */
#define SYS_CACHESTAT 451

struct cachestat_result {
	uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

static struct cachestat_result look_at_cache(int fd)
{
	struct cachestat_result stats = { 0 };
	uint64_t range[2] = { 0, 0 }; /* all of it */

	if (syscall(SYS_CACHESTAT, fd, range, &stats, 0))
		stats = (struct cachestat_result){ 0 };
	return stats;
}

/* Whether it can be seen here what has been stored: not with an older kernel, nor in memory, nor on
 * layers of file systems, where a file has no pages of its own. */
static bool cache_is_seen(void)
{
	int fd = open(image, O_RDWR | O_CLOEXEC);
	static const char zeroes[4096];
	struct cachestat_result stats;
	struct statfs fs;

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, zeroes, sizeof(zeroes), 0), sizeof(zeroes));
	stats = look_at_cache(fd);
	assert_int_equal(fstatfs(fd, &fs), 0);
	close(fd);
	return stats.cached && fs.f_type != TMPFS_MAGIC;
}

/* Pages of the image that only the host's memory has. */
static uint64_t not_stored(void)
{
	int fd = open(image, O_RDONLY | O_CLOEXEC);
	struct cachestat_result stats;

	assert_true(fd >= 0);
	stats = look_at_cache(fd);
	close(fd);
	return stats.dirty + stats.writeback;
}

static void set_wce(uint8_t on)
{
	struct {
		uint32_t offset, size, flags;
		uint8_t value;
	} __attribute__((packed)) m = { offsetof(struct virtio_blk_config, wce), 1, 0, on };

	assert_int_equal(vhost_request(&c, VHOST_SET_CONFIG, &m, sizeof(m), -1), 0);
}

static uint8_t get_wce(void)
{
	struct config_message m;

	get_config(&m);
	return m.config.wce;
}

static void expect_stored(bool stored)
{
	for (unsigned i = 0;; i++) {
		assert_int_equal(request(VIRTIO_BLK_T_OUT, 8 * (i % 16), 4096, false),
				 VIRTIO_BLK_S_OK);
		if (stored) {
			assert_int_equal(not_stored(), 0);
			if (i == 16)
				return;
		} else {
			/* the host may write it at any time, but not each time at once */
			if (not_stored() > 0)
				return;
			assert_true(i < 10000);
		}
	}
}

/* A write is done when the host has it, if the guest can flush and its write cache is on; otherwise
 * when storage has it (section 5.2.6.2). */
static void what_a_write_means(void **state)
{
	if (!cache_is_seen())
		skip();
	cached = true;
	server_start("file", false);
	guest_start(V1 | F(FLUSH) | F(CONFIG_WCE));
	expect_stored(false);
	assert_int_equal(request(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	assert_int_equal(not_stored(), 0);
	set_wce(0);
	expect_stored(true);
	set_wce(1);
	expect_stored(false);
	guest_stop();
	server_kill();

	server_start("file", false);
	guest_start(V1); /* cannot flush */
	expect_stored(true);
	guest_stop();
	/* nor this one, but it can ask for the cache */
	guest_start(V1 | F(CONFIG_WCE));
	assert_int_equal(get_wce(), 0);
	expect_stored(true);
	set_wce(1);
	assert_int_equal(get_wce(), 1);
	expect_stored(false);
	guest_stop();
	server_kill();
	cached = false;
}

static void hostile(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t sector;
		uint32_t len;
		bool in;
		uint8_t status;
	} bad[] = {
		{ VIRTIO_BLK_T_IN, SIZE / 512, 512, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, SIZE / 512 - 1, 1024, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, UINT64_MAX, 512, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, UINT64_MAX / 512, 512, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_OUT, 1ull << 55, 512, false, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, 0, 511, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_OUT, 0, 513, false, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, 0, 0, true, VIRTIO_BLK_S_OK },
		{ VIRTIO_BLK_T_IN, 0, 512, false, VIRTIO_BLK_S_OK }, /* nothing to write into */
		{ 99, 0, 512, true, VIRTIO_BLK_S_UNSUPP },
		{ VIRTIO_BLK_T_DISCARD, 0, 15, false, VIRTIO_BLK_S_UNSUPP },
		{ VIRTIO_BLK_T_DISCARD, 0, 8192, false, VIRTIO_BLK_S_UNSUPP },
	};
	static const struct virtio_blk_discard_write_zeroes ranges[] = {
		{ 0, UINT32_MAX, 0 },
		{ UINT64_MAX, 1, 0 },
		{ SIZE / 512, 1, 0 },
		{ 0, 1, 2 },
	};
	struct vdrv_buf buf = { SLOT, 16, false };
	uint32_t len;

	server_start("malloc", false);
	guest_start(V1 | F(DISCARD) | F(WRITE_ZEROES) | INDIRECT);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(data(0), 0xff, 8192);
		assert_int_equal(request(bad[i].type, bad[i].sector, bad[i].len, bad[i].in),
				 bad[i].status);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
		memcpy(data(0), &ranges[i], sizeof(ranges[i]));
		assert_int_not_equal(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false),
				     VIRTIO_BLK_S_OK);
	}
	/* no status; a status only; a short header */
	assert_int_equal(vdrv_add(&ring, &buf, 1, mem, false), 0);
	buf = (struct vdrv_buf){ SLOT + 32, 1, true };
	assert_int_equal(vdrv_add(&ring, &buf, 1, mem, false), 0);
	assert_int_equal(
		vdrv_add(&ring, (struct vdrv_buf[]){ { SLOT, 15, false }, { SLOT + 40, 1, true } },
			 2, mem, false),
		0);
	vdrv_publish(&ring);
	assert_int_equal(write(kick, &(uint64_t){ 1 }, 8), 8);
	for (unsigned i = 0; i < 3; i++)
		wait_used(&len);
	assert_int_equal(slot(0)[32], VIRTIO_BLK_S_IOERR);
	assert_int_equal(slot(0)[40], VIRTIO_BLK_S_IOERR);
	/* and it goes on */
	assert_int_equal(request(VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	guest_stop();
	server_kill();
}

/* kill -9 under load, again and again: no request is lost, none fails, all data is there. */
static void killed_under_load(uint64_t extra)
{
	uint8_t seeds[32] = { 0 };
	unsigned busy = 0, rounds = 0;
	uint32_t len;

	inflight = memfd_create("none", MFD_CLOEXEC);
	server_start("file", false);
	guest_start(V1 | F(FLUSH) | INDIRECT | extra);
	for (unsigned life = 0; life < 12; life++) {
		/* dies with all slots busy, after some have come round */
		for (unsigned was = rounds; rounds < was + 100;) {
			uint8_t *done;

			/* a free slot for each that is not busy */
			for (unsigned i = 0; i < 32; i++) {
				if (busy >> i & 1)
					continue;
				seeds[i]++;
				fill(i, 4096, (uint8_t)(seeds[i] + i));
				submit(i, VIRTIO_BLK_T_OUT, 64 * i, 4096, false, 2048);
				busy |= 1u << i;
			}
			for (done = wait_used(&len); done; done = vdrv_get(&ring, &len)) {
				unsigned i = (unsigned)(done - mem - SLOT) / 0x10000;

				assert_true(busy >> i & 1);
				assert_int_equal(done[32], VIRTIO_BLK_S_OK);
				busy &= ~(1u << i);
				rounds++;
			}
		}
		server_kill();
		vhost_close(&c);
		server_start("file", false);
		/* the base that a VMM restores when nobody answered it */
		attach(features & PACKED ? 0x80008000u : ring.used[1]);
	}
	while (busy) {
		unsigned i = finish();

		assert_int_equal(slot(i)[32], VIRTIO_BLK_S_OK);
		assert_true(busy >> i & 1);
		busy &= ~(1u << i);
	}
	assert_int_equal(ring.n_free, NUM);
	for (unsigned i = 0; i < 32; i++) {
		submit(i, VIRTIO_BLK_T_IN, 64 * i, 4096, true, 4096);
		assert_int_equal(finish(), i);
		check(i, 4096, (uint8_t)(seeds[i] + i));
	}
	guest_stop();
	server_kill();
	close(inflight);
	inflight = -1;
}

static void survives_kills(void **state)
{
	killed_under_load(0);
	pin = true;
	killed_under_load(PACKED);
	pin = false;
}

/* GET_VRING_BASE_INFLIGHT: a stop leaves in the region what has not been done; who starts with it,
 * here or elsewhere, does that. Writes are made durable one by one, so that many wait. */
static void stops_with_requests_in_flight(uint64_t extra)
{
	uint32_t base, len;
	uint8_t *done;

	protocol |= 1ull << 20;
	cached = true;
	inflight = memfd_create("none", MFD_CLOEXEC);
	server_start("file", false);
	guest_start(V1 | INDIRECT | extra);
	assert_true(c.protocol >> 20 & 1);
	for (unsigned life = 0; life < 10; life++) {
		unsigned busy = 0xffffffff;

		for (unsigned i = 0; i < 32; i++) {
			fill(i, 16384, (uint8_t)(life + i));
			submit(i, VIRTIO_BLK_T_OUT, 64 * i, 16384, false, 4096);
		}
		assert_int_equal(vhost_ring_stop(&c, 0, &base), 0);
		if (!(extra & PACKED))
			assert_in_range((uint16_t)(ring.avail[1] - base), 0, 32);
		while ((done = vdrv_get(&ring, &len)))
			busy &= ~(1u << (done - mem - SLOT) / 0x10000);
		/* stopped is stopped */
		usleep(2000);
		assert_null(vdrv_get(&ring, &len));
		if (life % 2) {
			server_kill();
			vhost_close(&c);
			server_start("file", false);
			attach(base);
		} else {
			assert_int_equal(vhost_ring_start(&c, 0, &ring, base, kick, call), 0);
		}
		while (busy) {
			unsigned i = finish();

			assert_int_equal(slot(i)[32], VIRTIO_BLK_S_OK);
			assert_true(busy >> i & 1);
			busy &= ~(1u << i);
		}
		for (unsigned i = 0; i < 32; i++) {
			memset(data(i), 0, 16384);
			submit(i, VIRTIO_BLK_T_IN, 64 * i, 16384, true, 16384);
			assert_int_equal(finish(), i);
			check(i, 16384, (uint8_t)(life + i));
		}
	}
	guest_stop();
	server_kill();
	close(inflight);
	inflight = -1;
	cached = false;
	protocol = PROTOCOL;
}

static void leaves_requests_in_flight(void **state)
{
	stops_with_requests_in_flight(0);
	stops_with_requests_in_flight(PACKED);
}

/* The image of a guest that is migrated: somebody else has it until its rings stop. */
static int source_lock, source_let_go;

static void *let_go(void *arg)
{
	usleep(100000);
	STORE_RELEASE(source_let_go, 1);
	flock(source_lock, LOCK_UN);
	return NULL;
}

static void image_is_handed_over(void **state)
{
	pthread_t source;
	uint32_t base;

	source_lock = open(image, O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(source_lock, LOCK_EX), 0);
	shared = true;
	server_start("file", false);
	shared = false;
	assert_int_equal(pthread_create(&source, NULL, let_go, NULL), 0);
	guest_start(V1 | INDIRECT);
	assert_true(LOAD_ACQUIRE(source_let_go));
	pthread_join(source, NULL);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(flock(source_lock, LOCK_EX | LOCK_NB), -1);
		assert_int_equal(request(VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
		/* a migration that fails: the source goes on */
		assert_int_equal(vhost_ring_stop(&c, 0, &base), 0);
		assert_int_equal(flock(source_lock, LOCK_EX | LOCK_NB), 0);
		assert_int_equal(flock(source_lock, LOCK_UN), 0);
		assert_int_equal(vhost_ring_start(&c, 0, &ring, base, kick, call), 0);
	}
	/* gone without a word */
	vhost_close(&c);
	assert_int_equal(flock(source_lock, LOCK_EX), 0);
	close(source_lock);
	guest_stop();
	server_kill();
}

/* Somebody else has the image when the device is made: the disk is there all the same, rings start
 * and stop, and what is asked for waits. */
static void waits_for_its_image(void **state)
{
	struct {
		uint32_t offset, size, flags;
		uint64_t capacity;
	} __attribute__((packed)) m = { 0, 8, 0, 0 };
	struct vhost_header header;
	uint32_t base, len = sizeof(m);

	source_lock = open(image, O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(source_lock, LOCK_EX), 0);
	server_start("file", false);
	guest_start(V1 | F(FLUSH));
	for (unsigned i = 0; i < 8; i++) {
		fill(i, 4096, (uint8_t)(i + 90));
		submit(i, VIRTIO_BLK_T_OUT, 64 * i, 4096, false, 4096);
	}
	/* everything else is answered, again and again */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(vhost_send(&c, VHOST_GET_CONFIG, 0, &m, sizeof(m), NULL, 0), 0);
		assert_int_equal(vhost_receive(&c, &header, &m, &len, NULL), 0);
		assert_int_equal(m.capacity, SIZE / 512);
		assert_int_equal(vhost_ring_stop(&c, 0, &base), 0);
		assert_int_equal(base, 0);
		assert_int_equal(vhost_ring_start(&c, 0, &ring, base, kick, call), 0);
	}
	/* a VMM goes, and another comes; nothing has been touched */
	vhost_close(&c);
	attach(0);
	assert_null(vdrv_get(&ring, &len));
	assert_int_equal(ring.n_free, NUM - 8 * 3);
	assert_int_equal(pread(source_lock, data(31), 4096, 64 * 512), 4096);
	assert_memory_not_equal(data(31), data(1), 4096);
	assert_int_equal(flock(source_lock, LOCK_UN), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(slot(finish())[32], VIRTIO_BLK_S_OK);
	/* and it is ours from then on, rings or not */
	assert_int_equal(vhost_ring_stop(&c, 0, &base), 0);
	assert_int_equal(flock(source_lock, LOCK_EX | LOCK_NB), -1);
	assert_int_equal(vhost_ring_start(&c, 0, &ring, base, kick, call), 0);
	for (unsigned i = 0; i < 8; i++) {
		memset(data(i), 0, 4096);
		submit(i, VIRTIO_BLK_T_IN, 64 * i, 4096, true, 4096);
		assert_int_equal(finish(), i);
		check(i, 4096, (uint8_t)(i + 90));
	}
	close(source_lock);
	guest_stop();
	server_kill();
}

static int setup(void **state)
{
	int fd;

	log_set_level(LOG_LEVEL_ERROR);
	if (!mkdtemp(directory))
		return -1;
	snprintf(path, sizeof(path), "%s/blk.sock", directory);
	snprintf(image, sizeof(image), "%s/image", directory);
	fd = creat(image, 0600);
	return fd < 0 || ftruncate(fd, SIZE) < 0 || close(fd) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	server_kill(); /* of a test that failed */
	unlink(path);
	unlink(image);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(malloc_disk),
		cmocka_unit_test(file_disk),
		cmocka_unit_test(configuration),
		cmocka_unit_test(what_a_write_means),
		cmocka_unit_test(hostile),
		cmocka_unit_test(survives_kills),
		cmocka_unit_test(image_is_handed_over),
		cmocka_unit_test(waits_for_its_image),
		cmocka_unit_test(leaves_requests_in_flight),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
