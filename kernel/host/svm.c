// SPDX-License-Identifier: GPL-2.0-only
/*
 * Direct entries on AMD SVM (APM volume 2, chapter 15).
 *
 * With the INTR intercept and V_INTR_MASKING clear, physical interrupts go through the guest's IDT
 * whenever its RFLAGS.IF allows. A vector past the IDT's limit, or with an empty gate, raises #GP,
 * which is intercepted; EXITINTINFO then names the vector. CR8 would be the physical task priority,
 * so it is intercepted too, which also tells when the guest raises its own; LIDT, which would lift
 * the limit; and CLGI, which keeps off only interrupts that are virtual.
 */
#include <linux/kvm_host.h>

#include <asm/apicdef.h>
#include <asm/svm.h>

#include "compat.h"
#include "direct.h"
#include "lapic.h"

#define EXC(n) (INTERCEPT_EXCEPTION_OFFSET + (n))
#define GP     13

#define IDT_ERROR 2 /* of an error code: it is about a gate */

/* Of the VMCB's word at 90h (APM 2, appendix B). */
#define NESTED_PAGING (1u << 0)
#define ENCRYPTED     (1u << 1)

#define MSR_INSN_BYTES 2 /* RDMSR, WRMSR; a guest that adds prefixes lands on these */

static struct vmcb *vmcb_of(struct ex_vcpu *d)
{
	return *(struct vmcb **)((char *)d->vcpu + ex_off.svm_vmcb);
}

static bool bit_get(const struct vmcb_control_area *c, u32 bit)
{
	return c->intercepts[bit / 32] >> bit % 32 & 1;
}

static void bit_put(struct vmcb_control_area *c, u32 bit, bool on)
{
	if (on)
		c->intercepts[bit / 32] |= 1u << bit % 32;
	else
		c->intercepts[bit / 32] &= ~(1u << bit % 32);
}

/* MSRs below 0x2000 have two bits each (read, write) from the map's start (APM 2, 15.11). */
static void msr_pass(struct vmcb_control_area *c, u32 msr, u8 which, bool pass)
{
	u8 *map = phys_to_virt(c->msrpm_base_pa & PAGE_MASK), *byte = map + msr / 4;
	u8 bits = which << msr % 4 * 2;

	if (pass)
		*byte &= ~bits;
	else
		*byte |= bits;
}

/* The guest's own timer. */
static void timer_pass(struct vmcb_control_area *c, bool deadline, bool pass)
{
	if (deadline) {
		msr_pass(c, MSR_IA32_TSC_DEADLINE, 3, pass);
		return;
	}
	msr_pass(c, EX_X2APIC(APIC_TMICT), 3, pass);
	msr_pass(c, EX_X2APIC(APIC_TMCCT), 1, pass);
}

static int svm_init(void)
{
	return boot_cpu_has(X86_FEATURE_SVM) ? 0 : -ENODEV;
}

static enum ex_why svm_may(struct ex_vcpu *d)
{
	struct vmcb_control_area *c = &vmcb_of(d)->control;

	if (c->int_ctl & AVIC_ENABLE_MASK)
		return EX_AVIC;
	/* The guest's page tables and IDT are read as they are in memory. */
	if (!(ex_nested_ctl(c) & NESTED_PAGING) || ex_nested_ctl(c) & ENCRYPTED)
		return EX_IDT;
	/* While a hypervisor in the guest has the global interrupt flag clear, it is in no state to
	 * take an interrupt, though its RFLAGS.IF may be set (15.17). Without V_GIF the flag is
	 * KVM's. */
	if (d->vcpu->arch.efer & EFER_SVME &&
	    (c->int_ctl & (V_GIF_ENABLE_MASK | V_GIF_MASK)) != (V_GIF_ENABLE_MASK | V_GIF_MASK))
		return EX_NESTED;
	/* Its own injections go through the guest's IDT, which is not the one that we set. */
	if (c->event_inj & SVM_EVTINJ_VALID)
		return EX_INJECTING;
	return EX_DIRECT;
}

static void svm_idt_get(struct ex_vcpu *d, u64 *base, u32 *limit, u64 *cr3, bool *la57)
{
	struct vmcb_save_area *s = &vmcb_of(d)->save;

	*base = s->idtr.base;
	*limit = s->idtr.limit;
	*cr3 = s->cr3;
	*la57 = s->cr4 & X86_CR4_LA57;
}

/* What is changed for a direct entry, and goes back to what KVM had. */
static const u8 saved_bits[] = { INTERCEPT_INTR, INTERCEPT_CR8_READ,  INTERCEPT_CR8_WRITE,
				 EXC(GP),	 INTERCEPT_LOAD_IDTR, INTERCEPT_STORE_IDTR,
				 INTERCEPT_CLGI };

static int svm_injected(struct ex_vcpu *d)
{
	u32 event = vmcb_of(d)->control.event_inj;

	if (!(event & SVM_EVTINJ_VALID) || (event & SVM_EVTINJ_TYPE_MASK) != SVM_EVTINJ_TYPE_INTR)
		return -1;
	return event & SVM_EVTINJ_VEC_MASK;
}

static void svm_enter(struct ex_vcpu *d, const struct ex_idt *idt, bool timer)
{
	struct vmcb *v = vmcb_of(d);
	struct vmcb_control_area *c = &v->control;
	unsigned int i;

	d->arch[0] = v;
	d->saved[0] = 0;
	for (i = 0; i < ARRAY_SIZE(saved_bits); i++) {
		d->saved[0] |= (u64)bit_get(c, saved_bits[i]) << i;
		bit_put(c, saved_bits[i], saved_bits[i] != INTERCEPT_INTR);
	}
	d->saved[1] = c->int_ctl & V_INTR_MASKING_MASK;
	c->int_ctl &= ~V_INTR_MASKING_MASK;
	d->saved[2] = v->save.idtr.limit;
	d->saved[4] = v->save.idtr.base;
	v->save.idtr.limit = min_t(u32, v->save.idtr.limit, idt->limit);
	if (idt->base)
		v->save.idtr.base = idt->base;
	if (x2apic_mode)
		msr_pass(c, EX_X2APIC(APIC_EOI), 2, true);
	if (timer)
		timer_pass(c, d->deadline, true);
	if (d->ipi_own)
		msr_pass(c, EX_X2APIC(APIC_ICR), 2, true);
	d->saved[3] = timer;
	c->clean = 0;
}

/* #GP by a gate from the first on that a direct entry replaces, or by the limit, as the error code
 * says (APM 2, 8.4.1). */
static bool gate_failed(const struct vmcb_control_area *c)
{
	return c->exit_code == SVM_EXIT_EXCP_BASE + GP && c->exit_info_1 & IDT_ERROR &&
	       (c->exit_info_1 & 0xffff) >> 3 >= EX_VECTORS_FROM;
}

static int svm_leave(struct ex_vcpu *d, bool *again)
{
	struct vmcb *v = d->arch[0];
	struct vmcb_control_area *c = &v->control;
	u32 info = c->exit_int_info, type = info & SVM_EXITINTINFO_TYPE_MASK;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(saved_bits); i++)
		bit_put(c, saved_bits[i], d->saved[0] >> i & 1);
	c->int_ctl |= d->saved[1];
	v->save.idtr.limit = d->saved[2];
	v->save.idtr.base = d->saved[4];
	if (x2apic_mode)
		msr_pass(c, EX_X2APIC(APIC_EOI), 2, false);
	if (d->ipi_own)
		msr_pass(c, EX_X2APIC(APIC_ICR), 2, false);
	if (d->saved[3])
		timer_pass(c, d->deadline, false);
	c->clean = 0;

	/* KVM has no handler for it: make it an exit that needs none. */
	*again = c->exit_code == SVM_EXIT_IDTR_WRITE || c->exit_code == SVM_EXIT_IDTR_READ;
	if (*again)
		c->exit_code = SVM_EXIT_INTR;
	/* QEMU's TCG calls an external interrupt an exception, which has no vector from 32 on. */
	if (!(info & SVM_EXITINTINFO_VALID) || (info & SVM_EXITINTINFO_VEC_MASK) < 32 ||
	    (type != SVM_EXITINTINFO_TYPE_INTR && type != SVM_EXITINTINFO_TYPE_EXEPT)) {
		if (!gate_failed(c))
			return -1;
		/* INT n, by a gate that is the guest's only in a stock entry. */
		*again = true;
		c->exit_int_info = 0;
		c->exit_code = SVM_EXIT_INTR;
		return -1;
	}
	c->exit_int_info = 0;
	if (c->exit_code == SVM_EXIT_EXCP_BASE + GP)
		c->exit_code = SVM_EXIT_INTR;
	return info & SVM_EXITINTINFO_VEC_MASK;
}

/* KVM has taken the registers from the VMCB already, and puts them there at the next entry. */
static bool svm_msr(struct ex_vcpu *d, struct ex_msr *m)
{
	struct vmcb_control_area *c = &vmcb_of(d)->control;
	const unsigned long *regs = d->vcpu->arch.regs;

	if (c->exit_code != SVM_EXIT_MSR)
		return false;
	m->index = regs[VCPU_REGS_RCX];
	m->write = c->exit_info_1 & 1;
	m->value = (u64)regs[VCPU_REGS_RDX] << 32 | (u32)regs[VCPU_REGS_RAX];
	return true;
}

static void svm_msr_done(struct ex_vcpu *d, const struct ex_msr *m)
{
	struct vmcb_control_area *c = &vmcb_of(d)->control;
	unsigned long *regs = d->vcpu->arch.regs;

	if (!m->write) {
		regs[VCPU_REGS_RAX] = (u32)m->value;
		regs[VCPU_REGS_RDX] = m->value >> 32;
	}
	ex_rip(d->vcpu) += MSR_INSN_BYTES;
	c->int_state &= ~SVM_INTERRUPT_SHADOW_MASK;
	c->exit_code = SVM_EXIT_INTR;
}

static void svm_dirty(struct ex_vcpu *d)
{
	vmcb_of(d)->control.clean = 0;
}

const struct ex_ops ex_svm = {
	.name = "SVM",
	.btf = "kvm_amd",
	.init = svm_init,
	.may = svm_may,
	.idt_get = svm_idt_get,
	.injected = svm_injected,
	.enter = svm_enter,
	.leave = svm_leave,
	.msr = svm_msr,
	.msr_done = svm_msr_done,
	.dirty = svm_dirty,
};
