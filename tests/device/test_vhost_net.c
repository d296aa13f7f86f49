/* SPDX-License-Identifier: BSD-2-Clause */
/* Two guests talk over virtio-net: every ring kind, offloads, merged buffers, hostile headers. */
#include "base/util.h"
#include "net/offload.h"
#include "tests/device/vhost_harness.h"

#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#define F(name)	 (1ull << VIRTIO_NET_F_##name)
#define PACKED	 (1ull << VIRTIO_F_RING_PACKED)
#define EVENT	 (1ull << VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define IN_ORDER (1ull << VIRTIO_F_IN_ORDER)

static struct guest a, b;
static uint8_t frame[70000], got[70000];

static void make_frame(uint32_t len, unsigned from, uint8_t seed)
{
	static const uint8_t macs[2][6] = { { 2, 0, 0, 0, 0, 1 }, { 2, 0, 0, 0, 0, 2 } };

	for (uint32_t i = 0; i < len; i++)
		frame[i] = (uint8_t)(i * 7 + seed);
	memcpy(frame, macs[!from], 6);
	memcpy(frame + 6, macs[from], 6);
	frame[12] = 0x88;
	frame[13] = 0xb5;
}

static void cross(uint32_t len, uint32_t piece, uint8_t seed)
{
	struct virtio_net_hdr_mrg_rxbuf hdr;

	make_frame(len, 0, seed);
	guest_send(&a, NULL, frame, len, piece);
	assert_int_equal(guest_receive(&b, &hdr, got, sizeof(got)), len);
	assert_memory_equal(frame, got, len);
	assert_int_equal(hdr.hdr.flags, 0);
	assert_int_equal(hdr.hdr.gso_type, 0);
}

static void every_ring(void **state)
{
	static const uint64_t kinds[] = { 0, EVENT, INDIRECT, INDIRECT | EVENT | IN_ORDER };

	for (unsigned k = 0; k < 2 * ARRAY_SIZE(kinds); k++) {
		uint64_t features = V1 | kinds[k / 2] | (k % 2 ? PACKED : 0);

		guest_start(&a, 0, features, 64, BUF_BYTES, 32);
		guest_start(&b, 1, features, 64, BUF_BYTES, 32);
		for (unsigned i = 0; i < 200; i++) {
			cross(14 + i * 7 % 1500, i % 3 ? 4000 : 60 + i % 500, (uint8_t)i);
			if (i % 50 == 0)
				usleep(1000); /* asleep in between: kicks */
		}
		/* header apart, and byte by byte */
		cross(14, 1, 9);
		cross(200, 12, 1);
		cross(200, 11, 2);
		guest_stop(&a);
		guest_stop(&b);
	}
}

static void merges_buffers(void **state)
{
	uint64_t features = V1 | F(MRG_RXBUF) | INDIRECT;

	guest_start(&a, 0, features, 256, 600, 200);
	guest_start(&b, 1, features, 256, 600, 200);
	for (uint32_t len = 500; len < 12000; len += 577)
		cross(len, 3000, (uint8_t)len);
	guest_stop(&a);
	guest_stop(&b);
	/* not enough buffers: dropped, and the next one comes through */
	guest_start(&a, 0, features, 256, 600, 3);
	guest_start(&b, 1, features, 256, 600, 3);
	make_frame(5000, 0, 1);
	guest_send(&a, NULL, frame, 5000, 3000);
	cross(1700, 3000, 2);
	cross(100, 3000, 3);
	guest_stop(&a);
	guest_stop(&b);
	/* buffers of one byte, and a frame too large for what is not merged */
	guest_start(&a, 0, V1, 64, 1, 32);
	guest_start(&b, 1, V1, 64, 1, 32);
	make_frame(100, 0, 1);
	guest_send(&a, NULL, frame, 100, 3000);
	guest_stop(&a);
	guest_stop(&b);
}

/* A TCP segment of @payload bytes over IPv4, its checksum open. */
static uint32_t make_tcp(uint32_t payload, struct virtio_net_hdr_mrg_rxbuf *hdr, uint16_t mss)
{
	uint32_t len = 54 + payload;
	uint8_t *ip = frame + 14, *tcp = frame + 34;
	uint64_t sum;

	make_frame(len, 0, 3);
	store_be16(frame + 12, 0x0800);
	memset(ip, 0, 40);
	ip[0] = 0x45;
	store_be16(ip + 2, (uint16_t)(len - 14));
	ip[8] = 64;
	ip[9] = 6;
	store_be32(ip + 12, 0x0a000001);
	store_be32(ip + 16, 0x0a000002);
	store_le16(ip + 10, (uint16_t)~csum_fold(csum_add(0, ip, 20, false)));
	store_be16(tcp, 1000);
	store_be16(tcp + 2, 2000);
	tcp[12] = 0x50;
	tcp[13] = 0x18;
	/* the pseudo-header's sum */
	sum = csum_add(0, ip + 12, 8, false);
	sum = csum_add(sum, (uint8_t[]){ 0, 6, (uint8_t)((len - 34) >> 8), (uint8_t)(len - 34) }, 4,
		       false);
	*hdr = (struct virtio_net_hdr_mrg_rxbuf){
		.hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
			 .csum_start = 34,
			 .csum_offset = 16,
			 .gso_type = mss ? VIRTIO_NET_HDR_GSO_TCPV4 : 0,
			 .gso_size = mss,
			 .hdr_len = 1 /* lies */ }
	};
	store_le16(tcp + 16, csum_fold(sum)); /* sums are in the host's order */
	return len;
}

/* Over the pseudo-header and all: 0xffff when right. */
static uint16_t tcp_sum(const uint8_t *f, uint32_t len)
{
	uint32_t tcp_len = len - 34;
	uint64_t sum = csum_add(0, f + 26, 8, false);

	sum = csum_add(sum, (uint8_t[]){ 0, 6, (uint8_t)(tcp_len >> 8), (uint8_t)tcp_len }, 4,
		       false);
	return csum_fold(csum_add(sum, f + 34, tcp_len, false));
}

static void large_segment_crosses_whole(void **state)
{
	uint64_t features = V1 | F(MRG_RXBUF) | F(CSUM) | F(GUEST_CSUM) | F(HOST_TSO4) |
			    F(GUEST_TSO4) | INDIRECT;
	struct virtio_net_hdr_mrg_rxbuf hdr;
	uint32_t len;

	guest_start(&a, 0, features, 256, BUF_BYTES, 200);
	guest_start(&b, 1, features, 256, BUF_BYTES, 200);
	len = make_tcp(65000, &hdr, 1448);
	guest_send(&a, &hdr, frame, len, 4096);
	assert_int_equal(guest_receive(&b, &hdr, got, sizeof(got)), len);
	assert_memory_equal(frame, got, len);
	assert_int_equal(hdr.hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(hdr.hdr.csum_start, 34);
	assert_int_equal(hdr.hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(hdr.hdr.gso_size, 1448);
	assert_int_equal(hdr.hdr.hdr_len, 54);
	guest_stop(&a);
	guest_stop(&b);
}

static void finishes_what_the_receiver_cannot_take(void **state)
{
	uint64_t features = V1 | F(CSUM) | F(HOST_TSO4) | INDIRECT;
	struct virtio_net_hdr_mrg_rxbuf hdr;
	uint32_t len, total = 0, n;

	guest_start(&a, 0, features, 256, BUF_BYTES, 100);
	guest_start(&b, 1, V1, 256, BUF_BYTES, 100);
	len = make_tcp(1000, &hdr, 0);
	guest_send(&a, &hdr, frame, len, 4096);
	assert_int_equal(guest_receive(&b, &hdr, got, sizeof(got)), len);
	assert_int_equal(hdr.hdr.flags, 0);
	assert_int_equal(tcp_sum(got, len), 0xffff);
	len = make_tcp(10000, &hdr, 1400);
	guest_send(&a, &hdr, frame, len, 4096);
	while (total < 10000) {
		n = guest_receive(&b, &hdr, got, sizeof(got));
		assert_in_range(n, 55, 1454);
		assert_int_equal(hdr.hdr.gso_type, 0);
		assert_int_equal(tcp_sum(got, n), 0xffff);
		assert_memory_equal(got + 54, frame + 54 + total, n - 54);
		total += n - 54;
	}
	assert_int_equal(total, 10000);
	guest_stop(&a);
	guest_stop(&b);
}

/* CVE-2024-11614 and its like: offsets beyond the packet, segments of nothing, short chains. */
static void hostile_headers(void **state)
{
	static const struct virtio_net_hdr bad[] = {
		{ .flags = 1, .csum_start = 60000, .csum_offset = 0 },
		{ .flags = 1, .csum_start = 34, .csum_offset = 65535 },
		{ .flags = 1, .csum_start = 999, .csum_offset = 16 },
		{ .flags = 1, .gso_type = 1, .gso_size = 0, .csum_start = 34, .csum_offset = 16 },
		{ .flags = 0, .gso_type = 1, .gso_size = 1400 },
		{ .flags = 1, .gso_type = 2, .gso_size = 1, .csum_start = 34, .csum_offset = 16 },
		{ .flags = 1, .gso_type = 99, .gso_size = 1, .csum_start = 34, .csum_offset = 16 },
		{ .flags = 1, .gso_type = 1, .gso_size = 9, .csum_start = 995, .csum_offset = 0 },
		/* not negotiated */
		{ .flags = 1, .gso_type = 4, .gso_size = 1, .csum_start = 34, .csum_offset = 16 },
		{ .flags = 1,
		  .gso_type = 0x81,
		  .gso_size = 9,
		  .csum_start = 34,
		  .csum_offset = 16 },
	};
	uint64_t features = V1 | F(CSUM) | F(HOST_TSO4) | INDIRECT, value, before;
	struct virtio_net_hdr_mrg_rxbuf hdr;

	guest_start(&a, 0, features, 64, BUF_BYTES, 32);
	guest_start(&b, 1, V1, 64, BUF_BYTES, 32);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		nic_stat(0, "tx_malformed", &before);
		make_tcp(946, &hdr, 0);
		hdr.hdr = bad[i];
		guest_send(&a, &hdr, frame, 1000, 4096);
		nic_stat(0, "tx_malformed", &value);
		assert_int_equal(value, before + 1);
	}
	/* shorter than a header, and than an Ethernet header */
	a.hdr_len = 0;
	nic_stat(0, "tx_malformed", &before);
	guest_send(&a, NULL, frame, 5, 4096);
	guest_send(&a, NULL, frame, 12, 4096);
	guest_send(&a, NULL, frame, 25, 4096);
	nic_stat(0, "tx_malformed", &value);
	assert_int_equal(value, before + 3);
	a.hdr_len = 12;
	/* a segment of one byte each: bounded, and no harm */
	make_tcp(200, &hdr, 1);
	guest_send(&a, &hdr, frame, 254, 4096);
	while (guest_receive_for(&b, 2, NULL, got, sizeof(got)) && got[54] != frame[54 + 31])
		;
	guest_stop(&a);
	guest_stop(&b);
}

/* The front end goes in the middle of traffic, again and again; the other side does not mind. */
static void comes_and_goes(void **state)
{
	unsigned fds = 0;

	guest_start(&b, 1, V1 | EVENT, 64, BUF_BYTES, 32);
	for (unsigned i = 0; i < 30; i++) {
		uint32_t base;

		guest_start(&a, 0, V1 | EVENT | (i & 1 ? PACKED : 0), 64, BUF_BYTES, 32);
		cross(100, 4096, (uint8_t)i);
		make_frame(64, 1, 0);
		guest_send(&b, NULL, frame, 64, 4096);
		assert_int_equal(guest_receive(&a, NULL, got, sizeof(got)), 64);
		if (i % 3 == 0) {
			/* stopped and started where it stood */
			assert_int_equal(vhost_ring_stop(&a.c, 1, &base), 0);
			assert_int_equal(vhost_ring_stop(&a.c, 1, &base), 0);
			if (!(i & 1))
				assert_int_equal(base, a.tx.next_avail);
			else
				assert_int_equal(base & 0x7fff, a.tx.next_avail);
			a.tx.desc_addr += USER_BASE - GUEST_BASE;
			a.tx.avail_addr += USER_BASE - GUEST_BASE;
			a.tx.used_addr += USER_BASE - GUEST_BASE;
			assert_int_equal(vhost_ring_start(&a.c, 1, &a.tx, base, a.kick, a.tx_call),
					 0);
			cross(300, 4096, (uint8_t)i);
		}
		guest_stop(&a);
		if (i == 4)
			fds = open_fds();
	}
	wait_open_fds(fds + 1);
	assert_in_range(open_fds(), 1, fds + 1);
	guest_stop(&b);
}

/* Full, and whoever writes is to wait. */
static void fill(int fd)
{
	uint64_t full = UINT64_MAX - 1, count;

	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	while (write(fd, &full, 8) != 8) /* the server signals meanwhile */
		if (read(fd, &count, 8) != 8)
			continue;
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
}

/* A front end that wants the core to wait for it: calls and errors are full, kicks are empty when
 * the core comes to read them, and the files wait. */
static void client_makes_eventfds_block(void **state)
{
	for (unsigned k = 0; k < 4; k++) {
		uint64_t features = V1 | (k & 1 ? EVENT : 0) | (k & 2 ? PACKED : 0);
		int err = eventfd(0, 0);
		uint64_t count;

		guest_start(&a, 0, features, 64, BUF_BYTES, 32);
		guest_start(&b, 1, features, 64, BUF_BYTES, 32);
		assert_int_equal(vhost_request_u64(&a.c, VHOST_SET_VRING_ERR, 1, err), 0);
		fill(err);
		assert_int_equal(fcntl(a.kick, F_SETFL, 0), 0);
		for (unsigned i = 0; i < 200; i++) {
			fill(a.tx_call);
			fill(b.rx_call);
			cross(100, 4096, (uint8_t)i);
			for (unsigned j = 0; j < 20; j++) {
				assert_int_equal(write(a.kick, &(uint64_t){ 1 }, 8), 8);
				preadv2(a.kick, &(struct iovec){ &count, 8 }, 1, -1, RWF_NOWAIT);
			}
			if (i % 50 == 0)
				usleep(1000); /* asleep in between */
		}
		/* a ring that breaks says so to a full descriptor */
		*(volatile uint16_t *)(a.mem + (a.tx.avail_addr - GUEST_BASE) + 2) += 1000;
		assert_int_equal(write(a.kick, &(uint64_t){ 1 }, 8), 8);
		guest_stop(&a);
		guest_start(&a, 0, features, 64, BUF_BYTES, 32);
		cross(100, 4096, 1);
		guest_stop(&a);
		guest_stop(&b);
		close(err);
	}
}

static void announces(void **state)
{
	uint8_t mac[8] = { 2, 0, 0, 0, 0, 77 };

	guest_start(&a, 0, V1, 64, BUF_BYTES, 32);
	guest_start(&b, 1, V1, 64, BUF_BYTES, 32);
	assert_int_equal(vhost_request(&a.c, VHOST_SEND_RARP, mac, 8, -1), 0);
	assert_int_equal(guest_receive(&b, NULL, got, sizeof(got)), 60);
	assert_memory_equal(got + 6, mac, 6);
	assert_int_equal(load_be16(got + 12), 0x8035);
	assert_int_equal(vhost_request_u64(&a.c, VHOST_NET_SET_MTU, 9000, -1), 0);
	assert_int_equal(vhost_request_u64(&a.c, VHOST_NET_SET_MTU, 67, -1), -5);
	assert_int_equal(vhost_request_u64(&a.c, VHOST_NET_SET_MTU, 65536, -1), -5);
	guest_stop(&a);
	guest_stop(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_ring),
		cmocka_unit_test(merges_buffers),
		cmocka_unit_test(large_segment_crosses_whole),
		cmocka_unit_test(finishes_what_the_receiver_cannot_take),
		cmocka_unit_test(hostile_headers),
		cmocka_unit_test(comes_and_goes),
		cmocka_unit_test(client_makes_eventfds_block),
		cmocka_unit_test(announces),
	};

	return cmocka_run_group_tests(tests, vhost_harness_start, vhost_harness_stop);
}
