/* SPDX-License-Identifier: BSD-2-Clause */
/* The user-mode network with a fake guest: DHCP, ARP, UDP and TCP to the host's loopback. */
#include "guest.h"

#include "port/user_net.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define OUR_MAC "\x52\x54\0\x12\x34\x56"

static struct world w;
static uint8_t gateway[6];

static struct host_port_config user = { .name = "out", .kind = "user" };

static void ip_begin(uint8_t *p, const uint8_t *to, uint8_t protocol, uint32_t l4_len, uint32_t src,
		     uint32_t dst)
{
	uint16_t sum;

	memcpy(p, to, 6);
	memcpy(p + 6, OUR_MAC, 6);
	store_be16(p + 12, 0x0800);
	memset(p + 14, 0, 20);
	p[14] = 0x45;
	store_be16(p + 16, (uint16_t)(20 + l4_len));
	p[22] = 64;
	p[23] = protocol;
	store_be32(p + 26, src);
	store_be32(p + 30, dst);
	sum = ~csum_fold(csum_add(0, p + 14, 20, false));
	memcpy(p + 24, &sum, 2);
}

/* The pseudo-header's sum, where the checksum goes. */
static void pseudo(uint8_t *p, uint32_t l4_len, uint32_t offset)
{
	uint8_t ph[12];
	uint16_t sum;

	memcpy(ph, p + 26, 8);
	store_be16(ph + 8, p[23]);
	store_be16(ph + 10, (uint16_t)l4_len);
	sum = csum_fold(csum_add(0, ph, 12, false));
	memcpy(p + 34 + offset, &sum, 2);
}

/* An ICMPv6 message of @len bytes that stands at p + 54, from @src. */
static void icmp6_send(uint8_t *p, const char *mac, const char *src, const char *dst, uint32_t len)
{
	uint8_t next[8] = { 0 };
	uint16_t sum;

	memcpy(p, mac, 6);
	memcpy(p + 6, OUR_MAC, 6);
	store_be16(p + 12, 0x86dd);
	store_be32(p + 14, 6u << 28);
	store_be16(p + 18, (uint16_t)len);
	p[20] = 58;
	p[21] = 255;
	assert_int_equal(inet_pton(AF_INET6, src, p + 22), 1);
	assert_int_equal(inet_pton(AF_INET6, dst, p + 38), 1);
	memset(p + 56, 0, 2);
	store_be32(next, len);
	next[7] = 58;
	sum = ~csum_fold(csum_add(csum_add(csum_add(0, p + 22, 32, false), next, 8, false), p + 54,
				  len, false));
	memcpy(p + 56, &sum, 2);
	world_add(&w, p, 54 + len, NULL);
	world_send(&w);
}

/* A router advertisement with our prefix, from which the gateway's MAC address is taken too. */
static bool got_prefix(struct world *world)
{
	for (unsigned i = 0; i < w.guest.n; i++) {
		const uint8_t *p = w.guest.frames[i].bytes;
		uint32_t len = w.guest.frames[i].len;

		if (load_be16(p + 12) != 0x86dd || p[20] != 58 || p[54] != 134)
			continue;
		memcpy(gateway, p + 6, 6);
		for (uint32_t at = 70; at + 32 <= len && p[at + 1]; at += p[at + 1] * 8u)
			if (p[at] == 3 && p[at + 2] == 64 &&
			    !memcmp(p + at + 16, "\xfd\0\0\1\0\2\0\3\0\0\0\0\0\0\0\0", 16))
				return true;
	}
	return false;
}

static bool got_echo(struct world *world)
{
	for (unsigned i = 0; i < w.guest.n; i++) {
		const uint8_t *p = w.guest.frames[i].bytes;

		if (load_be16(p + 12) == 0x86dd && p[20] == 58 && p[54] == 129 &&
		    !memcmp(p + 62, "hello", 5))
			return true;
	}
	return false;
}

/* IPv6 where it is asked for: the guest learns the prefix, and the gateway answers. */
static void speaks_ipv6(void **state)
{
	struct host_port_config config = user;
	uint8_t p[200] = { 0 };

	config.ipv6_net = "fd00:1:2:3::/64";
	world_make(&w, &config);
	p[54] = 133; /* router solicitation */
	icmp6_send(p, "\x33\x33\0\0\0\2", "fe80::15", "ff02::2", 8);
	world_until(&w, got_prefix);
	memset(p, 0, sizeof(p));
	p[54] = 128; /* echo request */
	store_be32(p + 58, 0x00070001);
	memcpy(p + 62, "hello", 5);
	icmp6_send(p, (const char *)gateway, "fe80::15", "fd00:1:2:3::2", 13);
	world_until(&w, got_echo);
	world_done(&w);
}

static bool got_offer(struct world *world)
{
	for (unsigned i = 0; i < w.guest.n; i++) {
		const uint8_t *p = w.guest.frames[i].bytes;

		if (w.guest.frames[i].len > 280 && load_be16(p + 36) == 68 &&
		    load_be32(p + 58) == 0x0a00020f)
			return true;
	}
	return false;
}

static void discover(void)
{
	uint8_t p[400] = { 0 };

	ip_begin(p, (const uint8_t *)"\xff\xff\xff\xff\xff\xff", 17, 8 + 300, 0, 0xffffffff);
	store_be16(p + 34, 68);
	store_be16(p + 36, 67);
	store_be16(p + 38, 8 + 300);
	p[42] = 1;
	p[43] = 1;
	p[44] = 6;
	store_be32(p + 46, 0x1234);
	memcpy(p + 70, OUR_MAC, 6);
	store_be32(p + 278, 0x63825363);
	memcpy(p + 282, "\x35\x01\x01\xff", 4);
	world_add(&w, p, 42 + 300, NULL);
	world_send(&w);
	world_until(&w, got_offer);
}

static void gives_addresses(void **state)
{
	world_make(&w, &user);
	discover();
	for (unsigned i = 0; i < w.guest.n; i++)
		assert_int_equal(w.guest.frames[i].bytes[150], 0); /* no boot file */
	world_done(&w);
}

static bool got_arp(struct world *world)
{
	for (unsigned i = 0; i < w.guest.n; i++) {
		const uint8_t *p = w.guest.frames[i].bytes;

		if (load_be16(p + 12) == 0x0806 && load_be16(p + 20) == 2 &&
		    load_be32(p + 28) == 0x0a000202) {
			memcpy(gateway, p + 22, 6);
			return true;
		}
	}
	return false;
}

static void ask_gateway(void)
{
	uint8_t p[60] = { 0 };

	memset(p, 0xff, 6);
	memcpy(p + 6, OUR_MAC, 6);
	store_be16(p + 12, 0x0806);
	memcpy(p + 14, "\0\1\x08\0\6\4\0\1", 8);
	memcpy(p + 22, OUR_MAC, 6);
	store_be32(p + 28, 0x0a00020f);
	store_be32(p + 38, 0x0a000202);
	world_add(&w, p, 60, NULL);
	world_send(&w);
	world_until(&w, got_arp);
}

static int loopback_socket(int type, uint16_t *port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	*port = ntohs(addr.sin_port);
	return fd;
}

static int udp_fd;
static uint8_t udp_got[2000];
static ssize_t udp_len;
static struct sockaddr_in udp_from;

static bool got_datagram(struct world *world)
{
	socklen_t len = sizeof(udp_from);

	udp_len = recvfrom(udp_fd, udp_got, sizeof(udp_got), 0, (struct sockaddr *)&udp_from, &len);
	return udp_len >= 0;
}

static bool got_answer(struct world *world)
{
	for (unsigned i = 0; i < w.guest.n; i++) {
		const uint8_t *p = w.guest.frames[i].bytes;

		if (p[23] == 17 && !memcmp(p + 42, "answer", 6)) {
			assert_int_equal(w.guest.frames[i].off.flags, OFFLOAD_CSUM_VALID);
			return true;
		}
	}
	return false;
}

/* A datagram whose checksum the guest left open arrives; the answer comes back. */
static void carries_datagrams(void **state)
{
	struct offload off = { .flags = OFFLOAD_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6 };
	uint8_t p[300];
	uint16_t port;

	world_make(&w, &user);
	udp_fd = loopback_socket(SOCK_DGRAM, &port);
	ask_gateway();
	ip_begin(p, gateway, 17, 8 + 101, 0x0a00020f, 0x0a000202);
	store_be16(p + 34, 4000);
	store_be16(p + 36, port);
	store_be16(p + 38, 8 + 101);
	memset(p + 42, 'x', 101);
	pseudo(p, 8 + 101, 6);
	world_add(&w, p, 42 + 101, &off);
	world_send(&w);
	world_until(&w, got_datagram);
	assert_int_equal(udp_len, 101);
	assert_int_equal(udp_got[100], 'x');
	assert_int_equal(
		sendto(udp_fd, "answer", 6, 0, (struct sockaddr *)&udp_from, sizeof(udp_from)), 6);
	world_until(&w, got_answer);
	close(udp_fd);
	world_done(&w);
}

static unsigned descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

#define FLOOD 4000 /* new flows; the ring to libslirp's thread holds more */

static unsigned descriptors_before;

/* Each flow has a socket or is counted. */
static bool flood_is_done(struct world *world)
{
	return descriptors() - descriptors_before + world_stat(world, "tx_dropped_sockets") ==
	       FLOOD;
}

static void datagrams_to(uint8_t *p, uint16_t port)
{
	ip_begin(p, gateway, 17, 8 + 1, 0x0a00020f, 0x0a000202);
	store_be16(p + 36, port);
	store_be16(p + 38, 8 + 1);
	store_be16(p + 40, 0);
}

/* A machine at another port, with a flow of its own and a new one. The host's socket is another
 * one: that of the flood is full, and the kernel drops what comes to it. */
static void other_goes_on(uint8_t *p)
{
	struct switch_port_config none = { 0 };
	/* beside @w, so that the two are always as far apart, which a hash may tell */
	static struct switch_port other = { .ops = &guest_ops, .name = "other" };
	uint16_t port;

	udp_fd = loopback_socket(SOCK_DGRAM, &port);
	datagrams_to(p, port);
	assert_int_equal(net_switch_attach(w.sw, &other, &none), 0);
	p[11] ^= 1; /* and has an address of its own */
	for (unsigned i = 0; i < 3; i++) {
		store_be16(p + 34, (uint16_t)(5000 + i % 2));
		p[42] = (uint8_t)('x' + i);
		world_add(&w, p, 42 + 1, NULL);
		w.turn.now_ns = time_now_ns();
		net_switch_forward(&other, &w.batch, &w.turn);
		io_turn_end(&w.turn);
		packet_batch_init(&w.batch);
		world_until(&w, got_datagram);
		assert_int_equal(udp_got[0], 'x' + i);
	}
	net_switch_detach(&other);
	close(udp_fd);
}

/* Datagrams from ever new ports, for each of which there is a socket for some minutes. */
static void bounds_its_sockets(void **state)
{
	struct rlimit limit;
	uint8_t p[100];
	uint16_t port;
	int fd;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);

	world_make(&w, &user);
	fd = loopback_socket(SOCK_DGRAM, &port);
	ask_gateway();
	descriptors_before = descriptors();
	datagrams_to(p, port);
	for (unsigned i = 0; i < FLOOD; i++) {
		store_be16(p + 34, (uint16_t)(10000 + i));
		world_add(&w, p, 42 + 1, NULL);
		world_send(&w);
		world_turn(&w);
	}
	world_until(&w, flood_is_done);
	assert_int_equal(world_stat(&w, "tx_dropped_full"), 0);
	assert_in_range(descriptors() - descriptors_before, 1024, 2048);
	other_goes_on(p);
	close(fd);
	world_done(&w);
}

/* ---- booting from the network -------------------------------------------------------------- */

static const char *tftp_answer;
static size_t tftp_answer_len;

static bool got_tftp(struct world *world)
{
	for (unsigned i = 0; i < w.guest.n; i++) {
		const uint8_t *p = w.guest.frames[i].bytes;

		if (p[23] == 17 && load_be16(p + 36) == 4001 &&
		    w.guest.frames[i].len >= 42 + tftp_answer_len &&
		    !memcmp(p + 42, tftp_answer, tftp_answer_len))
			return true;
	}
	return false;
}

/* Asks for a file in octets (RFC 1350) and waits for an answer that begins so. */
static void tftp_read(const char *name, const char *answer, size_t answer_len)
{
	uint8_t p[300] = { 0 };
	uint32_t len = (uint32_t)(2 + strlen(name) + 1 + 6);

	ip_begin(p, gateway, 17, 8 + len, 0x0a00020f, 0x0a000202);
	store_be16(p + 34, 4001);
	store_be16(p + 36, 69);
	store_be16(p + 38, (uint16_t)(8 + len));
	p[43] = 1;
	strcpy((char *)p + 44, name);
	strcpy((char *)p + 44 + strlen(name) + 1, "octet");
	tftp_answer = answer;
	tftp_answer_len = answer_len;
	world_add(&w, p, 42 + len, NULL);
	world_send(&w);
	world_until(&w, got_tftp);
	w.guest.n = 0;
}

/* DHCP names the boot file, TFTP has it and what is below its folder, and nothing above. */
static void boots_from_the_network(void **state)
{
	char folder[] = "/tmp/exitless-tftp-XXXXXX", below[64], file[80];
	struct host_port_config config = user;
	const char *why = NULL;
	FILE *f;

	assert_non_null(mkdtemp(folder));
	snprintf(below, sizeof(below), "%s/below", folder);
	snprintf(file, sizeof(file), "%s/boot", below);
	config.tftp_directory = file;
	assert_null(host_port_new(&config, &why));
	assert_non_null(why);
	assert_int_equal(errno, ENOTDIR);

	assert_int_equal(mkdir(below, 0700), 0);
	f = fopen(file, "w");
	assert_non_null(f);
	fputs("hello", f);
	fclose(f);
	config.tftp_directory = folder;
	config.boot_file = "below/boot";
	world_make(&w, &config);
	discover();
	assert_string_equal((char *)w.guest.frames[w.guest.n - 1].bytes + 150, "below/boot");
	w.guest.n = 0;
	ask_gateway();
	tftp_read("below/boot", "\0\3\0\1hello", 9);
	tftp_read("/below/boot", "\0\3\0\1hello", 9);
	tftp_read("above", "\0\5", 2);
	tftp_read("../etc/passwd", "\0\5", 2);
	tftp_read("below/../../../etc/passwd", "\0\5", 2);
	tftp_read("below/..", "\0\5", 2);
	world_done(&w);
	unlink(file);
	rmdir(below);
	rmdir(folder);
}

/* ---- TCP --------------------------------------------------------------------------------------
 */

static int tcp_fd, conn_fd;
static uint32_t their_seq;

static bool got_syn_ack(struct world *world)
{
	for (unsigned i = 0; i < w.guest.n; i++) {
		const uint8_t *p = w.guest.frames[i].bytes;

		if (p[23] == 6 && p[47] == 0x12) {
			their_seq = load_be32(p + 38);
			return true;
		}
	}
	return false;
}

static size_t tcp_got;

static bool got_stream(struct world *world)
{
	static uint8_t buf[65536];
	ssize_t n;

	if (conn_fd < 0)
		conn_fd = accept4(tcp_fd, NULL, NULL, SOCK_NONBLOCK);
	n = conn_fd < 0 ? -1 : recv(conn_fd, buf, sizeof(buf), 0);
	for (ssize_t i = 0; i < n; i++, tcp_got++)
		assert_int_equal(buf[i], (uint8_t)(tcp_got * 13 >> 3));
	return tcp_got == 40000;
}

static uint32_t tcp_make(uint8_t *p, uint16_t port, uint32_t seq, uint32_t ack, uint8_t flags,
			 uint32_t payload)
{
	ip_begin(p, gateway, 6, 20 + payload, 0x0a00020f, 0x0a000202);
	memset(p + 34, 0, 20);
	store_be16(p + 34, 5000);
	store_be16(p + 36, port);
	store_be32(p + 38, seq);
	store_be32(p + 42, ack);
	p[46] = 0x50;
	p[47] = flags;
	store_be16(p + 48, 65535);
	for (uint32_t i = 0; i < payload; i++)
		p[54 + i] = (uint8_t)(i * 13 >> 3);
	pseudo(p, 20 + payload, 16);
	return 54 + payload;
}

/* A segment of 40000 bytes with an MSS of 1000 goes out as few large ones, and arrives. */
static void carries_large_segments(void **state)
{
	struct offload off = { .flags = OFFLOAD_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16 };
	static uint8_t p[41000];
	uint64_t before;
	uint16_t port;
	uint32_t len;

	world_make(&w, &user);
	tcp_fd = loopback_socket(SOCK_STREAM, &port);
	conn_fd = -1;
	tcp_got = 0;
	listen(tcp_fd, 1);
	ask_gateway();
	len = tcp_make(p, port, 100, 0, 0x02, 0);
	world_add(&w, p, len, &off);
	world_send(&w);
	world_until(&w, got_syn_ack);
	len = tcp_make(p, port, 101, their_seq + 1, 0x10, 0);
	world_add(&w, p, len, &off);
	world_send(&w);
	before = world_stat(&w, "tx_packets");
	len = tcp_make(p, port, 101, their_seq + 1, 0x18, 40000);
	off.gso = OFFLOAD_GSO_TCPV4;
	off.gso_size = 1000;
	off.hdr_len = 54;
	store_be16(p + 16, 0); /* as drivers leave it for the card to fill */
	world_add(&w, p, len, &off);
	world_send(&w);
	assert_int_equal(world_stat(&w, "tx_packets") - before, 2);
	world_until(&w, got_stream);
	close(conn_fd);
	close(tcp_fd);
	world_done(&w);
}

static bool got_syn(struct world *world)
{
	for (unsigned i = 0; i < w.guest.n; i++) {
		const uint8_t *p = w.guest.frames[i].bytes;

		/* libslirp asks for the guest's address first */
		if (load_be16(p + 12) == 0x0806 && load_be16(p + 20) == 1 &&
		    load_be32(p + 38) == 0x0a00020f) {
			uint8_t a[60] = { 0 };

			memcpy(a, p + 6, 6);
			memcpy(a + 6, OUR_MAC, 6);
			store_be16(a + 12, 0x0806);
			memcpy(a + 14, "\0\1\x08\0\6\4\0\2", 8);
			memcpy(a + 22, OUR_MAC, 6);
			store_be32(a + 28, 0x0a00020f);
			memcpy(a + 32, p + 22, 10);
			w.guest.n = 0;
			world_add(&w, a, 60, NULL);
			world_send(&w);
			return false;
		}
		if (p[23] == 6 && p[47] == 0x02 && load_be16(p + 36) == 22)
			return true;
	}
	return false;
}

static void forwards_ports(void **state)
{
	uint16_t port;
	int probe = loopback_socket(SOCK_STREAM, &port), fd;
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				    .sin_port = htons(port) };
	char forward[64];
	const char *forwards[] = { forward, NULL };
	struct host_port_config config = user;

	/* it is kept, so that nobody else gets it */
	assert_int_equal(setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)), 0);
	snprintf(forward, sizeof(forward), "tcp:127.0.0.1:%u-10.0.2.15:22", port);
	config.forwards = forwards;
	world_make(&w, &config);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), -1);
	assert_int_equal(errno, EINPROGRESS);
	world_until(&w, got_syn);
	close(fd);
	close(probe);
	world_done(&w);
}

/* Frames of any bytes, and more than the ring holds: dropped and counted, nothing waits. */
static void survives_nonsense(void **state)
{
	struct offload off = { .flags = OFFLOAD_NEEDS_CSUM,
			       .gso = OFFLOAD_GSO_TCPV4,
			       .hdr_len = 60,
			       .gso_size = 100,
			       .csum_start = 34,
			       .csum_offset = 16 };
	static uint8_t p[60000];

	world_make(&w, &user);
	for (unsigned i = 0; i < 2000; i++) {
		for (unsigned k = 0; k < 200; k++)
			p[k] = (uint8_t)rand();
		p[0] = p[6] = 2;
		store_be16(p + 12, i & 1 ? 0x0800 : 0x0806);
		p[14] = 0x45;
		world_add(&w, p, 14 + (i * 37) % 3000, NULL);
		if (i % 50 == 0)
			world_add(&w, p, sizeof(p), &off);
		world_send(&w);
		world_turn(&w);
	}
	assert_true(world_stat(&w, "tx_dropped_malformed") > 0);
	world_done(&w);
}

static void parses_words(void **state)
{
	static const char *const bad_nets[] = {
		"",	      "10.0.2.0",     "10.0.2.0/28", "10.0.2.1/24",
		"10.0.2.0/7", "10.0.2.0/24x", "10.0.2/24",   "10.0.2.0/-24",
		"fd00::/64"
	};
	static const char *const bad_forwards[] = {
		"",	      "tcp:",		"tcp::0-:22", "tcp::1-:65536",
		"sctp::1-:2", "tcp:1.2.3:1-:2", "tcp::1:2",   "udp::5-22"
	};
	static const char *const bad_nets6[] = {
		"",	   "fd00::",	"fd00::/63",  "fd00::/65",   "fd00::1/64",
		"fd00/64", "ff02::/64", "fd00::/64x", "10.0.2.0/64", "fd00:1:2:3:4::/64"
	};
	struct user_forward f;
	struct user_net6 net6;
	struct user_net net;
	const char *why;

	for (unsigned i = 0; i < ARRAY_SIZE(bad_nets); i++) {
		why = NULL;
		assert_int_equal(user_net_parse(bad_nets[i], &net, &why), -EINVAL);
		assert_non_null(why);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bad_nets6); i++) {
		why = NULL;
		assert_int_equal(user_net6_parse(bad_nets6[i], &net6, &why), -EINVAL);
		assert_non_null(why);
	}
	assert_int_equal(user_net6_parse("fd00:1:2:3::/64", &net6, &why), 0);
	assert_int_equal(net6.gateway.s6_addr[7], 3);
	assert_int_equal(net6.gateway.s6_addr[15], 2);
	for (unsigned i = 0; i < ARRAY_SIZE(bad_forwards); i++) {
		why = NULL;
		assert_int_equal(user_forward_parse(bad_forwards[i], &f, &why), -EINVAL);
		assert_non_null(why);
	}
	assert_int_equal(user_net_parse("172.16.0.0/16", &net, &why), 0);
	assert_int_equal(ntohl(net.gateway.s_addr), 0xac100002);
	assert_int_equal(user_forward_parse("udp:0.0.0.0:53-:5353", &f, &why), 0);
	assert_true(f.udp && !f.host.s_addr && !f.guest.s_addr);
	assert_int_equal(f.guest_port, 5353);
	assert_null(
		host_port_new(&(struct host_port_config){ .kind = "user", .ipv4_net = "x" }, &why));
	assert_non_null(why);
	assert_null(host_port_new(&(struct host_port_config){ .kind = "pigeon" }, &why));
	assert_int_equal(errno, EINVAL);
	assert_non_null(why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_addresses),	  cmocka_unit_test(speaks_ipv6),
		cmocka_unit_test(carries_datagrams),	  cmocka_unit_test(bounds_its_sockets),
		cmocka_unit_test(forwards_ports),	  cmocka_unit_test(carries_large_segments),
		cmocka_unit_test(survives_nonsense),	  cmocka_unit_test(parses_words),
		cmocka_unit_test(boots_from_the_network),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
