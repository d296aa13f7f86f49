/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which vCPU runs on which physical CPU, in Directvisor's form: lines of "VCPU PCPU", two numbers.
 * Empty lines, and all after a '#', say nothing.
 */
#ifndef EXITLESS_HOST_MAP_H
#define EXITLESS_HOST_MAP_H

#include "host/cpus.h"
#include "host/text.h"

struct cpu_map {
	unsigned n;
	struct {
		unsigned vcpu, pcpu;
	} pin[HOST_CPUS_MAX]; /* in order of vcpu */
};

/* Reads @text, which came from the file @name. -EINVAL with @error as "NAME:LINE: ..." if a line is
 * no pair of numbers in range, or a CPU of either kind is there twice, or there is no pair. */
int cpu_map_parse(struct cpu_map *map, const char *name, const char *text,
		  struct host_error *error);
/* Reads a file of this machine; "-" is standard input. */
int cpu_map_read(struct cpu_map *map, const char *path, struct host_error *error);
/* The same form, on the heap. */
char *cpu_map_print(const struct cpu_map *map);

#endif
