/* SPDX-License-Identifier: BSD-2-Clause */
/* A running QEMU: its process, its vCPUs' threads, and the devices that it has by VFIO. */
#ifndef EXITLESS_HOST_VM_H
#define EXITLESS_HOST_VM_H

#include "host/host.h"

struct vm {
	int pid;
	unsigned long long start; /* of the process, in clock ticks since boot: pids come again */
	char name[256];		  /* a longer one is cut */
	unsigned n_vcpus;
	struct {
		unsigned index;
		int tid;
	} vcpu[HOST_CPUS_MAX];
	struct host_names devices; /* PCI addresses */
};

/*
 * Finds a machine by the number of its process, by its QMP socket (a path), or by its name (QEMU's
 * -name), which counts only in a process that has a machine of KVM's or runs a VMM's program; the
 * former go first. vCPU threads are those that query-cpus-fast names at @qmp or that socket;
 * without one, those called "CPU N/KVM", else those that QEMU names at the socket of its own -qmp
 * option, if that process serves it. They are all threads of the process. -ESRCH, -EEXIST (several
 * of that name), -ENOENT (its vCPU threads cannot be told), or why the socket does not serve; *vm
 * is then empty.
 */
int vm_find(const struct host *host, const char *which, const char *qmp, struct vm *vm,
	    struct host_error *error);
/* Process @pid and the vCPU threads that have names, perhaps none; nobody is asked. -ESRCH. */
int vm_look(const struct host *host, int pid, struct vm *vm, struct host_error *error);
void vm_done(struct vm *vm);
/* Looks up @vm->devices anew, for a process that is known. */
void vm_find_devices(const struct host *host, struct vm *vm);

/* When process or thread @pid began; 0 if there is none. */
unsigned long long vm_start_of(const struct host *host, int pid);
/* What a descriptor of a process is, as its link reads, on the heap; NULL if there is none. Nothing
 * is looked up, so no file system is waited for. */
char *vm_open_file(const struct host *host, const char *pid, const char *fd);
/* All numbers below /proc, or of a process's threads. */
struct host_names vm_processes(const struct host *host);
struct host_names vm_threads(const struct host *host, int pid);

#endif
