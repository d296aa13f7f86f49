/* SPDX-License-Identifier: BSD-2-Clause */
#include "control/source.h"

#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void comments(void **state)
{
	static const struct {
		const char *text, *expected; /* without comments */
		int line;		     /* of a comment that does not end; 0: all do */
	} rows[] = {
		{ "{}", "{}", 0 },
		{ "{} // x\n1", "{}     \n1", 0 },
		{ "# x\n1", "   \n1", 0 },
		{ "a/* x */b", "a       b", 0 },
		{ "a/*\n*\n*/b", "a  \n \n  b", 0 },
		{ "\"// no \\\" # comment /* \"", "\"// no \\\" # comment /* \"", 0 },
		{ "1\n/* open", "", 2 },
		{ "/*/", "", 1 },
		{ "/**/1", "    1", 0 },
		{ "1 /", "1 /", 0 },
		{ "\"open\n// x\n", "\"open\n    \n", 0 },
	};
	char buf[64];

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		strcpy(buf, rows[i].text);
		assert_int_equal(source_strip_comments(buf, strlen(buf)), rows[i].line);
		if (!rows[i].line)
			assert_string_equal(buf, rows[i].expected);
	}
}

static unsigned line_of(const struct source *source, const char *a, int index, const char *b)
{
	struct json_path first = { .key = a };
	struct json_path second = { .up = &first, .index = (size_t)index };
	struct json_path third = { .up = &second, .key = b };

	return source_line(source, b ? &third : index >= 0 ? &second : a ? &first : NULL);
}

static void lines(void **state)
{
	static const char text[] = "{\n"
				   "  \"a\": [\n"
				   "    { \"x\": 1,\n"
				   "      \"y\": \"s\" },\n"
				   "    { \"x\" : [ 1,\n 2 ], \"z\": {\n} }\n"
				   "  ],\n"
				   "  \"b\"\n:\ntrue }";
	struct source *source = source_new(text, strlen(text));

	assert_non_null(source);
	assert_int_equal(line_of(source, NULL, -1, NULL), 1);
	assert_int_equal(line_of(source, "a", -1, NULL), 2);
	assert_int_equal(line_of(source, "a", 0, NULL), 3);
	assert_int_equal(line_of(source, "a", 0, "x"), 3);
	assert_int_equal(line_of(source, "a", 0, "y"), 4);
	assert_int_equal(line_of(source, "a", 1, "x"), 5);
	assert_int_equal(line_of(source, "a", 1, "z"), 6);
	assert_int_equal(line_of(source, "b", -1, NULL), 9);
	/* what is not there is where its parent is */
	assert_int_equal(line_of(source, "a", 1, "name"), 5);
	assert_int_equal(line_of(source, "a", 9, "x"), 2);
	assert_int_equal(line_of(source, "c", -1, NULL), 1);
	source_free(source);
}

static void plain_values(void **state)
{
	static const char *const texts[] = { "1", "\"x\"", "[]", "{}", "[[[1]]]", "" };

	for (unsigned i = 0; i < 6; i++) {
		struct source *source = source_new(texts[i], strlen(texts[i]));

		assert_non_null(source);
		assert_int_equal(line_of(source, "a", 0, "x"), 1);
		source_free(source);
	}
}

static void note_repeated(void *arg, const char *key, unsigned line, unsigned first)
{
	char *buf = arg;

	snprintf(buf + strlen(buf), 128 - strlen(buf), "%s:%u:%u ", key, line, first);
}

static void repeated(void **state)
{
	static const char text[] = "{ \"a\": 1, \"b\": { \"a\": 1,\n\"ab\": 2,\n\"a\": 3 },\n"
				   "\"a\": [ 1, 1 ], \"a\": 2 }";
	struct source *source = source_new(text, strlen(text));
	char found[128] = "";

	source_repeated(source, note_repeated, found);
	assert_string_equal(found, "a:4:1 a:4:1 a:3:1 ");
	source_free(source);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comments),
		cmocka_unit_test(lines),
		cmocka_unit_test(plain_values),
		cmocka_unit_test(repeated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
