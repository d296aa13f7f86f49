/* SPDX-License-Identifier: BSD-2-Clause */
/* What a transport does with a device's queues costs the core that polls them no more than it must.
 */
#include "virtio/device.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

static int n_added; /* times that the core has turned notifications off: nobody wakes it here */

static void poll(struct io_queue *queue, struct io_turn *turn, struct io_work *work)
{
}

static bool notify(struct io_queue *queue, bool on)
{
	if (!on)
		__atomic_add_fetch(&n_added, 1, __ATOMIC_RELAXED);
	return false;
}

static void sets_kicks(void **state)
{
	static const struct io_queue_ops ops = { .poll = poll, .notify = notify };
	struct io_queue queue = { .ops = &ops, .name = "q", .wake_fd = -1, .drain_wake_fd = true };
	struct virtio_device dev = { .name = "d", .n_queues = 2, .io = { &queue } };
	struct io_core_params params = { .cpu = -1 };
	struct io_core *core = io_core_new("io0", &params);
	int fds[3] = { eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK),
		       eventfd(0, EFD_NONBLOCK) };

	assert_non_null(core);
	assert_int_equal(io_queue_add(core, &queue), 0);
	assert_int_equal(READ_ONCE(n_added), 1);
	/* there is none, and shall be none */
	for (unsigned i = 0; i < 10; i++)
		virtio_device_set_kick(&dev, 0, -1);
	assert_int_equal(READ_ONCE(n_added), 1);
	for (unsigned i = 0; i < 2; i++) {
		virtio_device_set_kick(&dev, 0, fds[i]);
		assert_int_equal(READ_ONCE(n_added), 2 + i);
		assert_int_equal(queue.wake_fd, fds[i]);
	}
	assert_int_equal(fcntl(fds[0], F_GETFD), -1);
	for (unsigned i = 0; i < 2; i++) {
		virtio_device_set_kick(&dev, 0, -1);
		assert_int_equal(READ_ONCE(n_added), 4);
		assert_int_equal(queue.wake_fd, -1);
	}
	assert_int_equal(fcntl(fds[1], F_GETFD), -1);
	/* of a queue that nobody polls */
	virtio_device_set_kick(&dev, 1, -1);
	virtio_device_set_kick(&dev, 1, fds[2]);
	assert_int_equal(fcntl(fds[2], F_GETFD), -1);
	io_queue_remove(&queue);
	io_core_free(core);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sets_kicks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
