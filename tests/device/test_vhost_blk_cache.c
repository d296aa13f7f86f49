/* SPDX-License-Identifier: BSD-2-Clause */
/* What a completed write means, and how long what the guest switches its write cache to lasts. */
#include "tests/device/blk_harness.h"

#include "virtio/virtqueue.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

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

static void store_image(void)
{
	int fd = open(image, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

static void expect_stored(bool stored)
{
	/* only the writes from here on count */
	if (stored)
		store_image();
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

/* The VMM comes back, to a daemon that may be another one. */
static void back(bool killed)
{
	if (killed) {
		server_kill();
		server_start("file", false);
	}
	vhost_close(&c);
	attach(features & PACKED ? 0x80008000u : ring.used[1]);
}

/* A region that the back end is to make. */
static void no_region(void)
{
	if (inflight >= 0)
		close(inflight);
	inflight = memfd_create("none", MFD_CLOEXEC);
}

/* After a reset, for which the VMM forgets the region. */
static void driver_again(void)
{
	assert_int_equal(vhost_request(&c, VHOST_RESET_DEVICE, NULL, 0, -1), 0);
	no_region();
	vdrv_done(&ring);
	memset(mem, 0, SLOT);
	assert_int_equal(vdrv_init(&ring, mem, 0, NUM, features), 0);
	vdrv_notifications(&ring, true);
	back(false);
}

/* What a driver switches to the VMM says once, and shows to each driver from then on: it holds for
 * the next connection, the next daemon and the next driver. */
static void cache_stays_switched(uint64_t extra)
{
	cached = true;
	no_region();
	server_start("file", false);
	guest_start(V1 | F(FLUSH) | F(CONFIG_WCE) | extra);
	for (unsigned i = 0; i < 12; i++) {
		uint8_t on = i / 4 % 2;

		if (i % 4 == 0)
			set_wce(on);
		else if (i % 4 == 3)
			driver_again();
		else
			back(i % 4 == 2);
		assert_int_equal(get_wce(), on);
		if (cache_is_seen())
			expect_stored(!on);
		back(i % 4 == 3);
		assert_int_equal(get_wce(), on);
	}
	guest_stop();
	server_kill();
	close(inflight);
	inflight = -1;
	cached = false;
}

static void stays_switched(void **state)
{
	cache_stays_switched(0);
	cache_stays_switched(PACKED);
}

/* Who reads the configuration before there is a driver shows that, so it is what it was at first.
 */
static void next_vmm_finds_the_cache_on(void **state)
{
	server_start("file", false);
	guest_start(V1 | F(FLUSH) | F(CONFIG_WCE));
	set_wce(0);
	for (unsigned i = 0; i < 4; i++) {
		uint8_t on = i % 2;

		vhost_close(&c);
		wait_connected();
		assert_int_equal(vhost_get_u64(&c, VHOST_GET_FEATURES, &c.features), 0);
		assert_int_equal(
			vhost_send(&c, VHOST_SET_PROTOCOL_FEATURES, 0, &protocol, 8, NULL, 0), 0);
		assert_int_equal(get_wce(), 1);
		/* a driver may switch it before it is ready, and its VMM negotiate then */
		if (!on)
			set_wce(0);
		assert_int_equal(get_wce(), on);
		assert_int_equal(
			vhost_request_u64(&c, VHOST_SET_FEATURES, features | VHOST_F_PROTOCOL, -1),
			0);
		assert_int_equal(get_wce(), on);
		back(false);
		assert_int_equal(get_wce(), on);
	}
	guest_stop();
	server_kill();
}

/* What comes back in the region may be another's, or anything. */
static void region_says_what_the_cache_is(void **state)
{
	static const struct {
		uint64_t word;
		uint8_t wce;
	} words[] = {
		{ 2, 0 }, { 1, 1 }, { 0, 1 }, { 3, 1 }, { 1ull << 32 | 2, 1 }, { UINT64_MAX, 1 },
	};
	const uint64_t with = V1 | F(FLUSH) | F(CONFIG_WCE);
	uint64_t *end;
	uint8_t *region;

	cached = true;
	no_region();
	server_start("file", false);
	guest_start(with);
	region = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, inflight, 0);
	assert_ptr_not_equal(region, MAP_FAILED);
	end = (uint64_t *)(region + virtqueue_inflight_bytes(false, NUM));
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		server_kill();
		end[1] = words[i].word;
		back(true);
		assert_int_equal(get_wce(), words[i].wce);
		assert_int_equal(end[1], words[i].wce ? 1 : 2);
	}
	/* a driver that cannot switch it knows of no such thing */
	server_kill();
	end[1] = 2;
	features = V1 | F(FLUSH);
	back(true);
	if (cache_is_seen())
		expect_stored(false);
	features = with;
	/* another's region is as good, and stays as it is */
	server_kill();
	end[0]++;
	end[1] = 2;
	back(true);
	assert_int_equal(get_wce(), 1);
	set_wce(0);
	assert_int_equal(request(VIRTIO_BLK_T_OUT, 0, 4096, false), VIRTIO_BLK_S_OK);
	back(false);
	assert_int_equal(get_wce(), 0);
	back(true);
	assert_int_equal(get_wce(), 1);
	assert_int_equal(end[1], 2);
	munmap(region, 4096);
	guest_stop();
	server_kill();
	close(inflight);
	inflight = -1;
	cached = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_write_means),
		cmocka_unit_test(stays_switched),
		cmocka_unit_test(next_vmm_finds_the_cache_on),
		cmocka_unit_test(region_says_what_the_cache_is),
	};

	return cmocka_run_group_tests(tests, blk_setup, blk_teardown);
}
