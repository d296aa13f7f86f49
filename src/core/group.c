/* SPDX-License-Identifier: BSD-2-Clause */
/* A machine's weight, class and rates, shared by all cores that serve its queues. */
#include "base/clock.h"
#include "base/util.h"
#include "core/private.h"

#include <errno.h>
#include <stdlib.h>

/* A rate may be ahead of its time by this much: a burst after a pause. */
#define BURST_NS (2 * NS_PER_MS)

struct io_group *io_group_new(const char *name)
{
	struct io_group *group = calloc(1, sizeof(*group));

	if (!group)
		return NULL;
	group->name = strdup(name);
	if (!group->name) {
		free(group);
		return NULL;
	}
	group->params.weight = 1;
	return group;
}

void io_group_free(struct io_group *group)
{
	if (!group)
		return;
	free(group->name);
	free(group);
}

/* What was overdrawn at another rate is forgotten: at a low one it may be hours. */
static void rate_set(struct io_rate *rate, uint64_t per_s)
{
	if (rate->per_s == per_s)
		return;
	WRITE_ONCE(rate->per_s, per_s);
	STORE_RELEASE(rate->tat_ns, 0);
}

int io_group_set(struct io_group *group, const struct io_group_params *params)
{
	if (params->weight > 1000 || params->latency > IO_LATENCY_BULK ||
	    (params->max_packets_per_s && params->min_packets_per_s > params->max_packets_per_s) ||
	    (params->max_bytes_per_s && params->min_bytes_per_s > params->max_bytes_per_s))
		return -EINVAL;
	WRITE_ONCE(group->params.weight, params->weight ? params->weight : 1);
	WRITE_ONCE(group->params.latency, params->latency);
	WRITE_ONCE(group->params.max_packets_per_s, params->max_packets_per_s);
	WRITE_ONCE(group->params.max_bytes_per_s, params->max_bytes_per_s);
	WRITE_ONCE(group->params.min_packets_per_s, params->min_packets_per_s);
	WRITE_ONCE(group->params.min_bytes_per_s, params->min_bytes_per_s);
	rate_set(&group->max_packets, params->max_packets_per_s);
	rate_set(&group->max_bytes, params->max_bytes_per_s);
	rate_set(&group->min_packets, params->min_packets_per_s);
	rate_set(&group->min_bytes, params->min_bytes_per_s);
	return 0;
}

void io_group_stats(const struct io_group *group, struct io_group_stats *stats)
{
	stats->packets = READ_ONCE(group->stats.packets);
	stats->bytes = READ_ONCE(group->stats.bytes);
	stats->busy_ns = READ_ONCE(group->stats.busy_ns);
	stats->limited = READ_ONCE(group->stats.limited);
	stats->promoted = READ_ONCE(group->stats.promoted);
}

/* Units that @rate allows at @now; 0 with *until set when none. */
static uint64_t rate_room(const struct io_rate *rate, uint64_t now_ns, uint64_t *until_ns)
{
	uint64_t per_s = READ_ONCE(rate->per_s), tat = READ_ONCE(rate->tat_ns);

	if (!per_s)
		return UINT64_MAX;
	if (tat > now_ns) {
		*until_ns = MAX(*until_ns, tat);
		return 0;
	}
	/* at least one: what is taken too much is paid back by waiting */
	return 1 + (uint64_t)((unsigned __int128)MIN(now_ns - tat, BURST_NS) * per_s / NS_PER_S);
}

static void rate_charge(struct io_rate *rate, uint64_t now_ns, uint64_t units)
{
	uint64_t old = LOAD_ACQUIRE(rate->tat_ns), tat;

	do {
		/* after @old: nothing is charged at a rate that was changed and forgotten since */
		uint64_t per_s = READ_ONCE(rate->per_s);

		if (!per_s)
			return;
		tat = MAX(old, now_ns - BURST_NS) +
		      (uint64_t)((unsigned __int128)units * NS_PER_S / per_s);
	} while (!__atomic_compare_exchange_n(&rate->tat_ns, &old, tat, true, __ATOMIC_ACQUIRE,
					      __ATOMIC_ACQUIRE));
}

uint64_t io_group_limit(struct io_group *group, uint64_t now_ns, unsigned *packets, uint64_t *bytes)
{
	uint64_t until_ns = 0;
	uint64_t room_packets = rate_room(&group->max_packets, now_ns, &until_ns);
	uint64_t room_bytes = rate_room(&group->max_bytes, now_ns, &until_ns);

	if (until_ns) {
		__atomic_add_fetch(&group->stats.limited, 1, __ATOMIC_RELAXED);
		return until_ns;
	}
	*packets = (unsigned)MIN(*packets, room_packets);
	*bytes = MIN(*bytes, room_bytes);
	return 0;
}

bool io_group_below_minimum(const struct io_group *group, uint64_t now_ns)
{
	return (READ_ONCE(group->min_packets.per_s) &&
		READ_ONCE(group->min_packets.tat_ns) <= now_ns) ||
	       (READ_ONCE(group->min_bytes.per_s) && READ_ONCE(group->min_bytes.tat_ns) <= now_ns);
}

void io_group_charge(struct io_group *group, uint64_t now_ns, uint64_t packets, uint64_t bytes,
		     uint64_t busy_ns)
{
	rate_charge(&group->max_packets, now_ns, packets);
	rate_charge(&group->max_bytes, now_ns, bytes);
	rate_charge(&group->min_packets, now_ns, packets);
	rate_charge(&group->min_bytes, now_ns, bytes);
	__atomic_add_fetch(&group->stats.packets, packets, __ATOMIC_RELAXED);
	__atomic_add_fetch(&group->stats.bytes, bytes, __ATOMIC_RELAXED);
	__atomic_add_fetch(&group->stats.busy_ns, busy_ns, __ATOMIC_RELAXED);
}
