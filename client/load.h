/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What load generators of all kinds share: the clock, waiting for a phase to end, the CPU time of
 * another process. A load of a new kind has a file of its own beside this one, and a row in the
 * table in cli/bench.c.
 *
 * Times are cycles of the time-stamp counter while a load runs (one instruction to read), turned
 * into nanoseconds by load_ns().
 */
#ifndef EXITLESS_CLIENT_LOAD_H
#define EXITLESS_CLIENT_LOAD_H

#include "base/clock.h"

#include <stdint.h>

/* The time-stamp counter's rate, measured once per process (20 ms). Main thread, before any load.
 */
void load_clock_init(void);
double load_cycles_per_s(void);
/* @cycles, a difference, in nanoseconds. */
uint64_t load_ns(uint64_t cycles);

/* Seconds of CPU that the process @pid has used, all threads; -ESRCH. */
int load_cpu_seconds(int pid, double *seconds);
/* Keeps the calling thread on @cpu. 0 or -errno. */
int load_pin(int cpu);

#endif
