/* SPDX-License-Identifier: BSD-2-Clause */
/* Sums against a plain reference, parsing of cut and hostile headers, segmentation field by
 * field. */
#include "base/util.h"
#include "net/offload.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct packet_batch batch;
static uint8_t frame[PACKET_LEN_MAX + 8];
static struct iovec out_pieces[SEGMENT_PIECES_MAX];

/* RFC 1071 section 4.1, over big-endian words */
static uint16_t ref_sum(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void sums(void **state)
{
	static uint8_t buf[4200];

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)rand();
	for (size_t at = 0; at < 9; at++) {
		for (size_t len = 0; len < 4000; len += len < 300 ? 1 : 97) {
			uint16_t got = csum_fold(csum_add(0, buf + at, len, false));

			assert_int_equal(load_be16(&got), ref_sum(buf + at, len));
		}
	}
	/* all ones: the most carries there can be */
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(csum_fold(csum_add(0, buf, 4096, false)), 0xffff);
	/* in parts that end at odd positions */
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)rand();
	for (size_t cut = 0; cut < 200; cut++) {
		uint64_t sum = csum_add(0, buf, cut, false);
		uint16_t got = csum_fold(csum_add(sum, buf + cut, 1000 - cut, cut & 1));

		assert_int_equal(load_be16(&got), ref_sum(buf, 1000));
	}
}

/* Ethernet, tags, IP and L4 headers, then counting bytes. Returns the headers' length. */
static uint32_t frame_make(bool v4, bool tcp, unsigned tags, uint32_t payload)
{
	uint32_t at = 12, l4 = tcp ? 32 : 8;

	memset(frame, 0, 200);
	memcpy(frame, "\x02\0\0\0\0\1\x02\0\0\0\0\2", 12);
	for (unsigned i = 0; i < tags; i++, at += 4) {
		store_be16(frame + at, 0x8100);
		store_be16(frame + at + 2, (uint16_t)(0x2000 + 5 + i));
	}
	store_be16(frame + at, v4 ? 0x0800 : 0x86dd);
	at += 2;
	if (v4) {
		frame[at] = 0x45;
		store_be16(frame + at + 2, (uint16_t)(20 + l4 + payload));
		store_be16(frame + at + 4, 0xfffe);
		frame[at + 6] = 0x40;
		frame[at + 8] = 64;
		frame[at + 9] = tcp ? 6 : 17;
		memcpy(frame + at + 12, "\x0a\0\0\1\x0a\0\0\2", 8);
		at += 20;
	} else {
		frame[at] = 0x60;
		store_be16(frame + at + 4, (uint16_t)(l4 + payload));
		frame[at + 6] = tcp ? 6 : 17;
		frame[at + 7] = 64;
		frame[at + 8] = 0xfd;
		frame[at + 23] = 1;
		frame[at + 24] = 0xfd;
		frame[at + 39] = 2;
		at += 40;
	}
	store_be16(frame + at, 1000);
	store_be16(frame + at + 2, 2000);
	if (tcp) {
		store_be32(frame + at + 4, 0xfffffff0);
		frame[at + 12] = 8 << 4;
		frame[at + 13] = 0x80 | 0x10 | 0x08 | 0x01; /* CWR ACK PSH FIN */
	} else {
		store_be16(frame + at + 4, (uint16_t)(8 + payload));
	}
	at += l4;
	for (uint32_t i = 0; i < payload; i++)
		frame[at + i] = (uint8_t)(i * 7);
	return at;
}

/* The frame in pieces of @piece bytes (0: one). */
static struct packet *packet_make(uint32_t len, uint32_t piece, const struct offload *off)
{
	struct packet *packet;

	packet_batch_init(&batch);
	packet = packet_begin(&batch);
	for (uint32_t at = 0; at < len; at += piece) {
		if (!piece)
			piece = len;
		assert_int_equal(packet_add(&batch, packet, frame + at, MIN(piece, len - at)), 0);
	}
	if (off)
		packet->off = *off;
	return packet;
}

static struct offload gso_make(uint8_t gso, uint32_t hdr_len, uint16_t size)
{
	bool tcp = gso != OFFLOAD_GSO_UDP_L4;

	return (struct offload){ .flags = OFFLOAD_NEEDS_CSUM,
				 .gso = gso,
				 .hdr_len = (uint16_t)hdr_len,
				 .gso_size = size,
				 .csum_start = (uint16_t)(hdr_len - (tcp ? 32 : 8)),
				 .csum_offset = tcp ? 16 : 6 };
}

/* The L4 checksum of a finished frame is right: with its pseudo-header it sums to all ones. */
static void check_l4(const uint8_t *p, uint32_t len)
{
	static uint8_t buf[70000];
	struct headers h;
	uint32_t l4_len, n = 0;

	headers_parse(p, len, &h);
	assert_true(h.l4);
	l4_len = len - h.l4;
	if (h.ipv4) {
		assert_int_equal(ref_sum(p + h.l3, h.l4 - h.l3), 0xffff);
		assert_int_equal(load_be16(p + h.l3 + 2), len - h.l3);
		memcpy(buf, p + h.l3 + 12, n = 8);
	} else {
		assert_int_equal(load_be16(p + h.l3 + 4), l4_len);
		memcpy(buf, p + h.l3 + 8, n = 32);
	}
	store_be32(buf + n, l4_len);
	store_be32(buf + n + 4, h.protocol);
	memcpy(buf + n + 8, p + h.l4, l4_len);
	assert_int_equal(ref_sum(buf, n + 8 + l4_len), 0xffff);
}

static void segments_of(bool v4, bool tcp, unsigned tags, uint32_t payload, uint32_t piece,
			uint16_t size, unsigned can)
{
	static uint8_t got[PACKET_LEN_MAX];
	uint32_t hdr = frame_make(v4, tcp, tags, payload), at = 0;
	struct offload off = gso_make(!tcp ? OFFLOAD_GSO_UDP_L4
				      : v4 ? OFFLOAD_GSO_TCPV4
					   : OFFLOAD_GSO_TCPV6,
				      hdr, size);
	struct packet *packet = packet_make(hdr + payload, piece, &off);
	struct packet out = { .pieces = out_pieces };
	unsigned n = 0, want = payload ? (payload + size - 1) / size : 1;
	struct segmenter seg;

	assert_int_equal(packet_seal(&batch, packet), 0);
	assert_int_equal(segment_begin(&seg, packet, can), 0);
	while (segment_next(&seg, &out)) {
		uint32_t l4 = off.csum_start, l3 = l4 - (v4 ? 20 : 40);
		uint32_t part = MIN(payload - at, (uint32_t)size);

		assert_int_equal(out.len, hdr + part);
		assert_int_equal(packet_copy(&out, 0, got, sizeof(got)), out.len);
		assert_memory_equal(got + hdr, frame + hdr + at, part);
		assert_memory_equal(got, out.head, out.head_len);
		if (can & NET_CAN_CSUM) {
			assert_int_equal(packet_offload_check(&out.off, out.len), 0);
			offload_csum_fill(got, out.len, &out.off);
		} else {
			assert_int_equal(out.off.flags, OFFLOAD_CSUM_VALID);
		}
		check_l4(got, out.len);
		if (v4)
			assert_int_equal(load_be16(got + l3 + 4), (uint16_t)(0xfffe + n));
		if (tcp) {
			assert_int_equal(load_be32(got + l4 + 4), 0xfffffff0 + at);
			assert_int_equal(got[l4 + 13],
					 0x10 | (n ? 0 : 0x80) | (n == want - 1 ? 0x09 : 0));
		} else {
			assert_int_equal(load_be16(got + l4 + 4), 8 + part);
		}
		at += part;
		n++;
	}
	assert_int_equal(n, want);
	assert_int_equal(at, payload);
}

static void segments(void **state)
{
	static const uint32_t payloads[] = { 0, 1, 999, 1000, 1001, 4321, 60001 };
	static const uint32_t piecings[] = { 0, 4096, 1499, 601 };

	for (unsigned p = 0; p < ARRAY_SIZE(payloads); p++) {
		for (unsigned c = 0; c < ARRAY_SIZE(piecings); c++) {
			for (unsigned kind = 0; kind < 8; kind++) {
				bool v4 = kind & 1, tcp = kind & 2;
				unsigned can = kind & 4 ? NET_CAN_CSUM : 0;

				segments_of(v4, tcp, 0, payloads[p], piecings[c], 1000, can);
				segments_of(v4, tcp, 2, payloads[p], piecings[c], 1459, can);
			}
		}
	}
	segments_of(true, true, 0, 1500, 0, 1, 0); /* gso_size 1, of what may be cut so small */
	segments_of(true, true, 0, 120, 3, 7, 0);  /* header over many pieces */
}

/* As many pieces as there may be, with payload in the first, which is the copied one. */
static void segment_of_all_pieces(void **state)
{
	uint32_t hdr = frame_make(true, false, 0, 500), at = 100;
	struct offload off = gso_make(OFFLOAD_GSO_UDP_L4, hdr, 1000);
	struct packet *packet = packet_make(at, 0, &off);
	struct packet out = { .pieces = out_pieces };
	uint8_t got[1000];
	struct segmenter seg;

	assert_true(hdr < PACKET_HEAD_BYTES);
	while (packet->n_pieces <= PACKET_PIECES_MAX)
		assert_int_equal(packet_add(&batch, packet, frame + at++, 1), 0);
	assert_int_equal(packet_seal(&batch, packet), 0);
	assert_int_equal(segment_begin(&seg, packet, 0), 0);
	assert_true(segment_next(&seg, &out));
	assert_int_equal(out.n_pieces, SEGMENT_PIECES_MAX);
	assert_int_equal(packet_copy(&out, 0, got, sizeof(got)), at);
	assert_memory_equal(got + hdr, frame + hdr, at - hdr);
	assert_false(segment_next(&seg, &out));
}

static void segments_refused(void **state)
{
	uint32_t hdr = frame_make(true, true, 0, 4000);
	const struct offload good = gso_make(OFFLOAD_GSO_TCPV4, hdr, 1000);
	struct segmenter seg;
	struct packet *packet;

#define REFUSED(change)                                                                            \
	do {                                                                                       \
		struct offload off = good;                                                         \
		change;                                                                            \
		packet = packet_make(hdr + 4000, 0, &off);                                         \
		assert_int_equal(packet_seal(&batch, packet), 0);                                  \
		assert_int_equal(segment_begin(&seg, packet, 0), -EINVAL);                         \
	} while (0)
	REFUSED(off.csum_start--);
	REFUSED(off.csum_start -= 14);
	REFUSED(off.csum_offset = 6);
	REFUSED(off.gso = OFFLOAD_GSO_TCPV6);
	REFUSED(off.gso = OFFLOAD_GSO_UDP_L4);
	REFUSED(off.hdr_len -= 1); /* the options are not whole */
	REFUSED(off.gso_size = 1); /* more segments than anybody may ask for */
	REFUSED(frame[14] = 0x55);
	REFUSED(frame[14] = 0x44);
	frame[14] = 0x45;
	REFUSED(frame[20] = 0x20); /* a fragment */
	frame[20] = 0x40;
	REFUSED(frame[46] = 0x40); /* TCP header of 16 bytes */
	REFUSED(frame[46] = 0xf0);
	/* a hint that is too long does no harm */
	frame[46] = 0x80;
	packet = packet_make(hdr + 4000, 0, &good);
	packet->off.hdr_len += 100;
	assert_int_equal(packet_seal(&batch, packet), 0);
	assert_int_equal(segment_begin(&seg, packet, 0), 0);
	assert_int_equal(seg.hdr_len, hdr);
}

static void checks(void **state)
{
	struct offload off = { .flags = OFFLOAD_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16 };

	assert_int_equal(packet_offload_check(&off, 52), 0);
	assert_int_equal(packet_offload_check(&off, 51), -EINVAL);
	off.csum_start = 13;
	assert_int_equal(packet_offload_check(&off, 100), -EINVAL);
	off.csum_start = 14;
	assert_int_equal(packet_offload_check(&off, 100), 0);
	off.csum_offset = 0;
	off.csum_start = UINT16_MAX - 4;
	assert_int_equal(packet_offload_check(&off, PACKET_LEN_MAX), 0);
	off.csum_start++;
	assert_int_equal(packet_offload_check(&off, PACKET_LEN_MAX), -EINVAL);
	off.csum_start = 34;
	off.csum_offset = 0xffff;
	assert_int_equal(packet_offload_check(&off, PACKET_LEN_MAX), -EINVAL);
	off.csum_start = 0xffff;
	assert_int_equal(packet_offload_check(&off, PACKET_LEN_MAX), -EINVAL);
	off = (struct offload){ .flags = OFFLOAD_NEEDS_CSUM,
				.gso = OFFLOAD_GSO_TCPV4,
				.hdr_len = 54,
				.gso_size = 1,
				.csum_start = 34,
				.csum_offset = 16 };
	assert_int_equal(packet_offload_check(&off, 54), 0);
	assert_int_equal(packet_offload_check(&off, 53), -EINVAL);
	off.hdr_len = 51;
	assert_int_equal(packet_offload_check(&off, 1000), -EINVAL);
	off.hdr_len = 54;
	off.gso_size = 0;
	assert_int_equal(packet_offload_check(&off, 1000), -EINVAL);
	off.gso_size = 1;
	off.flags = 0;
	assert_int_equal(packet_offload_check(&off, 1000), -EINVAL);
	off.flags = OFFLOAD_NEEDS_CSUM;
	for (unsigned gso = 0; gso < 256; gso++) {
		off.gso = (uint8_t)gso;
		assert_int_equal(packet_offload_check(&off, 1000),
				 gso == 0 || gso == 1 || gso == 4 || gso == 5 ? 0 : -EINVAL);
	}
}

static void fills(void **state)
{
	for (unsigned kind = 0; kind < 4; kind++) {
		bool v4 = kind & 1, tcp = kind & 2;
		uint32_t hdr = frame_make(v4, tcp, 0, 301), len = hdr + 301;
		struct offload off = gso_make(tcp ? 1 : 5, hdr, 0);
		uint8_t ph[40];
		uint32_t n = v4 ? 8 : 32, l3 = off.csum_start - (v4 ? 20 : 40);
		uint16_t sum;

		memcpy(ph, frame + l3 + (v4 ? 12 : 8), n);
		store_be32(ph + n, len - off.csum_start);
		store_be32(ph + n + 4, tcp ? 6 : 17);
		sum = ref_sum(ph, n + 8);
		store_be16(frame + off.csum_start + off.csum_offset, sum);
		if (v4) {
			sum = (uint16_t)~ref_sum(frame + l3, 20);
			store_be16(frame + l3 + 10, sum);
		}
		offload_csum_fill(frame, len, &off);
		check_l4(frame, len);
	}
	/* a sum of zero is written as all ones; the field is the last word of the frame */
	memset(frame, 0, 64);
	memset(frame + 34, 0xff, 4);
	offload_csum_fill(frame, 42,
			  &(struct offload){ .flags = OFFLOAD_NEEDS_CSUM,
					     .csum_start = 34,
					     .csum_offset = 6 });
	assert_int_equal(load_be16(frame + 40), 0xffff);
}

static void whole_frames(void **state)
{
	uint8_t out[200];
	struct packet *packet;
	uint32_t hdr = frame_make(true, false, 0, 40);

	packet = packet_make(hdr + 40, 11, NULL);
	packet->tagged = true;
	packet->vlan_tci = 0x6123;
	assert_int_equal(packet_seal(&batch, packet), 0);
	assert_int_equal(offload_frame(packet, out, hdr + 43), 0);
	assert_int_equal(offload_frame(packet, out, hdr + 44), hdr + 44);
	assert_memory_equal(out, frame, 12);
	assert_int_equal(load_be32(out + 12), 0x81006123);
	assert_memory_equal(out + 16, frame + 12, hdr + 28);
}

static void parses(void **state)
{
	struct headers h;
	uint32_t hdr;

	hdr = frame_make(true, true, 1, 10);
	headers_parse(frame, hdr, &h);
	assert_true(h.ipv4 && h.tcp && h.tagged && !h.fragment && !h.ipv6 && !h.udp);
	assert_int_equal(h.l3, 18);
	assert_int_equal(h.l4, 38);
	assert_int_equal(h.payload, hdr);
	assert_int_equal(h.vlan_tci, 0x2005);
	assert_int_equal(h.tcp_flags, 0x99);
	/* cut anywhere: nothing that is set lies beyond the end (the bytes live in an exact
	 * allocation, so that a sanitizer sees a read past it) */
	for (unsigned kind = 0; kind < 8; kind++) {
		hdr = frame_make(kind & 1, kind & 2, kind & 4 ? 1 : 0, 10);
		for (uint32_t len = 0; len <= hdr; len++) {
			uint8_t *cut = malloc(len + !len);

			memcpy(cut, frame, len);
			headers_parse(cut, len, &h);
			assert_true(h.l3 <= len && h.l4 <= len && h.payload <= len);
			assert_int_equal(!!h.payload, len == hdr);
			free(cut);
		}
	}
}

static void parses_extensions(void **state)
{
	struct headers h;

	/* hop-by-hop, routing, destination of 16 bytes, AH, then UDP */
	frame_make(false, false, 0, 100);
	frame[20] = 0;
	memset(frame + 54, 0, 100);
	frame[54] = 43;
	frame[62] = 60;
	frame[70] = 51;
	frame[71] = 1;
	frame[86] = 17;
	frame[87] = 1;
	headers_parse(frame, 150, &h);
	assert_true(h.ipv6 && h.ipv6_ext && h.udp);
	assert_int_equal(h.protocol, 17);
	assert_int_equal(h.l4, 98);
	assert_int_equal(h.payload, 106);
	/* headers that follow each other without an end */
	memset(frame + 54, 0, 3000);
	frame[20] = 0;
	headers_parse(frame, 3000, &h);
	assert_true(h.ipv6 && h.ipv6_ext && !h.l4);
	/* one that says it is longer than the frame */
	frame[54] = 17;
	frame[55] = 255;
	headers_parse(frame, 2000, &h);
	assert_int_equal(h.l4, 0);
	/* a fragment */
	frame[20] = 44;
	headers_parse(frame, 150, &h);
	assert_true(h.fragment && !h.l4 && !h.udp);
	frame_make(true, false, 0, 10);
	frame[20] = 0x20;
	headers_parse(frame, 100, &h);
	assert_true(h.ipv4 && h.fragment && !h.l4 && !h.udp);
	/* tags without an end */
	for (unsigned i = 12; i < 112; i += 4)
		store_be32(frame + i, 0x81000001);
	headers_parse(frame, 112, &h);
	assert_true(h.tagged && !h.l3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums),
		cmocka_unit_test(parses),
		cmocka_unit_test(checks),
		cmocka_unit_test(parses_extensions),
		cmocka_unit_test(fills),
		cmocka_unit_test(whole_frames),
		cmocka_unit_test(segments),
		cmocka_unit_test(segments_refused),
		cmocka_unit_test(segment_of_all_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
