/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An image is locked (flock) by whoever uses it: two daemons that write one would destroy it. After
 * a kill it stays locked for as long as requests of the killed process are under way, since they
 * hold the file by its ring; so none of them can land behind what the next one writes. That takes
 * moments, on a busy machine seconds, with storage that is stuck for ever: therefore a timer, which
 * looks often at first and never gives up.
 */
#include "disk/claim.h"

#include "base/clock.h"

#include <errno.h>

#define OFTEN_NS     (5 * NS_PER_MS)
#define OFTEN_FOR_NS (2 * NS_PER_S)
#define SELDOM_NS    (100 * NS_PER_MS)

static void try_again(struct loop_timer *timer)
{
	struct disk_claim *claim = container_of(timer, struct disk_claim, timer);
	uint64_t now = time_now_ns();
	bool often = now - claim->since_ns < OFTEN_FOR_NS;

	if (claim->backend->ops->lock(claim->backend, true))
		loop_timer_set(claim->loop, timer, now + (often ? OFTEN_NS : SELDOM_NS), try_again);
	else
		claim->got(claim);
}

int disk_claim_make(struct disk_claim *claim)
{
	int err = claim->backend->ops->lock ? claim->backend->ops->lock(claim->backend, true) : 0;

	if (err != -EAGAIN)
		return err;
	if (!claim->loop)
		return -EBUSY;
	claim->since_ns = time_now_ns();
	loop_timer_set(claim->loop, &claim->timer, claim->since_ns + OFTEN_NS, try_again);
	return -EAGAIN;
}

void disk_claim_end(struct disk_claim *claim)
{
	loop_timer_cancel(&claim->timer);
}
