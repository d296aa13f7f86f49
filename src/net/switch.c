/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The switch's control side: ports come and go, and change their rules. What cores read (the port
 * table, a port's state and rules) is published by RCU; what was taken out is freed after every
 * core has passed a quiescent point, which is also what makes net_switch_detach() final.
 */
#include "net/switch.h"

#include "base/clock.h"
#include "base/rcu.h"
#include "net/private.h"

#include <errno.h>
#include <stdlib.h>

#define ADDRESSES_DEFAULT      4096
#define ADDRESSES_LIMIT	       65536
#define PORT_ADDRESSES_DEFAULT 256
#define AGE_DEFAULT_NS	       (300 * NS_PER_S)

/* A core that hits the limit searches the table, so it has an end. */
static unsigned addresses_limit(unsigned addresses_max)
{
	return MIN(addresses_max ? addresses_max : ADDRESSES_DEFAULT, (unsigned)ADDRESSES_LIMIT);
}

struct net_switch *net_switch_new(const struct switch_config *config)
{
	struct net_switch *sw = calloc(1, sizeof(*sw));
	int err = ENOMEM;

	if (!sw)
		return NULL;
	sw->name = strdup(config->name ? config->name : "");
	sw->vlan_aware = config->vlan_aware;
	if (!sw->name)
		goto fail;
	err = -fdb_init(&sw->fdb, addresses_limit(config->addresses_max));
	if (err)
		goto fail;
	net_switch_limits_set(sw, config->port_addresses_max, config->age_ns);
	return sw;
fail:
	free(sw->name);
	free(sw);
	errno = err;
	return NULL;
}

void net_switch_free(struct net_switch *sw)
{
	if (!sw)
		return;
	fdb_done(&sw->fdb);
	free(sw->name);
	free(sw);
}

void net_switch_limits_set(struct net_switch *sw, unsigned port_addresses_max, uint64_t age_ns)
{
	unsigned per_port = port_addresses_max ? port_addresses_max : PORT_ADDRESSES_DEFAULT;

	fdb_limits_set(&sw->fdb, MIN(per_port, (unsigned)UINT16_MAX),
		       age_ns ? age_ns : AGE_DEFAULT_NS);
}

int net_switch_addresses_set(struct net_switch *sw, unsigned addresses_max)
{
	return fdb_resize(&sw->fdb, addresses_limit(addresses_max), fdb_tick(time_now_ns()));
}

/* ---- rules ------------------------------------------------------------------------------------
 */

static int rules_make(const struct switch_port_config *config, struct port_rules **out)
{
	struct port_rules *rules;

	if (config->pvid > 4094)
		return -EINVAL;
	for (unsigned i = 0; config->vids && i < config->n_vids; i++)
		if (!config->vids[i] || config->vids[i] > 4094)
			return -EINVAL;
	rules = calloc(1, sizeof(*rules));
	if (!rules)
		return -ENOMEM;
	rules->isolated = config->isolated;
	rules->check_source = config->check_source;
	rules->has_mac = config->has_mac;
	rules->trunk = config->trunk;
	rules->all_vids = !config->vids;
	rules->pvid = config->pvid;
	memcpy(rules->mac, config->mac, sizeof(rules->mac));
	rules->source = fdb_key(config->mac, 0) & 0xffffffffffffull;
	for (unsigned i = 0; config->vids && i < config->n_vids; i++)
		rules->vids[config->vids[i] / 64] |= 1ull << (config->vids[i] % 64);
	*out = rules;
	return 0;
}

/* Where the frames to the device's own address are looked up. */
static uint64_t address_key(const struct port_rules *rules, bool vlan_aware)
{
	return fdb_key(rules->mac, vlan_aware ? rules->pvid : 0);
}

static bool has_address(const struct port_rules *rules)
{
	return rules->has_mac && !(rules->mac[0] & 1);
}

/* The rows of the device's own address: whose it is, and where its frames go before it has sent
 * one. */
static void address_add(struct switch_port_state *state, const struct port_rules *rules)
{
	struct fdb *fdb = &state->sw->fdb;

	if (!has_address(rules))
		return;
	fdb_static_add(fdb, fdb_key(rules->mac, FDB_VID_OWNER), state->index);
	fdb_static_add(fdb, address_key(rules, state->sw->vlan_aware), state->index);
}

static void address_del(struct switch_port_state *state, const struct port_rules *rules)
{
	struct fdb *fdb = &state->sw->fdb;

	fdb_static_del(fdb, fdb_key(rules->mac, FDB_VID_OWNER), state->index);
	fdb_static_del(fdb, address_key(rules, state->sw->vlan_aware), state->index);
}

/* Frames to devices are found before and after: both rows are there while cores change over. */
void net_switch_vlans_set(struct net_switch *sw, bool vlan_aware)
{
	if (sw->vlan_aware == vlan_aware)
		return;
	for (unsigned i = 0; i < sw->n_ports; i++)
		if (sw->ports[i] && has_address(sw->ports[i]->rules))
			fdb_static_add(&sw->fdb, address_key(sw->ports[i]->rules, vlan_aware), i);
	WRITE_ONCE(sw->vlan_aware, vlan_aware);
	rcu_wait();
	for (unsigned i = 0; i < sw->n_ports; i++) {
		const struct port_rules *rules = sw->ports[i] ? sw->ports[i]->rules : NULL;

		if (rules && address_key(rules, true) != address_key(rules, false))
			fdb_static_del(&sw->fdb, address_key(rules, !vlan_aware), i);
	}
	fdb_flush(&sw->fdb, FDB_NONE);
}

/* ---- ports ------------------------------------------------------------------------------------
 */

int net_switch_attach(struct net_switch *sw, struct switch_port *port,
		      const struct switch_port_config *config)
{
	struct switch_port_state *state;
	struct port_rules *rules;
	unsigned index = 0;
	int err;

	while (index < SWITCH_PORTS_MAX && sw->ports[index])
		index++;
	if (index == SWITCH_PORTS_MAX)
		return -ENOSPC;
	err = rules_make(config, &rules);
	if (err)
		return err;
	state = aligned_alloc(2 * CACHE_LINE, ALIGN_UP(sizeof(*state), 2 * CACHE_LINE));
	if (!state) {
		free(rules);
		return -ENOMEM;
	}
	memset(state, 0, sizeof(*state));
	state->sw = sw;
	state->port = port;
	state->rules = rules;
	state->index = index;
	port->sw = sw;

	fdb_open(&sw->fdb, index);
	address_add(state, rules);
	rcu_publish(sw->ports[index], state);
	if (index >= sw->n_ports)
		STORE_RELEASE(sw->n_ports, index + 1);
	rcu_publish(port->state, state);
	return 0;
}

bool net_switch_attached(const struct switch_port *port)
{
	return rcu_read(port->state) != NULL;
}

void net_switch_detach(struct switch_port *port)
{
	struct switch_port_state *state = port->state;
	struct net_switch *sw;
	unsigned n;

	if (!state)
		return;
	sw = state->sw;
	rcu_publish(port->state, NULL);
	fdb_close(&sw->fdb, state->index);
	/* the index stays taken until nobody can have it from the table any more */
	__atomic_store_n(&sw->ports[state->index], NULL, __ATOMIC_RELEASE);
	for (n = sw->n_ports; n && !sw->ports[n - 1]; n--)
		;
	STORE_RELEASE(sw->n_ports, n);
	rcu_wait();
	port->sw = NULL;
	free((void *)state->rules);
	free(state);
}

int net_switch_port_set(struct switch_port *port, const struct switch_port_config *config)
{
	struct switch_port_state *state = port->state;
	const struct port_rules *old;
	struct port_rules *rules;
	int err;

	if (!state)
		return -EINVAL;
	err = rules_make(config, &rules);
	if (err)
		return err;
	old = state->rules;
	address_del(state, old);
	if (old->trunk != rules->trunk || old->pvid != rules->pvid)
		fdb_flush(&state->sw->fdb, (int)state->index);
	rcu_publish(state->rules, rules);
	address_add(state, rules);
	rcu_wait();
	free((void *)old);
	return 0;
}

void net_switch_port_get(const struct switch_port *port, struct switch_port_config *config)
{
	const struct port_rules *rules;

	memset(config, 0, sizeof(*config));
	if (!port->state)
		return;
	rules = port->state->rules;
	config->isolated = rules->isolated;
	config->check_source = rules->check_source;
	config->has_mac = rules->has_mac;
	config->trunk = rules->trunk;
	config->pvid = rules->pvid;
	memcpy(config->mac, rules->mac, sizeof(config->mac));
}

void net_switch_port_stats(const struct switch_port *port, struct switch_port_stats *stats)
{
	uint64_t *sum = (uint64_t *)stats;

	memset(stats, 0, sizeof(*stats));
	for (unsigned slot = 0; port->state && slot < COUNTER_SLOTS; slot++) {
		uint64_t *one = (uint64_t *)&port->state->counters[slot].stats;

		for (unsigned i = 0; i < sizeof(*stats) / sizeof(*sum); i++)
			sum[i] += READ_ONCE(one[i]);
	}
}

/* ---- the address table ------------------------------------------------------------------------
 */

struct dump {
	struct net_switch *sw;
	void (*row)(void *arg, const uint8_t mac[6], uint16_t vid, const char *port,
		    uint64_t age_ns);
	void *arg;
};

static void dump_row(void *arg, uint64_t key, unsigned port, uint32_t age_ticks)
{
	const struct dump *dump = arg;
	const struct switch_port_state *state = dump->sw->ports[port];
	uint8_t mac[6];

	if (!state)
		return;
	memcpy(mac, &key, sizeof(mac));
	dump->row(dump->arg, mac, key >> 48 & 0xfff, state->port->name,
		  (uint64_t)age_ticks << FDB_TICK_SHIFT);
}

void net_switch_dump(struct net_switch *sw,
		     void (*row)(void *arg, const uint8_t mac[6], uint16_t vid, const char *port,
				 uint64_t age_ns),
		     void *arg)
{
	struct dump dump = { sw, row, arg };

	fdb_dump(&sw->fdb, fdb_tick(time_now_ns()), dump_row, &dump);
}

void net_switch_flush(struct net_switch *sw, struct switch_port *port)
{
	if (!port)
		fdb_flush(&sw->fdb, FDB_NONE);
	else if (port->state)
		fdb_flush(&sw->fdb, (int)port->state->index);
}
