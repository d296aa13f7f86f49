/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that means harm: each case must end, stay inside of the guest's memory, be counted, and
 * leave a device that works after a reset. Run with the sanitizers as well.
 */
#include "e1000_harness.h"

#define DEXT_DATA (TXD_DEXT | 1u << 20)

static uint8_t frame[70000];

static void kick(unsigned tail)
{
	wr(TDT(0), tail);
	tx_poll(0);
}

/* Afterwards: a reset, and traffic both ways. */
static void check_alive(void)
{
	uint32_t len = frame_udp(frame, own_mac, 300);

	wr(CTRL, 0x00140240 | CTRL_RST);
	n_sent = 0;
	tx_start(0);
	tx_frame(0, frame, len);
	assert_int_equal(n_sent, 1);
	assert_memory_equal(sent[0].bytes, frame, len);
	rx_start(0, RCTL_EN | RCTL_SECRC);
	assert_int_equal(rx_give(frame, len, NULL, -1), 1);
	assert_memory_equal(at(RX_BUFFER), frame, len);
}

/* ---- rings ------------------------------------------------------------------------------- */

static void try_rings(uint32_t bal, uint32_t bah, uint32_t len, uint32_t head, uint32_t tail)
{
	uint32_t frame_len = frame_udp(frame, own_mac, 100);

	wr(TDBAL(0), bal);
	wr(TDBAH(0), bah);
	wr(TDLEN(0), len);
	wr(TDH(0), head);
	wr(TDT(0), tail);
	wr(TCTL, TCTL_EN);
	tx_poll(0);
	wr(RDBAL(0), bal);
	wr(RDBAH(0), bah);
	wr(RDLEN(0), len);
	wr(RDH(0), head);
	wr(RDT(0), tail);
	wr(RCTL, RCTL_EN | RCTL_UPE);
	rx_give(frame, frame_len, NULL, -1);
	/* idle is idle, whatever stands there */
	tx_poll(0);
	assert_false(nic->queues[0]->ops->pending(nic->queues[0]));
}

static void test_ring_length_0(void **state)
{
	try_rings((uint32_t)TX_RING, 0, 0, 0, 5);
	try_rings((uint32_t)TX_RING, 0, 0x7f, 0, 5); /* masked to 0 */
	assert_int_equal(n_sent, 0);
	check_alive();
}

static void test_ring_length_odd(void **state)
{
	try_rings((uint32_t)TX_RING, 0, 0xfff80, 0, 0xfff7);
	try_rings((uint32_t)TX_RING, 0, 0xffffffff, 0, 0xfff7);
	try_rings((uint32_t)TX_RING, 0, 128 * 3, 23, 1);
	check_alive();
}

static void test_ring_unmapped(void **state)
{
	try_rings(0, 0, 1024, 0, 5);
	try_rings(0xfffffff0, 0xffffffff, 1024, 0, 5); /* wraps */
	try_rings(0x1000, 0xdeadbeef, 1024, 0, 5);
	assert_true(stat("tx_bad_ring") > 0);
	assert_true(stat("rx_bad_ring") > 0);
	check_alive();
}

static void test_ring_half_mapped(void **state)
{
	uint64_t base = GUEST_BASE + GUEST_SIZE - 64;

	memset(at(base), 0, 64);
	try_rings((uint32_t)base, (uint32_t)(base >> 32), 1024, 0, 40);
	check_alive();
}

static void test_ring_unaligned(void **state)
{
	tx_start(0);
	wr(TDBAL(0), (uint32_t)TX_RING + 7); /* the low bits do not count */
	tx_desc(0, 0, TX_BUFFER, 64 | TXD_EOP | TXD_RS, 0);
	kick(1);
	assert_int_equal(n_sent, 1);
	check_alive();
}

static void test_head_and_tail_outside(void **state)
{
	try_rings((uint32_t)TX_RING, 0, RING_N * 16, 0, RING_N);
	try_rings((uint32_t)TX_RING, 0, RING_N * 16, 0xffff, 3);
	try_rings((uint32_t)TX_RING, 0, RING_N * 16, 3, 0xffff);
	try_rings((uint32_t)TX_RING, 0, RING_N * 16, 0xffffffff, 0xffffffff);
	assert_int_equal(n_sent, 0);
	check_alive();
}

/* ethtool's register test leaves both units on with garbage in the rings. */
static void test_enabled_with_garbage(void **state)
{
	for (uint32_t at = 0x2800; at < 0x2a00; at += 4)
		wr(at, 0xffffffff);
	for (uint32_t at = 0x3800; at < 0x3a00; at += 4)
		wr(at, 0xffffffff);
	wr(RCTL, 0x06dfb3fe);
	wr(TCTL, 0xffffffff);
	tx_poll(0);
	rx_give(frame, frame_udp(frame, own_mac, 100), NULL, -1);
	check_alive();
}

static void test_every_register_all_ones(void **state)
{
	uint32_t patterns[] = { 0xffffffff, 0xa5a5a5a5, 0x00000001, 0x80000000 };

	for (unsigned p = 0; p < ARRAY_SIZE(patterns); p++) {
		for (uint32_t at = 0; at < E1000_BAR_BYTES; at += 4) {
			wr(at, patterns[p]);
			rd(at);
		}
		tx_poll(0);
		rx_give(frame, frame_udp(frame, own_mac, 100), NULL, -1);
	}
	pci_function_reset(nic->pci, PCI_RESET_FUNCTION);
	bus_master(true);
	dev->nvm[0] = load_le16(own_mac); /* EEWR changed it, which is the guest's own */
	e1000_nvm_init(dev);
	check_alive();
}

/* ---- descriptors ------------------------------------------------------------------------- */

static void test_buffers_unmapped(void **state)
{
	tx_start(0);
	tx_desc(0, 0, 0xdead0000beefull, 100 | TXD_EOP | TXD_RS, 0);
	tx_desc(0, 1, ~0ull, 0xffff | TXD_EOP | TXD_RS, 0);
	tx_desc(0, 2, GUEST_BASE + GUEST_SIZE - 10, 100 | TXD_EOP | TXD_RS, 0);
	kick(3);
	assert_int_equal(n_sent, 0);
	assert_int_equal(stat("tx_bad_buffer"), 3);
	assert_int_equal(rd(TDH(0)), 3); /* used up all the same */
	check_alive();
}

static void test_receive_buffers_unmapped(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 100);

	rx_start(0, RCTL_EN | RCTL_SECRC);
	for (unsigned i = 0; i < RING_N; i++)
		store_le64(at(RX_RING + i * 16), i & 1 ? ~0ull - 100 : 0xfee00000);
	assert_int_equal(rx_give(frame, len, NULL, -1), 0);
	assert_true(stat("rx_bad_buffer") >= RING_N - 1);
	/* the ring is empty now: more frames wait, and find the same */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(rx_give(frame, len, NULL, -1), 1);
		wr(RDT(0), (rd(RDT(0)) + RING_N - 1) % RING_N);
		assert_true(wait_timer_run());
		assert_int_equal(stat("rx_waiting"), 0);
	}
	assert_int_equal(stat("rx_packets"), 0);
	assert_int_equal(stat("rx_no_buffer"), 4);
	check_alive();
}

static void test_receive_null_buffers_only(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 100);

	rx_start(0, RCTL_EN | RCTL_SECRC);
	for (unsigned i = 0; i < RING_N; i++)
		store_le64(at(RX_RING + i * 16), 0);
	assert_int_equal(rx_give(frame, len, NULL, -1), 0);
	assert_int_equal(rd(RDH(0)), RING_N - 1);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(rx_give(frame, len, NULL, -1), 1);
	assert_int_equal(rd(RDH(0)), RING_N - 1);
	assert_int_equal(stat("rx_packets"), 0);
	check_alive();
}

/* The device's own BAR is no memory that a client maps for it. */
static void test_ring_in_own_bar(void **state)
{
	try_rings(0xfebc3800, 0, 1024, 0, 5);
	check_alive();
}

static void test_no_end_of_packet(void **state)
{
	tx_start(0);
	for (unsigned i = 0; i < RING_N; i++)
		tx_desc(0, i, TX_BUFFER, 100 | DEXT_DATA, 0);
	kick(RING_N - 1);
	assert_int_equal(n_sent, 0);
	assert_int_equal(stat("tx_unfinished"), 1);
	for (unsigned lap = 1; lap < 10; lap++)
		kick((lap * 7) % RING_N);
	assert_int_equal(n_sent, 0);
	check_alive();
}

static void test_packet_beyond_all_limits(void **state)
{
	tx_start(0);
	for (unsigned i = 0; i < RING_N; i++)
		tx_desc(0, i, TX_BUFFER, 0xfffff | DEXT_DATA | (i == 50 ? TXD_EOP : 0), 0);
	kick(51);
	assert_int_equal(n_sent, 0);
	check_alive();
}

static void test_more_pieces_than_a_packet_has(void **state)
{
	tx_start(0);
	wr(TDLEN(0), 512 * 16);
	for (unsigned i = 0; i < 512; i++) {
		uint8_t *d = at(TX_RING + i * 16);

		store_le64(d, TX_BUFFER);
		store_le32(d + 8, 1 | DEXT_DATA | (i == 500 ? TXD_EOP : 0) | TXD_RS);
		store_le32(d + 12, 0);
	}
	kick(501);
	assert_int_equal(n_sent, 0);
	assert_int_equal(rd(TDH(0)), 501);
	check_alive();
}

static void test_zero_sizes(void **state)
{
	tx_start(0);
	for (unsigned i = 0; i < 8; i++)
		tx_desc(0, i, TX_BUFFER, TXD_EOP | TXD_RS | (i & 1 ? DEXT_DATA : 0), 0);
	for (unsigned i = 8; i < 22; i++)
		tx_desc(0, i, TX_BUFFER, (i - 8) | TXD_EOP | TXD_RS, 0);
	kick(22);
	assert_int_equal(n_sent, 0);
	assert_int_equal(stat("tx_bad_length"), 13);
	check_alive();
}

static void test_unknown_descriptor_type(void **state)
{
	tx_start(0);
	for (unsigned type = 2; type < 16; type++)
		tx_desc(0, type - 2, TX_BUFFER, 100 | TXD_DEXT | type << 20 | TXD_EOP | TXD_RS, 0);
	kick(14);
	assert_int_equal(n_sent, 0);
	assert_int_equal(stat("tx_bad_descriptor"), 14);
	check_alive();
}

/* ---- offloads ---------------------------------------------------------------------------- */

static void checksum(uint32_t ip, uint32_t l4, uint32_t len)
{
	tx_start(0);
	tx_desc(0, 0, (uint64_t)l4 << 32 | ip, TXD_DEXT, 0);
	tx_desc(0, 1, TX_BUFFER, len | DEXT_DATA | TXD_EOP | TXD_RS,
		TXD_POPTS_TXSM | TXD_POPTS_IXSM);
	kick(2);
}

static void test_checksum_offsets_outside(void **state)
{
	static const uint32_t offsets[] = {
		0,	    0xffffffff, 0x0000ffff, 0xffff0000, 0x000000ff, 0x0000ff00,
		0x000aff10, 0x00010203, 0x00ff3c3b, 0x003b3a3b, 0x00103d3c,
	};
	static const uint32_t lengths[] = { 14, 15, 60, 61, 255, 256, 257, 1514, 16288 };

	memset(at(TX_BUFFER), 0x77, 16384);
	for (unsigned i = 0; i < ARRAY_SIZE(offsets); i++)
		for (unsigned j = 0; j < ARRAY_SIZE(offsets); j++)
			for (unsigned k = 0; k < ARRAY_SIZE(lengths); k++)
				checksum(offsets[i], offsets[j], lengths[k]);
	assert_true(stat("tx_bad_checksum") > 0);
	check_alive();
}

static void test_legacy_checksum_offsets_outside(void **state)
{
	tx_start(0);
	memset(at(TX_BUFFER), 0x77, 1024);
	for (uint32_t css = 0; css < 256; css += 15) {
		for (uint32_t cso = 0; cso < 256; cso += 15) {
			tx_start(0);
			tx_desc(0, 0, TX_BUFFER, 64 | cso << 16 | TXD_IC | TXD_EOP, css << 8);
			kick(1);
		}
	}
	assert_int_equal(n_sent, 18 * 18);
	check_alive();
}

static void test_offload_without_context(void **state)
{
	tx_start(0);
	tx_desc(0, 0, TX_BUFFER, 100 | DEXT_DATA | TXD_EOP, TXD_POPTS_TXSM);
	tx_desc(0, 1, TX_BUFFER, 100 | DEXT_DATA | TXD_TSE | TXD_EOP, TXD_POPTS_TXSM);
	kick(2);
	assert_int_equal(stat("tx_bad_context"), 2);
	assert_int_equal(n_sent, 1); /* the plain one goes as it is */
	check_alive();
}

static void tso(uint32_t ip, uint32_t l4, uint32_t len, uint32_t hdr, uint32_t mss, uint32_t tucmd)
{
	tx_start(0);
	tx_desc(0, 0, (uint64_t)l4 << 32 | ip, TXD_DEXT | TXD_TSE | tucmd | (len & 0xfffff),
		hdr << 8 | mss << 16);
	tx_desc(0, 1, TX_BUFFER, len | DEXT_DATA | TXD_TSE | TXD_EOP | TXD_RS,
		TXD_POPTS_TXSM | TXD_POPTS_IXSM);
	kick(2);
}

static void test_tso_nonsense(void **state)
{
	static const uint32_t ips[] = { 14 | 24 << 8 | 33 << 16, 0, 0xffffffff, 14 | 255 << 8,
					200 };
	static const uint32_t l4s[] = { 34 | 50 << 8,	0,	     0xffffffff, 34 | 255 << 8,
					250 | 251 << 8, 54 | 70 << 8 };
	static const uint32_t lens[] = { 1, 14, 54, 55, 200, 1514, 30000, 65549, 65550, 0xfffff };
	static const uint32_t hdrs[] = { 0, 1, 34, 54, 74, 255 };
	static const uint32_t msss[] = { 0, 1, 16, 1448, 65535 };

	memset(at(TX_BUFFER), 0x45, 70000);
	for (unsigned i = 0; i < ARRAY_SIZE(ips); i++)
		for (unsigned l = 0; l < ARRAY_SIZE(l4s); l++)
			for (unsigned n = 0; n < ARRAY_SIZE(lens); n++)
				for (unsigned h = 0; h < ARRAY_SIZE(hdrs); h++)
					for (unsigned m = 0; m < ARRAY_SIZE(msss); m++)
						tso(ips[i], l4s[l], lens[n], hdrs[h], msss[m],
						    (i * 7 + l * 5 + n * 3 + h + m) << 24 &
							    3u << 24);
	assert_true(stat("tx_tso_failed") > 0);
	check_alive();
}

static void test_tso_header_longer_than_packet(void **state)
{
	memset(at(TX_BUFFER), 0x45, 100);
	tso(14 | 24 << 8, 34 | 50 << 8, 60, 200, 100, 3 << 24);
	assert_int_equal(n_sent, 0);
	assert_int_equal(stat("tx_tso_failed"), 1);
	check_alive();
}

static void test_segment_size_0(void **state)
{
	memset(at(TX_BUFFER), 0x45, 2000);
	tso(14 | 24 << 8, 34 | 50 << 8, 2000, 54, 0, 3 << 24);
	assert_int_equal(n_sent, 0);
	assert_int_equal(stat("tx_tso_failed"), 1);
	check_alive();
}

/* ---- things that change ------------------------------------------------------------------ */

static void test_memory_goes_away(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 100);
	int fd;

	tx_start(0);
	rx_start(0, RCTL_EN | RCTL_SECRC);
	tx_frame(0, frame, len);
	assert_int_equal(memory_space_unmap(space, 0, 0), 1);
	pci_memory_changed(nic->pci);
	wr(TDT(0), 2);
	tx_poll(0);
	assert_int_equal(n_sent, 1);
	assert_int_equal(rx_give(frame, len, NULL, -1), 0);
	assert_true(stat("tx_bad_ring") > 0);
	assert_false(nic->queues[0]->ops->pending(nic->queues[0]));
	/* and comes back: a firmware does that several times in a boot */
	fd = guest_file();
	assert_int_equal(
		memory_space_map(space, GUEST_BASE, GUEST_SIZE, MEMORY_READ | MEMORY_WRITE, fd, 0),
		0);
	pci_memory_changed(nic->pci);
	assert_true(nic->queues[0]->ops->pending(nic->queues[0]));
	check_alive();
}

static void test_reset_in_the_middle_of_a_packet(void **state)
{
	tx_start(0);
	tx_desc(0, 0, TX_BUFFER, 100 | DEXT_DATA, 0);
	kick(1);
	wr(CTRL, rd(CTRL) | CTRL_RST);
	check_alive();
	assert_int_equal(sent[0].len, 342); /* nothing of the old packet in front */
}

static void test_dropping_ends_with_reset(void **state)
{
	tx_start(0);
	for (unsigned i = 0; i < RING_N; i++)
		tx_desc(0, i, TX_BUFFER, 100 | DEXT_DATA, 0);
	kick(RING_N - 1); /* dropped up to an EOP that never comes */
	check_alive();
}

/* The guest moves heads about while the device works. */
static void test_heads_written_at_any_time(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 100);

	tx_start(0);
	rx_start(0, RCTL_EN | RCTL_SECRC);
	for (unsigned i = 0; i < 1000; i++) {
		wr(TDH(0), i * 37 & 0xffff);
		wr(TDT(0), i * 11 % RING_N);
		wr(RDH(0), i * 41 % (2 * RING_N));
		wr(RDT(0), i * 13 % (2 * RING_N));
		tx_poll(0);
		rx_give(frame, len, NULL, -1);
	}
	check_alive();
}

static void test_flood(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 100);

	rx_start(0, RCTL_EN | RCTL_SECRC);
	for (unsigned i = 0; i < 10000; i++)
		rx_give(frame, len, NULL, -1);
	/* what the packet buffer holds waits */
	assert_in_range(stat("rx_waiting"), 100, 64 * 1024 / 144);
	assert_int_equal(stat("rx_no_buffer"), 10000 - (RING_N - 1) - stat("rx_waiting"));
	check_alive();
}

static void test_loopback_does_not_recurse(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 100);

	/* receive buffers that are the transmit ring */
	tx_start(0);
	rx_start(0, 0);
	for (unsigned i = 0; i < RING_N; i++)
		store_le64(at(RX_RING + i * 16), TX_RING);
	wr(RCTL, RCTL_EN | 1 << 6 | RCTL_UPE);
	for (unsigned i = 0; i < RING_N - 1; i++)
		tx_desc(0, i, TX_BUFFER, len | TXD_EOP | TXD_RS, 0);
	memcpy(at(TX_BUFFER), frame, len);
	kick(RING_N - 1);
	assert_int_equal(n_sent, 0);
	check_alive();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		both(test_ring_length_0),
		both(test_ring_length_odd),
		both(test_ring_unmapped),
		both(test_ring_half_mapped),
		both(test_ring_unaligned),
		both(test_head_and_tail_outside),
		both(test_enabled_with_garbage),
		both(test_every_register_all_ones),
		both(test_buffers_unmapped),
		both(test_receive_buffers_unmapped),
		both(test_receive_null_buffers_only),
		both(test_ring_in_own_bar),
		both(test_no_end_of_packet),
		both(test_packet_beyond_all_limits),
		both(test_more_pieces_than_a_packet_has),
		both(test_zero_sizes),
		both(test_unknown_descriptor_type),
		both(test_checksum_offsets_outside),
		both(test_legacy_checksum_offsets_outside),
		both(test_offload_without_context),
		both(test_tso_nonsense),
		both(test_tso_header_longer_than_packet),
		both(test_segment_size_0),
		both(test_memory_goes_away),
		both(test_reset_in_the_middle_of_a_packet),
		both(test_dropping_ends_with_reset),
		both(test_heads_written_at_any_time),
		both(test_flood),
		both(test_loopback_does_not_recurse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
