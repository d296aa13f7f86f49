/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two NICs on a switch, each served over a socket and driven through rings in shared memory, with
 * an I/O core as in the daemon: traffic both ways, interrupts, large segments, clients that go in
 * the middle of it.
 */
#include "base/log.h"
#include "base/util.h"
#include "client/e1000_driver.h"
#include "net/offload.h"
#include "nic/nic.h"
#include "transport/vfio_user.h"

/* cmocka wants these before it */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GUEST_BASE 0x100000ull
#define GUEST_SIZE (4ull << 20)
#define RING_N	   256u

struct machine {
	struct memory_space *space;
	struct nic *nic;
	struct vfio_user_server *server;
	char path[80];
	struct vu_client client;
	struct e1000_driver driver;
};

static struct machine machines[2];
static struct net_switch *sw;
static struct io_core *core;
static struct loop *loop;
static pthread_t thread;
static char directory[] = "/tmp/exitless-test-XXXXXX";

static void *run(void *arg)
{
	loop_run(loop);
	return NULL;
}

static void machine_start(struct machine *m, const char *model, unsigned number)
{
	struct nic_config config = { .name = number ? "b/net0" : "a/net0",
				     .model = model,
				     .link_up = true };
	struct vfio_user_config server = { .owner = (uid_t)-1,
					   .group = (gid_t)-1,
					   .listen_fd = -1 };
	struct switch_port_config port = { .has_mac = true };

	memcpy(config.mac, (uint8_t[]){ 0x52, 0x54, 0, 0, 0, (uint8_t)(number + 1) }, 6);
	memcpy(port.mac, config.mac, 6);
	m->space = memory_space_new(config.name);
	m->nic = nic_new(&config, m->space);
	assert_non_null(m->nic);
	for (unsigned i = 0; i < m->nic->n_timers; i++)
		io_timer_add(core, m->nic->timers[i]);
	assert_int_equal(net_switch_attach(sw, &m->nic->port, &port), 0);
	for (unsigned i = 0; i < m->nic->n_queues; i++)
		assert_int_equal(io_queue_add(core, m->nic->queues[i]), 0);
	snprintf(m->path, sizeof(m->path), "%s/%u.sock", directory, number);
	server.path = m->path;
	m->server = vfio_user_server_new(loop, &server, m->nic->pci, m->space);
	assert_non_null(m->server);
}

static void machine_stop(struct machine *m)
{
	vfio_user_server_free(m->server);
	for (unsigned i = 0; i < m->nic->n_queues; i++)
		io_queue_remove(m->nic->queues[i]);
	net_switch_detach(&m->nic->port);
	for (unsigned i = 0; i < m->nic->n_timers; i++)
		io_timer_remove(m->nic->timers[i]);
	m->nic->ops->free(m->nic);
	memory_space_free(m->space);
}

static void connect_client(struct machine *m)
{
	assert_int_equal(vu_open(&m->client, m->path), 0);
	assert_int_equal(vu_memory(&m->client, GUEST_BASE, GUEST_SIZE), 0);
	assert_int_equal(e1000_driver_init(&m->driver, &m->client, 0, RING_N, false), 0);
}

/* Another client in the place of this one. */
static void start_anew(struct machine *m)
{
	for (unsigned i = 0; i < 3; i++)
		if (m->driver.irq_fds[i] >= 0)
			close(m->driver.irq_fds[i]);
	vu_close(&m->client);
	connect_client(m);
}

static int start(const char *a, const char *b)
{
	struct io_core_params params = { .cpu = -1 };
	struct switch_config config = { .name = "lan" };

	log_set_level(LOG_LEVEL_ERROR);
	strcpy(directory + strlen(directory) - 6, "XXXXXX");
	assert_non_null(mkdtemp(directory));
	loop = loop_new();
	core = io_core_new("io0", &params);
	sw = net_switch_new(&config);
	assert_true(loop && core && sw);
	machine_start(&machines[0], a, 0);
	machine_start(&machines[1], b, 1);
	assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
	connect_client(&machines[0]);
	connect_client(&machines[1]);
	return 0;
}

static int start_82574l(void **state)
{
	return start("82574L", "82574L");
}

static int start_82540em(void **state)
{
	return start("82540EM", "82540EM");
}

static int start_both(void **state)
{
	return start("82574L", "82540EM");
}

static int stop(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		e1000_driver_done(&machines[i].driver);
		vu_close(&machines[i].client);
	}
	loop_stop(loop);
	pthread_join(thread, NULL);
	for (unsigned i = 0; i < 2; i++)
		machine_stop(&machines[i]);
	net_switch_free(sw);
	io_core_free(core);
	loop_free(loop);
	rmdir(directory);
	return 0;
}

static uint32_t make_frame(uint8_t *frame, const struct machine *from, const struct machine *to,
			   uint32_t number, uint32_t len)
{
	memcpy(frame, to->driver.mac, 6);
	memcpy(frame + 6, from->driver.mac, 6);
	store_be16(frame + 12, 0x88b5); /* for experiments */
	store_be32(frame + 14, number);
	for (uint32_t i = 18; i < len; i++)
		frame[i] = (uint8_t)(number + i);
	return len;
}

/* The next frame of @to within 10 s. */
static uint32_t wait_frame(struct machine *to, uint8_t *frame)
{
	for (unsigned i = 0; i < 100000; i++) {
		int len = e1000_driver_receive(&to->driver, frame, NULL);

		assert_true(len >= 0);
		if (len)
			return (uint32_t)len;
		usleep(100);
	}
	fail_msg("no frame came");
	return 0;
}

static void transfer(struct machine *from, struct machine *to, unsigned n)
{
	uint8_t frame[2048], got[2048];
	unsigned sent = 0, received = 0;

	while (received < n) {
		/* no more in flight than the receiver has buffers for */
		while (sent < n && sent - received < RING_N / 2) {
			uint32_t len = make_frame(frame, from, to, sent, 60 + sent % 1400);

			e1000_driver_clean(&from->driver);
			if (e1000_driver_queue(&from->driver, frame, len))
				break;
			sent++;
		}
		e1000_driver_kick(&from->driver);
		while (received < sent) {
			uint32_t len = make_frame(frame, from, to, received, 60 + received % 1400);

			assert_int_equal(wait_frame(to, got), len);
			assert_memory_equal(got, frame, len);
			received++;
		}
		e1000_driver_interrupts(&to->driver);
		e1000_driver_interrupts(&from->driver);
	}
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
	static uint8_t frame[40000], got[2048];
	struct machine *a = &machines[0], *b = &machines[1];
	uint32_t payload = 30000, at = 0;
	uint8_t pseudo[4] = { 0, 6, 0, 0 };

	memcpy(frame, b->driver.mac, 6);
	memcpy(frame + 6, a->driver.mac, 6);
	store_be16(frame + 12, 0x0800);
	frame[14] = 0x45;
	frame[22] = 64;
	frame[23] = 6;
	store_be32(frame + 26, 0x0a000001);
	store_be32(frame + 30, 0x0a000002);
	frame[46] = 0x50;
	frame[47] = 0x10;
	store_le16(frame + 50,
		   csum_fold(csum_add(csum_add(0, frame + 26, 8, false), pseudo, 4, false)));
	for (uint32_t i = 0; i < payload; i++)
		frame[54 + i] = (uint8_t)(i * 31 >> 3);
	assert_int_equal(e1000_driver_queue_tso(&a->driver, frame, 54 + payload, 1448), 0);
	e1000_driver_kick(&a->driver);
	while (at < payload) {
		uint32_t len = wait_frame(b, got), here = MIN(payload - at, 1448u);
		uint64_t sum;

		assert_int_equal(len, 54 + here);
		assert_memory_equal(got + 54, frame + 54 + at, here);
		assert_int_equal(load_be32(got + 38), at);
		assert_int_equal(load_be16(got + 16), 40 + here);
		assert_int_equal(csum_fold(csum_add(0, got + 14, 20, false)), 0xffff);
		store_be16(pseudo + 2, (uint16_t)(20 + here));
		sum = csum_add(csum_add(0, got + 26, 8, false), pseudo, 4, false);
		assert_int_equal(csum_fold(csum_add(sum, got + 34, 20 + here, false)), 0xffff);
		at += here;
	}
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
		close(machines[0].client.fd);
		machines[0].client.fd = -1;
		start_anew(&machines[0]);
		/* the other machine goes on: from here only whole frames of the new client count */
		usleep(20000);
		while (e1000_driver_receive(&machines[1].driver, frame, NULL) > 0)
			;
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
	/* what was left of them comes first: they are done when the descriptors are */
	for (unsigned done = 0; done < 100;) {
		done += e1000_driver_clean(&a->driver);
		while (e1000_driver_receive(&machines[1].driver, frame, NULL) > 0)
			;
	}
	while (e1000_driver_receive(&machines[1].driver, frame, NULL) > 0)
		;
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
	usleep(20000);
	while (e1000_driver_receive(&machines[1].driver, frame, NULL) > 0)
		;
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
	start_anew(a);
	usleep(20000);
	while (e1000_driver_receive(&b->driver, frame, NULL) > 0)
		;
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
	bool dropped = false;

	assert_int_equal(memory_faults_init(), 0); /* cmocka's handlers are in place by now */
	transfer(a, b, 100);
	assert_int_equal(ftruncate(a->client.memory_fd, 0), 0);
	/* the doorbell's page is not in that memory */
	e1000_driver_kick(&a->driver);
	for (unsigned n = 0; n < 100; n++)
		e1000_driver_queue(&b->driver, frame, make_frame(frame, b, a, n, 500));
	e1000_driver_kick(&b->driver);
	for (unsigned i = 0; i < 10000 && !dropped; i++) {
		struct pollfd pfd = { a->client.fd, POLLIN, 0 };

		assert_int_equal(loop_post(loop, check_server, a->server), 0);
		dropped = poll(&pfd, 1, 1) == 1;
	}
	assert_true(dropped);
	start_anew(a);
	while (b->driver.tx_clean != b->driver.tx_tail) {
		e1000_driver_clean(&b->driver);
		usleep(100);
	}
	transfer(a, b, 300);
	transfer(b, a, 300);
}

#define em(fn)                                                                                     \
	{                                                                                          \
		"82540EM " #fn, fn, start_82540em, stop, NULL                                      \
	}
#define l(fn)                                                                                      \
	{                                                                                          \
		"82574L " #fn, fn, start_82574l, stop, NULL                                        \
	}
#define mixed(fn)                                                                                  \
	{                                                                                          \
		"82574L and 82540EM " #fn, fn, start_both, stop, NULL                              \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		em(test_traffic_both_ways),
		l(test_traffic_both_ways),
		mixed(test_traffic_both_ways),
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
