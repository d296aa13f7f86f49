/* SPDX-License-Identifier: BSD-2-Clause */
/* REGION_READ, REGION_WRITE, posted writes, REGION_WRITE_MULTI. */
#include "tests/device/vfio_harness.h"

#include <stdlib.h>

#define CONFIG VFIO_PCI_CONFIG_REGION_INDEX

static void all_widths(void **state)
{
	uint8_t data[64], want[64];

	assert_int_equal(vu_enable(&client), 0);
	for (unsigned i = 0; i < 64; i++)
		want[i] = (uint8_t)(0x35 + i);
	for (uint32_t len = 1; len <= 16; len++) {
		memset(data, 0, sizeof(data));
		assert_int_equal(vu_region_read(&client, 0, 0x35, data, len), 0);
		assert_memory_equal(data, want, len);
		assert_int_equal(recorded()->last_len, len);
		assert_int_equal(vu_region_write(&client, 3, 0x101, want, len), 0);
		assert_int_equal(recorded()->last_bar, 3);
		assert_int_equal(recorded()->last_offset, 0x101);
		assert_memory_equal(recorded()->last_data, want, len);
	}
	assert_int_equal(vu_region_read(&client, 0, 0, data, 0), 0);
	assert_int_equal(vu_region_write(&client, 0, 0, data, 0), 0);
}

/* Off until the guest's COMMAND says otherwise: nobody answers, and no client sees an error. */
static void memory_disabled(void **state)
{
	uint16_t command = 0;
	uint32_t value = 0;

	assert_int_equal(vu_region_read(&client, 0, 0, &value, 4), 0);
	assert_int_equal(value, ~0u);
	assert_int_equal(vu_region_write(&client, 0, 0, &value, 4), 0);
	assert_int_equal(recorded()->bar_reads, 0);
	assert_int_equal(recorded()->bar_writes, 0);
	assert_int_equal(vu_enable(&client), 0);
	assert_int_equal(vu_region_read(&client, 0, 0, &value, 4), 0);
	assert_int_equal(value, 0x03020100);
	assert_int_equal(vu_region_write(&client, CONFIG, 4, &command, 2), 0);
	assert_int_equal(vu_region_read(&client, 0, 0, &value, 4), 0);
	assert_int_equal(value, ~0u);
}

static void large(void **state)
{
	uint8_t *data = malloc(0x20000);

	assert_int_equal(vu_enable(&client), 0);
	assert_int_equal(vu_region_read(&client, 0, 0, data, 0x20000), 0);
	assert_int_equal(data[0x1ffff], 0xff);
	assert_int_equal(vu_region_read(&client, CONFIG, 0, data, 4096), 0);
	assert_int_equal(data[0], 0x86);
	assert_int_equal(data[1], 0x80);
	free(data);
}

/* What no device answers reads as all ones, and is ignored when written; no error after attach. */
static void outside(void **state)
{
	static const struct {
		uint32_t region;
		uint64_t offset;
		uint32_t len;
	} bad[] = {
		{ 0, 0x20000, 4 },    { 0, 0x1fffe, 4 },
		{ 0, UINT64_MAX, 4 }, { 0, UINT64_MAX - 3, 4 },
		{ 1, 0, 4 },	      { 6, 0, 4 },
		{ 8, 0, 4 },	      { 9, 0, 4 },
		{ UINT32_MAX, 0, 4 }, { CONFIG, 4096, 1 },
		{ CONFIG, 0xfff, 4 }, { CONFIG, UINT64_MAX, 8 },
		{ 2, 30, 4 },
	};

	assert_int_equal(vu_enable(&client), 0);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint8_t data[8] = { 0 };

		assert_int_equal(
			vu_region_read(&client, bad[i].region, bad[i].offset, data, bad[i].len), 0);
		for (unsigned n = 0; n < bad[i].len; n++)
			assert_int_equal(data[n], 0xff);
		assert_int_equal(
			vu_region_write(&client, bad[i].region, bad[i].offset, data, bad[i].len),
			0);
	}
	assert_int_equal(recorded()->bar_reads, 0);
	assert_int_equal(recorded()->bar_writes, 0);
}

static void too_long_a_read(void **state)
{
	struct {
		uint64_t offset;
		uint32_t region, count;
	} request = { 0, 0, UINT32_MAX };

	assert_int_equal(vu_request(&client, 9, &request, 16, NULL, 0, NULL, 0, NULL), -EINVAL);
	request.count = (1 << 20) + 1;
	assert_int_equal(vu_request(&client, 9, &request, 16, NULL, 0, NULL, 0, NULL), -EINVAL);
}

static void count_is_a_lie(void **state)
{
	struct {
		uint64_t offset;
		uint32_t region, count;
		uint8_t data[8];
	} request = { 0, 0, 9 };

	assert_int_equal(vu_request(&client, 10, &request, 24, NULL, 0, NULL, 0, NULL),
			 -ECONNRESET);
	assert_int_equal(recorded()->bar_writes, 0);
	vu_close(&client);
	expect_serving();
}

static void posted(void **state)
{
	struct vfio_user_stats stats;
	uint32_t value = 0x11223344;

	assert_int_equal(vu_enable(&client), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(vu_region_post(&client, 0, 4 * i, &value, 4), 0);
	/* the reply to the read is the next thing that comes */
	assert_int_equal(vu_region_read(&client, CONFIG, 0, &value, 4), 0);
	assert_int_equal(recorded()->bar_writes, 100);
	assert_int_equal(recorded()->last_offset, 396);
	server_stats(&stats);
	assert_int_equal(stats.posted_writes, 100);
	assert_int_equal(stats.replies, 3);
}

struct record {
	uint64_t offset;
	uint32_t region, count;
	uint8_t data[8];
};

static int write_multi(uint64_t claimed, unsigned n, uint32_t count, uint32_t flags, size_t less)
{
	struct {
		uint64_t n;
		struct record records[257];
	} *m = calloc(1, sizeof(*m));
	uint64_t reply = 0;
	int err;

	m->n = claimed;
	for (unsigned i = 0; i < n; i++)
		m->records[i] = (struct record){ i * 8, 0, count, { (uint8_t)i } };
	err = vu_send(&client, 15, flags, m, 8 + n * sizeof(struct record) - less, NULL, 0);
	free(m);
	if (err || flags)
		return err;
	err = vu_receive(&client, 15, &reply, 8, NULL);
	return err == 8 ? (int)reply : err;
}

static void multi(void **state)
{
	uint32_t value;

	assert_int_equal(vu_enable(&client), 0);
	assert_int_equal(write_multi(200, 200, 4, 0, 0), 200);
	assert_int_equal(recorded()->bar_writes, 200);
	assert_int_equal(recorded()->last_offset, 199 * 8);
	assert_int_equal(recorded()->last_data[0], 199);
	assert_int_equal(write_multi(256, 256, 4, 0, 0), 256);
	assert_int_equal(recorded()->bar_writes, 456);
	assert_int_equal(write_multi(3, 3, 8, 0x10, 0), 0);
	assert_int_equal(vu_region_read(&client, CONFIG, 0, &value, 4), 0);
	assert_int_equal(recorded()->bar_writes, 459);
	assert_int_equal(write_multi(0, 0, 0, 0, 0), 0);
}

static void multi_lies(void **state)
{
	static const struct {
		uint64_t claimed;
		unsigned n;
		uint32_t count;
		size_t less;
	} bad[] = { { 2, 1, 4, 0 },	     { 1, 2, 4, 0 }, { 1ull << 63, 1, 4, 0 },
		    { UINT64_MAX, 1, 4, 0 }, { 1, 1, 9, 0 }, { 1, 1, 4, 1 },
		    { 257, 257, 4, 0 } };

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(
			write_multi(bad[i].claimed, bad[i].n, bad[i].count, 0, bad[i].less),
			-ECONNRESET);
		vu_close(&client);
		wait_disconnected();
		assert_int_equal(vu_open(&client, server_path()), 0);
	}
	assert_int_equal(recorded()->bar_writes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(all_widths), test(memory_disabled), test(large),
		test(outside),	  test(too_long_a_read), test(count_is_a_lie),
		test(posted),	  test(multi),		 test(multi_lies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
