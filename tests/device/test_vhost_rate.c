/* SPDX-License-Identifier: BSD-2-Clause */
/* A disk with a maximum rate: what is in flight comes to its end at whatever rate when that is
 * waited for. */
#include "base/clock.h"
#include "base/util.h"
#include "core/core.h"
#include "disk/disk.h"
#include "tests/device/vhost_harness.h"

#include <linux/virtio_blk.h>

#define DATA GUEST_BASE + 0x400000

static struct io_group *slow; /* 16 KiB a second, which is freed at the end */

static void set_rate(struct io_group *group)
{
	struct io_queue *const *queues;
	unsigned n;

	queues = disk_queues(vhost_disk, &n);
	for (unsigned i = 0; i < n; i++)
		STORE_RELEASE(queues[i]->own, group);
}

static void in_flight(void *arg, const char *name, uint64_t value)
{
	if (!strcmp(name, "in_flight"))
		*(uint64_t *)arg = value;
}

/* Of all that the disk has, more than the rate lets through while anybody waits. */
static void stops_at_once(void **state)
{
	const struct io_group_params params = { .max_bytes_per_s = 16 * 1024 };
	struct virtio_blk_outhdr hdr = { .type = VIRTIO_BLK_T_IN };
	uint64_t until = time_now_ns() + 60 * NS_PER_S, n = 0;
	uint8_t *host = client.mem + 0x200000;
	struct vdrv_buf bufs[] = { { GUEST_BASE + 0x200000, sizeof(hdr), false },
				   { DATA, DISK_BYTES, true },
				   { GUEST_BASE + 0x200020, 1, true } };
	struct vdrv ring;
	uint32_t base, len;

	slow = io_group_new("slow");
	assert_int_equal(io_group_set(slow, &params), 0);
	set_rate(slow);
	assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, 64, V1), 0);
	guest_ring(&client, 0, &ring, client.kick, -1);
	memcpy(host, &hdr, sizeof(hdr));
	host[0x20] = 0xee;
	assert_int_equal(vdrv_add(&ring, bufs, 3, host, false), 0);
	vdrv_publish(&ring);
	assert_int_equal(write(client.kick, &(uint64_t){ 1 }, 8), 8);
	/* a first part of it has used up the rate of many seconds */
	while (!n && time_now_ns() < until)
		disk_stats(vhost_disk, in_flight, &n);
	assert_int_equal(n, 1);
	assert_int_equal(vhost_ring_stop(&client.c, 0, &base), 0);
	assert_int_equal(base, 1);
	assert_ptr_equal(vdrv_get(&ring, &len), host);
	assert_int_equal(len, DISK_BYTES + 1);
	assert_int_equal(host[0x20], VIRTIO_BLK_S_OK);
	vdrv_done(&ring);
	set_rate(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = { test_disk(stops_at_once) };
	int failed = cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);

	io_group_free(slow);
	return failed;
}
