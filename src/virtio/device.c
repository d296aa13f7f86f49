/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio/device.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
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
	if (fd < 0 && io->wake_fd < 0)
		return; /* two waits for the core, for nothing */
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

static bool end_queue(struct virtio_device *dev, unsigned i, bool (*end)(struct virtqueue *vq))
{
	struct virtqueue *vq = dev->queues[i];
	bool idle;

	pthread_mutex_lock(&vq->lock);
	idle = end(vq);
	pthread_mutex_unlock(&vq->lock);
	if (!idle && dev->io[i])
		io_queue_retry(dev->io[i]);
	return idle;
}

bool virtio_device_drain(struct virtio_device *dev, unsigned i)
{
	return end_queue(dev, i, virtqueue_drain);
}

bool virtio_device_suspend(struct virtio_device *dev, unsigned i)
{
	return end_queue(dev, i, virtqueue_suspend);
}

const char *virtio_feature_name(const struct virtio_device *dev, unsigned bit)
{
	static const char *const rings[64] = {
		[VIRTIO_RING_F_INDIRECT_DESC] = "INDIRECT_DESC",
		[VIRTIO_RING_F_EVENT_IDX] = "EVENT_IDX",
		[VIRTIO_F_VERSION_1] = "VERSION_1",
		[VIRTIO_F_RING_PACKED] = "RING_PACKED",
		[VIRTIO_F_IN_ORDER] = "IN_ORDER",
	};

	return rings[bit] ? rings[bit] : dev->feature_names[bit];
}
