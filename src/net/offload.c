/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checksums and header parsing; segmentation is in segment.c.
 *
 * A sum in ones' complement does not depend on the width of the words that are added, nor on their
 * byte order (RFC 1071, section 2): bytes are added as native 64-bit words with the carry put back,
 * and what started at an odd position is rotated by one byte.
 */
#include "net/offload.h"

#include "base/util.h"

#include <immintrin.h>

#define ETH_LEN	       14u
#define TAG_LEN	       4u
#define TAGS_MAX       4
#define EXTENSIONS_MAX 8

static inline uint64_t add_carry(uint64_t a, uint64_t b)
{
	uint64_t sum = a + b;

	return sum + (sum < b);
}

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Blocks of 64 bytes, each with one chain of carries. */
static uint64_t sum_blocks(uint64_t sum, const uint8_t *p, size_t blocks)
{
	for (; blocks; blocks--, p += 64) {
		unsigned long long s = sum;
		unsigned char c;

		c = _addcarry_u64(0, s, load64(p), &s);
		c = _addcarry_u64(c, s, load64(p + 8), &s);
		c = _addcarry_u64(c, s, load64(p + 16), &s);
		c = _addcarry_u64(c, s, load64(p + 24), &s);
		c = _addcarry_u64(c, s, load64(p + 32), &s);
		c = _addcarry_u64(c, s, load64(p + 40), &s);
		c = _addcarry_u64(c, s, load64(p + 48), &s);
		c = _addcarry_u64(c, s, load64(p + 56), &s);
		sum = add_carry(s, c);
	}
	return sum;
}

uint64_t csum_add(uint64_t sum, const void *buf, size_t len, bool odd)
{
	const uint8_t *p = buf;
	uint64_t part = 0, last = 0;

	if (len >= 64) {
		part = sum_blocks(0, p, len / 64);
		p += len / 64 * 64;
		len %= 64;
	}
	for (; len >= 8; len -= 8, p += 8)
		part = add_carry(part, load64(p));
	if (len) {
		memcpy(&last, p, len);
		part = add_carry(part, last);
	}
	if (odd)
		part = part << 8 | part >> 56;
	return add_carry(sum, part);
}

uint16_t csum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

uint64_t csum_packet(const struct packet *packet, uint32_t skip, uint32_t len)
{
	uint64_t sum = 0;
	bool odd = false;

	for (unsigned i = 0; i < packet->n_pieces && len; i++) {
		const struct iovec *piece = &packet->pieces[i];
		uint32_t n = (uint32_t)piece->iov_len;

		if (skip >= n) {
			skip -= n;
			continue;
		}
		n = MIN(n - skip, len);
		sum = csum_add(sum, (const uint8_t *)piece->iov_base + skip, n, odd);
		odd ^= n & 1;
		len -= n;
		skip = 0;
	}
	return sum;
}

/* ---- headers ------------------------------------------------------------------------------ */

/* RFC 8200 section 4, RFC 4302: the ones whose length is known. Returns the offset of the upper
 * layer, 0 when it is not reached. */
static size_t ipv6_extensions(const uint8_t *p, size_t at, size_t len, struct headers *h)
{
	for (unsigned i = 0; i < EXTENSIONS_MAX; i++) {
		switch (h->protocol) {
		case 0:	  /* hop-by-hop */
		case 43:  /* routing */
		case 60:  /* destination */
		case 135: /* mobility */
			if (len - at < 8)
				return 0;
			h->protocol = p[at];
			at += 8 + 8u * p[at + 1];
			break;
		case 51: /* authentication */
			if (len - at < 8)
				return 0;
			h->protocol = p[at];
			at += 8 + 4u * p[at + 1];
			break;
		case 44: /* fragment */
			if (len - at < 8)
				return 0;
			h->ipv6_ext = true;
			/* one that is whole (RFC 6946) counts too: nobody offloads it */
			h->fragment = true;
			h->protocol = p[at];
			return 0;
		default: return at;
		}
		h->ipv6_ext = true;
		if (at > len)
			return 0;
	}
	return 0;
}

static void l4_parse(const uint8_t *p, size_t at, size_t len, struct headers *h)
{
	size_t header;

	if (at > len)
		return;
	h->l4 = (uint16_t)at;
	if (h->protocol == 6) {
		h->tcp = true;
		if (len - at < 14)
			return;
		h->tcp_flags = p[at + 13];
		header = (p[at + 12] >> 4) * 4u;
		if (header >= 20 && len - at >= header)
			h->payload = (uint16_t)(at + header);
	} else if (h->protocol == 17) {
		h->udp = true;
		if (len - at >= 8)
			h->payload = (uint16_t)(at + 8);
	}
}

void headers_parse(const void *bytes, size_t len, struct headers *headers)
{
	struct headers h = { 0 };
	const uint8_t *p = bytes;
	size_t at = ETH_LEN, ihl;
	unsigned tags = 0;

	if (len < ETH_LEN)
		goto out;
	len = MIN(len, (size_t)UINT16_MAX);
	h.ethertype = load_be16(p + 12);
	while (h.ethertype == 0x8100 || h.ethertype == 0x88a8) {
		if (len - at < TAG_LEN || tags++ == TAGS_MAX)
			goto out;
		if (!h.tagged)
			h.vlan_tci = load_be16(p + at);
		h.tagged = true;
		h.ethertype = load_be16(p + at + 2);
		at += TAG_LEN;
	}

	if (h.ethertype == 0x0800) {
		if (len - at < 20 || p[at] >> 4 != 4)
			goto out;
		ihl = (p[at] & 15) * 4u;
		if (ihl < 20)
			goto out;
		h.l3 = (uint16_t)at;
		h.ipv4 = true;
		h.protocol = p[at + 9];
		h.fragment = load_be16(p + at + 6) & 0x3fff; /* more, or an offset */
		if (!h.fragment && len - at >= ihl)
			l4_parse(p, at + ihl, len, &h);
	} else if (h.ethertype == 0x86dd) {
		if (len - at < 40 || p[at] >> 4 != 6)
			goto out;
		h.l3 = (uint16_t)at;
		h.ipv6 = true;
		h.protocol = p[at + 6];
		at = ipv6_extensions(p, at + 40, len, &h);
		if (at)
			l4_parse(p, at, len, &h);
	}
out:
	*headers = h;
}

/* ---- finishing a frame ------------------------------------------------------------------- */

void offload_csum_fill(uint8_t *frame, uint32_t len, const struct offload *off)
{
	uint16_t csum;

	if (!(off->flags & OFFLOAD_NEEDS_CSUM))
		return;
	/* the pseudo-header's sum stands in the field and is summed with the rest */
	csum = ~csum_fold(csum_add(0, frame + off->csum_start, len - off->csum_start, false));
	if (!csum)
		csum = 0xffff; /* UDP: 0 says that there is none (RFC 768); TCP: the same value */
	memcpy(frame + off->csum_start + off->csum_offset, &csum, sizeof(csum));
}

uint32_t offload_frame(const struct packet *packet, void *buf, uint32_t size)
{
	uint32_t tag = packet->tagged ? TAG_LEN : 0;
	uint8_t *frame = (uint8_t *)buf + tag;

	if (size < packet->len + tag || packet->len < ETH_LEN)
		return 0;
	packet_copy(packet, 0, frame, packet->len);
	offload_csum_fill(frame, packet->len, &packet->off);
	if (tag) {
		memmove(buf, frame, 12);
		store_be16((uint8_t *)buf + 12, 0x8100);
		store_be16((uint8_t *)buf + 14, packet->vlan_tci);
	}
	return packet->len + tag;
}
