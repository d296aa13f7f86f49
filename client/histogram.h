/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A high-dynamic-range histogram of times in nanoseconds: each power of two has the same number of
 * equal steps, so a value is known to better than 1 % from 1 ns to an hour. Recording costs a few
 * cycles and no more memory than its table. One thread.
 */
#ifndef EXITLESS_CLIENT_HISTOGRAM_H
#define EXITLESS_CLIENT_HISTOGRAM_H

#include "base/util.h"

#define HISTOGRAM_STEP_BITS 7 /* steps per power of two: 128 */
#define HISTOGRAM_MAX_BITS  42

struct histogram {
	uint64_t count, max;
	unsigned __int128 sum;
	uint64_t counts[(HISTOGRAM_MAX_BITS - HISTOGRAM_STEP_BITS + 1) << HISTOGRAM_STEP_BITS];
};

static inline unsigned histogram_index(uint64_t value)
{
	unsigned shift;

	if (value < 1u << HISTOGRAM_STEP_BITS)
		return (unsigned)value;
	if (unlikely(value >> HISTOGRAM_MAX_BITS))
		value = (1ull << HISTOGRAM_MAX_BITS) - 1;
	shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_STEP_BITS;
	return (shift << HISTOGRAM_STEP_BITS) + (unsigned)(value >> shift);
}

static inline void histogram_add(struct histogram *h, uint64_t ns)
{
	h->count++;
	h->sum += ns;
	h->counts[histogram_index(ns)]++;
	if (ns > h->max)
		h->max = ns;
}

/* Adds @n values: @first, @first + @step, and so on (none negative); takes no longer for many. */
void histogram_add_even(struct histogram *h, double first, double step, uint64_t n);

/* The value that a share of @quantile (0..1) of all does not exceed: the upper end of its step.
 * 0 when nothing was recorded. */
uint64_t histogram_at(const struct histogram *h, double quantile);
double histogram_mean(const struct histogram *h);
void histogram_clear(struct histogram *h);
/* Adds all of @from. */
void histogram_merge(struct histogram *to, const struct histogram *from);

#endif
