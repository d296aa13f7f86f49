/* SPDX-License-Identifier: BSD-2-Clause */
/* Monotonic time in nanoseconds (CLOCK_MONOTONIC), and cycles for cost accounting. Any thread. */
#ifndef EXITLESS_BASE_CLOCK_H
#define EXITLESS_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

static inline uint64_t time_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* The CPU's time-stamp counter; only differences on one CPU mean anything. */
static inline uint64_t time_cycles(void)
{
	return __builtin_ia32_rdtsc();
}

#endif
