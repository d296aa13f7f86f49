/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segmentation in software. The headers up to the L4 payload are copied once, checked, and the
 * parts of their sums that are the same in every segment are taken beforehand; a segment then costs
 * a copy of the headers, a few fields, and the sum over its payload (none with NET_CAN_CSUM).
 */
#include "net/offload.h"

#include "base/util.h"

#include <errno.h>

#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_CWR 0x80

static bool headers_fit(const struct headers *h, const struct offload *off)
{
	if (!h->payload || h->l4 != off->csum_start)
		return false;
	switch (off->gso) {
	case OFFLOAD_GSO_TCPV4: return h->ipv4 && h->tcp && off->csum_offset == 16;
	case OFFLOAD_GSO_TCPV6: return h->ipv6 && h->tcp && off->csum_offset == 16;
	case OFFLOAD_GSO_UDP_L4: return h->udp && off->csum_offset == 6;
	default: return false;
	}
}

int segment_begin(struct segmenter *seg, const struct packet *packet, unsigned can)
{
	struct headers h;
	uint32_t copied;

	if (packet->off.hdr_len > packet->len || !packet->off.gso_size)
		return -EINVAL;
	copied = packet_copy(packet, 0, seg->header,
			     MIN((uint32_t)packet->off.hdr_len, (uint32_t)SEGMENT_HEADER_MAX));
	headers_parse(seg->header, copied, &h);
	if (!headers_fit(&h, &packet->off))
		return -EINVAL;
	if (packet->len - h.payload > (uint32_t)packet->off.gso_size * SEGMENTS_MAX)
		return -EINVAL;

	seg->packet = packet;
	seg->can = can;
	seg->index = 0;
	seg->hdr_len = seg->at = h.payload;
	seg->l3 = h.l3;
	seg->l4 = h.l4;
	seg->ipv4 = h.ipv4;
	seg->tcp = h.tcp;
	seg->done = false;
	seg->piece = 0;
	seg->piece_at = seg->at;
	while (seg->piece < packet->n_pieces && seg->piece_at >= packet->pieces[seg->piece].iov_len)
		seg->piece_at -= (uint32_t)packet->pieces[seg->piece++].iov_len;

	if (seg->ipv4) {
		uint8_t *ip = seg->header + seg->l3;

		seg->ip_id = load_be16(ip + 4);
		memset(ip + 2, 0, 4);  /* length, id */
		memset(ip + 10, 0, 2); /* checksum */
		seg->ip_sum = csum_add(0, ip, seg->l4 - seg->l3, false);
		seg->l4_sum = csum_add(0, ip + 12, 8, false);
	} else {
		seg->l4_sum = csum_add(0, seg->header + seg->l3 + 8, 32, false);
	}
	seg->l4_sum += (uint64_t)h.protocol << 8; /* as a big-endian word in memory */
	if (seg->tcp)
		seg->tcp_seq = load_be32(seg->header + seg->l4 + 4);
	return 0;
}

/* Lets @out's pieces from @n on point to @len bytes of the payload. */
static void payload_take(struct segmenter *seg, struct packet *out, uint32_t len)
{
	const struct iovec *pieces = seg->packet->pieces;
	unsigned n = 1;

	seg->at += len;
	while (len) {
		uint32_t room = (uint32_t)pieces[seg->piece].iov_len - seg->piece_at;
		uint32_t take = MIN(room, len);

		if (take) {
			out->pieces[n].iov_base = (uint8_t *)pieces[seg->piece].iov_base +
						  seg->piece_at;
			out->pieces[n++].iov_len = take;
		}
		len -= take;
		seg->piece_at += take;
		if (take == room) {
			seg->piece++;
			seg->piece_at = 0;
		}
	}
	out->n_pieces = (uint16_t)n;
}

static void l3_write(struct segmenter *seg, uint32_t frame_len)
{
	uint8_t *ip = seg->out_header + seg->l3;
	uint16_t csum;

	if (!seg->ipv4) {
		store_be16(ip + 4, (uint16_t)(frame_len - seg->l3 - 40));
		return;
	}
	store_be16(ip + 2, (uint16_t)(frame_len - seg->l3));
	store_be16(ip + 4, (uint16_t)(seg->ip_id + seg->index));
	csum = ~csum_fold(csum_add(seg->ip_sum, ip + 2, 4, false));
	memcpy(ip + 10, &csum, sizeof(csum));
}

static void l4_write(struct segmenter *seg, const struct packet *out, bool last)
{
	uint8_t *l4 = seg->out_header + seg->l4;
	uint32_t l4_len = out->len - seg->l4;
	uint8_t *field = l4 + seg->packet->off.csum_offset;
	bool odd = (seg->hdr_len - seg->l4) & 1;
	uint8_t len_be[2];
	uint64_t sum;
	uint16_t csum;

	if (seg->tcp) {
		store_be32(l4 + 4, seg->tcp_seq + seg->index * seg->packet->off.gso_size);
		if (!last)
			l4[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
		if (seg->index) /* CWR once only: RFC 3168 section 6.1.2 */
			l4[13] &= (uint8_t)~TCP_CWR;
	} else {
		store_be16(l4 + 4, (uint16_t)l4_len);
	}

	store_be16(len_be, (uint16_t)l4_len);
	sum = csum_add(seg->l4_sum, len_be, 2, false);
	if (seg->can & NET_CAN_CSUM) {
		csum = csum_fold(sum);
	} else {
		memset(field, 0, 2);
		sum = csum_add(sum, l4, seg->hdr_len - seg->l4, false);
		for (unsigned i = 1; i < out->n_pieces; i++) {
			sum = csum_add(sum, out->pieces[i].iov_base, out->pieces[i].iov_len, odd);
			odd ^= out->pieces[i].iov_len & 1;
		}
		csum = ~csum_fold(sum);
		if (!csum)
			csum = 0xffff;
	}
	memcpy(field, &csum, sizeof(csum));
}

bool segment_next(struct segmenter *seg, struct packet *out)
{
	const struct packet *packet = seg->packet;
	uint32_t payload = MIN(packet->len - seg->at, (uint32_t)packet->off.gso_size);

	if (seg->done)
		return false;
	payload_take(seg, out, payload);
	seg->done = seg->at == packet->len;

	out->len = seg->hdr_len + payload;
	out->tagged = packet->tagged;
	out->vlan_tci = packet->vlan_tci;
	out->off = (struct offload){ 0 };
	if (seg->can & NET_CAN_CSUM) {
		out->off.flags = OFFLOAD_NEEDS_CSUM;
		out->off.csum_start = seg->l4;
		out->off.csum_offset = packet->off.csum_offset;
	} else {
		out->off.flags = OFFLOAD_CSUM_VALID;
	}

	memcpy(seg->out_header, seg->header, seg->hdr_len);
	l3_write(seg, out->len);
	l4_write(seg, out, seg->done);
	out->pieces[0].iov_base = seg->out_header;
	out->pieces[0].iov_len = seg->hdr_len;
	out->head_len = (uint16_t)MIN(seg->hdr_len, (uint32_t)PACKET_HEAD_BYTES);
	memcpy(out->head, seg->out_header, out->head_len);
	seg->index++;
	return true;
}
