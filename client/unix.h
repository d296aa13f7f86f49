/* SPDX-License-Identifier: BSD-2-Clause */
/* What the clients of both protocols do with their sockets. */
#ifndef EXITLESS_CLIENT_UNIX_H
#define EXITLESS_CLIENT_UNIX_H

#include <stddef.h>

/*
 * All of @len bytes. A descriptor that comes with them goes to *@got_fd, and is closed if that is
 * NULL. Each piece is waited for for @timeout_ms, -1: for ever. 0, -ETIMEDOUT, or -ECONNRESET: the
 * server has hung up.
 */
int client_receive(int fd, void *buf, size_t len, int *got_fd, int timeout_ms);

#endif
