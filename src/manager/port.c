/* SPDX-License-Identifier: BSD-2-Clause */
/* Host ports: made by port/, polled by a core, plugged into a switch. */
#include "port/port.h"
#include "manager/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const port_kinds[] = { "tap", "user", "pcap", "null", NULL };

const char *const *manager_port_kinds(void)
{
	return port_kinds;
}

static const char *text_or_null(const char *text)
{
	return text[0] ? text : NULL;
}

/* @forwards: room for SPEC_FORWARDS_MAX + 1; in use as long as the result is. */
static struct host_port_config config_of(const struct port_spec *spec, const char **forwards)
{
	for (unsigned i = 0; i < spec->n_forwards; i++)
		forwards[i] = spec->forwards[i];
	forwards[spec->n_forwards] = NULL;
	return (struct host_port_config){
		.name = spec->name,
		.kind = spec->kind,
		.ifname = text_or_null(spec->ifname),
		.netns = text_or_null(spec->netns),
		.queues = spec->queues,
		.capture_file = text_or_null(spec->capture_file),
		.replay_file = text_or_null(spec->replay_file),
		.replay_speed = spec->replay_speed,
		.replay_loops = spec->replay_loops,
		.ipv4_net = text_or_null(spec->ipv4_net),
		.ipv6_net = text_or_null(spec->ipv6_net),
		.restrict_outside = spec->restrict_outside,
		.forwards = spec->n_forwards ? forwards : NULL,
		.tftp_directory = text_or_null(spec->tftp_directory),
		.boot_file = text_or_null(spec->boot_file),
	};
}

int manager_port_check(const struct port_spec *spec, const char **key, struct why *why)
{
	const char *forwards[SPEC_FORWARDS_MAX + 1], *what = NULL;
	struct host_port_config config = config_of(spec, forwards);
	int err = host_port_check(&config, key, &what);

	return err ? why_set(why, err, "%s", what) : 0;
}

static int host_build(struct port *port, struct why *why)
{
	const struct port_spec *spec = &port->spec;
	const char *forwards[SPEC_FORWARDS_MAX + 1], *what = NULL;
	struct host_port_config config = config_of(spec, forwards);
	int err;

	port->host = host_port_new(&config, &what);
	if (!port->host) {
		err = errno ? -errno : -EIO;
		return why_set(why, err, "port %s: %s", spec->name, what ? what : strerror(-err));
	}
	port->end = (struct endpoint){
		.queues = port->host->queues,
		.n_queues = port->host->n_queues,
		.timers = port->host->timers,
		.n_timers = port->host->n_timers,
		.port = &port->host->port,
	};
	return 0;
}

int manager_port_add(struct manager *m, const struct port_spec *spec, struct why *why)
{
	struct port *port;
	struct core *core;
	int err;

	err = name_check("port", spec->name, why);
	if (err)
		return err;
	if (find_port(m, spec->name))
		return why_set(why, -EEXIST, "there is a port %s already", spec->name);
	err = plug_check(m, &spec->plug, why);
	if (err)
		return err;
	core = core_choose(m, spec->core, why);
	if (!core)
		return -errno;
	port = calloc(1, sizeof(*port));
	if (!port)
		return why_set(why, -ENOMEM, "out of memory");
	port->spec = *spec;
	err = host_build(port, why);
	if (err)
		goto free_port;
	err = endpoint_start(&port->end, core, NULL, why);
	if (err)
		goto free_host;
	err = endpoint_plug(m, &port->end, &spec->plug, NULL, why);
	if (err)
		goto stop;
	list_add(&m->ports, &port->node);
	return 0;

stop:
	endpoint_stop(&port->end);
free_host:
	port->host->ops->free(port->host);
free_port:
	free(port);
	return err;
}

int manager_port_remove(struct manager *m, const char *name, struct why *why)
{
	struct port *port = find_port(m, name);

	if (!port)
		return why_set(why, -ENOENT, "there is no port %s", name);
	list_del(&port->node);
	endpoint_unplug(&port->end);
	endpoint_stop(&port->end);
	port->host->ops->free(port->host);
	free(port);
	return 0;
}

const struct port_spec *manager_port(const struct manager *m, const char *name)
{
	struct port *port = find_port(m, name);

	return port ? &port->spec : NULL;
}

/* What is part of the host's side of the port and therefore stays as it was made. */
static bool same_host_side(const struct port_spec *a, const struct port_spec *b)
{
	if (a->n_forwards != b->n_forwards)
		return false;
	for (unsigned i = 0; i < a->n_forwards; i++)
		if (strcmp(a->forwards[i], b->forwards[i]))
			return false;
	return !strcmp(a->kind, b->kind) && !strcmp(a->ifname, b->ifname) &&
	       !strcmp(a->netns, b->netns) && a->queues == b->queues &&
	       !strcmp(a->capture_file, b->capture_file) &&
	       !strcmp(a->replay_file, b->replay_file) && a->replay_speed == b->replay_speed &&
	       a->replay_loops == b->replay_loops && !strcmp(a->ipv4_net, b->ipv4_net) &&
	       !strcmp(a->ipv6_net, b->ipv6_net) && a->restrict_outside == b->restrict_outside &&
	       !strcmp(a->tftp_directory, b->tftp_directory) && !strcmp(a->boot_file, b->boot_file);
}

int manager_port_set(struct manager *m, const struct port_spec *spec, struct why *why)
{
	struct port *port = find_port(m, spec->name);
	struct core *core = NULL;
	int err;

	if (!port)
		return why_set(why, -ENOENT, "there is no port %s", spec->name);
	if (!same_host_side(spec, &port->spec))
		return why_set(why, -EOPNOTSUPP,
			       "only the core and the switch of port %s can change while it lives",
			       spec->name);
	if (spec->core[0] && strcmp(spec->core, CORE_AUTO)) {
		core = core_choose(m, spec->core, why);
		if (!core)
			return -errno;
	}
	err = endpoint_replug(m, &port->end, &port->spec.plug, &spec->plug, NULL, why);
	if (err)
		return err;
	if (core) {
		err = endpoint_move(&port->end, core, why);
		if (err) {
			endpoint_replug(m, &port->end, &spec->plug, &port->spec.plug, NULL, NULL);
			return err;
		}
	}
	port->spec = *spec;
	return 0;
}

void manager_each_port(struct manager *m, void (*fn)(void *arg, const struct port_info *info),
		       void *arg)
{
	struct port *port;

	list_for_each(port, &m->ports, node)
	{
		struct port_info info = {
			.spec = &port->spec,
			.ifname = port->host->ifname,
			.object = port,
		};

		endpoint_look(&port->end, &info.end);
		fn(arg, &info);
	}
}

/* port/ counts under plain names; they become one group. */
struct stat_group {
	manager_stat_fn *stat;
	void *arg;
};

static void port_stat(void *arg, const char *name, uint64_t value)
{
	struct stat_group *group = arg;

	group->stat(group->arg, "port", name, value);
}

void manager_port_stats(const struct port_info *info, manager_stat_fn *stat, void *arg)
{
	const struct port *port = info->object;
	struct stat_group group = { stat, arg };

	port->host->ops->stats(port->host, port_stat, &group);
}
