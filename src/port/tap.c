/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A tap: the host's network stack as a port. Large segments and open checksums cross as they are,
 * both ways, by the virtio-net header in front of each frame (VIRTIO 1.3 section 5.1.6, the legacy
 * form of 10 bytes).
 *
 * Reads and writes go in batches by io_uring, one system call each (batch_io.c). From the
 * interface, as many reads are asked for as came last time, and twice that when all were served, so
 * that a quiet interface does not cost a batch of failed reads. Polling an empty one costs no
 * system call: the kernel says in the ring when there is something again. To the interface, one
 * give is one batch; the sender's memory is read in place and nothing is copied here.
 *
 * With several queues, each is polled by the core that it was added to. A core that gives uses a
 * queue of its own if it has one and it is free, then any other that is free, and waits for its
 * first choice if none is.
 */
#include "base/util.h"
#include "port/batch_io.h"
#include "port/private.h"
#include "port/tap_if.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define HDR_LEN	    10u
#define RX_HEADROOM 6u /* so that the frame is aligned */
#define RX_BUF	    ((PACKET_LEN_MAX + 16 + 63) / 64 * 64u)
#define RX_FIRST    4u
#define TX_IOVS	    1024u
#define GSO_USO	    5 /* VIRTIO_NET_HDR_GSO_UDP_L4 */

struct tap_queue {
	struct io_queue queue;
	struct tap_port *tap;
	int fd;

	/* the polling core's */
	struct batch_io rx;
	uint8_t *rx_bufs;
	struct iovec rx_iov[PACKET_BATCH];
	unsigned rx_want, rx_average; /* reads to ask for; bytes of one */
	uint64_t rx_packets, rx_bytes, rx_malformed;

	/* @tx_lock's */
	pthread_mutex_t tx_lock;
	struct batch_io tx;
	struct iovec tx_iov[TX_IOVS];
	struct virtio_net_hdr tx_hdr[PACKET_BATCH];
	uint8_t tx_tag[PACKET_BATCH][4];
	uint64_t tx_packets, tx_bytes, tx_failed;
};

struct tap_port {
	struct host_port host;
	struct tap_queue *queues[HOST_PORT_QUEUES_MAX];
};

/* ---- from the interface: the core that polls ------------------------------------------------- */

static bool offload_read(const uint8_t *buf, struct offload *off)
{
	struct virtio_net_hdr hdr;

	memcpy(&hdr, buf, HDR_LEN);
	off->flags = (hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM ? OFFLOAD_NEEDS_CSUM : 0) |
		     (hdr.flags & VIRTIO_NET_HDR_F_DATA_VALID ? OFFLOAD_CSUM_VALID : 0) |
		     (hdr.gso_type & VIRTIO_NET_HDR_GSO_ECN ? OFFLOAD_ECN : 0);
	off->csum_start = hdr.csum_start;
	off->csum_offset = hdr.csum_offset;
	off->gso_size = hdr.gso_size;
	switch (hdr.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE: off->gso = OFFLOAD_GSO_NONE; return true;
	case VIRTIO_NET_HDR_GSO_TCPV4: off->gso = OFFLOAD_GSO_TCPV4; return true;
	case VIRTIO_NET_HDR_GSO_TCPV6: off->gso = OFFLOAD_GSO_TCPV6; return true;
	case GSO_USO: off->gso = OFFLOAD_GSO_UDP_L4; return true;
	default: return false;
	}
}

static bool packet_read(struct packet_batch *batch, uint8_t *buf, unsigned len)
{
	struct packet *packet = packet_begin(batch);

	if (!packet || len < HDR_LEN + PACKET_LEN_MIN || !offload_read(buf, &packet->off) ||
	    packet_add(batch, packet, buf + HDR_LEN, len - HDR_LEN))
		return false;
	if (packet->off.gso) /* the kernel's hdr_len is that of the linear part */
		packet_hdr_len_set(packet);
	return packet_seal(batch, packet) == 0;
}

static void tap_poll(struct io_queue *queue, struct io_turn *turn, struct io_work *work)
{
	struct tap_queue *q = container_of(queue, struct tap_queue, queue);
	struct packet_batch *batch = turn->scratch;
	unsigned want = MIN(q->rx_want, (unsigned)PACKET_BATCH), n, got = 0;

	if (!batch_io_ready(&q->rx))
		return;
	want = MIN(want, turn->budget_packets);
	want = (unsigned)MIN((uint64_t)want, turn->budget_bytes / q->rx_average + 1);
	for (unsigned i = 0; i < want; i++)
		batch_io_add(&q->rx, &q->rx_iov[i], 1);
	n = batch_io_run(&q->rx);

	packet_batch_init(batch);
	for (unsigned i = 0; i < n; i++) {
		int len = q->rx.results[i];

		if (len <= 0)
			continue;
		got++;
		work->bytes += (unsigned)len;
		if (!packet_read(batch, q->rx_iov[i].iov_base, (unsigned)len))
			COUNT(q->rx_malformed, 1);
	}
	if (batch->n)
		net_switch_forward(&q->tap->host.port, batch, turn);

	work->packets = got;
	work->more = got == want;
	work->backlog = work->more;
	if (got == want)
		q->rx_want = MIN(want * 2, (unsigned)PACKET_BATCH);
	else
		q->rx_want = MAX(got + 1, RX_FIRST);
	if (got)
		q->rx_average = (unsigned)(work->bytes / got);
	COUNT(q->rx_packets, got);
	COUNT(q->rx_bytes, work->bytes - got * HDR_LEN);
}

/* ---- to the interface: any core, under the queue's lock -------------------------------------- */

static void offload_write(const struct packet *packet, struct virtio_net_hdr *hdr, unsigned shift)
{
	const struct offload *off = &packet->off;

	memset(hdr, 0, sizeof(*hdr));
	if (off->flags & OFFLOAD_NEEDS_CSUM) {
		hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		hdr->csum_start = (uint16_t)(off->csum_start + shift);
		hdr->csum_offset = off->csum_offset;
	} else if (off->flags & OFFLOAD_CSUM_VALID) {
		hdr->flags = VIRTIO_NET_HDR_F_DATA_VALID;
	}
	if (!off->gso)
		return;
	hdr->gso_type = off->gso; /* the same numbers */
	if (off->flags & OFFLOAD_ECN)
		hdr->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	hdr->gso_size = off->gso_size;
	hdr->hdr_len = (uint16_t)(off->hdr_len + shift);
}

/* The header, then the frame, with the tag that travels beside it put in. Returns the pieces. */
static unsigned frame_pieces(struct tap_queue *q, const struct packet *packet, unsigned slot,
			     struct iovec *iov)
{
	const struct iovec *pieces = packet->pieces;
	unsigned shift = packet->tagged ? 4 : 0, n = 0;

	offload_write(packet, &q->tx_hdr[slot], shift);
	iov[n++] = (struct iovec){ &q->tx_hdr[slot], HDR_LEN };
	if (!packet->tagged) {
		memcpy(iov + n, pieces, packet->n_pieces * sizeof(*iov));
		return n + packet->n_pieces;
	}
	store_be16(q->tx_tag[slot], 0x8100);
	store_be16(q->tx_tag[slot] + 2, packet->vlan_tci);
	iov[n++] = (struct iovec){ pieces[0].iov_base, 12 };
	iov[n++] = (struct iovec){ q->tx_tag[slot], 4 };
	iov[n++] = (struct iovec){ (uint8_t *)pieces[0].iov_base + 12, pieces[0].iov_len - 12 };
	memcpy(iov + n, pieces + 1, (packet->n_pieces - 1u) * sizeof(*iov));
	return n + packet->n_pieces - 1;
}

static unsigned send_added(struct tap_queue *q)
{
	unsigned n = batch_io_run(&q->tx), sent = 0;
	uint64_t bytes = 0;

	for (unsigned i = 0; i < n; i++) {
		if (q->tx.results[i] < (int)HDR_LEN)
			continue;
		sent++;
		bytes += (unsigned)q->tx.results[i] - HDR_LEN;
	}
	COUNT(q->tx_packets, sent);
	COUNT(q->tx_bytes, bytes);
	COUNT(q->tx_failed, n - sent);
	return sent;
}

static unsigned send_all(struct tap_queue *q, struct packet *const *packets, unsigned n)
{
	unsigned sent = 0, used = 0;

	for (unsigned i = 0; i < n; i++) {
		if (q->tx.n == PACKET_BATCH || TX_IOVS - used < packets[i]->n_pieces + 4u) {
			sent += send_added(q);
			used = 0;
		}
		unsigned pieces = frame_pieces(q, packets[i], q->tx.n, q->tx_iov + used);

		batch_io_add(&q->tx, q->tx_iov + used, pieces);
		used += pieces;
	}
	return sent + send_added(q);
}

static unsigned tap_give(struct switch_port *port, struct packet *const *packets, unsigned n,
			 struct io_turn *turn)
{
	struct tap_port *tap = container_of(port, struct tap_port, host.port);
	unsigned n_queues = tap->host.n_queues, first = 0, sent;
	struct tap_queue *q;

	for (unsigned i = 1; turn->core && i < n_queues; i++) {
		if (READ_ONCE(tap->queues[i]->queue.core) == turn->core) {
			first = i;
			break;
		}
	}
	q = tap->queues[first];
	for (unsigned i = 0; i < n_queues; i++) {
		q = tap->queues[(first + i) % n_queues];
		if (!pthread_mutex_trylock(&q->tx_lock))
			goto locked;
	}
	q = tap->queues[first];
	pthread_mutex_lock(&q->tx_lock);
locked:
	sent = send_all(q, packets, n);
	pthread_mutex_unlock(&q->tx_lock);
	return sent;
}

/* ---- the port ---------------------------------------------------------------------------------
 */

static void queue_free(struct tap_queue *q)
{
	if (!q)
		return;
	batch_io_done(&q->rx);
	batch_io_done(&q->tx);
	pthread_mutex_destroy(&q->tx_lock);
	free(q->rx_bufs);
	free(q);
}

static void tap_free(struct host_port *host)
{
	struct tap_port *tap = container_of(host, struct tap_port, host);

	for (unsigned i = 0; i < host->n_queues; i++) {
		int fd = tap->queues[i]->fd;

		queue_free(tap->queues[i]);
		close(fd);
	}
	free(host->name);
	free(tap);
}

static void tap_stats(struct host_port *host, host_port_stat_fn *stat, void *arg)
{
	struct tap_port *tap = container_of(host, struct tap_port, host);
	uint64_t sums[8] = { 0 };
	static const char *const names[] = { "rx_packets",	     "rx_bytes",
					     "rx_dropped_malformed", "rx_syscalls",
					     "tx_packets",	     "tx_bytes",
					     "tx_dropped_failed",    "tx_syscalls" };

	for (unsigned i = 0; i < host->n_queues; i++) {
		struct tap_queue *q = tap->queues[i];

		sums[0] += READ_ONCE(q->rx_packets);
		sums[1] += READ_ONCE(q->rx_bytes);
		sums[2] += READ_ONCE(q->rx_malformed);
		sums[3] += READ_ONCE(q->rx.calls);
		sums[4] += READ_ONCE(q->tx_packets);
		sums[5] += READ_ONCE(q->tx_bytes);
		sums[6] += READ_ONCE(q->tx_failed);
		sums[7] += READ_ONCE(q->tx.calls);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		stat(arg, names[i], sums[i]);
}

static const struct net_sink_ops tap_sink = { .give = tap_give };
static const struct host_port_ops tap_ops = { .free = tap_free, .stats = tap_stats };
static const struct io_queue_ops tap_queue_ops = { .poll = tap_poll };

static struct tap_queue *queue_new(struct tap_port *tap, int fd)
{
	struct tap_queue *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->rx_bufs = aligned_alloc(64, (size_t)RX_BUF * PACKET_BATCH);
	if (!q->rx_bufs) {
		free(q);
		return NULL;
	}
	for (unsigned i = 0; i < PACKET_BATCH; i++)
		q->rx_iov[i] = (struct iovec){ q->rx_bufs + (size_t)i * RX_BUF + RX_HEADROOM,
					       RX_BUF - RX_HEADROOM };
	q->tap = tap;
	q->fd = fd;
	q->rx_want = RX_FIRST;
	q->rx_average = 1500;
	pthread_mutex_init(&q->tx_lock, NULL);
	batch_io_init(&q->rx, fd, false);
	q->rx.watched = true;
	batch_io_init(&q->tx, fd, true);
	q->queue.ops = &tap_queue_ops;
	q->queue.wake_fd = fd;
	return q;
}

/* As the kernel sees names of interfaces. */
int tap_port_check(const struct host_port_config *config, const char **key, const char **why)
{
	const char *name = config->ifname;

	if (!name)
		return 0;
	*key = "ifname";
	*why = "the name of an interface has up to 15 characters, no '/', ':', '%' and no blanks";
	return strlen(name) >= IFNAMSIZ || strpbrk(name, "/:% \t\n\r\v\f") || !strcmp(name, ".") ||
			       !strcmp(name, "..")
		       ? -EINVAL
		       : 0;
}

int tap_port_new(const struct host_port_config *config, struct host_port **out, const char **why)
{
	unsigned queues = config->queues ? config->queues : 1;
	int fds[HOST_PORT_QUEUES_MAX], err;
	struct tap_port *tap;

	if (queues > HOST_PORT_QUEUES_MAX) {
		*why = "a tap has 1 to 16 queues";
		return -EINVAL;
	}
	tap = calloc(1, sizeof(*tap));
	if (!tap)
		return -ENOMEM;
	err = tap_open(config->ifname, config->netns, queues, fds, tap->host.ifname, why);
	if (err) {
		free(tap);
		return err;
	}
	tap->host.ops = &tap_ops;
	tap->host.port.ops = &tap_sink;
	for (unsigned i = 0; i < queues; i++) {
		struct tap_queue *q = queue_new(tap, fds[i]);

		if (!q)
			goto fail;
		tap->queues[i] = q;
		tap->host.queues[i] = &q->queue;
		tap->host.n_queues++;
	}
	*out = &tap->host;
	return 0;
fail:
	for (unsigned i = 0; i < queues; i++) {
		queue_free(tap->queues[i]);
		close(fds[i]);
	}
	free(tap);
	return -ENOMEM;
}
