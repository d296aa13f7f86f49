/* SPDX-License-Identifier: BSD-2-Clause */
/* The transport "vfio-user": a PCI function that a VMM takes as it is. */
#include "manager/internal.h"
#include "pci/function.h"
#include "transport/vfio_user.h"

#include <errno.h>
#include <string.h>

static int serve(struct device *dev, struct why *why)
{
	const struct device_spec *spec = &dev->spec;
	struct vfio_user_config config = {
		.path = spec->socket,
		.owner = spec->socket_owner,
		.group = spec->socket_group,
		.mode = spec->socket_mode,
		.listen_fd = -1,
	};

	dev->server = vfio_user_server_new(dev->m->loop, &config, dev->pci, dev->space);
	return dev->server ? 0 : socket_failed(dev, -errno, why);
}

static bool close_server(struct device *dev)
{
	vfio_user_server_free(dev->server);
	dev->server = NULL;
	return true;
}

static void disconnect(struct device *dev)
{
	vfio_user_server_disconnect(dev->server);
}

static void check(struct device *dev)
{
	vfio_user_server_check(dev->server);
}

static void look(const struct device *dev, struct device_info *info)
{
	struct pci_function_stats pci;
	struct vfio_user_stats transport;

	pci_function_stats(dev->pci, &pci);
	info->traps = pci.bar_reads + pci.bar_writes;
	info->interrupts = pci.interrupts;
	info->express = pci_config_size(dev->pci) == PCIE_CONFIG_BYTES;
	if (!dev->server)
		return;
	vfio_user_server_stats(dev->server, &transport);
	info->connected = transport.connected;
	info->client_pid = transport.client_pid;
}

static void stats(const struct device *dev, manager_stat_fn *stat, void *arg)
{
	struct pci_function_stats pci;
	struct vfio_user_stats transport;

	pci_function_stats(dev->pci, &pci);
	stat(arg, "pci", "bar_reads", pci.bar_reads);
	stat(arg, "pci", "bar_writes", pci.bar_writes);
	stat(arg, "pci", "config_reads", pci.config_reads);
	stat(arg, "pci", "config_writes", pci.config_writes);
	stat(arg, "pci", "interrupts", pci.interrupts);
	stat(arg, "pci", "interrupts_lost", pci.interrupts_lost);
	stat(arg, "pci", "resamples", pci.resamples);
	stat(arg, "pci", "resets", pci.resets);

	vfio_user_server_stats(dev->server, &transport);
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

const struct device_transport vfio_user_transport = {
	.name = "vfio-user",
	.serve = serve,
	.close = close_server,
	.disconnect = disconnect,
	.check = check,
	.look = look,
	.stats = stats,
};
