// SPDX-License-Identifier: GPL-2.0-only
/*
 * What happens around each entry and exit of a direct vCPU.
 *
 * KVM's tracepoints kvm_entry and kvm_exit are the hooks: the first fires with interrupts off just
 * before the entry, the second, still with interrupts off, before KVM looks at why the guest left.
 * Between the two everything is as direct mode wants it; outside of them everything is as KVM left
 * it, so that any entry may be stock, on any CPU, for any reason.
 *
 *   entry   look whether this entry may be direct; build the IDT: the guest's exceptions as they
 *           are, at the host vector of each of its devices the gate of the guest's own vector, at
 *           the timer's vector the gate of the guest's timer, and nothing at all other vectors.
 *           Those of the host's own (IPIs, and so on) are past the limit.
 *   exit    put the IDT back. If the exit came in the middle of delivering a host's interrupt:
 *           acknowledge it and send it to this CPU again, for the host to take. Then retire direct
 *           interrupts that the guest is still serving, as the host must not run with these in
 *           service. The guest's own EOI of these comes later and finds nothing in service, be it
 *           in the LAPIC or in KVM's virtual one, and then does nothing; what it may have taken
 *           in between it has acknowledged before.
 */
#include <linux/irq.h>
#include <linux/rcuwait.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>

#include <asm/apicdef.h>
#include <asm/irq_vectors.h>

#include "compat.h"
#include "direct.h"
#include "lapic.h"

#define GATES_FROM   (32 * EX_GATE_BYTES)
#define GATE_SYSCALL 0x80

DEFINE_PER_CPU(struct ex_vcpu *, ex_here);
const struct ex_ops *ex_ops;

/* A page of the guest's by its physical address, as this process sees it; NULL if it is none. */
static void *guest_page(struct ex_vcpu *d, u64 gpa, enum ex_why *why)
{
	struct kvm_memory_slot *slot;

	slot = __gfn_to_memslot(kvm_vcpu_memslots(d->vcpu), gpa >> PAGE_SHIFT);
	if (!slot || slot->flags & (KVM_MEMSLOT_INVALID | KVM_MEM_READONLY))
		return NULL;
	if (slot->flags & KVM_MEM_LOG_DIRTY_PAGES) {
		*why = EX_DIRTY_LOG;
		return NULL;
	}
	return (void *)__gfn_to_hva_memslot(slot, gpa >> PAGE_SHIFT);
}

/* Where a page of the guest's kernel is, through its page tables (long mode only). */
static void *guest_virtual_page(struct ex_vcpu *d, u64 address, u64 cr3, bool la57,
				enum ex_why *why)
{
	u64 table = cr3 & GENMASK_ULL(51, 12), entry, mask;
	int level;

	for (level = la57 ? 5 : 4; level; level--) {
		int shift = 12 + 9 * (level - 1);
		void *page = guest_page(d, table, why);

		if (!page || copy_from_user_nofault(&entry, page + (address >> shift & 511) * 8, 8))
			return NULL;
		if (!(entry & _PAGE_PRESENT))
			return NULL;
		table = entry & GENMASK_ULL(51, 12);
		if (level == 1 || (level <= 3 && entry & _PAGE_PSE)) {
			mask = (1ull << shift) - 1;
			return guest_page(d, (table & ~mask) | (address & mask & PAGE_MASK), why);
		}
	}
	return NULL;
}

static void gate_copy(struct ex_vcpu *d, u32 to, u32 from)
{
	memcpy(d->idt.direct + to * EX_GATE_BYTES, d->idt.guest + from * EX_GATE_BYTES,
	       EX_GATE_BYTES);
}

/* Reads the guest's IDT and writes the direct one over it. Only the part that differs is written:
 * exceptions stay, and what is past the limit is out of reach. */
static enum ex_why idt_put(struct ex_vcpu *d, const struct ex_map *map, u32 *limit)
{
	enum ex_why why = EX_IDT;
	u32 guest_limit, i;
	u64 base, cr3;
	bool la57;

	*limit = (EX_TIMER_VECTOR + d->timer_own) * EX_GATE_BYTES - 1;
	ex_ops->idt_get(d, &base, &guest_limit, &cr3, &la57);
	if (base & ~PAGE_MASK || guest_limit < EX_IDT_BYTES - 1)
		return EX_IDT;
	d->idt.where = guest_virtual_page(d, base, cr3, la57, &why);
	d->idt.bytes = *limit + 1;
	if (!d->idt.where || copy_from_user_nofault(d->idt.guest, d->idt.where, d->idt.bytes))
		return why;
	memset(d->idt.direct, 0, sizeof(d->idt.direct));
	memset(d->direct_vectors, 0, sizeof(d->direct_vectors));
	gate_copy(d, GATE_SYSCALL, GATE_SYSCALL);
	for (i = 0; i < map->n; i++) {
		gate_copy(d, map->route[i].host, map->route[i].guest);
		d->direct_vectors[map->route[i].host / 32] |= 1u << map->route[i].host % 32;
	}
	if (d->timer_own) {
		gate_copy(d, EX_TIMER_VECTOR, d->lvtt & APIC_VECTOR_MASK);
		d->direct_vectors[EX_TIMER_VECTOR / 32] |= 1u << EX_TIMER_VECTOR % 32;
	}
	if (copy_to_user_nofault(d->idt.where + GATES_FROM, d->idt.direct + GATES_FROM,
				 d->idt.bytes - GATES_FROM))
		return EX_IDT;
	return EX_DIRECT;
}

/* Gates that the guest wrote meanwhile stay as it wrote them. */
static void idt_restore(struct ex_vcpu *d)
{
	u8 gate[EX_GATE_BYTES];
	u32 at;

	for (at = GATES_FROM; at < d->idt.bytes; at += EX_GATE_BYTES) {
		if (!memcmp(d->idt.guest + at, d->idt.direct + at, EX_GATE_BYTES))
			continue;
		if (!copy_from_user_nofault(gate, d->idt.where + at, EX_GATE_BYTES) &&
		    memcmp(gate, d->idt.direct + at, EX_GATE_BYTES))
			continue;
		if (copy_to_user_nofault(d->idt.where + at, d->idt.guest + at, EX_GATE_BYTES))
			break;
	}
}

/* KVM's virtual LAPIC gets the guest's timer interrupt, and a halted vCPU wakes up. */
void ex_tick_inject(struct ex_vcpu *d)
{
	u8 *regs = ex_lapic_regs(d);
	u32 lvtt = *(u32 *)(regs + APIC_LVTT), vector = lvtt & APIC_VECTOR_MASK;

	d->tick_pending = false;
	if (lvtt & APIC_LVT_MASKED || vector < 32)
		return;
	set_bit(vector % 32, (unsigned long *)(regs + APIC_IRR + vector / 32 * 16));
	smp_wmb();
	WRITE_ONCE(*((u8 *)d->vcpu->arch.apic + ex_off.lapic_irr_pending), 1);
	kvm_make_request(KVM_REQ_EVENT, d->vcpu);
	rcuwait_wake_up(kvm_arch_vcpu_get_wait(d->vcpu));
	d->n_ticks_injected++;
}

/* Takes the timer from the guest. A tick too early makes it program the timer again, by way of KVM
 * from then on. */
static void timer_take(struct ex_vcpu *d)
{
	ex_lapic_write(APIC_TMICT, 0);
	d->timer_own = false;
	ex_tick_inject(d);
}

/* Follows the guest's timer registers, which it reaches only through KVM: the mode must be one-shot
 * (the divider is taken as it is), or the timer stays KVM's. The vector stays the host's. */
static void timer_follow(struct ex_vcpu *d)
{
	u8 *regs = ex_lapic_regs(d);
	u32 lvtt = *(u32 *)(regs + APIC_LVTT), tdcr = *(u32 *)(regs + APIC_TDCR);
	bool may = d->timer_on && !(lvtt & (3u << 17)) && (lvtt & APIC_VECTOR_MASK) >= 32;

	if (!d->timer_own && !may)
		return;
	if (d->timer_own && may && lvtt == d->lvtt && tdcr == d->tdcr)
		return;
	if (!may) {
		timer_take(d);
		return;
	}
	ex_lapic_write(APIC_TDCR, tdcr & 0xb);
	ex_lapic_write(APIC_LVTT, (lvtt & APIC_LVT_MASKED) | EX_TIMER_VECTOR);
	if (!d->timer_own)
		ex_lapic_write(APIC_TMICT, 0);
	d->timer_own = true;
	d->lvtt = lvtt;
	d->tdcr = tdcr;
}

static bool in_service(struct ex_vcpu *d)
{
	const char *count = (char *)d->vcpu->arch.apic + ex_off.lapic_isr_count;

	return ex_off.lapic_isr_count_bytes == 2 ? *(s16 *)count : *(s32 *)count;
}

static enum ex_why may_enter(struct ex_vcpu *d, const struct ex_map *map, bool immediate)
{
	struct kvm_vcpu *vcpu = d->vcpu;

	if (!d->on || !map)
		return EX_OFF;
	if (immediate)
		return EX_IMMEDIATE;
	if (vcpu->arch.hflags & HF_GUEST_MASK)
		return EX_NESTED;
	if (!(vcpu->arch.apic_base & X2APIC_ENABLE))
		return EX_NO_X2APIC;
	if (vcpu->arch.pv_eoi.msr_val & KVM_MSR_ENABLED)
		return EX_PV_EOI;
	/* Gates of 16 bytes, addresses by four or five levels. */
	if (!(vcpu->arch.efer & EFER_LMA))
		return EX_IDT;
	if (atomic_read(&vcpu->kvm->online_vcpus) > 1)
		return EX_SMP;
	if (map->n_foreign)
		return EX_FOREIGN;
	if (rcu_access_pointer(vcpu->kvm->irq_routing) != map->routing)
		return EX_ROUTES;
	if (d->again)
		return EX_AGAIN;
	if (in_service(d))
		return EX_IN_SERVICE;
	return ex_ops->may(d);
}

void ex_entry(void *data, struct kvm_vcpu *vcpu, bool immediate)
{
	struct ex_vcpu *d = this_cpu_read(ex_here);
	const struct ex_map *map;
	enum ex_why why;
	u32 limit;

	if (!d)
		return;
	if (!d->vcpu && current->group_leader == d->leader && vcpu->vcpu_idx == d->index &&
	    refcount_inc_not_zero(&vcpu->kvm->users_count))
		smp_store_release(&d->vcpu, vcpu);
	if (d->vcpu != vcpu)
		return;
	map = rcu_dereference_sched(d->map);
	why = may_enter(d, map, immediate);
	if (why != EX_OFF)
		timer_follow(d);
	if (why == EX_DIRECT)
		why = idt_put(d, map, &limit);
	d->why = why;
	d->n_why[why]++;
	d->again = false;
	if (why != EX_DIRECT) {
		ex_ops->dirty(d);
		/* It arrived for an entry that is not to be: by KVM, after the exit that this IPI
		 * is. */
		if (d->tick_pending) {
			ex_tick_inject(d);
			ex_lapic_self(RESCHEDULE_VECTOR);
		}
		return;
	}
	ex_ops->enter(d, limit, d->timer_own);
	if (d->tick_pending) {
		d->tick_pending = false;
		d->n_ticks_raised++;
		ex_lapic_self(EX_TIMER_VECTOR);
	}
	d->entered_ns = ktime_get_mono_fast_ns();
	WRITE_ONCE(d->ipi_ns, 0);
	smp_store_release(&d->active, true);
}

/* Direct interrupts that the guest was serving as it left. */
static void in_service_retire(struct ex_vcpu *d)
{
	unsigned int i;
	u32 isr;

	for (i = 0; i < 8; i++) {
		if (!d->direct_vectors[i])
			continue;
		isr = ex_lapic_read(APIC_ISR + i * 16);
		while (isr & d->direct_vectors[i]) {
			ex_lapic_write(APIC_EOI, 0);
			d->n_eoi_retired++;
			isr &= isr - 1;
		}
	}
}

void ex_exit(void *data, struct kvm_vcpu *vcpu, u32 isa)
{
	struct ex_vcpu *d = this_cpu_read(ex_here);
	bool again;
	int vector;

	if (!d || d->vcpu != vcpu || !d->active)
		return;
	WRITE_ONCE(d->active, false);
	vector = ex_ops->leave(d, &again);
	idt_restore(d);
	d->again = again;
	if (vector >= 0) {
		d->n_handed_back++;
		d->n_vector[vector]++;
		if (ex_lapic_in_service(vector)) {
			ex_lapic_write(APIC_EOI, 0);
			ex_lapic_self(vector);
		}
	}
	in_service_retire(d);
}

void ex_poke(void *data)
{
	struct ex_vcpu *d = data;

	if (d->tick_pending && rcuwait_active(kvm_arch_vcpu_get_wait(d->vcpu)))
		ex_tick_inject(d);
	if (d->timer_own && READ_ONCE(d->vcpu->cpu) != d->cpu)
		timer_take(d);
}

/* On the CPU, in an IPI: the vCPU is not in the guest. */
static void stop_here(void *data)
{
	struct ex_vcpu *d = data;

	d->on = false;
	d->timer_on = false;
	if (d->timer_own)
		timer_take(d);
	if (d->vcpu)
		ex_ops->dirty(d);
	if (this_cpu_read(ex_here) == d)
		this_cpu_write(ex_here, NULL);
}

void ex_vcpu_stop(struct ex_vcpu *d)
{
	smp_call_function_single(d->cpu, stop_here, d, 1);
	ex_proxy_stop(d);
}
