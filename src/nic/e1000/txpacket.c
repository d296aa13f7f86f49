/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From transmit descriptors to a packet with an offload record (8254x manual 3.3 and 3.5, 82574
 * datasheet 7.2.10 and 7.3). Payload stays where it is in the guest's memory. A TCP segment crosses
 * whole: the chip would cut it up and finish each header, so the header is copied and finished as
 * the one of the whole, with the lengths that the driver left out.
 */
#include "nic/e1000/tx.h"

#include "base/iov.h"
#include "net/offload.h"
#include "nic/e1000/remote.h"

#include <errno.h>

#define FRAME_MAX    16288 /* without segmentation (8254x manual 3.3.3) */
#define FRAME_MIN    60
#define FCS	     4
#define TAG	     4
#define TCP_FLAG_CWR 0x80

static const uint8_t zeros[FRAME_MIN];

void e1000_tx_context(struct e1000_tx *tx, const struct e1000_tx_desc *desc)
{
	uint32_t ip = (uint32_t)desc->address, l4 = (uint32_t)(desc->address >> 32);
	struct e1000_context *context = &tx->context[!!(desc->lower & TXD_TSE)];

	*context = (struct e1000_context){
		.ipcss = (uint8_t)ip,
		.ipcso = (uint8_t)(ip >> 8),
		.ipcse = (uint16_t)(ip >> 16),
		.tucss = (uint8_t)l4,
		.tucso = (uint8_t)(l4 >> 8),
		.tucse = (uint16_t)(l4 >> 16),
		.paylen = desc->lower & TXD_LEN_DATA,
		.tcp = desc->lower & TXD_TUCMD_TCP,
		.ipv4 = desc->lower & TXD_TUCMD_IP,
		.hdr_len = (uint8_t)(desc->upper >> 8),
		.mss = (uint16_t)(desc->upper >> 16),
		.valid = true,
	};
}

static void add_buffer(struct e1000_tx *tx, struct e1000_tx_scratch *scratch,
		       struct e1000_tx_build *build, uint64_t address, uint32_t len)
{
	void *host = memory_at(&tx->data_reader, address, len, MEMORY_READ);
	struct iovec iov[8];
	int n = 1;

	if (likely(host)) {
		iov[0] = (struct iovec){ host, len };
	} else {
		const struct e1000_tx_remote *remote = tx->remote;

		n = memory_iov(&tx->data_reader, address, len, MEMORY_READ, iov, ARRAY_SIZE(iov));
		/* -E2BIG: in too many pieces, wherever they are */
		if (n == -EFAULT &&
		    (host = e1000_tx_remote_at(tx, &tx->data_reader, address, len, MEMORY_READ))) {
			iov[0] = (struct iovec){ host, len };
			n = 1;
		}
		if (n < 0) {
			COUNT(tx->count.bad_buffer, tx->remote == remote);
			build->bad = true;
			return;
		}
	}
	for (int i = 0; i < n; i++) {
		if (packet_add(&scratch->batch, build->packet, iov[i].iov_base,
			       (uint32_t)iov[i].iov_len)) {
			COUNT(tx->count.too_many_pieces, 1);
			build->bad = true;
			return;
		}
	}
}

void e1000_tx_data(struct e1000_tx *tx, struct e1000_tx_scratch *scratch,
		   struct e1000_tx_build *build, const struct e1000_tx_desc *desc)
{
	bool ext = desc->lower & TXD_DEXT;
	uint32_t len = desc->lower & (ext ? TXD_LEN_DATA : TXD_LEN_LEGACY);

	if (!build->n_desc++)
		build->first = *desc;
	if (build->bad)
		return;
	if (ext && TXD_DTYP(desc->lower) != TXD_DTYP_DATA) {
		COUNT(tx->count.bad_descriptor, 1);
		build->bad = true;
		return;
	}
	/* a null buffer or no bytes: consumed, no data (8254x manual 3.3.3) */
	if (len && desc->address)
		add_buffer(tx, scratch, build, desc->address, len);
}

/* Copies the first @len bytes (at most E1000_TX_HEADER) of the packet, which then starts with the
 * copy. Returns it. */
static uint8_t *own_header(struct e1000_tx_scratch *scratch, struct packet *packet, uint32_t len)
{
	uint8_t *copy = scratch->headers[scratch->batch.n];
	struct iovec *pieces = packet->pieces;
	unsigned from = 1;
	uint32_t left = len;

	if (pieces[1].iov_base == copy)
		return copy;
	iov_to_buf(pieces + 1, packet->n_pieces - 1u, 0, copy, len);
	while (left && left >= pieces[from].iov_len)
		left -= (uint32_t)pieces[from++].iov_len;
	if (left) {
		pieces[from].iov_base = (uint8_t *)pieces[from].iov_base + left;
		pieces[from].iov_len -= left;
	}
	/* the copy takes the place of pieces 1..from - 1; there is room for one more than the
	 * packet may have (packet_begin) */
	if (from != 2) {
		memmove(&pieces[2], &pieces[from], (packet->n_pieces - from) * sizeof(*pieces));
		packet->n_pieces = (uint16_t)(packet->n_pieces - from + 2);
	}
	pieces[1] = (struct iovec){ copy, len };
	return copy;
}

static bool header_fits(const struct packet *packet)
{
	/* own_header() may add a piece */
	return packet->n_pieces < PACKET_PIECES_MAX;
}

/* Sums [@start, @end) of the packet into the two bytes at @at, which is in the header copy. */
static bool sum_into(struct e1000_tx_scratch *scratch, struct packet *packet, uint32_t start,
		     uint32_t end, uint32_t at)
{
	uint32_t n = MIN(packet->len, (uint32_t)E1000_TX_HEADER), skip = start;
	struct iovec *pieces = packet->pieces;
	uint64_t sum = 0;
	uint8_t *header;
	bool odd = false;

	if (start >= end || end > packet->len || at + 2 > n || !header_fits(packet))
		return false;
	header = own_header(scratch, packet, n);
	for (unsigned i = 1; i < packet->n_pieces && start < end; i++) {
		uint32_t here = (uint32_t)pieces[i].iov_len;

		if (skip >= here) {
			skip -= here;
			continue;
		}
		here = MIN(here - skip, end - start);
		sum = csum_add(sum, (uint8_t *)pieces[i].iov_base + skip, here, odd);
		odd ^= here & 1;
		start += here;
		skip = 0;
	}
	store_le16(header + at, (uint16_t)~csum_fold(sum));
	return true;
}

/* The checksum of layer 4: left to whoever needs it, if it is a usual one. */
static void leave_checksum(struct e1000_tx *tx, struct e1000_tx_scratch *scratch,
			   struct packet *packet, uint32_t css, uint32_t cso, uint32_t cse)
{
	uint32_t end = cse && cse < packet->len ? cse + 1 : packet->len;

	if (css >= PACKET_LEN_MIN && cso >= css && cso + 2 <= packet->len && end == packet->len) {
		packet->off.flags |= OFFLOAD_NEEDS_CSUM;
		packet->off.csum_start = (uint16_t)css;
		packet->off.csum_offset = (uint16_t)(cso - css);
		return;
	}
	if (!sum_into(scratch, packet, css, end, cso))
		COUNT(tx->count.bad_checksum, 1);
}

/* Checksums without segmentation. */
static void finish_checksums(struct e1000_tx *tx, struct e1000_tx_scratch *scratch,
			     const struct e1000_tx_build *build, const struct e1000_tx_desc *last)
{
	const struct e1000_context *context = &tx->context[0];
	struct packet *packet = build->packet;
	uint32_t popts = build->first.upper;

	if (!(build->first.lower & TXD_DEXT)) {
		if (last->lower & TXD_IC)
			leave_checksum(tx, scratch, packet, build->first.upper >> 8 & 0xff,
				       last->lower >> 16 & 0xff, 0);
		return;
	}
	if (!(popts & (TXD_POPTS_IXSM | TXD_POPTS_TXSM)))
		return;
	if (!context->valid) {
		COUNT(tx->count.bad_context, 1);
		return;
	}
	if (popts & TXD_POPTS_IXSM) {
		uint32_t end = context->ipcse ? context->ipcse + 1u : packet->len;

		if (!sum_into(scratch, packet, context->ipcss, MIN(end, packet->len),
			      context->ipcso))
			COUNT(tx->count.bad_checksum, 1);
	}
	if (popts & TXD_POPTS_TXSM)
		leave_checksum(tx, scratch, packet, context->tucss, context->tucso, context->tucse);
}

/* The header of a large segment: is it what the context says, and inside the packet? */
static bool tso_context_ok(const struct e1000_context *c, uint32_t len)
{
	unsigned l3 = c->ipv4 ? 20 : 40, l4 = c->tcp ? 20 : 8;

	return c->valid && c->mss && c->hdr_len <= len && c->ipcss >= PACKET_LEN_MIN &&
	       c->ipcss + l3 <= c->tucss && c->tucss + l4 <= c->hdr_len && c->tucso >= c->tucss &&
	       c->tucso + 2 <= c->hdr_len;
}

static bool finish_tso(struct e1000_tx *tx, struct e1000_tx_scratch *scratch, struct packet *packet)
{
	const struct e1000_context *c = &tx->context[1];
	uint32_t len = packet->len, l3_len, l4_len;
	uint8_t *header;

	if (!tso_context_ok(c, len) || !header_fits(packet)) {
		COUNT(tx->count.bad_context, 1);
		goto fail;
	}
	l3_len = len - c->ipcss;
	l4_len = len - c->tucss;
	if (l3_len > UINT16_MAX) {
		COUNT(tx->count.bad_length, 1);
		goto fail;
	}
	header = own_header(scratch, packet, c->hdr_len);
	if (c->ipv4) {
		uint8_t *ip = header + c->ipcss;
		unsigned bytes = (ip[0] & 0xf) * 4;

		if (bytes < 20 || c->ipcss + bytes > c->tucss) {
			COUNT(tx->count.bad_context, 1);
			goto fail;
		}
		store_be16(ip + 2, (uint16_t)l3_len);
		store_be16(ip + 10, 0);
		store_le16(ip + 10, (uint16_t)~csum_fold(csum_add(0, ip, bytes, false)));
	} else {
		store_be16(header + c->ipcss + 4, (uint16_t)(l3_len - 40));
	}
	/* the driver's pseudo-header sum has no length in it */
	if (c->tcp) {
		if (header[c->tucss + 13] & TCP_FLAG_CWR)
			packet->off.flags |= OFFLOAD_ECN;
	} else {
		store_be16(header + c->tucss + 4, (uint16_t)l4_len);
	}
	l4_len += load_be16(header + c->tucso);
	store_be16(header + c->tucso, (uint16_t)((l4_len & 0xffff) + (l4_len >> 16)));

	packet->off.flags |= OFFLOAD_NEEDS_CSUM;
	packet->off.csum_start = c->tucss;
	packet->off.csum_offset = (uint16_t)(c->tucso - c->tucss);
	if (len - c->hdr_len > c->mss) {
		packet->off.gso = !c->tcp   ? OFFLOAD_GSO_UDP_L4
				  : c->ipv4 ? OFFLOAD_GSO_TCPV4
					    : OFFLOAD_GSO_TCPV6;
		packet->off.gso_size = c->mss;
		packet->off.hdr_len = c->hdr_len;
	} else {
		packet->off.flags &= (uint8_t)~OFFLOAD_ECN;
	}
	COUNT(tx->count.tso_packets, 1);
	return true;
fail:
	COUNT(tx->count.tso_failed, 1);
	return false;
}

/* As the statistics registers would: each segment is a frame on the wire. */
static void count_packet(struct e1000_tx *tx, const struct packet *packet)
{
	struct e1000_counters *good = &tx->count.good;
	uint32_t len = packet->len + FCS + (packet->tagged ? TAG : 0);

	e1000_count_frame(good, packet->head, len);
	if (packet->off.gso) {
		uint32_t more = packet_frames(packet) - 1;

		COUNT(good->packets, more);
		COUNT(good->octets, (uint64_t)more * (len - packet->len + packet->off.hdr_len));
	}
}

void e1000_tx_finish(struct e1000_tx *tx, struct e1000_tx_scratch *scratch,
		     struct e1000_tx_build *build, const struct e1000_tx_desc *last)
{
	struct e1000 *dev = tx->dev;
	struct packet *packet = build->packet;
	bool ext = build->first.lower & TXD_DEXT, tso = ext && build->first.lower & TXD_TSE;
	const struct e1000_tx_desc *tag = tso ? &build->first : last;

	if (build->bad)
		return;
	if (!packet->len)
		return; /* null descriptors only */
	if (packet->len < PACKET_LEN_MIN || (!tso && packet->len > FRAME_MAX)) {
		COUNT(tx->count.bad_length, 1);
		return;
	}
	if (tso) {
		if (!finish_tso(tx, scratch, packet))
			return;
	} else {
		finish_checksums(tx, scratch, build, last);
	}
	/* the padding is behind what checksums cover: it is zeros and changes none */
	if (packet->len < FRAME_MIN && e1000_get(dev, TCTL) & TCTL_PSP &&
	    packet_add(&scratch->batch, packet, (void *)(uintptr_t)zeros, FRAME_MIN - packet->len))
		return;
	if (tag->lower & TXD_VLE && e1000_get(dev, CTRL) & CTRL_VME) {
		packet->tagged = true;
		packet->vlan_tci = (uint16_t)(tag->upper >> 16);
	}
	if (packet_seal(&scratch->batch, packet)) {
		COUNT(tx->count.bad_length, 1);
		return;
	}
	count_packet(tx, packet);
}
