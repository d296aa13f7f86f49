/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * To the guest (section 5.1.6.3): each packet is copied once, behind a header, into one chain or
 * (with mergeable buffers) into several. Segments and open checksums go as they are where the guest
 * can take them; otherwise they are finished here. Chains are taken ahead for a whole batch, and
 * what is left over is put back.
 */
#include "base/iov.h"
#include "nic/virtio_net/private.h"

#include <errno.h>

#define CHAINS	      64
#define ARENA_PIECES  512
#define OUT_PIECES    (PACKET_PIECES_MAX + 4)
#define PAYLOAD_AHEAD (6 * CACHE_LINE)
#define LONG_HEADER   ((uint32_t)sizeof(struct virtio_net_hdr_mrg_rxbuf))

/* One batch into one queue; on the stack. Chains go through three states in their order: taken,
 * filled, given back. */
struct giving {
	struct vnet_rx *rx;
	struct virtq_chain chains[CHAINS];
	uint32_t lens[CHAINS];	 /* of the filled ones */
	unsigned n, at, n_given; /* taken; filled; given */
	struct virtq_arena arena;
	struct iovec iov[ARENA_PIECES];
};

/* The bytes to give, and the header's fields. */
struct outgoing {
	const struct iovec *pieces;
	unsigned n_pieces;
	uint32_t len;
	struct offload off;
};

static void give_filled(struct giving *g)
{
	virtqueue_give_all(&g->rx->vq, g->chains + g->n_given, g->lens + g->n_given,
			   g->at - g->n_given);
	g->n_given = g->at;
}

/* The next chain has @len bytes. */
static void filled(struct giving *g, uint32_t len)
{
	g->lens[g->at++] = len;
}

static void take_chains(struct giving *g, unsigned want)
{
	struct virtqueue *vq = &g->rx->vq;

	give_filled(g);
	virtqueue_put_back(vq, g->chains + g->at, g->n - g->at);
	g->arena = (struct virtq_arena){ g->iov, 0, ARENA_PIECES };
	g->at = g->n_given = 0;
	g->n = virtqueue_take(vq, g->chains, MIN(want, (unsigned)CHAINS), &g->arena);
}

static void make_header(const struct virtio_net *net, const struct outgoing *out, unsigned buffers,
			struct virtio_net_hdr_mrg_rxbuf *hdr)
{
	const struct offload *off = &out->off;

	*hdr = (struct virtio_net_hdr_mrg_rxbuf){ .num_buffers = (uint16_t)buffers };
	if (likely(!(off->flags | off->gso)))
		return;
	if (off->flags & OFFLOAD_NEEDS_CSUM) {
		hdr->hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		hdr->hdr.csum_start = off->csum_start;
		hdr->hdr.csum_offset = off->csum_offset;
	} else if (off->flags & OFFLOAD_CSUM_VALID && net->can & NET_CAN_CSUM) {
		hdr->hdr.flags = VIRTIO_NET_HDR_F_DATA_VALID;
	}
	if (off->gso) {
		hdr->hdr.gso_type = off->gso;
		if (off->flags & OFFLOAD_ECN)
			hdr->hdr.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
		hdr->hdr.gso_size = off->gso_size;
		hdr->hdr.hdr_len = off->hdr_len;
	}
}

static bool is_bad(const struct virtq_chain *chain)
{
	return chain->error || chain->n_out || !chain->in_bytes;
}

/* Gives away chains that no packet can go into. */
static void skip_bad(struct giving *g)
{
	while (g->at < g->n && unlikely(is_bad(&g->chains[g->at]))) {
		COUNT(g->rx->bad_buffer, 1);
		filled(g, 0);
	}
}

/* How many chains from g->at hold @need bytes; 0: there are not that many. */
static unsigned chains_for(const struct giving *g, uint64_t need)
{
	uint64_t room = 0;

	for (unsigned i = g->at; i < g->n; i++) {
		if (is_bad(&g->chains[i]))
			return 0;
		room += g->chains[i].in_bytes;
		if (room >= need)
			return i - g->at + 1;
	}
	return 0;
}

/* Over several chains or pieces. */
static void copy_out(struct giving *g, const struct outgoing *out, unsigned n)
{
	unsigned hdr_len = g->rx->net->hdr_len;
	struct virtio_net_hdr_mrg_rxbuf hdr;
	uint64_t left = out->len, skip = 0;

	make_header(g->rx->net, out, n, &hdr);
	for (unsigned i = 0; i < n; i++) {
		const struct virtq_chain *chain = &g->chains[g->at];
		size_t used = 0, here;

		if (!i) {
			/* n == 1, or the first chain holds the header: chains_for() and the caller
			 */
			used = iov_from_buf(chain->iov, chain->n_in, 0, &hdr, hdr_len);
		}
		here = MIN(left, chain->in_bytes - used);
		iov_copy(chain->iov, chain->n_in, used, out->pieces, out->n_pieces, skip, here);
		skip += here;
		left -= here;
		filled(g, (uint32_t)(used + here));
	}
}

static int give_one(struct giving *g, const struct outgoing *out)
{
	struct vnet_rx *rx = g->rx;
	struct virtio_net *net = rx->net;
	uint64_t need = net->hdr_len + out->len;
	const struct virtq_chain *chain;
	unsigned n = 1;

	if (unlikely(out->len > READ_ONCE(net->frame_max) && !out->off.gso)) {
		COUNT(rx->too_large, 1);
		return -EMSGSIZE;
	}
	skip_bad(g);
	if (unlikely(g->at == g->n)) {
		take_chains(g, CHAINS);
		skip_bad(g);
	}
	if (unlikely(g->at == g->n)) {
		COUNT(rx->no_buffer, 1);
		return -ENOBUFS;
	}
	chain = &g->chains[g->at];
	if (unlikely(chain->in_bytes < need)) {
		if (!net->mergeable || chain->in_bytes < net->hdr_len) {
			/* a buffer that no packet of this size fits: the guest's choice */
			COUNT(rx->too_large, 1);
			if (chain->in_bytes < net->hdr_len)
				filled(g, 0);
			return -EMSGSIZE;
		}
		n = chains_for(g, need);
		if (!n) {
			take_chains(g, CHAINS);
			n = chains_for(g, need);
		}
		if (!n) {
			COUNT(rx->no_buffer, 1);
			return -ENOBUFS;
		}
		chain = &g->chains[g->at];
	}
	COUNT(rx->packets, 1);
	COUNT(rx->bytes, out->len);
	if (likely(n == 1 && chain->iov[0].iov_len >= need)) {
		uint8_t *to = chain->iov[0].iov_base;

		if (likely(!(out->off.flags | out->off.gso) && net->hdr_len == 12)) {
			/* written where it goes: num_buffers is the last of the fields */
			store_le64(to, 0);
			store_le32(to + 8, 1u << 16);
		} else {
			struct virtio_net_hdr_mrg_rxbuf hdr;

			make_header(net, out, 1, &hdr);
			memcpy(to, &hdr, net->hdr_len);
		}
		to += net->hdr_len;
		for (unsigned i = 0; i < out->n_pieces; i++) {
			memcpy(to, out->pieces[i].iov_base, out->pieces[i].iov_len);
			to += out->pieces[i].iov_len;
		}
		filled(g, (uint32_t)need);
		return 0;
	}
	copy_out(g, out, n);
	return 0;
}

static bool must_segment(const struct packet *packet, unsigned can)
{
	unsigned needed = packet->off.gso == OFFLOAD_GSO_TCPV4	 ? NET_CAN_TSO4
			  : packet->off.gso == OFFLOAD_GSO_TCPV6 ? NET_CAN_TSO6
								 : NET_CAN_USO;

	if (packet->off.flags & OFFLOAD_ECN)
		needed |= NET_CAN_ECN;
	return (can & needed) != needed;
}

/* A tag beside the frame goes into it; a checksum that the guest cannot complete is completed. */
static __attribute__((noinline)) int give_finished(struct giving *g, const struct packet *packet)
{
	struct outgoing out = { .len = packet->len, .off = packet->off };
	struct iovec pieces[OUT_PIECES];
	uint8_t head[16];

	if (packet->tagged) {
		int n = iov_slice(packet->pieces, packet->n_pieces, 12, packet->len - 12,
				  pieces + 1, OUT_PIECES - 1);

		if (n < 0)
			return n;
		packet_copy(packet, 0, head, 12);
		store_be16(head + 12, 0x8100);
		store_be16(head + 14, packet->vlan_tci);
		pieces[0] = (struct iovec){ head, sizeof(head) };
		out.pieces = pieces;
		out.n_pieces = (unsigned)n + 1;
		out.len += 4;
		if (out.off.flags & OFFLOAD_NEEDS_CSUM)
			out.off.csum_start = (uint16_t)(out.off.csum_start + 4);
		if (out.off.gso)
			out.off.hdr_len = (uint16_t)(out.off.hdr_len + 4);
	} else {
		out.pieces = packet->pieces;
		out.n_pieces = packet->n_pieces;
	}
	if (out.off.flags & OFFLOAD_NEEDS_CSUM && !(g->rx->net->can & NET_CAN_CSUM)) {
		iov_to_buf(out.pieces, out.n_pieces, 0, g->rx->bounce, out.len);
		offload_csum_fill(g->rx->bounce, out.len, &out.off);
		pieces[0] = (struct iovec){ g->rx->bounce, out.len };
		out.pieces = pieces;
		out.n_pieces = 1;
		out.off = (struct offload){ 0 };
		COUNT(g->rx->summed, 1);
	}
	return give_one(g, &out);
}

static __attribute__((noinline)) int give_segments(struct giving *g, const struct packet *packet)
{
	struct iovec pieces[SEGMENT_PIECES_MAX];
	struct packet segment = { .pieces = pieces };
	struct segmenter seg;
	int err = segment_begin(&seg, packet, g->rx->net->can);

	if (err)
		return err;
	COUNT(g->rx->segmented, 1);
	while (!err && segment_next(&seg, &segment)) {
		segment.tagged = packet->tagged;
		segment.vlan_tci = packet->vlan_tci;
		err = give_finished(g, &segment);
	}
	return err;
}

static int give_packet(struct giving *g, const struct packet *packet)
{
	unsigned can = g->rx->net->can;

	if (unlikely(packet->off.gso && must_segment(packet, can)))
		return give_segments(g, packet);
	if (unlikely(packet->tagged ||
		     (packet->off.flags & OFFLOAD_NEEDS_CSUM && !(can & NET_CAN_CSUM))))
		return give_finished(g, packet);
	return give_one(g, &(struct outgoing){ .pieces = packet->pieces,
					       .n_pieces = packet->n_pieces,
					       .len = packet->len,
					       .off = packet->off });
}

/* The common packet, of up to @len_max bytes, into the common buffer: plain, in one piece behind
 * its long header. False: one of them is not. */
static inline bool give_whole(struct giving *g, const struct packet *packet, uint32_t len_max)
{
	const struct virtq_chain *chain = &g->chains[g->at];
	const struct iovec *pieces = packet->pieces;
	uint32_t need = LONG_HEADER + packet->len;
	uint8_t *to;

	if (unlikely(g->at == g->n || chain->n_in != 1 || chain->n_out || chain->in_bytes < need ||
		     !packet_is_plain(packet) || packet->len > len_max ||
		     packet->head_len != PACKET_HEAD_BYTES || packet->n_pieces > 2))
		return false;
	to = chain->iov[0].iov_base;
	/* written where it goes: num_buffers is the last of the fields */
	store_le64(to, 0);
	store_le32(to + 8, 1u << 16);
	to += LONG_HEADER;
	memcpy(to, packet->head, PACKET_HEAD_BYTES);
	if (packet->n_pieces == 2)
		memcpy(to + PACKET_HEAD_BYTES, pieces[1].iov_base, pieces[1].iov_len);
	filled(g, need);
	return true;
}

/*
 * While a packet is copied, the lines with which the next one's payload begins, where it is and
 * where it goes: from there on the hardware fetches ahead by itself. The two lines before them are
 * on their way since the chain was taken.
 */
static inline void fetch_payload(const struct giving *g, const struct packet *next)
{
	const struct virtq_chain *chain;
	const uint8_t *from, *to;
	size_t len;

	if (next->n_pieces != 2 || g->at + 1 >= g->n)
		return;
	chain = &g->chains[g->at + 1];
	if (chain->n_in != 1)
		return;
	from = next->pieces[1].iov_base;
	to = (const uint8_t *)chain->iov[0].iov_base + 2 * CACHE_LINE;
	len = MIN(next->pieces[1].iov_len, (size_t)PAYLOAD_AHEAD);
	for (size_t i = 0; i < len; i += CACHE_LINE) {
		__builtin_prefetch(from + i);
		prefetch_write(to + i);
	}
}

static unsigned give_queue(struct vnet_rx *rx, struct packet *const *packets, unsigned n,
			   struct io_turn *turn)
{
	struct virtio_net *net = rx->net;
	struct virtqueue *vq = &rx->vq;
	uint32_t whole_max = 0;
	unsigned given = 0, whole = 0;
	uint64_t bytes = 0;
	struct giving g;
	bool passes;

	g.rx = rx;
	g.n = g.at = g.n_given = 0;
	pthread_mutex_lock(&vq->lock);
	passes = virtqueue_begin(vq) && READ_ONCE(vq->enabled) && READ_ONCE(net->nic.link_up);
	if (unlikely(!passes)) {
		COUNT(rx->off, n);
		pthread_mutex_unlock(&vq->lock);
		return 0;
	}
	if (likely(net->hdr_len == LONG_HEADER))
		whole_max = MIN(READ_ONCE(net->frame_max), (uint32_t)PACKET_LEN_MAX);
	/* one each; who needs several takes more */
	take_chains(&g, n);
	for (unsigned i = 0; i < n; i++) {
		if (i + 1 < n)
			fetch_payload(&g, packets[i + 1]);
		if (likely(give_whole(&g, packets[i], whole_max))) {
			bytes += packets[i]->len;
			whole++;
		} else {
			given += !give_packet(&g, packets[i]);
		}
	}
	COUNT(rx->packets, whole);
	COUNT(rx->bytes, bytes);
	give_filled(&g);
	virtqueue_put_back(vq, g.chains + g.at, g.n - g.at);
	virtqueue_fetch(vq, n, true);
	if (vq->unpublished)
		io_turn_flush_later(turn, &rx->flush);
	pthread_mutex_unlock(&vq->lock);
	return given + whole;
}

/* The same flow always goes to the same queue; addresses and ports as they lie in the frame. */
static unsigned flow_hash(const struct packet *packet)
{
	struct headers h;
	uint64_t x = 0, part;
	unsigned at, len;

	headers_parse(packet->head, packet->head_len, &h);
	if (!h.ipv4 && !h.ipv6) {
		memcpy(&x, packet->head + 4, 8);
	} else {
		at = h.l3 + (h.ipv4 ? 12u : 8u);
		len = h.ipv4 ? 8 : 32;
		for (unsigned i = 0; i < len && at + i + 8 <= packet->head_len; i += 8) {
			memcpy(&part, packet->head + at + i, 8);
			x = (x ^ part) * 0x9e3779b97f4a7c15ull;
		}
		if (!h.fragment && (h.tcp || h.udp) && h.l4 + 4u <= packet->head_len) {
			uint32_t ports;

			memcpy(&ports, packet->head + h.l4, 4);
			x ^= ports;
		}
	}
	x *= 0x9e3779b97f4a7c15ull;
	return (unsigned)(x >> 40);
}

static unsigned give(struct switch_port *port, struct packet *const *packets, unsigned n,
		     struct io_turn *turn)
{
	struct virtio_net *net = container_of(port, struct virtio_net, nic.port);
	uint8_t queue_of[PACKET_BATCH];
	struct packet *mine[PACKET_BATCH];
	uint32_t used = 0;
	unsigned active = 0, given = 0;

	/* the guest uses the first pairs, as many as it wants (section 5.1.6.5.5) */
	while (active < net->pairs && READ_ONCE(net->rx[active].vq.enabled) &&
	       READ_ONCE(net->rx[active].vq.started))
		active++;
	if (likely(active < 2))
		return give_queue(&net->rx[0], packets, n, turn);
	for (; n; packets += MIN(n, (unsigned)PACKET_BATCH), n -= MIN(n, (unsigned)PACKET_BATCH),
		  used = 0) {
		unsigned now = MIN(n, (unsigned)PACKET_BATCH);

		for (unsigned i = 0; i < now; i++) {
			queue_of[i] = (uint8_t)(flow_hash(packets[i]) % active);
			used |= 1u << queue_of[i];
		}
		for (unsigned q = 0; q < active; q++) {
			unsigned count = 0;

			if (!(used >> q & 1))
				continue;
			for (unsigned i = 0; i < now; i++)
				if (queue_of[i] == q)
					mine[count++] = packets[i];
			given += give_queue(&net->rx[q], mine, count, turn);
		}
	}
	return given;
}

void vnet_rx_flush(struct io_flush *flush, struct io_turn *turn)
{
	struct vnet_rx *rx = container_of(flush, struct vnet_rx, flush);
	bool notify = false;

	pthread_mutex_lock(&rx->vq.lock);
	if (virtqueue_begin(&rx->vq))
		notify = virtqueue_publish(&rx->vq);
	pthread_mutex_unlock(&rx->vq.lock);
	if (notify)
		virtqueue_notify(&rx->vq);
}

const struct net_sink_ops vnet_rx_ops = { .give = give };
