/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside of a network load: what a kind of port implements, and the check of a frame, inline
 * because it runs for each.
 *
 * A frame: Ethernet, IPv4, UDP (or TCP for large segments), then the record, then a pattern of the
 * flow's own. All but the record is the same for all frames of a flow (its template), so a sender
 * that has the template in a buffer writes only the record.
 */
#ifndef EXITLESS_CLIENT_NET_LOAD_PRIVATE_H
#define EXITLESS_CLIENT_NET_LOAD_PRIVATE_H

#include "client/load.h"
#include "client/net_load.h"

#include <errno.h>

#define NET_BURST	 64
#define NET_BURST_BESIDE 8 /* beside a ping-pong, which waits for it */
#define NET_RECORD_UDP	 42
#define NET_RECORD_TCP	 54
#define NET_RECORD_BYTES 20
#define NET_RECORD_MAGIC 0x5e170000u /* the flow's index in the lower half */
#define NET_VERIFY_MASK	 63u
#define NET_PROTOCOL_AT	 23

struct net_flow {
	struct net_flow_params params;
	struct net_port *from, *to;
	uint16_t id;
	unsigned record; /* its offset in a frame */
	uint8_t *frame;	 /* the template */
	uint64_t verify_mask, sample_mask;
	/* sender */
	uint64_t sent;
	double step; /* open loop: cycles between two frames */
	double due;  /* of the next frame */
	/* receiver */
	uint64_t received, bytes, lost, late, corrupt;
	uint64_t expected; /* the next sequence number */
	uint64_t stalled_since, stalled_received;
	uint64_t unfinished, unsent; /* at the end */
	struct histogram latency;
	struct net_flow_result at_start;
};

struct net_port_ops {
	/* Sends up to @n frames of @flow with ascending sequence numbers from flow->sent; frame i
	 * is stamped @stamp + i * @step. Returns how many. */
	unsigned (*send)(struct net_port *port, const struct net_flow *flow, unsigned n,
			 uint64_t stamp, uint64_t step);
	/* Hands each frame that came to net_receive(), up to port->burst; returns how many. */
	unsigned (*receive)(struct net_port *port);
	/* One broadcast frame. */
	void (*announce)(struct net_port *port, const void *frame, uint32_t len);
	/* The memory of frame @i (modulo what there is) on its way out and in; NULL: not known. */
	uint8_t *(*out)(struct net_port *port, unsigned i);
	uint8_t *(*in)(struct net_port *port, unsigned i);
	void (*free)(struct net_port *port);
};

struct net_port {
	const struct net_port_ops *ops;
	uint32_t frame_max;
	bool gso;
	uint8_t mac[6];
	uint64_t kicks, device_errors;
	/* set by the load */
	struct net_load *load;
	struct net_flow **out;
	unsigned n_out;
	unsigned burst; /* frames at a time, 1..NET_BURST */
	bool used, urgent;
};

struct net_load {
	struct net_port *const *ports;
	unsigned n_ports;
	struct net_flow *flows[NET_LOAD_FLOWS_MAX];
	unsigned n_flows;
	uint64_t foreign;
};

static inline void net_record_write(const struct net_flow *flow, uint8_t *frame, uint64_t seq,
				    uint64_t stamp)
{
	store_le32(frame + flow->record, NET_RECORD_MAGIC | flow->id);
	store_le64(frame + flow->record + 4, seq);
	store_le64(frame + flow->record + 12, stamp);
}

/* net_load.c: what is rare. The first: may the frame count as received? */
bool net_out_of_sequence(struct net_flow *flow, uint64_t seq);
void net_verify(struct net_flow *flow, const uint8_t *frame);

/* The first 42 bytes: up to the UDP header's end. */
static inline bool net_same_headers(const uint8_t *a, const uint8_t *b)
{
	uint64_t differ = load_le16(a + 40) ^ load_le16(b + 40);

	for (unsigned i = 0; i < 40; i += 8)
		differ |= load_le64(a + i) ^ load_le64(b + i);
	return !differ;
}

/* @frame of @len bytes came in at @port at @now. At least NET_LOAD_SIZE_MIN bytes are readable. */
static inline void net_receive(struct net_port *port, const uint8_t *frame, uint32_t len,
			       uint64_t now)
{
	struct net_load *load = port->load;
	unsigned record = frame[NET_PROTOCOL_AT] == 6 ? NET_RECORD_TCP : NET_RECORD_UDP;
	uint32_t magic = load_le32(frame + record);
	uint64_t seq = load_le64(frame + record + 4);
	struct net_flow *flow;

	if (unlikely((magic & 0xffff0000) != NET_RECORD_MAGIC ||
		     (magic & 0xffff) >= load->n_flows || len < NET_LOAD_SIZE_MIN)) {
		load->foreign++;
		return;
	}
	flow = load->flows[magic & 0xffff];
	if (unlikely(flow->to != port)) {
		/* flooded by a switch that does not know the address yet */
		load->foreign++;
		return;
	}
	if (unlikely(seq != flow->expected) && !net_out_of_sequence(flow, seq))
		return;
	flow->expected = seq + 1;
	flow->received++;
	flow->bytes += len;
	if (unlikely(len != flow->params.size || record != flow->record ||
		     !net_same_headers(frame, flow->frame)))
		flow->corrupt++;
	else if (!(seq & flow->verify_mask))
		net_verify(flow, frame);
	if (!(seq & flow->sample_mask)) {
		int64_t cycles = (int64_t)(now - load_le64(frame + record + 12));

		histogram_add(&flow->latency, cycles > 0 ? load_ns((uint64_t)cycles) : 0);
	}
}

#endif
