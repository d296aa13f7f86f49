/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The switch on several threads at once: they forward, learn and move addresses while the main
 * thread attaches, detaches, changes rules, VLANs and the table's size, dumps and flushes. A sink
 * that was detached must not be given anything. Meant for ThreadSanitizer; without it, it still
 * checks the sinks.
 */
#include "base/clock.h"
#include "base/rcu.h"
#include "base/util.h"
#include "net/switch.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define CORES  3
#define PORTS  8
#define ROUNDS 150

struct sink {
	struct switch_port port;
	int attached; /* set before attach, cleared after detach has returned */
	uint64_t given;
};

static struct sink sinks[PORTS];
static int stop, misgiven;

static unsigned sink_give(struct switch_port *port, struct packet *const *packets, unsigned n,
			  struct io_turn *turn)
{
	struct sink *sink = container_of(port, struct sink, port);

	if (!LOAD_ACQUIRE(sink->attached))
		__atomic_store_n(&misgiven, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&sink->given, n, __ATOMIC_RELAXED);
	return n;
}

static const struct net_sink_ops sink_ops = { .give = sink_give };

static void *core(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg, me = seed;
	struct packet_batch *batch = malloc(sizeof(*batch));
	void *scratch = malloc(IO_SCRATCH_BYTES);
	struct io_turn turn;
	uint8_t frame[80] = { 0 };

	rcu_reader_register();
	while (!LOAD_ACQUIRE(stop)) {
		io_turn_init(&turn, scratch);
		packet_batch_init(batch);
		for (unsigned i = 0; i < 16; i++) {
			struct packet *packet = packet_begin(batch);

			frame[0] = frame[6] = 2;
			frame[5] = (uint8_t)(rand_r(&seed) % 40);
			frame[11] = (uint8_t)(rand_r(&seed) % 40);
			if (i == 7)
				memset(frame, 0xff, 6);
			packet_add(batch, packet, frame, sizeof(frame));
			packet_seal(batch, packet);
			memset(frame, 0, 6);
		}
		net_switch_forward(&sinks[(me + (unsigned)rand_r(&seed)) % PORTS].port, batch,
				   &turn);
		io_turn_end(&turn);
		rcu_reader_quiescent();
	}
	rcu_reader_unregister();
	free(scratch);
	free(batch);
	return NULL;
}

static uint64_t given_so_far(void)
{
	uint64_t given = 0;

	for (unsigned i = 0; i < PORTS; i++)
		given += READ_ONCE(sinks[i].given);
	return given;
}

static void row(void *arg, const uint8_t mac[6], uint16_t vid, const char *port, uint64_t age_ns)
{
	++*(unsigned *)arg;
}

static void runs_on_cores(void **state)
{
	struct switch_port_config config = { 0 };
	struct net_switch *sw = net_switch_new(&(struct switch_config){ .addresses_max = 24 });
	struct switch_port_stats stats;
	pthread_t threads[CORES];
	uint64_t until = time_now_ns() + 60 * NS_PER_S;
	unsigned rows = 0;

	for (unsigned i = 0; i < PORTS; i++) {
		sinks[i].port.ops = &sink_ops;
		sinks[i].port.name = "p";
		sinks[i].attached = 1;
		assert_int_equal(net_switch_attach(sw, &sinks[i].port, &config), 0);
	}
	for (uintptr_t i = 0; i < CORES; i++)
		pthread_create(&threads[i], NULL, core, (void *)(i + 1));
	/* and until one of them has had the CPU */
	for (unsigned i = 0; i < ROUNDS || (!given_so_far() && time_now_ns() < until); i++) {
		struct sink *sink = &sinks[i % PORTS];

		net_switch_detach(&sink->port);
		STORE_RELEASE(sink->attached, 0);
		usleep(300);
		config.isolated = i & 1;
		config.has_mac = i & 2;
		config.mac[0] = 2;
		config.mac[5] = (uint8_t)(i % 40);
		STORE_RELEASE(sink->attached, 1);
		assert_int_equal(net_switch_attach(sw, &sink->port, &config), 0);
		net_switch_port_set(&sinks[(i + 3) % PORTS].port, &config);
		net_switch_dump(sw, row, &rows);
		if (i % 8 == 0)
			assert_int_equal(net_switch_addresses_set(sw, i % 64 ? 24 : 3000), 0);
		if (i % 5 == 0)
			net_switch_vlans_set(sw, i % 2);
		if (i % 16 == 0)
			net_switch_flush(sw, NULL);
		net_switch_port_stats(&sinks[(i + 1) % PORTS].port, &stats);
	}
	STORE_RELEASE(stop, 1);
	for (unsigned i = 0; i < CORES; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < PORTS; i++)
		net_switch_detach(&sinks[i].port);
	net_switch_free(sw);
	assert_int_equal(misgiven, 0);
	assert_true(given_so_far() > 0);
}

/* Several threads send from one port: every packet is counted. */
static void *counter(void *arg)
{
	struct packet_batch *batch = malloc(sizeof(*batch));
	void *scratch = malloc(IO_SCRATCH_BYTES);
	uint8_t frame[60] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9 };
	struct io_turn turn;

	rcu_reader_register();
	io_turn_init(&turn, scratch);
	for (unsigned i = 0; i < 1000; i++) {
		struct packet *packet;

		packet_batch_init(batch);
		packet = packet_begin(batch);
		packet_add(batch, packet, frame, sizeof(frame));
		packet_seal(batch, packet);
		net_switch_forward(&sinks[0].port, batch, &turn);
		rcu_reader_quiescent();
	}
	rcu_reader_unregister();
	free(scratch);
	free(batch);
	return NULL;
}

static void counts_on_cores(void **state)
{
	struct net_switch *sw = net_switch_new(&(struct switch_config){ 0 });
	struct switch_port_config none = { 0 };
	struct switch_port_stats stats;
	pthread_t threads[40]; /* more than there are rows */

	for (unsigned i = 0; i < 2; i++) {
		sinks[i].port.ops = &sink_ops;
		sinks[i].attached = 1;
		net_switch_attach(sw, &sinks[i].port, &none);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_create(&threads[i], NULL, counter, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	net_switch_port_stats(&sinks[0].port, &stats);
	assert_int_equal(stats.rx_packets, 1000 * ARRAY_SIZE(threads));
	assert_int_equal(stats.rx_bytes, 60000 * ARRAY_SIZE(threads));
	net_switch_port_stats(&sinks[1].port, &stats);
	assert_int_equal(stats.tx_packets, 1000 * ARRAY_SIZE(threads));
	for (unsigned i = 0; i < 2; i++)
		net_switch_detach(&sinks[i].port);
	net_switch_free(sw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_on_cores),
		cmocka_unit_test(counts_on_cores),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
