/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-net with any rings and memory (virtio_rig.h): what its driver sends comes back to it, with
 * a tag or without, so that headers and offloads go both ways. Packets are sound, whatever it says.
 */
#include "base/iov.h"
#include "net/offload.h"
#include "nic/virtio_net/virtio_net.h"

#include "virtio_rig.h"

#define TX_RING 0
#define RX_RING 0x400

static struct nic *nic;
static uint64_t sum;
static bool tags;
static uint8_t frames[PACKET_BATCH][PACKET_LEN_MAX];

/* Out of the guest's memory, of which the same may be where it goes. */
static void move_out(struct packet *packet, uint8_t *to)
{
	for (unsigned k = 0; k < packet->n_pieces; k++) {
		struct iovec *piece = &packet->pieces[k];

		memcpy(to, piece->iov_base, piece->iov_len);
		piece->iov_base = to;
		to += piece->iov_len;
	}
}

void net_switch_forward(struct switch_port *from, struct packet_batch *batch, struct io_turn *t)
{
	struct packet *list[PACKET_BATCH];

	for (unsigned i = 0; i < batch->n; i++) {
		struct packet *packet = &batch->packets[i];

		if (iov_len(packet->pieces, packet->n_pieces) != packet->len ||
		    packet->len < PACKET_LEN_MIN || packet->len > PACKET_LEN_MAX ||
		    packet_offload_check(&packet->off, packet->len))
			abort();
		sum += csum_packet(packet, 0, packet->len); /* all of it can be read */
		move_out(packet, frames[i]);
		packet->tagged = tags;
		packet->vlan_tci = 5;
		list[i] = packet;
	}
	if (batch->n)
		nic->port.ops->give(&nic->port, list, batch->n, t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nic_config config = { .name = "fuzz", .link_up = true };
	struct virtio_device *dev;

	if (!rig_begin(data, size))
		return 0;
	tags = data[10] & 1;
	nic = virtio_net_new(&config, space, 1);
	if (!nic)
		abort();
	dev = virtio_net_device(nic);
	rig_features(dev, data);
	rig_start(dev, 1, TX_RING);
	rig_start(dev, 0, RX_RING);
	rig_poll(nic->queues[0]);
	virtqueue_stop(dev->queues[0]);
	virtqueue_stop(dev->queues[1]);
	nic->ops->free(nic);
	return 0;
}
