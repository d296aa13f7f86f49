/* SPDX-License-Identifier: BSD-2-Clause */
/* Transmit descriptors: what leaves the device, and what is written back. */
#include "e1000_harness.h"

#include "base/clock.h"
#include "net/offload.h"
#include "stepped.h"

#define DEXT_DATA (TXD_DEXT | 1u << 20)

static uint8_t frame[70000];

static bool done(unsigned index)
{
	return load_le32((uint8_t *)at(TX_RING + index * 16) + 12) & TXD_STA_DD;
}

static void context(unsigned index, uint32_t ip, uint32_t l4, uint32_t lower, uint32_t upper)
{
	tx_desc(0, index, (uint64_t)l4 << 32 | ip, lower | TXD_DEXT, upper);
}

static void kick(unsigned tail)
{
	wr(TDT(0), tail);
	tx_poll(0);
}

static struct io_work poll_once(void)
{
	struct io_queue *queue = nic->queues[0];
	struct io_work work;

	turn.now_ns = time_now_ns();
	turn.budget_packets = 64;
	turn.budget_bytes = 1 << 20;
	queue->ops->poll(queue, &turn, &work);
	io_turn_end(&turn);
	return work;
}

static void test_legacy(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 100);

	tx_start(0);
	tx_frame(0, frame, len);
	assert_int_equal(n_sent, 1);
	assert_int_equal(sent[0].len, len);
	assert_memory_equal(sent[0].bytes, frame, len);
	assert_int_equal(sent[0].off.flags, 0);
	assert_true(done(0));
	assert_int_equal(rd(TDH(0)), 1);
	assert_true(rd(ICR) & ICR_TXDW);
}

static void test_short_frames_are_padded(void **state)
{
	tx_start(0);
	memcpy(frame, peer_mac, 6);
	memset(frame + 6, 0xee, 20);
	tx_frame(0, frame, 20);
	assert_int_equal(sent[0].len, 60);
	for (unsigned i = 20; i < 60; i++)
		assert_int_equal(sent[0].bytes[i], 0);
}

static void test_many_descriptors_make_one_packet(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 1000);

	tx_start(0);
	memcpy(at(TX_BUFFER), frame, len);
	tx_desc(0, 0, TX_BUFFER, 10 | DEXT_DATA, 0);
	tx_desc(0, 1, TX_BUFFER + 10, 40 | DEXT_DATA, 0);
	tx_desc(0, 2, 0, 0 | DEXT_DATA, 0); /* null: no data */
	tx_desc(0, 3, TX_BUFFER + 50, (len - 50) | DEXT_DATA | TXD_EOP | TXD_RS, 0);
	kick(4);
	assert_int_equal(n_sent, 1);
	assert_int_equal(sent[0].len, len);
	assert_memory_equal(sent[0].bytes, frame, len);
	assert_false(done(0));
	assert_true(done(3));
}

static void test_waits_for_the_last_descriptor(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 100);

	tx_start(0);
	memcpy(at(TX_BUFFER), frame, len);
	tx_desc(0, 0, TX_BUFFER, 50 | DEXT_DATA | TXD_RS, 0);
	tx_desc(0, 1, TX_BUFFER + 50, (len - 50) | DEXT_DATA | TXD_EOP | TXD_RS, 0);
	kick(1);
	assert_int_equal(n_sent, 0);
	assert_false(nic->queues[0]->ops->pending(nic->queues[0]));
	wr(TDT(0), 2);
	assert_true(nic->queues[0]->ops->pending(nic->queues[0]));
	tx_poll(0);
	assert_int_equal(n_sent, 1);
	assert_true(done(0));
	assert_true(done(1));
	assert_false(nic->queues[0]->ops->pending(nic->queues[0]));
}

static void test_wraps_around(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 50);

	tx_start(0);
	for (unsigned i = 0; i < 3 * RING_N; i++) {
		memset(at(TX_RING + (i % RING_N) * 16), 0, 16);
		tx_frame(i % RING_N, frame, len);
		assert_true(done(i % RING_N));
	}
	assert_int_equal(n_sent, 3 * RING_N);
	assert_int_equal(rd(TDH(0)), 0);
}

static void test_layer4_checksum_is_left_open(void **state)
{
	uint32_t len = frame_tcp(frame, peer_mac, 500);

	tx_start(0);
	memcpy(at(TX_BUFFER), frame, len);
	context(0, 14 | 24 << 8 | 33 << 16, 34 | 50 << 8, TXD_TUCMD_TCP | TXD_TUCMD_IP, 0);
	tx_desc(0, 1, TX_BUFFER, len | DEXT_DATA | TXD_EOP | TXD_RS, TXD_POPTS_TXSM);
	kick(2);
	assert_int_equal(n_sent, 1);
	assert_int_equal(sent[0].off.flags, OFFLOAD_NEEDS_CSUM);
	assert_int_equal(sent[0].off.csum_start, 34);
	assert_int_equal(sent[0].off.csum_offset, 16);
	/* the context stays for the next packet */
	tx_desc(0, 2, TX_BUFFER, len | DEXT_DATA | TXD_EOP | TXD_RS, TXD_POPTS_TXSM);
	kick(3);
	assert_int_equal(sent[1].off.flags, OFFLOAD_NEEDS_CSUM);
}

static void test_ip_checksum_is_done(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 500);
	uint16_t want = load_le16(frame + 24);

	tx_start(0);
	store_le16(frame + 24, 0);
	memcpy(at(TX_BUFFER), frame, len);
	context(0, 14 | 24 << 8 | 33 << 16, 0, TXD_TUCMD_IP, 0);
	tx_desc(0, 1, TX_BUFFER, len | DEXT_DATA | TXD_EOP | TXD_RS, TXD_POPTS_IXSM);
	kick(2);
	assert_int_equal(load_le16(sent[0].bytes + 24), want);
	assert_int_equal(load_le16((uint8_t *)at(TX_BUFFER) + 24), 0); /* not in the guest */
}

static void test_checksum_that_ends_early_is_done_here(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 500);
	uint16_t want;

	tx_start(0);
	memcpy(at(TX_BUFFER), frame, len);
	want = (uint16_t)~csum_fold(csum_add(0, frame + 34, 100, false));
	context(0, 0, 34 | 40 << 8 | 133u << 16, 0, 0);
	tx_desc(0, 1, TX_BUFFER, len | DEXT_DATA | TXD_EOP | TXD_RS, TXD_POPTS_TXSM);
	kick(2);
	assert_int_equal(sent[0].off.flags, 0);
	assert_int_equal(load_le16(sent[0].bytes + 40), want);
}

static void test_legacy_checksum(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 500);

	tx_start(0);
	memcpy(at(TX_BUFFER), frame, len);
	tx_desc(0, 0, TX_BUFFER, 20, 34 << 8);
	tx_desc(0, 1, TX_BUFFER + 20, (len - 20) | 40 << 16 | TXD_EOP | TXD_IC | TXD_RS, 0);
	kick(2);
	assert_int_equal(sent[0].off.flags, OFFLOAD_NEEDS_CSUM);
	assert_int_equal(sent[0].off.csum_start, 34);
	assert_int_equal(sent[0].off.csum_offset, 6);
}

/* As Linux prepares it: lengths and checksums without the parts that the chip fills. */
static uint32_t tso_frame(uint32_t payload)
{
	uint32_t len = frame_tcp(frame, peer_mac, payload);
	uint8_t rest[4] = { 0, 6, 0, 0 };

	store_be16(frame + 16, 0);
	store_be16(frame + 24, 0);
	store_le16(frame + 50,
		   csum_fold(csum_add(csum_add(0, frame + 26, 8, false), rest, 4, false)));
	return len;
}

static void tso_send(uint32_t len, uint32_t hdr, uint32_t mss)
{
	memcpy(at(TX_BUFFER), frame, len);
	context(0, 14 | 24 << 8 | 33 << 16, 34 | 50 << 8,
		TXD_TUCMD_TCP | TXD_TUCMD_IP | TXD_TSE | (len - hdr), hdr << 8 | mss << 16);
	tx_desc(0, 1, TX_BUFFER, hdr | DEXT_DATA | TXD_TSE, TXD_POPTS_TXSM | TXD_POPTS_IXSM);
	tx_desc(0, 2, TX_BUFFER + hdr, (len - hdr) | DEXT_DATA | TXD_TSE | TXD_EOP | TXD_RS, 0);
	kick(3);
}

static void test_tso_crosses_whole(void **state)
{
	uint32_t len = tso_frame(30000);
	uint16_t ip_csum, pseudo;

	tx_start(0);
	tso_send(len, 54, 1448);
	assert_int_equal(n_sent, 1);
	assert_int_equal(sent[0].len, len);
	assert_int_equal(sent[0].off.gso, OFFLOAD_GSO_TCPV4);
	assert_int_equal(sent[0].off.gso_size, 1448);
	assert_int_equal(sent[0].off.hdr_len, 54);
	assert_int_equal(sent[0].off.csum_start, 34);
	assert_int_equal(sent[0].off.csum_offset, 16);
	/* the headers are those of the whole: frame_tcp() makes them */
	frame_tcp(frame, peer_mac, 30000);
	ip_csum = load_le16(frame + 24);
	pseudo = load_le16(frame + 50);
	assert_int_equal(load_be16(sent[0].bytes + 16), 20 + 20 + 30000);
	assert_int_equal(load_le16(sent[0].bytes + 24), ip_csum);
	assert_int_equal(load_le16(sent[0].bytes + 50), pseudo);
	assert_memory_equal(sent[0].bytes + 54, frame + 54, 30000);
	assert_int_equal(stat("tx_tso_packets"), 1);
	assert_int_equal(rd(0x40d4), 21); /* TPT counts what the wire sees */
	assert_int_equal(rd(0x40f8), 1);  /* TSCTC */
}

static void test_tso_of_one_segment(void **state)
{
	uint32_t len = tso_frame(1000);

	tx_start(0);
	tso_send(len, 54, 1448);
	assert_int_equal(n_sent, 1);
	assert_int_equal(sent[0].off.gso, 0);
	assert_int_equal(sent[0].off.flags, OFFLOAD_NEEDS_CSUM);
	assert_int_equal(load_be16(sent[0].bytes + 16), 1040);
}

static void test_vlan_insert(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 100);

	tx_start(0);
	memcpy(at(TX_BUFFER), frame, len);
	tx_desc(0, 0, TX_BUFFER, len | TXD_EOP | TXD_VLE | TXD_RS, 0x2064u << 16);
	kick(1);
	assert_false(sent[0].tagged); /* not without CTRL.VME */
	wr(CTRL, rd(CTRL) | CTRL_VME);
	tx_desc(0, 1, TX_BUFFER, len | TXD_EOP | TXD_VLE | TXD_RS, 0x2064u << 16);
	kick(2);
	assert_true(sent[1].tagged);
	assert_int_equal(sent[1].tci, 0x2064);
}

/* What a poll took is told also if no packet came of it, so that somebody pays for its time. */
static void test_work_without_a_packet_is_told(void **state)
{
	struct {
		uint32_t lower;
		uint32_t takes; /* of two such descriptors */
	} cases[] = {
		{ TXD_DEXT, 2 },	/* context descriptors */
		{ 1 | TXD_EOP, 2 },	/* too short */
		{ 0 | DEXT_DATA, 0 },	/* not whole yet */
		{ 100 | DEXT_DATA, 0 }, /* the same, with data */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct io_work work;

		tx_start(0);
		wr(TCTL, TCTL_EN);
		work = poll_once();
		assert_false(work.spent);
		tx_desc(0, 0, TX_BUFFER, cases[i].lower, 0);
		tx_desc(0, 1, TX_BUFFER, cases[i].lower, 0);
		wr(TDT(0), 2);
		work = poll_once();
		assert_int_equal(work.packets, 0);
		assert_true(work.spent);
		assert_false(work.more);
		assert_int_equal(rd(TDH(0)), cases[i].takes);
		/* and once only */
		work = poll_once();
		assert_int_equal(work.spent, cases[i].takes == 0);
	}
	assert_int_equal(n_sent, 0);
}

static void test_second_queue(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 100);

	tx_start(1);
	memcpy(at(TX_BUFFER), frame, len);
	tx_desc(1, 0, TX_BUFFER, len | TXD_EOP | TXD_RS, 0);
	wr(TDT(1), 1);
	tx_poll(1);
	assert_int_equal(n_sent, 1);
	assert_int_equal(rd(TDH(1)), 1);
	assert_int_equal(rd(TDH(0)), 0);
}

/* ---- orders in which drivers write a ring ------------------------------------------------ */

static void one_frame(unsigned index)
{
	uint32_t len = frame_udp(frame, peer_mac, 100);
	unsigned before = n_sent;

	tx_frame(index, frame, len);
	assert_int_equal(n_sent, before + 1);
}

/* Sends some, so that heads are not 0 when the driver starts over. */
static void used_before(void)
{
	tx_start(0);
	for (unsigned i = 0; i < 5; i++)
		one_frame(i);
}

static void test_order_e1000e(void **state)
{
	used_before();
	wr(CTRL, rd(CTRL) | CTRL_RST);
	wr(TDBAL(0), (uint32_t)TX_RING);
	wr(TDBAH(0), 0);
	wr(TDLEN(0), RING_N * 16);
	wr(TDH(0), 0);
	wr(TDT(0), 0);
	wr(TCTL, TCTL_PSP);
	tx_poll(0);
	wr(TCTL, TCTL_PSP | TCTL_EN); /* when the link is up */
	tx_poll(0);
	one_frame(0);
}

static void test_order_e1000_tail_before_head(void **state)
{
	used_before();
	wr(TCTL, TCTL_PSP);
	wr(TDLEN(0), RING_N * 16);
	wr(TDBAH(0), 0);
	wr(TDBAL(0), (uint32_t)TX_RING);
	wr(TDT(0), 0);
	tx_poll(0);
	wr(TDH(0), 0);
	wr(TCTL, TCTL_PSP | TCTL_EN);
	tx_poll(0);
	assert_int_equal(n_sent, 5);
	one_frame(0);
}

static void test_order_windows_enable_first(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 100);

	wr(TCTL, TCTL_PSP | TCTL_EN);
	tx_poll(0);
	wr(TDBAL(0), (uint32_t)TX_RING);
	tx_poll(0);
	wr(TDBAH(0), 0);
	wr(TDLEN(0), RING_N * 16);
	tx_poll(0);
	tx_frame(0, frame, len);
	assert_int_equal(n_sent, 1);
}

static void test_order_doorbell_before_enable(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 100);

	memcpy(at(TX_BUFFER), frame, len);
	wr(TDBAL(0), (uint32_t)TX_RING);
	wr(TDLEN(0), RING_N * 16);
	tx_desc(0, 0, TX_BUFFER, len | TXD_EOP | TXD_RS, 0);
	wr(TDT(0), 1);
	tx_poll(0);
	assert_int_equal(n_sent, 0);
	assert_false(nic->queues[0]->ops->pending(nic->queues[0]));
	wr(TCTL, TCTL_EN);
	assert_true(nic->queues[0]->ops->pending(nic->queues[0]));
	tx_poll(0);
	assert_int_equal(n_sent, 1);
}

static void test_order_ipxe_teardown(void **state)
{
	used_before();
	wr(TCTL, 0);
	wr(TDLEN(0), 0);
	wr(TDBAL(0), 0);
	wr(TDH(0), 0);
	wr(TDT(0), 0);
	tx_poll(0);
	tx_start(0);
	one_frame(0);
}

/* ---- when nothing may be sent ------------------------------------------------------------ */

static void test_no_dma_without_bus_master(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 100);

	tx_start(0);
	bus_master(false);
	tx_frame(0, frame, len);
	assert_int_equal(n_sent, 0);
	assert_false(done(0));
	bus_master(true);
	assert_true(nic->queues[0]->ops->pending(nic->queues[0]));
	tx_poll(0);
	assert_int_equal(n_sent, 1);
	wr(CTRL, rd(CTRL) | CTRL_GIO_MD);
	if (dev->variant->chip == CHIP_82574L) {
		tx_frame(1, frame, len);
		assert_int_equal(n_sent, 1);
	}
}

static void test_link_down_drops(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 100);

	tx_start(0);
	nic->ops->link_set(nic, false);
	tx_frame(0, frame, len);
	assert_int_equal(n_sent, 0);
	assert_true(done(0));
	assert_int_equal(stat("tx_link_down"), 1);
}

static void test_phy_loopback(void **state)
{
	uint32_t len = frame_udp(frame, (const uint8_t *)"\xff\xff\xff\xff\xff\xff", 200);
	uint8_t *desc = at(RX_RING);

	rx_start(0, RCTL_EN | RCTL_BAM | RCTL_SECRC);
	tx_start(0);
	wr(MDIC, MDIC_OP_WRITE << 26 | 1 << 21 | 0 << 16 | 0x4140);
	tx_frame(0, frame, len);
	assert_int_equal(n_sent, 0);
	assert_true(desc[12] & RXD_DD);
	assert_int_equal(load_le16(desc + 8), len);
	assert_memory_equal(at(RX_BUFFER), frame, len);
	/* nothing from outside meanwhile */
	assert_int_equal(rx_give(frame, len, NULL, -1), 0);
}

/* 8 Mbit/s are 1000 bytes in a millisecond. */
static void test_rate_limit(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 1000 - 46);
	struct io_queue *queue = nic->queues[0];
	struct io_work work;

	assert_int_equal(len + 4, 1000);
	nic->ops->rate_set(nic, 8000000);
	tx_start(0);
	for (unsigned i = 0; i < 40; i++) {
		memcpy(at(TX_BUFFER), frame, len);
		tx_desc(0, i, TX_BUFFER, len | TXD_EOP | TXD_RS, 0);
	}
	wr(TDT(0), 40);
	turn.now_ns = 1000000000;
	turn.budget_packets = 64;
	turn.budget_bytes = 1 << 20;
	queue->ops->poll(queue, &turn, &work);
	assert_int_equal(n_sent, 17); /* a burst of 16 KB */
	turn.now_ns += 16999999;
	queue->ops->poll(queue, &turn, &work);
	assert_int_equal(n_sent, 17);
	assert_false(work.more);
	assert_false(queue->ops->pending(queue)); /* the timer knows, nobody spins */
	assert_int_equal(stat("tx_rate_limited"), 1);
	turn.now_ns += 1;
	dev->rate_timer.fire(&dev->rate_timer, &turn);
	assert_true(queue->ops->pending(queue));
	queue->ops->poll(queue, &turn, &work);
	assert_int_equal(n_sent, 34);
	/* and without a limit at once */
	nic->ops->rate_set(nic, 0);
	assert_true(queue->ops->pending(queue));
	queue->ops->poll(queue, &turn, &work);
	assert_int_equal(n_sent, 40);
}

/* ---- a guest that writes its registers while they are read ----------------------------------- */

/* The tail as a guest writes it: in the shared page, without anything that the device would see. */
static void tail_store(uint32_t tail)
{
	STORE_RELEASE(dev->tx_page[(TDT(0) & 0xfff) / 4], tail);
}

static void polls(void)
{
	tx_poll(0);
}

static void one_more(void)
{
	tail_store(6);
}

/* One packet comes at any moment of a poll that takes another; then the guest fills its ring, and
 * waits. Whatever the poll has seen: it is not over. */
static void test_ring_is_filled_after_a_poll(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 100), head;
	unsigned n = 0;
	bool again;

	if (!stepped_possible())
		skip();
	tx_start(0);
	memcpy(at(TX_BUFFER), frame, len);
	for (uint32_t i = 0; i < RING_N; i++)
		tx_desc(0, i, TX_BUFFER, len | TXD_EOP | TXD_RS, 0);
	do {
		while (rd(TDH(0)) != 4) {
			tail_store(4);
			tx_poll(0);
		}
		tail_store(5);
		n_sent = 0;
		again = stepped_run(dev->tx_page, 4096, ++n, polls, one_more);
		head = rd(TDH(0));
		assert_int_equal(head, 4 + n_sent);
		assert_in_range(head, 5, 6);
		tail_store(head - 1);
		assert_true(nic->queues[0]->ops->pending(nic->queues[0]));
		tx_poll(0);
		assert_int_equal(rd(TDH(0)), head - 1);
		assert_int_equal(n_sent, head - 4 + RING_N - 1);
		assert_false(nic->queues[0]->ops->pending(nic->queues[0]));
	} while (again);
	assert_in_range(n, 5, 1000);
}

/* A doorbell that the guest cannot use is nothing to look at, and its return is announced. */
static void test_looked_at_only_while_enabled(void **state)
{
	struct io_queue *queue = nic->queues[0];

	assert_true(queue->ops->announced(queue));
	tx_start(0);
	assert_false(queue->ops->announced(queue));
	wr(TCTL, rd(TCTL) & ~TCTL_EN);
	assert_true(queue->ops->announced(queue));
	wr(TCTL, rd(TCTL) | TCTL_EN);
	assert_false(queue->ops->announced(queue));
	bus_master(false);
	assert_true(queue->ops->announced(queue));
	bus_master(true);
	assert_false(queue->ops->announced(queue));
	wr(CTRL, rd(CTRL) | CTRL_GIO_MD);
	assert_true(queue->ops->announced(queue));
	tx_poll(0);
	assert_false(queue->ops->pending(queue));
	wr(CTRL, rd(CTRL) & ~CTRL_GIO_MD);
	assert_true(queue->ops->pending(queue));
	assert_false(queue->ops->announced(queue));
	wr(CTRL, rd(CTRL) | CTRL_RST);
	assert_true(queue->ops->announced(queue));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		both(test_legacy),
		trap(test_legacy),
		both(test_short_frames_are_padded),
		both(test_many_descriptors_make_one_packet),
		both(test_waits_for_the_last_descriptor),
		both(test_wraps_around),
		both(test_layer4_checksum_is_left_open),
		both(test_ip_checksum_is_done),
		both(test_checksum_that_ends_early_is_done_here),
		both(test_legacy_checksum),
		both(test_tso_crosses_whole),
		both(test_tso_of_one_segment),
		both(test_vlan_insert),
		both(test_work_without_a_packet_is_told),
		l(test_second_queue),
		l(test_order_e1000e),
		em(test_order_e1000_tail_before_head),
		both(test_order_windows_enable_first),
		both(test_order_doorbell_before_enable),
		both(test_order_ipxe_teardown),
		both(test_no_dma_without_bus_master),
		both(test_link_down_drops),
		both(test_phy_loopback),
		both(test_rate_limit),
		both(test_ring_is_filled_after_a_poll),
		both(test_looked_at_only_while_enabled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
