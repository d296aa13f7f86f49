/* SPDX-License-Identifier: BSD-2-Clause */
/* SET_VRING_BASE and GET_VRING_BASE: where a ring goes on, and stopping it. */
#include "base/util.h"
#include "tests/device/vhost_harness.h"

#define PACKED (1ull << VIRTIO_F_RING_PACKED)

static void refuses(void **state)
{
	uint32_t base;

	assert_int_equal(send_state(VHOST_SET_VRING_BASE, 0, 0x10000), REFUSED);
	assert_int_equal(send_state(VHOST_SET_VRING_BASE, 99, 0), REFUSED);
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 0, 64), 0);
	assert_int_equal(send_addr(0, 0, USER_BASE, USER_BASE + 0x2000, USER_BASE + 0x1000), 0);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_VRING_KICK, 0, client.kick), 0);
	assert_int_equal(send_state(VHOST_SET_VRING_BASE, 0, 5), REFUSED);
	assert_int_equal(vhost_ring_stop(&client.c, 0, &base), 0);
	assert_int_equal(base, 0);
	/* of what is stopped, or was never started */
	assert_int_equal(vhost_ring_stop(&client.c, 0, &base), 0);
	assert_int_equal(vhost_ring_stop(&client.c, 7, &base), 0);
	assert_int_equal(base, 0);
	/* there is no answer that says no */
	assert_int_equal(vhost_ring_stop(&client.c, 99, &base), -EPIPE);
}

static void packed_bases(void **state)
{
	static const struct {
		uint32_t base;
		int result;
		uint32_t back;
	} bases[] = {
		{ 0x80008000, 0, 0x80008000 },
		{ 0, 0, 0 },
		{ 0x803f803f, 0, 0x803f803f },
		{ 0x80008040, REFUSED, 0 },
		{ 0x80408000, REFUSED, 0 },
		{ 0xffffffff, REFUSED, 0 },
		/* of a front end that knows no used position, such as DPDK's virtio-user */
		{ 0x8000, 0, 0x80008000 },
		{ 0x8005, 0, 0x80058005 },
		{ 0x5, 0, 0x50005 },
		{ 0x8040, REFUSED, 0 },
	};

	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_FEATURES,
					   V1 | VHOST_F_PROTOCOL | PACKED, -1),
			 0);
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 0, 64), 0);
	assert_int_equal(send_addr(0, 0, USER_BASE, USER_BASE + 0x2000, USER_BASE + 0x1000), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bases); i++) {
		uint32_t base;

		/* it is known to be wrong when the ring starts */
		assert_int_equal(send_state(VHOST_SET_VRING_BASE, 0, bases[i].base), 0);
		assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_VRING_KICK, 0, client.kick),
				 bases[i].result);
		assert_int_equal(vhost_ring_stop(&client.c, 0, &base), 0);
		if (!bases[i].result)
			assert_int_equal(base, bases[i].back);
	}
}

/* Stopped and started where it stood, at any moment, under traffic in both directions. */
static void goes_on(uint64_t features)
{
	uint8_t frame[100] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 }, got[100];
	struct guest a, b;

	guest_start(&a, 0, features, 64, BUF_BYTES, 32);
	guest_start(&b, 1, features, 64, BUF_BYTES, 32);
	for (unsigned i = 0; i < 100; i++) {
		struct vhost_client *c = i % 2 ? &a.c : &b.c;
		struct vdrv ring;
		uint32_t base;
		int call = i % 2 ? a.tx_call : b.rx_call;
		uint64_t count;

		frame[20] = (uint8_t)i;
		guest_send(&a, NULL, frame, sizeof(frame), 4096);
		assert_int_equal(guest_receive(&b, NULL, got, sizeof(got)), sizeof(frame));
		assert_int_equal(got[20], (uint8_t)i);
		while (read(call, &count, 8) == 8)
			;
		assert_int_equal(vhost_ring_stop(c, i % 2, &base), 0);
		/* who goes on with the ring does not know what the guest was told of */
		assert_true(readable(call));
		ring = i % 2 ? a.tx : b.rx;
		if (i % 2)
			assert_int_equal(base & 0x7fff, ring.next_avail & 0x7fff);
		ring.desc_addr += USER_BASE - GUEST_BASE;
		ring.avail_addr += USER_BASE - GUEST_BASE;
		ring.used_addr += USER_BASE - GUEST_BASE;
		assert_int_equal(vhost_ring_start(c, i % 2, &ring, base, i % 2 ? a.kick : -1, call),
				 0);
	}
	guest_stop(&a);
	guest_stop(&b);
}

/* One ring is stopped and begins anew, of another size, while others run. */
static void starts_anew(void **state)
{
	uint8_t frame[100] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 }, got[100];
	uint64_t kinds[] = { V1, V1 | PACKED };
	struct guest a, b;

	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		guest_start(&a, 0, kinds[k], 64, BUF_BYTES, 32);
		guest_start(&b, 1, kinds[k], 64, BUF_BYTES, 32);
		for (unsigned i = 0; i < 50; i++) {
			uint16_t num = (uint16_t)(16 << i % 3);
			uint32_t base;

			for (unsigned n = 0; n < 1 + i % 5; n++) {
				frame[20] = (uint8_t)(i + n);
				guest_send(&a, NULL, frame, sizeof(frame), 4096);
				assert_int_equal(guest_receive(&b, NULL, got, sizeof(got)),
						 sizeof(frame));
				assert_int_equal(got[20], (uint8_t)(i + n));
			}
			assert_int_equal(vhost_ring_stop(&a.c, 1, &base), 0);
			vdrv_done(&a.tx);
			memset(a.mem + 0x200000, 0, 0x200000);
			vdrv_init(&a.tx, a.mem + 0x200000, GUEST_BASE + 0x200000, num, kinds[k]);
			guest_ring(&a, 1, &a.tx, a.kick, a.tx_call);
		}
		guest_stop(&a);
		guest_stop(&b);
	}
}

static void goes_on_under_traffic(void **state)
{
	goes_on(V1);
	goes_on(V1 | PACKED);
	goes_on(V1 | 1ull << VIRTIO_RING_F_EVENT_IDX);
	goes_on(V1 | PACKED | 1ull << VIRTIO_RING_F_EVENT_IDX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(refuses),
		test(packed_bases),
		cmocka_unit_test(goes_on_under_traffic),
		cmocka_unit_test(starts_anew),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
