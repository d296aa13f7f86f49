// SPDX-License-Identifier: GPL-2.0-only
/*
 * The registers of uapi/exitless_direct.h. KVM does not know them, so an access exits; it is
 * answered in the hook after the exit, and KVM is shown an exit that needs nothing done. What is
 * not answered is KVM's, which makes it a fault. Runs on the vCPU's CPU, or where its thread has
 * gone, with interrupts off.
 */
#include "../uapi/exitless_direct.h"
#include "direct.h"
#include "lapic.h"

static bool abi_read(struct ex_vcpu *d, u32 index, u64 *value)
{
	switch (index) {
	case EX_MSR_ID:
		*value = (u64)EX_ID_MAGIC << 32 | EX_ID_VERSION << 16 | EX_FEATURE_SHADOW_IDT |
			 (d->timer_wanted ? EX_FEATURE_TIMER : 0) |
			 (d->ipi.allowed ? EX_FEATURE_IPI : 0);
		return true;
	case EX_MSR_SHADOW:
		*value = d->shadow.base;
		return true;
	case EX_MSR_WISH:
		*value = d->wish;
		return true;
	case EX_MSR_STATE:
		*value = (d->why == EX_DIRECT ? EX_STATE_DIRECT : 0) |
			 (d->timer_own ? EX_STATE_TIMER : 0) | (u32)d->why_not << 8;
		return true;
	case EX_MSR_INJECTED:
		*value = d->n_injected;
		return true;
	case EX_MSR_TICKS:
		*value = d->n_ticks;
		return true;
	case EX_MSR_IPI:
		if (!d->ipi.allowed)
			return false;
		/* The one before, until nothing is written to it. */
		*value = smp_load_acquire(&d->ipi.pinned) ?: d->ipi.wanted;
		return true;
	}
	return false;
}

static bool abi_write(struct ex_vcpu *d, u32 index, u64 value)
{
	switch (index) {
	case EX_MSR_SHADOW:
		if (value)
			return ex_shadow_set(d, value);
		d->shadow.base = 0;
		return true;
	case EX_MSR_WISH:
		if (value & ~(u64)(EX_WISH_DEFAULT | (d->ipi.allowed ? EX_WISH_IPI : 0)))
			return false;
		d->wish = value;
		return true;
	case EX_MSR_IPI:
		if (!d->ipi.allowed || value & ~PAGE_MASK || value >> 52)
			return false;
		WRITE_ONCE(d->ipi.wanted, value);
		return true;
	}
	return false;
}

/*
 * An IPI of a fixed vector to one vCPU by its physical ID, that is, what Linux sends most: if that
 * vCPU is in a direct entry, it gets it by its line. Anything else is KVM's.
 */
static bool ipi_send(struct ex_vcpu *d, u64 command)
{
	const struct ex_map *map;
	struct ex_vcpu *to;
	unsigned int i;
	u32 id;
	u8 vector = ex_command_vector(command, &id);

	if (!vector)
		return false;
	/* Here interrupts are off, as the readers of the map and of the list need it. */
	to = ex_find(d->vcpu->kvm, id);
	map = to && to != d ? rcu_dereference_sched(to->map) : NULL;
	if (!map)
		return false;
	for (i = 0; i < map->n; i++) {
		if (!map->route[i].ipi || map->route[i].guest != vector)
			continue;
		if (!ex_near(to))
			return false;
		d->n_ipi_sent++;
		ex_lapic_send(to->cpu, APIC_DM_FIXED | map->route[i].host);
		return true;
	}
	set_bit(vector, to->ipi_wanted);
	return false;
}

/* A write of the interrupt command register, or of EX_MSR_ICR. */
static void icr_write(struct ex_vcpu *d, struct ex_msr *m)
{
	unsigned long *regs = d->vcpu->arch.regs;

	if (m->index == EX_MSR_ICR) {
		regs[VCPU_REGS_RCX] = EX_X2APIC(APIC_ICR);
	} else if (d->ipi.allowed && regs[VCPU_REGS_R8] == EX_IPI_MAGIC) {
		/* Meant for the physical LAPIC. */
		m->value = regs[VCPU_REGS_RBX];
		regs[VCPU_REGS_RAX] = (u32)m->value;
		regs[VCPU_REGS_RDX] = m->value >> 32;
	}
	if (d->on && d->why != EX_NO_X2APIC && ipi_send(d, m->value))
		ex_ops->msr_done(d, m);
}

/* What a guest has given it may take back, wherever its thread has gone; and see that it has. */
static bool may_away(const struct ex_msr *m)
{
	switch (m->index) {
	case EX_MSR_SHADOW:
		return m->write && !m->value;
	case EX_MSR_WISH:
		return m->write;
	case EX_MSR_IPI:
		return !m->write || !m->value;
	}
	return false;
}

void ex_abi_exit(struct ex_vcpu *d)
{
	struct ex_msr m;

	if (d->vcpu->arch.hflags & HF_GUEST_MASK || !ex_ops->msr(d, &m))
		return;
	if (m.write &&
	    (m.index == EX_X2APIC(APIC_ICR) || (m.index == EX_MSR_ICR && d->ipi.allowed))) {
		icr_write(d, &m);
		return;
	}
	if (ex_timer_msr(d, &m)) {
		ex_ops->msr_done(d, &m);
		return;
	}
	if (m.index - EX_MSR_BASE >= EX_MSR_COUNT)
		return;
	d->n_abi++;
	if (m.write ? abi_write(d, m.index, m.value) : abi_read(d, m.index, &m.value))
		ex_ops->msr_done(d, &m);
}

void ex_abi_exit_away(struct kvm_vcpu *vcpu)
{
	u32 index = vcpu->arch.regs[VCPU_REGS_RCX];
	struct ex_vcpu *d;
	struct ex_msr m;

	/* As nearly all exits of all guests. */
	if (likely(index != EX_X2APIC(APIC_ICR) && index - EX_MSR_BASE >= EX_MSR_COUNT))
		return;
	d = ex_find(vcpu->kvm, vcpu->vcpu_id);
	if (!d || vcpu->arch.hflags & HF_GUEST_MASK || !ex_ops->msr(d, &m))
		return;
	if (m.write && (m.index == EX_X2APIC(APIC_ICR) || m.index == EX_MSR_ICR)) {
		if (d->ipi.allowed)
			icr_write(d, &m);
		return;
	}
	if (!may_away(&m))
		return;
	d->n_abi++;
	if (m.write ? abi_write(d, m.index, m.value) : abi_read(d, m.index, &m.value))
		ex_ops->msr_done(d, &m);
}
