/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio/device.h"

#include <unistd.h>

void virtio_device_set_kick(struct virtio_device *dev, unsigned i, int fd)
{
	struct io_queue *io = dev->io[i];
	struct io_core *core;
	int old;

	if (!io) {
		if (fd >= 0)
			close(fd);
		return;
	}
	/* the core watches it: off, and on again with the new one */
	core = io->core;
	if (core)
		io_queue_remove(io);
	old = io->wake_fd;
	io->wake_fd = fd;
	if (core && io_queue_add(core, io) < 0) {
		/* not a descriptor to wait for: without it the queue is polled */
		io->wake_fd = -1;
		io_queue_add(core, io);
		if (fd >= 0)
			close(fd);
	}
	if (old >= 0)
		close(old);
}

void virtio_device_wake(struct virtio_device *dev, unsigned i)
{
	if (dev->io[i])
		io_queue_kick(dev->io[i]);
}
