/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From the guest (section 5.1.6.2): take chains, make packets of them, forward, give the chains
 * back. The guest's header is copied once and turned into an offload record; the length of its
 * headers is read from the packet, since the guest's word for it is a hint only. The budget counts
 * the bytes of the frames that a large segment may be cut into, however small the guest has them.
 */
#include "base/iov.h"
#include "nic/virtio_net/private.h"

#include <errno.h>

/* newer than some systems' headers */
#define HDR_GSO_UDP_L4 5
#define LONG_HEADER    ((uint32_t)sizeof(struct virtio_net_hdr_mrg_rxbuf))

/* In the turn's scratch memory, behind one another. */
struct scratch {
	struct packet_batch batch;
	struct virtq_chain chains[PACKET_BATCH];
	struct iovec iov[PACKET_BATCH_PIECES];
};
_Static_assert(sizeof(struct scratch) <= IO_SCRATCH_BYTES, "scratch memory is too small");

static int gso_to_offload(const struct vnet_tx *tx, const struct virtio_net_hdr *hdr,
			  struct packet *packet, struct offload *off)
{
	unsigned type = hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;

	if (type > HDR_GSO_UDP_L4 || !(tx->net->tx_gso >> type & 1) || !hdr->gso_size)
		return -EINVAL;
	if (hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN) {
		if (!tx->net->tx_ecn)
			return -EINVAL;
		off->flags |= OFFLOAD_ECN;
	}
	/* the values are those of enum offload_gso */
	off->gso = (uint8_t)type;
	off->gso_size = hdr->gso_size;
	/* what comes of it is checked with the rest when the packet is sealed */
	packet_hdr_len_set(packet);
	return 0;
}

static int to_offload(const struct vnet_tx *tx, const struct virtio_net_hdr *hdr,
		      struct packet *packet, struct offload *off)
{
	if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		if (!tx->net->tx_csum)
			return -EINVAL;
		off->flags |= OFFLOAD_NEEDS_CSUM;
		off->csum_start = hdr->csum_start;
		off->csum_offset = hdr->csum_offset;
	}
	if (hdr->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return 0;
	return gso_to_offload(tx, hdr, packet, off);
}

/* One packet of the batch out of one chain. */
static int to_packet(struct vnet_tx *tx, const struct virtq_chain *chain,
		     struct packet_batch *batch, struct packet *packet)
{
	unsigned hdr_len = tx->net->hdr_len, i = 0;
	struct virtio_net_hdr_mrg_rxbuf hdr;
	size_t skip = hdr_len;
	int err;

	if (unlikely(chain->error || chain->out_bytes < hdr_len + PACKET_LEN_MIN || chain->n_in))
		return -EINVAL;
	if (likely(chain->iov[0].iov_len >= sizeof(hdr)))
		memcpy(&hdr, chain->iov[0].iov_base, sizeof(hdr));
	else
		iov_to_buf(chain->iov, chain->n_out, 0, &hdr, sizeof(hdr));
	while (chain->iov[i].iov_len <= skip)
		skip -= chain->iov[i++].iov_len;
	for (; i < chain->n_out; i++) {
		size_t len = chain->iov[i].iov_len - skip;

		if (unlikely(len > PACKET_LEN_MAX))
			return -EINVAL;
		err = packet_add(batch, packet, (uint8_t *)chain->iov[i].iov_base + skip,
				 (uint32_t)len);
		if (unlikely(err))
			return err;
		skip = 0;
	}
	if (unlikely(hdr.hdr.flags | hdr.hdr.gso_type)) {
		err = to_offload(tx, &hdr.hdr, packet, &packet->off);
		if (err)
			return err;
	}
	return packet_seal(batch, packet);
}

/*
 * The common packet: long header and bytes in one piece, and nothing that others must do. NULL: not
 * one of those, or no room. The first two fields of the header are zero then (section 5.1.6.2), the
 * others mean nothing.
 */
static inline struct packet *to_packet_whole(const struct virtq_chain *chain,
					     struct packet_batch *batch)
{
	uint8_t *hdr = chain->iov[0].iov_base;
	size_t len = chain->iov[0].iov_len - LONG_HEADER;

	if (unlikely(chain->n_out != 1 || chain->n_in ||
		     len - PACKET_HEAD_BYTES > PACKET_LEN_MAX - PACKET_HEAD_BYTES ||
		     load_le16(hdr)))
		return NULL;
	return packet_add_whole(batch, hdr + LONG_HEADER, (uint32_t)len);
}

/* A reverse ARP request from the address that a migrated guest has (RFC 903). */
static __attribute__((noinline)) void announce(struct virtio_net *net, struct scratch *s,
					       struct io_turn *turn)
{
	static const uint8_t arp[] = { 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3 };
	uint64_t mac = __atomic_exchange_n(&net->announce, 0, __ATOMIC_ACQUIRE);
	uint8_t frame[60] = { 0 };
	struct packet *packet;

	if (!mac)
		return;
	memset(frame, 0xff, 6);
	memcpy(frame + 6, &mac, 6);
	memcpy(frame + 12, arp, sizeof(arp));
	memcpy(frame + 22, &mac, 6);
	memcpy(frame + 32, &mac, 6);
	packet_batch_init(&s->batch);
	packet = packet_begin(&s->batch);
	if (packet && !packet_add(&s->batch, packet, frame, sizeof(frame)) &&
	    !packet_seal(&s->batch, packet))
		net_switch_forward(&net->nic.port, &s->batch, turn);
}

static void poll(struct io_queue *queue, struct io_turn *turn, struct io_work *work)
{
	struct vnet_tx *tx = container_of(queue, struct vnet_tx, io);
	struct virtio_net *net = tx->net;
	struct scratch *s = turn->scratch;
	struct virtqueue *vq = &tx->vq;
	struct virtq_arena arena = { s->iov, 0, ARRAY_SIZE(s->iov) };
	unsigned max = MIN(turn->budget_packets, (unsigned)PACKET_BATCH), n, done;
	bool notify, passes, long_header;
	uint64_t bytes = 0, repeated = 0; /* what cutting up a packet adds to its bytes */

	if (unlikely(READ_ONCE(net->announce)))
		announce(net, s, turn);
	pthread_mutex_lock(&vq->lock);
	if (unlikely(!virtqueue_begin(vq))) {
		pthread_mutex_unlock(&vq->lock);
		return;
	}
	n = virtqueue_take(vq, s->chains, max, &arena);
	if (!n) {
		pthread_mutex_unlock(&vq->lock);
		return;
	}
	packet_batch_init(&s->batch);
	long_header = net->hdr_len == LONG_HEADER;
	passes = READ_ONCE(vq->enabled) && READ_ONCE(net->nic.link_up);
	for (done = 0; done < n; done++) {
		const struct virtq_chain *chain = &s->chains[done];
		struct packet *packet = NULL;

		if (unlikely(!passes)) {
			COUNT(tx->discarded, 1);
			continue;
		}
		if (unlikely(done && bytes + repeated >= turn->budget_bytes))
			break;
		if (likely(long_header))
			packet = to_packet_whole(chain, &s->batch);
		if (likely(packet)) {
			bytes += packet->len;
			continue;
		}
		packet = packet_begin(&s->batch);
		if (unlikely(!packet))
			break;
		if (unlikely(to_packet(tx, chain, &s->batch, packet))) {
			COUNT(tx->malformed, 1);
			continue;
		}
		bytes += packet->len;
		repeated += (uint64_t)(packet_frames(packet) - 1) * packet->off.hdr_len;
	}
	if (unlikely(done < n)) {
		virtqueue_put_back(vq, s->chains + done, n - done);
		work->more = true;
	}
	work->more |= n == max || virtqueue_walked_far(vq);
	work->packets = done;
	work->bytes = bytes + repeated;
	COUNT(tx->packets, s->batch.n);
	COUNT(tx->bytes, bytes);
	if (likely(s->batch.n))
		net_switch_forward(&net->nic.port, &s->batch, turn);
	virtqueue_give_all(vq, s->chains, NULL, done);
	virtqueue_fetch(vq, done, false);
	notify = virtqueue_publish(vq);
	pthread_mutex_unlock(&vq->lock);
	if (notify)
		virtqueue_notify(vq);
}

static bool notify_queue(struct io_queue *queue, bool on)
{
	struct vnet_tx *tx = container_of(queue, struct vnet_tx, io);
	bool more = false;

	pthread_mutex_lock(&tx->vq.lock);
	/* without a descriptor to be kicked with, it must be polled */
	if (virtqueue_begin(&tx->vq))
		more = on && queue->wake_fd < 0 ? true : virtqueue_kicks(&tx->vq, on);
	pthread_mutex_unlock(&tx->vq.lock);
	return more;
}

const struct io_queue_ops vnet_tx_ops = { .poll = poll, .notify = notify_queue };
