/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Forwarding a batch, in two steps. First every packet is looked at once: VLAN, source, learning,
 * destination; what comes out is a mask of packets per destination (a batch is 64 packets) and a
 * mask of those to flood. Then each destination gets its packets with one call, in order; flooded
 * and directed ones for the same port in one sequence.
 *
 * Packets of a batch mostly follow each other between the same two addresses, so the last packet's
 * result is kept and the tables are asked only when the addresses differ.
 *
 * Counters: several cores may forward from or to one port. Each thread has a row of its own in
 * every port and adds to it with plain stores, once per batch; reading sums the rows. Threads
 * beyond COUNTER_SLOTS share the last row, with atomic additions.
 */
#include "base/rcu.h"
#include "net/private.h"

static unsigned next_slot;
static __thread unsigned my_slot; /* plus one; 0: none yet */

static unsigned counter_slot(void)
{
	if (unlikely(!my_slot)) {
		unsigned slot = __atomic_load_n(&next_slot, __ATOMIC_RELAXED);

		if (slot < COUNTER_SLOTS)
			slot = __atomic_fetch_add(&next_slot, 1, __ATOMIC_RELAXED);
		my_slot = MIN(slot, COUNTER_SLOTS - 1u) + 1;
	}
	return my_slot - 1;
}

#define ADD(field, n)                                                                              \
	do {                                                                                       \
		uint64_t add_n = (n);                                                              \
		if (add_n && likely(slot != COUNTER_SLOTS - 1))                                    \
			COUNT(stats->field, add_n);                                                \
		else if (add_n)                                                                    \
			__atomic_fetch_add(&stats->field, add_n, __ATOMIC_RELAXED);                \
	} while (0)

struct target {
	struct switch_port_state *state;
	uint64_t mask;
};

/* What the first step finds out. */
struct plan {
	struct target targets[PACKET_BATCH];
	unsigned n_targets;
	uint64_t flood;
	bool vlan_aware; /* the switch may change that at any time: asked once */
	uint16_t vids[PACKET_BATCH];
	struct switch_port_stats counts;
};

/* 01-80-C2-00-00-0x: never forwarded by a bridge (802.1Q section 8.6.3). */
static bool is_link_local(uint64_t mac)
{
	return (mac & 0xf0ffffffffffull) == 0x000000c28001ull;
}

static bool is_multicast(uint64_t mac)
{
	return mac & 1;
}

/* True when the packet may come from there. */
static bool source_ok(struct switch_port_state *from, const struct port_rules *rules, uint64_t mac,
		      unsigned vid, uint32_t tick, struct switch_port_stats *counts)
{
	uint64_t key = mac | (uint64_t)vid << 48 | 1ull << 63;

	if (unlikely(is_multicast(mac) || !mac || (rules->check_source && mac != rules->source))) {
		counts->spoofed++;
		return false;
	}
	if (likely(fdb_touch(&from->sw->fdb, key, from->index, tick)))
		return true;
	switch (fdb_learn(&from->sw->fdb, key, from->index, tick)) {
	case FDB_NEW: counts->learned++; break;
	case FDB_MOVED: counts->moved++; break;
	case FDB_REFUSED: counts->learn_refused++; break;
	case FDB_SAME:
	case FDB_BUSY: break; /* the next packet tries again */
	}
	return true;
}

static struct target *target_of(struct plan *plan, struct switch_port_state *state)
{
	for (unsigned i = 0; i < plan->n_targets; i++)
		if (plan->targets[i].state == state)
			return &plan->targets[i];
	plan->targets[plan->n_targets] = (struct target){ .state = state };
	return &plan->targets[plan->n_targets++];
}

/* The mask that a packet to @mac joins, or NULL: it goes nowhere. */
static uint64_t *destination(struct switch_port_state *from, const struct port_rules *rules,
			     struct plan *plan, uint64_t mac, unsigned vid, uint32_t tick)
{
	struct net_switch *sw = from->sw;
	const struct port_rules *to_rules;
	struct switch_port_state *to;
	int index;

	if (unlikely(is_multicast(mac)))
		return is_link_local(mac) ? NULL : &plan->flood;
	index = fdb_lookup(&sw->fdb, mac | (uint64_t)vid << 48 | 1ull << 63, tick);
	if (unlikely(index == FDB_NONE))
		return &plan->flood;
	to = rcu_read(sw->ports[index]);
	if (unlikely(!to || to == from))
		return NULL;
	to_rules = rcu_read(to->rules);
	if (unlikely(rules->isolated && to_rules->isolated)) {
		plan->counts.isolated_dropped++;
		return NULL;
	}
	if (plan->vlan_aware && unlikely(!vlan_member(to_rules, (uint16_t)vid)))
		return NULL;
	return &target_of(plan, to)->mask;
}

static void plan_make(struct switch_port_state *from, struct packet_batch *batch, uint32_t tick,
		      struct plan *plan)
{
	const struct port_rules *rules = rcu_read(from->rules);
	bool vlan_aware = plan->vlan_aware, last_ok = false;
	uint64_t last_to = 0, last_from = 0, bytes = 0, *mask = NULL;
	struct switch_port_stats *counts = &plan->counts;
	int vid = 0, last_vid = -1;

	for (unsigned i = 0; i < batch->n; i++) {
		struct packet *packet = &batch->packets[i];
		uint64_t to, src;

		bytes += packet->len;
		if (vlan_aware) {
			vid = vlan_in(rules, packet);
			if (unlikely(vid < 0)) {
				counts->vlan_dropped++;
				continue;
			}
			plan->vids[i] = (uint16_t)vid;
		}
		memcpy(&to, packet->head, 8);
		memcpy(&src, packet->head + 4, 8);
		to &= 0xffffffffffffull;
		src >>= 16;
		if (src != last_from || vid != last_vid || !last_ok) {
			last_ok = source_ok(from, rules, src, (unsigned)vid, tick, counts);
			last_from = src;
			last_vid = vid;
			if (!last_ok)
				continue;
			mask = destination(from, rules, plan, to, (unsigned)vid, tick);
			last_to = to;
		} else if (to != last_to) {
			mask = destination(from, rules, plan, to, (unsigned)vid, tick);
			last_to = to;
		}
		if (unlikely(!mask)) {
			counts->no_destination++;
			continue;
		}
		*mask |= 1ull << i;
		if (unlikely(mask == &plan->flood)) {
			counts->flooded += !is_multicast(to);
			counts->multicast += is_multicast(to);
		}
	}
	counts->rx_packets = batch->n;
	counts->rx_bytes = bytes;
}

/* @mask is not empty. */
static void give(struct switch_port_state *to, struct packet_batch *batch, const struct plan *plan,
		 uint64_t mask, unsigned slot, struct io_turn *turn)
{
	struct switch_port_stats *stats = &to->counters[slot].stats;
	const struct port_rules *rules = rcu_read(to->rules);
	struct packet *packets[PACKET_BATCH];
	uint64_t bytes = 0;
	unsigned n = 0, taken;

	do {
		unsigned i = (unsigned)__builtin_ctzll(mask);
		struct packet *packet = &batch->packets[i];

		if (plan->vlan_aware)
			vlan_out(rules, packet, plan->vids[i]);
		bytes += packet->len;
		packets[n++] = packet;
		mask &= mask - 1;
	} while (mask);
	taken = to->port->ops->give(to->port, packets, n, turn);
	for (unsigned i = n; i > taken; i--)
		bytes -= packets[i - 1]->len;
	ADD(tx_packets, taken);
	ADD(tx_bytes, bytes);
	ADD(tx_dropped, n - taken);
}

/* Those of the packets to flood that may leave by @rules. */
static uint64_t flood_mask(const struct plan *plan, const struct port_rules *rules)
{
	uint64_t out = 0;

	for (uint64_t mask = plan->flood; mask; mask &= mask - 1) {
		unsigned i = (unsigned)__builtin_ctzll(mask);

		if (vlan_member(rules, plan->vids[i]))
			out |= 1ull << i;
	}
	return out;
}

static void give_flood(struct switch_port_state *from, struct packet_batch *batch,
		       struct plan *plan, unsigned slot, struct io_turn *turn)
{
	const struct port_rules *rules = rcu_read(from->rules);
	struct net_switch *sw = from->sw;
	unsigned n = LOAD_ACQUIRE(sw->n_ports);
	uint64_t reached = 0;

	for (unsigned p = 0; p < n; p++) {
		struct switch_port_state *to = rcu_read(sw->ports[p]);
		const struct port_rules *to_rules;
		uint64_t mask = 0;

		if (!to || to == from)
			continue;
		to_rules = rcu_read(to->rules);
		if (!(rules->isolated && to_rules->isolated))
			mask = plan->vlan_aware ? flood_mask(plan, to_rules) : plan->flood;
		reached |= mask;
		for (unsigned i = 0; i < plan->n_targets; i++) {
			if (plan->targets[i].state != to)
				continue;
			mask |= plan->targets[i].mask;
			plan->targets[i].mask = 0;
		}
		if (mask)
			give(to, batch, plan, mask, slot, turn);
	}
	plan->counts.no_destination += (unsigned)__builtin_popcountll(plan->flood & ~reached);
}

void net_switch_forward(struct switch_port *from, struct packet_batch *batch, struct io_turn *turn)
{
	struct switch_port_state *state = rcu_read(from->state);
	unsigned slot = counter_slot();
	struct switch_port_stats *stats;
	struct plan plan;

	if (unlikely(!state || !batch->n))
		return;
	turn->giver = from;
	plan.n_targets = 0;
	plan.flood = 0;
	plan.vlan_aware = READ_ONCE(state->sw->vlan_aware);
	memset(&plan.counts, 0, sizeof(plan.counts));
	plan_make(state, batch, fdb_tick(turn->now_ns), &plan);
	if (unlikely(plan.flood))
		give_flood(state, batch, &plan, slot, turn);
	for (unsigned i = 0; i < plan.n_targets; i++)
		if (plan.targets[i].mask)
			give(plan.targets[i].state, batch, &plan, plan.targets[i].mask, slot, turn);

	stats = &state->counters[slot].stats;
	ADD(rx_packets, plan.counts.rx_packets);
	ADD(rx_bytes, plan.counts.rx_bytes);
	ADD(spoofed, plan.counts.spoofed);
	ADD(vlan_dropped, plan.counts.vlan_dropped);
	ADD(isolated_dropped, plan.counts.isolated_dropped);
	ADD(no_destination, plan.counts.no_destination);
	ADD(flooded, plan.counts.flooded);
	ADD(multicast, plan.counts.multicast);
	ADD(learned, plan.counts.learned);
	ADD(learn_refused, plan.counts.learn_refused);
	ADD(moved, plan.counts.moved);
}
