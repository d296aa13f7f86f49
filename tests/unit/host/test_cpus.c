/* SPDX-License-Identifier: BSD-2-Clause */
/* host/cpus.c: lists and masks of CPUs, read and written. */
#include "host/cpus.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void lists(void **state)
{
	static const struct {
		const char *in, *out;
	} good[] = {
		{ "", "" },
		{ "0", "0" },
		{ "0-3,8,10-11\n", "0-3,8,10-11" },
		{ "3,1,2", "1-3" },
		{ "10-20:2/4", "10-11,14-15,18-19" },
		{ "1-9:1/2", "1,3,5,7,9" },
		{ "all", "0-1023" },
		{ "1000-N", "1000-1023" },
	};
	static const char *const bad[] = { "x",	     "1-",	"3-1",	   "1,,2",  ",1",
					   "1,",     "1 2",	"0x10",	   "-1",    "1-3:2",
					   "1-3:/2", "1-3:1/0", "1-3:4/2", "nohz,3" };
	struct cpus cpus;

	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		char *text;

		assert_int_equal(cpus_parse_list(&cpus, good[i].in), 0);
		text = cpus_list(&cpus);
		assert_string_equal(text, good[i].out);
		free(text);
	}
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct cpus kept = cpus;

		if (cpus_parse_list(&cpus, bad[i]) != -EINVAL)
			fail_msg("\"%s\" is taken for a list", bad[i]);
		assert_true(cpus_equal(&cpus, &kept));
	}
	assert_int_equal(cpus_parse_list(&cpus, "1024"), -ERANGE);
}

static void masks(void **state)
{
	static const struct {
		const char *in, *list, *out;
	} good[] = {
		{ "0", "", "0" },
		{ "ff\n", "0-7", "ff" },
		{ "00000000,00000003", "0-1", "3" },
		{ "1,00000000", "32", "1,00000000" },
		{ "80000000,00000000,0000000F", "0-3,95", "80000000,00000000,0000000f" },
	};
	static const char *const bad[] = { "", "x", "1,", ",1", "123456789", "1 2" };
	struct cpus cpus;

	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		char *text;

		assert_int_equal(cpus_parse_mask(&cpus, good[i].in), 0);
		text = cpus_list(&cpus);
		assert_string_equal(text, good[i].list);
		free(text);
		text = cpus_mask(&cpus);
		assert_string_equal(text, good[i].out);
		free(text);
	}
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (cpus_parse_mask(&cpus, bad[i]) != -EINVAL)
			fail_msg("\"%s\" is taken for a mask", bad[i]);
}

static void sets(void **state)
{
	struct cpus a, b, r;

	cpus_parse_list(&a, "0-5,64,1023");
	cpus_parse_list(&b, "4-6,64");
	assert_int_equal(cpus_count(&a), 8);
	r = cpus_and(&a, &b);
	assert_int_equal(cpus_count(&r), 3);
	assert_true(cpus_meet(&a, &b));
	r = cpus_without(&a, &b);
	assert_false(cpus_meet(&r, &b));
	assert_int_equal(cpus_next(&r, 4), 1023);
	assert_int_equal(cpus_next(&r, 1024), -1);
	r = cpus_or(&a, &b);
	assert_int_equal(cpus_count(&r), 9);
	assert_false(cpus_has(&a, 4096));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists),
		cmocka_unit_test(masks),
		cmocka_unit_test(sets),
	};

	return cmocka_run_group_tests_name("host/cpus", tests, NULL, NULL);
}
