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
#include <linux/kvm_host.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/smp.h>

#define EX_TIMER_VECTOR 0xec /* the host's LAPIC timer vector, and the guest's while it owns it */
#define EX_IDT_BYTES	4096
#define EX_GATE_BYTES	16
#define EX_MAPS_MAX	32
#define EX_VCPUS_MAX	64

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
	EX_ROUTES,  /* interrupt routes changed and were not looked at yet */
	EX_FOREIGN, /* another device's host interrupt has this CPU */
	EX_SMP,	    /* the guest's vCPUs share an IDT */
	EX_IDT,	    /* the guest's IDT cannot be used */
	EX_AGAIN, /* an instruction that only a stock entry can run: LIDT, or a fault of its own */
	EX_DIRTY_LOG, /* migration */
	EX_WHYS,
};

struct ex_route {
	int irq;
	u8 host, guest; /* vectors */
};

/* Published by RCU; immutable. */
struct ex_map {
	struct rcu_head rcu;
	const void *routing; /* kvm->irq_routing when it was made */
	unsigned int n, n_foreign;
	int foreign_irq;
	struct ex_route route[EX_MAPS_MAX];
};

struct ex_vcpu {
	/* Set before it is published, then constant. */
	struct task_struct *leader; /* of the VMM; referenced */
	int index, cpu;
	bool timer_wanted;

	/* Process context, ex_lock. */
	call_single_data_t poke; /* the watchdog's */
	struct ex_proxy *proxy;
	struct list_head link; /* written under ex_lock, read under RCU */
	struct rcu_head rcu;

	/* That CPU, interrupts off. @vcpu is set once and holds a reference on its kvm. */
	struct kvm_vcpu *vcpu;
	bool on, timer_on; /* may be direct; may own the timer */
	struct ex_map __rcu *map;
	bool active;		/* this entry is direct; read by the watchdog */
	u64 entered_ns, ipi_ns; /* ktime of the entry; of the first host IPI since */
	bool again;		/* the next entry is stock, to run an instruction again */
	bool timer_own, tick_pending;
	u32 lvtt, tdcr; /* the guest's, as loaded */
	struct {
		void *where;
		u32 bytes;
		u8 guest[EX_IDT_BYTES], direct[EX_IDT_BYTES];
	} idt;
	u32 direct_vectors[8]; /* that the guest may have in service */
	void *arch[4];
	u64 saved[5];

	/* Statistics, read without synchronisation. */
	u32 n_vector[256]; /* handed back */
	u64 n_why[EX_WHYS], n_handed_back, n_ticks_raised, n_ticks_injected, n_nmi, n_eoi_retired;
	enum ex_why why;
};

/* What SVM and VMX do differently. All are called on the vCPU's CPU, interrupts off. */
struct ex_ops {
	const char *name, *btf;
	/* The module's private members; @module is the BTF of kvm_amd or kvm_intel. */
	int (*init)(void);
	/* EX_DIRECT if the hardware state allows a direct entry. */
	enum ex_why (*may)(struct ex_vcpu *d);
	void (*idt_get)(struct ex_vcpu *d, u64 *base, u32 *limit, u64 *cr3, bool *la57);
	/* Opens interrupts and EOI (and the timer), limits the IDT to @limit. */
	void (*enter)(struct ex_vcpu *d, u32 limit, bool timer);
	/* Undoes it. Returns the vector of a host interrupt whose delivery failed, or -1; the exit
	 * is then one for an interrupt to KVM. *again: a stock entry is to run the instruction. */
	int (*leave)(struct ex_vcpu *d, bool *again);
	/* KVM must load all state at the next entry. */
	void (*dirty)(struct ex_vcpu *d);
};

extern const struct ex_ops ex_svm, ex_vmx;
extern const struct ex_ops *ex_ops;
DECLARE_PER_CPU(struct ex_vcpu *, ex_here);

/* btf.c: offsets of members that no header of the kernel tells. Constant once loaded. */
struct ex_offsets {
	u32 lapic_regs, lapic_isr_count, lapic_isr_count_bytes, lapic_irr_pending;
	u32 svm_vmcb;
	u32 vmx_exit_reason, vmx_idt_vectoring_info;
};
extern struct ex_offsets ex_off;
int ex_btf_load(const char *module);

/* direct.c: the hooks and what they use. */
void ex_entry(void *data, struct kvm_vcpu *vcpu, bool immediate);
void ex_exit(void *data, struct kvm_vcpu *vcpu, u32 isa);
/* Process context; on return the vCPU is stock and all state is KVM's again. */
void ex_vcpu_stop(struct ex_vcpu *d);
/* On the CPU, interrupts off: a timer interrupt of the guest's. */
void ex_tick_inject(struct ex_vcpu *d);
static inline u8 *ex_lapic_regs(struct ex_vcpu *d)
{
	return *(u8 **)((char *)d->vcpu->arch.apic + ex_off.lapic_regs);
}

/* irqmap.c, process context. Makes and publishes a new map. */
int ex_map_update(struct ex_vcpu *d);

/* timer.c: the host's clock event device that stands in for the LAPIC's timer, and the watchdog. */
int ex_timer_init(void);
/* No vCPU is left. */
void ex_timer_done(void);
/* For the watchdog, with interrupts off on the vCPU's CPU. */
void ex_poke(void *vcpu);
/* Process context. -ENOMEM; -EOPNOTSUPP: the host does not keep time by the LAPIC there; -ERANGE:
 * the guest's timer frequency is not the hardware's. */
int ex_proxy_start(struct ex_vcpu *d);
void ex_proxy_stop(struct ex_vcpu *d);
/* Starts or stops watching, as there are vCPUs; process context. */
void ex_watch(bool on);

/* main.c: calls @fn for each vCPU; under RCU. */
void ex_for_each(void (*fn)(struct ex_vcpu *d, u64 now), u64 now);

#endif
