/* SPDX-License-Identifier: BSD-2-Clause */
/* SEND_RARP: after a migration the network hears where the guest is. */
#include "base/util.h"
#include "tests/device/vhost_harness.h"

static void announces(void **state)
{
	uint8_t mac[8] = { 2, 0, 0, 0, 0, 77 }, got[100];
	struct guest a, b;

	guest_start(&a, 0, V1, 64, BUF_BYTES, 32);
	guest_start(&b, 1, V1, 64, BUF_BYTES, 32);
	for (unsigned i = 0; i < 5; i++) {
		mac[4] = (uint8_t)i;
		assert_int_equal(vhost_request(&a.c, VHOST_SEND_RARP, mac, 8, -1), 0);
		assert_int_equal(guest_receive(&b, NULL, got, sizeof(got)), 60);
		assert_memory_equal(got, "\xff\xff\xff\xff\xff\xff", 6);
		assert_memory_equal(got + 6, mac, 6);
		assert_int_equal(load_be16(got + 12), 0x8035);
		assert_int_equal(load_be16(got + 20), 3); /* RFC 903: request reverse */
		assert_memory_equal(got + 22, mac, 6);
		assert_memory_equal(got + 32, mac, 6);
	}
	guest_stop(&a);
	guest_stop(&b);
}

static void not_of_a_disk(void **state)
{
	assert_int_equal(vhost_request(&client.c, VHOST_SEND_RARP, "\2\0\0\0\0\1\0", 8, -1),
			 REFUSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(announces),
		test_disk(not_of_a_disk),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
