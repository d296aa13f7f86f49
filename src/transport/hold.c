/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/hold.h"

#include "base/event.h"
#include "base/util.h"

#include <errno.h>
#include <sys/epoll.h>

static void turn(struct client_hold *hold, bool on)
{
	hold->on = on;
	hold->changed(hold);
	loop_modify(hold->listener, on ? 0 : EPOLLIN);
}

static void closed(struct loop_fd *lfd, uint32_t events)
{
	struct client_hold *hold = container_of(lfd, struct client_hold, closed);

	event_fd_drain(lfd->fd);
	if (hold->on && !client_closer_busy(hold->closer))
		turn(hold, false);
}

int client_hold_init(struct client_hold *hold, struct loop *loop, struct loop_fd *listener,
		     void (*changed)(struct client_hold *hold))
{
	*hold = (struct client_hold){ .listener = listener, .changed = changed };
	hold->closer = client_closer_new();
	if (!hold->closer)
		return -errno;
	return loop_add(loop, &hold->closed, client_closer_event(hold->closer), EPOLLIN, closed);
}

void client_hold_done(struct client_hold *hold)
{
	loop_remove(&hold->closed);
	client_closer_free(hold->closer);
}

bool client_hold(struct client_hold *hold)
{
	if (likely(!client_closer_busy(hold->closer)))
		return false;
	if (!hold->on)
		turn(hold, true);
	return true;
}
