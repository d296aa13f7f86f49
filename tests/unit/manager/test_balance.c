/* SPDX-License-Identifier: BSD-2-Clause */
#include "manager/balance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define N(a) (sizeof(a) / sizeof((a)[0]))

static struct balance_choice choice;

static bool choose(const struct balance_core *cores, unsigned n_cores,
		   const struct balance_endpoint *ends, unsigned n_ends)
{
	return balance_choose(cores, n_cores, ends, n_ends, 800, 100, &choice);
}

static void full_core_gives(void **state)
{
	const struct balance_core cores[] = { { 100 }, { 950 }, { 50 } };
	const struct balance_endpoint ends[] = {
		{ 0, 100 }, { 1, 50 }, { 1, 400 }, { 1, 500 }, { 2, 50 },
	};

	assert_true(choose(cores, N(cores), ends, N(ends)));
	assert_int_equal(choice.endpoint, 2); /* 550 left is as good as 550 there: the first */
	assert_int_equal(choice.from, 1);
	assert_int_equal(choice.to, 2);
	assert_int_equal(choice.gain, 400);
}

static void not_full_keeps(void **state)
{
	const struct balance_core cores[] = { { 790 }, { 0 } };
	const struct balance_endpoint ends[] = { { 0, 400 }, { 0, 390 } };

	assert_false(choose(cores, N(cores), ends, N(ends)));
}

static void no_gain_no_move(void **state)
{
	/* moving all the load only moves the problem */
	const struct balance_core alone[] = { { 1000 }, { 0 } };
	const struct balance_endpoint one[] = { { 0, 1000 } };
	/* a little is not worth it */
	const struct balance_core both[] = { { 1000 }, { 900 } };
	const struct balance_endpoint small[] = { { 0, 50 }, { 0, 950 }, { 1, 900 } };

	assert_false(choose(alone, N(alone), one, N(one)));
	assert_false(choose(both, N(both), small, N(small)));
}

static void pinned_stay(void **state)
{
	const struct balance_core cores[] = { { 1000 }, { 0 } };
	const struct balance_endpoint ends[] = { { 0, 500, true }, { 0, 200 }, { 0, 300, true } };

	assert_true(choose(cores, N(cores), ends, N(ends)));
	assert_int_equal(choice.endpoint, 1);
	assert_int_equal(choice.gain, 200);
}

static void few_cores(void **state)
{
	const struct balance_core cores[] = { { 1000 } };
	const struct balance_endpoint ends[] = { { 0, 500 } };

	assert_false(choose(cores, 1, ends, 1));
	assert_false(choose(cores, 0, ends, 0));
}

static void equal_cores(void **state)
{
	const struct balance_core cores[] = { { 1000 }, { 1000 } };
	const struct balance_endpoint ends[] = { { 0, 500 }, { 1, 500 } };

	assert_false(choose(cores, N(cores), ends, N(ends)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_core_gives), cmocka_unit_test(not_full_keeps),
		cmocka_unit_test(no_gain_no_move), cmocka_unit_test(pinned_stay),
		cmocka_unit_test(few_cores),	   cmocka_unit_test(equal_cores),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
