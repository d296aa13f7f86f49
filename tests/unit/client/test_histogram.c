/* SPDX-License-Identifier: BSD-2-Clause */
#include "client/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static struct histogram h;

static void each_value_is_known_to_1_percent(void **state)
{
	for (uint64_t value = 1; value < 1ull << HISTOGRAM_MAX_BITS; value += value / 97 + 1) {
		uint64_t got;

		histogram_clear(&h);
		histogram_add(&h, value);
		/* so that it is not cut at the largest */
		histogram_add(&h, (1ull << HISTOGRAM_MAX_BITS) - 1);
		got = histogram_at(&h, 0.5);
		assert_true(got >= value && got - value <= value / 100);
	}
}

static void quantiles(void **state)
{
	histogram_clear(&h);
	assert_int_equal(histogram_at(&h, 0.99), 0);
	for (unsigned i = 1; i <= 100; i++)
		histogram_add(&h, i);
	assert_int_equal(histogram_at(&h, 0), 1);
	assert_int_equal(histogram_at(&h, 0.5), 50);
	assert_int_equal(histogram_at(&h, 0.99), 99);
	assert_int_equal(histogram_at(&h, 1), 100);
	assert_true(histogram_mean(&h) == 50.5);
}

static void beyond_the_range(void **state)
{
	histogram_clear(&h);
	histogram_add(&h, UINT64_MAX / 2);
	assert_int_equal(h.max, UINT64_MAX / 2);
	assert_int_equal(histogram_at(&h, 0.5), (1ull << HISTOGRAM_MAX_BITS) - 1);
}

static void merged(void **state)
{
	static struct histogram other;

	histogram_clear(&h);
	histogram_add(&h, 10);
	histogram_add(&other, 1000);
	histogram_merge(&h, &other);
	assert_int_equal(h.count, 2);
	assert_int_equal(h.max, 1000);
	assert_int_equal(histogram_at(&h, 0.5), 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_value_is_known_to_1_percent),
		cmocka_unit_test(quantiles),
		cmocka_unit_test(beyond_the_range),
		cmocka_unit_test(merged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
