/* SPDX-License-Identifier: BSD-2-Clause */
/* DEVICE_RESET, and what a session leaves behind; features and migration are refused honestly. */
#include "tests/device/vfio_harness.h"

#include <sys/eventfd.h>

static void resets(void **state)
{
	uint16_t command = 0;

	assert_int_equal(vu_enable(&client), 0);
	assert_int_equal(vu_reset(&client), 0);
	assert_int_equal(recorded()->resets, 1);
	assert_int_equal(vu_region_read(&client, VFIO_PCI_CONFIG_REGION_INDEX, 4, &command, 2), 0);
	assert_int_equal(command, 0);
}

static void the_next_client_finds_a_fresh_device(void **state)
{
	struct vfio_user_stats stats;
	struct memory_stats memory;
	uint16_t command = 0;
	int fd = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(vu_enable(&client), 0);
	assert_int_equal(vu_memory(&client, GUEST_BASE, GUEST_SIZE), 0);
	assert_int_equal(vu_msix(&client, &fd, 1), 0);
	vu_close(&client);
	wait_disconnected();
	assert_int_equal(recorded()->resets, 1);
	assert_int_equal(pci_irq_mode(function), -1);
	memory_space_stats(space, &memory);
	assert_int_equal(memory.regions, 0);
	assert_int_equal(vu_open(&client, server_path()), 0);
	assert_int_equal(vu_region_read(&client, VFIO_PCI_CONFIG_REGION_INDEX, 4, &command, 2), 0);
	assert_int_equal(command, 0);
	server_stats(&stats);
	assert_int_equal(stats.connections, 2);
	close(fd);
}

static void says_what_it_cannot(void **state)
{
	uint32_t request[4] = { 16, 1 << 16 | 1, 0, 0 };

	/* migration, dirty logging, and whatever else there may be: got, set, probed */
	for (uint32_t feature = 0; feature < 16; feature++) {
		for (uint32_t how = 1; how < 8; how++) {
			request[1] = how << 16 | feature;
			assert_int_equal(
				vu_request(&client, 16, request, 16, NULL, 0, NULL, 0, NULL),
				-ENOTTY);
		}
	}
	assert_int_equal(vu_request(&client, 17, request, 8, NULL, 0, NULL, 0, NULL), -EOPNOTSUPP);
	assert_int_equal(vu_request(&client, 18, request, 16, NULL, 0, NULL, 0, NULL), -EOPNOTSUPP);
	assert_int_equal(vu_request(&client, 0, NULL, 0, NULL, 0, NULL, 0, NULL), -ENOSYS);
	assert_int_equal(vu_request(&client, 14, NULL, 0, NULL, 0, NULL, 0, NULL), -ENOSYS);
	assert_int_equal(vu_request(&client, 999, NULL, 0, NULL, 0, NULL, 0, NULL), -ENOSYS);
	/* the server's own requests do not come from a client */
	assert_int_equal(vu_request(&client, 11, request, 16, NULL, 0, NULL, 0, NULL), -ENOSYS);
	/* and after all that: */
	assert_int_equal(vu_reset(&client), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(resets),
		test(the_next_client_finds_a_fresh_device),
		test(says_what_it_cannot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
