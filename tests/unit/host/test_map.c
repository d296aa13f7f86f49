/* SPDX-License-Identifier: BSD-2-Clause */
/* host/map.c: files of "vcpu pcpu". */
#include "host/map.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct cpu_map map;

static void good(void **state)
{
	char *text;

	assert_int_equal(
		cpu_map_parse(&map, "m", "# the first guest\n1 5\n\n 0\t4 # timer\n2 7", NULL), 0);
	assert_int_equal(map.n, 3);
	text = cpu_map_print(&map);
	assert_string_equal(text, "0 4\n1 5\n2 7\n");
	free(text);
}

static void bad(void **state)
{
	static const struct {
		const char *text, *where;
	} files[] = {
		{ "", "m: no vCPU" },
		{ "# nothing\n", "m: no vCPU" },
		{ "0 1\n1\n", "m:2: two numbers" },
		{ "0 1 2\n", "m:1: two numbers" },
		{ "0 x\n", "m:1: two numbers" },
		{ "-1 1\n", "m:1: two numbers" },
		{ "0,1\n", "m:1: two numbers" },
		{ "0 1024\n", "m:1: CPU numbers end" },
		{ "99999999999999999999 1\n", "m:1: two numbers" },
		{ "0 1\n0 2\n", "m:2: vCPU 0 is there" },
		{ "0 1\n\n1 1\n", "m:3: CPU 1 has vCPU 0" },
	};

	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct host_error error = { "" };

		assert_int_equal(cpu_map_parse(&map, "m", files[i].text, &error), -EINVAL);
		if (strncmp(error.text, files[i].where, strlen(files[i].where)))
			fail_msg("\"%s\": %s", files[i].text, error.text);
	}
}

static void no_file(void **state)
{
	struct host_error error = { "" };

	assert_int_equal(cpu_map_read(&map, "/nowhere/map", &error), -ENOENT);
	assert_non_null(strstr(error.text, "/nowhere/map"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good),
		cmocka_unit_test(bad),
		cmocka_unit_test(no_file),
	};

	return cmocka_run_group_tests_name("host/map", tests, NULL, NULL);
}
