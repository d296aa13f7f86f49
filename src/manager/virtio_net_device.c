/* SPDX-License-Identifier: BSD-2-Clause */
/* The device kind "virtio-net": a paravirtual NIC, served over vhost-user. */
#include "manager/internal.h"
#include "nic/virtio_net/virtio_net.h"
#include "transport/vhost_user.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct virtio_net_state {
	struct nic *nic;
	struct vhost_user_server *server; /* NULL until it is served */
};

static const char *const *virtio_net_models(void)
{
	static const char *const models[] = { "virtio-net", NULL };

	return models;
}

static int virtio_net_build(struct device *dev, struct why *why)
{
	const struct device_spec *spec = &dev->spec;
	struct nic_config config = { .name = dev->id,
				     .model = spec->model,
				     .link_up = spec->link_up };
	unsigned pairs = spec->queues ? spec->queues : 1;
	struct virtio_net_state *state;

	if (pairs > VIRTIO_NET_PAIRS_MAX)
		return why_set(why, -EINVAL, "%s cannot have more than %u queues", dev->id,
			       VIRTIO_NET_PAIRS_MAX);
	if (spec->max_rate_bps)
		return why_set(why, -EINVAL,
			       "a rate is set for the machine of a virtio device, not for %s",
			       dev->id);
	memcpy(config.mac, spec->mac, sizeof(config.mac));
	state = calloc(1, sizeof(*state));
	if (state)
		state->nic = virtio_net_new(&config, dev->space, pairs);
	if (!state || !state->nic) {
		free(state);
		return why_set(why, -ENOMEM, "out of memory");
	}
	dev->state = state;
	dev->end = (struct endpoint){
		.queues = state->nic->queues,
		.n_queues = state->nic->n_queues,
		.port = &state->nic->port,
	};
	return 0;
}

static void virtio_net_destroy(struct device *dev)
{
	struct virtio_net_state *state = dev->state;

	state->nic->ops->free(state->nic);
	free(state);
}

static int virtio_net_serve(struct device *dev, struct why *why)
{
	struct virtio_net_state *state = dev->state;

	return vhost_serve(dev, virtio_net_device(state->nic), &state->server, why);
}

static void virtio_net_close(struct device *dev)
{
	struct virtio_net_state *state = dev->state;

	vhost_user_server_free(state->server);
	state->server = NULL;
}

static void virtio_net_disconnect(struct device *dev)
{
	struct virtio_net_state *state = dev->state;

	vhost_user_server_disconnect(state->server);
}

static void virtio_net_check(struct device *dev)
{
	struct virtio_net_state *state = dev->state;

	vhost_user_server_check(state->server);
}

static void virtio_net_link_set(struct device *dev, bool up)
{
	struct virtio_net_state *state = dev->state;

	state->nic->ops->link_set(state->nic, up);
}

static int virtio_net_set(struct device *dev, const struct device_spec *spec, struct why *why)
{
	if (spec->queues != dev->spec.queues || spec->vmm_listens != dev->spec.vmm_listens)
		return why_set(why, -EOPNOTSUPP,
			       "queues and direction of %s cannot change while it lives", dev->id);
	return 0;
}

struct sum {
	const char *name;
	uint64_t value;
};

static void pick(void *arg, const char *name, uint64_t value)
{
	struct sum *sum = arg;

	if (!strcmp(name, sum->name))
		sum->value = value;
}

static void virtio_net_look(const struct device *dev, struct device_info *info)
{
	const struct virtio_net_state *state = dev->state;
	struct sum notified = { "notified", 0 };

	state->nic->ops->stats(state->nic, pick, &notified);
	info->interrupts = notified.value;
	info->express = true;
	if (state->server)
		vhost_look(state->server, info);
}

struct stat_group {
	manager_stat_fn *stat;
	void *arg;
};

static void model_stat(void *arg, const char *name, uint64_t value)
{
	struct stat_group *group = arg;

	group->stat(group->arg, "device", name, value);
}

static void virtio_net_stats(const struct device *dev, manager_stat_fn *stat, void *arg)
{
	const struct virtio_net_state *state = dev->state;
	struct stat_group group = { stat, arg };

	state->nic->ops->stats(state->nic, model_stat, &group);
	vhost_stats(state->server, stat, arg);
}

const struct device_kind virtio_net_device_kind = {
	.name = "virtio-net",
	.transport = "vhost-user",
	.qemu_device = "virtio-net-pci",
	.network = true,
	.models = virtio_net_models,
	.build = virtio_net_build,
	.destroy = virtio_net_destroy,
	.serve = virtio_net_serve,
	.close = virtio_net_close,
	.disconnect = virtio_net_disconnect,
	.check = virtio_net_check,
	.link_set = virtio_net_link_set,
	.set = virtio_net_set,
	.look = virtio_net_look,
	.stats = virtio_net_stats,
};
