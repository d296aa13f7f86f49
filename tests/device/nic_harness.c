/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/device/nic_harness.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "net/offload.h"
#include "nic/e1000/regs.h"
#include "tests/device/loop_call.h"

#include <pthread.h>

#define HANGS_S 120 /* a test; it takes a second */

struct machine machines[2];
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

void machine_connect(struct machine *m)
{
	assert_int_equal(vu_open(&m->client, m->path), 0);
	if (m->announce) {
		assert_int_equal(vu_memory_make(&m->client, GUEST_BASE, GUEST_SIZE), 0);
		assert_int_equal(m->announce(&m->client), 0);
	} else {
		assert_int_equal(vu_memory(&m->client, GUEST_BASE, GUEST_SIZE), 0);
	}
	assert_int_equal(e1000_driver_init(&m->driver, &m->client, 0, RING_N, false), 0);
}

int nics_start(const char *a, const char *b, int (*announce)(struct vu_client *c))
{
	struct io_core_params params = { .cpu = -1 };
	struct switch_config config = { .name = "lan" };

	alarm(HANGS_S);
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
	for (unsigned i = 0; i < 2; i++) {
		machines[i].announce = announce;
		machine_connect(&machines[i]);
	}
	return 0;
}

int nics_stop(void **state)
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
	alarm(0);
	return 0;
}

void machine_disconnect(struct machine *m)
{
	close(m->client.fd);
	m->client.fd = -1;
	vu_close(&m->client);
	for (unsigned i = 0; i < ARRAY_SIZE(m->driver.irq_fds); i++)
		if (m->driver.irq_fds[i] >= 0)
			close(m->driver.irq_fds[i]);
}

void on_servers(void (*fn)(void *arg), void *arg)
{
	loop_call(loop, fn, arg);
}

struct server_stats {
	const struct vfio_user_server *server;
	struct vfio_user_stats stats;
};

static void get_server_stats(void *arg)
{
	struct server_stats *stats = arg;

	vfio_user_server_stats(stats->server, &stats->stats);
}

void wait_disconnected(const struct machine *m)
{
	struct server_stats stats = { .server = m->server };

	do {
		on_servers(get_server_stats, &stats);
	} while (stats.stats.connected || stats.stats.closing);
}

uint32_t make_frame(uint8_t *frame, const struct machine *from, const struct machine *to,
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

void serve_both(void)
{
	for (unsigned i = 0; i < 2; i++)
		if (machines[i].client.fd >= 0)
			assert_true(vu_serve(&machines[i].client, 0) >= 0);
}

uint32_t wait_frame(struct machine *to, uint8_t *frame)
{
	uint64_t until = time_now_ns() + 60 * NS_PER_S;

	while (time_now_ns() < until) {
		int len = e1000_driver_receive(&to->driver, frame, NULL);

		assert_true(len >= 0);
		if (len)
			return (uint32_t)len;
		serve_both();
		usleep(100);
	}
	fail_msg("no frame came");
	return 0;
}

void skip_frames(struct machine *from, struct machine *to)
{
	static uint32_t number;
	uint64_t until = time_now_ns() + 60 * NS_PER_S;
	uint8_t marker[64], frame[2048];

	while (time_now_ns() < until) {
		make_frame(marker, from, to, ++number, sizeof(marker));
		store_be16(marker + 12, 0x88b6);
		e1000_driver_clean(&from->driver);
		e1000_driver_queue(&from->driver, marker, sizeof(marker));
		e1000_driver_kick(&from->driver);
		/* it may be lost behind what is skipped: then another one */
		for (unsigned n = 0; n < 1000; n++) {
			int len = e1000_driver_receive(&to->driver, frame, NULL);

			if (len == sizeof(marker) && !memcmp(frame, marker, sizeof(marker)))
				return;
			if (len)
				continue;
			serve_both();
			usleep(100);
		}
	}
	fail_msg("no marker came");
}

void transfer(struct machine *from, struct machine *to, unsigned n)
{
	uint8_t frame[2048], got[2048];
	unsigned sent = 0, received = 0;

	while (received < n) {
		/* no more in flight than the receiver has buffers for */
		while (sent < n && sent - received < RING_N / 2) {
			uint32_t len = make_frame(frame, from, to, sent, 60 + sent % 1400);

			e1000_driver_clean(&from->driver);
			if (e1000_driver_queue(&from->driver, frame, len)) {
				serve_both();
				break;
			}
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

struct nic_stat {
	struct nic *nic;
	const char *name;
	uint64_t value;
};

static void one_stat(void *arg, const char *name, uint64_t value)
{
	struct nic_stat *stat = arg;

	if (!strcmp(name, stat->name))
		stat->value = value;
}

static void get_stat(void *arg)
{
	struct nic_stat *stat = arg;

	stat->nic->ops->stats(stat->nic, one_stat, stat);
}

uint64_t counter(const struct machine *m, const char *name)
{
	struct nic_stat stat = { m->nic, name, UINT64_MAX };

	on_servers(get_stat, &stat);
	assert_true(stat.value != UINT64_MAX);
	return stat.value;
}

static void tail_write(struct machine *m, uint32_t tail)
{
	vu_write32(&m->client, 0, RDT(0), tail % RING_N);
}

void transfer_one_by_one(struct machine *from, struct machine *to, unsigned n)
{
	struct e1000_driver *d = &to->driver;
	uint8_t frame[2048], *ring = d->memory + (d->rx_ring - d->tx_ring);
	uint32_t first = d->rx_next;

	tail_write(to, first); /* the head is there as well: none */
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(e1000_driver_queue(&from->driver, frame,
						    make_frame(frame, from, to, i, 60 + i)),
				 0);
	e1000_driver_kick(&from->driver);
	for (unsigned i = 0; i < n; i++) {
		uint8_t *desc = ring + d->rx_next * 16;
		uint64_t buffer = d->rx_buffers + d->rx_next * (uint64_t)E1000_DRIVER_BUFFER;
		uint32_t *status = (uint32_t *)(void *)(desc + (d->extended ? 8 : 12));
		uint32_t len = make_frame(frame, from, to, i, 60 + i);
		uint64_t until = time_now_ns() + 60 * NS_PER_S;

		assert_false(LOAD_ACQUIRE(*status) & 1);
		d->rx_next = (d->rx_next + 1) % RING_N;
		tail_write(to, d->rx_next);
		while (!(LOAD_ACQUIRE(*status) & 1)) {
			assert_true(time_now_ns() < until);
			serve_both();
			usleep(100);
		}
		assert_memory_equal(d->memory + (buffer - d->tx_ring), frame, len);
		store_le64(desc, buffer);
		store_le64(desc + 8, 0);
	}
	tail_write(to, d->rx_next + RING_N - 1);
}

void transfer_segment(struct machine *a, struct machine *b)
{
	static uint8_t frame[40000], got[2048];
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
