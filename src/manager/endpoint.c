/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Endpoints: what devices and host ports have in common. A core polls their queues and fires their
 * timers; a switch forwards between their ports. All of an endpoint's queues are on one core.
 */
#include "manager/internal.h"

#include <errno.h>
#include <string.h>

struct core *core_choose(struct manager *m, const char *name, struct why *why)
{
	struct core *core, *best = NULL;

	if (name[0] && strcmp(name, CORE_AUTO)) {
		best = find_core(m, name);
		if (!best)
			why_set(why, 0, "there is no core %s", name);
	} else {
		list_for_each(core, &m->cores, node) if (!best || core->queues < best->queues)
			best = core;
		if (!best)
			why_set(why, 0, "there is no core to poll it; add one first");
	}
	if (!best)
		errno = ENOENT;
	return best;
}

int endpoint_start(struct endpoint *end, struct core *core, struct io_group *group, struct why *why)
{
	unsigned i;
	int err;

	for (i = 0; i < end->n_queues; i++) {
		end->queues[i]->group = group;
		err = io_queue_add(core->io, end->queues[i]);
		if (err) {
			why_set(why, err, "core %s does not take queue %s: %s", core->spec.name,
				end->queues[i]->name, strerror(-err));
			goto remove_queues;
		}
	}
	for (i = 0; i < end->n_timers; i++)
		io_timer_add(core->io, end->timers[i]);
	core->endpoints++;
	core->queues += end->n_queues;
	end->core = core;
	return 0;

remove_queues:
	while (i--)
		io_queue_remove(end->queues[i]);
	return err;
}

void endpoint_stop(struct endpoint *end)
{
	if (!end->core)
		return;
	for (unsigned i = end->n_queues; i--;)
		io_queue_remove(end->queues[i]);
	for (unsigned i = end->n_timers; i--;)
		io_timer_remove(end->timers[i]);
	end->core->endpoints--;
	end->core->queues -= end->n_queues;
	end->core = NULL;
}

int endpoint_move(struct endpoint *end, struct core *to, struct why *why)
{
	struct core *from = end->core;
	unsigned i;
	int err;

	if (!from || from == to)
		return 0;
	for (i = 0; i < end->n_queues; i++) {
		err = io_queue_move(end->queues[i], to->io);
		if (err) {
			why_set(why, err, "queue %s cannot move to core %s: %s",
				end->queues[i]->name, to->spec.name, strerror(-err));
			goto move_back;
		}
	}
	/* Each keeps its deadline, which the queues, there already, may set at any time. */
	for (i = 0; i < end->n_timers; i++) {
		io_timer_remove(end->timers[i]);
		io_timer_add(to->io, end->timers[i]);
	}
	from->endpoints--;
	from->queues -= end->n_queues;
	to->endpoints++;
	to->queues += end->n_queues;
	end->core = to;
	return 0;

move_back:
	while (i--)
		io_queue_move(end->queues[i], from->io);
	return err;
}

void endpoint_retry(const struct endpoint *end)
{
	for (unsigned i = 0; i < end->n_queues; i++)
		io_queue_retry(end->queues[i]);
}

int plug_check(struct manager *m, const struct plug_spec *plug, struct why *why)
{
	struct bridge *bridge;

	if (!plug->sw[0])
		return 0;
	bridge = find_bridge(m, plug->sw);
	if (!bridge)
		return why_set(why, -ENOENT, "there is no switch %s", plug->sw);
	if (!bridge->spec.vlan_aware && (plug->trunk || plug->n_vids))
		return why_set(
			why, -EINVAL,
			"switch %s has no VLANs (\"vlan_aware\"), so nothing is a trunk in it",
			plug->sw);
	if (!plug->trunk && plug->n_vids)
		return why_set(why, -EINVAL, "\"vids\" is for trunks only");
	return 0;
}

static void plug_config(const struct plug_spec *plug, const uint8_t *mac,
			struct switch_port_config *config)
{
	*config = (struct switch_port_config){
		.isolated = plug->isolated,
		.check_source = plug->check_source,
		.has_mac = mac != NULL,
		.trunk = plug->trunk,
		.pvid = plug->pvid,
		.vids = plug->n_vids ? plug->vids : NULL,
		.n_vids = plug->n_vids,
	};
	if (mac)
		memcpy(config->mac, mac, sizeof(config->mac));
}

int endpoint_plug(struct manager *m, struct endpoint *end, const struct plug_spec *plug,
		  const uint8_t *mac, struct why *why)
{
	struct switch_port_config config;
	struct bridge *bridge;
	int err;

	if (!plug->sw[0] || !end->port)
		return 0;
	bridge = find_bridge(m, plug->sw);
	if (!bridge)
		return why_set(why, -ENOENT, "there is no switch %s", plug->sw);
	plug_config(plug, mac, &config);
	err = net_switch_attach(bridge->sw, end->port, &config);
	if (err == -ENOSPC)
		return why_set(why, err, "switch %s is full", plug->sw);
	if (err)
		return why_set(why, err, "switch %s does not take it: %s", plug->sw,
			       strerror(-err));
	bridge->ports++;
	end->bridge = bridge;
	return 0;
}

void endpoint_unplug(struct endpoint *end)
{
	if (!end->bridge)
		return;
	net_switch_detach(end->port);
	end->bridge->ports--;
	end->bridge = NULL;
}

int endpoint_replug(struct manager *m, struct endpoint *end, const struct plug_spec *old,
		    const struct plug_spec *plug, const uint8_t *mac, struct why *why)
{
	struct switch_port_config config;
	int err;

	err = plug_check(m, plug, why);
	if (err)
		return err;
	if (!strcmp(old->sw, plug->sw)) {
		if (!end->bridge)
			return 0;
		plug_config(plug, mac, &config);
		err = net_switch_port_set(end->port, &config);
		return err ? why_set(why, err, "switch %s: %s", plug->sw, strerror(-err)) : 0;
	}
	endpoint_unplug(end);
	err = endpoint_plug(m, end, plug, mac, why);
	if (err)
		endpoint_plug(m, end, old, mac, NULL); /* it was there a moment ago */
	return err;
}

void endpoint_look(const struct endpoint *end, struct endpoint_info *info)
{
	*info = (struct endpoint_info){
		.core = end->core ? end->core->spec.name : NULL,
		.port = end->port,
		.queues = end->queues,
		.n_queues = end->n_queues,
	};
}
