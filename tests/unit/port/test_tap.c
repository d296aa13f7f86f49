/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tap port against real interfaces in namespaces of their own: frames both ways, tags, system
 * calls per packet, and TCP between two namespaces through two taps on one switch.
 */
#include "guest.h"

#include "netns.h"
#include "port/batch_io.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#define TYPE 0x88b5

static struct world w;
static int ns, sock;
static char ns_path[64];

static void tap_world(unsigned queues)
{
	struct host_port_config config = {
		.name = "up", .kind = "tap", .ifname = "xltap0", .netns = ns_path, .queues = queues
	};

	ns = netns_new();
	if (ns < 0) {
		print_message("needs root and /dev/net/tun\n");
		skip();
	}
	snprintf(ns_path, sizeof(ns_path), "/proc/self/fd/%d", ns);
	world_make(&w, &config);
	assert_string_equal(w.host->ifname, "xltap0");
	sock = netns_packet_socket(ns, "xltap0", TYPE);
	assert_true(sock >= 0);
}

static void tap_done(void)
{
	close(sock);
	world_done(&w);
	close(ns);
}

static void frame_make(uint8_t *p, uint32_t len, unsigned number)
{
	memset(p, (int)number, len);
	memcpy(p, "\x33\x33\0\0\0\1\x02\0\0\0\0\x09", 12);
	store_be16(p + 12, TYPE);
}

static bool have_io_uring(void)
{
	struct io_uring ring;
	bool have = !io_uring_queue_init(2, &ring, 0);

	if (have)
		io_uring_queue_exit(&ring);
	return have;
}

static void sends(void **state)
{
	static uint8_t p[PACKET_BATCH][1514], got[2000];
	uint64_t calls;

	tap_world(1);
	for (unsigned i = 0; i < PACKET_BATCH; i++) {
		frame_make(p[i], 60 + i * 20, i);
		world_add(&w, p[i], 60 + i * 20, NULL);
	}
	calls = world_stat(&w, "tx_syscalls");
	world_send(&w);
	assert_int_equal(world_stat(&w, "tx_packets"), PACKET_BATCH);
	/* one system call for all of them, where there is io_uring */
	calls = world_stat(&w, "tx_syscalls") - calls;
	assert_int_equal(calls, have_io_uring() ? 1 : PACKET_BATCH);
	for (unsigned i = 0; i < PACKET_BATCH; i++) {
		assert_int_equal(recv(sock, got, sizeof(got), 0), 60 + i * 20);
		assert_memory_equal(got, p[i], 60 + i * 20);
	}
	tap_done();
}

static unsigned wanted;

static bool got_wanted(struct world *world)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w.guest.n; i++)
		n += load_be16(w.guest.frames[i].bytes + 12) == TYPE;
	return n >= wanted;
}

static void receives(void **state)
{
	static uint8_t p[1514];
	uint64_t calls, packets;
	unsigned n = 0;

	tap_world(1);
	for (unsigned i = 0; i < 200; i++) {
		frame_make(p, 60 + i, i);
		assert_int_equal(send(sock, p, 60 + i, 0), 60 + i);
	}
	calls = world_stat(&w, "rx_syscalls");
	wanted = 200;
	world_until(&w, got_wanted);
	for (unsigned i = 0; i < w.guest.n; i++) {
		if (load_be16(w.guest.frames[i].bytes + 12) != TYPE)
			continue; /* the kernel's own */
		assert_int_equal(w.guest.frames[i].len, 60 + n);
		assert_int_equal(w.guest.frames[i].bytes[20], n);
		n++;
	}
	calls = world_stat(&w, "rx_syscalls") - calls;
	packets = world_stat(&w, "rx_packets");
	if (have_io_uring())
		assert_in_range(calls * 4, 0, packets);
	tap_done();
}

/* The batches themselves: one call for many, also of reads of which only some find something. */
static void batches(void **state)
{
	static uint8_t bufs[BATCH_IO_MAX][64];
	struct iovec iov[BATCH_IO_MAX];
	struct batch_io in, out;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds), 0);
	batch_io_init(&out, fds[0], true);
	batch_io_init(&in, fds[1], false);
	if (!out.have_ring) {
		print_message("no io_uring here\n");
		skip();
	}
	for (unsigned i = 0; i < BATCH_IO_MAX; i++)
		iov[i] = (struct iovec){ bufs[i], i + 1 };
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 8; i++)
			batch_io_add(&out, &iov[i], 1);
		assert_int_equal(batch_io_run(&out), 8);
		for (unsigned i = 0; i < BATCH_IO_MAX; i++)
			batch_io_add(&in, &iov[i], 1);
		assert_int_equal(batch_io_run(&in), BATCH_IO_MAX);
		for (unsigned i = 0; i < BATCH_IO_MAX; i++)
			assert_int_equal(in.results[i], i < 8 ? (int)i + 1 : -EAGAIN);
		assert_int_equal(in.calls, round + 1);
		assert_int_equal(out.calls, round + 1);
	}
	/* watched: not ready while there is nothing, ready again when something came */
	in.watched = true;
	assert_true(batch_io_ready(&in));
	for (unsigned round = 0; round < 3; round++) {
		uint64_t end = time_now_ns() + 10 * NS_PER_S, calls;

		batch_io_add(&in, &iov[63], 1);
		batch_io_run(&in);
		assert_int_equal(in.results[0], round ? 1 : -EAGAIN);
		if (round) { /* it did not know yet that this was the last one */
			batch_io_add(&in, &iov[63], 1);
			batch_io_run(&in);
			assert_int_equal(in.results[0], -EAGAIN);
		}
		calls = in.calls;
		for (unsigned i = 0; i < 1000; i++)
			assert_false(batch_io_ready(&in));
		assert_int_equal(in.calls, calls);
		assert_int_equal(send(fds[0], "x", 1, 0), 1);
		while (!batch_io_ready(&in))
			assert_true(time_now_ns() < end);
	}
	batch_io_done(&in);
	batch_io_done(&out);
	assert_int_equal(recv(fds[1], bufs[0], 64, 0), 1);
	/* and without it */
	batch_io_init(&in, fds[1], false);
	batch_io_done(&in);
	batch_io_add(&in, &iov[0], 1);
	assert_int_equal(batch_io_run(&in), 1);
	assert_int_equal(in.results[0], -EAGAIN);
	close(fds[0]);
	close(fds[1]);
}

/* A tag beside the frame goes in; so does the checksum that was left open. */
static void finishes_frames(void **state)
{
	struct offload off = { .flags = OFFLOAD_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6 };
	uint8_t p[200], got[300];
	struct packet *packet;
	int tagged;

	tap_world(2);
	tagged = netns_packet_socket(ns, "xltap0", 0x0003);
	frame_make(p, 100, 1);
	packet = world_add(&w, p, 100, &off);
	packet->tagged = true;
	packet->vlan_tci = 0x6007;
	world_send(&w);
	for (;;) {
		/* the kernel takes the tag off again and hands it on beside, so what shows is that
		 * the frame is otherwise whole */
		ssize_t n = recv(tagged, got, sizeof(got), 0);

		assert_true(n > 0);
		if (load_be16(got + 12) != TYPE && load_be16(got + 12) != 0x8100)
			continue;
		n -= load_be16(got + 12) == 0x8100 ? 4 : 0;
		assert_int_equal(n, 100);
		break;
	}
	assert_int_equal(world_stat(&w, "tx_packets"), 1);
	assert_int_equal(world_stat(&w, "tx_bytes"), 104);
	close(tagged);
	tap_done();
}

/* ---- TCP between two namespaces -------------------------------------------------------------- */

#define STREAM_BYTES (24u << 20)

struct side {
	int fd, listener;
	uint64_t done;
	int bad;
};

static uint8_t stream_byte(uint64_t at)
{
	return (uint8_t)(at * 31 + (at >> 12));
}

static void *stream_out(void *arg)
{
	struct side *side = arg;
	static uint8_t buf[65536];

	while (side->done < STREAM_BYTES) {
		ssize_t n;

		for (unsigned i = 0; i < sizeof(buf); i++)
			buf[i] = stream_byte(side->done + i);
		n = send(side->fd, buf, MIN(sizeof(buf), STREAM_BYTES - side->done), MSG_NOSIGNAL);
		if (n <= 0)
			break;
		side->done += (uint64_t)n;
	}
	shutdown(side->fd, SHUT_WR);
	return NULL;
}

static void *stream_in(void *arg)
{
	struct side *side = arg;
	static uint8_t buf[65536];
	int fd = accept(side->listener, NULL, NULL);
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			side->bad |= buf[i] != stream_byte(side->done + (uint64_t)i);
		__atomic_fetch_add(&side->done, (uint64_t)n, __ATOMIC_RELEASE);
	}
	close(fd);
	return NULL;
}

static void carries_tcp(void **state)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(5001) };
	struct side server = { 0 }, client = { 0 };
	struct switch_port_config none = { 0 };
	struct host_port_config config = { .name = "up2", .kind = "tap", .netns = ns_path };
	struct timeval patience = { .tv_sec = 30 };
	struct host_port *other, *first;
	pthread_t in, out;
	uint64_t end;
	int ns2;

	tap_world(2);
	first = w.host;
	ns2 = netns_new();
	snprintf(ns_path, sizeof(ns_path), "/proc/self/fd/%d", ns2);
	other = host_port_new(&config, NULL);
	assert_non_null(other);
	assert_true(other->ifname[0]);
	assert_int_equal(net_switch_attach(w.sw, &other->port, &none), 0);
	assert_int_equal(netns_address(ns, first->ifname, "10.9.0.1"), 0);
	assert_int_equal(netns_address(ns2, other->ifname, "10.9.0.2"), 0);

	server.listener = netns_socket(ns, AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(server.listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(server.listener, 1), 0);
	setsockopt(server.listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	client.fd = netns_socket(ns2, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	inet_pton(AF_INET, "10.9.0.1", &addr.sin_addr);
	assert_int_equal(connect(client.fd, (struct sockaddr *)&addr, sizeof(addr)), -1);
	fcntl(client.fd, F_SETFL, 0);
	setsockopt(client.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));

	end = time_now_ns() + 60 * NS_PER_S;
	/* the handshake first: send() of a socket that is still connecting waits for it */
	pthread_create(&in, NULL, stream_in, &server);
	pthread_create(&out, NULL, stream_out, &client);
	while (LOAD_ACQUIRE(server.done) < STREAM_BYTES && time_now_ns() < end) {
		unsigned n = 0;

		w.host = first;
		n += world_turn(&w);
		w.host = other;
		n += world_turn(&w);
		w.guest.n = 0;
		if (!n)
			usleep(50);
	}
	assert_int_equal(LOAD_ACQUIRE(server.done), STREAM_BYTES);
	w.host = first;
	shutdown(client.fd, SHUT_RDWR);
	shutdown(server.listener, SHUT_RDWR);
	end = time_now_ns() + NS_PER_S / 2;
	while (time_now_ns() < end) { /* lets the end of the stream across */
		w.host = first;
		world_turn(&w);
		w.host = other;
		world_turn(&w);
	}
	pthread_join(out, NULL);
	pthread_join(in, NULL);
	assert_int_equal(server.bad, 0);
	/* large segments went whole: far more bytes in a packet than fit a frame */
	w.host = other;
	assert_true(world_stat(&w, "rx_bytes") / world_stat(&w, "rx_packets") > 3000);
	net_switch_detach(&other->port);
	other->ops->free(other);
	w.host = first;
	close(client.fd);
	close(server.listener);
	close(ns2);
	tap_done();
}

static void refuses(void **state)
{
	const char *why = NULL;

	assert_null(host_port_new(
		&(struct host_port_config){ .kind = "tap", .ifname = "a-name-too-long-for-it" },
		&why));
	assert_int_equal(errno, EINVAL);
	assert_non_null(why);
	assert_null(host_port_new(&(struct host_port_config){ .kind = "tap", .queues = 17 }, &why));
	assert_null(host_port_new(&(struct host_port_config){ .kind = "tap", .netns = "/nowhere" },
				  &why));
	assert_int_equal(errno, ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batches),  cmocka_unit_test(sends),
		cmocka_unit_test(receives), cmocka_unit_test(finishes_frames),
		cmocka_unit_test(refuses),  cmocka_unit_test(carries_tcp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
