/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which frames the guest gets, and in which queue: VLAN and address filters (8254x manual 13.5 and
 * 14, 82574 datasheet 7.1.1), receive-side scaling (82574 datasheet 7.1.8). Registers are read as
 * they stand: a filter being changed may let pass a frame by the old or the new state.
 */
#include "net/offload.h"
#include "nic/e1000/e1000.h"

#define MRQC_ENABLE(x) ((x)&3)
#define MRQC_RSS       1
#define MRQC_TCP4      BIT(16)
#define MRQC_IP4       BIT(17)
#define MRQC_TCP6EX    BIT(18)
#define MRQC_IP6EX     BIT(19)
#define MRQC_IP6       BIT(20)
#define MRQC_TCP6      BIT(21)

enum { RSS_TCP4 = 1, RSS_IP4 = 2, RSS_TCP6 = 3, RSS_IP6EX = 4, RSS_IP6 = 5 };

static bool exact_match(const struct e1000 *dev, const uint8_t *dst)
{
	uint32_t low = load_le32(dst), high = load_le16(dst + 4);

	for (unsigned i = 0; i < N_RAR; i++) {
		uint32_t rah = e1000_get(dev, RAH(i));

		if (rah & RAH_AV && (rah & 0xffff) == high && e1000_get(dev, RAL(i)) == low)
			return true;
	}
	return false;
}

static bool hash_match(const struct e1000 *dev, uint32_t rctl, const uint8_t *dst)
{
	static const uint8_t shift[4] = { 4, 3, 2, 0 };
	unsigned hash = (dst[5] << 8 | dst[4]) >> shift[RCTL_MO(rctl)] & 0xfff;

	return e1000_get(dev, MTA + 4 * (hash >> 5)) >> (hash & 31) & 1;
}

enum e1000_verdict e1000_filter(const struct e1000 *dev, uint32_t rctl, const uint8_t *header,
				bool tagged, uint16_t tci)
{
	static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	const uint8_t *dst = header;

	if (tagged && rctl & RCTL_VFE) {
		unsigned vid = tci & 0xfff;

		if (!(e1000_get(dev, VFTA + 4 * (vid >> 5)) >> (vid & 31) & 1))
			return E1000_DROP_VLAN;
		if (rctl & RCTL_CFIEN && !!(tci & 0x1000) != !!(rctl & RCTL_CFI))
			return E1000_DROP_VLAN;
	}
	if (dst[0] & 1) {
		if (rctl & RCTL_MPE)
			return E1000_ACCEPT;
		if (rctl & RCTL_BAM && !memcmp(dst, broadcast, 6))
			return E1000_ACCEPT;
	} else if (rctl & RCTL_UPE) {
		return E1000_ACCEPT;
	}
	if (exact_match(dev, dst) || hash_match(dev, rctl, dst))
		return E1000_ACCEPT;
	return E1000_DROP_ADDRESS;
}

/* Toeplitz (Microsoft's RSS specification): for each bit of the input that is set, the 32 bits of
 * the key from that position on. */
static uint32_t toeplitz(const struct e1000 *dev, const uint8_t *input, unsigned len)
{
	uint8_t key[40];
	uint32_t hash = 0, window;

	for (unsigned i = 0; i < 10; i++)
		store_le32(key + 4 * i, e1000_get(dev, RSSRK + 4 * i));
	window = load_be32(key);
	for (unsigned i = 0; i < len; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			if (input[i] & 0x80 >> bit)
				hash ^= window;
			window = window << 1 | (key[i + 4] >> (7 - bit) & 1);
		}
	}
	return hash;
}

void e1000_rss(const struct e1000 *dev, const uint8_t *header, const struct headers *h,
	       struct e1000_rss *rss)
{
	uint32_t mrqc = e1000_get(dev, MRQC);
	uint8_t input[36];
	unsigned len = 0;

	*rss = (struct e1000_rss){ 0 };
	if (MRQC_ENABLE(mrqc) != MRQC_RSS)
		return;
	if (h->ipv4) {
		memcpy(input, header + h->l3 + 12, 8);
		len = 8;
		if (h->tcp && h->payload && mrqc & MRQC_TCP4)
			rss->type = RSS_TCP4;
		else if (mrqc & MRQC_IP4)
			rss->type = RSS_IP4;
	} else if (h->ipv6) {
		memcpy(input, header + h->l3 + 8, 32);
		len = 32;
		if (h->tcp && h->payload && mrqc & (h->ipv6_ext ? MRQC_TCP6EX : MRQC_TCP6))
			rss->type = RSS_TCP6;
		else if (h->ipv6_ext && mrqc & MRQC_IP6EX)
			rss->type = RSS_IP6EX;
		else if (mrqc & MRQC_IP6)
			rss->type = RSS_IP6;
	}
	if (!rss->type)
		return;
	if (rss->type == RSS_TCP4 || rss->type == RSS_TCP6) {
		memcpy(input + len, header + h->l4, 4);
		len += 4;
	}
	rss->hash = toeplitz(dev, input, len);
	rss->queue = e1000_get(dev, RETA + (rss->hash & 0x7c)) >> (8 * (rss->hash & 3) + 7) & 1;
}
