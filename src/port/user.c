/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The user-mode network: guests reach the outside through sockets of this process, by libslirp. It
 * needs no privilege. DHCP, DNS (relayed to the host's resolver) and a gateway are inside; IPv4.
 *
 * libslirp is for one thread and does its socket work in the same calls that take and make frames,
 * so it does not run on an I/O core: a thread of its own serves it, between two rings. An I/O core
 * copies frames into one, as bytes of a wire, and takes frames from the other in place. Each side
 * wakes the other only when it sleeps: one write to an eventfd per burst.
 *
 * libslirp takes TCP segments of any size that fit an IP packet, so a large segment of a guest is
 * not cut to its MSS but to the largest multiple of it below USER_SEGMENT_MAX. In the other
 * direction segments have the guest's MSS; the core sees them in bursts, when libslirp has made all
 * that it had to make or OUTPUT_BURST of them. Shown one by one, the first would cost the guest an
 * interrupt of its own.
 *
 * A source (a port of the switch, whatever addresses it names) may open a socket while it has fewer
 * than are left for all. So one gets half of SOCKETS_MAX, n of them 1/(n + 1) each, and as much is
 * left for who comes next.
 *
 * Without "restrict", guests reach the host's own services at the gateway's address, as with QEMU's
 * user network.
 */
#include "base/clock.h"
#include "base/event.h"
#include "base/rcu.h"
#include "base/ring.h"
#include "port/private.h"
#include "port/user_net.h"

#include <errno.h>
#include <libslirp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define RING_BYTES	 (2u << 20)
#define USER_SEGMENT_MAX 32768u
#define INPUT_BURST	 256
#define OUTPUT_BURST	 64
#define SLEEP_MAX_MS	 1000
#define TIMERS_MAX	 8
#define SOCKETS_MAX	 2048  /* of the daemon's descriptors, which all machines share */
#define SOURCES		 65536 /* switch ports, by a hash in which they hardly meet */
#define TCP_SYN		 0x02
#define TCP_ACK		 0x10

struct user_timer {
	struct user_port *user;
	SlirpTimerId id;
	void *cb_opaque;
	int64_t expire_ms; /* INT64_MAX: not armed */
	bool used;
};

struct user_port {
	struct host_port host;
	struct io_queue queue;
	struct io_flush flush; /* wakes the thread after a turn's gives */
	pthread_mutex_t lock;  /* writers of @to_slirp */
	struct ring to_slirp, to_guests;
	int core_fd, thread_fd; /* eventfds that wake the one and the other */
	int core_sleeps, thread_sleeps;
	int stop;
	pthread_t thread;

	/* the thread's */
	Slirp *slirp;
	struct user_timer timers[TIMERS_MAX];
	struct pollfd *fds;
	unsigned n_fds, fds_max;
	unsigned unseen; /* frames in @to_guests that the core does not see yet */
	int source;	 /* of the frame that libslirp has; -1: none */
	unsigned n_sockets;
	uint16_t sockets[SOURCES];
	int32_t *owners; /* sources by descriptor; -1: none */
	unsigned n_owners;

	/* @lock's, but for rx_*: the core's that polls; and lost: the thread's */
	uint64_t tx_packets, tx_bytes, tx_full, tx_malformed;
	uint64_t rx_packets, rx_bytes, rx_full, guest_errors;
	uint64_t tx_sockets;
};

/* ---- out of the switch: any core ---------------------------------------------------------- */

static uint16_t source_of(const struct io_turn *turn)
{
	return (uint16_t)((uint64_t)(uintptr_t)turn->giver * 0x9e3779b97f4a7c15u >> 48);
}

/* A record is a frame and, behind it, its source. */
static bool frame_put(struct user_port *user, const struct packet *packet, uint16_t source)
{
	uint32_t len = packet->len + 4;
	uint8_t *buf = ring_reserve(&user->to_slirp, len + sizeof(source));

	if (!buf) {
		COUNT(user->tx_full, 1);
		return false;
	}
	len = offload_frame(packet, buf, len);
	memcpy(buf + len, &source, sizeof(source));
	ring_commit(&user->to_slirp, len + sizeof(source));
	COUNT(user->tx_packets, 1);
	COUNT(user->tx_bytes, len);
	return true;
}

static bool segments_put(struct user_port *user, const struct packet *packet, uint16_t source)
{
	struct iovec pieces[SEGMENT_PIECES_MAX];
	struct packet whole = *packet, out = { .pieces = pieces };
	struct segmenter seg;
	bool any = false;

	if (packet->off.gso != OFFLOAD_GSO_UDP_L4 && packet->off.gso_size < USER_SEGMENT_MAX)
		whole.off.gso_size = (uint16_t)(ALIGN_DOWN(USER_SEGMENT_MAX, packet->off.gso_size));
	if (segment_begin(&seg, &whole, 0)) {
		COUNT(user->tx_malformed, 1);
		return false;
	}
	while (segment_next(&seg, &out)) {
		if (!frame_put(user, &out, source))
			break;
		any = true;
	}
	return any;
}

static unsigned user_give(struct switch_port *port, struct packet *const *packets, unsigned n,
			  struct io_turn *turn)
{
	struct user_port *user = container_of(port, struct user_port, host.port);
	unsigned taken = 0;
	uint16_t source = source_of(turn);

	pthread_mutex_lock(&user->lock);
	for (unsigned i = 0; i < n; i++)
		taken += packets[i]->off.gso ? segments_put(user, packets[i], source)
					     : frame_put(user, packets[i], source);
	pthread_mutex_unlock(&user->lock);
	if (taken)
		io_turn_flush_later(turn, &user->flush);
	return taken;
}

static void user_flush(struct io_flush *flush, struct io_turn *turn)
{
	struct user_port *user = container_of(flush, struct user_port, flush);

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&user->thread_sleeps, __ATOMIC_SEQ_CST) &&
	    __atomic_exchange_n(&user->thread_sleeps, 0, __ATOMIC_SEQ_CST))
		event_fd_wake(user->thread_fd);
}

/* ---- into the switch: the core that polls -------------------------------------------------- */

static void user_poll(struct io_queue *queue, struct io_turn *turn, struct io_work *work)
{
	struct user_port *user = container_of(queue, struct user_port, queue);
	struct packet_batch *batch = turn->scratch;
	uint64_t cursor = ring_cursor(&user->to_guests);
	struct packet *packet;
	uint32_t len;
	void *frame;

	packet_batch_init(batch);
	while (work->packets < turn->budget_packets && work->bytes < turn->budget_bytes) {
		packet = packet_begin(batch);
		frame = packet ? ring_next(&user->to_guests, &cursor, &len) : NULL;
		if (!frame)
			break;
		packet_add(batch, packet, frame, len);
		packet->off.flags = OFFLOAD_CSUM_VALID;
		if (packet_seal(batch, packet))
			continue;
		work->packets++;
		work->bytes += len;
	}
	if (batch->n)
		net_switch_forward(&user->host.port, batch, turn);
	ring_release(&user->to_guests, cursor);
	COUNT(user->rx_packets, work->packets);
	COUNT(user->rx_bytes, work->bytes);
	work->more = !ring_empty(&user->to_guests);
}

static bool user_pending(struct io_queue *queue)
{
	return !ring_empty(&container_of(queue, struct user_port, queue)->to_guests);
}

static bool user_notify(struct io_queue *queue, bool on)
{
	struct user_port *user = container_of(queue, struct user_port, queue);

	__atomic_store_n(&user->core_sleeps, on, __ATOMIC_SEQ_CST);
	if (!on)
		return false;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (ring_empty(&user->to_guests))
		return false;
	__atomic_store_n(&user->core_sleeps, 0, __ATOMIC_SEQ_CST);
	return true;
}

/* ---- libslirp's callbacks: the thread -------------------------------------------------------- */

/* Shows the core the frames that were made since the last time, and wakes it if it sleeps. */
static void show_frames(struct user_port *user)
{
	if (!user->unseen)
		return;
	user->unseen = 0;
	ring_publish(&user->to_guests);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&user->core_sleeps, __ATOMIC_SEQ_CST) &&
	    !ring_empty(&user->to_guests) &&
	    __atomic_exchange_n(&user->core_sleeps, 0, __ATOMIC_SEQ_CST))
		event_fd_wake(user->core_fd);
}

static ssize_t on_packet(const void *frame, size_t len, void *opaque)
{
	struct user_port *user = opaque;
	void *buf = len <= UINT16_MAX ? ring_reserve(&user->to_guests, (uint32_t)len) : NULL;

	if (!buf) {
		COUNT(user->rx_full, 1); /* TCP sends it again */
		return (ssize_t)len;
	}
	memcpy(buf, frame, len);
	ring_add(&user->to_guests, (uint32_t)len);
	if (++user->unseen == OUTPUT_BURST)
		show_frames(user);
	return (ssize_t)len;
}

static void on_guest_error(const char *msg, void *opaque)
{
	struct user_port *user = opaque;

	COUNT(user->guest_errors, 1);
}

static int64_t on_clock(void *opaque)
{
	return (int64_t)time_now_ns();
}

static void *on_timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
	struct user_port *user = opaque;

	for (unsigned i = 0; i < TIMERS_MAX; i++) {
		struct user_timer *timer = &user->timers[i];

		if (timer->used)
			continue;
		*timer = (struct user_timer){ .user = user,
					      .id = id,
					      .cb_opaque = cb_opaque,
					      .expire_ms = INT64_MAX,
					      .used = true };
		return timer;
	}
	return NULL;
}

static void on_timer_free(void *timer, void *opaque)
{
	if (timer)
		((struct user_timer *)timer)->used = false;
}

static void on_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	if (timer)
		((struct user_timer *)timer)->expire_ms = expire_ms;
}

/* The list for poll() is made anew each time; these only keep count. */
static void on_socket(int fd, void *opaque)
{
	struct user_port *user = opaque;

	if ((unsigned)fd >= user->n_owners) {
		unsigned n = (unsigned)fd + 256;
		int32_t *owners = realloc(user->owners, n * sizeof(*owners));

		if (!owners)
			return; /* nobody's, then */
		memset(owners + user->n_owners, 0xff, (n - user->n_owners) * sizeof(*owners));
		user->owners = owners;
		user->n_owners = n;
	}
	if (user->source < 0 || user->owners[fd] >= 0)
		return;
	user->owners[fd] = user->source;
	user->sockets[user->source]++;
	user->n_sockets++;
}

static void on_socket_closed(int fd, void *opaque)
{
	struct user_port *user = opaque;

	if ((unsigned)fd >= user->n_owners || user->owners[fd] < 0)
		return;
	user->sockets[user->owners[fd]]--;
	user->n_sockets--;
	user->owners[fd] = -1;
}

static void on_notify(void *opaque)
{
	/* only the thread itself calls into libslirp */
}

static const SlirpCb slirp_callbacks = {
	.send_packet = on_packet,
	.guest_error = on_guest_error,
	.clock_get_ns = on_clock,
	.timer_new_opaque = on_timer_new,
	.timer_free = on_timer_free,
	.timer_mod = on_timer_mod,
	.register_poll_fd = on_socket,
	.unregister_poll_fd = on_socket_closed,
	.notify = on_notify,
};

static short to_poll(int events)
{
	return (short)((events & SLIRP_POLL_IN ? POLLIN : 0) |
		       (events & SLIRP_POLL_OUT ? POLLOUT : 0) |
		       (events & SLIRP_POLL_PRI ? POLLPRI : 0));
}

static int add_fd(int fd, int events, void *opaque)
{
	struct user_port *user = opaque;

	if (user->n_fds == user->fds_max) {
		unsigned max = user->fds_max * 2;
		struct pollfd *fds = realloc(user->fds, max * sizeof(*fds));

		if (!fds)
			return -1;
		user->fds = fds;
		user->fds_max = max;
	}
	user->fds[user->n_fds] = (struct pollfd){ .fd = fd, .events = to_poll(events) };
	return (int)user->n_fds++;
}

static int get_revents(int index, void *opaque)
{
	struct user_port *user = opaque;
	short events;

	if (index < 0 || (unsigned)index >= user->n_fds)
		return 0;
	events = user->fds[index].revents;
	return (events & POLLIN ? SLIRP_POLL_IN : 0) | (events & POLLOUT ? SLIRP_POLL_OUT : 0) |
	       (events & POLLPRI ? SLIRP_POLL_PRI : 0) | (events & POLLERR ? SLIRP_POLL_ERR : 0) |
	       (events & POLLHUP ? SLIRP_POLL_HUP : 0);
}

/* ---- the thread -------------------------------------------------------------------------------
 */

/* May libslirp make a socket for this frame? What belongs to a TCP connection never does; of all
 * else only libslirp knows. */
static bool may_open_socket(const void *frame, uint32_t len)
{
	struct headers h;

	headers_parse(frame, len, &h);
	if (!h.ipv4 && !h.ipv6)
		return false;
	return !h.tcp || (h.tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Those that nobody here opened (a forward's) count as well, as of the last poll(). */
static bool has_share(const struct user_port *user, unsigned source)
{
	unsigned all = MAX(user->n_sockets, user->n_fds - 1);

	return all < SOCKETS_MAX && user->sockets[source] < SOCKETS_MAX - all;
}

static void take_input(struct user_port *user)
{
	uint64_t cursor = ring_cursor(&user->to_slirp);
	uint16_t source;
	uint32_t len;
	uint8_t *frame;

	for (unsigned i = 0; i < INPUT_BURST; i++) {
		frame = ring_next(&user->to_slirp, &cursor, &len);
		if (!frame)
			break;
		len -= sizeof(source);
		memcpy(&source, frame + len, sizeof(source));
		user->source = source;
		if (unlikely(!has_share(user, source)) && may_open_socket(frame, len))
			COUNT(user->tx_sockets, 1);
		else
			slirp_input(user->slirp, frame, (int)len);
		ring_release(&user->to_slirp, cursor);
	}
	user->source = -1;
}

/* Fires what is due; returns the milliseconds to the next. */
static int64_t run_timers(struct user_port *user)
{
	int64_t now = (int64_t)(time_now_ns() / NS_PER_MS), next = SLEEP_MAX_MS;

	for (unsigned i = 0; i < TIMERS_MAX; i++) {
		struct user_timer *timer = &user->timers[i];

		if (!timer->used || timer->expire_ms == INT64_MAX)
			continue;
		if (timer->expire_ms <= now) {
			timer->expire_ms = INT64_MAX;
			slirp_handle_timer(user->slirp, timer->id, timer->cb_opaque);
		} else {
			next = MIN(next, timer->expire_ms - now);
		}
	}
	return next;
}

static void serve_once(struct user_port *user)
{
	uint32_t timeout_ms;
	uint64_t count;
	int n;

	take_input(user);
	show_frames(user);
	timeout_ms = (uint32_t)run_timers(user);
	user->n_fds = 1;
	slirp_pollfds_fill(user->slirp, &timeout_ms, add_fd, user);
	show_frames(user);

	__atomic_store_n(&user->thread_sleeps, 1, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!ring_empty(&user->to_slirp) || LOAD_ACQUIRE(user->stop))
		timeout_ms = 0;
	user->fds[0].revents = 0;
	n = poll(user->fds, user->n_fds, (int)MIN(timeout_ms, (uint32_t)SLEEP_MAX_MS));
	__atomic_store_n(&user->thread_sleeps, 0, __ATOMIC_SEQ_CST);
	if (n > 0 && user->fds[0].revents & POLLIN &&
	    read(user->thread_fd, &count, sizeof(count)) < 0)
		(void)count;
	slirp_pollfds_poll(user->slirp, n < 0, get_revents, user);
	show_frames(user);
}

static void *serve(void *arg)
{
	struct user_port *user = arg;

	pthread_setname_np(pthread_self(), "user-net");
	while (!LOAD_ACQUIRE(user->stop))
		serve_once(user);
	return NULL;
}

static int thread_start(struct user_port *user)
{
	sigset_t all, old;
	int err;

	/* signals are the main thread's */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&user->thread, NULL, serve, user);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

/* ---- the port ---------------------------------------------------------------------------------
 */

static void user_done(struct user_port *user)
{
	if (user->slirp)
		slirp_cleanup(user->slirp);
	free(user->fds);
	free(user->owners);
	ring_done(&user->to_slirp);
	ring_done(&user->to_guests);
	if (user->core_fd >= 0)
		close(user->core_fd);
	if (user->thread_fd >= 0)
		close(user->thread_fd);
	pthread_mutex_destroy(&user->lock);
	free(user);
}

static void user_free(struct host_port *host)
{
	struct user_port *user = container_of(host, struct user_port, host);

	STORE_RELEASE(user->stop, 1);
	event_fd_wake(user->thread_fd);
	pthread_join(user->thread, NULL);
	free(host->name);
	user_done(user);
}

static void user_stats(struct host_port *host, host_port_stat_fn *stat, void *arg)
{
	struct user_port *user = container_of(host, struct user_port, host);

	stat(arg, "rx_packets", READ_ONCE(user->rx_packets));
	stat(arg, "rx_bytes", READ_ONCE(user->rx_bytes));
	stat(arg, "rx_dropped_full", READ_ONCE(user->rx_full));
	stat(arg, "tx_packets", READ_ONCE(user->tx_packets));
	stat(arg, "tx_bytes", READ_ONCE(user->tx_bytes));
	stat(arg, "tx_dropped_full", READ_ONCE(user->tx_full));
	stat(arg, "tx_dropped_malformed", READ_ONCE(user->tx_malformed));
	stat(arg, "tx_dropped_sockets", READ_ONCE(user->tx_sockets));
	stat(arg, "guest_errors", READ_ONCE(user->guest_errors));
}

static const struct net_sink_ops user_sink = { .give = user_give };
static const struct host_port_ops user_ops = { .free = user_free, .stats = user_stats };
static const struct io_queue_ops user_queue_ops = {
	.poll = user_poll,
	.pending = user_pending,
	.notify = user_notify,
};

static int slirp_make(struct user_port *user, const struct host_port_config *config,
		      const char **why)
{
	struct user_net net;
	struct user_net6 net6;
	SlirpConfig cfg = { .version = 4 };
	struct stat st;
	int err = user_net_parse(config->ipv4_net, &net, why);

	if (err)
		return err;
	cfg.restricted = config->restrict_outside;
	cfg.in_enabled = true;
	cfg.vnetwork = net.network;
	cfg.vnetmask = net.mask;
	cfg.vhost = net.gateway;
	cfg.vnameserver = net.dns;
	cfg.vdhcp_start = net.dhcp_start;
	if (config->ipv6_net) {
		err = user_net6_parse(config->ipv6_net, &net6, why);
		if (err)
			return err;
		cfg.in6_enabled = true;
		cfg.vprefix_addr6 = net6.prefix;
		cfg.vprefix_len = 64;
		cfg.vhost6 = net6.gateway;
		cfg.vnameserver6 = net6.dns;
	}
	if (config->tftp_directory &&
	    (stat(config->tftp_directory, &st) < 0 || !S_ISDIR(st.st_mode))) {
		*why = "tftp_directory is no folder that can be read";
		return -ENOTDIR;
	}
	cfg.tftp_path = config->tftp_directory;
	cfg.bootfile = config->boot_file;
	user->slirp = slirp_new(&cfg, &slirp_callbacks, user);
	if (!user->slirp)
		return -ENOMEM;
	for (const char *const *forward = config->forwards; forward && *forward; forward++) {
		struct user_forward f;

		err = user_forward_parse(*forward, &f, why);
		if (err)
			return err;
		if (slirp_add_hostfwd(user->slirp, f.udp, f.host, f.host_port, f.guest,
				      f.guest_port) < 0) {
			err = errno ? -errno : -EADDRINUSE;
			*why = port_why("cannot listen for", *forward, err);
			return err;
		}
	}
	return 0;
}

int user_port_new(const struct host_port_config *config, struct host_port **out, const char **why)
{
	struct user_port *user = aligned_alloc(CACHE_LINE, ALIGN_UP(sizeof(*user), CACHE_LINE));
	int err;

	if (!user)
		return -ENOMEM;
	memset(user, 0, sizeof(*user));
	user->source = -1;
	user->n_fds = 1;
	pthread_mutex_init(&user->lock, NULL);
	user->core_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	user->thread_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	user->fds_max = 64;
	user->fds = calloc(user->fds_max, sizeof(*user->fds));
	err = user->core_fd < 0 || user->thread_fd < 0 ? -errno : 0;
	if (!err && (!user->fds || ring_init(&user->to_slirp, RING_BYTES) ||
		     ring_init(&user->to_guests, RING_BYTES)))
		err = -ENOMEM;
	if (!err)
		err = slirp_make(user, config, why);
	if (err)
		goto fail;
	user->fds[0] = (struct pollfd){ .fd = user->thread_fd, .events = POLLIN };

	user->host.ops = &user_ops;
	user->host.port.ops = &user_sink;
	user->queue.ops = &user_queue_ops;
	user->queue.wake_fd = user->core_fd;
	user->queue.drain_wake_fd = true;
	user->host.queues[0] = &user->queue;
	user->host.n_queues = 1;
	user->flush.flush = user_flush;
	err = thread_start(user);
	if (err)
		goto fail;
	*out = &user->host;
	return 0;
fail:
	user_done(user);
	return err;
}
