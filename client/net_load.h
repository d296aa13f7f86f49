/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A network load: one thread plays the driver's side of several devices (ports) of any server and
 * moves frames between them in flows. Every frame that arrives is checked: addresses and headers,
 * its flow, its length and its place in the sequence; the payload of every 64th too, or of all.
 *
 * A flow is a closed loop (up to @window frames on their way) or an open one (@rate frames a
 * second, whatever comes of them). Latency is the time from a frame's sending to the moment the
 * receiving port's driver looks at it; in an open loop from the moment it *should* have been sent,
 * so that a server that stalls is charged for all that had to wait ("coordinated omission"); what
 * still waits at the end, on its way or not sent, is charged up to then.
 *
 * Functions return 0 or -errno. Nothing here prints.
 */
#ifndef EXITLESS_CLIENT_NET_LOAD_H
#define EXITLESS_CLIENT_NET_LOAD_H

#include "client/histogram.h"

#include <stdbool.h>
#include <stdint.h>

#define NET_LOAD_FLOWS_MAX 1024
#define NET_LOAD_SIZE_MIN  64	 /* bytes of a frame without FCS */
#define NET_LOAD_SIZE_MAX  65550 /* 64 KiB of IP packet and the Ethernet header */

struct net_load;
struct net_port;

/* ---- ports ------------------------------------------------------------------------------ */

struct net_port_params {
	const char *path;   /* socket of the server */
	unsigned ring;	    /* descriptors of each ring; a power of two, 16..32768 */
	uint32_t frame_max; /* bytes of the largest frame */
	bool packed;	    /* virtio: packed rings */
	bool in_order;	    /* virtio: VIRTIO_F_IN_ORDER */
	bool mergeable;	    /* virtio: mergeable receive buffers of 2 KiB */
	bool gso;	    /* virtio: large segments and open checksums, both ways */
	bool huge;	    /* memory of huge pages */
};

/* The driver's side of a virtio-net device over vhost-user, which listens at @path. -ENOTSUP: the
 * server lacks a feature that was asked for. */
int net_port_virtio(const struct net_port_params *params, struct net_port **port);
/* That of an 82574L or 82540EM over vfio-user. */
int net_port_e1000(const struct net_port_params *params, struct net_port **port);
void net_port_free(struct net_port *port);

/* ---- a load ------------------------------------------------------------------------------ */

struct net_flow_params {
	unsigned from, to; /* indices of ports */
	uint32_t size;	   /* bytes of a frame without FCS */
	unsigned window;   /* closed loop: frames on their way, 1..; 0: open loop */
	double rate;	   /* open loop: frames a second */
	uint16_t gso_size; /* frames are TCP/IPv4 segments of this; 0: UDP, whole */
	unsigned sample;   /* the latency of one in so many frames is recorded; a power of two */
	bool verify_all;
};

struct net_flow_result {
	struct net_flow_params params;
	uint64_t sent, received, bytes;
	/* gaps in the sequence, and what did not come for 0.1 s (open loop: and had not at the
	 * end) */
	uint64_t lost;
	uint64_t late;	  /* came after it was given up, or twice */
	uint64_t corrupt; /* not what was sent */
	/* open loop, at the end */
	uint64_t unfinished; /* sent in the last 0.1 s, and did not come */
	uint64_t unsent;     /* due, but there was no room */
	const struct histogram *latency_ns;
};

struct net_load_result {
	double seconds;
	uint64_t loops, idle_loops; /* of the client; idle: nothing to receive or send */
	double busy_share;	    /* of the time, in loops with something to do */
	uint64_t foreign;	    /* frames that no flow sent */
	uint64_t kicks;		    /* system calls to wake the server */
	uint64_t device_errors;	    /* the device broke its side of a ring */
};

/* Ports are borrowed. */
int net_load_new(struct net_port *const *ports, unsigned n, struct net_load **load);
void net_load_free(struct net_load *load);
int net_load_add_flow(struct net_load *load, const struct net_flow_params *params);
struct net_load_phases {
	double warmup_s, seconds;
	const int *stop;	  /* set by a signal handler: end early; may be NULL */
	void (*begin)(void *arg); /* a moment before measuring starts; may be NULL */
	void *arg;
};

/* Has each port that takes part say its address, warms up, then measures. Main thread, after
 * load_clock_init(). */
int net_load_run(struct net_load *load, const struct net_load_phases *phases,
		 struct net_load_result *result);
void net_load_flow_result(const struct net_load *load, unsigned flow,
			  struct net_flow_result *result);
/*
 * Bytes per second of memcpy() between the same memories that the frames cross, all flows in turn
 * and each in its rings' order, from the senders' buffers to the receivers', on this thread; for
 * @seconds. -ENOTSUP for ports that are not virtio. After the run: the buffers' content is not a
 * frame's any more.
 */
int net_load_memcpy(struct net_load *load, double seconds, double *bytes_per_s);

#endif
