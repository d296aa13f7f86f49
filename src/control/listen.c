/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket and its clients. Each has a buffer for the line it is sending and one for the
 * answers it has not read. While answers wait, nothing more is read from it, so that it cannot make
 * us keep more than one line's answer.
 */
#include "base/log.h"
#include "base/util.h"
#include "control/rpc.h"
#include "transport/unix_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES 16384

struct client {
	struct list node;
	struct rpc_server *server;
	struct loop_fd lfd;
	char *in; /* the line so far */
	size_t in_len, in_room;
	char *out; /* [out_sent, out_len) waits */
	size_t out_len, out_sent;
	bool ended; /* sends no more */
};

struct rpc_server {
	struct loop *loop;
	struct rpc_config config;
	char *path;
	struct loop_fd lfd;
	struct list clients;
	unsigned n_clients;
	struct log_limit limit, accept_limit;
};

static void client_drop(struct client *client)
{
	int fd = client->lfd.fd;

	loop_remove(&client->lfd);
	close(fd);
	list_del(&client->node);
	client->server->n_clients--;
	free(client->in);
	free(client->out);
	free(client);
}

/* ---- sending ----------------------------------------------------------------------------- */

/* Sends what waits; -EAGAIN when some is left. */
static int client_flush(struct client *client)
{
	while (client->out_sent < client->out_len) {
		ssize_t n = send(client->lfd.fd, client->out + client->out_sent,
				 client->out_len - client->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		client->out_sent += (size_t)n;
	}
	free(client->out);
	client->out = NULL;
	client->out_len = client->out_sent = 0;
	return 0;
}

/* Queues @line, a string with room for one character more at its NUL. */
static int client_queue(struct client *client, const char *line)
{
	size_t len = strlen(line);
	char *out;

	if (client->out_len + len + 1 > RPC_PENDING_MAX)
		return -ENOBUFS;
	out = realloc(client->out, client->out_len + len + 1);
	if (!out)
		return -ENOMEM;
	memcpy(out + client->out_len, line, len);
	out[client->out_len + len] = '\n';
	client->out = out;
	client->out_len += len + 1;
	return 0;
}

/* ---- receiving --------------------------------------------------------------------------- */

static int client_line(struct client *client, const char *line, size_t len)
{
	char *answer;
	int err;

	if (strspn(line, " \t\r") >= len)
		return 0;
	answer = rpc_answer(&client->server->config, line, len);
	if (!answer)
		return 0;
	err = client_queue(client, answer);
	free(answer);
	return err;
}

/* Handles the complete lines in the buffer, until an answer waits to be read. */
static int client_lines(struct client *client)
{
	size_t done = 0;
	int err = 0;

	while (!err && !client->out_len) {
		char *line = client->in + done;
		char *end = done < client->in_len ? memchr(line, '\n', client->in_len - done)
						  : NULL;

		if (!end)
			break;
		*end = '\0';
		err = client_line(client, line, (size_t)(end - line));
		done = (size_t)(end + 1 - client->in);
		if (!err) {
			err = client_flush(client);
			if (err == -EAGAIN)
				err = 0;
		}
	}
	if (done) {
		memmove(client->in, client->in + done, client->in_len - done);
		client->in_len -= done;
	}
	if (!err && !client->out_len && client->in_len >= RPC_REQUEST_MAX)
		err = -EMSGSIZE;
	return err;
}

static int client_read(struct client *client)
{
	ssize_t n;

	if (client->in_room - client->in_len < READ_BYTES) {
		size_t room = MAX(2 * client->in_room, (size_t)2 * READ_BYTES);
		char *in = realloc(client->in, room);

		if (!in)
			return -ENOMEM;
		client->in = in;
		client->in_room = room;
	}
	n = recv(client->lfd.fd, client->in + client->in_len, READ_BYTES, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	client->ended = !n;
	client->in_len += (size_t)n;
	return 0;
}

static void client_ready(struct loop_fd *lfd, uint32_t events)
{
	struct client *client = container_of(lfd, struct client, lfd);
	struct rpc_server *server = client->server;
	int err = 0;

	if (client->out_len) {
		err = client_flush(client);
		if (err == -EAGAIN)
			err = 0;
	}
	if (!err && !client->out_len && events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !client->ended)
		err = client_read(client);
	if (!err)
		err = client_lines(client);
	if (err == -EMSGSIZE || err == -ENOBUFS)
		log_limited(&server->limit, LOG_LEVEL_WARNING,
			    "control: a client was dropped: its %s too long",
			    err == -EMSGSIZE ? "request is" : "answers are");
	if (err || (client->ended && !client->out_len) ||
	    (events & EPOLLERR) /* the other end is gone */) {
		client_drop(client);
		return;
	}
	loop_modify(lfd, client->out_len ? EPOLLOUT : EPOLLIN);
}

static void server_ready(struct loop_fd *lfd, uint32_t events)
{
	struct rpc_server *server = container_of(lfd, struct rpc_server, lfd);
	struct client *client;
	int fd;

	fd = unix_accept(lfd, "control", &server->accept_limit);
	if (fd < 0)
		return;
	client = server->n_clients < RPC_CLIENTS_MAX ? calloc(1, sizeof(*client)) : NULL;
	if (!client || loop_add(server->loop, &client->lfd, fd, EPOLLIN, client_ready) < 0) {
		log_limited(&server->limit, LOG_LEVEL_WARNING,
			    "control: a client was refused: there are %u", server->n_clients);
		free(client);
		close(fd);
		return;
	}
	client->server = server;
	list_add(&server->clients, &client->node);
	server->n_clients++;
}

/* ---- the socket -------------------------------------------------------------------------- */

struct rpc_server *rpc_server_new(struct loop *loop, const struct rpc_config *config)
{
	struct rpc_server *server;
	int fd, err;

	server = calloc(1, sizeof(*server));
	if (!server)
		return NULL;
	server->loop = loop;
	server->config = *config;
	server->accept_limit.burst = 1;
	list_init(&server->clients);
	server->path = strdup(config->path);
	if (!server->path) {
		err = -ENOMEM;
		goto free_server;
	}
	server->config.path = server->path;
	fd = unix_listen(config->path, config->owner, config->group, config->mode);
	if (fd < 0) {
		err = fd;
		goto free_server;
	}
	err = loop_add(loop, &server->lfd, fd, EPOLLIN, server_ready);
	if (err)
		goto close_fd;
	return server;

close_fd:
	unlink(config->path);
	close(fd);
free_server:
	free(server->path);
	free(server);
	errno = -err;
	return NULL;
}

void rpc_server_free(struct rpc_server *server)
{
	struct client *client;

	if (!server)
		return;
	list_for_each(client, &server->clients, node) client_drop(client);
	loop_remove(&server->lfd);
	close(server->lfd.fd);
	unlink(server->path);
	free(server->path);
	free(server);
}
