/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A packet: an Ethernet frame (no FCS) as a short list of pieces that point into the sender's
 * memory, plus what the sender left for others to do (struct offload, in the terms of virtio-net,
 * VIRTIO 1.3 section 5.1.6). It lives from take to give, within one poll of one core; nobody keeps
 * a pointer to it or to its pieces.
 *
 * The sender's memory is hostile and may change at any time. The first bytes, on which the switch
 * and its rules decide, are therefore copied into the packet once (packet_seal()) and become its
 * first piece: what was checked is what is delivered. Everything behind is payload, copied once,
 * into the receiver.
 *
 * Every device translates to and from struct offload. A sender has validated it against the
 * packet's length (packet_offload_check()); a receiver may rely on that.
 */
#ifndef EXITLESS_NET_PACKET_H
#define EXITLESS_NET_PACKET_H

#include "base/util.h"

#include <sys/uio.h>

#define PACKET_BATCH	    64
#define PACKET_PIECES_MAX   128 /* of one packet */
#define PACKET_HEAD_BYTES   64
#define PACKET_LEN_MIN	    14
#define PACKET_LEN_MAX	    (65535 + 14 + 8) /* a large segment with Ethernet header and two tags */
#define PACKET_BATCH_PIECES 1024

enum offload_gso {
	OFFLOAD_GSO_NONE = 0,
	OFFLOAD_GSO_TCPV4 = 1,
	OFFLOAD_GSO_TCPV6 = 4,
	OFFLOAD_GSO_UDP_L4 = 5,
};

enum offload_flags {
	OFFLOAD_NEEDS_CSUM = 1, /* checksum from csum_start to the end belongs at csum_start +
				 * csum_offset, where the pseudo-header's sum stands now */
	OFFLOAD_CSUM_VALID = 2, /* checksums are known to be right (VIRTIO_NET_HDR_F_DATA_VALID) */
	OFFLOAD_ECN = 4,	/* TCP segment with ECN: CWR in the first segment only */
};

struct offload {
	uint8_t flags;
	uint8_t gso;	   /* enum offload_gso */
	uint16_t hdr_len;  /* bytes up to and including the L4 header; with gso */
	uint16_t gso_size; /* payload bytes per segment; > 0 with gso */
	uint16_t csum_start, csum_offset;
};

struct packet {
	struct iovec *pieces; /* in the batch's array */
	uint16_t n_pieces;
	uint16_t head_len; /* bytes in head[]; pieces[0] is head[] once sealed */
	uint32_t len;	   /* bytes over all pieces */
	struct offload off;
	/* A VLAN tag that travels beside the frame (not in its bytes). */
	uint16_t vlan_tci;
	bool tagged;
	uint8_t head[PACKET_HEAD_BYTES] __attribute__((aligned(16)));
};

/* What a source takes at once; lives in the core's scratch memory (net/forward.h). */
struct packet_batch {
	unsigned n;
	unsigned n_pieces;
	struct packet packets[PACKET_BATCH];
	struct iovec pieces[PACKET_BATCH_PIECES];
};

/*
 * Filling a batch: packet_begin() gives the next packet (empty, pieces[0] reserved for the head),
 * or NULL when the batch is full: fewer than PACKET_PIECES_MAX + 1 pieces left, or no packet.
 * packet_add() appends a piece: -E2BIG at PACKET_PIECES_MAX or PACKET_LEN_MAX. packet_seal() ends
 * it: copies the head, checks the length and the offload (-EINVAL: malformed, the packet is
 * dropped from the batch), and keeps it. A packet that is begun and not sealed costs nothing.
 */
void packet_batch_init(struct packet_batch *batch);
struct packet *packet_begin(struct packet_batch *batch);
int packet_add(struct packet_batch *batch, struct packet *packet, void *base, uint32_t len);
int packet_seal(struct packet_batch *batch, struct packet *packet);

/* No offload, no tag: all between the length and the head, in one store. */
static inline void packet_clear(struct packet *packet)
{
	memset(&packet->off, 0, offsetof(struct packet, head) - offsetof(struct packet, off));
}

/*
 * All three at once for the common packet: @len bytes at @base, PACKET_HEAD_BYTES..PACKET_LEN_MAX,
 * nothing left to do for others. NULL when the batch is full.
 */
static inline struct packet *packet_add_whole(struct packet_batch *batch, void *base, uint32_t len)
{
	struct packet *packet = &batch->packets[batch->n];
	struct iovec *pieces = &batch->pieces[batch->n_pieces];
	unsigned n = 1 + (len > PACKET_HEAD_BYTES);

	if (unlikely(batch->n == PACKET_BATCH ||
		     PACKET_BATCH_PIECES - batch->n_pieces < PACKET_PIECES_MAX + 1))
		return NULL;
	batch->n++;
	batch->n_pieces += n;
	memcpy(packet->head, base, PACKET_HEAD_BYTES);
	pieces[0].iov_base = packet->head;
	pieces[0].iov_len = PACKET_HEAD_BYTES;
	/* not counted when there is nothing in it */
	pieces[1].iov_base = (uint8_t *)base + PACKET_HEAD_BYTES;
	pieces[1].iov_len = len - PACKET_HEAD_BYTES;
	packet->pieces = pieces;
	packet->n_pieces = (uint16_t)n;
	packet->head_len = PACKET_HEAD_BYTES;
	packet->len = len;
	packet_clear(packet);
	return packet;
}

/* Whole, with no offload and no tag beside it: can be delivered as its bytes are. */
static inline bool packet_is_plain(const struct packet *packet)
{
	return !(packet->off.flags | packet->off.gso | packet->tagged);
}

/*
 * The frames that a sealed packet is on a wire: with gso, as many as its segments. Each but the
 * first has off.hdr_len bytes that packet->len does not count.
 */
static inline uint32_t packet_frames(const struct packet *packet)
{
	uint32_t payload = packet->len - packet->off.hdr_len;

	return packet->off.gso && payload ? (payload - 1) / packet->off.gso_size + 1 : 1;
}

/*
 * Sets off.hdr_len of a packet with gso from csum_start and the L4 header that stands there: for
 * sources that only hint at it (virtio-net and tap, where it is the length of a linear part). Call
 * before packet_seal(). Leaves hdr_len 0, which packet_seal() refuses, when there is no header.
 */
void packet_hdr_len_set(struct packet *packet);

/* 0, or -EINVAL when the offload record does not fit a packet of @len bytes: a checksum over the
 * Ethernet header, or whose place a tag would put out of 16 bits, offsets beyond the end, hdr_len
 * beyond it or shorter than the headers up to the checksum, gso without size or without NEEDS_CSUM,
 * unknown gso. */
int packet_offload_check(const struct offload *off, uint32_t len);

/* Copies @len bytes from @skip into @buf; returns the bytes copied. */
uint32_t packet_copy(const struct packet *packet, uint32_t skip, void *buf, uint32_t len);

#endif
