/* SPDX-License-Identifier: BSD-2-Clause */
/* What a completed write means. */
#include "tests/device/blk_harness.h"

#include <fcntl.h>
#include <linux/magic.h>
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_write_means),
	};

	return cmocka_run_group_tests(tests, blk_setup, blk_teardown);
}
