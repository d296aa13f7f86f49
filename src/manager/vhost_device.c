/* SPDX-License-Identifier: BSD-2-Clause */
/* The transport "vhost-user": a virtio device whose PCI function the VMM makes. */
#include "manager/internal.h"
#include "transport/vhost_user.h"

#include <errno.h>
#include <string.h>

static int serve(struct device *dev, struct why *why)
{
	const struct device_spec *spec = &dev->spec;
	struct vhost_user_config config = {
		.path = spec->socket,
		.owner = spec->socket_owner,
		.group = spec->socket_group,
		.mode = spec->socket_mode,
		.connect = spec->vmm_listens,
	};

	dev->server = vhost_user_server_new(dev->m->loop, &config, dev->virtio);
	return dev->server ? 0 : socket_failed(dev, -errno, why);
}

static bool close_server(struct device *dev)
{
	if (!vhost_user_server_close(dev->server))
		return false;
	vhost_user_server_free(dev->server);
	dev->server = NULL;
	return true;
}

static void disconnect(struct device *dev)
{
	vhost_user_server_disconnect(dev->server);
}

static void check(struct device *dev)
{
	vhost_user_server_check(dev->server);
}

static void look(const struct device *dev, struct device_info *info)
{
	struct vhost_user_stats stats;

	info->interrupts = device_count(dev, "notified");
	info->express = true;
	if (!dev->server)
		return;
	vhost_user_server_stats(dev->server, &stats);
	info->connected = stats.connected;
	info->client_pid = stats.client_pid;
}

static void stats(const struct device *dev, manager_stat_fn *stat, void *arg)
{
	struct vhost_user_stats stats;

	vhost_user_server_stats(dev->server, &stats);
	stat(arg, "transport", "connections", stats.connections);
	stat(arg, "transport", "messages", stats.messages);
	stat(arg, "transport", "replies", stats.replies);
	stat(arg, "transport", "errors", stats.errors);
	stat(arg, "transport", "protocol_errors", stats.protocol_errors);
	stat(arg, "transport", "memory_changes", stats.memory_changes);
	stat(arg, "transport", "ring_starts", stats.ring_starts);
	stat(arg, "transport", "ring_stops", stats.ring_stops);
	stat(arg, "transport", "drains", stats.drains);
	stat(arg, "transport", "resets", stats.resets);
	stat(arg, "transport", "rings", stats.rings);
}

const struct device_transport vhost_user_transport = {
	.name = "vhost-user",
	.serve = serve,
	.close = close_server,
	.disconnect = disconnect,
	.check = check,
	.look = look,
	.stats = stats,
};
