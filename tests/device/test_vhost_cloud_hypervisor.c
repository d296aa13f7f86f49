/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The messages of cloud-hypervisor in its order (vmm's virtio-devices crate, vhost_user/): an
 * answer is wanted to each, memory comes in one table, the base is the available index as it is
 * found in memory, and a reset is a disable and a stop.
 */
#include "base/util.h"
#include "tests/device/vhost_harness.h"

/* MQ, CONFIG, CONFIGURE_MEM_SLOTS, REPLY_ACK, INFLIGHT_SHMFD, LOG_SHMFD, DEVICE_STATE */
#define PROTOCOL                                                                                   \
	(1ull << 0 | 1ull << 9 | 1ull << 15 | 1ull << 3 | 1ull << 12 | 1ull << 1 | 1ull << 19)
#define FEATURES (V1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX)

/* The region in which requests in flight are kept outlives the connection. */
struct inflight_message {
	uint64_t size, offset;
	uint16_t queues, num;
} __attribute__((packed));

static struct inflight_message region;
static int region_fd = -1;

static void track_as_it_does(struct guest *g, uint16_t queues, uint16_t num)
{
	struct vhost_header header;
	uint32_t len = sizeof(region);

	if (region_fd < 0) {
		region = (struct inflight_message){ .queues = queues, .num = num };
		assert_int_equal(vhost_send(&g->c, VHOST_GET_INFLIGHT_FD, 0, &region, len, NULL, 0),
				 0);
		assert_int_equal(vhost_receive(&g->c, &header, &region, &len, &region_fd), 0);
		assert_true(region_fd >= 0);
	}
	assert_int_equal(
		vhost_request(&g->c, VHOST_SET_INFLIGHT_FD, &region, sizeof(region), region_fd), 0);
}

static void connect_as_it_does(struct guest *g, unsigned device, unsigned queues)
{
	struct {
		uint32_t n, pad;
		struct vhost_client_region r;
	} table = { 1, 0, { GUEST_BASE, GUEST_BYTES, USER_BASE, 0 } };
	uint64_t value, slots;

	assert_int_equal(vhost_connect(&g->c, vhost_path[device]), 0);
	assert_int_equal(vhost_send(&g->c, VHOST_SET_OWNER, 0, NULL, 0, NULL, 0), 0);
	assert_int_equal(vhost_get_u64(&g->c, VHOST_GET_FEATURES, &value), 0);
	assert_int_equal(value & FEATURES, FEATURES);
	assert_int_equal(vhost_get_u64(&g->c, VHOST_GET_PROTOCOL_FEATURES, &value), 0);
	value &= PROTOCOL;
	assert_int_equal(vhost_send(&g->c, VHOST_SET_PROTOCOL_FEATURES, 0, &value, 8, NULL, 0), 0);
	g->c.protocol = value;
	assert_int_equal(vhost_get_u64(&g->c, VHOST_GET_QUEUE_NUM, &value), 0);
	assert_true(value >= queues);
	assert_int_equal(vhost_get_u64(&g->c, VHOST_GET_MAX_MEM_SLOTS, &slots), 0);
	assert_true(slots >= 8);
	assert_int_equal(
		vhost_request_u64(&g->c, VHOST_SET_FEATURES, FEATURES | VHOST_F_PROTOCOL, -1), 0);
	assert_int_equal(vhost_request(&g->c, VHOST_SET_MEM_TABLE, &table, sizeof(table), g->memfd),
			 0);
}

static void start_ring_as_it_does(struct guest *g, unsigned i, const struct vdrv *ring, int kick,
				  int call)
{
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} addr = { i,
		   0,
		   ring->desc_addr + USER_BASE - GUEST_BASE,
		   ring->used_addr + USER_BASE - GUEST_BASE,
		   ring->avail_addr + USER_BASE - GUEST_BASE,
		   0 };
	uint32_t num[2] = { i, ring->num }, base[2] = { i, ring->avail[1] }, on[2] = { i, 1 };

	assert_int_equal(vhost_request(&g->c, VHOST_SET_VRING_NUM, num, 8, -1), 0);
	assert_int_equal(vhost_request(&g->c, VHOST_SET_VRING_ADDR, &addr, sizeof(addr), -1), 0);
	assert_int_equal(vhost_request(&g->c, VHOST_SET_VRING_BASE, base, 8, -1), 0);
	assert_int_equal(vhost_request_u64(&g->c, VHOST_SET_VRING_CALL, i, call), 0);
	assert_int_equal(vhost_request_u64(&g->c, VHOST_SET_VRING_KICK, i, kick), 0);
	assert_int_equal(vhost_request(&g->c, VHOST_SET_VRING_ENABLE, on, 8, -1), 0);
}

static void disk(void **state)
{
	struct vdrv_buf bufs[3] = { { GUEST_BASE + 0x100000, 16, false },
				    { GUEST_BASE + 0x101000, 512, true },
				    { GUEST_BASE + 0x102000, 1, true } };
	struct vdrv ring;
	uint32_t len, base;

	vhost_close(&client.c);
	assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, 64, FEATURES), 0);
	connect_as_it_does(&client, DISK, 1);
	track_as_it_does(&client, 1, 64);
	for (unsigned life = 0; life < 20; life++) {
		uint32_t off[2] = { 0, 0 };

		start_ring_as_it_does(&client, 0, &ring, client.kick, client.tx_call);
		for (unsigned i = 0; i < 8; i++) {
			assert_int_equal(vdrv_add(&ring, bufs, 3, &ring, true), 0);
			if (vdrv_publish(&ring))
				assert_int_equal(write(client.kick, &(uint64_t){ 1 }, 8), 8);
			while (!vdrv_get(&ring, &len))
				usleep(10);
			assert_int_equal(client.mem[0x102000], 0);
		}
		assert_int_equal(vhost_request(&client.c, VHOST_SET_VRING_ENABLE, off, 8, -1), 0);
		assert_int_equal(vhost_ring_stop(&client.c, 0, &base), 0);
		assert_int_equal(base, ring.next_avail);
		if (life % 4 == 3) {
			/* the back end came again: all of it anew, from where memory says */
			vhost_close(&client.c);
			connect_as_it_does(&client, DISK, 1);
			track_as_it_does(&client, 1, 64);
		}
	}
	vdrv_done(&ring);
	close(region_fd);
}

static void net(void **state)
{
	uint8_t frame[100] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 }, got[100];
	struct guest b;

	vhost_close(&client.c);
	guest_start(&b, 1, V1, 64, BUF_BYTES, 32);
	assert_int_equal(vdrv_init(&client.rx, client.mem, GUEST_BASE, 64, FEATURES), 0);
	assert_int_equal(
		vdrv_init(&client.tx, client.mem + 0x200000, GUEST_BASE + 0x200000, 64, FEATURES),
		0);
	client.features = FEATURES;
	connect_as_it_does(&client, 0, 1);
	start_ring_as_it_does(&client, 0, &client.rx, client.kick, client.rx_call);
	start_ring_as_it_does(&client, 1, &client.tx, client.kick, client.tx_call);
	for (unsigned i = 0; i < 10; i++) {
		guest_send(&client, NULL, frame, sizeof(frame), 4096);
		assert_int_equal(guest_receive(&b, NULL, got, sizeof(got)), sizeof(frame));
	}
	vdrv_done(&client.rx);
	vdrv_done(&client.tx);
	guest_stop(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_disk(disk),
		test(net),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
