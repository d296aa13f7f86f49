/* SPDX-License-Identifier: BSD-2-Clause */
/* SET_VRING_NUM. */
#include "tests/device/vhost_harness.h"

static void refuses(void **state)
{
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 0, 0), REFUSED);
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 0, 32769), REFUSED);
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 0, UINT32_MAX), REFUSED);
	/* CVE-2020-10723, CVE-2021-3839: an index of no ring */
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 2 * PAIRS, 64), REFUSED);
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, UINT32_MAX, 64), REFUSED);
}

static int start_with(uint32_t num)
{
	uint32_t base;
	int err;

	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 0, num), 0);
	assert_int_equal(send_addr(0, 0, USER_BASE, USER_BASE + 0x200000, USER_BASE + 0x100000), 0);
	err = vhost_request_u64(&client.c, VHOST_SET_VRING_KICK, 0, client.kick);
	assert_int_equal(vhost_ring_stop(&client.c, 0, &base), 0);
	return err;
}

/* Whether it must be a power of two is known when the ring starts. */
static void sizes_of_split_rings(void **state)
{
	for (uint32_t num = 1; num <= 32768; num *= 2)
		assert_int_equal(start_with(num), 0);
	assert_int_equal(start_with(3), REFUSED);
	assert_int_equal(start_with(32767), REFUSED);
}

static void sizes_of_packed_rings(void **state)
{
	static const uint32_t nums[] = { 1, 2, 3, 7, 255, 256, 1000, 32767, 32768 };

	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_FEATURES,
					   V1 | VHOST_F_PROTOCOL | 1ull << VIRTIO_F_RING_PACKED,
					   -1),
			 0);
	for (unsigned i = 0; i < sizeof(nums) / sizeof(nums[0]); i++)
		assert_int_equal(start_with(nums[i]), 0);
}

static void while_it_runs(void **state)
{
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 0, 64), 0);
	assert_int_equal(send_addr(0, 0, USER_BASE, USER_BASE + 0x2000, USER_BASE + 0x1000), 0);
	assert_int_equal(vhost_request_u64(&client.c, VHOST_SET_VRING_KICK, 0, client.kick), 0);
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 0, 128), REFUSED);
	/* the same is no change */
	assert_int_equal(send_state(VHOST_SET_VRING_NUM, 0, 64), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(refuses),
		test(sizes_of_split_rings),
		test(sizes_of_packed_rings),
		test(while_it_runs),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
