/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* What log_line() writes to standard error during @fn. */
static void capture(void (*fn)(void), char *out, size_t size)
{
	int saved = dup(STDERR_FILENO), fds[2];
	ssize_t n;

	assert_int_equal(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	fn();
	dup2(saved, STDERR_FILENO);
	close(saved);
	n = read(fds[0], out, size - 1);
	close(fds[0]);
	out[n > 0 ? n : 0] = '\0';
}

static void write_lines(void)
{
	log_info("vm %d\nfaked line", 7);
	log_debug("not at this level");
	log_error("gone");
}

static void one_line_per_event(void **state)
{
	char out[256];

	log_set_level(LOG_LEVEL_INFO);
	capture(write_lines, out, sizeof(out));
	assert_string_equal(out, "<6>info: vm 7?faked line\n<3>error: gone\n");
}

static void parses_levels(void **state)
{
	assert_int_equal(log_level_parse("debug"), LOG_LEVEL_DEBUG);
	assert_int_equal(log_level_parse("error"), LOG_LEVEL_ERROR);
	assert_int_equal(log_level_parse("loud"), -EINVAL);
	assert_string_equal(log_level_name(LOG_LEVEL_WARNING), "warning");
}

static void limits(void **state)
{
	struct log_limit limit = { .interval_ns = 3600000000000ull, .burst = 3 };
	unsigned suppressed, written = 0;

	for (int i = 0; i < 10; i++)
		written += log_limit_ok(&limit, &suppressed);
	assert_int_equal(written, 3);
	limit.since_ns -= 2 * limit.interval_ns; /* two intervals later */
	assert_true(log_limit_ok(&limit, &suppressed));
	assert_int_equal(suppressed, 7);
	assert_true(log_limit_ok(&limit, &suppressed));
	assert_int_equal(suppressed, 0);
	assert_false(log_limit_ok(&limit, &suppressed));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_line_per_event),
		cmocka_unit_test(parses_levels),
		cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
