/* SPDX-License-Identifier: BSD-2-Clause */
/* Sets of CPUs, and the two forms in which Linux writes them. Pure functions, any thread. */
#ifndef EXITLESS_HOST_CPUS_H
#define EXITLESS_HOST_CPUS_H

#include <stdbool.h>
#include <stdint.h>

#define HOST_CPUS_MAX 1024

struct cpus {
	uint64_t bits[HOST_CPUS_MAX / 64];
};

/*
 * Reads a list ("0-3,8,10-20:2/4"; "all" and "N" as in kernel parameters, "" is empty) or a mask of
 * hexadecimal words with commas between them ("ff,00000001"). -EINVAL for anything else, -ERANGE
 * for a CPU from HOST_CPUS_MAX on; *out is then as it was.
 */
int cpus_parse_list(struct cpus *out, const char *text);
int cpus_parse_mask(struct cpus *out, const char *text);

/* Text on the heap; the mask has as many words as its highest CPU needs, at least one. */
char *cpus_list(const struct cpus *cpus);
char *cpus_mask(const struct cpus *cpus);

static inline bool cpus_has(const struct cpus *cpus, unsigned cpu)
{
	return cpu < HOST_CPUS_MAX && cpus->bits[cpu / 64] >> cpu % 64 & 1;
}

static inline void cpus_add(struct cpus *cpus, unsigned cpu)
{
	cpus->bits[cpu / 64] |= 1ull << cpu % 64;
}

unsigned cpus_count(const struct cpus *cpus);
bool cpus_equal(const struct cpus *a, const struct cpus *b);
struct cpus cpus_and(const struct cpus *a, const struct cpus *b);
struct cpus cpus_or(const struct cpus *a, const struct cpus *b);
struct cpus cpus_without(const struct cpus *a, const struct cpus *b);
/* The first member from @from on, or -1. */
int cpus_next(const struct cpus *cpus, unsigned from);

static inline bool cpus_empty(const struct cpus *cpus)
{
	return cpus_next(cpus, 0) < 0;
}

static inline bool cpus_meet(const struct cpus *a, const struct cpus *b)
{
	struct cpus both = cpus_and(a, b);

	return !cpus_empty(&both);
}

#define cpus_for_each(cpu, cpus)                                                                   \
	for (int cpu = cpus_next(cpus, 0); cpu >= 0; cpu = cpus_next(cpus, (unsigned)cpu + 1))

#endif
