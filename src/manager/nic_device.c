/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kinds of device that are NICs: "nic", an emulated chip as a PCI function over vfio-user, and
 * "virtio-net", a paravirtual one over vhost-user.
 */
#include "manager/internal.h"
#include "nic/nic.h"
#include "nic/virtio_net/virtio_net.h"

#include <errno.h>
#include <string.h>

static struct nic_config config_of(const struct device *dev)
{
	const struct device_spec *spec = &dev->spec;
	struct nic_config config = {
		.name = dev->id,
		.model = spec->model,
		.link_up = spec->link_up,
		.trap_doorbells = spec->trap_doorbells,
		.max_rate_bps = spec->max_rate_bps,
	};

	memcpy(config.mac, spec->mac, sizeof(config.mac));
	return config;
}

/* @nic: NULL with errno set if it could not be made. */
static int built(struct device *dev, struct nic *nic, struct why *why)
{
	int err = -errno;

	if (!nic)
		return why_set(why, err, "a %s cannot be made: %s", dev->spec.model,
			       strerror(-err));
	dev->nic = nic;
	dev->end = (struct endpoint){
		.queues = nic->queues,
		.n_queues = nic->n_queues,
		.timers = nic->timers,
		.n_timers = nic->n_timers,
		.port = &nic->port,
	};
	return 0;
}

static void destroy(struct device *dev)
{
	dev->nic->ops->free(dev->nic);
}

static void stats(const struct device *dev, void (*stat)(void *, const char *, uint64_t), void *arg)
{
	dev->nic->ops->stats(dev->nic, stat, arg);
}

/* ---- emulated chips ---------------------------------------------------------------------- */

static int nic_build(struct device *dev, struct why *why)
{
	struct nic_config config = config_of(dev);
	int err = built(dev, nic_new(&config, dev->space), why);

	if (!err)
		dev->pci = dev->nic->pci;
	return err;
}

static int nic_set(struct device *dev, const struct device_spec *spec, struct why *why)
{
	if (spec->max_rate_bps != dev->spec.max_rate_bps)
		dev->nic->ops->rate_set(dev->nic, spec->max_rate_bps);
	return 0;
}

const struct device_kind nic_device_kind = {
	.name = "nic",
	.qemu_device = "vfio-user-pci",
	.transport = &vfio_user_transport,
	.network = true,
	.models = nic_models,
	.build = nic_build,
	.destroy = destroy,
	.set = nic_set,
	.stats = stats,
};

/* ---- virtio-net -------------------------------------------------------------------------- */

static const char *const *virtio_net_models(void)
{
	static const char *const models[] = { "virtio-net", NULL };

	return models;
}

static int virtio_net_build(struct device *dev, struct why *why)
{
	struct nic_config config = config_of(dev);
	unsigned pairs = dev->spec.queues ? dev->spec.queues : 1;
	int err;

	if (pairs > VIRTIO_NET_PAIRS_MAX)
		return why_set(why, -EINVAL, "%s cannot have more than %u queues", dev->id,
			       VIRTIO_NET_PAIRS_MAX);
	if (config.max_rate_bps)
		return why_set(why, -EINVAL,
			       "a rate is set for the machine of a virtio device, not for %s",
			       dev->id);
	err = built(dev, virtio_net_new(&config, dev->space, pairs), why);
	if (!err)
		dev->virtio = virtio_net_device(dev->nic);
	return err;
}

static int virtio_net_set_check(const struct device *dev, const struct device_spec *spec,
				struct why *why)
{
	if (spec->queues != dev->spec.queues || spec->vmm_listens != dev->spec.vmm_listens)
		return why_set(why, -EOPNOTSUPP,
			       "queues and direction of %s cannot change while it lives", dev->id);
	return 0;
}

const struct device_kind virtio_net_device_kind = {
	.name = "virtio-net",
	.qemu_device = "virtio-net-pci",
	.transport = &vhost_user_transport,
	.network = true,
	.models = virtio_net_models,
	.build = virtio_net_build,
	.destroy = destroy,
	.set_check = virtio_net_set_check,
	.stats = stats,
};
