/* SPDX-License-Identifier: BSD-2-Clause */
/* What the kinds of device that are served over vhost-user have in common. */
#include "manager/internal.h"
#include "transport/vhost_user.h"

#include <errno.h>
#include <string.h>

int vhost_serve(struct device *dev, struct virtio_device *virtio, struct vhost_user_server **server,
		struct why *why)
{
	const struct device_spec *spec = &dev->spec;
	struct vhost_user_config config = {
		.path = spec->socket,
		.owner = spec->socket_owner,
		.group = spec->socket_group,
		.mode = spec->socket_mode,
		.connect = spec->vmm_listens,
	};
	int err;

	*server = vhost_user_server_new(dev->m->loop, &config, virtio);
	if (*server)
		return 0;
	err = -errno;
	if (err == -EADDRINUSE)
		return why_set(why, err, "somebody else listens on socket %s", spec->socket);
	return why_set(why, err, "socket %s cannot be made: %s", spec->socket, strerror(-err));
}

void vhost_look(const struct vhost_user_server *server, struct device_info *info)
{
	struct vhost_user_stats stats;

	vhost_user_server_stats(server, &stats);
	info->connected = stats.connected;
	info->client_pid = stats.client_pid;
}

void vhost_stats(const struct vhost_user_server *server, manager_stat_fn *stat, void *arg)
{
	struct vhost_user_stats stats;

	vhost_user_server_stats(server, &stats);
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
