/* SPDX-License-Identifier: BSD-2-Clause */
/* Private to virtio_net/: virtio_net.c has the device, tx.c and rx.c its two directions. */
#ifndef EXITLESS_NIC_VIRTIO_NET_PRIVATE_H
#define EXITLESS_NIC_VIRTIO_NET_PRIVATE_H

#include "net/offload.h"
#include "nic/virtio_net/virtio_net.h"

#include <linux/virtio_net.h>

struct virtio_net;

/* Counters are written under the queue's lock. */
struct vnet_rx {
	struct virtqueue vq;
	struct virtio_net *net;
	struct io_flush flush;
	uint8_t *bounce; /* a whole packet, where its checksum must be filled in */
	uint64_t packets, bytes, no_buffer, too_large, bad_buffer, off, segmented, summed;
};

struct vnet_tx {
	struct virtqueue vq;
	struct virtio_net *net;
	struct io_queue io;
	char name[48];
	uint64_t packets, bytes, malformed, discarded;
};

struct virtio_net {
	struct nic nic;
	struct virtio_device dev;
	unsigned pairs;
	uint8_t mac[6];
	uint32_t mtu; /* 0: not said */
	/* of what was negotiated; changed while no queue is started */
	unsigned hdr_len;
	unsigned can; /* enum net_can, of the guest's receive side */
	bool mergeable, tx_csum;
	/* longer frames are not given, unless they are to be segmented; changes at any time */
	uint32_t frame_max;
	unsigned tx_gso; /* bit per enum offload_gso that the guest may send */
	bool tx_ecn;
	/* atomic: an address of which the network shall hear, and bit 48 */
	uint64_t announce;
	struct vnet_rx rx[VIRTIO_NET_PAIRS_MAX];
	struct vnet_tx tx[VIRTIO_NET_PAIRS_MAX];
};

extern const struct io_queue_ops vnet_tx_ops;
extern const struct net_sink_ops vnet_rx_ops;
void vnet_rx_flush(struct io_flush *flush, struct io_turn *turn);

#endif
