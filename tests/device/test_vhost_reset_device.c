/* SPDX-License-Identifier: BSD-2-Clause */
/* RESET_DEVICE: rings stop, memory and descriptors stay; at any moment. */
#include "base/loop.h"
#include "base/util.h"
#include "disk/disk.h"
#include "tests/device/vhost_harness.h"

#include <fcntl.h>
#include <linux/virtio_net.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

static uint8_t frame[100] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 }, got[100];

static void under_traffic(void **state)
{
	struct guest a, b;
	uint64_t value;

	guest_start(&b, 1, V1, 64, BUF_BYTES, 32);
	for (unsigned i = 0; i < 30; i++) {
		uint64_t features = V1 | (i % 2 ? 1ull << VIRTIO_F_RING_PACKED : 0);

		if (!i) {
			guest_start(&a, 0, V1, 64, BUF_BYTES, 32);
		} else {
			vdrv_done(&a.rx);
			vdrv_done(&a.tx);
			memset(a.mem, 0, 0x400000);
			assert_int_equal(vhost_request_u64(&a.c, VHOST_SET_FEATURES,
							   features | VHOST_F_PROTOCOL, -1),
					 0);
			vdrv_init(&a.rx, a.mem, GUEST_BASE, 64, features);
			vdrv_init(&a.tx, a.mem + 0x200000, GUEST_BASE + 0x200000, 64, features);
			/* the same memory, which was not sent again */
			guest_ring(&a, 0, &a.rx, -1, a.rx_call);
			guest_ring(&a, 1, &a.tx, a.kick, a.tx_call);
		}
		assert_int_equal(vhost_request_u64(&a.c, VHOST_SET_STATUS, 0xf, -1), 0);
		frame[20] = (uint8_t)i;
		guest_send(&a, NULL, frame, sizeof(frame), 4096);
		assert_int_equal(guest_receive(&b, NULL, got, sizeof(got)), sizeof(frame));
		assert_memory_equal(frame, got, sizeof(frame));
		/* in the middle of what comes */
		guest_send(&b, NULL, frame, sizeof(frame), 4096);
		assert_int_equal(vhost_request(&a.c, VHOST_RESET_DEVICE, NULL, 0, -1), 0);
		assert_int_equal(vhost_get_u64(&a.c, VHOST_GET_STATUS, &value), 0);
		assert_int_equal(value, 0);
	}
	guest_stop(&a);
	guest_stop(&b);
}

/* The same features once more are not none. */
static void features_come_again(void **state)
{
	uint64_t features = V1 | 1ull << VIRTIO_NET_F_CSUM, before, now;
	struct virtio_net_hdr_mrg_rxbuf hdr = {
		.hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16 }
	};
	struct guest a, b;

	guest_start(&b, 1, V1, 64, BUF_BYTES, 32);
	guest_start(&a, 0, features, 64, BUF_BYTES, 32);
	for (unsigned i = 0; i < 3; i++) {
		nic_stat(0, "tx_malformed", &before);
		guest_send(&a, &hdr, frame, sizeof(frame), 4096);
		nic_stat(0, "tx_malformed", &now);
		assert_int_equal(now, before);
		assert_int_equal(guest_receive(&b, NULL, got, sizeof(got)), sizeof(frame));
		assert_int_equal(vhost_request(&a.c, VHOST_RESET_DEVICE, NULL, 0, -1), 0);
		assert_int_equal(vhost_request_u64(&a.c, VHOST_SET_FEATURES,
						   features | VHOST_F_PROTOCOL, -1),
				 0);
		vdrv_done(&a.tx);
		memset(a.mem + 0x200000, 0, 0x200000);
		vdrv_init(&a.tx, a.mem + 0x200000, GUEST_BASE + 0x200000, 64, features);
		guest_ring(&a, 1, &a.tx, a.kick, a.tx_call);
	}
	guest_stop(&a);
	guest_stop(&b);
}

/* Requests in flight come to their end before. */
static void of_a_disk(void **state)
{
	struct vdrv_buf bufs[3] = { { GUEST_BASE + 0x100000, 16, false },
				    { GUEST_BASE + 0x101000, 4096, true },
				    { GUEST_BASE + 0x103000, 1, true } };
	uint32_t len;

	for (unsigned i = 0; i < 50; i++) {
		struct vdrv ring;
		unsigned done = 0;

		memset(client.mem, 0, 0x10000);
		assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, 64, V1), 0);
		guest_ring(&client, 0, &ring, client.kick, -1);
		for (unsigned k = 0; k < 16; k++)
			assert_int_equal(vdrv_add(&ring, bufs, 3, &ring, false), 0);
		vdrv_publish(&ring);
		assert_int_equal(write(client.kick, &(uint64_t){ 1 }, 8), 8);
		assert_int_equal(vhost_request(&client.c, VHOST_RESET_DEVICE, NULL, 0, -1), 0);
		while (vdrv_get(&ring, &len))
			done++;
		/* and nothing comes behind */
		memset(client.mem, 0xa5, 0x10000);
		usleep(100);
		for (unsigned k = 0; k < 0x10000; k++)
			assert_int_equal(client.mem[k], 0xa5);
		assert_in_range(done, 0, 16);
		vdrv_done(&ring);
	}
}

static void count_again(void *arg)
{
	*(uint64_t *)arg = disk_device(vhost_disk)->queues[0]->stats.resubmitted;
}

/* A broken ring leaves its requests marked in the in-flight region. The next driver has none of
 * them, though it may get the same region. */
static void of_a_broken_ring(void **state)
{
	struct {
		uint64_t size, offset;
		uint16_t queues, num;
		uint32_t padding;
	} m = { .size = 0x10000, .queues = 1, .num = 64 };
	int fd = memory_file(0x10000), err = eventfd(0, EFD_NONBLOCK);
	uint8_t *region = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	uint64_t before, after;
	struct vdrv ring;
	uint32_t base;

	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(vhost_request(&client.c, VHOST_SET_INFLIGHT_FD, &m, sizeof(m), fd), 0);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_VRING_ERR, 0, err), 0);
	assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, 64, V1), 0);
	guest_ring(&client, 0, &ring, client.kick, -1);
	ring.avail[1] = 1000;
	assert_int_equal(write(client.kick, &(uint64_t){ 1 }, 8), 8);
	assert_true(readable(err));
	assert_int_equal(region[8], 1); /* version */
	region[16 + 16 * 5] = 1;	/* which it had taken before */
	assert_int_equal(vhost_request(&client.c, VHOST_RESET_DEVICE, NULL, 0, -1), 0);
	vdrv_done(&ring);
	memset(client.mem, 0, 0x10000);
	on_loop(count_again, &before);
	assert_int_equal(
		vhost_request_u64(&client.c, VHOST_SET_FEATURES, V1 | VHOST_F_PROTOCOL, -1), 0);
	assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, 64, V1), 0);
	guest_ring(&client, 0, &ring, client.kick, -1);
	assert_int_equal(region[8], 1);
	assert_int_equal(region[16 + 16 * 5], 0);
	assert_int_equal(vhost_ring_stop(&client.c, 0, &base), 0);
	on_loop(count_again, &after);
	assert_int_equal(after, before);
	vdrv_done(&ring);
	munmap(region, 0x10000);
	close(err);
	close(fd);
}

/* ---- a round ------------------------------------------------------------------------------ */

static unsigned in_a_row, most_in_a_row, resets;
static const struct virtio_device_ops *device_ops;

static void slow_reset(struct virtio_device *dev)
{
	resets++;
	if (++in_a_row > most_in_a_row)
		most_in_a_row = in_a_row;
	usleep(500); /* more than a round has */
	device_ops->reset(dev);
}

static void another_client(struct loop_fd *lfd, uint32_t events)
{
	in_a_row = 0;
}

static struct virtio_device_ops slow_ops;
static struct loop_fd other;

static void slow_down(void *arg)
{
	struct virtio_device *dev = virtio_net_device(vhost_nic[0]);

	device_ops = dev->ops;
	slow_ops = *dev->ops;
	slow_ops.reset = slow_reset;
	dev->ops = &slow_ops;
	assert_int_equal(loop_add(vhost_loop(), &other, *(int *)arg, EPOLLIN, another_client), 0);
}

static void speed_up(void *arg)
{
	loop_remove(&other);
	virtio_net_device(vhost_nic[0])->ops = device_ops;
}

/* Many at once, for which nobody waits: whoever else is served by this thread has his turn between
 * any two that take long. */
static void lets_others_have_their_turn(void **state)
{
	const unsigned n = 100;
	int ready = eventfd(1, EFD_NONBLOCK);

	on_loop(slow_down, &ready);
	for (unsigned i = 0; i + 1 < n; i++)
		assert_int_equal(vhost_send(&client.c, VHOST_RESET_DEVICE, 0, NULL, 0, NULL, 0), 0);
	assert_int_equal(vhost_request(&client.c, VHOST_RESET_DEVICE, NULL, 0, -1), 0);
	on_loop(speed_up, NULL);
	assert_int_equal(resets, n);
	assert_in_range(most_in_a_row, 1, 2);
	close(ready);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(under_traffic),
		cmocka_unit_test(features_come_again),
		test_disk(of_a_disk),
		test_disk(of_a_broken_ring),
		test(lets_others_have_their_turn),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
