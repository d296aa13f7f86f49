/* SPDX-License-Identifier: BSD-2-Clause */
/* What is captured is read with libpcap, what is replayed was written by the capture. */
#include "guest.h"

#include "port/replay.h"

#include <errno.h>
#include <pcap/pcap.h>

static struct world w;
static char path[64];

static int setup(void **state)
{
	snprintf(path, sizeof(path), "/tmp/test_pcap.%d.pcap", getpid());
	return 0;
}

static int teardown(void **state)
{
	unlink(path);
	return 0;
}

/* Ethernet, IPv4, TCP with an open checksum, counting bytes. */
static uint32_t tcp_make(uint8_t *p, uint32_t payload, struct offload *off, uint16_t gso_size)
{
	memset(p, 0, 54);
	memcpy(p, "\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0\x45", 15);
	store_be16(p + 16, (uint16_t)(40 + payload));
	p[22] = 64;
	p[23] = 6;
	p[46] = 0x50;
	for (uint32_t i = 0; i < payload; i++)
		p[54 + i] = (uint8_t)i;
	*off = (struct offload){ .flags = OFFLOAD_NEEDS_CSUM,
				 .gso = gso_size ? OFFLOAD_GSO_TCPV4 : 0,
				 .hdr_len = 54,
				 .gso_size = gso_size,
				 .csum_start = 34,
				 .csum_offset = 16 };
	return 54 + payload;
}

static void capture(unsigned frames)
{
	struct host_port_config config = { .name = "cap", .kind = "pcap", .capture_file = path };
	static uint8_t p[PACKET_BATCH][300], large[5000];
	struct offload off;
	struct packet *packet;

	world_make(&w, &config);
	for (unsigned i = 0; i < frames; i++) {
		memset(p[i], (int)i, sizeof(p[i]));
		memcpy(p[i], "\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x88\xb5", 14);
		packet = world_add(&w, p[i], 60 + i, NULL);
		packet->tagged = i == 1;
		packet->vlan_tci = 5;
	}
	tcp_make(large, 2500, &off, 1000);
	world_add(&w, large, 2554, &off);
	world_send(&w);
	assert_int_equal(world_stat(&w, "tx_packets"), frames + 3);
	assert_int_equal(world_stat(&w, "tx_dropped_full"), 0);
	world_done(&w); /* what is in the ring is written before it goes */
}

static void captures(void **state)
{
	char errbuf[PCAP_ERRBUF_SIZE];
	struct pcap_pkthdr *header;
	const uint8_t *bytes;
	struct headers h;
	pcap_t *file;

	capture(10);
	file = pcap_open_offline_with_tstamp_precision(path, PCAP_TSTAMP_PRECISION_NANO, errbuf);
	assert_non_null(file);
	assert_int_equal(pcap_datalink(file), DLT_EN10MB);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(pcap_next_ex(file, &header, &bytes), 1);
		assert_int_equal(header->caplen, 60 + i + (i == 1 ? 4 : 0));
		assert_int_equal(header->len, header->caplen);
		assert_int_equal(bytes[header->caplen - 1], i);
		assert_int_equal(load_be16(bytes + 12), i == 1 ? 0x8100 : 0x88b5);
		assert_true(header->ts.tv_sec > 1600000000);
	}
	/* the large segment is three frames with right lengths and checksums */
	for (unsigned i = 0; i < 3; i++) {
		uint8_t ph[4] = { 0, 6 };
		uint64_t sum;

		assert_int_equal(pcap_next_ex(file, &header, &bytes), 1);
		assert_int_equal(header->caplen, 54 + (i < 2 ? 1000 : 500));
		headers_parse(bytes, header->caplen, &h);
		assert_true(h.tcp && h.payload == 54);
		assert_int_equal(load_be32(bytes + 38), i * 1000);
		assert_int_equal(load_be16(bytes + 16), header->caplen - 14);
		assert_int_equal(csum_fold(csum_add(0, bytes + 14, 20, false)), 0xffff);
		store_be16(ph + 2, (uint16_t)(header->caplen - 34));
		sum = csum_add(0, bytes + 26, 8, false);
		sum = csum_add(sum, ph, 4, false);
		sum = csum_add(sum, bytes + 34, header->caplen - 34, false);
		assert_int_equal(csum_fold(sum), 0xffff);
	}
	assert_int_equal(pcap_next_ex(file, &header, &bytes), PCAP_ERROR_BREAK);
	pcap_close(file);
}

static void replays(void **state)
{
	struct host_port_config config = {
		.name = "play", .kind = "pcap", .replay_file = path, .replay_loops = 3
	};

	capture(10);
	world_make(&w, &config);
	while (world_turn(&w))
		;
	assert_int_equal(w.guest.n, 39);
	for (unsigned i = 0; i < 39; i++) {
		unsigned k = i % 13;

		if (k < 10)
			assert_int_equal(w.guest.frames[i].len, 60 + k + (k == 1 ? 4 : 0));
	}
	assert_int_equal(world_stat(&w, "rx_packets"), 39);
	assert_false(w.host->queues[0]->ops->pending(w.host->queues[0]));
	world_done(&w);
}

/* The clock of a replay: frames at 0, 1 and 3 ms, at half the speed, twice. */
static void keeps_time(void **state)
{
	struct replay_frame frames[] = { { .at_ns = 0 },
					 { .at_ns = NS_PER_MS },
					 { .at_ns = 3 * NS_PER_MS } };
	struct replay r = { .frames = frames, .n = 3, .speed = 0.5, .loops_left = 2 };
	uint64_t t = 1000 * NS_PER_S;

	for (unsigned loop = 0; loop < 2; loop++) {
		assert_ptr_equal(replay_next(&r, t), &frames[0]);
		assert_null(replay_next(&r, t));
		assert_int_equal(replay_due_ns(&r, t), t + 2 * NS_PER_MS);
		assert_null(replay_next(&r, t + 2 * NS_PER_MS - 1));
		assert_ptr_equal(replay_next(&r, t + 2 * NS_PER_MS), &frames[1]);
		assert_null(replay_next(&r, t + 6 * NS_PER_MS - 1));
		t += 7 * NS_PER_MS;
		assert_ptr_equal(replay_next(&r, t), &frames[2]);
	}
	assert_null(replay_next(&r, t + NS_PER_S));
	assert_true(replay_due_ns(&r, t) == UINT64_MAX);
}

static void refuses(void **state)
{
	struct host_port_config config = { .kind = "pcap" };
	const char *why = NULL;
	FILE *file;

	assert_null(host_port_new(&config, &why));
	assert_int_equal(errno, EINVAL);
	assert_non_null(why);
	config.replay_file = "/nowhere/at/all";
	assert_null(host_port_new(&config, &why));
	assert_int_equal(errno, ENOENT);
	config.replay_file = path;
	file = fopen(path, "w");
	fputs("this is not a capture file, whatever it is called", file);
	fclose(file);
	assert_null(host_port_new(&config, &why));
	assert_non_null(why);
	/* one that ends in the middle of a record */
	capture(3);
	assert_int_equal(truncate(path, 24 + 16 + 60 + 20), 0);
	assert_null(host_port_new(&config, &why));
	assert_int_equal(errno, EINVAL);
	config.replay_file = NULL;
	config.capture_file = "/nowhere/at/all";
	assert_null(host_port_new(&config, &why));
	assert_int_equal(errno, ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(captures, setup, teardown),
		cmocka_unit_test_setup_teardown(replays, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses, setup, teardown),
		cmocka_unit_test(keeps_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
