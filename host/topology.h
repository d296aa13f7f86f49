/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CPUs and how they hang together (/sys/devices/system/cpu and node), and which of them were taken
 * out of the scheduler's hands at boot or since. Read once, then constant.
 */
#ifndef EXITLESS_HOST_TOPOLOGY_H
#define EXITLESS_HOST_TOPOLOGY_H

#include "host/host.h"

#define HOST_NODES_MAX 64

enum cpu_kind {
	CPU_PLAIN, /* all are of one kind */
	CPU_FAST,  /* a performance core of a hybrid processor */
	CPU_SLOW,  /* an efficiency core */
};

struct topology_cpu {
	int package, core, node;
	int llc; /* the first CPU that shares its last level of cache */
	enum cpu_kind kind;
	struct cpus threads; /* of its core, itself included */
};

struct topology {
	struct cpus online;
	struct cpus nodes; /* a set of node numbers */
	bool smt, hybrid;
	unsigned distance[HOST_NODES_MAX][HOST_NODES_MAX]; /* 10: the same node */
	struct topology_cpu cpu[HOST_CPUS_MAX];		   /* meaningful for those online */

	/* Since boot; see kernel-parameters.txt in Linux's documentation. */
	struct cpus isolated;	/* isolcpus=, domain flag */
	struct cpus nohz_full;	/* nohz_full= */
	struct cpus nocbs;	/* rcu_nocbs=, or implied by nohz_full= */
	struct cpus partitions; /* isolated partitions of cgroup v2 */
	char *cgroup;		/* where cgroup v2 with cpuset is mounted; NULL without */
};

/* On the heap; NULL with @error set if the machine does not tell its CPUs. */
struct topology *topology_read(const struct host *host, struct host_error *error);
void topology_free(struct topology *topology); /* may be NULL */

const char *cpu_kind_name(enum cpu_kind kind);

#endif
