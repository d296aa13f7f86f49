/* SPDX-License-Identifier: BSD-2-Clause */
/* kernel/host/count.h: the LAPIC timer's counts, and cycles, in nanoseconds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "host/count.h"

/* The eight values, of bits 3, 1 and 0, as the figure lists them. */
static void test_divider(void **state)
{
	static const struct {
		u32 tdcr, by;
	} dividers[] = {
		{ 0x0, 2 },  { 0x1, 4 },  { 0x2, 8 },	{ 0x3, 16 },
		{ 0x8, 32 }, { 0x9, 64 }, { 0xa, 128 }, { 0xb, 1 },
	};

	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(ex_count_ns(1, dividers[i].tdcr), dividers[i].by);
		assert_int_equal(ex_count_ns(40, dividers[i].tdcr), 40 * dividers[i].by);
		/* The others are reserved. */
		assert_int_equal(ex_count_ns(1, dividers[i].tdcr | 0xfffffff4), dividers[i].by);
	}
}

static void test_count(void **state)
{
	assert_int_equal(ex_ns_count(4000000000, 16), 250000000);
	assert_int_equal(ex_ns_count(31, 16), 1);
	assert_int_equal(ex_ns_count(15, 16), 1);
	assert_int_equal(ex_ns_count(1, 128), 1);
	assert_int_equal(ex_ns_count(0xffffffff, 1), 0xffffffff);
	assert_int_equal(ex_ns_count(0x100000000, 1), 0xffffffff);
	assert_int_equal(ex_ns_count(INT64_MAX, 1), 0xffffffff);
}

static void test_cycles(void **state)
{
	assert_int_equal(ex_cycles_ns(0, 2000000), 0);
	assert_int_equal(ex_cycles_ns(1, 2000000), 0);
	assert_int_equal(ex_cycles_ns(2, 2000000), 1);
	assert_int_equal(ex_cycles_ns(2199999, 2200000), 999999);
	assert_int_equal(ex_cycles_ns(2200000, 2200000), 1000000);
	/* An hour and a bit at 4.7 GHz; and at the highest frequency that the type has */
	assert_int_equal(ex_cycles_ns(4700000ull * 3600000 + 4700, 4700000), 3600000001000);
	assert_int_equal(ex_cycles_ns(0xfffffffeull, 0xffffffff), 999999);
	/* A guest's deadline can be anything. */
	assert_int_equal(ex_cycles_ns(UINT64_MAX, 1), EX_NS_MAX);
	assert_int_equal(ex_cycles_ns(UINT64_MAX, 4700000), EX_NS_MAX);
	assert_true(ex_cycles_ns(UINT64_MAX / 1000, 4700000) < EX_NS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_divider),
		cmocka_unit_test(test_count),
		cmocka_unit_test(test_cycles),
	};

	return cmocka_run_group_tests_name("kernel/count", tests, NULL, NULL);
}
