/* SPDX-License-Identifier: BSD-2-Clause */
/* The device kind "nic": an emulated network chip as a PCI function, served over vfio-user. */
#include "manager/internal.h"
#include "nic/nic.h"
#include "transport/vfio_user.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct nic_device {
	struct nic *nic;
	struct vfio_user_server *server; /* NULL until it is served */
};

static int nic_build(struct device *dev, struct why *why)
{
	const struct device_spec *spec = &dev->spec;
	struct nic_config config = {
		.name = dev->id,
		.model = spec->model,
		.link_up = spec->link_up,
		.trap_doorbells = spec->trap_doorbells,
		.max_rate_bps = spec->max_rate_bps,
	};
	struct nic_device *state;
	int err;

	memcpy(config.mac, spec->mac, sizeof(config.mac));
	state = calloc(1, sizeof(*state));
	if (!state)
		return why_set(why, -ENOMEM, "out of memory");
	state->nic = nic_new(&config, dev->space);
	if (!state->nic) {
		err = -errno;
		free(state);
		return why_set(why, err, "a %s cannot be made: %s", spec->model, strerror(-err));
	}
	dev->state = state;
	dev->end = (struct endpoint){
		.queues = state->nic->queues,
		.n_queues = state->nic->n_queues,
		.timers = state->nic->timers,
		.n_timers = state->nic->n_timers,
		.port = &state->nic->port,
	};
	return 0;
}

static void nic_destroy(struct device *dev)
{
	struct nic_device *state = dev->state;

	state->nic->ops->free(state->nic);
	free(state);
}

static int nic_serve(struct device *dev, struct why *why)
{
	const struct device_spec *spec = &dev->spec;
	struct nic_device *state = dev->state;
	struct vfio_user_config config = {
		.path = spec->socket,
		.owner = spec->socket_owner,
		.group = spec->socket_group,
		.mode = spec->socket_mode,
		.listen_fd = -1,
	};
	int err;

	state->server = vfio_user_server_new(dev->m->loop, &config, state->nic->pci, dev->space);
	if (state->server)
		return 0;
	err = -errno;
	if (err == -EADDRINUSE)
		return why_set(why, err, "somebody else listens on socket %s, or it is no socket",
			       spec->socket);
	return why_set(why, err, "socket %s cannot be made: %s", spec->socket, strerror(-err));
}

static void nic_close(struct device *dev)
{
	struct nic_device *state = dev->state;

	vfio_user_server_free(state->server);
	state->server = NULL;
}

static void nic_disconnect(struct device *dev)
{
	struct nic_device *state = dev->state;

	vfio_user_server_disconnect(state->server);
}

static void nic_check(struct device *dev)
{
	struct nic_device *state = dev->state;

	vfio_user_server_check(state->server);
}

static void nic_link_set(struct device *dev, bool up)
{
	struct nic_device *state = dev->state;

	state->nic->ops->link_set(state->nic, up);
}

static int nic_set(struct device *dev, const struct device_spec *spec, struct why *why)
{
	struct nic_device *state = dev->state;

	if (spec->max_rate_bps != dev->spec.max_rate_bps)
		state->nic->ops->rate_set(state->nic, spec->max_rate_bps);
	dev->spec.max_rate_bps = spec->max_rate_bps;
	return 0;
}

static void nic_look(const struct device *dev, struct device_info *info)
{
	const struct nic_device *state = dev->state;
	struct pci_function_stats pci;
	struct vfio_user_stats transport;

	pci_function_stats(state->nic->pci, &pci);
	info->regs = state->nic->regs;
	info->traps = pci.bar_reads + pci.bar_writes;
	info->interrupts = pci.interrupts;
	info->express = pci_config_size(state->nic->pci) == PCIE_CONFIG_BYTES;
	if (!state->server)
		return;
	vfio_user_server_stats(state->server, &transport);
	info->connected = transport.connected;
	info->client_pid = transport.client_pid;
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

static void nic_stats(const struct device *dev, manager_stat_fn *stat, void *arg)
{
	const struct nic_device *state = dev->state;
	struct stat_group group = { stat, arg };
	struct pci_function_stats pci;
	struct vfio_user_stats transport;

	state->nic->ops->stats(state->nic, model_stat, &group);

	pci_function_stats(state->nic->pci, &pci);
	stat(arg, "pci", "bar_reads", pci.bar_reads);
	stat(arg, "pci", "bar_writes", pci.bar_writes);
	stat(arg, "pci", "config_reads", pci.config_reads);
	stat(arg, "pci", "config_writes", pci.config_writes);
	stat(arg, "pci", "interrupts", pci.interrupts);
	stat(arg, "pci", "interrupts_lost", pci.interrupts_lost);
	stat(arg, "pci", "resamples", pci.resamples);
	stat(arg, "pci", "resets", pci.resets);

	vfio_user_server_stats(state->server, &transport);
	stat(arg, "transport", "connections", transport.connections);
	stat(arg, "transport", "messages", transport.messages);
	stat(arg, "transport", "replies", transport.replies);
	stat(arg, "transport", "errors", transport.errors);
	stat(arg, "transport", "protocol_errors", transport.protocol_errors);
	stat(arg, "transport", "region_reads", transport.region_reads);
	stat(arg, "transport", "region_writes", transport.region_writes);
	stat(arg, "transport", "posted_writes", transport.posted_writes);
	stat(arg, "transport", "write_multi", transport.write_multi);
	stat(arg, "transport", "dma_maps", transport.dma_maps);
	stat(arg, "transport", "dma_unmaps", transport.dma_unmaps);
	stat(arg, "transport", "set_irqs", transport.set_irqs);
	stat(arg, "transport", "resets", transport.resets);
	stat(arg, "transport", "refused", transport.refused);
	stat(arg, "transport", "dma_reads", transport.dma_reads);
	stat(arg, "transport", "dma_read_bytes", transport.dma_read_bytes);
	stat(arg, "transport", "dma_writes", transport.dma_writes);
	stat(arg, "transport", "dma_write_bytes", transport.dma_write_bytes);
	stat(arg, "transport", "dma_errors", transport.dma_errors);
	stat(arg, "transport", "dma_waiting", transport.dma_waiting);
}

const struct device_kind nic_device_kind = {
	.name = "nic",
	.transport = "vfio-user",
	.qemu_device = "vfio-user-pci",
	.network = true,
	.models = nic_models,
	.build = nic_build,
	.destroy = nic_destroy,
	.serve = nic_serve,
	.close = nic_close,
	.disconnect = nic_disconnect,
	.check = nic_check,
	.link_set = nic_link_set,
	.set = nic_set,
	.look = nic_look,
	.stats = nic_stats,
};
