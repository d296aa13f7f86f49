/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Receive (8254x manual 3.2, 82574 datasheet 7.1): packets from the switch become frames as the
 * guest's settings want them. Filters, VLAN stripping, checksums, then the descriptors (rxring.c).
 *
 * The chip cannot take a large segment, so one is cut up here. A checksum that the sender left open
 * is completed in the copy, and only then reported as verified. Frames beyond 1518 bytes are
 * refused without LPE, whatever else is set: drivers give such a chip buffers of 1522 bytes.
 */
#include "nic/e1000/rx.h"

#include "base/clock.h"
#include "nic/e1000/remote.h"

#define FCS		4u
#define TAG		4u
#define FRAME_MIN	60u
#define FRAME_MAX	1518u
#define FRAME_MAX_LPE	(16384u - FCS)
#define RXO_INTERVAL_NS (100 * NS_PER_MS)

#define RXE_IPE (BIT(6) << 24)

/* Receive buffer size, 8254x manual table 13-66; 82574: FLXBUF in KB if not 0 */
static uint32_t buffer_bytes(const struct e1000 *dev, uint32_t rctl)
{
	if (dev->variant->chip == CHIP_82574L && RCTL_FLXBUF(rctl))
		return RCTL_FLXBUF(rctl) * 1024;
	if (rctl & RCTL_BSEX && RCTL_BSIZE(rctl))
		return 32768u >> RCTL_BSIZE(rctl);
	return 2048u >> RCTL_BSIZE(rctl);
}

void e1000_rx_call_begin(struct e1000_rx_call *call, struct e1000 *dev, uint64_t now_ns)
{
	uint32_t psrctl;

	*call = (struct e1000_rx_call){
		.dev = dev,
		.now_ns = now_ns,
		.remote = dev->rx_remote,
		.rctl = e1000_get(dev, RCTL),
		.rxcsum = e1000_get(dev, RXCSUM),
		.strip = e1000_get(dev, CTRL) & CTRL_VME,
		.vet = (uint16_t)e1000_get(dev, VET),
	};
	call->buffer_bytes = buffer_bytes(dev, call->rctl);
	if (dev->variant->chip != CHIP_82574L || !(e1000_get(dev, RFCTL) & RFCTL_EXTEN))
		return;
	call->format = RX_EXTENDED;
	if (RCTL_DTYP(call->rctl) != RCTL_DTYP_SPLIT)
		return;
	call->format = RX_SPLIT;
	psrctl = e1000_page(dev, PSRCTL);
	call->split_bytes[0] = (psrctl & 0x7f) * 128;
	call->split_bytes[1] = (psrctl >> 8 & 0x3f) * 1024;
	call->split_bytes[2] = (psrctl >> 16 & 0x3f) * 1024;
	call->split_bytes[3] = (psrctl >> 24 & 0x3f) * 1024;
}

/* Header copy, tag in or out. False when the filters refuse it. Inline: each frame's way. */
static inline __attribute__((always_inline)) bool
frame_begin(struct e1000_rx_call *call, struct e1000_rx_frame *frame, const struct packet *packet)
{
	struct e1000 *dev = call->dev;
	struct e1000_rx_counters *count = &dev->rx_count;
	uint32_t n = MIN(packet->len, (uint32_t)E1000_RX_HEADER), wire = packet->len;
	uint8_t *header = frame->header;
	bool inside, tagged;
	uint16_t tci = packet->vlan_tci;

	if (packet->tagged)
		wire += TAG;
	if (!call->counted) {
		COUNT(count->total_packets, 1);
		COUNT(count->total_octets, MAX(wire, FRAME_MIN) + FCS);
	}
	if (wire > (call->rctl & RCTL_LPE ? FRAME_MAX_LPE : FRAME_MAX)) {
		COUNT(count->oversize, 1);
		return false;
	}

	frame->packet = packet;
	frame->header_len = frame->skip = packet_copy(packet, 0, header, n);
	frame->len = packet->len;
	frame->patch = false;
	frame->status = 0;
	frame->vlan = 0;
	inside = !packet->tagged && n >= 18 && load_be16(header + 12) == call->vet;
	if (inside)
		tci = load_be16(header + 14);
	tagged = inside || packet->tagged;

	switch (e1000_filter(dev, call->rctl, header, tagged, tci)) {
	case E1000_ACCEPT: break;
	case E1000_DROP_VLAN: COUNT(count->vlan_filtered, 1); return false;
	case E1000_DROP_ADDRESS: COUNT(count->filtered, 1); return false;
	}

	if (tagged && call->strip) {
		frame->status |= RXD_VP;
		frame->vlan = tci;
		if (inside) {
			memmove(header + 12, header + 16, frame->header_len - 16);
			frame->header_len -= TAG;
			frame->len -= TAG;
		}
	} else if (packet->tagged) {
		memmove(header + 16, header + 12, frame->header_len - 12);
		store_be16(header + 12, call->vet);
		store_be16(header + 14, tci);
		frame->header_len += TAG;
		frame->len += TAG;
	}
	return true;
}

/* Completes the checksum that the sender left open. */
static void frame_csum(struct e1000_rx_frame *frame)
{
	const struct offload *off = &frame->packet->off;
	uint32_t len = frame->packet->len, at = off->csum_start + off->csum_offset;

	frame->csum = (uint16_t)~csum_fold(
		csum_packet(frame->packet, off->csum_start, len - off->csum_start));
	if (!frame->csum)
		frame->csum = 0xffff;
	/* behind the addresses: where a tag comes in or goes out */
	if (unlikely(frame->len < len && at < 12 + TAG))
		return; /* the field was in it */
	at = at + frame->len - len;
	if (at + 2 <= frame->header_len) {
		store_le16(frame->header + at, frame->csum);
	} else {
		frame->patch = true;
		frame->patch_at = at;
	}
}

/* Status and errors of the descriptor (82574 datasheet 7.1.5.2). */
static void frame_status(const struct e1000_rx_call *call, struct e1000_rx_frame *frame)
{
	const struct headers *h = &frame->h;
	uint32_t status = 0, type = 0;
	bool known = frame->packet->off.flags & (OFFLOAD_NEEDS_CSUM | OFFLOAD_CSUM_VALID);

	if (h->ipv4)
		type = h->tcp || h->udp ? 2 : 1;
	else if (h->ipv6)
		type = h->tcp || h->udp ? 6 : 5;
	if (h->ipv4 && call->rxcsum & RXCSUM_IPOFL) {
		unsigned bytes = (frame->header[h->l3] & 0xf) * 4u;

		if (h->l3 + bytes <= frame->header_len) {
			status |= RXD_IPCS;
			if (csum_fold(csum_add(0, frame->header + h->l3, bytes, false)) != 0xffff)
				status |= RXE_IPE;
		}
	}
	if (known && (h->tcp || h->udp) && call->rxcsum & RXCSUM_TUOFL) {
		status |= RXD_TCPCS;
		if (h->udp && call->dev->variant->chip == CHIP_82574L)
			status |= RXD_UDPCS;
	}
	if (!status)
		status = RXD_IXSM;
	if (call->format != RX_LEGACY)
		status |= type << RXD_TYPE_SHIFT;
	frame->status |= status;
}

/* One frame of at most the size of a wire's. */
static enum e1000_rx_result store_frame(struct e1000_rx_call *call, const struct packet *packet)
{
	struct e1000 *dev = call->dev;
	struct e1000_rx_frame frame;
	enum e1000_rx_result result;
	uint8_t dst[6];

	if (!frame_begin(call, &frame, packet))
		return E1000_DROP;
	if (packet->off.flags & OFFLOAD_NEEDS_CSUM)
		frame_csum(&frame);
	headers_parse(frame.header, frame.header_len, &frame.h);
	frame_status(call, &frame);
	if (call->format != RX_LEGACY && call->rxcsum & RXCSUM_PCSD)
		e1000_rss(dev, frame.header, &frame.h, &frame.rss);
	else
		frame.rss = (struct e1000_rss){ 0 };
	frame.len = MAX(frame.len, FRAME_MIN);
	memcpy(dst, frame.header, 6);
	result = e1000_rx_store(call, frame.rss.queue, &frame);
	if (unlikely(result != E1000_STORED))
		return result;
	if (packet->off.flags & OFFLOAD_NEEDS_CSUM)
		COUNT(dev->rx_count.csum_filled, 1);
	e1000_count_frame(&dev->rx_count.good, dst, frame.len + FCS);
	return E1000_STORED;
}

/* Do frames go behind others? One load and one branch for what nearly always is false. */
static inline bool must_wait(const struct e1000 *dev)
{
	return unlikely(dev->rx_wait.n | (uintptr_t)dev->rx_remote);
}

static __attribute__((noinline)) bool wait_frame(struct e1000_rx_call *call,
						 const struct packet *packet, bool wanted)
{
	struct e1000 *dev = call->dev;

	if (!wanted && !e1000_rx_wanted(call, packet))
		return false;
	if (e1000_rx_wait_put(call, packet))
		return true;
	COUNT(dev->rx_count.no_buffer, 1);
	call->causes |= ICR_RXO;
	return false;
}

static bool give_frame(struct e1000_rx_call *call, const struct packet *packet)
{
	enum e1000_rx_result result;

	if (must_wait(call->dev))
		return wait_frame(call, packet, false);
	result = store_frame(call, packet);
	if (unlikely(result == E1000_WAIT))
		return wait_frame(call, packet, true);
	return result == E1000_STORED;
}

static bool give_segments(struct e1000_rx_call *call, const struct packet *packet)
{
	struct iovec pieces[SEGMENT_PIECES_MAX];
	struct packet segment = { .pieces = pieces };
	struct segmenter seg;

	if (segment_begin(&seg, packet, NET_CAN_VLAN)) {
		COUNT(call->dev->rx_count.bad_segment, 1);
		return false;
	}
	while (segment_next(&seg, &segment)) {
		if (!give_frame(call, &segment))
			return false;
		COUNT(call->dev->rx_count.segmented, 1);
	}
	return true;
}

/* For frames that have waited: out of line. */
bool e1000_rx_wanted(struct e1000_rx_call *call, const struct packet *packet)
{
	struct e1000_rx_frame frame;

	return frame_begin(call, &frame, packet);
}

enum e1000_rx_result e1000_rx_frame_give(struct e1000_rx_call *call, const struct packet *packet)
{
	return store_frame(call, packet);
}

uint32_t e1000_rx_limit_rxo(struct e1000 *dev, uint32_t causes, uint64_t now_ns)
{
	if (causes & ICR_RXO && now_ns < dev->rxo_next_ns)
		causes &= ~ICR_RXO;
	else if (causes & ICR_RXO)
		dev->rxo_next_ns = now_ns + RXO_INTERVAL_NS;
	return causes;
}

void e1000_rx_call_end(struct e1000_rx_call *call, struct io_turn *turn)
{
	struct e1000 *dev = call->dev;

	for (unsigned i = 0; i < dev->variant->n_queues; i++)
		if (call->loaded[i])
			e1000_head_publish(&dev->rx[i].head);
	call->causes = e1000_rx_limit_rxo(dev, call->causes, turn->now_ns);
	if (call->causes) {
		dev->rx_causes |= call->causes;
		io_turn_flush_later(turn, &dev->rx_flush);
	}
	if (must_wait(dev)) {
		if (dev->rx_remote)
			e1000_rx_remote_look(dev);
		else
			e1000_rx_wait_arm(dev, turn->now_ns);
	}
}

unsigned e1000_rx_give(struct e1000 *dev, struct packet *const *packets, unsigned n,
		       struct io_turn *turn)
{
	struct e1000_rx_call call;
	unsigned taken = 0;

	pthread_mutex_lock(&dev->rx_lock);
	e1000_rx_call_begin(&call, dev, turn->now_ns);
	if (!(call.rctl & RCTL_EN) || !e1000_dma_ok(dev)) {
		COUNT(dev->rx_count.disabled, n);
		goto out;
	}
	if (must_wait(dev) && !dev->rx_remote)
		e1000_rx_wait_serve(&call);
	for (unsigned i = 0; i < n; i++)
		taken += packets[i]->off.gso ? give_segments(&call, packets[i])
					     : give_frame(&call, packets[i]);
	e1000_rx_call_end(&call, turn);
out:
	pthread_mutex_unlock(&dev->rx_lock);
	return taken;
}

static unsigned rx_give(struct switch_port *port, struct packet *const *packets, unsigned n,
			struct io_turn *turn)
{
	struct e1000 *dev = container_of(port, struct e1000, nic.port);

	if (!READ_ONCE(dev->link) || READ_ONCE(dev->phy_loopback)) {
		pthread_mutex_lock(&dev->rx_lock);
		COUNT(dev->rx_count.disabled, n);
		pthread_mutex_unlock(&dev->rx_lock);
		return 0;
	}
	return e1000_rx_give(dev, packets, n, turn);
}

const struct net_sink_ops e1000_rx_ops = { .give = rx_give };

/* End of a turn: one interrupt for all that was given in it. */
static void rx_flush(struct io_flush *flush, struct io_turn *turn)
{
	struct e1000 *dev = container_of(flush, struct e1000, rx_flush);
	uint32_t causes;

	pthread_mutex_lock(&dev->rx_lock);
	causes = dev->rx_causes;
	dev->rx_causes = 0;
	pthread_mutex_unlock(&dev->rx_lock);
	if (!causes)
		return;
	e1000_irq_rx(dev, causes, turn->now_ns);
	e1000_tx_expect(dev, turn);
}

void e1000_rx_init(struct e1000 *dev)
{
	dev->rx_flush.flush = rx_flush;
	e1000_rx_wait_init(dev);
}

/* Under rx_lock. */
void e1000_rx_reset(struct e1000 *dev)
{
	for (unsigned i = 0; i < dev->variant->n_queues; i++) {
		e1000_head_init(&dev->rx[i].head, dev->rx_page + (RDH(i) & 0xfff) / 4);
		dev->rx[i].min_threshold = false;
	}
	dev->rx_causes = 0;
	dev->rxo_next_ns = 0;
	e1000_rx_remote_free(dev->rx_remote);
	WRITE_ONCE(dev->rx_remote, NULL);
	e1000_rx_wait_clear(dev);
}
