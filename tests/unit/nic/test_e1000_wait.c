/* SPDX-License-Identifier: BSD-2-Clause */
/* The receive packet buffer: frames that find no descriptor wait for one. */
#include "e1000_harness.h"

#include "base/clock.h"
#include "base/rcu.h"
#include "core/private.h"
#include "net/offload.h"

#define EN     (RCTL_EN | RCTL_SECRC)
#define MPC    0x04010
#define RNBC   0x040a0
#define GPRC   0x04074
#define CHIP_A 144u /* what a frame of A_LEN bytes takes of the chip's buffer */
#define A_LEN  136u /* Ethernet, IP and UDP headers and 94 bytes */

static uint8_t frame[70000];

static uint8_t *desc(unsigned index)
{
	return at(RX_RING + index % RING_N * 16);
}

static uint8_t *buffer(unsigned index)
{
	return at(RX_BUFFER + index % RING_N * (uint64_t)BUFFER);
}

/* A frame that says which one it is. */
static unsigned give_nr(unsigned nr)
{
	uint32_t len = frame_udp(frame, own_mac, A_LEN - 42);

	assert_int_equal(len, A_LEN);
	store_le32(frame + 42, nr);
	return rx_give(frame, len, NULL, -1);
}

static void expect_nr(unsigned index, unsigned nr)
{
	assert_true(desc(index)[12] & RXD_DD);
	assert_int_equal(load_le16(desc(index) + 8), A_LEN);
	assert_int_equal(load_le32(buffer(index) + 42), nr);
}

/* The ring without a descriptor for the device. */
static void start_empty(uint32_t rctl)
{
	rx_start(0, 0);
	wr(RDT(0), 0);
	wr(RCTL, rctl);
}

static void test_waits_for_descriptors(void **state)
{
	start_empty(EN);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(give_nr(i), 1);
	assert_int_equal(rd(RDH(0)), 0);
	assert_int_equal(stat("rx_waiting"), 5);
	assert_int_equal(rd(RNBC), 5);
	assert_int_equal(rd(MPC), 0);
	assert_int_equal(rd(GPRC), 0);
	assert_int_equal(rd(ICR) & (ICR_RXO | ICR_RXT0), 0);
	wr(RDT(0), 3);
	assert_true(wait_timer_run());
	assert_int_equal(rd(RDH(0)), 3);
	assert_true(rd(ICR) & ICR_RXT0);
	assert_int_equal(stat("rx_waiting"), 2);
	wr(RDT(0), 10);
	assert_true(wait_timer_run());
	assert_int_equal(rd(RDH(0)), 5);
	assert_int_equal(rd(GPRC), 5);
	for (unsigned i = 0; i < 5; i++)
		expect_nr(i, i);
	assert_false(wait_timer_run()); /* nothing is left to look after */
	assert_int_equal(give_nr(5), 1);
	expect_nr(5, 5);
	assert_int_equal(rd(RNBC), 0);
}

static void test_order(void **state)
{
	unsigned given = 0, tail = 0, taken = 0;

	start_empty(EN);
	/* descriptors come now and then, by fewer than the frames, then by more */
	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < 1 + round % 3; i++)
			assert_int_equal(give_nr(given++), 1);
		if (round % 5 == 4) {
			tail += MIN(given - tail, 7u + round % 40);
			wr(RDT(0), tail % RING_N);
		}
		if (round % 2)
			wait_timer_run();
		while (rd(RDH(0)) != taken % RING_N) {
			expect_nr(taken, taken);
			memset(desc(taken) + 8, 0, 8);
			taken++;
		}
	}
	assert_int_equal(given, taken + stat("rx_waiting"));
	assert_true(taken > 200);
	assert_int_equal(rd(MPC), 0);
}

/* Firmware: the next descriptor is given when the frame has been looked at. */
static void test_one_descriptor_at_a_time(void **state)
{
	start_empty(EN);
	wr(RDT(0), 1);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(give_nr(i), 1);
	for (unsigned i = 0; i < 3; i++) {
		expect_nr(i, i);
		assert_int_equal(rd(RDH(0)), i + 1);
		wr(RDT(0), i + 2);
		assert_int_equal(wait_timer_run(), i < 2);
	}
	/* a new frame finds the descriptor, too */
	assert_int_equal(give_nr(3), 1);
	expect_nr(3, 3);
}

static void fill(unsigned kb)
{
	unsigned room = kb * 1024 / CHIP_A;

	wr(PBA, kb);
	start_empty(EN);
	for (unsigned i = 0; i < room; i++)
		assert_int_equal(give_nr(i), 1);
	assert_int_equal(rd(ICR) & ICR_RXO, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(give_nr(i), 0);
	assert_int_equal(stat("rx_waiting"), room);
	assert_int_equal(rd(RNBC), room + 3);
	assert_int_equal(rd(MPC), 3);
	assert_true(rd(ICR) & ICR_RXO);
}

static void test_size_is_pba(void **state)
{
	fill(20);
	wr(CTRL, rd(CTRL) | CTRL_RST); /* which keeps PBA */
	assert_int_equal(rd(PBA), 20);
	fill(8);
	/* made smaller while frames wait: they still do */
	wr(PBA, 4);
	assert_int_equal(give_nr(0), 0);
	wr(RDT(0), 2);
	assert_true(wait_timer_run());
	assert_int_equal(rd(RDH(0)), 2);
	expect_nr(1, 1);
}

/* The guest writes what it likes: no more than the chip has. */
static void test_size_is_bounded(void **state)
{
	unsigned max = dev->variant->chip == CHIP_82574L ? 40 : 64;

	wr(PBA, 0xffffffff);
	start_empty(EN);
	for (unsigned i = 0; i < 5000; i++)
		give_nr(i);
	assert_int_equal(stat("rx_waiting"), max * 1024 / CHIP_A);
	wr(CTRL, rd(CTRL) | CTRL_RST);
	wr(PBA, 0);
	start_empty(EN);
	assert_int_equal(give_nr(0), 0);
	assert_null(dev->rx_wait.ring.data);
}

/* Frames of all sizes, so that the memory wraps: none is lost or changed. */
static void test_all_sizes(void **state)
{
	static uint8_t kept[64][9100];
	unsigned given = 0, taken = 0;

	wr(RCTL, 0);
	rx_start(0, 0);
	wr(PBA, 40);
	wr(RDT(0), 0);
	wr(RCTL, EN | RCTL_LPE | RCTL_UPE);
	for (unsigned round = 0; round < 2000; round++) {
		uint32_t len = 14 + round * 97 % 2035;

		for (unsigned i = 0; i < len; i++)
			frame[i] = (uint8_t)(round + i * 3);
		frame[0] = 0x52;
		frame[12] = 0x12;
		memcpy(kept[given % 64], frame, len);
		store_le32(kept[given % 64] + 9096, len);
		assert_int_equal(rx_give(frame, len, NULL, -1), 1);
		given++;
		if (stat("rx_waiting") < 3 + round % 11)
			continue;
		wr(RDT(0), (rd(RDT(0)) + 1 + round % 4) % RING_N);
		assert_true(wait_timer_run());
		while (rd(RDH(0)) != taken % RING_N) {
			len = load_le32(kept[taken % 64] + 9096);
			assert_int_equal(load_le16(desc(taken) + 8), MAX(len, 60u));
			assert_memory_equal(buffer(taken), kept[taken % 64], len);
			taken++;
		}
	}
	assert_true(taken > 1900);
	assert_int_equal(rd(MPC), 0);
}

/* A large segment is cut up as it would be for the ring, wherever the ring ends. */
static void test_large_segment(void **state)
{
	uint32_t len = frame_tcp(frame, own_mac, 20000);
	struct offload off = tcp_segment(1400);
	static uint8_t whole[15][BUFFER];
	static uint16_t lens[15];

	rx_start(0, EN);
	assert_int_equal(rx_give(frame, len, &off, 42), 1);
	assert_int_equal(rd(RDH(0)), 15);
	for (unsigned i = 0; i < 15; i++) {
		memcpy(whole[i], buffer(i), BUFFER);
		lens[i] = load_le16(desc(i) + 8);
	}
	memset(at(RX_BUFFER), 0, 16 * BUFFER);
	wr(CTRL, rd(CTRL) | CTRL_RST);

	start_empty(EN);
	wr(RDT(0), 4);
	assert_int_equal(rx_give(frame, len, &off, 42), 1);
	assert_int_equal(rd(RDH(0)), 4);
	memset(frame, 0, len); /* they are copies */
	assert_int_equal(stat("rx_waiting"), 11);
	wr(RDT(0), 30);
	assert_true(wait_timer_run());
	assert_int_equal(rd(RDH(0)), 15);
	for (unsigned i = 0; i < 15; i++) {
		assert_int_equal(load_le16(desc(i) + 8), lens[i]);
		assert_memory_equal(buffer(i), whole[i], lens[i]);
	}
}

/* What is left to do for a frame is kept with it. */
static void test_tag_and_checksum(void **state)
{
	uint32_t len = frame_tcp(frame, own_mac, 701);
	struct offload off = { .flags = OFFLOAD_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16 };

	wr(CTRL, rd(CTRL) | CTRL_VME);
	wr(RXCSUM, RXCSUM_TUOFL);
	start_empty(EN);
	assert_int_equal(rx_give(frame, len, &off, 77), 1);
	wr(RDT(0), 1);
	assert_true(wait_timer_run());
	assert_int_equal(load_le16(desc(0) + 8), len);
	assert_int_equal(desc(0)[12] & (RXD_VP | RXD_TCPCS | RXD_IXSM), RXD_VP | RXD_TCPCS);
	assert_int_equal(load_le16(desc(0) + 14), 77);
	store_le16(frame + 50, (uint16_t)~csum_fold(csum_add(0, frame + 34, len - 34, false)));
	assert_memory_equal(buffer(0), frame, len);
}

static void test_filters_come_first(void **state)
{
	uint32_t len = frame_udp(frame, peer_mac, 100);

	start_empty(EN);
	assert_int_equal(rx_give(frame, len, NULL, -1), 0);
	assert_int_equal(give_nr(0), 1);
	len = frame_udp(frame, peer_mac, 100);
	assert_int_equal(rx_give(frame, len, NULL, -1), 0); /* also behind others */
	assert_int_equal(stat("rx_waiting"), 1);
	assert_int_equal(stat("rx_filtered"), 2);
	assert_int_equal(stat("rx_total_packets"), 3);
	wr(RDT(0), 5);
	wait_timer_run();
	assert_int_equal(stat("rx_total_packets"), 3); /* counted once */
	assert_int_equal(rd(RDH(0)), 1);
}

static void test_emptied(void **state)
{
	for (unsigned how = 0; how < 3; how++) {
		start_empty(EN);
		for (unsigned i = 0; i < 10; i++)
			assert_int_equal(give_nr(i), 1);
		if (!how)
			wr(RCTL, 0);
		else if (how == 1)
			wr(CTRL, rd(CTRL) | CTRL_RST);
		else
			bus_master(false);
		assert_int_equal(stat("rx_waiting"), 0);
		assert_null(dev->rx_wait.ring.data);
		wait_timer_run();
		bus_master(true);
		rx_start(0, EN);
		assert_false(wait_timer_run());
		assert_int_equal(give_nr(99), 1);
		expect_nr(0, 99);
		assert_int_equal(rd(RDH(0)), 1);
		wr(CTRL, rd(CTRL) | CTRL_RST);
	}
	assert_int_equal(stat("rx_disabled"), 20);
}

/* One buffer for both queues: frames keep their order, so one queue holds up the other. */
static void test_two_queues(void **state)
{
	uint32_t len;

	rx_start(1, 0);
	start_empty(0);
	wr(RDT(1), 0);
	memset(at(RX_RING + 0x1000 + 8), 0, 8);
	for (unsigned i = 0; i < 32; i++)
		wr(RETA + 4 * i, 0x80808080); /* all IP to queue 1, all else to queue 0 */
	wr(MRQC, 1 | BIT(17));
	wr(RXCSUM, RXCSUM_PCSD);
	wr(RFCTL, RFCTL_EXTEN);
	wr(RCTL, EN);
	assert_int_equal(give_nr(0), 1);
	len = frame_udp(frame, own_mac, 100);
	store_be16(frame + 12, 0x1234);
	assert_int_equal(rx_give(frame, len, NULL, -1), 1);
	assert_int_equal(give_nr(2), 1);
	wr(RDT(0), 5);
	wait_timer_run();
	assert_int_equal(rd(RDH(0)), 0);
	wr(RDT(1), 1);
	wait_timer_run();
	assert_int_equal(rd(RDH(1)), 1);
	assert_int_equal(rd(RDH(0)), 1);
	wr(RDT(1), 2);
	wait_timer_run();
	assert_int_equal(rd(RDH(1)), 2);
	assert_int_equal(stat("rx_waiting"), 0);
	assert_int_equal(load_le32(at(RX_BUFFER + (RING_N + 1) * (uint64_t)BUFFER + 42)), 2);
}

/* Seldom for a driver that never gives any: the core has better things to do. */
static void test_looks_get_rare(void **state)
{
	uint64_t start;
	unsigned looks = 0;

	start_empty(EN);
	start = time_now_ns();
	give_nr(0);
	while (time_now_ns() - start < 10 * NS_PER_S) {
		assert_true(wait_timer_run());
		assert_in_range(++looks, 1, 300);
	}
	assert_int_equal(stat("rx_waiting"), 1);
	/* and within an eighth of the time, or 50 ms, it is found */
	start = time_now_ns();
	wr(RDT(0), 1);
	assert_true(wait_timer_run());
	assert_true(time_now_ns() - start <= 50 * NS_PER_MS);
	expect_nr(0, 0);
}

/* More descriptors than the driver gives at once: the chip would fill those, and get others. */
static void test_too_few_descriptors(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 5000);
	unsigned looks = 0;

	start_empty(EN | RCTL_LPE);
	wr(RDT(0), 2);
	assert_int_equal(rx_give(frame, len, NULL, -1), 1);
	assert_int_equal(give_nr(7), 1);
	assert_int_equal(rd(RDH(0)), 0);
	/* in time */
	wr(RDT(0), 4);
	assert_true(wait_timer_run());
	assert_int_equal(rd(RDH(0)), 4);
	expect_nr(3, 7);
	/* never: the next frame gets on */
	wr(RDT(0), 6);
	len = frame_udp(frame, own_mac, 5000);
	assert_int_equal(rx_give(frame, len, NULL, -1), 1);
	assert_int_equal(give_nr(8), 1);
	while (wait_timer_run())
		assert_in_range(++looks, 1, 300);
	assert_int_equal(rd(RDH(0)), 5);
	expect_nr(4, 8);
	assert_int_equal(rd(MPC), 1);
}

/* Not even the whole ring is enough: no reason to wait. */
static void test_frame_beyond_ring(void **state)
{
	uint32_t len = frame_udp(frame, own_mac, 5000);

	start_empty(0);
	wr(RDLEN(0), 128);
	wr(RCTL, EN | RCTL_LPE | 3 << 16); /* buffers of 256 bytes */
	wr(RDT(0), 7);
	assert_int_equal(rx_give(frame, len, NULL, -1), 0);
	assert_int_equal(stat("rx_waiting"), 0);
	assert_int_equal(rd(MPC), 1);
	assert_int_equal(give_nr(1), 1);
	expect_nr(0, 1);
}

static void test_trapped_tail_is_seen(void **state)
{
	uint64_t now = time_now_ns();

	start_empty(EN);
	give_nr(0);
	for (unsigned i = 0; i < 50; i++)
		wait_timer_run();
	now = time_now_ns();
	assert_true(dev->rx_wait.timer.deadline_ns > now);
	wr(RDT(0), 1);
	assert_true(dev->rx_wait.timer.deadline_ns <= now);
	wait_timer_run();
	expect_nr(0, 0);
}

/* ---- guests that mean harm --------------------------------------------------------------- */

static void test_registers_change_while_frames_wait(void **state)
{
	static const uint32_t rctls[] = {
		EN,
		EN | RCTL_LPE,
		RCTL_EN | 3 << 16,
		EN | 1 << 10,
		EN | RCTL_VFE,
		EN | RCTL_BSEX | 1 << 16,
		EN | RCTL_UPE,
		EN | 15u << 27,
	};

	for (unsigned i = 0; i < 20000; i++) {
		wr(RCTL, rctls[i / 7 % ARRAY_SIZE(rctls)]);
		wr(RFCTL, i & 64 ? RFCTL_EXTEN : 0);
		wr(PSRCTL, i * 0x01010101);
		wr(RDBAL(0), (uint32_t)(i % 11 ? RX_RING : GUEST_BASE + GUEST_SIZE - 64));
		wr(RDLEN(0), i * 128 % (RING_N * 16));
		wr(RDH(0), i * 37 % RING_N);
		wr(RDT(0), i * 11 % RING_N);
		wr(PBA, i % 70);
		frame_udp(frame, own_mac, 100);
		rx_give(frame, 60 + i * 31 % 1400, NULL, i % 3 ? -1 : 5);
		if (i % 4 == 0)
			wait_timer_run();
		assert_in_range(stat("rx_waiting"), 0, 1024);
	}
	wr(CTRL, rd(CTRL) | CTRL_RST);
	rx_start(0, EN);
	assert_int_equal(give_nr(1), 1);
	expect_nr(0, 1);
}

static void test_memory_goes_away(void **state)
{
	start_empty(EN);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(give_nr(i), 1);
	wr(RDT(0), 20);
	assert_int_equal(memory_space_unmap(space, 0, 0), 1);
	assert_true(wait_timer_run());
	assert_int_equal(stat("rx_waiting"), 0);
	assert_int_equal(stat("rx_bad_ring"), 10);
	assert_int_equal(stat("rx_no_buffer"), 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		both(test_waits_for_descriptors),
		both(test_order),
		both(test_one_descriptor_at_a_time),
		both(test_size_is_pba),
		both(test_size_is_bounded),
		both(test_all_sizes),
		both(test_large_segment),
		both(test_tag_and_checksum),
		both(test_filters_come_first),
		both(test_emptied),
		l(test_two_queues),
		both(test_looks_get_rare),
		both(test_too_few_descriptors),
		both(test_frame_beyond_ring),
		trap(test_trapped_tail_is_seen),
		both(test_registers_change_while_frames_wait),
		both(test_memory_goes_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
