/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two NICs on a switch, each served over a socket and driven through rings in shared memory, with
 * an I/O core as in the daemon: traffic both ways, interrupts, large segments, clients that go in
 * the middle of it.
 */
#include "base/clock.h"
#include "nic/e1000/regs.h"
#include "tests/device/nic_harness.h"

#include <poll.h>
#include <pthread.h>

static int start_82574l(void **state)
{
	return nics_start("82574L", "82574L", NULL);
}

static int start_82540em(void **state)
{
	return nics_start("82540EM", "82540EM", NULL);
}

static int start_both(void **state)
{
	return nics_start("82574L", "82540EM", NULL);
}

static void test_traffic_both_ways(void **state)
{
	assert_true(e1000_driver_link(&machines[0].driver));
	transfer(&machines[0], &machines[1], 2000);
	transfer(&machines[1], &machines[0], 2000);
	assert_true(machines[0].driver.interrupts > 0);
	assert_true(machines[1].driver.interrupts > 0);
	/* bulk traffic does not trap: messages come from interrupts alone */
	assert_true(machines[0].client.messages < 4000);
}

static void test_large_segment_arrives_in_parts(void **state)
{
	transfer_segment(&machines[0], &machines[1]);
}

/* As firmware does it. */
static void test_one_descriptor_at_a_time(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		transfer_one_by_one(&machines[0], &machines[1], 40);
		transfer(&machines[0], &machines[1], 300);
		transfer(&machines[1], &machines[0], 300);
	}
}

/* A guest that never gives a descriptor is flooded: what waits for it is bounded, and what it sends
 * goes out. With a client that goes, it is gone. */
static void test_never_a_descriptor(void **state)
{
	struct machine *a = &machines[0], *b = &machines[1];
	uint8_t frame[2048];
	uint64_t sent = 0;

	vu_write32(&b->client, 0, RDT(0), b->driver.rx_next);
	while (sent < 20000) {
		if (!e1000_driver_queue(&a->driver, frame, make_frame(frame, a, b, 1, 1400)))
			sent++;
		e1000_driver_kick(&a->driver);
		e1000_driver_clean(&a->driver);
		if (sent % 1000 == 0)
			transfer(b, a, 20);
	}
	while (counter(b, "rx_waiting") + counter(b, "rx_no_buffer") < sent)
		usleep(100);
	assert_in_range(counter(b, "rx_waiting"), 1, 64 * 1024 / 1400);
	assert_int_equal(counter(b, "rx_waiting") + counter(b, "rx_no_buffer"), sent);
	machine_disconnect(b);
	wait_disconnected(b);
	assert_int_equal(counter(b, "rx_waiting"), 0);
	machine_connect(b);
	skip_frames(a, b);
	transfer(a, b, 300);
	transfer(b, a, 300);
}

static void test_client_goes_and_another_comes(void **state)
{
	uint8_t frame[2048];

	for (unsigned i = 0; i < 20; i++) {
		/* in the middle of it */
		for (unsigned n = 0; n < 100; n++)
			e1000_driver_queue(&machines[0].driver, frame,
					   make_frame(frame, &machines[0], &machines[1], n, 500));
		e1000_driver_kick(&machines[0].driver);
		machine_disconnect(&machines[0]);
		machine_connect(&machines[0]);
		/* the other machine goes on: from here only whole frames of the new client count */
		skip_frames(&machines[0], &machines[1]);
		transfer(&machines[1], &machines[0], 50);
	}
	transfer(&machines[0], &machines[1], 100);
}

static void test_memory_unmapped_under_traffic(void **state)
{
	struct machine *a = &machines[0];
	uint8_t frame[2048];

	for (unsigned n = 0; n < 100; n++)
		e1000_driver_queue(&a->driver, frame, make_frame(frame, a, &machines[1], n, 500));
	e1000_driver_kick(&a->driver);
	assert_int_equal(vu_dma_unmap(&a->client, GUEST_BASE, GUEST_SIZE), 0);
	assert_true(e1000_driver_link(&a->driver));
	assert_int_equal(vu_dma_map(&a->client, GUEST_BASE, GUEST_SIZE, a->client.memory_fd, 0, 3),
			 0);
	skip_frames(&machines[0], &machines[1]);
	e1000_driver_clean(&a->driver);
	transfer(a, &machines[1], 300);
}

static void test_reset_under_traffic(void **state)
{
	struct machine *a = &machines[0];
	uint8_t frame[2048];

	for (unsigned i = 0; i < 20; i++) {
		for (unsigned n = 0; n < 200; n++)
			e1000_driver_queue(&a->driver, frame,
					   make_frame(frame, a, &machines[1], n, 500));
		e1000_driver_kick(&a->driver);
		assert_int_equal(vu_reset(&a->client), 0);
		e1000_driver_done(&a->driver);
		assert_int_equal(e1000_driver_init(&a->driver, &a->client, 0, RING_N, false), 0);
	}
	skip_frames(&machines[0], &machines[1]);
	transfer(a, &machines[1], 300);
}

static int stop_scribbling;

/* Descriptors of all kinds over both rings of the first machine. */
static void *scribbler(void *arg)
{
	struct e1000_driver *d = &machines[0].driver;
	volatile uint64_t *words = (volatile uint64_t *)d->memory;
	size_t n = (d->tx_buffers - d->tx_ring) / 8;
	uint64_t seed = 1;

	while (!__atomic_load_n(&stop_scribbling, __ATOMIC_RELAXED)) {
		size_t at;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		at = (seed >> 33) % n;
		/* an address, or a length with flags of any kind */
		words[at] = at & 1 ? seed : GUEST_BASE + (seed >> 20) % GUEST_SIZE;
	}
	return NULL;
}

/* What is checked has to be what is used. */
static void test_descriptors_change_while_read(void **state)
{
	struct machine *a = &machines[0], *b = &machines[1];
	uint8_t frame[2048];
	pthread_t scribbling;

	__atomic_store_n(&stop_scribbling, 0, __ATOMIC_RELAXED);
	assert_int_equal(pthread_create(&scribbling, NULL, scribbler, NULL), 0);
	for (unsigned i = 0; i < 300; i++) {
		a->driver.tx_tail = i * 50 % RING_N;
		e1000_driver_kick(&a->driver);
		for (unsigned n = 0; n < 20; n++)
			e1000_driver_queue(&b->driver, frame, make_frame(frame, b, a, n, 500));
		e1000_driver_kick(&b->driver);
		usleep(200);
		e1000_driver_clean(&b->driver);
		while (e1000_driver_receive(&b->driver, frame, NULL) > 0)
			;
	}
	__atomic_store_n(&stop_scribbling, 1, __ATOMIC_RELAXED);
	pthread_join(scribbling, NULL);
	machine_disconnect(a);
	machine_connect(a);
	skip_frames(a, b);
	skip_frames(b, a);
	transfer(a, b, 300);
	transfer(b, a, 300);
}

static void check_server(void *arg)
{
	vfio_user_server_check(arg);
}

static void test_memory_file_truncated(void **state)
{
	struct machine *a = &machines[0], *b = &machines[1];
	uint8_t frame[2048];
	uint64_t until = time_now_ns() + 60 * NS_PER_S;
	bool dropped = false;

	assert_int_equal(memory_faults_init(), 0); /* cmocka's handlers are in place by now */
	transfer(a, b, 100);
	assert_int_equal(ftruncate(a->client.memory_fd, 0), 0);
	/* the doorbell's page is not in that memory */
	e1000_driver_kick(&a->driver);
	for (unsigned n = 0; n < 100; n++)
		e1000_driver_queue(&b->driver, frame, make_frame(frame, b, a, n, 500));
	e1000_driver_kick(&b->driver);
	while (!dropped && time_now_ns() < until) {
		struct pollfd pfd = { a->client.fd, POLLIN, 0 };

		on_servers(check_server, a->server);
		dropped = poll(&pfd, 1, 1) == 1;
	}
	assert_true(dropped);
	machine_disconnect(a);
	machine_connect(a);
	while (b->driver.tx_clean != b->driver.tx_tail) {
		e1000_driver_clean(&b->driver);
		usleep(100);
	}
	transfer(a, b, 300);
	transfer(b, a, 300);
}

#define em(fn)                                                                                     \
	{                                                                                          \
		"82540EM " #fn, fn, start_82540em, nics_stop, NULL                                 \
	}
#define l(fn)                                                                                      \
	{                                                                                          \
		"82574L " #fn, fn, start_82574l, nics_stop, NULL                                   \
	}
#define mixed(fn)                                                                                  \
	{                                                                                          \
		"82574L and 82540EM " #fn, fn, start_both, nics_stop, NULL                         \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		em(test_traffic_both_ways),
		l(test_traffic_both_ways),
		mixed(test_traffic_both_ways),
		em(test_one_descriptor_at_a_time),
		l(test_one_descriptor_at_a_time),
		em(test_never_a_descriptor),
		l(test_never_a_descriptor),
		em(test_large_segment_arrives_in_parts),
		l(test_large_segment_arrives_in_parts),
		l(test_client_goes_and_another_comes),
		em(test_client_goes_and_another_comes),
		l(test_memory_unmapped_under_traffic),
		l(test_reset_under_traffic),
		em(test_reset_under_traffic),
		l(test_descriptors_change_while_read),
		em(test_descriptors_change_while_read),
		l(test_memory_file_truncated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
