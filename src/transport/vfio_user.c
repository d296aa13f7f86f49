/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sockets, sessions and framing of the vfio-user server.
 *
 * A message is read in two steps, header and body, and never past its end, so the descriptors that
 * come with its bytes are its own. Nothing blocks: what cannot be sent is queued up to a bound,
 * what has not come yet is waited for. A round of the loop handles messages up to a bound in number
 * and time, so that one busy client does not starve the others; a message that is not done by then
 * is gone on with in the next round, and no other is read before.
 */
#include "transport/vfio_user.h"

#include "base/event.h"
#include "base/util.h"
#include "transport/round.h"
#include "transport/unix_socket.h"
#include "transport/vfio_user_session.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGES_PER_ROUND 32

/* A reply that could not be sent at once. */
struct vfio_user_out {
	struct vfio_user_out *next;
	size_t len, sent;
	int fd; /* to go with the first byte; borrowed: a BAR, which outlives the server */
	uint8_t bytes[];
};

/* ---- the end of a session ---------------------------------------------------------------- */

static void close_fds(struct vfio_user_server *s)
{
	while (s->n_fds)
		client_hold_close(&s->hold, s->fds[--s->n_fds]);
}

static void update_events(struct vfio_user_server *s)
{
	loop_modify(&s->lfd, (s->hold.on || s->unfinished ? 0 : EPOLLIN) |
				     (s->waits_to_send ? EPOLLOUT : 0));
}

static void held(struct client_hold *hold)
{
	update_events(container_of(hold, struct vfio_user_server, hold));
}

static void resampled(struct loop_fd *lfd, uint32_t events)
{
	struct vfio_user_server *s = container_of(lfd, struct vfio_user_server, resample);

	if (event_fd_drain(lfd->fd))
		pci_intx_unmask(s->f);
	else if (events & (EPOLLERR | EPOLLHUP))
		loop_remove(lfd);
}

/* Edge-triggered: each write is looked at once, whatever a read leaves in the counter (that of an
 * EFD_SEMAPHORE goes down by one each time, from whatever the client put there). */
int vfio_user_watch_resample(struct vfio_user_server *s, int fd)
{
	int err = 0;

	loop_remove(&s->resample);
	if (s->resample_fd >= 0)
		close(s->resample_fd);
	if (fd >= 0)
		err = loop_add(s->loop, &s->resample, fd, EPOLLIN | EPOLLET, resampled);
	s->resample_fd = err ? -1 : fd;
	return err;
}

static void end_session(struct vfio_user_server *s, const char *why)
{
	struct vfio_user_out *out, *next;

	if (s->fd < 0)
		return;
	loop_remove(&s->lfd);
	client_closer_close(s->hold.closer, s->fd);
	s->fd = -1;
	s->stats.connected = false;
	s->negotiated = false;
	s->got = 0;
	s->unfinished = false;
	s->multi_done = 0;
	loop_timer_cancel(&s->go_on);
	close_fds(s);
	for (out = s->out; out; out = next) {
		next = out->next;
		free(out);
	}
	s->out = NULL;
	s->out_tail = &s->out;
	s->unsent = 0;
	memory_remote_close(s->space);
	/* quiet first, then what it could have touched */
	pci_function_reset(s->f, PCI_RESET_FUNCTION);
	vfio_user_watch_resample(s, -1);
	vfio_user_dma_end(s);
	pci_irq_release(s->f);
	memory_space_unmap(s->space, 0, 0);
	pci_memory_changed(s->f);
	log_limited(&s->limit, LOG_LEVEL_INFO, "%s: client %d gone: %s", pci_function_name(s->f),
		    (int)s->stats.client_pid, why);
}

void vfio_user_broken(struct vfio_user_server *s, const char *why)
{
	s->stats.protocol_errors++;
	end_session(s, why);
}

/* ---- sending ----------------------------------------------------------------------------- */

static void wait_to_send(struct vfio_user_server *s, bool on)
{
	if (s->waits_to_send == on)
		return;
	s->waits_to_send = on;
	update_events(s);
}

/* Sends what is queued. False when the session ended. */
static bool flush(struct vfio_user_server *s)
{
	while (s->out) {
		struct vfio_user_out *out = s->out;
		ssize_t n = unix_send(s->fd, out->bytes + out->sent, out->len - out->sent, out->fd);

		if (n == -EAGAIN) {
			wait_to_send(s, true);
			return true;
		}
		if (n < 0) {
			end_session(s, strerror((int)-n));
			return false;
		}
		out->fd = -1;
		out->sent += (size_t)n;
		s->unsent -= (size_t)n;
		if (out->sent < out->len)
			continue;
		s->out = out->next;
		if (!s->out)
			s->out_tail = &s->out;
		free(out);
	}
	wait_to_send(s, false);
	return true;
}

void vfio_user_send(struct vfio_user_server *s, const struct vfio_user_header *header,
		    const void *payload, size_t len, const void *more, size_t more_len, int fd)
{
	size_t total = sizeof(*header) + len + more_len;
	struct vfio_user_out *out = malloc(sizeof(*out) + total);

	if (!out) {
		end_session(s, "no memory for a message");
		return;
	}
	*out = (struct vfio_user_out){ .len = total, .fd = fd };
	memcpy(out->bytes, header, sizeof(*header));
	if (len)
		memcpy(out->bytes + sizeof(*header), payload, len);
	if (more_len)
		memcpy(out->bytes + sizeof(*header) + len, more, more_len);
	*s->out_tail = out;
	s->out_tail = &out->next;
	s->unsent += out->len;
	if (s->unsent > VFIO_USER_UNSENT_MAX)
		vfio_user_broken(s, "it does not read its replies");
	else if (s->out == out)
		flush(s);
}

void vfio_user_reply(struct vfio_user_server *s, const struct vfio_user_message *m,
		     const void *payload, size_t len, int fd)
{
	struct vfio_user_header header = {
		.id = m->header.id,
		.command = m->header.command,
		.size = (uint32_t)(sizeof(header) + len),
		.flags = VFIO_USER_TYPE_REPLY,
	};

	if (m->header.flags & VFIO_USER_NO_REPLY)
		return;
	s->stats.replies++;
	vfio_user_send(s, &header, payload, len, NULL, 0, fd);
}

static void reply_error(struct vfio_user_server *s, const struct vfio_user_message *m, int error)
{
	struct vfio_user_header header = {
		.id = m->header.id,
		.command = m->header.command,
		.size = sizeof(header),
		.flags = VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR,
		.error = (uint32_t)error,
	};

	s->stats.errors++;
	log_limited(&s->limit, LOG_LEVEL_WARNING, "%s: %s refused: %s", pci_function_name(s->f),
		    vfio_user_command_name(m->header.command), strerror(error));
	if (m->header.flags & VFIO_USER_NO_REPLY)
		return;
	s->stats.replies++;
	vfio_user_send(s, &header, NULL, 0, NULL, 0, -1);
}

/* ---- receiving --------------------------------------------------------------------------- */

static bool is_reply(const struct vfio_user_header *h)
{
	return (h->flags & VFIO_USER_TYPE) == VFIO_USER_TYPE_REPLY;
}

static bool header_is_sound(const struct vfio_user_server *s, const struct vfio_user_header *h)
{
	if (h->size < sizeof(*h) || h->size > VFIO_USER_MESSAGE_MAX)
		return false;
	return is_reply(h) ? vfio_user_dma_expects(s, h)
			   : (h->flags & VFIO_USER_TYPE) == VFIO_USER_TYPE_COMMAND;
}

static void handle(struct vfio_user_server *s);

static void go_on(struct loop_timer *timer)
{
	struct vfio_user_server *s = container_of(timer, struct vfio_user_server, go_on);

	s->round_until_ns = 0;
	handle(s);
}

/* The message that has come, or more of the one that is unfinished. */
static void handle(struct vfio_user_server *s)
{
	struct vfio_user_message m = {
		.header = s->header,
		.body = s->body,
		.len = s->header.size - sizeof(s->header),
		.fds = s->fds,
		.n_fds = s->n_fds,
	};
	int err;

	s->got = 0;
	if (is_reply(&m.header)) {
		err = vfio_user_dma_reply(s, &m);
	} else {
		s->stats.messages += !s->unfinished;
		err = vfio_user_command(s, &m);
	}
	if (s->unfinished != (err == -EAGAIN)) {
		s->unfinished = !s->unfinished;
		update_events(s);
	}
	if (s->unfinished) {
		loop_timer_set(s->loop, &s->go_on, time_now_ns(), go_on);
		return;
	}
	close_fds(s);
	if (err == -EPROTO)
		vfio_user_broken(s, "it broke the protocol");
	else if (err)
		reply_error(s, &m, err);
	/* a client of another version may ask for ours, one that sends nonsense has said enough */
	if (err == EINVAL && !s->negotiated)
		vfio_user_broken(s, "a malformed VERSION");
}

/* Reads towards the end of the current message. Returns 1 when it is whole, 0 when more has to
 * come, -1 when the session ended. */
static int receive(struct vfio_user_server *s)
{
	while (true) {
		bool in_header = s->got < sizeof(s->header);
		size_t end = in_header ? sizeof(s->header) : s->header.size;
		uint8_t *to = in_header ? (uint8_t *)&s->header + s->got
					: s->body + (s->got - sizeof(s->header));
		ssize_t n;

		n = unix_receive(s->fd, to, end - s->got, s->fds, &s->n_fds, VFIO_USER_FDS_MAX,
				 s->hold.closer);
		if (n == -EAGAIN || n == -EINTR)
			return 0;
		if (n == -EMFILE) {
			vfio_user_broken(s, "too many descriptors in one message");
			return -1;
		}
		if (n <= 0) {
			end_session(s, n ? strerror((int)-n) : "it closed the connection");
			return -1;
		}
		s->got += (size_t)n;
		if (s->got < end) {
			/* there may be more, for as long as it goes on sending single bytes */
			if (client_round_over(&s->round_until_ns))
				return 0;
			continue;
		}
		if (in_header) {
			size_t len = s->header.size - sizeof(s->header);

			if (!header_is_sound(s, &s->header)) {
				vfio_user_broken(s, "a malformed header");
				return -1;
			}
			if (len > s->body_room) {
				uint8_t *body = realloc(s->body, len);

				if (!body) {
					end_session(s, "no memory for a message");
					return -1;
				}
				s->body = body;
				s->body_room = len;
			}
			if (len)
				continue;
		}
		return 1;
	}
}

static void session_ready(struct loop_fd *lfd, uint32_t events)
{
	struct vfio_user_server *s = container_of(lfd, struct vfio_user_server, lfd);

	if (events & EPOLLOUT) {
		if (!flush(s))
			return;
		vfio_user_dma_pump(s);
	}
	if (s->hold.on || s->unfinished) {
		/* only errors come then: the client is gone */
		if (events & (EPOLLHUP | EPOLLERR))
			end_session(s, "it closed the connection");
		return;
	}
	s->round_until_ns = 0;
	for (unsigned i = 0; i < MESSAGES_PER_ROUND && s->fd >= 0; i++) {
		bool replied;

		if (client_hold(&s->hold))
			return;
		if (receive(s) <= 0)
			return;
		replied = !is_reply(&s->header) && !(s->header.flags & VFIO_USER_NO_REPLY);
		handle(s);
		/* Clients wait for a reply: looking for more costs each access a system call. */
		if (replied || s->unfinished || client_round_over(&s->round_until_ns))
			return;
	}
}

/* ---- connections ------------------------------------------------------------------------- */

/* The last client may have gone without our having been told yet: its end is in the same round, and
 * perhaps behind bytes that nobody has read. */
static bool session_is_dead(const struct vfio_user_server *s)
{
	struct pollfd pfd = { s->fd, POLLRDHUP, 0 };

	return poll(&pfd, 1, 0) > 0;
}

static void accept_client(struct loop_fd *lfd, uint32_t events)
{
	struct vfio_user_server *s = container_of(lfd, struct vfio_user_server, listener);
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);
	int fd;

	if (s->fd >= 0 && session_is_dead(s))
		end_session(s, "it closed the connection");
	if (client_hold(&s->hold))
		return;
	fd = unix_accept(lfd, pci_function_name(s->f), &s->accept_limit);
	if (fd < 0)
		return;
	if (s->fd >= 0) {
		s->stats.refused++;
		log_limited(&s->limit, LOG_LEVEL_WARNING,
			    "%s: a second client is refused while %d is served",
			    pci_function_name(s->f), (int)s->stats.client_pid);
		client_closer_close(s->hold.closer, fd);
		return;
	}
	if (loop_add(s->loop, &s->lfd, fd, EPOLLIN, session_ready)) {
		client_closer_close(s->hold.closer, fd);
		return;
	}
	s->fd = fd;
	s->waits_to_send = false;
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	s->stats.client_pid = cred.pid;
	s->stats.connections++;
	s->stats.connected = true;
	s->client_data_max = VFIO_USER_DATA_MAX;
	log_limited(&s->limit, LOG_LEVEL_INFO, "%s: client %d connected", pci_function_name(s->f),
		    (int)cred.pid);
}

struct vfio_user_server *vfio_user_server_new(struct loop *loop,
					      const struct vfio_user_config *config,
					      struct pci_function *f, struct memory_space *space)
{
	struct vfio_user_server *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return NULL;
	s->loop = loop;
	s->f = f;
	s->space = space;
	s->fd = s->listen_fd = s->resample_fd = -1;
	s->out_tail = &s->out;
	s->limit.burst = 20;
	s->accept_limit.burst = 1;
	err = -vfio_user_dma_init(s);
	if (err) {
		free(s);
		errno = err;
		return NULL;
	}
	s->path = strdup(config->path);
	if (!s->path) {
		err = ENOMEM;
		goto fail;
	}
	err = -client_hold_init(&s->hold, loop, space, &s->listener, held);
	if (err)
		goto fail;
	s->listen_fd = config->listen_fd > 0 ? config->listen_fd
					     : unix_listen(config->path, config->owner,
							   config->group, config->mode);
	if (s->listen_fd < 0) {
		err = -s->listen_fd;
		goto fail;
	}
	err = -loop_add(loop, &s->listener, s->listen_fd, EPOLLIN, accept_client);
	if (!err)
		return s;
	close(s->listen_fd);
	unlink(s->path);
fail:
	client_hold_done(&s->hold);
	vfio_user_dma_done(s);
	free(s->path);
	free(s);
	errno = err;
	return NULL;
}

void vfio_user_server_free(struct vfio_user_server *s)
{
	if (!s)
		return;
	end_session(s, "the device is removed");
	loop_remove(&s->listener);
	client_closer_close(s->hold.closer, s->listen_fd); /* with who waits to be accepted */
	unlink(s->path);
	client_hold_done(&s->hold);
	vfio_user_dma_done(s);
	free(s->body);
	free(s->path);
	free(s);
}

void vfio_user_server_disconnect(struct vfio_user_server *s)
{
	end_session(s, "disconnected on request");
}

void vfio_user_server_check(struct vfio_user_server *s)
{
	if (s->fd >= 0 && memory_space_failed(s->space))
		vfio_user_broken(s, "it truncated its memory file");
}

void vfio_user_server_stats(const struct vfio_user_server *s, struct vfio_user_stats *stats)
{
	*stats = s->stats;
	stats->closing = client_closer_busy(s->hold.closer);
	stats->dma_waiting = s->dma.n_asked;
}
