/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors that take as long to close as the front end likes: it waits for them, and nobody
 * else. */
#include "tests/device/lingering.h"
#include "tests/device/vhost_harness.h"

#include <poll.h>

static struct lingering_gate gate;

/* A front end of another device comes and goes, while the first waits. */
static void others_are_served(void)
{
	for (unsigned i = 0; i < 3; i++) {
		struct guest other;

		guest_open(&other, 1, V1);
		guest_close(&other);
	}
}

static void get_stats(void *arg)
{
	vhost_user_server_stats(vhost_server[0], arg);
}

/* Taken with a message that needs none, answered, and then in the way of the next message. */
static void holds_up_its_own_front_end(void **state)
{
	struct lingering slow = lingering_open();
	struct pollfd pfd = { client.c.fd, POLLIN, 0 };
	struct vhost_user_stats stats;
	struct vhost_header header;
	uint64_t features;
	uint32_t len = sizeof(features);

	lingering_begin(&gate, vhost_loop());
	assert_int_equal(vhost_send(&client.c, VHOST_SET_LOG_FD, 0, NULL, 0, &slow.fd, 1), 0);
	assert_int_equal(vhost_send(&client.c, VHOST_GET_FEATURES, 0, NULL, 0, NULL, 0), 0);
	lingering_sent(&gate, &slow);
	others_are_served();
	on_loop(get_stats, &stats);
	assert_true(stats.closing && stats.connected);
	assert_int_equal(poll(&pfd, 1, 0), 0);
	close(slow.peer);
	assert_int_equal(vhost_receive(&client.c, &header, &features, &len, NULL), 0);
	assert_int_equal(header.request, VHOST_GET_FEATURES);
}

/* No place for what a send() may wait for. */
static void as_backend_channel(void **state)
{
	struct lingering slow = lingering_open();

	lingering_begin(&gate, vhost_loop());
	/* without an answer wanted it ends the session */
	assert_int_equal(vhost_send(&client.c, VHOST_SET_BACKEND_REQ_FD, 0, NULL, 0, &slow.fd, 1),
			 0);
	lingering_sent(&gate, &slow);
	others_are_served();
	close(slow.peer);
	assert_true(is_closed(&client.c));
}

/* It goes at once; the next one of this device waits in its place. */
static void goes(void **state)
{
	struct lingering slow = lingering_open();
	uint64_t features;

	lingering_begin(&gate, vhost_loop());
	assert_int_equal(vhost_send(&client.c, VHOST_SET_LOG_FD, 0, NULL, 0, &slow.fd, 1), 0);
	lingering_sent(&gate, &slow);
	vhost_close(&client.c);
	others_are_served();
	close(slow.peer);
	assert_int_equal(vhost_connect(&client.c, vhost_path[0]), 0);
	assert_int_equal(vhost_get_u64(&client.c, VHOST_GET_FEATURES, &features), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(holds_up_its_own_front_end),
		test(as_backend_channel),
		test(goes),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
