/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Internals of exitless_kvm. One struct ex_vcpu per vCPU that somebody asked to be direct, bound to
 * the physical CPU that is that vCPU's own. Its run-time half is touched only on that CPU with
 * interrupts off (the hooks, and functions that are sent there by IPI), so it needs no lock; the
 * rest is touched in process context under ex_lock.
 */
#ifndef EXITLESS_DIRECT_H
#define EXITLESS_DIRECT_H

#include <linux/clockchips.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/kvm_host.h>
#include <linux/llist.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/smp.h>

#include "btf_need.h"
#include "vectors.h"

#define EX_MAPS_MAX  32
#define EX_OUT_LOOKS 10 /* of the watchdog, each millisecond: then the timer is KVM's */
#define EX_IPIS_MAX  8	/* vectors by which vCPUs interrupt one vCPU directly */

/* Why an entry was not direct. */
enum ex_why {
	EX_DIRECT,
	EX_OFF,
	EX_IMMEDIATE,  /* KVM wants to be back at once */
	EX_INJECTING,  /* KVM injects an event with this entry */
	EX_IN_SERVICE, /* a virtual interrupt is in service */
	EX_NESTED,
	EX_AVIC,
	EX_NO_X2APIC,
	EX_PV_EOI,
	EX_ROUTES,  /* KVM has another route of an interrupt than the map */
	EX_FOREIGN, /* another device's host interrupt has this CPU */
	EX_SMP,	    /* the guest's vCPUs share an IDT */
	EX_IDT,	    /* the guest's IDT cannot be used */
	EX_AGAIN, /* an instruction that only a stock entry can run: LIDT, SIDT, a fault of its own
		   */
	EX_DIRTY_LOG, /* migration */
	EX_GUEST,     /* the guest does not want it */
	EX_TPR,	      /* the guest's task priority keeps interrupts off */
	EX_WHYS,
};

/* Published by RCU; immutable. */
struct ex_map {
	struct rcu_head rcu;
	unsigned int n, n_foreign;
	int foreign_irq;
	struct ex_route route[EX_MAPS_MAX];
};

struct ex_vcpu {
	/* Set before it is published, then constant. */
	struct task_struct *leader; /* of the VMM; referenced */
	int index, cpu;
	bool timer_wanted;

	/* The watchdog's. */
	unsigned int looks; /* at what waits for an entry */
	unsigned int out;   /* since the vCPU was last in a direct entry, or halted */
	u64 out_since;

	/* Process context, ex_lock. */
	call_single_data_t poke; /* the watchdog's */
	struct ex_proxy *proxy;
	struct list_head lines;
	struct list_head link; /* written under ex_lock, read under RCU */
	struct llist_node gone;
	struct rcu_head rcu;

	/* That CPU, interrupts off. @vcpu is set once and holds a reference on its kvm; it has a
	 * LAPIC in the kernel. */
	struct kvm_vcpu *vcpu;
	bool unfit; /* the vCPU is none that could be direct, ever; read by whoever waits for it */
	bool on, timer_on; /* may be direct; may own the timer */
	struct ex_map __rcu *map;
	DECLARE_BITMAP(ipi_wanted, 256); /* vectors that had no line as they were sent; any CPU */
	bool active;			 /* this entry is direct; read by the watchdog */
	u64 entered_ns, ipi_ns;		 /* ktime of the entry; of the first host IPI since */
	bool again;			 /* the next entry is stock, to run an instruction again */
	bool timer_own, tick_pending;
	bool count_may; /* its counts mean the same to the hardware; set before it may own the timer
			 */
	bool deadline;	/* the timer that it owns goes by deadlines */
	bool timer_written; /* this exit was to write a timer register, which is KVM's to do */
	u32 lvtt, tdcr;	    /* the guest's, as loaded */
	u32 wish;	    /* EX_WISH_*, the guest's */
	struct {
		u8 __user *where;  /* the guest's own */
		u32 bytes;	   /* of it that are replaced */
		struct page *page; /* of the guest's own, referenced while it is replaced */
		u8 *own;	   /* that page; NULL: nothing is replaced in place */
		u8 guest[EX_IDT_BYTES], direct[EX_IDT_BYTES];
	} idt;
	struct {
		u64 base;	     /* in the guest; 0: none */
		unsigned long fault; /* an address in the VMM that was not mapped; 0: none */
		u8 left[EX_IDT_BYTES], seen[EX_IDT_BYTES];
	} shadow;
	DECLARE_BITMAP(kept, 256); /* host vectors for the next entry */
	u8 kept_guest[256];	   /* the guest's, for these */
	u32 direct_vectors[8];	   /* that the guest may have in service */
	struct ex_idt_test *test;  /* for the next direct entry; any CPU */
	void *arch[4];
	u64 saved[8];
	bool ipi_own; /* the interrupt command register is open for this entry */
	struct {
		bool allowed;  /* set before it is published */
		bool ready;    /* the table is filled; read in any context */
		u64 wanted;    /* where the guest has it, or 0; pages */
		u64 pinned;    /* the same of @page; written under ex_lock, as that is */
		u64 refused;   /* the same of a page that cannot be pinned; under ex_lock, as: */
		u64 pin_after; /* jiffies64 */
		struct page *page;
	} ipi;

	/* Statistics, read without synchronisation. */
	u32 n_vector[256]; /* handed back */
	u64 n_why[EX_WHYS], n_handed_back, n_ticks_raised, n_ticks_injected, n_nmi, n_eoi_retired;
	u64 n_injected, n_ticks; /* by KVM: interrupts but the timer's; the timer's */
	u64 n_abi, n_shadow_dropped;
	u64 n_stolen;	       /* vectors of the host's that the guest had begun */
	u64 n_pulled, n_given; /* deadlines, from KVM and to it */
	u64 n_line_sent, n_line_fell, n_kept, n_ipi_sent; /* the last one by this vCPU */
	enum ex_why why, why_not; /* of the last entry; of the last that was not direct */
};

/* What a direct entry loads into IDTR; base 0: the guest's. */
struct ex_idt {
	u64 base;
	u32 limit;
};

/* An RDMSR or WRMSR of the guest's. */
struct ex_msr {
	u32 index;
	bool write;
	u64 value;
};

/* What SVM and VMX do differently. All are called on the vCPU's CPU, interrupts off. */
struct ex_ops {
	const char *name, *btf;
	/* The module's private members; @module is the BTF of kvm_amd or kvm_intel. */
	int (*init)(void);
	/* EX_DIRECT if the hardware state allows a direct entry. */
	enum ex_why (*may)(struct ex_vcpu *d);
	void (*idt_get)(struct ex_vcpu *d, u64 *base, u32 *limit, u64 *cr3, bool *la57);
	/* The vector of an interrupt (no exception, no NMI) that KVM injects with this entry, or
	 * -1. */
	int (*injected)(struct ex_vcpu *d);
	/* Opens interrupts and EOI (the timer, by count or by d->deadline; and if d->ipi_own the
	 * interrupt command), loads @idt, with no limit above the guest's. */
	void (*enter)(struct ex_vcpu *d, const struct ex_idt *idt, bool timer);
	/* Undoes it. Returns the vector of a host interrupt whose delivery failed, or -1; the exit
	 * is then one for an interrupt to KVM. *again: a stock entry is to run the instruction. */
	int (*leave)(struct ex_vcpu *d, bool *again);
	/* After any exit, leave() done: is it an RDMSR or WRMSR? */
	bool (*msr)(struct ex_vcpu *d, struct ex_msr *m);
	/* It is done with: the result goes to the guest, and the exit becomes one that needs no
	 * more of KVM. */
	void (*msr_done)(struct ex_vcpu *d, const struct ex_msr *m);
	/* KVM has the timer's deadline in hardware: not any more. NULL: it never has. */
	void (*timer_cancel)(struct ex_vcpu *d);
	/* KVM must load all state at the next entry. */
	void (*dirty)(struct ex_vcpu *d);
};

extern const struct ex_ops ex_svm, ex_vmx;
extern const struct ex_ops *ex_ops;
DECLARE_PER_CPU(struct ex_vcpu *, ex_here);

/* btf.c. Constant once loaded. */
extern struct ex_offsets ex_off;
int ex_btf_load(const char *module);
/* Looks up again, and what headers tell too; NULL, or what is wrong. */
const char *ex_btf_test(const char *module);

/* direct.c: the hooks and what they use. */
void ex_entry(void *data, struct kvm_vcpu *vcpu, bool immediate);
void ex_exit(void *data, struct kvm_vcpu *vcpu, u32 isa);
/* On a CPU, interrupts off: ends all that is in service. @failed, a vector whose delivery to the
 * guest failed (-1: none), comes to this CPU again, and so do those that are not of @direct, a bit
 * for each vector; *others grows by these. Returns how many were of @direct. */
unsigned int ex_retire(const u32 direct[8], int failed, unsigned int *others);
/* Process context; on return the vCPU is stock and all state is KVM's again. */
void ex_vcpu_stop(struct ex_vcpu *d);
/* Any context: KVM's virtual LAPIC of @d gets an edge-triggered interrupt; the vCPU wakes up. */
void ex_inject(struct ex_vcpu *d, u8 vector);
/* Any context, under RCU: is the vCPU in a direct entry, or out of one for a moment? */
static inline bool ex_near(const struct ex_vcpu *d)
{
	return READ_ONCE(d->on) && READ_ONCE(d->why) == EX_DIRECT;
}
/* Any CPU, interrupts off. The host has taken an interrupt of the guest's: the next entry raises it
 * again, or injects it by KVM. False: it cannot be kept. */
bool ex_keep(struct ex_vcpu *d, u8 host, u8 guest);
static inline u8 *ex_lapic_regs(struct ex_vcpu *d)
{
	return *(u8 **)((char *)d->vcpu->arch.apic + ex_off.lapic_regs);
}

/* guest_timer.c. Any context: a TSC deadline of the guest's means the same to the hardware, which
 * has them. */
bool ex_deadline_may(const struct ex_vcpu *d);
/* That CPU, interrupts off. A timer interrupt of the guest's, by KVM. */
void ex_tick_inject(struct ex_vcpu *d);
/* Before each entry: follows the guest's timer registers, which it reaches only through KVM, and
 * has the timer be the guest's or KVM's. */
void ex_timer_follow(struct ex_vcpu *d, enum ex_why why);
/* Before a direct entry with the timer: a deadline that KVM has goes to the LAPIC. */
void ex_timer_pull(struct ex_vcpu *d);
/* After an exit for @m. True: @m is read, and done with. */
bool ex_timer_msr(struct ex_vcpu *d, struct ex_msr *m);
/* In an IPI: the timer is KVM's. */
void ex_timer_stop(struct ex_vcpu *d);

/* idt.c, that CPU, interrupts off. put() writes the guest's memory, restore() puts that back. */
enum ex_why ex_idt_put(struct ex_vcpu *d, const struct ex_map *map, struct ex_idt *idt);
void ex_idt_restore(struct ex_vcpu *d);
/* False: no good address. */
bool ex_shadow_set(struct ex_vcpu *d, u64 base);
void ex_shadow_drop(struct ex_vcpu *d);
/* Process context: maps what the VMM had not mapped when it was needed. Waits for nothing, be it a
 * disk or a pager of the VMM's: what is not there yet is asked for again by the next entry. */
void ex_idt_fault_in(struct ex_vcpu *d);

/* abi.c, that CPU, interrupts off, after any exit of the vCPU's. */
void ex_abi_exit(struct ex_vcpu *d);
/* After an exit of a vCPU that is not this CPU's, most often one that has nothing to do with us;
 * interrupts off. A vCPU of ours that was moved away is stock, but may be about to write a command
 * that is for the physical LAPIC, and what it has given it can take back. */
void ex_abi_exit_away(struct kvm_vcpu *vcpu);

/* irqmap.c, process context. Makes and publishes a new map; on return the CPU uses it. */
int ex_map_update(struct ex_vcpu *d);
/* Any context. The vector of an interrupt that is routed to this vCPU, or 0; the vector of a host
 * interrupt on a CPU, or 0 if it does not arrive there. */
u8 ex_route_vector(struct ex_vcpu *d, const struct kvm_kernel_irq_routing_entry *e);
/* Any context. Does KVM still have all routes of @map as they are there? */
bool ex_routes_same(struct ex_vcpu *d, const struct ex_map *map);
u8 ex_irq_vector(int irq, int cpu);

/* One of KVM's eventfds; referenced by ex_eventfd_get(), to be put. */
struct ex_fd {
	struct eventfd_ctx *eventfd;
	wait_queue_entry_t *wait; /* KVM's; a name only, it may be gone */
	wait_queue_func_t func;
	u8 guest; /* vector */
	int gsi;
	int irq; /* of the device behind it; negative: none */
};
struct eventfd_ctx *ex_eventfd_get(struct eventfd_ctx *eventfd);

/* line.c, process context under ex_lock, in this order: what is to be kept is said between begin()
 * and end(), and each adds a route to the map. */
void ex_lines_begin(struct ex_vcpu *d);
void ex_lines_eventfd(struct ex_vcpu *d, struct ex_map *map, const struct ex_fd *fd);
void ex_lines_ipi(struct ex_vcpu *d, struct ex_map *map);
void ex_lines_end(struct ex_vcpu *d);
/* Is @irq one of a line's own, whether it has a route or not? */
bool ex_lines_own(const struct ex_vcpu *d, int irq);
/* The vCPU is not direct any more. */
void ex_lines_free(struct ex_vcpu *d);

/* line.c, process context: an interrupt of no device's on that CPU, for IPIs by its vector, with
 * @data for @fn and @flow; or -errno. */
int ex_irq_new(int cpu, irq_flow_handler_t flow, irq_handler_t fn, void *data);
void ex_irq_free(int irq, void *data);

/* ipi.c, process context under ex_lock. */
void ex_ipi_update(struct ex_vcpu *d);
/* To be called before a vCPU of the machine is stopped. Sleeps. */
void ex_ipi_pause(const struct kvm *kvm);
/* That vCPU has stopped. */
void ex_ipi_end(struct ex_vcpu *d);
/* No vCPU is left; not under ex_lock. */
void ex_ipi_done(void);

/* timer.c: the host's clock event device that stands in for the LAPIC's timer, and the watchdog. */
int ex_timer_init(void);
/* No vCPU is left. */
void ex_timer_done(void);
/* For the watchdog, with interrupts off on the vCPU's CPU. */
void ex_poke(void *vcpu);
/* Process context, before the two below, and not under ex_lock: kprobes take the lock of CPU
 * hotplug, whose callback takes that. */
void ex_timer_find(int cpu);
/* Process context. -ENOMEM; -EOPNOTSUPP: the host does not keep time by the LAPIC there; -ERANGE:
 * the guest's timer frequency is not the hardware's. */
int ex_proxy_start(struct ex_vcpu *d);
void ex_proxy_stop(struct ex_vcpu *d);
/* Process context under ex_lock: does the CPU's timer obey its mask? NULL, or what is wrong;
 * "skip ..." where it cannot be tried. */
const char *ex_timer_test(int cpu);
/* Starts or stops watching, as there are vCPUs; process context. */
void ex_watch(bool on);
/* Process context: what the watchdog has called on that CPU has ended. */
void ex_calls_end(int cpu);

/* debug.c: files in debugfs, where there is one. */
void ex_debug_init(void);
void ex_debug_done(void);

/* selftest.c: makes a file of tests in debugfs. */
void ex_selftest_init(struct dentry *dir);
/* In ex_entry(), before the IDT of a direct entry is built: d->test is done, and NULL again. */
void ex_idt_test(struct ex_vcpu *d, const struct ex_map *map);

/* main.c: calls @fn once under ex_lock; for each vCPU, under ex_lock. */
void ex_locked(void (*fn)(void *data), void *data);
void ex_all_locked(void (*fn)(struct ex_vcpu *d, void *data), void *data);
/* Calls @fn for each vCPU; under RCU. */
void ex_for_each(void (*fn)(struct ex_vcpu *d, u64 now), u64 now);
/* One of @kvm's by its APIC ID, or NULL. Under RCU. */
struct ex_vcpu *ex_find(const struct kvm *kvm, u32 id);

#endif
