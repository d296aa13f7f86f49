/* SPDX-License-Identifier: BSD-2-Clause */
/* GET_CONFIG and SET_CONFIG. */
#include "base/util.h"
#include "tests/device/vhost_harness.h"

#include <linux/virtio_blk.h>

struct config_message {
	uint32_t offset, size, flags;
	uint8_t bytes[257]; /* one too many */
} __attribute__((packed));

static int get(uint32_t offset, uint32_t size, uint32_t sent, struct config_message *m)
{
	struct vhost_header header;
	uint32_t len = sizeof(*m);
	int err;

	*m = (struct config_message){ offset, size, 0, { 0 } };
	err = vhost_send(&client.c, VHOST_GET_CONFIG, 0, m, sent, NULL, 0);
	if (!err)
		err = vhost_receive(&client.c, &header, m, &len, NULL);
	return err ? err : (int)len;
}

static int set(uint32_t offset, uint32_t size, uint32_t flags, uint8_t value, uint32_t sent)
{
	struct config_message m = { offset, size, flags, { value } };

	return vhost_request(&client.c, VHOST_SET_CONFIG, &m, sent, -1);
}

static void gets(void **state)
{
	struct config_message m;
	struct virtio_blk_config config;

	assert_int_equal(get(0, sizeof(config), 12 + sizeof(config), &m), 12 + sizeof(config));
	memcpy(&config, m.bytes, sizeof(config));
	assert_int_equal(config.capacity, DISK_BYTES / 512);
	assert_int_equal(config.num_queues, DISK_QUEUES);
	assert_int_equal(config.blk_size, 512);
	/* in parts, and beyond the end: zeroes */
	assert_int_equal(get(0, 8, 20, &m), 20);
	assert_int_equal(load_le64(m.bytes), DISK_BYTES / 512);
	assert_int_equal(get(0, 256, 268, &m), 268);
	assert_int_equal(get(200, 56, 68, &m), 68);
	assert_int_equal(m.bytes[0], 0);
	/* an empty answer is an error's */
	assert_int_equal(get(0, 257, 269, &m), 0);
	assert_int_equal(get(0, 64, 12, &m), 0);
	assert_int_equal(get(257, 1, 13, &m), 0);
	assert_int_equal(get(UINT32_MAX, 1, 13, &m), 0);
	assert_int_equal(get(0, UINT32_MAX, 12, &m), 0);
}

static void sets(void **state)
{
	const uint32_t wce = offsetof(struct virtio_blk_config, wce);
	struct config_message m;

	for (uint8_t on = 0; on < 2; on++) {
		assert_int_equal(set(wce, 1, 0, on, 13), 0);
		assert_int_equal(get(wce, 1, 13, &m), 13);
		assert_int_equal(m.bytes[0], on);
	}
	/* the rest is not the guest's to write; a migration may */
	for (uint32_t at = 0; at < sizeof(struct virtio_blk_config); at++)
		if (at != wce)
			assert_int_equal(set(at, 1, 0, 0, 13), REFUSED);
	assert_int_equal(set(0, 8, 0, 0, 20), REFUSED);
	assert_int_equal(set(0, 8, 1, 0, 20), 0);
	assert_int_equal(get(0, 8, 20, &m), 20);
	assert_int_equal(load_le64(m.bytes), DISK_BYTES / 512);
	/* shorter than it says, too long, at nowhere, flags that do not exist */
	assert_int_equal(set(wce, 1, 0, 1, 12), REFUSED);
	assert_int_equal(set(0, 257, 1, 0, 268), REFUSED);
	assert_int_equal(set(UINT32_MAX, 1, 1, 0, 13), REFUSED);
	assert_int_equal(set(wce, 1, 2, 1, 13), REFUSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_disk(gets),
		test_disk(sets),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
