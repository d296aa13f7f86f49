/* SPDX-License-Identifier: BSD-2-Clause */
/* SET_VRING_ENABLE: independent of whether a ring is started; what a disabled one does. */
#include "base/util.h"
#include "tests/device/vhost_harness.h"

static uint8_t frame[100] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 }, got[100];

static void refuses(void **state)
{
	assert_int_equal(send_state(VHOST_SET_VRING_ENABLE, 99, 1), REFUSED);
	assert_int_equal(send_state(VHOST_SET_VRING_ENABLE, UINT32_MAX, 1), REFUSED);
	assert_int_equal(send_state(VHOST_SET_VRING_ENABLE, 0, 2), REFUSED);
	/* of a ring that was never set up */
	assert_int_equal(send_state(VHOST_SET_VRING_ENABLE, 7, 1), 0);
	assert_int_equal(send_state(VHOST_SET_VRING_ENABLE, 7, 0), 0);
}

static int enable(struct guest *g, unsigned ring, bool on)
{
	return vhost_request(&g->c, VHOST_SET_VRING_ENABLE, (uint32_t[]){ ring, on }, 8, -1);
}

/* A network device discards what is sent, and gives nothing. */
static void disabled(void **state)
{
	uint64_t before, now;
	struct guest a, b;

	guest_start(&a, 0, V1, 64, BUF_BYTES, 32);
	guest_start(&b, 1, V1, 64, BUF_BYTES, 32);
	for (unsigned i = 0; i < 20; i++) {
		/* discarded: the buffer comes back */
		assert_int_equal(enable(&a, 1, false), 0);
		nic_stat(0, "tx_discarded", &before);
		guest_send(&a, NULL, frame, sizeof(frame), 4096);
		nic_stat(0, "tx_discarded", &now);
		assert_int_equal(now, before + 1);
		assert_int_equal(enable(&a, 1, true), 0);
		/* no buffer is touched */
		assert_int_equal(enable(&b, 0, false), 0);
		nic_stat(1, "rx_off", &before);
		guest_send(&a, NULL, frame, sizeof(frame), 4096);
		nic_stat(1, "rx_off", &now);
		assert_int_equal(now, before + 1);
		assert_null(vdrv_get(&b.rx, &(uint32_t){ 0 }));
		assert_int_equal(enable(&b, 0, true), 0);
		frame[20] = (uint8_t)i;
		guest_send(&a, NULL, frame, sizeof(frame), 4096);
		assert_int_equal(guest_receive(&b, NULL, got, sizeof(got)), sizeof(frame));
		assert_memory_equal(frame, got, sizeof(frame));
	}
	guest_stop(&a);
	guest_stop(&b);
}

/* It is remembered while the ring is stopped. */
static void is_kept_while_stopped(void **state)
{
	struct guest a, b;
	struct vdrv ring;
	uint32_t base;
	uint64_t before, now;
	int no_fd = -1;

	guest_start(&a, 0, V1, 64, BUF_BYTES, 32);
	guest_start(&b, 1, V1, 64, BUF_BYTES, 32);
	assert_int_equal(enable(&a, 1, false), 0);
	assert_int_equal(vhost_ring_stop(&a.c, 1, &base), 0);
	ring = a.tx;
	assert_int_equal(vhost_request(&a.c, VHOST_SET_VRING_NUM, (uint32_t[]){ 1, 64 }, 8, no_fd),
			 0);
	assert_int_equal(
		vhost_request(&a.c, VHOST_SET_VRING_BASE, (uint32_t[]){ 1, base }, 8, no_fd), 0);
	assert_int_equal(vhost_request_u64(&a.c, VHOST_SET_VRING_KICK, 1, a.kick), 0);
	nic_stat(0, "tx_discarded", &before);
	guest_send(&a, NULL, frame, sizeof(frame), 4096);
	nic_stat(0, "tx_discarded", &now);
	assert_int_equal(now, before + 1);
	assert_int_equal(ring.num, 64);
	guest_stop(&a);
	guest_stop(&b);
}

/* A disk does nothing of what is asked meanwhile, and then all of it. */
static void disabled_disk(void **state)
{
	struct vdrv_buf bufs[3] = { { GUEST_BASE + 0x100000, 16, false },
				    { GUEST_BASE + 0x101000, 512, true },
				    { GUEST_BASE + 0x102000, 1, true } };
	struct vdrv ring;
	uint32_t len;

	assert_int_equal(vdrv_init(&ring, client.mem, GUEST_BASE, 64, V1), 0);
	guest_ring(&client, 0, &ring, client.kick, -1);
	assert_int_equal(send_state(VHOST_SET_VRING_ENABLE, 0, 0), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(vdrv_add(&ring, bufs, 3, &ring, false), 0);
	vdrv_publish(&ring);
	assert_int_equal(write(client.kick, &(uint64_t){ 1 }, 8), 8);
	usleep(20000);
	assert_null(vdrv_get(&ring, &len));
	assert_int_equal(send_state(VHOST_SET_VRING_ENABLE, 0, 1), 0);
	for (unsigned i = 0; i < 8;)
		i += vdrv_get(&ring, &len) != NULL;
	vdrv_done(&ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(refuses),
		cmocka_unit_test(disabled),
		cmocka_unit_test(is_kept_while_stopped),
		test_disk(disabled_disk),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
