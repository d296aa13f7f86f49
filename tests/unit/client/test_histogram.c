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

/* As if they had been added one by one. */
static void many_at_even_distances(void **state)
{
	static const struct {
		double first, step;
		uint64_t n;
	} rows[] = {
		{ 0, 1, 1000 },	     { 17, 0, 5 },	 { 3, 0.25, 4001 }, { 1e6, 2e6, 1500 },
		{ 250, 1e3, 40000 }, { 5e12, 1e9, 100 }, { 12, 7, 1 },	    { 12, 7, 0 },
	};
	static struct histogram one_by_one;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		histogram_clear(&h);
		histogram_clear(&one_by_one);
		histogram_add_even(&h, rows[i].first, rows[i].step, rows[i].n);
		for (uint64_t k = 0; k < rows[i].n; k++)
			histogram_add(&one_by_one,
				      (uint64_t)(rows[i].first + rows[i].step * (double)k));
		assert_int_equal(h.count, one_by_one.count);
		assert_int_equal(h.max, one_by_one.max);
		assert_memory_equal(h.counts, one_by_one.counts, sizeof(h.counts));
		assert_true(histogram_mean(&h) >= histogram_mean(&one_by_one));
		assert_true(histogram_mean(&h) <= histogram_mean(&one_by_one) + 1);
	}
	/* more than anyone could add one by one, and than 64 bits hold the sum of */
	histogram_clear(&h);
	histogram_add_even(&h, 0, 3.6, 1000000000000);
	assert_int_equal(h.count, 1000000000000);
	assert_true(histogram_mean(&h) > 1.799e12 && histogram_mean(&h) < 1.801e12);
	assert_true(histogram_at(&h, 0.5) > 1.78e12 && histogram_at(&h, 0.5) < 1.82e12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_value_is_known_to_1_percent),
		cmocka_unit_test(quantiles),
		cmocka_unit_test(beyond_the_range),
		cmocka_unit_test(merged),
		cmocka_unit_test(many_at_even_distances),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
