/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-net (VIRTIO 1.3, section 5.1) as a NIC of the switch, for a transport that keeps the
 * control queue and the configuration space to itself, as vhost-user does. Control thread.
 */
#ifndef EXITLESS_NIC_VIRTIO_NET_VIRTIO_NET_H
#define EXITLESS_NIC_VIRTIO_NET_VIRTIO_NET_H

#include "nic/nic.h"
#include "virtio/device.h"

#define VIRTIO_NET_PAIRS_MAX 16

/* @pairs: 1..16. The NIC's queues are its transmit queues. NULL with errno set. */
struct nic *virtio_net_new(const struct nic_config *config, struct memory_space *space,
			   unsigned pairs);
/* What the transport serves. */
struct virtio_device *virtio_net_device(struct nic *nic);

#endif
