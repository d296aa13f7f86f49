/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Counts of a LAPIC's timer and cycles of the time-stamp counter, in nanoseconds: pure functions,
 * which compile in the kernel and in user space, where they are tested.
 */
#ifndef EXITLESS_COUNT_H
#define EXITLESS_COUNT_H

#include "vectors.h"

#define EX_NS_MAX 1000000000000000000ull /* 31 years; far from where an s64 ends */

/* What a count takes where the bus has a cycle of @bus_ns, with that divide configuration register
 * (SDM volume 3, figure 12-10). */
static inline u64 ex_count_ns(u64 bus_ns, u32 tdcr)
{
	u32 n = (tdcr & 3) | (tdcr & 8) >> 1;

	return bus_ns << ((n + 1) & 7);
}

/* The initial count that takes @ns, positive, or as near to that as there is one; never 0, which
 * stops the timer. */
static inline u32 ex_ns_count(s64 ns, u64 count_ns)
{
	u64 n = (u64)ns / count_ns;

	return !n ? 1 : n > 0xffffffffu ? 0xffffffffu : (u32)n;
}

/* What so many cycles take, EX_NS_MAX at most. */
static inline u64 ex_cycles_ns(u64 cycles, u32 khz)
{
	u64 ms = cycles / khz;

	return ms >= EX_NS_MAX / 1000000 ? EX_NS_MAX : ms * 1000000 + cycles % khz * 1000000 / khz;
}

#endif
