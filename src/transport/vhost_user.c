/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sockets, sessions and framing of the vhost-user server.
 *
 * One message at a time: it is read to its end and not beyond, so the descriptors that come with
 * its bytes are its own; the next one is read once the answer to the last has gone out. Nothing
 * blocks. A message that needs queues without anything in flight (a ring stops, memory goes) waits
 * for that with a timer, as does the end of a session; a front end that is kept waiting too long by
 * stuck storage loses its connection, and its memory stays until the storage lets go.
 */
#include "transport/vhost_user.h"

#include "base/clock.h"
#include "base/event.h"
#include "transport/round.h"
#include "transport/unix_socket.h"
#include "transport/vhost_user_session.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MESSAGES_PER_ROUND 64
#define DRAIN_LOOK_NS	   (200 * NS_PER_US)
#define DRAIN_MAX_NS	   (10 * NS_PER_S)
#define CONNECT_AGAIN_NS   (500 * NS_PER_MS)

static void try_connect(struct loop_timer *timer);
static void drain_look(struct loop_timer *timer);

static void close_fds(struct vhost_user_server *s)
{
	while (s->n_fds)
		client_hold_close(&s->hold, s->fds[--s->n_fds]);
}

static void drop_out(struct vhost_user_server *s)
{
	if (s->out_fd >= 0 && s->out_fd_owned)
		close(s->out_fd);
	s->out_fd = -1;
	s->out_len = s->out_sent = 0;
}

/* Nothing is in flight any more. */
static void session_over(struct vhost_user_server *s)
{
	s->ending = false;
	vhost_user_release(s);
	if (s->connect)
		loop_timer_set(s->loop, &s->retry, time_now_ns() + CONNECT_AGAIN_NS, try_connect);
}

static void end_session(struct vhost_user_server *s, const char *why)
{
	if (s->fd < 0)
		return;
	loop_remove(&s->lfd);
	client_closer_close(s->hold.closer, s->fd);
	s->fd = -1;
	s->stats.connected = false;
	s->got = 0;
	close_fds(s);
	drop_out(s);
	s->waiting = false;
	loop_timer_cancel(&s->drain);
	log_limited(&s->limit, LOG_LEVEL_INFO, "%s: front end %d gone: %s", s->dev->name,
		    (int)s->stats.client_pid, why);
	s->ending = true;
	if (vhost_user_drain_all(s))
		session_over(s);
	else
		loop_timer_set(s->loop, &s->drain, time_now_ns() + DRAIN_LOOK_NS, drain_look);
}

static void protocol_error(struct vhost_user_server *s, const char *what)
{
	s->stats.protocol_errors++;
	end_session(s, what);
}

static void update_events(struct vhost_user_server *s)
{
	uint32_t events = s->hold.on ? 0 : EPOLLIN;

	if (s->waiting)
		events = 0;
	else if (s->out_len)
		events = EPOLLOUT;
	loop_modify(&s->lfd, events);
}

static void held(struct client_hold *hold)
{
	update_events(container_of(hold, struct vhost_user_server, hold));
}

/* ---- sending ----------------------------------------------------------------------------- */

void vhost_user_reply(struct vhost_user_server *s, const void *payload, size_t len, int fd,
		      bool fd_owned)
{
	struct vhost_user_header header = {
		.request = s->header.request,
		.flags = VHOST_USER_VERSION | VHOST_USER_REPLY,
		.size = (uint32_t)len,
	};

	memcpy(s->out, &header, sizeof(header));
	if (len)
		memcpy(s->out + sizeof(header), payload, len);
	s->out_len = sizeof(header) + len;
	s->out_sent = 0;
	s->out_fd = fd;
	s->out_fd_owned = fd_owned;
	s->stats.replies++;
}

/* True when the answer has gone out; false when it has not, or the session ended. */
static bool flush(struct vhost_user_server *s)
{
	while (s->out_sent < s->out_len) {
		ssize_t n = unix_send(s->fd, s->out + s->out_sent, s->out_len - s->out_sent,
				      s->out_sent ? -1 : s->out_fd);

		if (n == -EAGAIN) {
			update_events(s);
			return false;
		}
		if (n < 0) {
			end_session(s, strerror((int)-n));
			return false;
		}
		s->out_sent += (size_t)n;
	}
	if (s->out_len) {
		drop_out(s);
		update_events(s);
	}
	return true;
}

/* ---- receiving --------------------------------------------------------------------------- */

/* Handles the message that has come. False when no further one may be read now. */
static bool handle(struct vhost_user_server *s)
{
	bool wants = s->header.flags & VHOST_USER_NEED_REPLY &&
		     s->protocol & 1ull << VHOST_USER_PROTOCOL_F_REPLY_ACK;
	int err = vhost_user_handle(s);

	if (err == -EAGAIN) {
		if (!s->waiting)
			s->stats.drains++;
		s->waiting = true;
		update_events(s);
		loop_timer_set(s->loop, &s->drain, time_now_ns() + DRAIN_LOOK_NS, drain_look);
		return false;
	}
	s->waiting = false;
	s->drain_until_ns = 0;
	s->stats.messages++;
	close_fds(s);
	s->got = 0;
	if (err)
		s->stats.errors++;
	if (!s->out_len && wants) {
		uint64_t result = err != 0;

		vhost_user_reply(s, &result, sizeof(result), -1, false);
	} else if (err) {
		char what[96];

		snprintf(what, sizeof(what), "%s: %s", vhost_user_name(s->header.request),
			 strerror(-err));
		protocol_error(s, what);
		return false;
	}
	if (err)
		log_limited(&s->limit, LOG_LEVEL_WARNING, "%s: %s refused: %s", s->dev->name,
			    vhost_user_name(s->header.request), strerror(-err));
	return flush(s);
}

/* The header is there: is it one that may be? */
static bool check_header(struct vhost_user_server *s)
{
	const struct vhost_user_header *h = &s->header;

	if ((h->flags & 3) != VHOST_USER_VERSION || h->flags & VHOST_USER_REPLY) {
		protocol_error(s, "wrong version, or a reply");
		return false;
	}
	if (h->size > sizeof(s->payload)) {
		protocol_error(s, "message too long");
		return false;
	}
	if (vhost_user_max_fds(s) < 0) {
		protocol_error(s, "unknown message");
		return false;
	}
	return true;
}

/* True when a whole message has come. */
static bool receive(struct vhost_user_server *s)
{
	for (;;) {
		size_t have = s->got, header = sizeof(s->header), want;
		uint8_t *at;
		ssize_t n;

		if (have < header) {
			at = (uint8_t *)&s->header + have;
			want = header - have;
		} else {
			at = s->payload + (have - header);
			want = header + s->header.size - have;
			if (!want)
				return true;
		}
		n = unix_receive(s->fd, at, want, s->fds, &s->n_fds, VHOST_USER_FDS_MAX,
				 s->hold.closer);
		if (n == -EAGAIN)
			return false;
		if (n <= 0) {
			if (!n)
				end_session(s, "it closed the connection");
			else
				protocol_error(s, strerror((int)-n));
			return false;
		}
		s->got += (size_t)n;
		if (have < header && s->got >= header && !check_header(s))
			return false;
	}
}

static void serve(struct vhost_user_server *s)
{
	uint64_t until_ns = 0;

	for (unsigned i = 0; i < MESSAGES_PER_ROUND; i++) {
		if (client_hold(&s->hold))
			return;
		if (!receive(s))
			return;
		if ((int)s->n_fds > vhost_user_max_fds(s)) {
			protocol_error(s, "too many descriptors");
			return;
		}
		if (!handle(s) || client_round_over(&until_ns))
			return;
	}
}

static void ready(struct loop_fd *lfd, uint32_t events)
{
	struct vhost_user_server *s = container_of(lfd, struct vhost_user_server, lfd);

	if (s->waiting) {
		/* only errors come while we wait: the front end is gone */
		if (events & (EPOLLHUP | EPOLLERR))
			end_session(s, "it closed the connection");
		return;
	}
	if (s->out_len && !flush(s))
		return;
	if (s->hold.on && events & (EPOLLHUP | EPOLLERR))
		end_session(s, "it closed the connection");
	else
		serve(s);
}

static void drain_look(struct loop_timer *timer)
{
	struct vhost_user_server *s = container_of(timer, struct vhost_user_server, drain);
	uint64_t now = time_now_ns();
	bool late;

	if (s->ending) {
		if (vhost_user_drained(s))
			session_over(s);
		else
			loop_timer_set(s->loop, timer, now + DRAIN_LOOK_NS, drain_look);
		return;
	}
	if (!s->drain_until_ns)
		s->drain_until_ns = now + DRAIN_MAX_NS;
	late = now > s->drain_until_ns;
	if (vhost_user_drained(s)) {
		if (handle(s)) {
			update_events(s);
			serve(s);
		} else if (late && s->waiting) {
			end_session(s, "what it asks for cannot be done yet");
		}
	} else if (late) {
		end_session(s, "requests are stuck");
	} else {
		loop_timer_set(s->loop, timer, now + DRAIN_LOOK_NS, drain_look);
	}
}

/* ---- connections ------------------------------------------------------------------------- */

static void begin_session(struct vhost_user_server *s, int fd)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);

	if (loop_add(s->loop, &s->lfd, fd, EPOLLIN, ready) < 0) {
		client_closer_close(s->hold.closer, fd);
		return;
	}
	s->fd = fd;
	s->got = 0;
	s->drain_until_ns = 0;
	s->stats.connected = true;
	s->stats.connections++;
	s->stats.client_pid = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) ? 0 : cred.pid;
	log_debug("%s: front end %d came", s->dev->name, (int)s->stats.client_pid);
}

static void accept_ready(struct loop_fd *lfd, uint32_t events)
{
	struct vhost_user_server *s = container_of(lfd, struct vhost_user_server, listener);
	int fd;

	/* One at a time. The one before may have gone without our having seen it yet, and left
	 * messages that nobody waits for any more. */
	if (s->fd >= 0) {
		struct pollfd before = { .fd = s->fd, .events = POLLRDHUP };

		if (poll(&before, 1, 0) > 0)
			end_session(s, "it closed the connection");
	}
	if (client_hold(&s->hold))
		return;
	fd = unix_accept(lfd, s->dev->name, &s->accept_limit);
	if (fd < 0)
		return;
	if (s->fd >= 0 || s->ending)
		client_closer_close(s->hold.closer, fd);
	else
		begin_session(s, fd);
}

static void try_connect(struct loop_timer *timer)
{
	struct vhost_user_server *s = container_of(timer, struct vhost_user_server, retry);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = -1;

	strcpy(address.sun_path, s->path);
	if (!client_hold(&s->hold))
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		begin_session(s, fd);
		return;
	}
	if (fd >= 0)
		close(fd);
	loop_timer_set(s->loop, timer, time_now_ns() + CONNECT_AGAIN_NS, try_connect);
}

struct vhost_user_server *vhost_user_server_new(struct loop *loop,
						const struct vhost_user_config *config,
						struct virtio_device *dev)
{
	struct vhost_user_server *s;
	int err;

	if (strlen(config->path) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->loop = loop;
	s->dev = dev;
	s->fd = s->listen_fd = s->backend_fd = s->out_fd = -1;
	s->connect = config->connect;
	s->accept_limit.burst = 1;
	s->path = strdup(config->path);
	err = s->path ? client_hold_init(&s->hold, loop, dev->space, &s->listener, held) : -ENOMEM;
	if (err) {
		/* below */
	} else if (s->connect) {
		try_connect(&s->retry);
	} else {
		s->listen_fd = unix_listen(config->path, config->owner, config->group,
					   config->mode);
		err = s->listen_fd < 0
			      ? s->listen_fd
			      : loop_add(loop, &s->listener, s->listen_fd, EPOLLIN, accept_ready);
	}
	if (err) {
		if (s->listen_fd >= 0)
			close(s->listen_fd);
		client_hold_done(&s->hold);
		free(s->path);
		free(s);
		errno = -err;
		return NULL;
	}
	dev->config_changed = vhost_user_config_changed;
	dev->config_changed_arg = s;
	return s;
}

bool vhost_user_server_close(struct vhost_user_server *s)
{
	s->connect = false;
	loop_timer_cancel(&s->retry);
	loop_remove(&s->listener);
	if (s->listen_fd >= 0) {
		client_closer_close(s->hold.closer,
				    s->listen_fd); /* with who waits to be accepted */
		unlink(s->path);
		s->listen_fd = -1;
	}
	end_session(s, "the device is removed");
	loop_timer_cancel(&s->drain); /* whoever asks again looks */
	if (s->ending && vhost_user_drained(s))
		session_over(s);
	return !s->ending;
}

void vhost_user_server_free(struct vhost_user_server *s)
{
	if (!s)
		return;
	assert(s->listen_fd < 0 && s->fd < 0 && !s->ending);
	s->dev->config_changed = NULL;
	client_hold_done(&s->hold);
	free(s->path);
	free(s);
}

void vhost_user_server_disconnect(struct vhost_user_server *s)
{
	end_session(s, "disconnected by the administrator");
}

void vhost_user_server_check(struct vhost_user_server *s)
{
	if (s->fd >= 0 && memory_space_failed(s->dev->space))
		protocol_error(s, "it truncated its memory file");
}

void vhost_user_server_stats(const struct vhost_user_server *s, struct vhost_user_stats *stats)
{
	*stats = s->stats;
	stats->closing = client_closer_busy(s->hold.closer);
	stats->rings = 0;
	for (unsigned i = 0; i < s->dev->n_queues; i++)
		stats->rings += READ_ONCE(s->dev->queues[i]->started);
}
