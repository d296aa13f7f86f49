/* SPDX-License-Identifier: BSD-2-Clause */
/* PCI devices and their IOMMU groups (/sys/bus/pci/devices). */
#ifndef EXITLESS_HOST_PCI_H
#define EXITLESS_HOST_PCI_H

#include "host/host.h"

struct pci_device {
	char address[16];
	unsigned vendor, device, class; /* class: 24 bits */
	int node;			/* of NUMA; -1: none told */
	int group;			/* of the IOMMU; -1: none */
	char driver[32];		/* "" without */
};

/* "1:0.0" and "0000:01:00.0" become the latter. -EINVAL if it is no address. */
int pci_address(char out[16], const char *text);
/* -EINVAL: no address, -ENODEV: no such device. */
int pci_read(const struct host *host, const char *address, struct pci_device *device,
	     struct host_error *error);
/* Addresses of all devices, or of one IOMMU group's. */
struct host_names pci_all(const struct host *host);
struct host_names pci_group(const struct host *host, int group);
static inline bool pci_is_bridge(const struct pci_device *device)
{
	return device->class >> 16 == 6;
}

#endif
