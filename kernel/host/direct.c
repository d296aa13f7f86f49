// SPDX-License-Identifier: GPL-2.0-only
/*
 * What happens around each entry and exit of a direct vCPU.
 *
 * KVM's tracepoints kvm_entry and kvm_exit are the hooks: the first fires with interrupts off just
 * before the entry, the second, still with interrupts off, before KVM looks at why the guest left.
 * Between the two everything is as direct mode wants it; outside of them everything is as KVM left
 * it, so that any entry may be stock, on any CPU, for any reason.
 *
 *   entry   look whether this entry may be direct; build the IDT (idt.c). The vectors of the
 *           host's own (IPIs, and so on) are past its limit.
 *   exit    put the IDT back. If the exit came in the middle of delivering a host's interrupt:
 *           acknowledge it and send it to this CPU again, for the host to take. Retire direct
 *           interrupts that the guest is still serving, as the host must not run with these in
 *           service. The guest's own EOI of these comes later and finds nothing in service, be it
 *           in the LAPIC or in KVM's virtual one, and then does nothing; what it may have taken
 *           in between it has acknowledged before. What a hostile guest has begun of the host's is
 *           sent again as well: after an exit nothing is in service.
 */
#include <linux/irq.h>
#include <linux/rcuwait.h>
#include <linux/timekeeping.h>

#include <asm/apicdef.h>
#include <asm/irq_vectors.h>

#include "../uapi/exitless_direct.h"
#include "compat.h"
#include "direct.h"
#include "lapic.h"

DEFINE_PER_CPU(struct ex_vcpu *, ex_here);
const struct ex_ops *ex_ops;
struct ex_trouble ex_trouble;

void ex_inject(struct ex_vcpu *d, u8 vector)
{
	u8 *regs = ex_lapic_regs(d);
	int cpu;

	set_bit(vector % 32, (unsigned long *)(regs + APIC_IRR + vector / 32 * 16));
	/* Whoever sees irr_pending finds the bit. */
	smp_wmb();
	WRITE_ONCE(*((u8 *)d->vcpu->arch.apic + ex_off.lapic_irr_pending), 1);
	kvm_make_request(KVM_REQ_EVENT, d->vcpu);
	rcuwait_wake_up(kvm_arch_vcpu_get_wait(d->vcpu));
	/* If it is in the guest there: here it has made way for the interrupt that called. */
	cpu = READ_ONCE(d->vcpu->cpu);
	if (cpu >= 0 && cpu != raw_smp_processor_id() && cpu_online(cpu))
		ex_lapic_send(cpu, APIC_DM_FIXED | RESCHEDULE_VECTOR);
}

bool ex_keep(struct ex_vcpu *d, u8 host, u8 guest)
{
	if (raw_smp_processor_id() != d->cpu || !ex_near(d) || READ_ONCE(d->vcpu->cpu) != d->cpu ||
	    rcuwait_active(kvm_arch_vcpu_get_wait(d->vcpu)))
		return false;
	d->kept_guest[host] = guest;
	__set_bit(host, d->kept);
	d->n_kept++;
	return true;
}

/* What was kept goes to KVM. True: there was something. */
static bool kept_inject(struct ex_vcpu *d)
{
	unsigned int host, n = 0;

	for_each_set_bit(host, d->kept, 256) {
		ex_inject(d, d->kept_guest[host]);
		n++;
	}
	bitmap_zero(d->kept, 256);
	return n;
}

/* Before a direct entry: what is still routed as it was is raised. */
static void kept_raise(struct ex_vcpu *d, const struct ex_map *map)
{
	unsigned int i;

	if (bitmap_empty(d->kept, 256))
		return;
	for (i = 0; i < map->n; i++) {
		const struct ex_route *r = &map->route[i];

		if (d->kept_guest[r->host] == r->guest && __test_and_clear_bit(r->host, d->kept))
			ex_lapic_self(r->host);
	}
	/* These come by KVM, after an exit at once. */
	if (kept_inject(d))
		ex_lapic_self(RESCHEDULE_VECTOR);
}

static bool in_service(struct ex_vcpu *d)
{
	const char *count = (char *)d->vcpu->arch.apic + ex_off.lapic_isr_count;

	return ex_off.lapic_isr_count_bytes == 2 ? *(s16 *)count : *(s32 *)count;
}

static enum ex_why may_enter(struct ex_vcpu *d, const struct ex_map *map, bool immediate)
{
	struct kvm_vcpu *vcpu = d->vcpu;

	/* So it is after a reset, too. */
	if (!(vcpu->arch.apic_base & X2APIC_ENABLE)) {
		ex_shadow_drop(d);
		d->wish = EX_WISH_DEFAULT;
		WRITE_ONCE(d->ipi.wanted, 0);
		return EX_NO_X2APIC;
	}
	if (!d->on || !map)
		return EX_OFF;
	if (immediate)
		return EX_IMMEDIATE;
	if (vcpu->arch.hflags & HF_GUEST_MASK)
		return EX_NESTED;
	if (vcpu->arch.pv_eoi.msr_val & KVM_MSR_ENABLED)
		return EX_PV_EOI;
	/* Gates of 16 bytes, addresses by four or five levels. */
	if (!(vcpu->arch.efer & EFER_LMA))
		return EX_IDT;
	if (!(d->wish & EX_WISH_DIRECT))
		return EX_GUEST;
	if (map->n_foreign)
		return EX_FOREIGN;
	if (d->again)
		return EX_AGAIN;
	if (in_service(d))
		return EX_IN_SERVICE;
	/* The physical LAPIC does not know it. A guest that raises it in a direct entry exits. */
	if ((*(u32 *)(ex_lapic_regs(d) + APIC_TASKPRI) & 0xff) >= EX_VECTORS_FROM)
		return EX_TPR;
	if (!ex_routes_same(d, map))
		return EX_ROUTES;
	return ex_ops->may(d);
}

static void injected_count(struct ex_vcpu *d)
{
	int vector = ex_ops->injected(d);

	if (vector < 0)
		return;
	/* The others are IPIs of the guest's. */
	if (vector == (*(u32 *)(ex_lapic_regs(d) + APIC_LVTT) & APIC_VECTOR_MASK))
		d->n_ticks++;
	else if (vector < EX_TIMER_VECTOR)
		d->n_injected++;
}

/* Has it a LAPIC in the kernel, and a VMCB or VMCS that is the host's to change? With SEV-ES it is
 * not all, with TDX not at all. */
static bool fit(const struct kvm_vcpu *vcpu)
{
	return vcpu->arch.apic && !vcpu->kvm->arch.has_protected_state &&
	       !vcpu->arch.guest_state_protected;
}

static void adopt(struct ex_vcpu *d, struct kvm_vcpu *vcpu)
{
	if (!fit(vcpu))
		WRITE_ONCE(d->unfit, true);
	else if (refcount_inc_not_zero(&vcpu->kvm->users_count))
		/* The reference is there before it. */
		smp_store_release(&d->vcpu, vcpu);
}

void ex_entry(void *data, struct kvm_vcpu *vcpu, bool immediate)
{
	struct ex_vcpu *d = this_cpu_read(ex_here);
	const struct ex_map *map;
	struct ex_idt idt;
	enum ex_why why;

	if (!d)
		return;
	if (!d->vcpu && current->group_leader == d->leader && vcpu->vcpu_idx == d->index)
		adopt(d, vcpu);
	if (d->vcpu != vcpu)
		return;
	map = rcu_dereference_sched(d->map);
	why = may_enter(d, map, immediate);
	if (why != EX_OFF)
		ex_timer_follow(d, why);
	if (why == EX_DIRECT && unlikely(READ_ONCE(d->test)))
		ex_idt_test(d, map);
	if (why == EX_DIRECT)
		why = ex_idt_put(d, map, &idt);
	d->why = why;
	d->n_why[why]++;
	d->again = false;
	if (why != EX_DIRECT) {
		d->why_not = why;
		injected_count(d);
		ex_ops->dirty(d);
		/* It arrived for an entry that is not to be: by KVM, after the exit that this IPI
		 * is. */
		if (d->tick_pending) {
			ex_tick_inject(d);
			ex_lapic_self(RESCHEDULE_VECTOR);
		}
		if (kept_inject(d))
			ex_lapic_self(RESCHEDULE_VECTOR);
		return;
	}
	d->ipi_own = d->wish & EX_WISH_IPI && READ_ONCE(d->ipi.ready);
	if (d->timer_own)
		ex_timer_pull(d);
	ex_ops->enter(d, &idt, d->timer_own);
	kept_raise(d, map);
	if (d->tick_pending) {
		d->tick_pending = false;
		d->n_ticks_raised++;
		ex_lapic_self(EX_TIMER_VECTOR);
	}
	d->entered_ns = ktime_get_mono_fast_ns();
	WRITE_ONCE(d->ipi_ns, 0);
	/* The watchdog finds the times of this entry. */
	smp_store_release(&d->active, true);
}

/* Each EOI ends the one of highest priority, so this begins with that; the processor priority has
 * its class. Mostly there is none. */
unsigned int ex_retire(const u32 direct[8], int failed, unsigned int *others)
{
	u32 priority = ex_lapic_read(APIC_PROCPRI) & 0xff, isr;
	unsigned int n = 0, vector;
	int i;

	for (i = priority / 32; i > 0; i--) {
		isr = ex_lapic_read(APIC_ISR + i * 16);
		while (isr) {
			vector = i * 32 + __fls(isr);
			isr &= ~BIT(vector % 32);
			ex_lapic_write(APIC_EOI, 0);
			if (vector != failed && direct[i] & BIT(vector % 32)) {
				n++;
				continue;
			}
			*others += vector != failed;
			ex_lapic_self(vector);
		}
	}
	return n;
}

static void leave(struct ex_vcpu *d)
{
	unsigned int stolen = 0;
	bool again;
	int vector;

	WRITE_ONCE(d->active, false);
	vector = ex_ops->leave(d, &again);
	ex_idt_restore(d);
	d->again = again;
	if (vector >= 0) {
		d->n_handed_back++;
		d->n_vector[vector]++;
	}
	/* Those that the guest was serving as it left. By gates that it wrote meanwhile it may have
	 * begun others, too: no EOI of its own would end these in later entries. */
	d->n_eoi_retired += ex_retire(d->direct_vectors, vector, &stolen);
	d->n_stolen += stolen;
}

void ex_exit(void *data, struct kvm_vcpu *vcpu, u32 isa)
{
	struct ex_vcpu *d = this_cpu_read(ex_here);

	if (!d || d->vcpu != vcpu) {
		ex_abi_exit_away(vcpu);
		return;
	}
	if (d->active)
		leave(d);
	ex_abi_exit(d);
}

/* In an IPI: the vCPU is not in the guest. */
void ex_poke(void *data)
{
	struct ex_vcpu *d = data;

	if (d->tick_pending)
		ex_tick_inject(d);
	kept_inject(d);
	if (READ_ONCE(d->vcpu->cpu) != d->cpu || READ_ONCE(d->out) >= EX_OUT_LOOKS)
		ex_timer_stop(d);
}

/* On the CPU, in an IPI: the vCPU is not in the guest. */
static void stop_here(void *data)
{
	static const u32 any[8] = { ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u };
	struct ex_vcpu *d = data;
	unsigned int n, others = 0;

	/* What called is acknowledged already. One more would keep all below it off for ever. */
	n = ex_retire(any, -1, &others);
	if (n) {
		ex_trouble.isr += n;
		pr_err("CPU %d had %u vectors in service, with nobody to end them\n", d->cpu, n);
	}
	d->on = false;
	d->timer_on = false;
	ex_timer_stop(d);
	if (d->vcpu) {
		kept_inject(d);
		ex_ops->dirty(d);
	}
	if (this_cpu_read(ex_here) == d)
		this_cpu_write(ex_here, NULL);
}

void ex_vcpu_stop(struct ex_vcpu *d)
{
	/* A CPU that is offline has no more use for it. */
	if (smp_call_function_single(d->cpu, stop_here, d, 1))
		cmpxchg(per_cpu_ptr(&ex_here, d->cpu), d, NULL);
	ex_proxy_stop(d);
}
