/* SPDX-License-Identifier: BSD-2-Clause */
/* Sixteen pairs of queues: each sends, and a flow stays on one of those that receive. */
#include "base/util.h"
#include "net/offload.h"
#include "tests/device/vhost_harness.h"

#define NUM	32
#define RING(i) ((i)*0x10000u) /* ring number i of the 32 */
#define RX_DATA 0x400000u
#define TX_DATA 0xa00000u
#define FLOWS	200

struct many {
	struct guest g;
	struct vdrv rx[PAIRS], tx[PAIRS];
};

static struct many a, b;

static void post(struct many *m, unsigned q, unsigned i)
{
	struct vdrv_buf buf = { GUEST_BASE + RX_DATA + (q * NUM + i) * 2048ull, 2048, true };

	assert_int_equal(vdrv_add(&m->rx[q], &buf, 1, (void *)(uintptr_t)(i + 1), false), 0);
	vdrv_publish(&m->rx[q]);
}

static void start(struct many *m, unsigned device, uint64_t features)
{
	guest_open(&m->g, device, features);
	for (unsigned q = 0; q < PAIRS; q++) {
		vdrv_init(&m->rx[q], m->g.mem + RING(2 * q), GUEST_BASE + RING(2 * q), NUM,
			  features);
		vdrv_init(&m->tx[q], m->g.mem + RING(2 * q + 1), GUEST_BASE + RING(2 * q + 1), NUM,
			  features);
		for (unsigned i = 0; i < NUM; i++)
			post(m, q, i);
		guest_ring(&m->g, 2 * q, &m->rx[q], -1, -1);
		guest_ring(&m->g, 2 * q + 1, &m->tx[q], m->g.kick, -1);
	}
}

static void stop(struct many *m)
{
	for (unsigned q = 0; q < PAIRS; q++) {
		vdrv_done(&m->rx[q]);
		vdrv_done(&m->tx[q]);
	}
	guest_close(&m->g);
}

/* A UDP frame of this flow, by queue @q. */
static void send_flow(unsigned flow, unsigned q)
{
	uint8_t *f = a.g.mem + TX_DATA + 12;
	struct vdrv_buf buf = { GUEST_BASE + TX_DATA, 12 + 60, false };
	uint32_t len;

	memset(a.g.mem + TX_DATA, 0, 12 + 60);
	memcpy(f, (uint8_t[]){ 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45 }, 15);
	store_be16(f + 16, 46);
	f[22] = 64;
	f[23] = 17;
	store_be32(f + 26, 0x0a000001);
	store_be32(f + 30, 0x0a000002);
	store_be16(f + 34, (uint16_t)(1000 + flow));
	store_be16(f + 36, 2000);
	store_be16(f + 38, 26);
	assert_int_equal(vdrv_add(&a.tx[q], &buf, 1, &a, false), 0);
	vdrv_publish(&a.tx[q]);
	/* all queues have the same descriptor to be kicked with, and only one reads it */
	for (unsigned i = 0; !vdrv_get(&a.tx[q], &len); i++) {
		assert_int_equal(write(a.g.kick, &(uint64_t){ 1 }, 8), 8);
		assert_true(i < 200000);
		usleep(100);
	}
}

/* Which queue the frame of @flow came on. */
static unsigned receive(unsigned flow)
{
	for (unsigned tries = 0; tries < 200000; tries++) {
		for (unsigned q = 0; q < PAIRS; q++) {
			uint32_t len;
			uintptr_t token = (uintptr_t)vdrv_get(&b.rx[q], &len);
			const uint8_t *f = b.g.mem + RX_DATA + (q * NUM + token - 1) * 2048 + 12;

			if (!token)
				continue;
			assert_int_equal(len, 72);
			assert_int_equal(load_be16(f + 34), 1000 + flow);
			post(&b, q, (unsigned)token - 1);
			return q;
		}
		usleep(100);
	}
	fail_msg("flow %u is lost", flow);
	return 0;
}

static void flows(uint64_t features)
{
	unsigned used[PAIRS] = { 0 }, n_used = 0;

	start(&a, 0, features);
	start(&b, 1, features);
	for (unsigned flow = 0; flow < FLOWS; flow++) {
		unsigned q;

		send_flow(flow, flow % PAIRS);
		q = receive(flow);
		used[q]++;
		/* again, by another queue of the sender's */
		send_flow(flow, (flow + 7) % PAIRS);
		assert_int_equal(receive(flow), q);
	}
	for (unsigned q = 0; q < PAIRS; q++)
		n_used += used[q] > 0;
	assert_int_equal(n_used, PAIRS);
	/* the driver takes fewer pairs: the rest get nothing */
	for (unsigned q = 3; q < PAIRS; q++)
		for (unsigned k = 0; k < 2; k++)
			assert_int_equal(vhost_request(&b.g.c, VHOST_SET_VRING_ENABLE,
						       (uint32_t[]){ 2 * q + k, 0 }, 8, -1),
					 0);
	for (unsigned flow = 0; flow < FLOWS; flow++) {
		send_flow(flow, flow % PAIRS);
		assert_in_range(receive(flow), 0, 2);
	}
	stop(&a);
	stop(&b);
}

static void flows_stay(void **state)
{
	flows(V1);
	flows(V1 | 1ull << VIRTIO_F_RING_PACKED);
}

static void set_link(void *arg)
{
	vhost_nic[1]->ops->link_set(vhost_nic[1], *(bool *)arg);
}

/* A link that is down lets nothing pass, either way. */
static void link_is_down(void **state)
{
	uint8_t frame[60] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 }, got[60];
	uint64_t discarded, off, value;
	struct guest c, d;

	guest_start(&c, 0, V1, 64, BUF_BYTES, 32);
	guest_start(&d, 1, V1, 64, BUF_BYTES, 32);
	for (unsigned i = 0; i < 3; i++) {
		nic_stat(1, "tx_discarded", &discarded);
		nic_stat(1, "rx_off", &off);
		on_loop(set_link, &(bool){ false });
		guest_send(&c, NULL, frame, sizeof(frame), 4096);
		guest_send(&d, NULL, frame, sizeof(frame), 4096);
		nic_stat(1, "rx_off", &value);
		assert_int_equal(value, off + 1);
		nic_stat(1, "tx_discarded", &value);
		assert_int_equal(value, discarded + 1);
		on_loop(set_link, &(bool){ true });
		guest_send(&c, NULL, frame, sizeof(frame), 4096);
		assert_int_equal(guest_receive(&d, NULL, got, sizeof(got)), sizeof(frame));
		guest_send(&d, NULL, frame, sizeof(frame), 4096);
		assert_int_equal(guest_receive(&c, NULL, got, sizeof(got)), sizeof(frame));
	}
	guest_stop(&c);
	guest_stop(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flows_stay),
		cmocka_unit_test(link_is_down),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
