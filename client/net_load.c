/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loop: each port in turn receives and then sends for its flows. Ports of flows with one frame
 * on its way (a ping-pong) are looked at after each other port, so that their latency is the
 * server's and not this loop's.
 */
#include "client/net_load_private.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STALL_S	   0.1
#define ANNOUNCE_S 0.05
#define SETTLE_S   0.005
#define COPY_BURST 4 /* frames of a flow, then the next flow's */

void net_port_free(struct net_port *port)
{
	if (!port)
		return;
	free(port->out);
	port->ops->free(port);
}

int net_load_new(struct net_port *const *ports, unsigned n, struct net_load **load)
{
	*load = calloc(1, sizeof(**load));
	if (!*load)
		return -ENOMEM;
	(*load)->ports = ports;
	(*load)->n_ports = n;
	for (unsigned i = 0; i < n; i++)
		ports[i]->load = *load;
	return 0;
}

void net_load_free(struct net_load *load)
{
	if (!load)
		return;
	for (unsigned i = 0; i < load->n_flows; i++) {
		free(load->flows[i]->frame);
		free(load->flows[i]);
	}
	free(load);
}

/* ---- flows ------------------------------------------------------------------------------- */

static uint16_t ip_checksum(const uint8_t *p, unsigned len)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < len; i += 2)
		sum += load_be16(p + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void make_template(struct net_flow *flow)
{
	const struct net_flow_params *p = &flow->params;
	uint32_t random = 0x9e3779b9u * (flow->id + 1u);
	uint8_t *f = flow->frame, *ip = f + 14, *l4 = f + 34;
	uint32_t ip_len = p->size - 14, sum = 0;

	memcpy(f, flow->to->mac, 6);
	memcpy(f + 6, flow->from->mac, 6);
	store_be16(f + 12, 0x0800);
	ip[0] = 0x45;
	store_be16(ip + 2, (uint16_t)MIN(ip_len, 65535u));
	ip[8] = 64;
	ip[9] = p->gso_size ? 6 : 17;
	store_be32(ip + 12, 0x0a000000u | (p->from + 1));
	store_be32(ip + 16, 0x0a000000u | (p->to + 1));
	store_be16(ip + 10, ip_checksum(ip, 20));
	store_be16(l4, (uint16_t)(1024 + flow->id));
	store_be16(l4 + 2, 9);
	if (p->gso_size) {
		l4[12] = 5 << 4;
		l4[13] = 0x10; /* ACK */
		store_be16(l4 + 14, 0xffff);
		/* the pseudo-header's sum, for the rest to be added to */
		for (unsigned i = 12; i < 20; i += 2)
			sum += load_be16(ip + i);
		sum += 6 + ip_len - 20;
		while (sum >> 16)
			sum = (sum & 0xffff) + (sum >> 16);
		store_be16(l4 + 16, (uint16_t)sum);
	} else {
		store_be16(l4 + 4, (uint16_t)(ip_len - 20));
	}
	for (uint32_t i = flow->record + NET_RECORD_BYTES; i < p->size; i++) {
		random = random * 1664525u + 1013904223u;
		f[i] = (uint8_t)(random >> 24);
	}
}

int net_load_add_flow(struct net_load *load, const struct net_flow_params *p)
{
	struct net_flow *flow, **out;
	struct net_port *from, *to;

	if (load->n_flows == NET_LOAD_FLOWS_MAX)
		return -ENOSPC;
	if (p->from >= load->n_ports || p->to >= load->n_ports || p->from == p->to ||
	    !is_power_of_two(p->sample) || !p->window == !(p->rate > 0))
		return -EINVAL;
	from = load->ports[p->from];
	to = load->ports[p->to];
	if (p->size < NET_LOAD_SIZE_MIN + (p->gso_size ? 16u : 0) || p->size > from->frame_max ||
	    p->size > to->frame_max)
		return -EMSGSIZE;
	if (p->gso_size && (!from->gso || !to->gso))
		return -ENOTSUP;
	flow = calloc(1, sizeof(*flow));
	out = realloc(from->out, (from->n_out + 1) * sizeof(struct net_flow *));
	if (out)
		from->out = out;
	if (flow)
		flow->frame = calloc(1, p->size + 64);
	if (!flow || !out || !flow->frame) {
		free(flow);
		return -ENOMEM;
	}
	flow->params = *p;
	flow->from = from;
	flow->to = to;
	flow->id = (uint16_t)load->n_flows;
	flow->record = p->gso_size ? NET_RECORD_TCP : NET_RECORD_UDP;
	flow->verify_mask = p->verify_all ? 0 : NET_VERIFY_MASK;
	flow->sample_mask = p->sample - 1;
	make_template(flow);
	from->out[from->n_out++] = flow;
	from->used = to->used = true;
	if (p->window == 1)
		from->urgent = to->urgent = true;
	load->flows[load->n_flows++] = flow;
	return 0;
}

bool net_out_of_sequence(struct net_flow *flow, uint64_t seq)
{
	if (seq >= flow->sent) {
		flow->corrupt++;
		return false;
	}
	if (seq < flow->expected) {
		flow->late++;
		return false;
	}
	flow->lost += seq - flow->expected;
	return true;
}

void net_verify(struct net_flow *flow, const uint8_t *frame)
{
	unsigned skip = flow->record + NET_RECORD_BYTES;

	if (memcmp(frame + NET_RECORD_UDP, flow->frame + NET_RECORD_UDP,
		   flow->record - NET_RECORD_UDP) ||
	    memcmp(frame + skip, flow->frame + skip, flow->params.size - skip))
		flow->corrupt++;
}

/* ---- the loop ---------------------------------------------------------------------------- */

/* Closed loop: nothing came for long although something is on its way: it is lost, and others take
 * its place. An open loop goes on anyway, and waits. */
static void give_up(struct net_flow *flow, uint64_t now)
{
	if (!flow->params.window)
		return;
	if (flow->received != flow->stalled_received || !flow->stalled_since) {
		flow->stalled_received = flow->received;
		flow->stalled_since = now;
		return;
	}
	if ((double)(now - flow->stalled_since) < STALL_S * load_cycles_per_s())
		return;
	flow->lost += flow->sent - flow->expected;
	flow->expected = flow->sent;
	flow->stalled_since = 0;
}

static unsigned send_closed(struct net_flow *flow)
{
	uint64_t on_way = flow->sent - flow->expected;
	unsigned n;

	if (on_way >= flow->params.window)
		return 0;
	n = (unsigned)MIN(flow->params.window - on_way, (uint64_t)flow->from->burst);
	return flow->from->ops->send(flow->from, flow, n, time_cycles(), 0);
}

static unsigned send_open(struct net_flow *flow)
{
	double late = (double)time_cycles() - flow->due;
	unsigned n;

	if (late < 0)
		return 0;
	n = (unsigned)MIN(late / flow->step + 1, (double)flow->from->burst);
	n = flow->from->ops->send(flow->from, flow, n, (uint64_t)flow->due, (uint64_t)flow->step);
	flow->due += n * flow->step;
	return n;
}

static unsigned serve(struct net_port *port)
{
	unsigned done = port->ops->receive(port);

	for (unsigned i = 0; i < port->n_out; i++) {
		struct net_flow *flow = port->out[i];
		unsigned n = flow->params.window ? send_closed(flow) : send_open(flow);

		flow->sent += n;
		done += n;
	}
	return done;
}

struct loop {
	struct net_load *load;
	struct net_port **often, **others;
	unsigned n_often, n_others;
	const int *stop;
	uint64_t loops, idle_loops, busy_cycles;
};

static void run_until(struct loop *loop, uint64_t end)
{
	struct net_load *load = loop->load;
	uint64_t last = time_cycles(), now;

	do {
		unsigned done = 0;

		for (unsigned i = 0; i < loop->n_others; i++) {
			done += serve(loop->others[i]);
			for (unsigned k = 0; k < loop->n_often; k++)
				done += serve(loop->often[k]);
		}
		if (!loop->n_others)
			for (unsigned k = 0; k < loop->n_often; k++)
				done += serve(loop->often[k]);
		loop->loops++;
		loop->idle_loops += !done;
		now = time_cycles();
		loop->busy_cycles += done ? now - last : 0;
		last = now;
		if (unlikely(!(loop->loops & 1023)))
			for (unsigned i = 0; i < load->n_flows; i++)
				give_up(load->flows[i], now);
	} while (now < end && !(loop->stop && READ_ONCE(*loop->stop)));
}

/*
 * What waits in an open loop at the end has waited that long: a server that stands still then is
 * not spared. Frames were due at even distances, so those on their way and those not sent are one
 * row.
 */
static void charge_waiting(struct net_flow *flow, uint64_t now)
{
	double ns_per_cycle = 1e9 / load_cycles_per_s(), late = (double)now - flow->due;
	uint64_t on_way = flow->sent - flow->expected, unsent = 0, first, end, n;
	uint64_t every = flow->sample_mask + 1;
	double recent, youngest;

	if (flow->params.window)
		return;
	if (late >= 0)
		unsent = (uint64_t)(late / flow->step) + 1;
	end = flow->sent + unsent;
	first = (flow->expected + flow->sample_mask) & ~flow->sample_mask;
	if (first < end) {
		n = (end - 1 - first) / every + 1;
		youngest = late -
			   ((double)(first + (n - 1) * every) - (double)flow->sent) * flow->step;
		histogram_add_even(&flow->latency, MAX(youngest, 0.0) * ns_per_cycle,
				   flow->step * (double)every * ns_per_cycle, n);
	}
	/* of those on their way, the last few may still come */
	recent = (STALL_S * load_cycles_per_s() - late) / flow->step;
	flow->unfinished = recent <= 0 ? 0 : (uint64_t)MIN(recent, (double)on_way);
	flow->unsent = unsent;
	flow->lost += on_way - flow->unfinished;
	flow->expected = flow->sent - flow->unfinished;
}

/* A switch learns where everybody is, and floods nothing later. */
static void announce(struct net_load *load)
{
	uint64_t end;

	for (unsigned i = 0; i < load->n_ports; i++) {
		struct net_port *port = load->ports[i];
		uint8_t frame[NET_LOAD_SIZE_MIN] = { 0 };

		if (!port->used)
			continue;
		memset(frame, 0xff, 6);
		memcpy(frame + 6, port->mac, 6);
		store_be16(frame + 12, 0x88b5); /* for local experiments */
		port->ops->announce(port, frame, sizeof(frame));
	}
	end = time_cycles() + (uint64_t)(ANNOUNCE_S * load_cycles_per_s());
	while (time_cycles() < end)
		for (unsigned i = 0; i < load->n_ports; i++)
			if (load->ports[i]->used)
				load->ports[i]->ops->receive(load->ports[i]);
}

static void counts(const struct net_flow *flow, struct net_flow_result *result)
{
	result->sent = flow->sent;
	result->received = flow->received;
	result->bytes = flow->bytes;
	result->lost = flow->lost;
	result->late = flow->late;
	result->corrupt = flow->corrupt;
}

/* What was counted so far is not measured. */
static void forget(struct loop *loop, struct net_load_result *result)
{
	struct net_load *load = loop->load;

	for (unsigned i = 0; i < load->n_flows; i++) {
		counts(load->flows[i], &load->flows[i]->at_start);
		histogram_clear(&load->flows[i]->latency);
	}
	load->foreign = 0;
	loop->loops = loop->idle_loops = loop->busy_cycles = 0;
	*result = (struct net_load_result){ 0 };
	for (unsigned i = 0; i < load->n_ports; i++) {
		result->kicks -= load->ports[i]->kicks;
		result->device_errors -= load->ports[i]->device_errors;
	}
}

/* What is due before now is not sent any more, and not measured; not all flows at once. */
static void forget_due(struct net_load *load)
{
	double now = (double)time_cycles();

	for (unsigned i = 0; i < load->n_flows; i++) {
		struct net_flow *flow = load->flows[i];

		if (!flow->params.window && flow->due < now)
			flow->due = now + flow->step * i / load->n_flows;
	}
}

int net_load_run(struct net_load *load, const struct net_load_phases *phases,
		 struct net_load_result *result)
{
	struct loop loop = { .load = load, .stop = phases->stop };
	uint64_t start, end;

	loop.often = calloc(2 * (size_t)load->n_ports + 1, sizeof(struct net_port *));
	if (!loop.often)
		return -ENOMEM;
	loop.others = loop.often + load->n_ports;
	for (unsigned i = 0; i < load->n_ports; i++) {
		struct net_port *port = load->ports[i];

		if (port->used && port->urgent)
			loop.often[loop.n_often++] = port;
		else if (port->used)
			loop.others[loop.n_others++] = port;
	}
	for (unsigned i = 0; i < load->n_ports; i++)
		load->ports[i]->burst = loop.n_often ? NET_BURST_BESIDE : NET_BURST;
	announce(load);
	start = time_cycles();
	for (unsigned i = 0; i < load->n_flows; i++) {
		struct net_flow *flow = load->flows[i];

		if (!flow->params.window) {
			flow->step = load_cycles_per_s() / flow->params.rate;
			/* not all at once */
			flow->due = (double)start + flow->step * i / load->n_flows;
		}
	}
	run_until(&loop, start + (uint64_t)(phases->warmup_s * load_cycles_per_s()));
	if (phases->begin) {
		phases->begin(phases->arg);
		/* what was due meanwhile, or waited for that, is not measured */
		forget_due(load);
		run_until(&loop, time_cycles() + (uint64_t)(SETTLE_S * load_cycles_per_s()));
	}
	forget(&loop, result);
	start = time_cycles();
	run_until(&loop, start + (uint64_t)(phases->seconds * load_cycles_per_s()));
	end = time_cycles();
	for (unsigned i = 0; i < load->n_flows; i++)
		charge_waiting(load->flows[i], end);
	result->seconds = (double)(end - start) / load_cycles_per_s();
	result->busy_share = (double)loop.busy_cycles / load_cycles_per_s() / result->seconds;
	result->loops = loop.loops;
	result->idle_loops = loop.idle_loops;
	result->foreign = load->foreign;
	for (unsigned i = 0; i < load->n_ports; i++) {
		result->kicks += load->ports[i]->kicks;
		result->device_errors += load->ports[i]->device_errors;
	}
	free(loop.often);
	return 0;
}

void net_load_flow_result(const struct net_load *load, unsigned i, struct net_flow_result *result)
{
	const struct net_flow *flow = load->flows[i];

	counts(flow, result);
	result->params = flow->params;
	result->sent -= flow->at_start.sent;
	result->received -= flow->at_start.received;
	result->bytes -= flow->at_start.bytes;
	result->lost -= flow->at_start.lost;
	result->late -= flow->at_start.late;
	result->corrupt -= flow->at_start.corrupt;
	result->unfinished = flow->unfinished;
	result->unsent = flow->unsent;
	result->latency_ns = &flow->latency;
}

int net_load_memcpy(struct net_load *load, double seconds, double *bytes_per_s)
{
	uint64_t start = time_cycles(), end, now, bytes = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < load->n_flows; i++)
		if (!load->flows[i]->from->ops->out || !load->flows[i]->to->ops->in)
			return -ENOTSUP;
	end = start + (uint64_t)(seconds * load_cycles_per_s());
	do {
		for (unsigned i = 0; i < load->n_flows; i++) {
			const struct net_flow *flow = load->flows[i];
			struct net_port *from = flow->from, *to = flow->to;

			for (unsigned k = 0; k < COPY_BURST; k++)
				memcpy(to->ops->in(to, n + k), from->ops->out(from, n + k),
				       flow->params.size);
			bytes += (uint64_t)COPY_BURST * flow->params.size;
		}
		n += COPY_BURST;
		now = time_cycles();
	} while (now < end);
	*bytes_per_s = (double)bytes * load_cycles_per_s() / (double)(now - start);
	return 0;
}
