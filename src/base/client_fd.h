/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Closing descriptors that came from a client, and the sockets on which they come. A client decides
 * what is behind them, and so how long close() takes: a TCP socket may linger, a FUSE file's flush
 * may never be answered, a Unix socket has others in its queue, which go with it, and with the last
 * descriptor of a memory file all its pages are freed. So what is not known to be harmless is
 * closed by a thread made for it.
 *
 * Each server has a closer of its own, with one such thread at most, and reads nothing from its
 * client and takes no new one while that is busy: whoever may connect to a server's socket holds up
 * that server only, and what waits to be closed is no more than one message can bring.
 *
 * All functions are for the control thread; it does not wait in any of them.
 */
#ifndef EXITLESS_BASE_CLIENT_FD_H
#define EXITLESS_BASE_CLIENT_FD_H

#include <stdbool.h>

struct client_closer;

/* An eventfd, or a memory file (memfd, or a file of tmpfs or hugetlbfs) of few pages: close() does
 * not take long. Asks no other file anything. */
bool client_fd_is_harmless(int fd);

/* Returns NULL with errno set. */
struct client_closer *client_closer_new(void);
/* What is still being closed will be. NULL is allowed. */
void client_closer_free(struct client_closer *closer);

/* Closes @fd (-1: nothing): at once if it is harmless, else soon. */
void client_closer_close(struct client_closer *closer, int fd);
/* Is anything left to be closed? */
bool client_closer_busy(const struct client_closer *closer);
/* An eventfd that is readable once it is not busy any more; the caller drains it. */
int client_closer_event(const struct client_closer *closer);

#endif
