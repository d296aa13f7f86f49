/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors that take as long to close as the client likes: it waits for them, and nobody else.
 */
#include "tests/device/vfio_harness.h"

#include "tests/device/lingering.h"

#include <fcntl.h>
#include <poll.h>

struct header {
	uint16_t id, command;
	uint32_t size, flags, error;
};

static struct vfio_user_server *other_server;
static struct pci_function *other_function;
static struct memory_space *other_space;
static struct lingering slow;
static struct lingering_gate gate;
static char other_path[80];

static const struct pci_function_ops no_ops;

static void make_other(void *arg)
{
	const struct pci_ids ids = { 0x8086, 0x10d3, 0x8086, 0xa01f, 0x020000, 0 };
	struct vfio_user_config config = { .path = other_path,
					   .owner = (uid_t)-1,
					   .group = (gid_t)-1 };

	other_space = memory_space_new("other");
	other_function = pci_function_new("other/net0", &ids, true, &no_ops, NULL);
	other_server = vfio_user_server_new(server_loop(), &config, other_function, other_space);
}

static void free_other(void *arg)
{
	vfio_user_server_free(other_server);
	pci_function_free(other_function);
	memory_space_free(other_space);
}

static int start(void **state)
{
	if (client_start(state))
		return -1;
	snprintf(other_path, sizeof(other_path), "%s.other", server_path());
	on_server(make_other, NULL);
	slow = lingering_open();
	return other_server ? 0 : -1;
}

static int stop(void **state)
{
	if (slow.peer >= 0)
		close(slow.peer);
	on_server(free_other, NULL);
	return client_stop(state);
}

static void release(void)
{
	close(slow.peer);
	slow.peer = -1;
}

/* A client of the other server is served, while the first has still much to close. */
static void others_are_served(void)
{
	struct vfio_user_stats stats;
	struct vu_client other;
	uint16_t id = 0;

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(vu_open(&other, other_path), 0);
		assert_int_equal(vu_region_read(&other, VFIO_PCI_CONFIG_REGION_INDEX, 2, &id, 2),
				 0);
		assert_int_equal(id, 0x10d3);
		vu_close(&other);
	}
	server_stats(&stats);
	assert_true(stats.closing);
}

/* Refused with an answer; the next message waits. */
static void as_memory(void **state)
{
	struct pollfd pfd = { client.fd, POLLIN, 0 };
	const struct {
		uint32_t argsz, flags;
		uint64_t offset, addr, size;
	} map = { 32, 3, 0, 0, 4096 };

	lingering_begin(&gate, server_loop());
	assert_int_equal(vu_send(&client, 2, 0, &map, sizeof(map), &slow.fd, 1), 0);
	lingering_sent(&gate, &slow);
	assert_int_equal(vu_receive(&client, 2, NULL, 0, NULL), -EINVAL);
	assert_int_equal(vu_send(&client, 13, 0, NULL, 0, NULL, 0), 0);
	others_are_served();
	assert_int_equal(poll(&pfd, 1, 0), 0);
	release();
	assert_int_equal(vu_receive(&client, 13, NULL, 0, NULL), 0);
}

/* One message that brings @n descriptors, the last of them slow. */
static void one_of_many(unsigned n)
{
	struct header request = { 1, 13, 16, 0, 0 };
	int fds[253], null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	for (unsigned i = 0; i < n; i++)
		fds[i] = i == n - 1 ? slow.fd : null;
	lingering_begin(&gate, server_loop());
	assert_int_equal(vu_send_raw(&client, &request, sizeof(request), fds, n), 0);
	lingering_sent(&gate, &slow);
	close(null);
	others_are_served();
	release();
	expect_dropped(&client);
	vu_close(&client);
	expect_serving();
}

static void where_none_belongs(void **state)
{
	one_of_many(1);
}

/* More than a message may bring, and as many as one can. */
static void too_many(void **state)
{
	one_of_many(17);
}

static void as_many_as_can_be(void **state)
{
	one_of_many(253);
}

/* In the socket's queue when the session ends, which nobody will read. */
static void never_read(void **state)
{
	struct header bad = { 1, 13, 15, 0, 0 }, more = { 2, 13, 16, 0, 0 };

	lingering_begin(&gate, server_loop());
	assert_int_equal(vu_send_raw(&client, &bad, sizeof(bad), NULL, 0), 0);
	assert_int_equal(vu_send_raw(&client, &more, sizeof(more), &slow.fd, 1), 0);
	lingering_sent(&gate, &slow);
	others_are_served();
	release();
	expect_dropped(&client);
	vu_close(&client);
	expect_serving();
}

/* In that of a second client, which is refused. */
static void in_a_refused_connection(void **state)
{
	struct header request = { 2, 13, 16, 0, 0 };
	struct vfio_user_stats stats;
	struct vu_client second;

	lingering_begin(&gate, server_loop());
	assert_int_equal(vu_connect(&second, server_path()), 0);
	assert_int_equal(vu_send_raw(&second, &request, sizeof(request), &slow.fd, 1), 0);
	lingering_sent(&gate, &slow);
	do {
		server_stats(&stats);
	} while (!stats.refused);
	others_are_served();
	release();
	assert_int_equal(vu_reset(&client), 0);
	vu_close(&second);
}

/* The server goes, and what it has to close is closed without it. */
static void the_server_goes(void **state)
{
	struct header request = { 2, 13, 16, 0, 0 };
	struct vu_client more;

	on_server(free_other, NULL);
	on_server(make_other, NULL);
	lingering_begin(&gate, server_loop());
	assert_int_equal(vu_connect(&more, other_path), 0);
	assert_int_equal(vu_send_raw(&more, &request, sizeof(request), &slow.fd, 1), 0);
	assert_int_equal(loop_post(server_loop(), free_other, NULL), 0);
	lingering_sent(&gate, &slow);
	on_server(make_other, NULL);
	assert_int_equal(vu_reset(&client), 0);
	vu_close(&more);
}

int main(void)
{
#define test_slow(fn) cmocka_unit_test_setup_teardown(fn, start, stop)
	const struct CMUnitTest tests[] = {
		test_slow(as_memory),	    test_slow(where_none_belongs),
		test_slow(too_many),	    test_slow(as_many_as_can_be),
		test_slow(never_read),	    test_slow(in_a_refused_connection),
		test_slow(the_server_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
