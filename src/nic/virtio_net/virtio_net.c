/* SPDX-License-Identifier: BSD-2-Clause */
/* The device: features, queues, counters. */
#include "nic/virtio_net/virtio_net.h"

#include "nic/virtio_net/private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FEATURE(f) (1ull << VIRTIO_NET_F_##f)
/* newer than some systems' headers */
#define F_GUEST_USO4 (1ull << 54)
#define F_GUEST_USO6 (1ull << 55)
#define F_HOST_USO   (1ull << 56)

#define OFFERED                                                                                    \
	(VIRTQ_FEATURES | FEATURE(CSUM) | FEATURE(GUEST_CSUM) | FEATURE(MTU) |                     \
	 FEATURE(GUEST_TSO4) | FEATURE(GUEST_TSO6) | FEATURE(GUEST_ECN) | FEATURE(HOST_TSO4) |     \
	 FEATURE(HOST_TSO6) | FEATURE(HOST_ECN) | FEATURE(MRG_RXBUF) | FEATURE(STATUS) |           \
	 FEATURE(GUEST_ANNOUNCE) | FEATURE(MQ) | F_GUEST_USO4 | F_GUEST_USO6 | F_HOST_USO)

/* by bit */
static const char *const feature_names[64] = {
	[VIRTIO_NET_F_CSUM] = "CSUM",
	[VIRTIO_NET_F_GUEST_CSUM] = "GUEST_CSUM",
	[VIRTIO_NET_F_MTU] = "MTU",
	[VIRTIO_NET_F_GUEST_TSO4] = "GUEST_TSO4",
	[VIRTIO_NET_F_GUEST_TSO6] = "GUEST_TSO6",
	[VIRTIO_NET_F_GUEST_ECN] = "GUEST_ECN",
	[VIRTIO_NET_F_HOST_TSO4] = "HOST_TSO4",
	[VIRTIO_NET_F_HOST_TSO6] = "HOST_TSO6",
	[VIRTIO_NET_F_HOST_ECN] = "HOST_ECN",
	[VIRTIO_NET_F_MRG_RXBUF] = "MRG_RXBUF",
	[VIRTIO_NET_F_STATUS] = "STATUS",
	[VIRTIO_NET_F_GUEST_ANNOUNCE] = "GUEST_ANNOUNCE",
	[VIRTIO_NET_F_MQ] = "MQ",
	[54] = "GUEST_USO4",
	[55] = "GUEST_USO6",
	[56] = "HOST_USO",
};

static struct virtio_net *of_dev(struct virtio_device *dev)
{
	return container_of(dev, struct virtio_net, dev);
}

/* Section 5.1.4.1: the MTU binds the device once the guest knows of it; a tag comes on top. */
static void limit_frames(struct virtio_net *net, uint64_t features)
{
	bool limited = net->mtu && features & FEATURE(MTU);

	WRITE_ONCE(net->frame_max, limited ? net->mtu + 14 + 4 : UINT32_MAX);
}

static void features_set(struct virtio_device *dev, uint64_t features)
{
	struct virtio_net *net = of_dev(dev);
	bool v1 = features >> VIRTIO_F_VERSION_1 & 1;

	net->mergeable = features & FEATURE(MRG_RXBUF);
	/* section 5.1.6.1: legacy headers are shorter without mergeable buffers */
	net->hdr_len = v1 || net->mergeable ? sizeof(struct virtio_net_hdr_mrg_rxbuf)
					    : sizeof(struct virtio_net_hdr);
	net->can = (features & FEATURE(GUEST_CSUM) ? NET_CAN_CSUM : 0) |
		   (features & FEATURE(GUEST_TSO4) ? NET_CAN_TSO4 : 0) |
		   (features & FEATURE(GUEST_TSO6) ? NET_CAN_TSO6 : 0) |
		   (features & FEATURE(GUEST_ECN) ? NET_CAN_ECN : 0) |
		   (features & F_GUEST_USO4 && features & F_GUEST_USO6 ? NET_CAN_USO : 0);
	if (!(net->can & NET_CAN_CSUM))
		net->can = 0;
	net->tx_csum = features & FEATURE(CSUM);
	net->tx_ecn = features & FEATURE(HOST_ECN);
	net->tx_gso = (features & FEATURE(HOST_TSO4) ? 1u << OFFLOAD_GSO_TCPV4 : 0) |
		      (features & FEATURE(HOST_TSO6) ? 1u << OFFLOAD_GSO_TCPV6 : 0) |
		      (features & F_HOST_USO ? 1u << OFFLOAD_GSO_UDP_L4 : 0);
	limit_frames(net, features);
}

static int mtu_set(struct virtio_device *dev, uint64_t mtu)
{
	struct virtio_net *net = of_dev(dev);

	if (mtu < 68 || mtu > 65535)
		return -EINVAL;
	net->mtu = (uint32_t)mtu;
	limit_frames(net, dev->acked);
	return 0;
}

static void announce(struct virtio_device *dev, const uint8_t mac[6])
{
	struct virtio_net *net = of_dev(dev);

	uint64_t value = 1ull << 48;

	memcpy(&value, mac, 6);
	STORE_RELEASE(net->announce, value);
	virtio_device_wake(dev, 1);
}

static void reset(struct virtio_device *dev)
{
	of_dev(dev)->mtu = 0;
	features_set(dev, 1ull << VIRTIO_F_VERSION_1);
}

static const struct virtio_device_ops device_ops = {
	.features_set = features_set,
	.mtu_set = mtu_set,
	.announce = announce,
	.reset = reset,
};

static void nic_free(struct nic *nic)
{
	struct virtio_net *net = container_of(nic, struct virtio_net, nic);

	for (unsigned i = 0; i < net->pairs; i++) {
		virtqueue_done(&net->rx[i].vq);
		virtqueue_done(&net->tx[i].vq);
		if (net->tx[i].io.wake_fd >= 0)
			close(net->tx[i].io.wake_fd);
		free(net->rx[i].bounce);
	}
	free(nic->name);
	free(net);
}

static void link_set(struct nic *nic, bool up)
{
	/* The front end shows the link; what is ours is that nothing passes. */
	WRITE_ONCE(nic->link_up, up);
}

static void stats(struct nic *nic, nic_stat_fn *stat, void *arg)
{
	struct virtio_net *net = container_of(nic, struct virtio_net, nic);
	struct vnet_rx rx = { 0 };
	struct vnet_tx tx = { 0 };
	struct virtq_stats vq = { 0 };

	for (unsigned i = 0; i < net->pairs; i++) {
		const struct vnet_rx *r = &net->rx[i];
		const struct vnet_tx *t = &net->tx[i];

		rx.packets += READ_ONCE(r->packets);
		rx.bytes += READ_ONCE(r->bytes);
		rx.no_buffer += READ_ONCE(r->no_buffer);
		rx.too_large += READ_ONCE(r->too_large);
		rx.bad_buffer += READ_ONCE(r->bad_buffer);
		rx.off += READ_ONCE(r->off);
		rx.segmented += READ_ONCE(r->segmented);
		rx.summed += READ_ONCE(r->summed);
		tx.packets += READ_ONCE(t->packets);
		tx.bytes += READ_ONCE(t->bytes);
		tx.malformed += READ_ONCE(t->malformed);
		tx.discarded += READ_ONCE(t->discarded);
		for (unsigned k = 0; k < 2; k++) {
			const struct virtq_stats *q = k ? &t->vq.stats : &r->vq.stats;

			vq.bad_chains += READ_ONCE(q->bad_chains);
			vq.broken += READ_ONCE(q->broken);
			vq.notified += READ_ONCE(q->notified);
			vq.suppressed += READ_ONCE(q->suppressed);
		}
	}
	stat(arg, "rx_packets", rx.packets);
	stat(arg, "rx_bytes", rx.bytes);
	stat(arg, "rx_no_buffer", rx.no_buffer);
	stat(arg, "rx_too_large", rx.too_large);
	stat(arg, "rx_bad_buffer", rx.bad_buffer);
	stat(arg, "rx_off", rx.off);
	stat(arg, "rx_segmented", rx.segmented);
	stat(arg, "rx_checksummed", rx.summed);
	stat(arg, "tx_packets", tx.packets);
	stat(arg, "tx_bytes", tx.bytes);
	stat(arg, "tx_malformed", tx.malformed);
	stat(arg, "tx_discarded", tx.discarded);
	stat(arg, "bad_chains", vq.bad_chains);
	stat(arg, "rings_broken", vq.broken);
	stat(arg, "notified", vq.notified);
	stat(arg, "notifications_suppressed", vq.suppressed);
}

static const struct nic_ops nic_ops = {
	.free = nic_free,
	.link_set = link_set,
	.stats = stats,
};

struct nic *virtio_net_new(const struct nic_config *config, struct memory_space *space,
			   unsigned pairs)
{
	struct virtio_net *net;

	if (!pairs || pairs > VIRTIO_NET_PAIRS_MAX) {
		errno = EINVAL;
		return NULL;
	}
	net = calloc(1, sizeof(*net));
	if (!net)
		return NULL;
	net->pairs = pairs;
	for (unsigned i = 0; i < pairs; i++)
		net->tx[i].io.wake_fd = -1;
	net->nic = (struct nic){
		.ops = &nic_ops,
		.model = "virtio-net",
		.name = strdup(config->name),
		.space = space,
		.link_up = config->link_up,
		.n_queues = pairs,
	};
	net->dev = (struct virtio_device){
		.ops = &device_ops,
		.name = net->nic.name,
		.space = space,
		.features = OFFERED,
		.feature_names = feature_names,
		.in_pairs = true,
		.n_queues = 2 * pairs,
	};
	net->nic.port = (struct switch_port){ .ops = &vnet_rx_ops, .name = net->nic.name };
	memcpy(net->mac, config->mac, 6);
	for (unsigned i = 0; i < pairs; i++) {
		struct vnet_rx *rx = &net->rx[i];
		struct vnet_tx *tx = &net->tx[i];

		rx->net = tx->net = net;
		rx->flush.flush = vnet_rx_flush;
		rx->bounce = malloc(PACKET_LEN_MAX + 64);
		virtqueue_init(&rx->vq, space);
		virtqueue_init(&tx->vq, space);
		tx->vq.only_read = true;
		snprintf(tx->name, sizeof(tx->name), "%s/tx%u", config->name, i);
		tx->io.ops = &vnet_tx_ops;
		tx->io.name = tx->name;
		tx->io.drain_wake_fd = true;
		net->nic.queues[i] = &tx->io;
		/* section 5.1.2: receiveq1, transmitq1, receiveq2... */
		net->dev.queues[2 * i] = &rx->vq;
		net->dev.queues[2 * i + 1] = &tx->vq;
		net->dev.io[2 * i + 1] = &tx->io;
		if (!rx->bounce || !net->nic.name) {
			net->pairs = i + 1;
			nic_free(&net->nic);
			errno = ENOMEM;
			return NULL;
		}
	}
	reset(&net->dev);
	return &net->nic;
}

struct virtio_device *virtio_net_device(struct nic *nic)
{
	return &container_of(nic, struct virtio_net, nic)->dev;
}
