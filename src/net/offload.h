/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checksums and segmentation in software, for receivers that cannot take what the sender left open.
 * Stateless; any thread. Sums are 16-bit ones' complement (RFC 1071) of the bytes as they stand in
 * memory, so a folded sum is stored as it is, without a byte swap.
 */
#ifndef EXITLESS_NET_OFFLOAD_H
#define EXITLESS_NET_OFFLOAD_H

#include "net/packet.h"

#include <stddef.h>
#include <stdint.h>

/* Unfolded sum over @len bytes, continuing @sum; @odd: the first byte is at an odd position of what
 * is summed. */
uint64_t csum_add(uint64_t sum, const void *buf, size_t len, bool odd);
uint16_t csum_fold(uint64_t sum); /* folded, not complemented */
/* Over bytes [@skip, @skip + @len) of a packet, or what there is of them; unfolded. */
uint64_t csum_packet(const struct packet *packet, uint32_t skip, uint32_t len);

/* What a receiver can take as it is. */
enum net_can {
	NET_CAN_CSUM = 1, /* NEEDS_CSUM stays open */
	NET_CAN_TSO4 = 2,
	NET_CAN_TSO6 = 4,
	NET_CAN_USO = 8,
	NET_CAN_ECN = 16,
	NET_CAN_VLAN = 32, /* a tag beside the frame */
};

/*
 * L2/L3/L4 of a frame, from its first bytes. Offsets from the frame's start; 0 where not there. A
 * fragment, also the first, has no l4: its checksum and length are not to be had from it.
 */
struct headers {
	uint16_t ethertype;	  /* after tags; 0: the frame is cut before it */
	uint16_t l3, l4, payload; /* offsets; payload only when the L4 header is whole */
	uint16_t vlan_tci;	  /* of the first tag in the bytes */
	bool tagged;
	uint8_t protocol; /* 6, 17, ... ; IPv6: what follows the last extension header */
	bool ipv4, ipv6, fragment, tcp, udp; /* tcp and udp: with l4 */
	bool ipv6_ext;
	uint8_t tcp_flags; /* when the first 14 bytes of the header are there */
};

/* Parses up to @len bytes; stops at what it does not know or has not whole. Never reads past. */
void headers_parse(const void *bytes, size_t len, struct headers *headers);

/*
 * Writes the checksum that NEEDS_CSUM asks for into a copy: given the @len bytes of the frame at
 * @frame (contiguous, private or the receiver's). @off has been checked against @len.
 */
void offload_csum_fill(uint8_t *frame, uint32_t len, const struct offload *off);

/*
 * Writes a packet without gso as the bytes of a wire: a tag that travels beside goes in, the
 * checksum is filled. Returns the length, or 0 when @size is too small (the packet's length plus 4
 * always does).
 */
uint32_t offload_frame(const struct packet *packet, void *buf, uint32_t size);

/*
 * Segmentation. A segmenter walks a packet with gso and makes one frame after the other, headers
 * adjusted (IPv4 length, id, checksum; IPv6 length; TCP sequence, flags; UDP length), checksums
 * complete or, with NET_CAN_CSUM, left open. The headers are copied once and the copy is used.
 * segment_begin() returns -EINVAL when the headers are not what gso says, when they are longer than
 * SEGMENT_HEADER_MAX, or for more than SEGMENTS_MAX segments (a hostile gso_size).
 *
 * segment_next() fills @out as a packet whose first piece is the segmenter's private header and
 * whose others point into @packet's pieces; false when there is no more. Its head[] holds the first
 * bytes of that header, up to PACKET_HEAD_BYTES. @out->pieces must have room for
 * SEGMENT_PIECES_MAX: the header, and all of a packet whose head has payload in it. @out is valid
 * until the next call.
 */
#define SEGMENT_HEADER_MAX 256
#define SEGMENTS_MAX	   2048
#define SEGMENT_PIECES_MAX (1 + PACKET_PIECES_MAX + 1)

struct segmenter {
	const struct packet *packet;
	unsigned can;
	uint32_t at; /* of the payload, in the packet */
	uint32_t hdr_len, index;
	uint16_t piece;	   /* that holds byte @at */
	uint32_t piece_at; /* bytes of it that are used up */
	uint16_t l3, l4;
	bool ipv4, tcp, done;
	uint16_t ip_id;
	uint32_t tcp_seq;
	uint64_t ip_sum; /* of the IPv4 header without length, id and checksum */
	uint64_t l4_sum; /* of the pseudo-header without length */
	uint8_t header[SEGMENT_HEADER_MAX];
	uint8_t out_header[SEGMENT_HEADER_MAX];
};
int segment_begin(struct segmenter *seg, const struct packet *packet, unsigned can);
bool segment_next(struct segmenter *seg, struct packet *out);

#endif
