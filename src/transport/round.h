/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long one client has the control thread in a round of the loop, whatever it sends: a message
 * that is not answered brings the next one with it, and some are work for a while. Only what may
 * take several steps asks the clock, and the first who asks starts the time.
 */
#ifndef EXITLESS_TRANSPORT_ROUND_H
#define EXITLESS_TRANSPORT_ROUND_H

#include "base/clock.h"

#include <stdbool.h>

#define CLIENT_ROUND_NS (200 * NS_PER_US)

/* @until_ns: the round's own, 0 at its start. True once its time is over. */
static inline bool client_round_over(uint64_t *until_ns)
{
	uint64_t now = time_now_ns();

	if (!*until_ns)
		*until_ns = now + CLIENT_ROUND_NS;
	return now >= *until_ns;
}

#endif
