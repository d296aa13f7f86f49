/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/pci.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICES "/sys/bus/pci/devices"

int pci_address(char out[16], const char *text)
{
	unsigned domain = 0, bus, slot, function;
	int end = 0;

	if (sscanf(text, "%x:%x:%x.%x%n", &domain, &bus, &slot, &function, &end) != 4 ||
	    text[end]) {
		domain = 0;
		end = 0;
		if (sscanf(text, "%x:%x.%x%n", &bus, &slot, &function, &end) != 3 || text[end])
			return -EINVAL;
	}
	if (domain > 0xffffff || bus > 0xff || slot > 0x1f || function > 7)
		return -EINVAL;
	snprintf(out, 16, "%04x:%02x:%02x.%x", domain, bus & 0xff, slot & 0x1f, function & 7);
	return 0;
}

int pci_read(const struct host *host, const char *address, struct pci_device *device,
	     struct host_error *error)
{
	struct pci_device d = { 0 };
	char *link;

	if (pci_address(d.address, address) < 0)
		return host_fail(error, -EINVAL, "\"%s\" is no PCI address like 0000:01:00.0",
				 address);
	if (!host_exists(host, DEVICES "/%s/vendor", d.address))
		return host_fail(error, -ENODEV, "there is no PCI device %s", d.address);
	d.vendor = (unsigned)host_number(host, 0, DEVICES "/%s/vendor", d.address);
	d.device = (unsigned)host_number(host, 0, DEVICES "/%s/device", d.address);
	d.class = (unsigned)host_number(host, 0, DEVICES "/%s/class", d.address);
	d.node = (int)host_number(host, -1, DEVICES "/%s/numa_node", d.address);
	link = host_link(host, DEVICES "/%s/iommu_group", d.address);
	d.group = link ? atoi(link) : -1;
	free(link);
	link = host_link(host, DEVICES "/%s/driver", d.address);
	if (link)
		snprintf(d.driver, sizeof(d.driver), "%s", link);
	free(link);
	*device = d;
	return 0;
}

struct host_names pci_all(const struct host *host)
{
	return host_dir(host, DEVICES);
}

struct host_names pci_group(const struct host *host, int group)
{
	return host_dir(host, "/sys/kernel/iommu_groups/%d/devices", group);
}
