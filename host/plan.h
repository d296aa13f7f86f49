/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which physical CPUs a machine's vCPUs get. Pure: topology and wishes in, a plan out.
 *
 * A core is given to one machine as a whole: SMT siblings take consecutive vCPUs, and a sibling
 * that is left over stays empty. The core of the first CPU is the host's. Cores that were isolated
 * at boot come first, then those near the device, of the faster kind, and around one cache. A map
 * overrides the choice, but not what would break the host.
 */
#ifndef EXITLESS_HOST_PLAN_H
#define EXITLESS_HOST_PLAN_H

#include "host/map.h"
#include "host/topology.h"

struct plan_request {
	unsigned n_vcpus;	   /* without a map */
	const unsigned *vcpus;	   /* their numbers, rising; NULL: from 0 on without a hole */
	const struct cpu_map *map; /* NULL: choose */
	int node;		   /* where the memory and device are; -1: anywhere */
	struct cpus allowed;	   /* choose among these; empty: all */
	struct cpus taken;	   /* those of other machines */
};

struct plan {
	struct cpu_map map;
	struct cpus dedicated;	  /* all CPUs of the cores in use */
	struct cpus at_boot;	  /* of these: isolated since boot */
	struct cpus at_run_time;  /* of these: to be isolated now */
	struct cpus housekeeping; /* what is left to the host and its other machines */
	struct host_names notes;  /* what could be better, for people */
};

/*
 * -EINVAL: the map or wishes name a CPU that is not online; -EBUSY: it is another machine's;
 * -ENOSPC: too few CPUs, or none would be left to the host. *plan is then empty.
 */
int plan_make(const struct topology *topology, const struct plan_request *request,
	      struct plan *plan, struct host_error *error);
void plan_done(struct plan *plan);

#endif
