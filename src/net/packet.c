/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Batches are filled in place: the packet that is being built takes the first free packet and the
 * first free pieces, and sealing it moves both marks. Nothing is allocated, nothing is cleared that
 * is not used.
 */
#include "net/packet.h"

#include "base/iov.h"
#include "base/util.h"

#include <errno.h>

void packet_batch_init(struct packet_batch *batch)
{
	batch->n = 0;
	batch->n_pieces = 0;
}

struct packet *packet_begin(struct packet_batch *batch)
{
	struct packet *packet;

	if (batch->n == PACKET_BATCH ||
	    PACKET_BATCH_PIECES - batch->n_pieces < PACKET_PIECES_MAX + 1)
		return NULL;
	packet = &batch->packets[batch->n];
	packet->pieces = &batch->pieces[batch->n_pieces];
	packet->n_pieces = 1;
	packet->head_len = 0;
	packet->len = 0;
	packet_clear(packet);
	return packet;
}

int packet_add(struct packet_batch *batch, struct packet *packet, void *base, uint32_t len)
{
	if (unlikely(packet->n_pieces > PACKET_PIECES_MAX || len > PACKET_LEN_MAX - packet->len))
		return -E2BIG;
	if (unlikely(!len))
		return 0;
	packet->pieces[packet->n_pieces].iov_base = base;
	packet->pieces[packet->n_pieces++].iov_len = len;
	packet->len += len;
	return 0;
}

/* Takes the first @want bytes out of the pieces behind the head; pieces that are used up go. */
static void head_take(struct packet *packet, uint32_t want)
{
	uint32_t got = 0;
	unsigned from = 1;

	while (got < want) {
		struct iovec *piece = &packet->pieces[from];
		uint32_t n = (uint32_t)MIN(piece->iov_len, (size_t)(want - got));

		memcpy(packet->head + got, piece->iov_base, n);
		got += n;
		piece->iov_base = (uint8_t *)piece->iov_base + n;
		piece->iov_len -= n;
		if (!piece->iov_len)
			from++;
	}
	if (from > 1) {
		memmove(&packet->pieces[1], &packet->pieces[from],
			(packet->n_pieces - from) * sizeof(packet->pieces[0]));
		packet->n_pieces -= from - 1;
	}
}

int packet_seal(struct packet_batch *batch, struct packet *packet)
{
	struct iovec *piece;

	if (unlikely(packet->len < PACKET_LEN_MIN))
		return -EINVAL;
	if ((packet->off.flags | packet->off.gso) &&
	    unlikely(packet_offload_check(&packet->off, packet->len)))
		return -EINVAL;

	piece = &packet->pieces[1];
	if (likely(piece->iov_len > PACKET_HEAD_BYTES)) {
		memcpy(packet->head, piece->iov_base, PACKET_HEAD_BYTES);
		piece->iov_base = (uint8_t *)piece->iov_base + PACKET_HEAD_BYTES;
		piece->iov_len -= PACKET_HEAD_BYTES;
		packet->head_len = PACKET_HEAD_BYTES;
	} else if (likely(packet->n_pieces == 2)) {
		memcpy(packet->head, piece->iov_base, packet->len);
		packet->head_len = (uint16_t)packet->len;
		packet->n_pieces = 1;
	} else {
		packet->head_len = (uint16_t)MIN(packet->len, (uint32_t)PACKET_HEAD_BYTES);
		head_take(packet, packet->head_len);
	}
	packet->pieces[0].iov_base = packet->head;
	packet->pieces[0].iov_len = packet->head_len;
	batch->n++;
	batch->n_pieces += packet->n_pieces;
	return 0;
}

void packet_hdr_len_set(struct packet *packet)
{
	struct offload *off = &packet->off;
	uint32_t skip = off->csum_start + 12u; /* the data offset of a TCP header */
	uint8_t doff;

	if (off->gso == OFFLOAD_GSO_UDP_L4) {
		off->hdr_len = off->csum_start > UINT16_MAX - 8 ? 0 : off->csum_start + 8;
		return;
	}
	off->hdr_len = 0;
	/* pieces[0] is not filled before the packet is sealed */
	if (iov_to_buf(packet->pieces + 1, packet->n_pieces - 1u, skip, &doff, 1) != 1)
		return;
	if (off->csum_start <= UINT16_MAX - 60)
		off->hdr_len = (uint16_t)(off->csum_start + (doff >> 4) * 4);
}

int packet_offload_check(const struct offload *off, uint32_t len)
{
	uint32_t csum_end = (uint32_t)off->csum_start + off->csum_offset + 2;

	if (off->flags & OFFLOAD_NEEDS_CSUM) {
		/* a tag may be put in front of it */
		if (off->csum_start < PACKET_LEN_MIN || off->csum_start > UINT16_MAX - 4 ||
		    csum_end > len)
			return -EINVAL;
	}
	if (off->gso == OFFLOAD_GSO_NONE)
		return 0;
	if (off->gso != OFFLOAD_GSO_TCPV4 && off->gso != OFFLOAD_GSO_TCPV6 &&
	    off->gso != OFFLOAD_GSO_UDP_L4)
		return -EINVAL;
	if (!(off->flags & OFFLOAD_NEEDS_CSUM) || !off->gso_size)
		return -EINVAL;
	if (off->hdr_len > len || off->hdr_len > UINT16_MAX - 4 || off->hdr_len < csum_end)
		return -EINVAL;
	return 0;
}

uint32_t packet_copy(const struct packet *packet, uint32_t skip, void *buf, uint32_t len)
{
	return (uint32_t)iov_to_buf(packet->pieces, packet->n_pieces, skip, buf, len);
}
