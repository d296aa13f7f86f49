/* SPDX-License-Identifier: BSD-2-Clause */
/* Bytes that are no messages, messages in pieces, descriptors where none belong. */
#include "tests/device/vfio_harness.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

struct header {
	uint16_t id, command;
	uint32_t size, flags, error;
};

static void bad_headers(void **state)
{
	static const struct header bad[] = {
		{ 1, 13, 15, 0, 0 },	  { 1, 13, 0, 0, 0 },	   { 1, 13, UINT32_MAX, 0, 0 },
		{ 1, 10, 2 << 20, 0, 0 }, { 1, 13, 16, 1, 0 }, /* a reply to nothing */
		{ 1, 13, 16, 2, 0 },	  { 1, 13, 16, 15, 0 },	   { 1, 4, 16, 0, 0 },
		{ 1, 2, 16 + 31, 0, 0 },  { 1, 9, 16 + 17, 0, 0 },
	};
	char rest[64] = "";

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		vu_send_raw(&client, &bad[i], sizeof(bad[i]), NULL, 0);
		if (bad[i].size > 16 && bad[i].size < 16 + sizeof(rest))
			vu_send_raw(&client, rest, bad[i].size - 16, NULL, 0);
		expect_dropped(&client);
		vu_close(&client);
		wait_disconnected();
		assert_int_equal(vu_open(&client, server_path()), 0);
	}
}

static void byte_by_byte(void **state)
{
	struct {
		struct header header;
		uint64_t offset;
		uint32_t region, count;
	} request = { { 7, 9, 32, 0, 0 }, 0, VFIO_PCI_CONFIG_REGION_INDEX, 4 };
	uint8_t reply[20];
	const uint8_t *bytes = (const uint8_t *)&request;

	for (unsigned i = 0; i < sizeof(request); i++) {
		assert_int_equal(vu_send_raw(&client, bytes + i, 1, NULL, 0), 0);
		if (i % 5 == 0)
			usleep(300);
	}
	assert_int_equal(vu_receive(&client, 9, reply, 20, NULL), 20);
	assert_int_equal(reply[16], 0x86);
}

static void many_in_one(void **state)
{
	struct header *requests = calloc(1000, sizeof(*requests));

	for (unsigned i = 0; i < 1000; i++)
		requests[i] = (struct header){ (uint16_t)i, 13, 16, 0, 0 };
	assert_int_equal(vu_send_raw(&client, requests, 1000 * sizeof(*requests), NULL, 0), 0);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(vu_receive(&client, 13, NULL, 0, NULL), 0);
	assert_int_equal(recorded()->resets, 1000);
	free(requests);
}

static void descriptors_where_none_belong(void **state)
{
	struct header request = { 1, 13, 16, 0, 0 };
	int fds[16];
	unsigned before;

	for (unsigned i = 0; i < 16; i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	before = open_fds();
	for (unsigned round = 0; round < 20; round++) {
		vu_send_raw(&client, &request, sizeof(request), fds, 16);
		expect_dropped(&client);
		vu_close(&client);
		wait_disconnected();
		assert_int_equal(vu_open(&client, server_path()), 0);
	}
	assert_int_equal(open_fds(), before);
	for (unsigned i = 0; i < 16; i++)
		close(fds[i]);
}

/* A descriptor on each byte of a header, more than a message may have. */
static void a_descriptor_on_each_byte(void **state)
{
	uint8_t byte[16] = { 1, 0, 13, 0, 16 };
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	unsigned before = open_fds();

	for (unsigned i = 0; i < 16; i++)
		if (vu_send_raw(&client, &byte[i], 1, &fd, 1))
			break;
	expect_dropped(&client);
	vu_close(&client);
	wait_disconnected();
	assert_int_equal(open_fds(), before - 2); /* both ends of the connection */
	close(fd);
	expect_serving();
}

static void half_a_message_and_gone(void **state)
{
	struct header request = { 1, 2, 48, 0, 0 };
	int fd = memfd_create("guest", MFD_CLOEXEC);
	unsigned before = open_fds();

	for (size_t len = 1; len <= 16; len += 5) {
		vu_send_raw(&client, &request, len, &fd, 1);
		vu_close(&client);
		wait_disconnected();
		assert_int_equal(vu_open(&client, server_path()), 0);
	}
	assert_int_equal(open_fds(), before);
	close(fd);
}

static void half_closed(void **state)
{
	assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
	expect_dropped(&client);
	vu_close(&client);
	expect_serving();
}

/* It asks and asks and never reads the answers: dropped at a bound, not served for ever. */
static void never_reads(void **state)
{
	struct {
		uint64_t offset;
		uint32_t region, count;
	} request = { 0, 0, 0x20000 };
	int err = 0;

	for (unsigned i = 0; i < 10000 && !err; i++)
		err = vu_send(&client, 9, 0, &request, sizeof(request), NULL, 0);
	assert_int_equal(err, -ECONNRESET);
	vu_close(&client);
	expect_serving();
}

/* It asks for a BAR's descriptor again and again: what waits to be sent holds none of ours. */
static void never_takes_descriptors(void **state)
{
	struct vfio_region_info ask = { .argsz = 4096, .index = 0 };
	struct vfio_user_stats stats;
	unsigned before = open_fds();

	/* more than the socket takes, less than what a client may leave unread */
	for (unsigned i = 0; i < 4000; i++)
		assert_int_equal(vu_send(&client, 5, 0, &ask, sizeof(ask), NULL, 0), 0);
	do {
		server_stats(&stats);
		assert_true(stats.connected);
	} while (stats.replies < 4000);
	assert_int_equal(open_fds(), before);
	vu_close(&client);
	expect_serving();
}

static void second_client(void **state)
{
	struct vfio_user_stats stats;
	struct vu_client second;
	uint32_t id;

	assert_int_equal(vu_open(&second, server_path()), -ECONNRESET);
	vu_close(&second);
	assert_int_equal(vu_region_read(&client, VFIO_PCI_CONFIG_REGION_INDEX, 0, &id, 4), 0);
	assert_int_equal(id, 0x10d38086);
	server_stats(&stats);
	assert_int_equal(stats.refused, 1);
}

/* One client floods with posted writes; the loop stays responsive to others (here: a post). */
static void flood(void **state)
{
	struct vfio_user_stats stats;
	uint32_t value = 1;

	assert_int_equal(vu_enable(&client), 0);
	for (unsigned i = 0; i < 20000; i++) {
		assert_int_equal(vu_region_post(&client, 0, 0, &value, 4), 0);
		if (i % 1000 == 0)
			server_stats(&stats); /* answered in between */
	}
	assert_int_equal(vu_region_read(&client, 0, 0, &value, 4), 0);
	assert_int_equal(recorded()->bar_writes, 20000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(bad_headers),
		test(byte_by_byte),
		test(many_in_one),
		test(descriptors_where_none_belong),
		test(a_descriptor_on_each_byte),
		test(half_a_message_and_gone),
		test(half_closed),
		test(never_reads),
		test(never_takes_descriptors),
		test(second_client),
		test(flood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
