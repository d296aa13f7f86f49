/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/hold.h"

#include "base/clock.h"
#include "base/event.h"
#include "base/util.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#define LOOK_NS (5 * NS_PER_MS)

static void turn(struct client_hold *hold, bool on)
{
	hold->on = on;
	hold->changed(hold);
	loop_modify(hold->listener, on ? 0 : EPOLLIN);
}

static bool has_to_wait(const struct client_hold *hold)
{
	return client_closer_busy(hold->closer) || memory_space_behind(hold->space);
}

static void looked_at(struct loop_timer *timer);

/* The closer tells when it is done, unmapping is looked at. */
static void look(struct client_hold *hold)
{
	if (!hold->on)
		return;
	if (!has_to_wait(hold))
		turn(hold, false);
	else if (memory_space_behind(hold->space))
		loop_timer_set(hold->loop, &hold->look, time_now_ns() + LOOK_NS, looked_at);
}

static void looked_at(struct loop_timer *timer)
{
	look(container_of(timer, struct client_hold, look));
}

static void closed(struct loop_fd *lfd, uint32_t events)
{
	event_fd_drain(lfd->fd);
	look(container_of(lfd, struct client_hold, closed));
}

int client_hold_init(struct client_hold *hold, struct loop *loop, struct memory_space *space,
		     struct loop_fd *listener, void (*changed)(struct client_hold *hold))
{
	*hold = (struct client_hold){
		.loop = loop,
		.space = space,
		.listener = listener,
		.changed = changed,
	};
	hold->closer = client_closer_new();
	if (!hold->closer)
		return -errno;
	return loop_add(loop, &hold->closed, client_closer_event(hold->closer), EPOLLIN, closed);
}

void client_hold_done(struct client_hold *hold)
{
	loop_remove(&hold->closed);
	loop_timer_cancel(&hold->look);
	client_closer_free(hold->closer);
}

bool client_hold(struct client_hold *hold)
{
	if (likely(!has_to_wait(hold)))
		return false;
	if (!hold->on) {
		turn(hold, true);
		look(hold);
	}
	return hold->on;
}

void client_hold_close(struct client_hold *hold, int fd)
{
	if (fd >= 0 && memory_space_holds(hold->space, fd))
		close(fd);
	else
		client_closer_close(hold->closer, fd);
}
