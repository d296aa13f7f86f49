/* SPDX-License-Identifier: BSD-2-Clause */
/* Receive: filters, descriptor formats, tags, checksums, segments, sizes. */
#include "e1000_harness.h"

#include "base/clock.h"
#include "base/rcu.h"
#include "core/private.h"
#include "net/offload.h"

#define EN		 (RCTL_EN | RCTL_SECRC)
#define STATUS_EXT(desc) load_le32((desc) + 8)

static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
static const uint8_t multicast[6] = { 0x01, 0x00, 0x5e, 0x00, 0x00, 0x7b };
static uint8_t frame[70000];

static uint8_t *desc(unsigned index)
{
	return at(RX_RING + index * 16);
}

static uint8_t *buffer(unsigned index)
{
	return at(RX_BUFFER + index * (uint64_t)BUFFER);
}

static void test_legacy(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 200);

	rx_start(0, EN);
	assert_int_equal(rx_give(frame, len, NULL, -1), 1);
	assert_int_equal(load_le16(desc(0) + 8), len);
	assert_int_equal(desc(0)[12] & (RXD_DD | RXD_EOP | RXD_VP), RXD_DD | RXD_EOP);
	assert_int_equal(desc(0)[13], 0);
	assert_memory_equal(buffer(0), frame, len);
	assert_int_equal(rd(RDH(0)), 1);
	assert_true(rd(ICR) & ICR_RXT0);
	assert_int_equal(rd(0x4074), 1); /* GPRC */
	/* the address is left alone */
	assert_int_equal(load_le64(desc(0)), RX_BUFFER);
}

static void test_crc_unless_stripped(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 200);

	rx_start(0, RCTL_EN);
	memset(buffer(0), 0xcc, BUFFER);
	rx_give(frame, len, NULL, -1);
	assert_int_equal(load_le16(desc(0) + 8), len + 4);
	assert_int_equal(load_le32(buffer(0) + len), 0); /* nobody else's bytes */
}

static void test_short_frames_are_padded(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 1);

	rx_start(0, EN);
	memset(buffer(0), 0xcc, BUFFER);
	rx_give(frame, len, NULL, -1);
	assert_int_equal(load_le16(desc(0) + 8), 60);
	for (unsigned i = len; i < 60; i++)
		assert_int_equal(buffer(0)[i], 0);
	assert_int_equal(buffer(0)[60], 0xcc);
}

static void test_extended(void **state)
{
	uint32_t len = frame_tcp(frame, own_mac, 200);
	struct offload off = { .flags = OFFLOAD_CSUM_VALID };

	wr(RFCTL, RFCTL_EXTEN);
	wr(RXCSUM, RXCSUM_IPOFL | RXCSUM_TUOFL);
	rx_start(0, EN);
	assert_int_equal(rx_give(frame, len, &off, -1), 1);
	assert_int_equal(STATUS_EXT(desc(0)) & 0x7f, RXD_DD | RXD_EOP | RXD_TCPCS | RXD_IPCS);
	assert_int_equal(STATUS_EXT(desc(0)) >> 24, 0);
	assert_int_equal(STATUS_EXT(desc(0)) >> RXD_TYPE_SHIFT & 0xf, 2);
	assert_int_equal(load_le16(desc(0) + 12), len);
	assert_int_equal(load_le32(desc(0) + 4), 0);
	assert_memory_equal(buffer(0), frame, len);
}

static void test_unknown_checksum_is_not_vouched_for(void **state)
{
	uint32_t len = frame_tcp(frame, own_mac, 200);

	wr(RXCSUM, RXCSUM_TUOFL);
	rx_start(0, EN);
	rx_give(frame, len, NULL, -1);
	assert_int_equal(desc(0)[12] & (RXD_TCPCS | RXD_UDPCS), 0);
	assert_true(desc(0)[12] & RXD_IXSM);
}

static void test_bad_ip_checksum_is_told(void **state)
{
	uint32_t len = frame_tcp(frame, own_mac, 200);

	frame[24] ^= 1;
	wr(RXCSUM, RXCSUM_IPOFL);
	rx_start(0, EN);
	rx_give(frame, len, NULL, -1);
	assert_int_equal(desc(0)[13], 0x40); /* IPE */
}

static void test_open_checksum_is_completed(void **state)
{
	uint32_t len = frame_tcp(frame, own_mac, 701);
	struct offload off = { .flags = OFFLOAD_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16 };
	uint8_t pseudo[4] = { 0, 6, (20 + 701) >> 8, (20 + 701) & 0xff };
	uint64_t sum;

	wr(RXCSUM, RXCSUM_TUOFL);
	rx_start(0, EN);
	rx_give(frame, len, &off, -1);
	assert_true(desc(0)[12] & RXD_TCPCS);
	assert_false(desc(0)[12] & RXD_IXSM);
	sum = csum_add(0, buffer(0) + 26, 8, false);
	sum = csum_add(sum, pseudo, 4, false);
	sum = csum_add(sum, buffer(0) + 34, 20 + 701, false);
	assert_int_equal(csum_fold(sum), 0xffff);
}

/* The field lies behind what is copied as header, and over the border of two buffers. */
static void test_open_checksum_far_behind(void **state)
{
	struct offload off = { .flags = OFFLOAD_NEEDS_CSUM, .csum_start = 200, .csum_offset = 55 };
	uint16_t want;

	memset(frame, 0x11, 600);
	memcpy(frame, own_mac, 6);
	want = (uint16_t)~csum_fold(csum_add(0, frame + 200, 400, false));
	rx_start(0, EN | 3 << 16); /* 256 bytes */
	rx_give(frame, 600, &off, -1);
	assert_int_equal(buffer(0)[255], want & 0xff);
	assert_int_equal(buffer(1)[0], want >> 8);
	assert_int_equal(buffer(1)[1], 0x11);
}

static void test_large_segment_is_cut_up(void **state)
{
	uint32_t len = frame_tcp(frame, own_mac, 4000);
	struct offload off = tcp_segment(1400);

	wr(RXCSUM, RXCSUM_IPOFL | RXCSUM_TUOFL);
	rx_start(0, EN);
	assert_int_equal(rx_give(frame, len, &off, -1), 1);
	for (unsigned i = 0; i < 3; i++) {
		uint32_t payload = i < 2 ? 1400 : 1200;
		uint8_t pseudo[4] = { 0, 6, (uint8_t)((20 + payload) >> 8),
				      (uint8_t)(20 + payload) };
		uint64_t sum;

		assert_int_equal(load_le16(desc(i) + 8), 54 + payload);
		assert_int_equal(desc(i)[12] & 0x7f, RXD_DD | RXD_EOP | RXD_TCPCS | RXD_IPCS);
		assert_int_equal(load_be32(buffer(i) + 38), 0x1000 + 1400 * i);
		assert_memory_equal(buffer(i) + 54, frame + 54 + 1400 * i, payload);
		sum = csum_add(0, buffer(i) + 26, 8, false);
		sum = csum_add(sum, pseudo, 4, false);
		sum = csum_add(sum, buffer(i) + 34, 20 + payload, false);
		assert_int_equal(csum_fold(sum), 0xffff);
	}
	assert_int_equal(rd(RDH(0)), 3);
	assert_int_equal(stat("rx_segmented"), 3);
}

/* ---- filters ----------------------------------------------------------------------------- */

static unsigned give_to(const uint8_t *dst)
{
	return rx_give(frame, frame_udp(frame, dst, 100), NULL, -1);
}

static void test_address_filters(void **state)
{
	unsigned hash = (multicast[5] << 8 | multicast[4]) >> 4 & 0xfff;

	rx_start(0, EN);
	assert_int_equal(give_to(own_mac), 1);
	assert_int_equal(give_to(peer_mac), 0);
	assert_int_equal(give_to(broadcast), 0);
	assert_int_equal(give_to(multicast), 0);
	wr(RCTL, EN | RCTL_BAM);
	assert_int_equal(give_to(broadcast), 1);
	assert_int_equal(give_to(multicast), 0);
	wr(RCTL, EN | RCTL_MPE);
	assert_int_equal(give_to(multicast), 1);
	wr(RCTL, EN | RCTL_UPE);
	assert_int_equal(give_to(peer_mac), 1);
	assert_int_equal(give_to(multicast), 0);
	wr(RCTL, EN);
	wr(MTA + 4 * (hash >> 5), BIT(hash & 31));
	assert_int_equal(give_to(multicast), 1);
	wr(MTA + 4 * (hash >> 5), 0);
	wr(RAL(3), load_le32(multicast));
	wr(RAH(3), load_le16(multicast + 4) | RAH_AV);
	assert_int_equal(give_to(multicast), 1);
	wr(RAH(3), load_le16(multicast + 4));
	assert_int_equal(give_to(multicast), 0);
	assert_int_equal(stat("rx_filtered"), 6);
}

static void test_vlan_filter_and_strip(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 100);

	rx_start(0, EN | RCTL_VFE);
	assert_int_equal(rx_give(frame, len, NULL, 100), 0);
	assert_int_equal(stat("rx_vlan_filtered"), 1);
	wr(VFTA + 4 * (100 >> 5), BIT(100 & 31));
	assert_int_equal(rx_give(frame, len, NULL, 100), 1);
	/* not stripped: in the bytes */
	assert_int_equal(load_le16(desc(0) + 8), len + 4);
	assert_int_equal(load_be32(buffer(0) + 12), 0x81000064);
	assert_memory_equal(buffer(0) + 16, frame + 12, len - 12);
	assert_false(desc(0)[12] & RXD_VP);
	/* stripped, from beside the frame */
	wr(CTRL, rd(CTRL) | CTRL_VME);
	assert_int_equal(rx_give(frame, len, NULL, 0x6064), 1);
	assert_int_equal(load_le16(desc(1) + 8), len);
	assert_true(desc(1)[12] & RXD_VP);
	assert_int_equal(load_le16(desc(1) + 14), 0x6064);
	assert_memory_equal(buffer(1), frame, len);
	/* and from the bytes */
	assert_int_equal(rx_give(buffer(0), len + 4, NULL, -1), 1);
	assert_int_equal(load_le16(desc(2) + 8), len);
	assert_true(desc(2)[12] & RXD_VP);
	assert_int_equal(load_le16(desc(2) + 14), 100);
	assert_memory_equal(buffer(2), frame, len);
	/* untagged frames pass the filter */
	assert_int_equal(rx_give(frame, len, NULL, -1), 1);
	assert_false(desc(3)[12] & RXD_VP);
}

static void test_checksum_with_a_tag_in_the_bytes(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 300);
	struct offload off = { .flags = OFFLOAD_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6 };
	uint16_t want = (uint16_t)~csum_fold(csum_add(0, frame + 34, len - 34, false));

	rx_start(0, EN);
	rx_give(frame, len, &off, 5); /* goes in */
	assert_int_equal(load_le16(buffer(0) + 44), want);
	memmove(frame + 16, frame + 12, len - 12);
	store_be32(frame + 12, 0x81000005);
	wr(CTRL, rd(CTRL) | CTRL_VME);
	off.csum_start += 4;
	rx_give(frame, len + 4, &off, -1); /* comes out */
	assert_int_equal(load_le16(buffer(1) + 40), want);
	/* in the tag: it goes with it, and nothing else is written */
	for (off.csum_start = 14, off.csum_offset = 0; off.csum_offset < 2; off.csum_offset++) {
		rx_give(frame, len + 4, &off, -1);
		assert_memory_equal(buffer(2 + off.csum_offset), frame, 12);
		assert_memory_equal(buffer(2 + off.csum_offset) + 12, frame + 16, len - 12);
	}
}

/* ---- sizes ------------------------------------------------------------------------------- */

static void test_oversize_without_lpe(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 1518 - 42);

	assert_int_equal(len, 1518);
	rx_start(0, EN);
	assert_int_equal(rx_give(frame, len, NULL, -1), 1);
	len = frame_udp(frame, own_mac, 1519 - 42);
	assert_int_equal(rx_give(frame, len, NULL, -1), 0);
	wr(RCTL, EN | RCTL_SBP); /* drivers keep buffers of 1522 bytes with this too */
	assert_int_equal(rx_give(frame, len, NULL, -1), 0);
	assert_int_equal(rd(0x40ac), 2); /* ROC */
	wr(RCTL, EN | RCTL_LPE);
	assert_int_equal(rx_give(frame, len, NULL, -1), 1);
	len = frame_udp(frame, own_mac, 16381 - 42);
	assert_int_equal(rx_give(frame, len, NULL, -1), 0);
}

static void test_jumbo_over_many_buffers(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 9000 - 42);

	rx_start(0, EN | RCTL_LPE);
	assert_int_equal(rx_give(frame, len, NULL, -1), 1);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(desc(i)[12] & RXD_DD);
		assert_int_equal(!!(desc(i)[12] & RXD_EOP), i == 4);
		assert_int_equal(load_le16(desc(i) + 8), i < 4 ? 2048 : 9000 - 4 * 2048);
	}
	assert_memory_equal(buffer(0), frame, len); /* buffers are one after the other */
	assert_int_equal(rd(RDH(0)), 5);
}

static void test_null_buffers_are_skipped(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 100);

	rx_start(0, EN);
	store_le64(desc(0), 0);
	assert_int_equal(rx_give(frame, len, NULL, -1), 1);
	assert_int_equal(desc(0)[12], RXD_DD);
	assert_true(desc(1)[12] & RXD_EOP);
	assert_memory_equal(buffer(1), frame, len);
}

static void test_no_buffers(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 100);

	wr(0x1000, 0); /* PBA: no packet buffer */
	rx_start(0, EN);
	for (unsigned i = 0; i < RING_N - 1; i++)
		assert_int_equal(rx_give(frame, len, NULL, -1), 1);
	assert_int_equal(rx_give(frame, len, NULL, -1), 0);
	assert_int_equal(rd(0x4010), 1); /* MPC */
	assert_true(rd(ICR) & ICR_RXO);
	assert_int_equal(rx_give(frame, len, NULL, -1), 0);
	assert_false(rd(ICR) & ICR_RXO); /* not at every frame */
	wr(RDT(0), 3);
	assert_int_equal(rx_give(frame, len, NULL, -1), 1);
}

static void test_minimum_threshold(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 100);
	unsigned seen = 0;

	rx_start(0, EN); /* a half */
	for (unsigned i = 0; i < RING_N - 1; i++) {
		rx_give(frame, len, NULL, -1);
		if (rd(ICR) & ICR_RXDMT0) {
			assert_int_equal(seen++, 0);
			assert_int_equal(i, RING_N / 2 - 1);
		}
	}
	assert_int_equal(seen, 1);
}

/* ---- packet split ------------------------------------------------------------------------ */

static void split_start(uint32_t psrctl)
{
	rx_start(0, 0);
	for (unsigned i = 0; i < RING_N / 2; i++) {
		uint8_t *d = at(RX_RING + i * 32);

		for (unsigned b = 0; b < 4; b++)
			store_le64(d + 8 * b, RX_BUFFER + (i * 4 + b) * 4096ull);
	}
	wr(PSRCTL, psrctl);
	wr(RFCTL, RFCTL_EXTEN);
	wr(RDT(0), RING_N - 2);
	wr(RCTL, EN | RCTL_LPE | 1 << 10);
}

static void test_packet_split(void **state)
{
	uint32_t len = frame_tcp(frame, own_mac, 5000);
	uint8_t *d = at(RX_RING);

	split_start(1 | 4 << 8 | 4 << 16 | 4 << 24); /* 128 bytes, 3 x 4 KB, as Linux */
	assert_int_equal(rx_give(frame, len, NULL, -1), 1);
	assert_int_equal(STATUS_EXT(d) & 3, RXD_DD | RXD_EOP);
	assert_int_equal(load_le16(d + 12), 54);
	assert_int_equal(load_le16(d + 16), RXD_HDRSP | 54);
	assert_int_equal(load_le16(d + 18), 4096);
	assert_int_equal(load_le16(d + 20), 5000 - 4096);
	assert_int_equal(load_le16(d + 22), 0);
	assert_memory_equal(at(RX_BUFFER), frame, 54);
	assert_memory_equal(at(RX_BUFFER + 4096), frame + 54, 4096);
	assert_memory_equal(at(RX_BUFFER + 8192), frame + 54 + 4096, 5000 - 4096);
	assert_int_equal(rd(RDH(0)), 2); /* in units of 16 bytes */
}

static void test_packet_split_without_headers(void **state)
{
	uint8_t *d = at(RX_RING);

	memset(frame, 0x42, 1000);
	memcpy(frame, own_mac, 6);
	split_start(1 | 4 << 8 | 4 << 16 | 4 << 24);
	assert_int_equal(rx_give(frame, 1000, NULL, -1), 1);
	assert_int_equal(load_le16(d + 12), 128);
	assert_int_equal(load_le16(d + 16) & RXD_HDRSP, 0);
	assert_int_equal(load_le16(d + 18), 872);
	assert_memory_equal(at(RX_BUFFER + 4096), frame + 128, 872);
}

static void test_packet_split_with_sizes_0(void **state)
{
	uint32_t len = frame_tcp(frame, own_mac, 500);

	split_start(0);
	assert_int_equal(rx_give(frame, len, NULL, -1), 0); /* uses the ring up */
	for (unsigned i = 0; i < 100; i++)
		rx_give(frame, len, NULL, -1);
	assert_int_equal(stat("rx_packets"), 0);
}

/* ---- RSS --------------------------------------------------------------------------------- */

/* The verification suite of Microsoft's RSS specification: key, and one IPv4 and TCP input. */
static const uint8_t rss_key[40] = {
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
	0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
	0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

static void test_rss(void **state)
{
	uint32_t len = frame_tcp(frame, own_mac, 100);
	uint8_t *d = at(RX_RING + 0x1000);

	store_be32(frame + 26, 0x420995bb); /* 66.9.149.187:2794 to 161.142.100.80:1766 */
	store_be32(frame + 30, 0xa18e6450);
	store_be16(frame + 34, 2794);
	store_be16(frame + 36, 1766);
	for (unsigned i = 0; i < 10; i++)
		wr(RSSRK + 4 * i, load_le32(rss_key + 4 * i));
	wr(RETA + (0x51ccc178 & 0x7c), 0x80u << (8 * (0x51ccc178 & 3))); /* to queue 1 */
	wr(MRQC, 1 | BIT(16));
	wr(RXCSUM, RXCSUM_PCSD);
	wr(RFCTL, RFCTL_EXTEN);
	rx_start(0, 0);
	rx_start(1, EN);
	assert_int_equal(rx_give(frame, len, NULL, -1), 1);
	assert_int_equal(load_le32(d), 1 | 1 << 8);
	assert_int_equal(load_le32(d + 4), 0x51ccc178);
	assert_int_equal(rd(RDH(1)), 1);
	assert_int_equal(rd(RDH(0)), 0);
	/* Linux sets types, but not the enable bits */
	wr(MRQC, 0x00370000);
	assert_int_equal(rx_give(frame, len, NULL, -1), 1);
	assert_int_equal(rd(RDH(0)), 1);
	assert_int_equal(load_le32(desc(0) + 4), 0);
}

/* ---- orders in which drivers write a ring ------------------------------------------------ */

static void take_one(void)
{
	unsigned before = rd(RDH(0));

	assert_int_equal(give_to(own_mac), 1);
	assert_int_equal(rd(RDH(0)), before + 1);
	assert_true(desc(before)[12] & RXD_DD);
}

/* There is no ring, or nothing in it: a frame waits. */
static void none_stored(void)
{
	uint64_t before = stat("rx_packets"), waiting = stat("rx_waiting");

	assert_int_equal(give_to(own_mac), 1);
	assert_int_equal(stat("rx_packets"), before);
	assert_int_equal(stat("rx_waiting"), waiting + 1);
}

static void waited_come(unsigned n)
{
	unsigned before = rd(RDH(0));

	assert_int_equal(stat("rx_waiting"), n);
	assert_true(wait_timer_run());
	assert_int_equal(rd(RDH(0)), before + n);
}

static void test_order_e1000e_enable_first(void **state)
{
	rx_start(0, 0); /* fills the ring's memory */
	wr(CTRL, rd(CTRL) | CTRL_RST);
	wr(RCTL, EN);
	none_stored();
	wr(RDBAL(0), (uint32_t)RX_RING);
	wr(RDBAH(0), 0);
	none_stored();
	wr(RDLEN(0), RING_N * 16);
	for (unsigned i = 0; i < 2; i++) {
		wr(RDH(0), 0);
		wr(RDT(0), 0);
	}
	none_stored();
	wr(RCTL, EN);
	wr(RDT(0), 16);
	waited_come(3);
	take_one();
}

static void test_order_dpdk_tail_before_enable(void **state)
{
	rx_start(0, EN);
	take_one();
	take_one();
	wr(RCTL, 0);
	memset(at(RX_RING), 0, 16);
	store_le64(at(RX_RING), RX_BUFFER);
	wr(RDLEN(0), RING_N * 16);
	wr(RDBAH(0), 0);
	wr(RDBAL(0), (uint32_t)RX_RING);
	wr(RDH(0), 0);
	wr(RDT(0), RING_N - 1);
	wr(RCTL, EN);
	take_one();
}

static void test_order_freebsd_enabled_all_along(void **state)
{
	rx_start(0, EN);
	take_one();
	take_one();
	wr(RDLEN(0), RING_N * 16);
	wr(RDH(0), 0);
	wr(RDT(0), 0);
	none_stored();
	wr(RDT(0), 5);
	waited_come(1);
	take_one();
}

static void test_smallest_ring(void **state)
{
	rx_start(0, 0);
	wr(RDLEN(0), 256); /* iPXE: 16 descriptors */
	wr(RDT(0), 8);
	wr(RCTL, EN | RCTL_UPE | RCTL_MPE | RCTL_BAM);
	for (unsigned i = 0; i < 8; i++)
		take_one();
	none_stored();
}

static uint64_t core_now_ns;

static uint64_t core_clock(void)
{
	return core_now_ns += NS_PER_MS;
}

/* The guest may answer: a sleeping core is told to look at the doorbell, once for a batch. */
static void test_given_frame_is_looked_for_an_answer(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 200);
	struct io_core_params params = { .cpu = -1 };
	struct io_core *core = io_core_new_unstarted("io0", &params);
	struct io_queue *queue = nic->queues[0];

	assert_non_null(core);
	rcu_reader_register();
	core->now_ns = core_clock;
	rx_start(0, EN);
	tx_start(0);
	assert_int_equal(io_queue_add(core, queue), 0);
	for (unsigned i = 0; i < 3; i++)
		io_core_turn(core, false);
	assert_int_equal(queue->state, IO_QUEUE_PARKED);
	/* by the test's turn, which is not that core's */
	assert_int_equal(rx_give(frame, len, NULL, -1), 1);
	assert_int_equal(queue->stats.kicks, 1);
	for (unsigned i = 0; i < 3; i++)
		io_core_turn(core, false);
	assert_int_equal(queue->state, IO_QUEUE_PARKED);
	assert_int_equal(rx_give(frame, len, NULL, -1), 1);
	assert_int_equal(queue->stats.kicks, 1);
	io_queue_remove(queue);
	io_core_free(core);
	rcu_reader_unregister();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		both(test_legacy),
		both(test_given_frame_is_looked_for_an_answer),
		both(test_crc_unless_stripped),
		both(test_short_frames_are_padded),
		l(test_extended),
		both(test_unknown_checksum_is_not_vouched_for),
		both(test_bad_ip_checksum_is_told),
		both(test_open_checksum_is_completed),
		both(test_open_checksum_far_behind),
		both(test_large_segment_is_cut_up),
		both(test_address_filters),
		both(test_vlan_filter_and_strip),
		both(test_checksum_with_a_tag_in_the_bytes),
		both(test_oversize_without_lpe),
		both(test_jumbo_over_many_buffers),
		both(test_null_buffers_are_skipped),
		both(test_no_buffers),
		both(test_minimum_threshold),
		l(test_packet_split),
		l(test_packet_split_without_headers),
		l(test_packet_split_with_sizes_0),
		l(test_rss),
		l(test_order_e1000e_enable_first),
		both(test_order_dpdk_tail_before_enable),
		l(test_order_freebsd_enabled_all_along),
		both(test_smallest_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
