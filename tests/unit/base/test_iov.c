/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/iov.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static char a[] = "abc", b[] = "defgh", c[] = "i";
static const struct iovec list[] = { { a, 3 }, { NULL, 0 }, { b, 5 }, { c, 1 } };

static void copies_over_borders(void **state)
{
	char buf[16] = "";

	assert_int_equal(iov_len(list, 4), 9);
	assert_int_equal(iov_to_buf(list, 4, 2, buf, 5), 5);
	assert_memory_equal(buf, "cdefg", 5);
	/* ends where the list ends */
	assert_int_equal(iov_to_buf(list, 4, 7, buf, 16), 2);
	assert_memory_equal(buf, "hi", 2);
	assert_int_equal(iov_to_buf(list, 4, 9, buf, 16), 0);
	assert_int_equal(iov_to_buf(list, 4, 100, buf, 16), 0);
}

static void copies_between_lists(void **state)
{
	char x[2], y[4], z[8];
	struct iovec dst[] = { { x, 2 }, { y, 4 }, { z, 8 } };

	memset(z, '.', sizeof(z));
	assert_int_equal(iov_copy(dst, 3, 1, list, 4, 1, 100), 8);
	assert_int_equal(x[1], 'b');
	assert_memory_equal(y, "cdef", 4);
	assert_memory_equal(z, "ghi.", 4);
	assert_int_equal(iov_from_buf(dst, 3, 1, "123456", 6), 6);
	assert_int_equal(x[1], '1');
	assert_memory_equal(y, "2345", 4);
	assert_memory_equal(z, "6hi.", 4);
}

static void slices(void **state)
{
	struct iovec out[4];

	assert_int_equal(iov_slice(list, 4, 2, 5, out, 4), 2);
	assert_ptr_equal(out[0].iov_base, a + 2);
	assert_int_equal(out[0].iov_len, 1);
	assert_ptr_equal(out[1].iov_base, b);
	assert_int_equal(out[1].iov_len, 4);
	assert_int_equal(iov_slice(list, 4, 2, 5, out, 1), -E2BIG);
	assert_int_equal(iov_slice(list, 4, 2, 8, out, 4), -ERANGE);
	assert_int_equal(iov_slice(list, 4, 9, 0, out, 4), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies_over_borders),
		cmocka_unit_test(copies_between_lists),
		cmocka_unit_test(slices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
