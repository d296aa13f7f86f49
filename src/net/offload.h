/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checksums and segmentation in software, for receivers that cannot take what the sender left open.
 * Stateless; any thread. Sums are 16-bit ones' complement (RFC 1071).
 */
#ifndef EXITLESS_NET_OFFLOAD_H
#define EXITLESS_NET_OFFLOAD_H

#include "net/packet.h"

#include <stddef.h>
#include <stdint.h>

/* Unfolded sum over @len bytes, continuing @sum; @odd: the byte position is odd. */
uint64_t csum_add(uint64_t sum, const void *buf, size_t len, bool odd);
uint16_t csum_fold(uint64_t sum); /* folded, not complemented */
/* Over bytes [@skip, @skip + @len) of a packet; unfolded. */
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

/* L2/L3/L4 of a frame, from its first bytes. Offsets from the frame's start; 0 where not there. */
struct headers {
	uint16_t ethertype;	  /* after tags */
	uint16_t l3, l4, payload; /* offsets; payload only when the L4 header is whole */
	uint16_t vlan_tci;	  /* of the first tag in the bytes */
	bool tagged;
	uint8_t protocol; /* 6, 17, ... ; of the last IPv6 extension header parsed */
	bool ipv4, ipv6, fragment, tcp, udp;
	bool ipv6_ext;
	uint8_t tcp_flags;
};

/* Parses up to @len bytes; stops at what it does not know or has not whole. Never reads past. */
void headers_parse(const void *bytes, size_t len, struct headers *headers);

/*
 * Writes the checksum that NEEDS_CSUM asks for into a copy: given the @len bytes of the frame at
 * @frame (contiguous, private or the receiver's). @off has been checked against @len.
 */
void offload_csum_fill(uint8_t *frame, uint32_t len, const struct offload *off);

/*
 * Segmentation. A segmenter walks a packet with gso and makes one frame after the other, headers
 * adjusted (IPv4 length, id, checksum; IPv6 length; TCP sequence, flags; UDP length), checksums
 * complete or, with NET_CAN_CSUM, left open. segment_begin() returns -EINVAL when the headers are
 * not what gso says. segment_next() fills @out as a packet whose first piece is the segmenter's
 * private header and whose others point into @packet's pieces; false when there is no more.
 * @out->pieces must have room for PACKET_PIECES_MAX + 1.
 */
struct segmenter {
	const struct packet *packet;
	unsigned can;
	uint32_t at, hdr_len, index;
	uint16_t l3, l4;
	bool ipv4, tcp;
	uint8_t header[256];
	uint8_t out_header[256];
};
int segment_begin(struct segmenter *seg, const struct packet *packet, unsigned can);
bool segment_next(struct segmenter *seg, struct packet *out);

#endif
