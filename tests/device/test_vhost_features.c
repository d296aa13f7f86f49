/* SPDX-License-Identifier: BSD-2-Clause */
/* GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER. */
#include "base/util.h"
#include "tests/device/vhost_harness.h"

#include <linux/virtio_net.h>

static void offers(void **state)
{
	static const unsigned bits[] = {
		VIRTIO_F_VERSION_1,
		VIRTIO_F_RING_PACKED,
		VIRTIO_F_IN_ORDER,
		VIRTIO_RING_F_INDIRECT_DESC,
		VIRTIO_RING_F_EVENT_IDX,
		VIRTIO_NET_F_CSUM,
		VIRTIO_NET_F_GUEST_CSUM,
		VIRTIO_NET_F_MTU,
		VIRTIO_NET_F_GUEST_TSO4,
		VIRTIO_NET_F_GUEST_TSO6,
		VIRTIO_NET_F_GUEST_ECN,
		VIRTIO_NET_F_HOST_TSO4,
		VIRTIO_NET_F_HOST_TSO6,
		VIRTIO_NET_F_HOST_ECN,
		VIRTIO_NET_F_MRG_RXBUF,
		VIRTIO_NET_F_STATUS,
		VIRTIO_NET_F_MQ,
		VIRTIO_NET_F_GUEST_ANNOUNCE,
		54 /* GUEST_USO4 */,
		55 /* GUEST_USO6 */,
		56 /* HOST_USO */,
		26 /* VHOST_F_LOG_ALL */,
		30 /* protocol features */
	};
	/* the VMM's own, or nobody's: control queue, filters, RSS, IOMMU, UFO, reset of a ring */
	static const unsigned not [] = { VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_RING_RESET,
					 VIRTIO_NET_F_RSS,	   VIRTIO_NET_F_HASH_REPORT,
					 VIRTIO_NET_F_GUEST_UFO,   VIRTIO_NET_F_HOST_UFO,
					 VIRTIO_F_SR_IOV,	   63 };
	uint64_t value;

	assert_int_equal(vhost_get_u64(&client.c, VHOST_GET_FEATURES, &value), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
		assert_true(value >> bits[i] & 1);
	for (unsigned i = 0; i < ARRAY_SIZE(not ); i++)
		assert_false(value >> not [i] & 1);
}

static void takes_what_it_offered(void **state)
{
	uint64_t value;

	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_FEATURES, 1ull << 63, -1), REFUSED);
	assert_int_equal(vhost_get_u64(&client.c, VHOST_GET_FEATURES, &value), 0);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_FEATURES, value, -1), 0);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_FEATURES, V1, -1), 0);
}

/* Only the log comes and goes while rings run. */
static void while_it_runs(void **state)
{
	struct guest g;
	uint64_t features = V1 | VHOST_F_PROTOCOL;

	guest_start(&g, 1, V1, 64, BUF_BYTES, 32);
	assert_int_equal(
		vhost_request_u64(&g.c, VHOST_SET_FEATURES, features | VHOST_F_LOG_ALL, -1), 0);
	assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_FEATURES, features, -1), 0);
	assert_int_equal(vhost_request_u64(&g.c, VHOST_SET_FEATURES,
					   features | 1ull << VIRTIO_F_RING_PACKED, -1),
			 REFUSED);
	guest_stop(&g);
}

/* Without protocol features there is no SET_VRING_ENABLE: what starts is enabled. */
static void without_protocol_features(void **state)
{
	struct vdrv ring;
	uint8_t frame[60] = { 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 0x88, 0xb5 };
	struct vdrv_buf buf = { GUEST_BASE + 0x100000, 72, false };
	uint64_t before, now;
	uint32_t len;

	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_FEATURES, V1, -1), 0);
	assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, 64, V1), 0);
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 1, 64), 0);
	assert_int_equal(send_addr(1, 0, USER_BASE, ring.used_addr + USER_BASE - GUEST_BASE,
				   ring.avail_addr + USER_BASE - GUEST_BASE),
			 0);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_VRING_KICK, 1, client.kick), 0);
	nic_stat(0, "tx_packets", &before);
	memcpy(client.mem + 0x100000 + 12, frame, sizeof(frame));
	assert_int_equal(vdrv_add(&ring, &buf, 1, &ring, false), 0);
	vdrv_publish(&ring);
	assert_int_equal(write(client.kick, &(uint64_t){ 1 }, 8), 8);
	while (!vdrv_get(&ring, &len))
		usleep(100);
	nic_stat(0, "tx_packets", &now);
	assert_int_equal(now, before + 1);
	vdrv_done(&ring);
}

static void owners(void **state)
{
	assert_int_equal(vhost_request(&client.c, VHOST_SET_OWNER, NULL, 0, -1), 0);
	assert_int_equal(vhost_request(&client.c, VHOST_RESET_OWNER, NULL, 0, -1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(offers),	     test(takes_what_it_offered),
		test(while_it_runs), test(without_protocol_features),
		test(owners),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
