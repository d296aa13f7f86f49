/* SPDX-License-Identifier: GPL-2.0-only */
/* Internals of exitless_guest. A struct guest_cpu is touched on its own CPU only, with interrupts
 * off, but for reads of its statistics. */
#ifndef EXITLESS_GUEST_H
#define EXITLESS_GUEST_H

#include <linux/kobject.h>
#include <linux/percpu.h>
#include <linux/workqueue.h>

struct guest_cpu {
	struct delayed_work look;
	void *page;		       /* the shadow IDT */
	void *ipi_page;		       /* the table for IPIs; NULL: without these */
	bool here;		       /* between its coming online and its going */
	bool registered, ipi;	       /* the shadow; IPIs of our own */
	u32 features;		       /* that the host has; 0: no host */
	u64 state;		       /* EX_MSR_STATE as last read */
	u64 interrupts, ticks;	       /* taken directly */
	u64 taken_irqs, taken_ticks;   /* by this kernel, when last looked */
	u64 inject_irqs, inject_ticks; /* by the host's KVM, when last looked */
	struct kobject kobj;
	bool kobj_added;
};

DECLARE_PER_CPU(struct guest_cpu, guest_cpu);

/* Process context. On all CPUs; returns how many are registered. */
unsigned int guest_enable(void);
void guest_disable(void);
bool guest_enabled(void);
/* Brings a CPU's statistics up to date. */
void guest_look(unsigned int cpu);

/* ipi.c: from now on the kernel's IPIs are ours; 0 or -errno. */
int guest_ipi_init(void);
/* No CPU has @ipi any more. */
void guest_ipi_done(void);

int guest_sysfs_init(void);
void guest_sysfs_done(void);

#endif
