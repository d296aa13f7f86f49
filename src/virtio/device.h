/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtio device as a transport sees it: feature bits, a configuration space, queues. The
 * transport negotiates and starts and stops queues under their locks; the device takes from and
 * gives to queues that are started. Control thread for all functions here.
 */
#ifndef EXITLESS_VIRTIO_DEVICE_H
#define EXITLESS_VIRTIO_DEVICE_H

#include "core/core.h"
#include "virtio/virtqueue.h"

#define VIRTIO_QUEUES_MAX 64

struct virtio_device;

/* Each may be NULL. */
struct virtio_device_ops {
	/* The driver has acknowledged these; no queue is started. */
	void (*features_set)(struct virtio_device *dev, uint64_t features);
	/* Bytes of the device's configuration; -EINVAL beyond its end. */
	int (*config_read)(struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len);
	/* @migration: not by the guest. -EPERM: read-only field. */
	int (*config_write)(struct virtio_device *dev, uint32_t offset, const void *buf,
			    uint32_t len, bool migration);
	/* The first ring is about to start, or the last one has stopped. On: 0, -EAGAIN (not yet,
	 * ask again), or what keeps it from being used. */
	int (*use)(struct virtio_device *dev, bool on);
	/* Virtio reset, or the front end has gone. All queues are stopped. */
	void (*reset)(struct virtio_device *dev);
	/* @word lies in a region that the front end keeps when we are gone, and brings back with
	 * the driver that it was for: 0 when it is new, else what the device left in it, unless it
	 * was tampered with. The device takes over what it says and keeps it up from then on; NULL:
	 * it goes away. */
	void (*keep)(struct virtio_device *dev, uint64_t *word);
	int (*mtu_set)(struct virtio_device *dev, uint64_t mtu);
	/* After a migration: let the network know where @mac is now. */
	void (*announce)(struct virtio_device *dev, const uint8_t mac[6]);
};

struct virtio_device {
	const struct virtio_device_ops *ops;
	const char *name; /* owned by the device */
	struct memory_space *space;
	uint64_t features; /* offered */
	uint64_t acked;	   /* of them by the driver; 0: there is none */
	/* of its own feature bits, by bit; virtio_feature_name() */
	const char *const *feature_names;
	bool in_pairs;	/* counts its queues in pairs: network */
	bool in_flight; /* tracks them: storage */
	bool has_config;
	unsigned n_queues;
	struct virtqueue *queues[VIRTIO_QUEUES_MAX];
	/* the I/O queue that takes from this one; NULL: nobody waits for kicks */
	struct io_queue *io[VIRTIO_QUEUES_MAX];
	/* set by the transport: tells the front end that the configuration changed; may be NULL */
	void (*config_changed)(struct virtio_device *dev, void *arg);
	void *config_changed_arg;
};

/* Takes over @fd (-1: none) as what the driver kicks queue @i with. */
void virtio_device_set_kick(struct virtio_device *dev, unsigned i, int fd);
/* As the specification calls the feature @bit of @dev, without "VIRTIO_F_" and the like; NULL if it
 * is none of the device's. */
const char *virtio_feature_name(const struct virtio_device *dev, unsigned bit);
/* There may be work in queue @i. */
void virtio_device_wake(struct virtio_device *dev, unsigned i);
/* Drains queue @i, lock not held: no rate keeps it from its end. True: no chain is out. */
bool virtio_device_drain(struct virtio_device *dev, unsigned i);
/* The same, or suspends it (virtqueue_suspend()). */
bool virtio_device_suspend(struct virtio_device *dev, unsigned i);

#endif
