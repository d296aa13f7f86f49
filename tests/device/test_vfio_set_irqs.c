/* SPDX-License-Identifier: BSD-2-Clause */
/* DEVICE_SET_IRQS for each kind of interrupt, as QEMU sends it with and without KVM. */
#include "tests/device/vfio_harness.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

enum { NONE = 1, BOOL = 2, EVENTFD = 4, MASK = 8, UNMASK = 16, TRIGGER = 32 };
enum { INTX, MSI, MSIX, ERR, REQ };

static void raise_msg(void *arg)
{
	pci_irq_message(function, *(unsigned *)arg);
}

static void message(unsigned vector)
{
	on_server(raise_msg, &vector);
}

static void set_line(void *arg)
{
	pci_intx_set(function, *(bool *)arg);
}

static void line(bool high)
{
	on_server(set_line, &high);
}

/* The kernel lets nobody watch more than so many descriptors. */
static bool no_more_watches;

int __real_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);

int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
	if (op == EPOLL_CTL_ADD && READ_ONCE(no_more_watches)) {
		errno = ENOSPC;
		return -1;
	}
	return __real_epoll_ctl(epoll_fd, op, fd, event);
}

static int fds[16];

static void make_eventfds(void)
{
	for (unsigned i = 0; i < 16; i++)
		fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert_int_equal(vu_enable(&client), 0);
}

static void close_eventfds(void)
{
	for (unsigned i = 0; i < 16; i++)
		close(fds[i]);
}

/* Waits for a resample to have had its effect. */
static uint64_t wait_drain(int fd)
{
	uint64_t n;

	for (unsigned i = 0; i < 200000; i++) {
		n = drain(fd);
		if (n)
			return n;
		usleep(100);
	}
	return 0;
}

static void msix_as_qemu(void **state)
{
	make_eventfds();
	assert_int_equal(vu_set_irqs(&client, INTX, NONE | TRIGGER, 0, 0, NULL, 0), 0);
	assert_int_equal(vu_msix(&client, fds, 3), 0);
	message(0);
	message(2);
	message(2);
	message(4); /* not set up */
	assert_int_equal(drain(fds[0]), 1);
	assert_int_equal(drain(fds[1]), 0);
	assert_int_equal(drain(fds[2]), 2);
	/* masking swaps another descriptor in */
	assert_int_equal(vu_set_irqs(&client, MSIX, EVENTFD | TRIGGER, 1, 1, &fds[9], 1), 0);
	message(1);
	assert_int_equal(drain(fds[1]), 0);
	assert_int_equal(drain(fds[9]), 1);
	/* EVENTFD with no descriptors takes a range away */
	assert_int_equal(vu_set_irqs(&client, MSIX, EVENTFD | TRIGGER, 1, 2, NULL, 0), 0);
	message(1);
	message(2);
	message(0);
	assert_int_equal(drain(fds[9]), 0);
	assert_int_equal(drain(fds[2]), 0);
	assert_int_equal(drain(fds[0]), 1);
	assert_int_equal(vu_set_irqs(&client, MSIX, NONE | TRIGGER, 0, 0, NULL, 0), 0);
	message(0);
	assert_int_equal(drain(fds[0]), 0);
	close_eventfds();
}

static void msi(void **state)
{
	make_eventfds();
	assert_int_equal(vu_set_irqs(&client, MSI, EVENTFD | TRIGGER, 0, 1, fds, 1), 0);
	message(0);
	assert_int_equal(drain(fds[0]), 1);
	assert_int_equal(vu_set_irqs(&client, MSI, NONE | TRIGGER, 0, 0, NULL, 0), 0);
	close_eventfds();
}

static void get_function_stats(void *arg)
{
	pci_function_stats(function, arg);
}

/* Until the server has seen @n ends of interrupt besides those by message. */
static uint64_t by_message;

static void wait_resampled(uint64_t n)
{
	struct pci_function_stats stats;

	do {
		on_server(get_function_stats, &stats);
	} while (stats.resamples < by_message + n);
}

/* KVM's way: trigger and resample eventfds; the resample comes at the guest's end of interrupt. */
static void intx_with_resample(void **state)
{
	uint64_t one = 1;

	make_eventfds();
	assert_int_equal(vu_set_irqs(&client, INTX, EVENTFD | TRIGGER, 0, 1, &fds[0], 1), 0);
	assert_int_equal(vu_set_irqs(&client, INTX, NONE | MASK, 0, 1, NULL, 0), 0);
	assert_int_equal(vu_set_irqs(&client, INTX, EVENTFD | UNMASK, 0, 1, &fds[1], 1), 0);
	assert_int_equal(vu_set_irqs(&client, INTX, NONE | UNMASK, 0, 1, NULL, 0), 0);
	by_message = 1;
	assert_int_equal(drain(fds[0]), 0);
	line(true);
	assert_int_equal(drain(fds[0]), 1);
	for (unsigned i = 0; i < 5; i++) { /* still high each time */
		assert_int_equal(write(fds[1], &one, 8), 8);
		assert_int_equal(wait_drain(fds[0]), 1);
	}
	line(false);
	assert_int_equal(write(fds[1], &one, 8), 8);
	wait_resampled(6);
	assert_int_equal(drain(fds[0]), 0);
	line(true);
	assert_int_equal(drain(fds[0]), 1);
	line(false);
	/* set up again with new descriptors, as at each change of routing */
	assert_int_equal(vu_set_irqs(&client, INTX, EVENTFD | UNMASK, 0, 1, &fds[3], 1), 0);
	assert_int_equal(vu_set_irqs(&client, INTX, EVENTFD | TRIGGER, 0, 1, &fds[2], 1), 0);
	line(true);
	assert_int_equal(drain(fds[2]), 1);
	assert_int_equal(write(fds[3], &one, 8), 8);
	assert_int_equal(wait_drain(fds[2]), 1);
	/* taken away: both */
	assert_int_equal(vu_set_irqs(&client, INTX, NONE | TRIGGER, 0, 0, NULL, 0), 0);
	assert_int_equal(write(fds[3], &one, 8), 8);
	usleep(2000);
	assert_int_equal(drain(fds[2]), 0);
	close_eventfds();
}

/* Without KVM: QEMU unmasks by message after the guest's accesses. */
static void intx_by_messages(void **state)
{
	make_eventfds();
	assert_int_equal(vu_set_irqs(&client, INTX, EVENTFD | TRIGGER, 0, 1, &fds[0], 1), 0);
	line(true);
	assert_int_equal(drain(fds[0]), 1);
	assert_int_equal(vu_set_irqs(&client, INTX, NONE | UNMASK, 0, 1, NULL, 0), 0);
	assert_int_equal(drain(fds[0]), 1);
	line(false);
	assert_int_equal(vu_set_irqs(&client, INTX, NONE | UNMASK, 0, 1, NULL, 0), 0);
	assert_int_equal(drain(fds[0]), 0);
	line(true);
	assert_int_equal(drain(fds[0]), 1);
	close_eventfds();
}

static void err_and_req(void **state)
{
	make_eventfds();
	assert_int_equal(vu_set_irqs(&client, ERR, EVENTFD | TRIGGER, 0, 1, &fds[0], 1), 0);
	assert_int_equal(vu_set_irqs(&client, REQ, EVENTFD | TRIGGER, 0, 1, &fds[1], 1), 0);
	assert_int_equal(vu_set_irqs(&client, ERR, NONE | TRIGGER, 0, 1, NULL, 0), 0);
	assert_int_equal(drain(fds[0]), 1);
	assert_int_equal(drain(fds[1]), 0);
	close_eventfds();
}

static void fires_by_bool(void **state)
{
	struct {
		uint32_t set[5];
		uint8_t which[5];
	} request = { { 25, BOOL | TRIGGER, MSIX, 0, 5 }, { 0, 1, 0, 1, 1 } };

	make_eventfds();
	assert_int_equal(vu_msix(&client, fds, 5), 0);
	assert_int_equal(vu_request(&client, 8, &request, 25, NULL, 0, NULL, 0, NULL), 0);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(drain(fds[i]), request.which[i]);
	/* fewer bytes than the count says */
	assert_int_equal(vu_request(&client, 8, &request, 24, NULL, 0, NULL, 0, NULL), -EINVAL);
	close_eventfds();
}

static void refuses(void **state)
{
	int pipes[2], many[32];
	unsigned before;

	make_eventfds();
	assert_int_equal(pipe(pipes), 0);
	before = open_fds();
	for (unsigned round = 0; round < 100; round++) {
		assert_int_equal(vu_set_irqs(&client, 5, EVENTFD | TRIGGER, 0, 1, fds, 1), -EINVAL);
		assert_int_equal(vu_set_irqs(&client, MSIX, EVENTFD | TRIGGER, 5, 1, fds, 1),
				 -EINVAL);
		assert_int_equal(vu_set_irqs(&client, MSIX, EVENTFD | TRIGGER, 4, 2, fds, 2),
				 -EINVAL);
		assert_int_equal(
			vu_set_irqs(&client, MSIX, EVENTFD | TRIGGER, 1, UINT32_MAX, NULL, 0),
			-EINVAL);
		assert_int_equal(
			vu_set_irqs(&client, MSIX, EVENTFD | TRIGGER, UINT32_MAX, 2, NULL, 0),
			-EINVAL);
		/* a count that is not the number of descriptors */
		assert_int_equal(vu_set_irqs(&client, MSIX, EVENTFD | TRIGGER, 0, 3, fds, 2),
				 -EINVAL);
		/* none or several of each kind of flag */
		assert_int_equal(vu_set_irqs(&client, MSIX, TRIGGER, 0, 1, NULL, 0), -EINVAL);
		assert_int_equal(vu_set_irqs(&client, MSIX, EVENTFD, 0, 1, fds, 1), -EINVAL);
		assert_int_equal(vu_set_irqs(&client, MSIX, NONE | EVENTFD | TRIGGER, 0, 1, fds, 1),
				 -EINVAL);
		assert_int_equal(vu_set_irqs(&client, MSIX, EVENTFD | TRIGGER | MASK, 0, 1, fds, 1),
				 -EINVAL);
		assert_int_equal(vu_set_irqs(&client, MSIX, EVENTFD | UNMASK, 0, 1, fds, 1),
				 -EINVAL);
		/* no eventfd */
		assert_int_equal(vu_set_irqs(&client, MSIX, EVENTFD | TRIGGER, 0, 1, &pipes[1], 1),
				 -EINVAL);
		assert_int_equal(vu_set_irqs(&client, INTX, EVENTFD | UNMASK, 0, 1, &pipes[0], 1),
				 -EINVAL);
		/* ready at once, and for ever */
		assert_int_equal(vu_set_irqs(&client, INTX, EVENTFD | UNMASK, 0, 1, &pipes[1], 1),
				 -EINVAL);
	}
	/* the next message is read when what the last one brought is closed */
	assert_int_equal(vu_set_irqs(&client, MSIX, NONE | TRIGGER, 0, 0, NULL, 0), 0);
	assert_int_equal(open_fds(), before);
	close(pipes[0]);
	close(pipes[1]);
	/* more descriptors than a message may bring */
	for (unsigned i = 0; i < 32; i++)
		many[i] = fds[i % 16];
	assert_int_equal(vu_set_irqs(&client, MSIX, EVENTFD | TRIGGER, 0, 32, many, 32),
			 -ECONNRESET);
	vu_close(&client);
	wait_disconnected();
	assert_int_equal(open_fds(), before - 4); /* the pipe's, and both ends of the connection */
	close_eventfds();
	expect_serving();
}

/* A client that wants the server to wait for it: counters are full, or empty, and the file waits.
 */
static void client_makes_eventfds_block(void **state)
{
	uint64_t full = UINT64_MAX - 1, one = 1, count = 0;

	make_eventfds();
	assert_int_equal(vu_msix(&client, fds, 3), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(fcntl(fds[i], F_SETFL, 0), 0);
	assert_int_equal(write(fds[0], &full, 8), 8);
	for (unsigned i = 0; i < 100; i++)
		message(0);
	message(1); /* comes back */
	assert_int_equal(read(fds[1], &count, 8), 8);
	assert_int_equal(count, 1);
	assert_true(read(fds[0], &count, 8) == 8 && count >= full);
	/* INTx: the trigger is full, and what is left in the resample is taken by the client itself
	 */
	assert_int_equal(vu_set_irqs(&client, MSIX, NONE | TRIGGER, 0, 0, NULL, 0), 0);
	assert_int_equal(vu_set_irqs(&client, INTX, EVENTFD | TRIGGER, 0, 1, &fds[4], 1), 0);
	assert_int_equal(vu_set_irqs(&client, INTX, EVENTFD | UNMASK, 0, 1, &fds[5], 1), 0);
	assert_int_equal(write(fds[4], &full, 8), 8);
	line(true);
	for (unsigned i = 0; i < 20000; i++) {
		struct pollfd pfd = { fds[5], POLLIN, 0 };

		assert_int_equal(write(fds[5], &one, 8), 8);
		/* sooner than the server, some of the time: it was woken for nothing */
		if (poll(&pfd, 1, 0) == 1)
			preadv2(fds[5], &(struct iovec){ &count, 8 }, 1, -1, RWF_NOWAIT);
	}
	line(false);
	assert_int_equal(vu_set_irqs(&client, INTX, NONE | TRIGGER, 0, 0, NULL, 0), 0);
	close_eventfds();
}

static void nothing(void *arg)
{
}

/* A counter that one read does not empty, nor a thousand: each write is one end of interrupt. */
static void resample_is_a_semaphore(void **state)
{
	struct pci_function_stats stats;
	uint64_t huge = UINT64_MAX - 9, one = 1;
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC | EFD_SEMAPHORE);

	assert_int_equal(vu_set_irqs(&client, INTX, EVENTFD | UNMASK, 0, 1, &fd, 1), 0);
	by_message = 0;
	assert_int_equal(write(fd, &huge, 8), 8);
	wait_resampled(1);
	/* each is a round of the loop at least */
	for (unsigned i = 0; i < 1000; i++)
		on_server(nothing, NULL);
	on_server(get_function_stats, &stats);
	assert_int_equal(stats.resamples, 1);
	assert_int_equal(write(fd, &one, 8), 8);
	wait_resampled(2);
	close(fd);
}

/* A client whose end of interrupt nobody would see is told. */
static void resample_cannot_be_watched(void **state)
{
	uint64_t one = 1;

	make_eventfds();
	assert_int_equal(vu_set_irqs(&client, INTX, EVENTFD | UNMASK, 0, 1, &fds[1], 1), 0);
	WRITE_ONCE(no_more_watches, true);
	assert_int_equal(vu_set_irqs(&client, INTX, EVENTFD | UNMASK, 0, 1, &fds[2], 1), -ENOSPC);
	WRITE_ONCE(no_more_watches, false);
	by_message = 0;
	assert_int_equal(vu_set_irqs(&client, INTX, EVENTFD | UNMASK, 0, 1, &fds[2], 1), 0);
	assert_int_equal(write(fds[2], &one, 8), 8);
	wait_resampled(1);
	close_eventfds();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(msix_as_qemu),
		test(msi),
		test(intx_with_resample),
		test(intx_by_messages),
		test(err_and_req),
		test(fires_by_bool),
		test(refuses),
		test(resample_cannot_be_watched),
		test(client_makes_eventfds_block),
		test(resample_is_a_semaphore),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
