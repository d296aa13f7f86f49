/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a server does while descriptors that its client sent are still being closed
 * (base/client_fd.h), or more of its clients' memory files are still being unmapped than should be
 * (memory/space.h): it reads nothing from any client and accepts none. Control thread.
 */
#ifndef EXITLESS_TRANSPORT_HOLD_H
#define EXITLESS_TRANSPORT_HOLD_H

#include "base/client_fd.h"
#include "base/loop.h"
#include "memory/space.h"

struct client_hold {
	struct client_closer *closer;
	bool on; /* nothing is read and nobody accepted */

	/* private */
	struct loop *loop;
	struct memory_space *space;
	struct loop_fd closed;
	struct loop_timer look; /* at @space */
	struct loop_fd *listener;
	void (*changed)(struct client_hold *hold);
};

/*
 * @space: the device's. @listener: the server's, watched or not; it is not looked at while @hold is
 * on. @changed: @on has changed, and so what the session's descriptor is watched for. Returns 0 or
 * -errno; client_hold_done() is for both.
 */
int client_hold_init(struct client_hold *hold, struct loop *loop, struct memory_space *space,
		     struct loop_fd *listener, void (*changed)(struct client_hold *hold));
void client_hold_done(struct client_hold *hold);

/* Before anything is read or accepted: true if it has to wait. */
bool client_hold(struct client_hold *hold);

/* Closes @fd (-1: nothing), which came from the client: at once if that takes no time. */
void client_hold_close(struct client_hold *hold, int fd);

#endif
