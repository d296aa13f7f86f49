/* SPDX-License-Identifier: BSD-2-Clause */
/* Unix stream sockets as the transports use them: listening, and messages with descriptors. */
#ifndef EXITLESS_TRANSPORT_UNIX_SOCKET_H
#define EXITLESS_TRANSPORT_UNIX_SOCKET_H

#include <stddef.h>
#include <sys/types.h>

struct client_closer;

struct log_limit;
struct loop_fd;

/*
 * Makes and binds a socket at @path, sets owner, group ((uid_t)-1, (gid_t)-1: leave) and @mode (0:
 * 0600), and only then listens. A socket file that nobody serves is replaced. Returns the
 * descriptor (non-blocking, close-on-exec), or -EADDRINUSE (somebody listens there, or the path is
 * no socket), -ENAMETOOLONG, -errno.
 */
int unix_listen(const char *path, uid_t owner, gid_t group, mode_t mode);

/*
 * Accepts a client (non-blocking, close-on-exec) on @listener, which is ready. Returns the
 * descriptor, or -errno: -EAGAIN when it went away again. When there is no descriptor or memory for
 * it, it stays in the queue, and the listener is not looked at for a while, because it would go on
 * being ready; @name is who says so in the log, within @limit.
 */
int unix_accept(struct loop_fd *listener, const char *name, struct log_limit *limit);

/*
 * Receives up to @len bytes and the descriptors that came with them, which are added to
 * @fds[*n_fds...@max_fds); those that do not fit are closed by @closer and make it -EMFILE. Returns
 * the bytes, 0 at the end of the stream, -EAGAIN, -errno.
 */
ssize_t unix_receive(int fd, void *buf, size_t len, int *fds, unsigned *n_fds, unsigned max_fds,
		     struct client_closer *closer);

/* Sends without blocking, with @send_fd (-1: none). Returns the bytes, -EAGAIN or -errno. */
ssize_t unix_send(int fd, const void *buf, size_t len, int send_fd);

#endif
