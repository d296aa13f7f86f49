/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Carrying out a plan on a running machine, and undoing it.
 *
 * CPUs that were isolated at boot are as they should be. The others become an isolated partition of
 * cgroup v2 that holds the vCPUs' threads; where that cannot be had every thread of the host is
 * moved off one by one. Then each vCPU's thread is bound to its CPU, the machine's other threads,
 * kernel threads, work queues, the watchdog and interrupts are moved off, and the interrupts of the
 * machine's own devices to their vCPU's CPU.
 *
 * What was done is in RUN/PID, a heading and a journal (change.h), under a lock.
 */
#ifndef EXITLESS_HOST_PLACE_H
#define EXITLESS_HOST_PLACE_H

#include "host/change.h"
#include "host/plan.h"
#include "host/vm.h"

/* What is done for one machine: the heading of its journal. */
struct placement {
	int pid;
	unsigned long long start;
	char name[256];
	struct cpu_map map;
	struct cpus dedicated, housekeeping;
	struct cpus taken; /* those of other machines then */
};

/* What there is to change now; nothing is changed. *changes is empty before. The plan's notes tell
 * why there will be no partition. */
int place_build(const struct host *host, const struct topology *topology, struct plan *plan,
		const struct vm *vm, struct changes *changes, struct host_error *error);

/* The same for the interrupts of the machine's own devices alone. */
void place_build_own_irqs(const struct host *host, const struct cpus *online,
			  const struct plan *plan, const struct vm *vm, struct changes *changes);

/* Makes the changes and writes the journal. -EEXIST if the machine has one. On failure the journal
 * is gone, unless not all could be undone: it is for place_undo() then. */
int place_apply(struct host *host, const struct plan *plan, const struct vm *vm,
		const struct changes *changes, unsigned *refused, struct host_error *error);

/* Undoes all. -ENOENT if the machine has nothing. With @gone_only: 1, and nothing is undone, if the
 * machine runs; -EINVAL if the heading does not tell which machine's it is. */
int place_undo(struct host *host, int pid, bool gone_only, struct host_error *error);

/* Moves interrupts that the machine's devices have got since. 1: the machine is gone. */
int place_follow(struct host *host, int pid, struct host_error *error);

/* The machines that have a placement, as numbers of processes; errno tells why it could not be read
 * who has. */
struct host_names place_all(const struct host *host);
/* The process of a machine that has one, though it may have ended: by its number, its name then,
 * or, while it runs, the path of its QMP socket. -ESRCH if none has, or why the socket does not
 * serve. */
int place_find(const struct host *host, const char *which, struct host_error *error);
int place_read(const struct host *host, int pid, struct placement *placement,
	       struct host_error *error);
/* Does the machine of a placement still run? */
bool place_alive(const struct host *host, const struct placement *placement);
/* The CPUs of all machines that run, but @pid. -errno if some journal does not tell. */
int place_taken(const struct host *host, int pid, struct cpus *taken, struct host_error *error);

#endif
