/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/util.h"
#include "pci/reg.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static unsigned wrote_index, wrote_count;
static uint32_t wrote_old, wrote_value;

static void wrote(void *dev, unsigned index, uint32_t old, uint32_t written)
{
	wrote_count++;
	wrote_index = index;
	wrote_old = old;
	wrote_value = written;
}

static uint32_t read_double(void *dev, unsigned index)
{
	return 2 * *(uint32_t *)dev;
}

static const struct reg rows[] = {
	{ "CTRL", 0x0000, .reset = 0x1234, .rw = 0xffff00ff },
	{ "STATUS", 0x0008, .reset = 0x80000003 },
	{ "ICR", 0x000c, .rc = 0xffffffff },
	{ "CAUSE", 0x0010, .reset = 0xff, .w1c = 0xff, .rw = 0xff00 },
	{ "DOUBLE", 0x0014, .read = read_double },
	{ "KEEP", 0x0018, .reset = 7, .rw = ~0u, .keep = true },
	{ "RA", 0x0100, .count = 4, .stride = 8, .rw = ~0u, .wrote = wrote },
	{ "TDT", 0x1018, .count = 2, .stride = 0x100, .reset = 5, .rw = 0xffff },
};
static const struct reg_table table = { rows, ARRAY_SIZE(rows), 0x2000 };

/* Of some pages, from within one to within another. */
static const struct reg memories[] = {
	{ "BEFORE", 0x0ff8, .reset = 3, .rw = ~0u },
	{ "MEMORY", 0x0ffc, .count = 0xc02, .rw = ~0u },
	{ "AFTER", 0x4004, .reset = 4, .rw = ~0u },
	{ "ONES", 0x5000, .count = 0x400, .reset = ~0u, .rw = ~0u },
	{ "SPARSE", 0x6000, .count = 0x200, .stride = 8, .rw = ~0u },
	{ "BETWEEN", 0x6004, .reset = 6, .rw = ~0u, .keep = true },
	{ "KEPT", 0x7000, .count = 0x400, .rw = ~0u, .keep = true },
};
static const struct reg_table memory_table = { memories, ARRAY_SIZE(memories), 0x8000 };

static struct reg_bank *bank;
static uint32_t dev = 21;

static int setup(void **state)
{
	bank = reg_bank_new(&table, &dev, NULL);
	wrote_count = 0;
	return bank ? 0 : -1;
}

static int teardown(void **state)
{
	reg_bank_free(bank);
	return 0;
}

static uint32_t get(uint64_t offset, size_t len)
{
	uint64_t value = 0;

	reg_bank_read(bank, offset, &value, len);
	return (uint32_t)value;
}

static void put(uint64_t offset, uint64_t value, size_t len)
{
	reg_bank_write(bank, offset, &value, len);
}

static void masks(void **state)
{
	assert_int_equal(get(0, 4), 0x1234);
	put(0, 0xaabbccdd, 4);
	assert_int_equal(get(0, 4), 0xaabb12dd);
	put(8, 0, 4);
	assert_int_equal(get(8, 4), 0x80000003); /* read-only */
	put(0x10, 0x550f, 4);
	assert_int_equal(get(0x10, 4), 0x55f0);
	reg_set(bank, 0xc, 0x81);
	assert_int_equal(get(0xc, 4), 0x81);
	assert_int_equal(get(0xc, 4), 0); /* clear on read */
	assert_int_equal(get(0x14, 4), 42);
}

static void odd_accesses(void **state)
{
	put(1, 0xee, 1); /* read-only byte of CTRL */
	assert_int_equal(get(0, 4), 0x1234);
	put(2, 0xbeef, 2);
	assert_int_equal(get(0, 4), 0xbeef1234);
	assert_int_equal(get(2, 1), 0xef);
	assert_int_equal(get(3, 2), 0xbe); /* the upper half is unknown: 0 */
	/* a byte write to write-1-to-clear bits leaves the others alone */
	put(0x10, 0x0f, 1);
	assert_int_equal(get(0x10, 4), 0xf0);
	put(0x11, 0x44, 1);
	assert_int_equal(get(0x10, 4), 0x44f0);
	/* 8 bytes over two array elements with a hole between */
	put(0x100, 0x1111111122222222ull, 8);
	assert_int_equal(get(0x100, 4), 0x22222222);
	assert_int_equal(wrote_count, 1);
	/* 7 bytes, unaligned */
	put(0x0ff, 0x77665544332211ull, 7);
	assert_int_equal(get(0x100, 4), 0x55443322);
	assert_int_equal(wrote_index, 0);
	assert_int_equal(wrote_old, 0x22222222);
}

static void handlers(void **state)
{
	put(0x118, 0xcafe, 4);
	assert_int_equal(wrote_index, 3);
	assert_int_equal(wrote_value, 0xcafe);
	put(0x119, 0x12, 1);
	assert_int_equal(wrote_value, 0x12fe); /* merged */
}

static void unknown_and_outside(void **state)
{
	struct reg_stats stats;

	put(0x500, 1, 4);
	assert_int_equal(get(0x500, 4), 0);
	put(0x1ffe, ~0ull, 8);
	assert_int_equal(get(0x1ffe, 8), 0);
	put(UINT64_MAX - 2, ~0ull, 2);
	assert_int_equal(get(UINT64_MAX - 8, 4), 0);
	assert_int_equal(get(0x2000, 4), 0);
	reg_bank_stats(bank, &stats);
	assert_int_equal(stats.unknown_writes, 2);
	assert_int_equal(stats.unknown_reads, 2);
}

static void resets(void **state)
{
	put(0, 0, 4);
	put(0x18, 99, 4);
	reg_bank_reset(bank);
	assert_int_equal(get(0, 4), 0x1234);
	assert_int_equal(get(0x18, 4), 99);
	assert_int_equal(wrote_count, 0);
}

static void resets_memories(void **state)
{
	uint32_t *page = aligned_alloc(4096, 4096);

	reg_bank_free(bank);
	bank = reg_bank_new(&memory_table, NULL, NULL);
	assert_non_null(bank);
	assert_int_equal(reg_bank_share(bank, 0x2000, 4096, page), 0);
	for (uint32_t at = 0; at < memory_table.size; at += 4)
		put(at, 0x77777777, 4);
	assert_int_equal(page[5], 0x77777777);
	reg_bank_reset(bank);
	assert_int_equal(reg_get(bank, 0xff8), 3);
	for (uint32_t at = 0xffc; at < 0x4004; at += 4)
		assert_int_equal(reg_get(bank, at), 0);
	assert_int_equal(page[5], 0);
	assert_int_equal(reg_get(bank, 0x4004), 4);
	for (uint32_t at = 0x5000; at < 0x6000; at += 4)
		assert_int_equal(reg_get(bank, at), ~0u);
	for (uint32_t at = 0x6000; at < 0x7000; at += 8)
		assert_int_equal(reg_get(bank, at), 0);
	for (uint32_t at = 0x7000; at < 0x8000; at += 4)
		assert_int_equal(reg_get(bank, at), 0x77777777);
	assert_int_equal(reg_get(bank, 0x6004), 0x77777777);
	reg_bank_free(bank);
	bank = NULL;
	free(page);
}

static void shares_pages(void **state)
{
	uint32_t *page = aligned_alloc(4096, 4096);

	memset(page, 0xee, 4096);
	assert_int_equal(reg_bank_share(bank, 0x1000, 4096, page), 0);
	assert_int_equal(page[0x18 / 4], 5);
	page[0x118 / 4] = 0x12345678; /* the guest's store: no handler, no mask */
	assert_int_equal(reg_get(bank, 0x1118), 0x12345678);
	assert_int_equal(get(0x1118, 4), 0x12345678);
	put(0x1018, 9, 4);
	assert_int_equal(page[0x18 / 4], 9);
	reg_bank_reset(bank);
	assert_int_equal(page[0x118 / 4], 5);
	/* registers with side effects cannot live there */
	assert_int_equal(reg_bank_share(bank, 0, 4096, page), -EINVAL);
	assert_int_equal(reg_bank_share(bank, 0x1000, 8192, page), -EINVAL);
	assert_int_equal(reg_bank_share(bank, 0x800, 4096, page), -EINVAL);
	reg_bank_free(bank);
	bank = NULL;
	free(page);
}

static char dump[1024];

static void dump_row(void *arg, const char *name, uint32_t offset, uint32_t value)
{
	size_t at = strlen(dump);

	snprintf(dump + at, sizeof(dump) - at, "%s@%x=%x ", name, offset, value);
}

static void dumps(void **state)
{
	dump[0] = '\0';
	reg_bank_dump(bank, dump_row, NULL);
	assert_string_equal(dump, "CTRL@0=1234 STATUS@8=80000003 ICR@c=0 CAUSE@10=ff DOUBLE@14=0 "
				  "KEEP@18=7 RA[0]@100=0 RA[1]@108=0 RA[2]@110=0 RA[3]@118=0 "
				  "TDT[0]@1018=5 TDT[1]@1118=5 ");
}

static void refuse(const struct reg *bad, size_t n, uint32_t size, const char *named)
{
	struct reg_table t = { bad, n, size };
	const char *why = NULL;

	errno = 0;
	assert_null(reg_bank_new(&t, NULL, &why));
	assert_int_equal(errno, EINVAL);
	assert_string_equal(why, named);
}

static void refuses_bad_tables(void **state)
{
	const struct reg overlap[] = { { "A", 0, .count = 4 }, { "B", 8 } };
	const struct reg outside[] = { { "A", 0xffc, .count = 2 } };
	const struct reg misaligned[] = { { "A", 2 } };
	const struct reg both[] = { { "A", 0, .rw = 1, .w1c = 3 } };

	refuse(overlap, 2, 0x1000, "B");
	refuse(outside, 1, 0x1000, "A");
	refuse(misaligned, 1, 0x1000, "A");
	refuse(both, 1, 0x1000, "A");
	refuse(both, 0, 0, "the table");
	refuse(both, 0, 3, "the table");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(masks, setup, teardown),
		cmocka_unit_test_setup_teardown(odd_accesses, setup, teardown),
		cmocka_unit_test_setup_teardown(handlers, setup, teardown),
		cmocka_unit_test_setup_teardown(unknown_and_outside, setup, teardown),
		cmocka_unit_test_setup_teardown(resets, setup, teardown),
		cmocka_unit_test_setup_teardown(resets_memories, setup, teardown),
		cmocka_unit_test_setup_teardown(shares_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(dumps, setup, teardown),
		cmocka_unit_test(refuses_bad_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
