/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port that writes what the switch gives it to a capture file, plays one into the switch, or
 * both.
 *
 * Capture: frames are copied, finished as a wire would show them (segments cut, checksums filled,
 * tags in), into a ring; a thread of the port's own writes them out, so no I/O core waits for a
 * disk. The file is in the classic format of libpcap with stamps in nanoseconds. When the ring is
 * full, frames are dropped and counted.
 *
 * Replay: the file is read into memory when the port is made. Its queue sends what is due and then
 * parks; a timer brings it back for the next frame. It starts when the port is plugged in.
 */
#include "base/clock.h"
#include "base/event.h"
#include "base/rcu.h"
#include "base/ring.h"
#include "port/private.h"
#include "port/replay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RING_BYTES    (4u << 20)
#define WRITE_RECORDS 64
#define UNPLUGGED_NS  (10 * NS_PER_MS) /* how often to look whether we are plugged in */

/* https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap, sections 4 and 5; host byte order */
struct file_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t reserved[2];
	uint32_t snap_len, link_type;
};
struct record_header {
	uint32_t seconds, nanoseconds, captured, length;
};
#define MAGIC_NS      0xa1b23c4du
#define LINK_ETHERNET 1

struct pcap_port {
	struct host_port host;

	/* capture */
	struct ring ring;
	pthread_mutex_t lock; /* writers of the ring, and the tx_ counters */
	struct io_flush flush;
	int fd, wake_fd;
	int sleeps, stop;
	bool running;
	pthread_t thread;
	uint64_t tx_packets, tx_bytes, tx_full, tx_malformed, write_errors;

	/* replay: the polling core's */
	struct io_queue queue;
	struct io_timer timer;
	struct replay replay;
	uint64_t rx_packets, rx_bytes;
};

/* ---- capture: any core --------------------------------------------------------------------------
 */

static bool frame_put(struct pcap_port *pcap, const struct packet *packet,
		      const struct timespec *now)
{
	uint32_t room = packet->len + 4, len;
	struct record_header header;
	uint8_t *buf = ring_reserve(&pcap->ring, sizeof(header) + room);

	if (!buf) {
		COUNT(pcap->tx_full, 1);
		return false;
	}
	len = offload_frame(packet, buf + sizeof(header), room);
	header = (struct record_header){ .seconds = (uint32_t)now->tv_sec,
					 .nanoseconds = (uint32_t)now->tv_nsec,
					 .captured = len,
					 .length = len };
	memcpy(buf, &header, sizeof(header));
	ring_commit(&pcap->ring, sizeof(header) + len);
	COUNT(pcap->tx_packets, 1);
	COUNT(pcap->tx_bytes, len);
	return true;
}

static bool segments_put(struct pcap_port *pcap, const struct packet *packet,
			 const struct timespec *now)
{
	struct iovec pieces[SEGMENT_PIECES_MAX];
	struct packet out = { .pieces = pieces };
	struct segmenter seg;

	if (segment_begin(&seg, packet, 0)) {
		COUNT(pcap->tx_malformed, 1);
		return false;
	}
	while (segment_next(&seg, &out))
		if (!frame_put(pcap, &out, now))
			return false;
	return true;
}

static unsigned pcap_give(struct switch_port *port, struct packet *const *packets, unsigned n,
			  struct io_turn *turn)
{
	struct pcap_port *pcap = container_of(port, struct pcap_port, host.port);
	struct timespec now;
	unsigned taken = 0;

	if (pcap->fd < 0)
		return n; /* replay only */
	clock_gettime(CLOCK_REALTIME, &now);
	pthread_mutex_lock(&pcap->lock);
	for (unsigned i = 0; i < n; i++)
		taken += packets[i]->off.gso ? segments_put(pcap, packets[i], &now)
					     : frame_put(pcap, packets[i], &now);
	pthread_mutex_unlock(&pcap->lock);
	io_turn_flush_later(turn, &pcap->flush);
	return taken;
}

static void pcap_flush(struct io_flush *flush, struct io_turn *turn)
{
	struct pcap_port *pcap = container_of(flush, struct pcap_port, flush);

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_exchange_n(&pcap->sleeps, 0, __ATOMIC_SEQ_CST))
		event_fd_wake(pcap->wake_fd);
}

/* ---- capture: the thread that writes ------------------------------------------------------------
 */

static int write_all(int fd, struct iovec *iov, int n)
{
	while (n) {
		ssize_t done = writev(fd, iov, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return -EIO;
		while (n && (size_t)done >= iov->iov_len) {
			done -= (ssize_t)iov->iov_len;
			iov++, n--;
		}
		if (n) {
			iov->iov_base = (uint8_t *)iov->iov_base + done;
			iov->iov_len -= (size_t)done;
		}
	}
	return 0;
}

/* Writes up to a batch of records; false when there are none. */
static bool write_some(struct pcap_port *pcap)
{
	uint64_t cursor = ring_cursor(&pcap->ring);
	struct iovec iov[WRITE_RECORDS];
	uint32_t len;
	void *record;
	int n = 0;

	while (n < WRITE_RECORDS && (record = ring_next(&pcap->ring, &cursor, &len)))
		iov[n++] = (struct iovec){ record, len };
	if (!n)
		return false;
	if (write_all(pcap->fd, iov, n))
		COUNT(pcap->write_errors, 1);
	ring_release(&pcap->ring, cursor);
	return true;
}

static void *write_out(void *arg)
{
	struct pcap_port *pcap = arg;
	struct pollfd pfd = { .fd = pcap->wake_fd, .events = POLLIN };
	uint64_t count;

	pthread_setname_np(pthread_self(), "pcap-write");
	for (;;) {
		while (write_some(pcap))
			;
		if (LOAD_ACQUIRE(pcap->stop))
			break;
		__atomic_store_n(&pcap->sleeps, 1, __ATOMIC_SEQ_CST);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (!ring_empty(&pcap->ring) || LOAD_ACQUIRE(pcap->stop))
			continue;
		poll(&pfd, 1, -1);
		if (read(pcap->wake_fd, &count, sizeof(count)) < 0)
			continue;
	}
	while (write_some(pcap))
		;
	return NULL;
}

/* ---- replay: the core that polls ----------------------------------------------------------------
 */

static void pcap_poll(struct io_queue *queue, struct io_turn *turn, struct io_work *work)
{
	struct pcap_port *pcap = container_of(queue, struct pcap_port, queue);
	struct packet_batch *batch = turn->scratch;
	const struct replay_frame *frame;
	struct packet *packet;

	packet_batch_init(batch);
	while (work->packets < turn->budget_packets && work->bytes < turn->budget_bytes) {
		packet = packet_begin(batch);
		if (!packet)
			break;
		frame = replay_next(&pcap->replay, turn->now_ns);
		if (!frame)
			break;
		if (packet_add(batch, packet, pcap->replay.bytes + frame->offset, frame->len) ||
		    packet_seal(batch, packet))
			continue;
		work->packets++;
		work->bytes += frame->len;
	}
	net_switch_forward(&pcap->host.port, batch, turn);
	COUNT(pcap->rx_packets, work->packets);
	COUNT(pcap->rx_bytes, work->bytes);
	work->more = replay_due_ns(&pcap->replay, turn->now_ns) <= turn->now_ns;
}

static bool pcap_pending(struct io_queue *queue)
{
	struct pcap_port *pcap = container_of(queue, struct pcap_port, queue);
	uint64_t now = time_now_ns();

	return net_switch_attached(&pcap->host.port) && replay_due_ns(&pcap->replay, now) <= now;
}

static bool pcap_notify(struct io_queue *queue, bool on)
{
	struct pcap_port *pcap = container_of(queue, struct pcap_port, queue);
	uint64_t now = time_now_ns();

	if (!on)
		return false;
	if (!net_switch_attached(&pcap->host.port)) {
		io_timer_set(&pcap->timer, now + UNPLUGGED_NS);
		return false;
	}
	if (pcap_pending(queue))
		return true;
	io_timer_set(&pcap->timer, replay_due_ns(&pcap->replay, now));
	return false;
}

static void pcap_fire(struct io_timer *timer, struct io_turn *turn)
{
	io_queue_kick(&container_of(timer, struct pcap_port, timer)->queue);
}

/* ---- the port ---------------------------------------------------------------------------------
 */

static void pcap_done(struct pcap_port *pcap)
{
	if (pcap->running) {
		STORE_RELEASE(pcap->stop, 1);
		event_fd_wake(pcap->wake_fd);
		pthread_join(pcap->thread, NULL);
	}
	if (pcap->fd >= 0)
		close(pcap->fd);
	if (pcap->wake_fd >= 0)
		close(pcap->wake_fd);
	ring_done(&pcap->ring);
	replay_done(&pcap->replay);
	pthread_mutex_destroy(&pcap->lock);
	free(pcap);
}

static void pcap_free(struct host_port *host)
{
	free(host->name);
	pcap_done(container_of(host, struct pcap_port, host));
}

static void pcap_stats(struct host_port *host, host_port_stat_fn *stat, void *arg)
{
	struct pcap_port *pcap = container_of(host, struct pcap_port, host);

	stat(arg, "rx_packets", READ_ONCE(pcap->rx_packets));
	stat(arg, "rx_bytes", READ_ONCE(pcap->rx_bytes));
	stat(arg, "tx_packets", READ_ONCE(pcap->tx_packets));
	stat(arg, "tx_bytes", READ_ONCE(pcap->tx_bytes));
	stat(arg, "tx_dropped_full", READ_ONCE(pcap->tx_full));
	stat(arg, "tx_dropped_malformed", READ_ONCE(pcap->tx_malformed));
	stat(arg, "write_errors", READ_ONCE(pcap->write_errors));
}

static const struct net_sink_ops pcap_sink = { .give = pcap_give };
static const struct host_port_ops pcap_ops = { .free = pcap_free, .stats = pcap_stats };
static const struct io_queue_ops pcap_queue_ops = {
	.poll = pcap_poll,
	.pending = pcap_pending,
	.notify = pcap_notify,
};

static int capture_start(struct pcap_port *pcap, const char *path, const char **why)
{
	const struct file_header header = { .magic = MAGIC_NS,
					    .major = 2,
					    .minor = 4,
					    .snap_len = 262144,
					    .link_type = LINK_ETHERNET };
	sigset_t all, old;
	int err;

	pcap->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (pcap->fd < 0 || write(pcap->fd, &header, sizeof(header)) != sizeof(header)) {
		err = errno ? -errno : -EIO;
		*why = port_why("cannot write", path, err);
		return err;
	}
	pcap->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pcap->wake_fd < 0)
		return -errno;
	if (ring_init(&pcap->ring, RING_BYTES))
		return -ENOMEM;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&pcap->thread, NULL, write_out, pcap);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pcap->running = !err;
	return -err;
}

int pcap_port_check(const struct host_port_config *config, const char **key, const char **why)
{
	if (config->capture_file || config->replay_file)
		return 0;
	*key = "capture_file";
	*why = "a pcap port needs capture_file, replay_file or both";
	return -EINVAL;
}

int pcap_port_new(const struct host_port_config *config, struct host_port **out, const char **why)
{
	struct pcap_port *pcap;
	int err = 0;

	pcap = aligned_alloc(CACHE_LINE, ALIGN_UP(sizeof(*pcap), CACHE_LINE));
	if (!pcap)
		return -ENOMEM;
	memset(pcap, 0, sizeof(*pcap));
	pthread_mutex_init(&pcap->lock, NULL);
	pcap->fd = pcap->wake_fd = -1;
	pcap->host.ops = &pcap_ops;
	pcap->host.port.ops = &pcap_sink;
	pcap->flush.flush = pcap_flush;
	if (config->replay_file) {
		err = replay_load(&pcap->replay, config->replay_file, config->replay_speed,
				  config->replay_loops, why);
		pcap->queue.ops = &pcap_queue_ops;
		pcap->queue.wake_fd = -1;
		pcap->timer.fire = pcap_fire;
		pcap->timer.deadline_ns = UINT64_MAX;
		pcap->host.queues[0] = &pcap->queue;
		pcap->host.timers[0] = &pcap->timer;
		pcap->host.n_queues = pcap->host.n_timers = 1;
	}
	if (!err && config->capture_file)
		err = capture_start(pcap, config->capture_file, why);
	if (err) {
		pcap_done(pcap);
		return err;
	}
	*out = &pcap->host;
	return 0;
}
