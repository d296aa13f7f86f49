/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each offload in both directions, from a table: what the receiver negotiated crosses as it was
 * sent, and what it did not is finished on the way.
 */
#include "base/rcu.h"
#include "base/util.h"
#include "net/offload.h"
#include "tests/device/vhost_harness.h"

#include <linux/virtio_net.h>

#define F(name)	   (1ull << VIRTIO_NET_F_##name)
#define F_USO	   (3ull << 54) /* GUEST_USO4 and GUEST_USO6 */
#define F_HOST_USO (1ull << 56)
#define PACKED	   (1ull << VIRTIO_F_RING_PACKED)
#define INDIRECT   (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define ECN	   VIRTIO_NET_HDR_GSO_ECN
#define GSO_UDP_L4 5
#define PAYLOAD	   20000u
#define VID	   7
#define FRAMES	   0xe00000u /* in the guest's memory: behind what the harness uses */

static const struct offload_case {
	const char *name;
	bool v6, udp;
	uint8_t gso;
	uint64_t host;	/* what the sender needs */
	uint64_t guest; /* what the receiver needs to get it whole */
} cases[] = {
	{ "checksum, TCP over IPv4", false, false, 0, F(CSUM), F(GUEST_CSUM) },
	{ "checksum, UDP over IPv4", false, true, 0, F(CSUM), F(GUEST_CSUM) },
	{ "checksum, TCP over IPv6", true, false, 0, F(CSUM), F(GUEST_CSUM) },
	{ "checksum, UDP over IPv6", true, true, 0, F(CSUM), F(GUEST_CSUM) },
	{ "TSO4", false, false, VIRTIO_NET_HDR_GSO_TCPV4, F(HOST_TSO4), F(GUEST_TSO4) },
	{ "TSO6", true, false, VIRTIO_NET_HDR_GSO_TCPV6, F(HOST_TSO6), F(GUEST_TSO6) },
	{ "TSO4 with ECN", false, false, VIRTIO_NET_HDR_GSO_TCPV4 | ECN, F(HOST_TSO4) | F(HOST_ECN),
	  F(GUEST_TSO4) | F(GUEST_ECN) },
	{ "TSO6 with ECN", true, false, VIRTIO_NET_HDR_GSO_TCPV6 | ECN, F(HOST_TSO6) | F(HOST_ECN),
	  F(GUEST_TSO6) | F(GUEST_ECN) },
	{ "USO over IPv4", false, true, GSO_UDP_L4, F_HOST_USO, F_USO },
	{ "USO over IPv6", true, true, GSO_UDP_L4, F_HOST_USO, F_USO },
};

static struct guest a, b;
static uint8_t frame[70000], got[70000];
static bool tagging; /* frames reach the second guest with a tag */

static unsigned l4_at(const struct offload_case *c)
{
	return c->v6 ? 54 : 34;
}

static unsigned l4_len(const struct offload_case *c)
{
	return c->udp ? 8 : 20;
}

static uint64_t pseudo_sum(const struct offload_case *c, const uint8_t *f, uint32_t len)
{
	uint32_t l4 = len - l4_at(c);
	uint8_t tail[8] = {
		(uint8_t)(l4 >> 24), (uint8_t)(l4 >> 16), (uint8_t)(l4 >> 8), (uint8_t)l4, 0, 0, 0,
		c->udp ? 17 : 6
	};

	return csum_add(csum_add(0, f + (c->v6 ? 22 : 26), c->v6 ? 32 : 8, false), tail, 8, false);
}

/* 0xffff when it is right. */
static uint16_t l4_sum(const struct offload_case *c, const uint8_t *f, uint32_t len)
{
	return csum_fold(csum_add(pseudo_sum(c, f, len), f + l4_at(c), len - l4_at(c), false));
}

static uint32_t make(const struct offload_case *c, uint32_t payload,
		     struct virtio_net_hdr_mrg_rxbuf *hdr, uint16_t mss)
{
	static const uint8_t macs[12] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1 };
	uint32_t at = l4_at(c), len = at + l4_len(c) + payload;
	uint8_t *ip = frame + 14, *l4 = frame + at;

	for (uint32_t i = 0; i < len; i++)
		frame[i] = (uint8_t)(i * 7 + i / 256);
	memcpy(frame, macs, sizeof(macs));
	store_be16(frame + 12, c->v6 ? 0x86dd : 0x0800);
	memset(ip, 0, at - 14 + l4_len(c));
	if (c->v6) {
		ip[0] = 0x60;
		store_be16(ip + 4, (uint16_t)(len - at));
		ip[6] = c->udp ? 17 : 6;
		ip[7] = 64;
		memset(ip + 8, 0xfd, 32);
		ip[39] = 9;
	} else {
		ip[0] = 0x45;
		store_be16(ip + 2, (uint16_t)(len - 14));
		ip[8] = 64;
		ip[9] = c->udp ? 17 : 6;
		store_be32(ip + 12, 0x0a000001);
		store_be32(ip + 16, 0x0a000002);
		store_le16(ip + 10, (uint16_t)~csum_fold(csum_add(0, ip, 20, false)));
	}
	store_be16(l4, 1000);
	store_be16(l4 + 2, 2000);
	if (c->udp) {
		store_be16(l4 + 4, (uint16_t)(len - at));
	} else {
		store_be32(l4 + 4, 0xfffffff0); /* the sequence number wraps */
		l4[12] = 0x50;
		l4[13] = 0x99; /* CWR, ACK, PSH, FIN */
	}
	store_le16(l4 + (c->udp ? 6 : 16), csum_fold(pseudo_sum(c, frame, len)));
	*hdr = (struct virtio_net_hdr_mrg_rxbuf){ .hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
							   .csum_start = (uint16_t)at,
							   .csum_offset = c->udp ? 6 : 16,
							   .gso_type = c->gso,
							   .gso_size = c->gso ? mss : 0 } };
	return len;
}

/* The next frame without the tag, once that was looked at, as if there had been none. */
static uint32_t receive(struct virtio_net_hdr_mrg_rxbuf *hdr)
{
	static const uint8_t tag[4] = { 0x81, 0, 0, VID };
	uint32_t len = guest_receive(&b, hdr, got, sizeof(got));

	if (!tagging)
		return len;
	assert_true(len > 18);
	assert_memory_equal(got + 12, tag, sizeof(tag));
	memmove(got + 12, got + 16, len - 16);
	if (hdr->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		hdr->hdr.csum_start = (uint16_t)(hdr->hdr.csum_start - 4);
	if (hdr->hdr.gso_type)
		hdr->hdr.hdr_len = (uint16_t)(hdr->hdr.hdr_len - 4);
	return len - 4;
}

static void whole(const struct offload_case *c)
{
	struct virtio_net_hdr_mrg_rxbuf sent, hdr;
	uint32_t len = make(c, c->gso ? PAYLOAD : 1000, &sent, 1400);

	guest_send(&a, &sent, frame, len, 4096);
	assert_int_equal(receive(&hdr), len);
	assert_memory_equal(frame, got, len);
	assert_int_equal(hdr.hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(hdr.hdr.csum_start, sent.hdr.csum_start);
	assert_int_equal(hdr.hdr.csum_offset, sent.hdr.csum_offset);
	assert_int_equal(hdr.hdr.gso_type, c->gso);
	assert_int_equal(hdr.hdr.gso_size, sent.hdr.gso_size);
	if (c->gso)
		assert_int_equal(hdr.hdr.hdr_len, l4_at(c) + l4_len(c));
}

/* What a guest does that asked for open checksums. */
static void complete_sum(const struct offload_case *c, const struct virtio_net_hdr *hdr,
			 uint32_t len)
{
	uint8_t *field = got + hdr->csum_start + hdr->csum_offset;
	uint16_t sum;

	assert_int_equal(hdr->csum_start, l4_at(c));
	assert_int_equal(hdr->csum_offset, c->udp ? 6 : 16);
	assert_int_equal(load_le16(field), csum_fold(pseudo_sum(c, got, len)));
	sum = (uint16_t)~csum_fold(csum_add(0, got + l4_at(c), len - l4_at(c), false));
	store_le16(field, sum ? sum : 0xffff);
}

/* Frame number @n, with @done bytes before it, as RFC 9293 and RFC 768 want it. */
static void check_segment(const struct offload_case *c, uint32_t len, unsigned n, uint32_t done,
			  uint32_t total)
{
	uint32_t head = l4_at(c) + l4_len(c), payload = len - head;
	const uint8_t *ip = got + 14, *l4 = got + l4_at(c);
	bool last = done + payload == total;

	assert_memory_equal(got + head, frame + head + done, payload);
	assert_int_equal(l4_sum(c, got, len), 0xffff);
	if (c->v6) {
		assert_int_equal(load_be16(ip + 4), len - 54);
	} else {
		assert_int_equal(load_be16(ip + 2), len - 14);
		assert_int_equal(csum_fold(csum_add(0, ip, 20, false)), 0xffff);
		if (c->gso)
			assert_int_equal(load_be16(ip + 4), n);
	}
	if (c->udp) {
		assert_int_equal(load_be16(l4 + 4), len - l4_at(c));
		return;
	}
	assert_int_equal(load_be32(l4 + 4), (uint32_t)(0xfffffff0 + done));
	/* CWR in the first only where ECN says so (RFC 3168), PSH and FIN in the last */
	assert_int_equal(l4[13] & 0x19, last ? 0x19 : 0x10);
	if (n && c->gso & ECN)
		assert_false(l4[13] & 0x80);
	if (!n)
		assert_true(l4[13] & 0x80);
}

static void finished(const struct offload_case *c, uint64_t receives)
{
	uint32_t total = c->gso ? PAYLOAD : 1000, head = l4_at(c) + l4_len(c), done = 0;
	struct virtio_net_hdr_mrg_rxbuf hdr;

	guest_send(&a, &hdr, frame, make(c, total, &hdr, 1400), 4096);
	for (unsigned n = 0; done < total; n++) {
		uint32_t len = receive(&hdr);

		assert_in_range(len, head + 1, c->gso ? head + 1400 : head + total);
		assert_int_equal(hdr.hdr.gso_type, 0);
		/* flags only for who asked for them */
		if (!(receives & F(GUEST_CSUM)))
			assert_int_equal(hdr.hdr.flags, 0);
		if (hdr.hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
			complete_sum(c, &hdr.hdr, len);
		check_segment(c, len, n, done, total);
		done += len - head;
	}
	assert_int_equal(done, total);
}

static void start(uint64_t sends, uint64_t receives, uint64_t ring)
{
	guest_start(&a, 0, V1 | INDIRECT | F(CSUM) | ring | sends, 256, BUF_BYTES, 100);
	guest_start(&b, 1, V1 | INDIRECT | ring | receives, 256, BUF_BYTES, 100);
}

static void stop(void)
{
	guest_stop(&a);
	guest_stop(&b);
}

static void crosses_whole(void **state)
{
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		const struct offload_case *c = &cases[i / 2];

		start(c->host, F(MRG_RXBUF) | F(GUEST_CSUM) | c->guest, i % 2 ? PACKED : 0);
		whole(c);
		whole(c);
		stop();
	}
}

static void is_finished(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct offload_case *c = &cases[i];
		const uint64_t others = (F(GUEST_TSO4) | F(GUEST_TSO6) | F(GUEST_ECN) | F_USO);
		uint64_t receives[] = {
			0,
			F(MRG_RXBUF),
			/* all but what it would need */
			F(MRG_RXBUF) | F(GUEST_CSUM) | (others & ~c->guest),
		};

		for (unsigned k = 0; k < (c->gso ? 3 : 2); k++) {
			start(c->host, receives[k], k ? PACKED : 0);
			finished(c, receives[k]);
			finished(c, receives[k]);
			stop();
		}
	}
}

/* ECN apart: segments that need it do not cross to who has the rest. */
static void ecn_is_its_own(void **state)
{
	uint64_t receives = F(MRG_RXBUF) | F(GUEST_CSUM) | F(GUEST_TSO4);

	start(F(HOST_TSO4) | F(HOST_ECN), receives, 0);
	whole(&cases[4]);
	finished(&cases[6], receives);
	stop();
}

static void set_vlans(void *arg)
{
	const struct switch_port_config access = { .pvid = tagging ? VID : 0 };
	const struct switch_port_config other = { .trunk = tagging };

	net_switch_vlans_set(vhost_switch, tagging);
	assert_int_equal(net_switch_port_set(&vhost_nic[0]->port, &access), 0);
	assert_int_equal(net_switch_port_set(&vhost_nic[1]->port, &other), 0);
}

/* A tag that is beside the frame on the way is put into it for the guest, whole or cut. */
static void tags_are_put_in(void **state)
{
	tagging = true;
	on_loop(set_vlans, NULL);
	crosses_whole(NULL);
	is_finished(NULL);
	tagging = false;
	on_loop(set_vlans, NULL);
	ecn_is_its_own(NULL);
}

static struct io_queue *taken_off; /* the core: polled by the test */

static void take_off(void *arg)
{
	taken_off = arg;
	io_queue_remove(taken_off);
}

static void give_back(void *arg)
{
	struct io_core *core = arg;

	assert_int_equal(io_queue_add(core, taken_off), 0);
}

/* @n copies of @len bytes at the same place; polled until all are taken. */
static void polls_of(const struct virtio_net_hdr_mrg_rxbuf *hdr, uint32_t len, unsigned n,
		     unsigned *polls, uint64_t *bytes)
{
	static uint8_t scratch[IO_SCRATCH_BYTES] __attribute__((aligned(CACHE_LINE)));
	struct vdrv_buf buf = { GUEST_BASE + FRAMES, 12 + len, false };
	struct io_turn turn;
	uint32_t used;

	memcpy(a.mem + FRAMES, hdr, 12);
	memcpy(a.mem + FRAMES + 12, frame, len);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(vdrv_add(&a.tx, &buf, 1, &a, false), 0);
	vdrv_publish(&a.tx);
	io_turn_init(&turn, scratch);
	rcu_reader_register();
	*polls = 0;
	*bytes = 0;
	for (unsigned got_back = 0; got_back < n; ++*polls) {
		struct io_work work = { 0 };

		turn.budget_packets = 64;
		taken_off->ops->poll(taken_off, &turn, &work);
		io_turn_end(&turn);
		assert_true(work.packets > 0);
		assert_int_equal(work.more, got_back + work.packets < n);
		*bytes += work.bytes;
		for (unsigned i = 0; i < work.packets; i++, got_back++)
			assert_non_null(vdrv_get(&a.tx, &used));
	}
	rcu_reader_unregister();
}

/* A poll's budget counts the headers of all segments that a packet may be cut into: the more the
 * guest has made of it, the fewer packets has a poll. */
static void segments_are_in_the_budget(void **state)
{
	static const struct {
		uint32_t payload;
		uint16_t mss;
		unsigned polls; /* of 32 packets, in 256 KiB */
	} sizes[] = {
		{ 4000, 4000, 1 },  /* whole: 130 kB */
		{ 60000, 1400, 7 }, /* 43 segments: 62.3 kB */
		{ 4096, 2, 11 },    /* 2048 segments: 114.7 kB */
		{ 60000, 30, 16 },  /* 2000 segments: 168 kB */
	};
	uint64_t features = F(HOST_TSO4) | F(HOST_TSO6);
	struct io_core *core;

	start(features, 0, 0);
	core = vhost_nic[0]->queues[0]->core;
	on_loop(take_off, vhost_nic[0]->queues[0]);
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(sizes); i++) {
		const struct offload_case *c = &cases[i % 2 ? 5 : 4];
		uint32_t payload = sizes[i / 2].payload, mss = sizes[i / 2].mss, header, len;
		struct virtio_net_hdr_mrg_rxbuf hdr;
		uint64_t bytes;
		unsigned polls;

		len = make(c, payload, &hdr, (uint16_t)mss);
		header = len - payload;
		polls_of(&hdr, len, 32, &polls, &bytes);
		assert_int_equal(bytes, 32ull * (payload + (payload + mss - 1) / mss * header));
		if (i % 2 == 0)
			assert_int_equal(polls, sizes[i / 2].polls);
	}
	on_loop(give_back, core);
	stop();
}

/* What the sender did not negotiate it may not use. */
static void refuses_what_was_not_negotiated(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct offload_case *c = &cases[i];
		struct virtio_net_hdr_mrg_rxbuf hdr;
		uint64_t before, now;

		guest_start(&a, 0, V1 | INDIRECT | (c->gso ? F(CSUM) : 0), 64, BUF_BYTES, 32);
		nic_stat(0, "tx_malformed", &before);
		guest_send(&a, &hdr, frame, make(c, 3000, &hdr, 1400), 4096);
		nic_stat(0, "tx_malformed", &now);
		assert_int_equal(now, before + 1);
		guest_stop(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crosses_whole),
		cmocka_unit_test(is_finished),
		cmocka_unit_test(ecn_is_its_own),
		cmocka_unit_test(tags_are_put_in),
		cmocka_unit_test(segments_are_in_the_budget),
		cmocka_unit_test(refuses_what_was_not_negotiated),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
