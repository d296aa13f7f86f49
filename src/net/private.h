/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the switch share; private to net/. */
#ifndef EXITLESS_NET_PRIVATE_H
#define EXITLESS_NET_PRIVATE_H

#include "net/fdb.h"
#include "net/switch.h"

#define SWITCH_PORTS_MAX FDB_PORTS
#define COUNTER_SLOTS                                                                              \
	32 /* threads that count without a lock prefix, and one row for all others                 \
	    */

/* A port's configuration. Immutable once published; replaced by RCU. */
struct port_rules {
	bool isolated, check_source, has_mac, trunk, all_vids;
	uint16_t pvid;
	uint8_t mac[6];
	uint64_t source; /* mac as the low 48 bits of fdb_key() */
	uint64_t vids[4096 / 64];
};

/* Counters of one port by one thread. */
struct port_counters {
	struct switch_port_stats stats;
} __attribute__((aligned(2 * CACHE_LINE)));

/* One attached port. Made and freed by the control thread; cores find it by RCU. */
struct switch_port_state {
	struct net_switch *sw;
	struct switch_port *port;
	const struct port_rules *rules;
	unsigned index;
	struct port_counters counters[COUNTER_SLOTS];
};

struct net_switch {
	char *name;
	bool vlan_aware;  /* atomic; the same for all of a batch */
	unsigned n_ports; /* highest index in use, plus one */
	struct switch_port_state *ports[SWITCH_PORTS_MAX];
	struct fdb fdb;
};

/*
 * vlan.c. vlan_in() finds the VLAN of a frame from a port and moves a tag out of the frame's bytes;
 * returns it, or -1 when the port may not send it. vlan_member() says whether a VLAN's frames leave
 * by a port, vlan_out() gives a packet the tag, or none, that it leaves with.
 */
int vlan_in(const struct port_rules *rules, struct packet *packet);
void vlan_out(const struct port_rules *rules, struct packet *packet, uint16_t vid);

static inline bool vlan_member(const struct port_rules *rules, uint16_t vid)
{
	if (!rules->trunk)
		return vid == rules->pvid;
	if (!vid)
		return false;
	return vid == rules->pvid || rules->all_vids || rules->vids[vid / 64] >> (vid % 64) & 1;
}

#endif
