/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the switch costs: cycles per packet for a batch that is filled and forwarded to sinks that
 * only count, by batch size, by number of ports that a batch goes to, and for a flood. "fill" is
 * the cost of packet_begin() to packet_seal(), which copies the head; "switch" that of
 * net_switch_forward(). The lowest of many rounds, on one core.
 *
 *   switch_bench [ROUNDS]
 */
#include "base/clock.h"
#include "base/util.h"
#include "net/switch.h"

#include <stdio.h>
#include <stdlib.h>

#define PORTS	256
#define REPEATS 200

struct sink {
	struct switch_port port;
	uint64_t packets;
};

static struct sink sinks[PORTS];
static uint8_t frames[PACKET_BATCH][2048];

static unsigned sink_give(struct switch_port *port, struct packet *const *packets, unsigned n,
			  struct io_turn *turn)
{
	container_of(port, struct sink, port)->packets += n;
	return n;
}

static const struct net_sink_ops sink_ops = { .give = sink_give };

static void frame_make(uint8_t *p, unsigned to, unsigned from)
{
	memset(p, 0, 64);
	p[0] = p[6] = 2;
	store_be16(p + 4, (uint16_t)to);
	store_be16(p + 10, (uint16_t)from);
	if (to == PORTS)
		memset(p, 0xff, 6);
	store_be16(p + 12, 0x0800);
}

static void fill(struct packet_batch *batch, unsigned n, uint32_t len)
{
	packet_batch_init(batch);
	for (unsigned i = 0; i < n; i++) {
		struct packet *packet = packet_begin(batch);

		packet_add(batch, packet, frames[i], len);
		packet_seal(batch, packet);
	}
}

/* @to: how many ports the batch is spread over; 0: flooded. */
static void run(const char *what, struct packet_batch *batch, struct io_turn *turn, unsigned n,
		unsigned to, uint32_t len, unsigned rounds)
{
	uint64_t best_fill = UINT64_MAX, best_switch = UINT64_MAX;

	for (unsigned i = 0; i < n; i++)
		frame_make(frames[i], to ? 1 + i % to : PORTS, 0);
	for (unsigned round = 0; round < rounds; round++) {
		uint64_t t_fill = 0, t_switch = 0;

		for (unsigned r = 0; r < REPEATS; r++) {
			uint64_t a = time_cycles(), b, c;

			fill(batch, n, len);
			b = time_cycles();
			net_switch_forward(&sinks[0].port, batch, turn);
			c = time_cycles();
			t_fill += b - a;
			t_switch += c - b;
		}
		best_fill = MIN(best_fill, t_fill);
		best_switch = MIN(best_switch, t_switch);
	}
	printf("%-24s %5u %5u %6u %9.1f %9.1f\n", what, n, to, len,
	       (double)best_fill / (REPEATS * n), (double)best_switch / (REPEATS * n));
}

static void measure(bool vlan_aware, unsigned rounds)
{
	struct net_switch *sw = net_switch_new(&(struct switch_config){ .vlan_aware = vlan_aware });
	struct switch_port_config none = { 0 };
	struct packet_batch *batch = aligned_alloc(64, ALIGN_UP(sizeof(*batch), 64));
	void *scratch = aligned_alloc(64, IO_SCRATCH_BYTES);
	const char *what = vlan_aware ? "VLANs" : "no VLANs";
	struct io_turn turn;

	io_turn_init(&turn, scratch);
	for (unsigned i = 0; i < PORTS; i++) {
		sinks[i].port.ops = &sink_ops;
		sinks[i].port.name = "p";
		if (net_switch_attach(sw, &sinks[i].port, &none))
			abort();
	}
	for (unsigned i = 0; i < PORTS; i++) {
		frame_make(frames[0], PORTS, i);
		fill(batch, 1, 64);
		net_switch_forward(&sinks[i].port, batch, &turn);
	}
	for (unsigned n = 1; n <= PACKET_BATCH; n *= 4)
		run(what, batch, &turn, n, 1, 64, rounds);
	run(what, batch, &turn, 64, 1, 1500, rounds);
	run(what, batch, &turn, 64, 8, 64, rounds);
	run(what, batch, &turn, 64, 64, 64, rounds);
	run("flooded to 255 ports", batch, &turn, 64, 0, 64, rounds);
	for (unsigned i = 0; i < PORTS; i++)
		net_switch_detach(&sinks[i].port);
	net_switch_free(sw);
	free(batch);
	free(scratch);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 200;

	printf("%-24s %5s %5s %6s %9s %9s   cycles per packet\n", "", "batch", "ports", "bytes",
	       "fill", "switch");
	measure(false, (unsigned)MAX(rounds, 1));
	measure(true, (unsigned)MAX(rounds, 1));
	return 0;
}
