/* SPDX-License-Identifier: BSD-2-Clause */
/* SET_STATUS and GET_STATUS. */
#include "tests/device/vhost_harness.h"

static void is_kept(void **state)
{
	uint64_t value;

	assert_int_equal(vhost_get_u64(&client.c, VHOST_GET_STATUS, &value), 0);
	assert_int_equal(value, 0);
	/* as a driver gets there (section 3.1.1) */
	for (unsigned i = 0; i < 4; i++) {
		static const uint8_t steps[] = { 1, 3, 0xb, 0xf };

		assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_STATUS, steps[i], -1), 0);
		assert_int_equal(vhost_get_u64(&client.c, VHOST_GET_STATUS, &value), 0);
		assert_int_equal(value, steps[i]);
	}
	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_STATUS, 0, -1), 0);
	assert_int_equal(vhost_get_u64(&client.c, VHOST_GET_STATUS, &value), 0);
	assert_int_equal(value, 0);
}

/* The next front end's is a fresh one: QEMU sets what is missing only. */
static void is_the_sessions(void **state)
{
	uint64_t value;

	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_STATUS, 0xf, -1), 0);
	client_again();
	assert_int_equal(vhost_get_u64(&client.c, VHOST_GET_STATUS, &value), 0);
	assert_int_equal(value, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(is_kept),
		test(is_the_sessions),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
