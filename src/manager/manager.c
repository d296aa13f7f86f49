/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The simple objects: cores, switches, machines. Removal goes by use counts: what still serves
 * something else is not removed, so that nothing has to be found and repaired afterwards.
 */
#include "base/rcu.h"
#include "manager/internal.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int why_set(struct why *why, int err, const char *fmt, ...)
{
	va_list ap;

	if (why) {
		va_start(ap, fmt);
		vsnprintf(why->text, sizeof(why->text), fmt, ap);
		va_end(ap);
	}
	return err;
}

int name_check(const char *what, const char *name, struct why *why)
{
	size_t len = strnlen(name, SPEC_NAME_BYTES);

	if (!len)
		return why_set(why, -EINVAL, "a %s needs a name", what);
	if (len == SPEC_NAME_BYTES)
		return why_set(why, -EINVAL, "the name of a %s has at most %d characters", what,
			       SPEC_NAME_BYTES - 1);
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (!isalnum(c) && (!i || !strchr("_.-", c)))
			return why_set(why, -EINVAL,
				       "the name \"%s\" of a %s has other characters than letters, "
				       "digits and, not in front, '_', '.' and '-'",
				       name, what);
	}
	return 0;
}

/* A lookup in one of the lists by name; they differ in nothing else. */
#define DEFINE_FIND(function, type, head, owner)                                                   \
	struct type *function(const owner, const char *name)                                       \
	{                                                                                          \
		struct type *it;                                                                   \
                                                                                                   \
		list_for_each(it, head, node) if (!strcmp(it->spec.name, name)) return it;         \
		return NULL;                                                                       \
	}
DEFINE_FIND(find_core, core, &m->cores, struct manager *m)
DEFINE_FIND(find_bridge, bridge, &m->bridges, struct manager *m)
DEFINE_FIND(find_port, port, &m->ports, struct manager *m)
DEFINE_FIND(find_machine, machine, &m->machines, struct manager *m)
DEFINE_FIND(find_device, device, &machine->devices, struct machine *machine)

struct manager *manager_new(struct loop *loop, const char *directory)
{
	struct manager *m;

	if (strlen(directory) >= sizeof(m->directory)) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->loop = loop;
	snprintf(m->directory, sizeof(m->directory), "%s", directory);
	list_init(&m->cores);
	list_init(&m->bridges);
	list_init(&m->ports);
	list_init(&m->machines);
	list_init(&m->leaving);
	devices_check(m);
	return m;
}

void machine_release(struct machine *machine)
{
	if (!machine->removed || machine->leaving)
		return;
	io_group_free(machine->group);
	free(machine);
}

static void machine_remove(struct machine *machine)
{
	struct device *dev;

	list_for_each(dev, &machine->devices, node) device_remove(dev);
	list_del(&machine->node);
	machine->removed = true;
	machine_release(machine);
}

static void bridge_remove(struct bridge *bridge)
{
	list_del(&bridge->node);
	net_switch_free(bridge->sw);
	free(bridge);
}

static void core_remove(struct core *core)
{
	list_del(&core->node);
	/* another core may have found this one in a queue or timer that was here, to wake it */
	rcu_wait();
	io_core_free(core->io);
	free(core);
}

bool manager_free(struct manager *m)
{
	struct machine *machine;
	struct bridge *bridge;
	struct core *core;
	struct port *port;
	bool all;

	if (!m)
		return true;
	loop_timer_cancel(&m->check_timer);
	loop_timer_cancel(&m->balance_timer);
	list_for_each(machine, &m->machines, node) machine_remove(machine);
	all = devices_leave(m);
	list_for_each(port, &m->ports, node) manager_port_remove(m, port->spec.name, NULL);
	list_for_each(bridge, &m->bridges, node) bridge_remove(bridge);
	list_for_each(core, &m->cores, node) if (!core->endpoints) core_remove(core);
	if (all)
		free(m);
	return all;
}

/* ---- cores ------------------------------------------------------------------------------ */

/* Whether this process can be on @cpu: by going there, and back. */
static bool has_cpu(int cpu)
{
	cpu_set_t was, one;
	bool can;

	if (cpu < 0 || pthread_getaffinity_np(pthread_self(), sizeof(was), &was))
		return true;
	if (cpu >= CPU_SETSIZE)
		return false;
	CPU_ZERO(&one);
	CPU_SET((unsigned)cpu, &one);
	can = !pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
	if (can)
		pthread_setaffinity_np(pthread_self(), sizeof(was), &was);
	return can;
}

int manager_core_add(struct manager *m, const struct core_spec *spec, struct why *why)
{
	struct core *core;
	int err;

	err = name_check("core", spec->name, why);
	if (err)
		return err;
	if (find_core(m, spec->name))
		return why_set(why, -EEXIST, "there is a core %s already", spec->name);
	if (!has_cpu(spec->params.cpu))
		return why_set(why, -EINVAL,
			       "core %s cannot be on CPU %d: this host has none, or not for the "
			       "daemon",
			       spec->name, spec->params.cpu);
	core = calloc(1, sizeof(*core));
	if (!core)
		return why_set(why, -ENOMEM, "out of memory");
	core->spec = *spec;
	core->io = io_core_new(spec->name, &spec->params);
	if (!core->io) {
		err = -errno;
		free(core);
		return why_set(why, err, "core %s cannot run on CPU %d: %s", spec->name,
			       spec->params.cpu, strerror(-err));
	}
	list_add(&m->cores, &core->node);
	return 0;
}

int manager_core_remove(struct manager *m, const char *name, struct why *why)
{
	struct core *core = find_core(m, name);

	if (!core)
		return why_set(why, -ENOENT, "there is no core %s", name);
	if (core->endpoints)
		return why_set(why, -EBUSY,
			       "core %s still polls %u devices or ports; move or remove them first",
			       name, core->endpoints);
	core_remove(core);
	return 0;
}

const struct core_spec *manager_core(const struct manager *m, const char *name)
{
	struct core *core = find_core(m, name);

	return core ? &core->spec : NULL;
}

int manager_core_set(struct manager *m, const struct core_spec *spec, struct why *why)
{
	struct core *core = find_core(m, spec->name);

	if (!core)
		return why_set(why, -ENOENT, "there is no core %s", spec->name);
	if (spec->params.cpu != core->spec.params.cpu)
		return why_set(why, -EOPNOTSUPP,
			       "the CPU of core %s cannot change; add another core", spec->name);
	io_core_params_set(core->io, &spec->params);
	core->spec = *spec;
	return 0;
}

/* ---- switches --------------------------------------------------------------------------- */

int manager_switch_add(struct manager *m, const struct switch_spec *spec, struct why *why)
{
	struct bridge *bridge;
	struct switch_config config;
	int err;

	err = name_check("switch", spec->name, why);
	if (err)
		return err;
	if (find_bridge(m, spec->name))
		return why_set(why, -EEXIST, "there is a switch %s already", spec->name);
	bridge = calloc(1, sizeof(*bridge));
	if (!bridge)
		return why_set(why, -ENOMEM, "out of memory");
	bridge->spec = *spec;
	config = (struct switch_config){
		.name = bridge->spec.name,
		.vlan_aware = spec->vlan_aware,
		.addresses_max = spec->addresses_max,
		.port_addresses_max = spec->port_addresses_max,
		.age_ns = spec->age_ns,
	};
	bridge->sw = net_switch_new(&config);
	if (!bridge->sw) {
		err = -errno;
		free(bridge);
		return why_set(why, err, "switch %s: %s", spec->name, strerror(-err));
	}
	list_add(&m->bridges, &bridge->node);
	return 0;
}

int manager_switch_remove(struct manager *m, const char *name, struct why *why)
{
	struct bridge *bridge = find_bridge(m, name);

	if (!bridge)
		return why_set(why, -ENOENT, "there is no switch %s", name);
	if (bridge->ports)
		return why_set(why, -EBUSY,
			       "%u devices or ports are still plugged into switch %s; remove them "
			       "first",
			       bridge->ports, name);
	bridge_remove(bridge);
	return 0;
}

const struct switch_spec *manager_switch(const struct manager *m, const char *name)
{
	struct bridge *bridge = find_bridge(m, name);

	return bridge ? &bridge->spec : NULL;
}

/* One that is plugged into switch @name as a trunk: its name in @buf. */
static bool find_trunk(struct manager *m, const char *name, char *buf, size_t size)
{
	struct machine *machine;
	struct device *dev;
	struct port *port;

	list_for_each(port, &m->ports, node)
	{
		if (!port->spec.plug.trunk || strcmp(port->spec.plug.sw, name))
			continue;
		snprintf(buf, size, "port %s", port->spec.name);
		return true;
	}
	list_for_each(machine, &m->machines, node) list_for_each(dev, &machine->devices, node)
	{
		if (!dev->spec.plug.trunk || strcmp(dev->spec.plug.sw, name))
			continue;
		snprintf(buf, size, "device %s", dev->id);
		return true;
	}
	return false;
}

int manager_switch_set(struct manager *m, const struct switch_spec *spec, struct why *why)
{
	struct bridge *bridge = find_bridge(m, spec->name);
	char trunk[DEVICE_ID_BYTES + 8];

	if (!bridge)
		return why_set(why, -ENOENT, "there is no switch %s", spec->name);
	if (!spec->vlan_aware && find_trunk(m, spec->name, trunk, sizeof(trunk)))
		return why_set(why, -EBUSY,
			       "%s is a trunk of switch %s, which needs VLANs; change that first",
			       trunk, spec->name);
	if (spec->addresses_max != bridge->spec.addresses_max &&
	    net_switch_addresses_set(bridge->sw, spec->addresses_max))
		return why_set(why, -ENOMEM, "there is no memory for %u addresses of switch %s",
			       spec->addresses_max, spec->name);
	net_switch_vlans_set(bridge->sw, spec->vlan_aware);
	net_switch_limits_set(bridge->sw, spec->port_addresses_max, spec->age_ns);
	bridge->spec = *spec;
	return 0;
}

int manager_switch_flush(struct manager *m, const char *name, struct why *why)
{
	struct bridge *bridge = find_bridge(m, name);

	if (!bridge)
		return why_set(why, -ENOENT, "there is no switch %s", name);
	net_switch_flush(bridge->sw, NULL);
	return 0;
}

/* ---- machines --------------------------------------------------------------------------- */

int manager_machine_check(const struct machine_spec *spec, const char **key, struct why *why)
{
	const struct io_group_params *share = &spec->share;

	*key = "min_packets_per_s";
	if (share->max_packets_per_s && share->min_packets_per_s > share->max_packets_per_s)
		return why_set(why, -EINVAL, "it is above \"max_packets_per_s\"");
	*key = "min_bytes_per_s";
	if (share->max_bytes_per_s && share->min_bytes_per_s > share->max_bytes_per_s)
		return why_set(why, -EINVAL, "it is above \"max_bytes_per_s\"");
	return 0;
}

static int share_set(struct machine *machine, const struct machine_spec *spec, struct why *why)
{
	int err = io_group_set(machine->group, &spec->share);
	struct device *dev;

	if (err)
		return why_set(why, err, "a minimum of machine %s is above its maximum",
			       spec->name);
	list_for_each(dev, &machine->devices, node) endpoint_retry(&dev->end);
	machine->spec = *spec;
	return 0;
}

int manager_machine_set(struct manager *m, const struct machine_spec *spec, struct why *why)
{
	struct machine *machine = find_machine(m, spec->name);

	if (!machine)
		return why_set(why, -ENOENT, "there is no machine %s", spec->name);
	return share_set(machine, spec, why);
}

int manager_machine_add(struct manager *m, const struct machine_spec *spec, struct why *why)
{
	struct machine *machine;
	int err;

	err = name_check("machine", spec->name, why);
	if (err)
		return err;
	if (find_machine(m, spec->name))
		return why_set(why, -EEXIST, "there is a machine %s already", spec->name);
	machine = calloc(1, sizeof(*machine));
	if (!machine)
		return why_set(why, -ENOMEM, "out of memory");
	machine->spec = *spec;
	list_init(&machine->devices);
	machine->group = io_group_new(spec->name);
	if (!machine->group) {
		err = why_set(why, -ENOMEM, "out of memory");
		goto free_machine;
	}
	err = share_set(machine, spec, why);
	if (err)
		goto free_group;
	list_add(&m->machines, &machine->node);
	return 0;

free_group:
	io_group_free(machine->group);
free_machine:
	free(machine);
	return err;
}

int manager_machine_remove(struct manager *m, const char *name, struct why *why)
{
	struct machine *machine = find_machine(m, name);

	if (!machine)
		return why_set(why, -ENOENT, "there is no machine %s", name);
	machine_remove(machine);
	return 0;
}

const struct machine_spec *manager_machine(const struct manager *m, const char *name)
{
	struct machine *machine = find_machine(m, name);

	return machine ? &machine->spec : NULL;
}

/* ---- looking ---------------------------------------------------------------------------- */

void manager_each_core(struct manager *m, void (*fn)(void *arg, const struct core_info *info),
		       void *arg)
{
	struct core *core;

	list_for_each(core, &m->cores, node)
	{
		struct core_info info = { .spec = &core->spec };

		io_core_stats(core->io, &info.stats);
		fn(arg, &info);
	}
}

void manager_each_switch(struct manager *m, void (*fn)(void *arg, const struct switch_info *info),
			 void *arg)
{
	struct bridge *bridge;

	list_for_each(bridge, &m->bridges, node)
	{
		struct switch_info info = {
			.spec = &bridge->spec,
			.sw = bridge->sw,
			.ports = bridge->ports,
		};

		fn(arg, &info);
	}
}

void manager_each_machine(struct manager *m, void (*fn)(void *arg, const struct machine_info *info),
			  void *arg)
{
	struct machine *machine;

	list_for_each(machine, &m->machines, node)
	{
		struct machine_info info = { .spec = &machine->spec };
		struct device *dev;

		io_group_stats(machine->group, &info.stats);
		list_for_each(dev, &machine->devices, node) info.devices++;
		fn(arg, &info);
	}
}
