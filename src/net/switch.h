/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The switch: learning, with VLANs, ageing, flooding, isolation, a cap on learned addresses per
 * port, and source-address checks per port. Ports are attached and detached by the control
 * thread; packets are forwarded on any I/O core. Tables are read without locks.
 *
 * VLANs: each port is access (untagged frames belong to pvid; tagged frames are refused unless the
 * tag is pvid's), or trunk (frames carry their tag; untagged ones belong to pvid, 0 refuses
 * them; allowed VIDs in a bitmap). A frame leaves an access port untagged and a trunk tagged
 * unless it belongs to the trunk's pvid. A switch without VLANs configured (vlan_aware false)
 * passes tags through as they are and learns per address only.
 */
#ifndef EXITLESS_NET_SWITCH_H
#define EXITLESS_NET_SWITCH_H

#include "core/core.h"
#include "net/packet.h"

#include <stdbool.h>
#include <stdint.h>

struct net_switch;
struct switch_port;

/* Where packets go: a device's receive side, a host port's transmit side. */
struct net_sink_ops {
	/*
	 * Any I/O core. Gives packets; the sink copies them (or sends them) before it returns,
	 * takes its own lock, publishes at the turn's end (io_turn_flush_later()). Returns how many
	 * it took; the others are dropped, and counted by the sink under its own reason. Never
	 * blocks.
	 */
	unsigned (*give)(struct switch_port *port, struct packet *const *packets, unsigned n,
			 struct io_turn *turn);
};

struct switch_config {
	const char *name;
	bool vlan_aware;
	unsigned addresses_max;	     /* learned in all, up to 65536; 0: 4096 */
	unsigned port_addresses_max; /* learned on one port, up to 65535; 0: 256 */
	uint64_t age_ns;	     /* 0: 300 s */
};

struct switch_port_config {
	bool isolated;	   /* never to another isolated port */
	bool check_source; /* drop frames whose source address is not mac */
	uint8_t mac[6];	   /* of the device; for check_source, and never learned elsewhere */
	bool has_mac;
	bool trunk;
	uint16_t pvid;	      /* 0..4094 */
	const uint16_t *vids; /* trunk: allowed; NULL: all */
	unsigned n_vids;
};

struct switch_port_stats {
	uint64_t rx_packets, rx_bytes; /* from the port into the switch */
	uint64_t tx_packets, tx_bytes; /* out of the switch, taken by the sink */
	uint64_t tx_dropped;	       /* not taken by the sink */
	uint64_t spoofed, vlan_dropped, isolated_dropped, no_destination;
	uint64_t flooded, multicast, learned, learn_refused, moved;
};

/* Embedded in a NIC or host port. */
struct switch_port {
	const struct net_sink_ops *ops;
	const char *name; /* owned by the embedder */
	/* private to the switch */
	struct net_switch *sw;
	struct switch_port_state *state;
};

/* NULL with errno set. */
struct net_switch *net_switch_new(const struct switch_config *config);
/* No port is attached any more. */
void net_switch_free(struct net_switch *sw);
/*
 * As in the configuration, while packets are forwarded. Control thread.
 *
 * Limits: what is learned already stays until it is too old. Addresses: the table is made anew and
 * keeps what there is room for; 0 or -ENOMEM. VLANs: what was learned is forgotten, since an
 * address belongs to a VLAN or to none; when it returns every packet is treated the new way.
 */
int net_switch_addresses_set(struct net_switch *sw, unsigned addresses_max);
void net_switch_vlans_set(struct net_switch *sw, bool vlan_aware);
void net_switch_limits_set(struct net_switch *sw, unsigned port_addresses_max, uint64_t age_ns);

/* Control thread. 0, -ENOMEM, -ENOSPC (more than 1024 ports), -EINVAL (bad VID). */
int net_switch_attach(struct net_switch *sw, struct switch_port *port,
		      const struct switch_port_config *config);
/* Any thread. */
bool net_switch_attached(const struct switch_port *port);
/* Returns when no core can give to the port any more. Nothing if not attached. */
void net_switch_detach(struct switch_port *port);
/* Control thread: changes a port's configuration while it runs. */
int net_switch_port_set(struct switch_port *port, const struct switch_port_config *config);
void net_switch_port_get(const struct switch_port *port, struct switch_port_config *config);
void net_switch_port_stats(const struct switch_port *port, struct switch_port_stats *stats);

/* The rows of the address table; @row is called for each. Control thread. */
void net_switch_dump(struct net_switch *sw,
		     void (*row)(void *arg, const uint8_t mac[6], uint16_t vid, const char *port,
				 uint64_t age_ns),
		     void *arg);
/* Control thread: forgets what was learned (on @port, or everywhere with NULL). */
void net_switch_flush(struct net_switch *sw, struct switch_port *port);

/*
 * I/O core: forwards a batch that came in at @from. Packets for one destination are given together
 * and in order. On return the batch's memory may be handed back to the sender. A port that is
 * not attached drops all.
 */
void net_switch_forward(struct switch_port *from, struct packet_batch *batch, struct io_turn *turn);

#endif
