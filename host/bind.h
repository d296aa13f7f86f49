/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Giving PCI devices to vfio-pci, and back. The driver is named by the device's driver_override, so
 * that other devices of its kind stay where they are. What was before is in RUN/ADDRESS.
 *
 * An IOMMU group can be used only as a whole: no other driver may have a device of it.
 */
#ifndef EXITLESS_HOST_BIND_H
#define EXITLESS_HOST_BIND_H

#include "host/pci.h"

/*
 * Why the host would miss the device: it has a network interface that is up, or that another
 * network namespace has, or a disk that is mounted or swapped to, by itself or through LVM, LUKS,
 * md and the like; texts for people, none if it is idle.
 */
struct host_names bind_uses(struct host *host, const char *address);

/* The devices of its group that stand in the way: with another driver than vfio-pci or pci-stub.
 * Bridges are none of them. */
struct host_names bind_in_the_way(const struct host *host, const struct pci_device *device);

/*
 * Gives the device to vfio-pci. 0 as well if it has it already. -EINVAL, -ENODEV: see pci_read();
 * -ENOTSUP: it is in no IOMMU group; -EBUSY: in use or not alone in its group, unless @force;
 * -ENOENT: no vfio-pci (modprobe); otherwise what the kernel said. On failure it has its driver
 * again, or @error says why not.
 */
int bind_take(struct host *host, const char *address, bool force, struct host_error *error);

/* Processes that have it open by VFIO: its group, or the device itself; texts for people. */
struct host_names bind_holders(const struct host *host, const struct pci_device *device);

/*
 * Gives it back. -ENOENT: it was not taken here; -EBUSY: a process holds it, unless @force: the
 * kernel asks that for it then, and waits until it is let go. One that another driver than vfio-pci
 * has was given back by somebody else: the driver keeps it, and only a driver_override that is left
 * is undone. One that is not there any more is forgotten. -EIO: the driver that it had did not take
 * it; it can be given back again.
 */
int bind_give_back(struct host *host, const char *address, bool force, struct host_error *error);

/* Devices that were taken, as addresses; and the driver one had, "" for none; on the heap, NULL if
 * it was not taken. */
struct host_names bind_taken(const struct host *host);
char *bind_driver_before(const struct host *host, const char *address);

#endif
