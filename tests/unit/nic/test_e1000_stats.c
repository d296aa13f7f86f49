/* SPDX-License-Identifier: BSD-2-Clause */
/* Statistics registers, by their offsets in the manuals (8254x 13.7; 82574 10.2.6). */
#include "e1000_harness.h"

#define FCS 4u

struct row {
	const char *name;
	uint32_t offset, expected;
};

/* Without FCS: the least and the most of each size that has a counter. */
static const uint32_t sizes[] = { 60, 61, 123, 124, 251, 252, 507, 508, 1019, 1020, 1514 };
static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
static const uint8_t multicast[6] = { 0x01, 0x00, 0x5e, 0x00, 0x00, 0x7b };
static uint8_t frame[2048];

static uint32_t make(const uint8_t *dst, uint32_t len)
{
	assert_int_equal(frame_udp(frame, dst, len - 42), len);
	return len;
}

/* Each is what it shall be, and 0 when it is read again. */
static void expect(const struct row *rows, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t value = rd(rows[i].offset);

		if (value != rows[i].expected)
			fail_msg("%s is %u instead of %u", rows[i].name, value, rows[i].expected);
		if (rd(rows[i].offset))
			fail_msg("%s does not clear", rows[i].name);
	}
}

/* Those of 64 bits: the low half stays until the high one is read. */
static void expect_octets(uint32_t offset, uint32_t octets)
{
	assert_int_equal(rd(offset), octets);
	assert_int_equal(rd(offset), octets);
	assert_int_equal(rd(offset + 4), 0);
	assert_int_equal(rd(offset), 0);
}

static void test_received(void **state)
{
	static const struct row rows[] = {
		{ "PRC64", 0x405c, 3 },	 { "PRC127", 0x4060, 2 },  { "PRC255", 0x4064, 2 },
		{ "PRC511", 0x4068, 2 }, { "PRC1023", 0x406c, 2 }, { "PRC1522", 0x4070, 2 },
		{ "GPRC", 0x4074, 13 },	 { "BPRC", 0x4078, 1 },	   { "MPRC", 0x407c, 1 },
		{ "TPR", 0x40d0, 14 },	 { "GPTC", 0x4080, 0 },	   { "MPC", 0x4010, 0 },
		{ "RNBC", 0x40a0, 0 },	 { "ROC", 0x40ac, 0 },	   { "CRCERRS", 0x4000, 0 },
	};
	uint32_t octets = 0;

	rx_start(0, RCTL_EN | RCTL_SECRC | RCTL_BAM | RCTL_MPE);
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(rx_give(frame, make(own_mac, sizes[i]), NULL, -1), 1);
		octets += sizes[i] + FCS;
	}
	assert_int_equal(rx_give(frame, make(broadcast, 60), NULL, -1), 1);
	assert_int_equal(rx_give(frame, make(multicast, 60), NULL, -1), 1);
	octets += 2 * 64;
	expect_octets(0x4088, octets);		      /* GORC */
	rx_give(frame, make(peer_mac, 60), NULL, -1); /* somebody else's */
	expect_octets(0x40c0, octets + 64);	      /* TOR */
	expect(rows, ARRAY_SIZE(rows));
}

static void test_sent(void **state)
{
	static const struct row rows[] = {
		{ "PTC64", 0x40d8, 3 },	 { "PTC127", 0x40dc, 2 },  { "PTC255", 0x40e0, 2 },
		{ "PTC511", 0x40e4, 2 }, { "PTC1023", 0x40e8, 2 }, { "PTC1522", 0x40ec, 2 },
		{ "GPTC", 0x4080, 13 },	 { "MPTC", 0x40f0, 1 },	   { "BPTC", 0x40f4, 1 },
		{ "TPT", 0x40d4, 13 },	 { "GPRC", 0x4074, 0 },	   { "TSCTC", 0x40f8, 0 },
		{ "COLC", 0x4028, 0 },
	};
	uint32_t octets = 0, n = 0;

	tx_start(0);
	for (; n < ARRAY_SIZE(sizes); n++) {
		tx_frame(n, frame, make(peer_mac, sizes[n]));
		octets += sizes[n] + FCS;
	}
	tx_frame(n++, frame, make(broadcast, 60));
	tx_frame(n++, frame, make(multicast, 60));
	octets += 2 * 64;
	expect_octets(0x4090, octets); /* GOTC */
	expect_octets(0x40c8, octets); /* TOT */
	expect(rows, ARRAY_SIZE(rows));
}

int main(void)
{
	const struct CMUnitTest tests[] = { both(test_received), both(test_sent) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
