// SPDX-License-Identifier: GPL-2.0-only
/*
 * Direct entries on Intel VMX (SDM volume 3, chapters 25 to 28).
 *
 * Without external-interrupt exiting, physical interrupts go through the guest's IDT whenever its
 * RFLAGS.IF allows (26.2). A vector past the IDT's limit, or with an empty gate, raises #GP, and
 * one with a gate that is not present #NP; both are in the exception bitmap, and the IDT-vectoring
 * information then names the vector (28.2.4), which is sent again for the host.
 *
 * LIDT would lift the limit, so descriptor-table exiting is on, by which all instructions exit that
 * load or store GDTR, IDTR, LDTR or TR. At these, and at faults of the guest's own on the two
 * vectors, the instruction runs again in an entry that is stock: its fault is then the guest's. To
 * KVM all these exits are interrupt windows, which have it do nothing but look for interrupts.
 *
 * The guest's task priority is one that KVM's TPR shadow gives it (30.3), and keeps off only what
 * KVM injects. So its writes exit, and an entry with a raised one is stock.
 *
 * Posted interrupts and virtual-interrupt delivery need external-interrupt exiting (27.2.1.1), so
 * with APICv an entry is stock. The VMCS is the current one in both hooks.
 */
#include <linux/kvm_host.h>

#include <asm/apicdef.h>
#include <asm/hypervisor.h>
#include <asm/vmx.h>

#include "compat.h"
#include "direct.h"
#include "lapic.h"

#define GP    13
#define NP    11
#define FAULT (1u << GP | 1u << NP)

#define MSR_INSN_BYTES 2 /* RDMSR, WRMSR; a guest that adds prefixes lands on these */

enum { PIN, EXCEPTIONS, LIMIT, SECONDARY, TIMER, BASE, CR8, TPR };

static inline u64 vmcs_get(unsigned long field)
{
	u64 value;

	asm volatile("vmread %1, %0" : "=rm"(value) : "r"(field) : "cc");
	return value;
}

static inline void vmcs_set(unsigned long field, u64 value)
{
	asm volatile("vmwrite %1, %0" : : "r"(field), "rm"(value) : "cc");
}

static u32 *member(struct ex_vcpu *d, u32 offset)
{
	return (u32 *)((char *)d->vcpu + offset);
}

/* One bit for each MSR below 0x2000: reads from byte 0 of the bitmap, writes from 2048 (25.6.9). */
static void msr_pass(u32 msr, bool write, bool pass)
{
	unsigned long *map = phys_to_virt(vmcs_get(MSR_BITMAP) & PAGE_MASK);

	if (pass)
		__clear_bit(msr + (write ? 2048 * 8 : 0), map);
	else
		__set_bit(msr + (write ? 2048 * 8 : 0), map);
}

static bool msr_passes(u32 msr, bool write)
{
	unsigned long *map = phys_to_virt(vmcs_get(MSR_BITMAP) & PAGE_MASK);

	return !test_bit(msr + (write ? 2048 * 8 : 0), map);
}

/* A write of CR8 exits. */
static void cr8_exits(bool is)
{
	u64 primary = vmcs_get(CPU_BASED_VM_EXEC_CONTROL);

	if (is)
		primary |= CPU_BASED_CR8_LOAD_EXITING;
	else
		primary &= ~(u64)CPU_BASED_CR8_LOAD_EXITING;
	vmcs_set(CPU_BASED_VM_EXEC_CONTROL, primary);
}

/* The guest's own timer. */
static void timer_pass(bool deadline, bool pass)
{
	if (deadline) {
		msr_pass(MSR_IA32_TSC_DEADLINE, false, pass);
		msr_pass(MSR_IA32_TSC_DEADLINE, true, pass);
		return;
	}
	msr_pass(EX_X2APIC(APIC_TMICT), false, pass);
	msr_pass(EX_X2APIC(APIC_TMICT), true, pass);
	msr_pass(EX_X2APIC(APIC_TMCCT), false, pass);
}

static int vmx_init(void)
{
	u64 allowed;

	if (!boot_cpu_has(X86_FEATURE_VMX))
		return -ENODEV;
	/* There KVM may keep the VMCS in memory of Hyper-V's form. */
	if (hypervisor_is_type(X86_HYPER_MS_HYPERV))
		return -EOPNOTSUPP;
	/* EPT and descriptor-table exiting, by the secondary controls' allowed 1-settings (A.3.3).
	 */
	if (rdmsrq_safe_(MSR_IA32_VMX_PROCBASED_CTLS2, &allowed))
		return -EOPNOTSUPP;
	allowed >>= 32;
	if (!(allowed & SECONDARY_EXEC_ENABLE_EPT) || !(allowed & SECONDARY_EXEC_DESC))
		return -EOPNOTSUPP;
	return 0;
}

static enum ex_why vmx_may(struct ex_vcpu *d)
{
	u32 primary = vmcs_get(CPU_BASED_VM_EXEC_CONTROL);
	u32 secondary = vmcs_get(SECONDARY_VM_EXEC_CONTROL);

	if (!(primary & CPU_BASED_ACTIVATE_SECONDARY_CONTROLS) ||
	    !(primary & CPU_BASED_USE_MSR_BITMAPS) || !(secondary & SECONDARY_EXEC_ENABLE_EPT))
		return EX_IDT;
	if (secondary & SECONDARY_EXEC_VIRTUAL_INTR_DELIVERY ||
	    vmcs_get(PIN_BASED_VM_EXEC_CONTROL) & PIN_BASED_POSTED_INTR)
		return EX_AVIC;
	if (vmcs_get(VM_ENTRY_INTR_INFO_FIELD) & INTR_INFO_VALID_MASK)
		return EX_INJECTING;
	return EX_DIRECT;
}

static void vmx_idt_get(struct ex_vcpu *d, u64 *base, u32 *limit, u64 *cr3, bool *la57)
{
	*base = vmcs_get(GUEST_IDTR_BASE);
	*limit = vmcs_get(GUEST_IDTR_LIMIT);
	*cr3 = vmcs_get(GUEST_CR3);
	*la57 = vmcs_get(GUEST_CR4) & X86_CR4_LA57;
}

static int vmx_injected(struct ex_vcpu *d)
{
	u32 event = vmcs_get(VM_ENTRY_INTR_INFO_FIELD);

	if (!(event & INTR_INFO_VALID_MASK) ||
	    (event & INTR_INFO_INTR_TYPE_MASK) != INTR_TYPE_EXT_INTR)
		return -1;
	return event & INTR_INFO_VECTOR_MASK;
}

static void vmx_enter(struct ex_vcpu *d, const struct ex_idt *idt, bool timer)
{
	d->saved[PIN] = vmcs_get(PIN_BASED_VM_EXEC_CONTROL);
	d->saved[EXCEPTIONS] = vmcs_get(EXCEPTION_BITMAP);
	d->saved[LIMIT] = vmcs_get(GUEST_IDTR_LIMIT);
	d->saved[SECONDARY] = vmcs_get(SECONDARY_VM_EXEC_CONTROL);
	d->saved[TIMER] = timer;
	d->saved[BASE] = vmcs_get(GUEST_IDTR_BASE);
	d->saved[CR8] = vmcs_get(CPU_BASED_VM_EXEC_CONTROL) & CPU_BASED_CR8_LOAD_EXITING;
	d->saved[TPR] = msr_passes(EX_X2APIC(APIC_TASKPRI), true);
	vmcs_set(PIN_BASED_VM_EXEC_CONTROL, d->saved[PIN] & ~(u64)PIN_BASED_EXT_INTR_MASK);
	vmcs_set(EXCEPTION_BITMAP, d->saved[EXCEPTIONS] | FAULT);
	vmcs_set(GUEST_IDTR_LIMIT, min_t(u32, d->saved[LIMIT], idt->limit));
	if (idt->base)
		vmcs_set(GUEST_IDTR_BASE, idt->base);
	vmcs_set(SECONDARY_VM_EXEC_CONTROL, d->saved[SECONDARY] | SECONDARY_EXEC_DESC);
	if (!d->saved[CR8])
		cr8_exits(true);
	if (d->saved[TPR])
		msr_pass(EX_X2APIC(APIC_TASKPRI), true, false);
	if (x2apic_mode)
		msr_pass(EX_X2APIC(APIC_EOI), true, true);
	if (d->ipi_own)
		msr_pass(EX_X2APIC(APIC_ICR), true, true);
	if (timer)
		timer_pass(d->deadline, true);
}

static int vmx_leave(struct ex_vcpu *d, bool *again)
{
	u32 *reason = member(d, ex_off.vmx_exit_reason);
	u32 *vectoring = member(d, ex_off.vmx_idt_vectoring_info);
	u32 info = *vectoring, intr;
	bool fault = false; /* #GP or #NP */
	bool ours = false;  /* that KVM is not to see */
	int vector = -1;

	/* Only that bit: after the hook KVM may have switched the preemption timer on or off. */
	vmcs_set(PIN_BASED_VM_EXEC_CONTROL,
		 vmcs_get(PIN_BASED_VM_EXEC_CONTROL) | (d->saved[PIN] & PIN_BASED_EXT_INTR_MASK));
	vmcs_set(EXCEPTION_BITMAP, d->saved[EXCEPTIONS]);
	vmcs_set(GUEST_IDTR_LIMIT, d->saved[LIMIT]);
	vmcs_set(GUEST_IDTR_BASE, d->saved[BASE]);
	vmcs_set(SECONDARY_VM_EXEC_CONTROL, d->saved[SECONDARY]);
	if (!d->saved[CR8])
		cr8_exits(false);
	if (d->saved[TPR])
		msr_pass(EX_X2APIC(APIC_TASKPRI), true, true);
	if (x2apic_mode)
		msr_pass(EX_X2APIC(APIC_EOI), true, false);
	if (d->ipi_own)
		msr_pass(EX_X2APIC(APIC_ICR), true, false);
	if (d->saved[TIMER])
		timer_pass(d->deadline, false);

	/* Without emulation of UMIP KVM knows neither. */
	*again = ((u16)*reason == EXIT_REASON_GDTR_IDTR || (u16)*reason == EXIT_REASON_LDTR_TR) &&
		 !(d->saved[SECONDARY] & SECONDARY_EXEC_DESC);
	if ((u16)*reason == EXIT_REASON_EXCEPTION_NMI) {
		intr = vmcs_get(VM_EXIT_INTR_INFO);
		fault = (intr & INTR_INFO_INTR_TYPE_MASK) == INTR_TYPE_HARD_EXCEPTION &&
			1u << (intr & 31) & FAULT;
		ours = fault && 1u << (intr & 31) & ~d->saved[EXCEPTIONS];
	}
	if (info & VECTORING_INFO_VALID_MASK &&
	    (info & VECTORING_INFO_TYPE_MASK) == INTR_TYPE_EXT_INTR) {
		vector = info & VECTORING_INFO_VECTOR_MASK;
		*vectoring = 0;
		/* The guest has done nothing, whoever looks at its faults. */
		ours = fault;
	} else if (ours) {
		/* What was being delivered is the guest's own, and is delivered again with it. */
		*vectoring = 0;
		*again = true;
	}
	/* Any other exit in the middle of a delivery is KVM's to look at. */
	if (ours || *again)
		*reason = EXIT_REASON_INTERRUPT_WINDOW;
	return vector;
}

static bool vmx_msr(struct ex_vcpu *d, struct ex_msr *m)
{
	const unsigned long *regs = d->vcpu->arch.regs;
	u32 reason = *member(d, ex_off.vmx_exit_reason);

	if (reason != EXIT_REASON_MSR_READ && reason != EXIT_REASON_MSR_WRITE)
		return false;
	m->index = regs[VCPU_REGS_RCX];
	m->write = reason == EXIT_REASON_MSR_WRITE;
	m->value = (u64)regs[VCPU_REGS_RDX] << 32 | (u32)regs[VCPU_REGS_RAX];
	return true;
}

/* KVM reads RIP from the VMCS when it needs it, and keeps it until the next entry. */
static void vmx_msr_done(struct ex_vcpu *d, const struct ex_msr *m)
{
	unsigned long *regs = d->vcpu->arch.regs;
	u64 rip = vmcs_get(GUEST_RIP) + MSR_INSN_BYTES;

	if (!m->write) {
		regs[VCPU_REGS_RAX] = (u32)m->value;
		regs[VCPU_REGS_RDX] = m->value >> 32;
	}
	vmcs_set(GUEST_RIP, rip);
	ex_rip(d->vcpu) = rip;
	vmcs_set(GUEST_INTERRUPTIBILITY_INFO,
		 vmcs_get(GUEST_INTERRUPTIBILITY_INFO) &
			 ~(u64)(GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS));
	*member(d, ex_off.vmx_exit_reason) = EXIT_REASON_INTERRUPT_WINDOW;
}

/* The preemption timer: KVM sets it, or not, after the hook. */
static void vmx_timer_cancel(struct ex_vcpu *d)
{
	*(u64 *)((char *)d->vcpu + ex_off.vmx_hv_deadline_tsc) = ~0ull;
}

static void vmx_dirty(struct ex_vcpu *d)
{
}

const struct ex_ops ex_vmx = {
	.name = "VMX",
	.btf = "kvm_intel",
	.init = vmx_init,
	.may = vmx_may,
	.idt_get = vmx_idt_get,
	.injected = vmx_injected,
	.enter = vmx_enter,
	.leave = vmx_leave,
	.msr = vmx_msr,
	.msr_done = vmx_msr_done,
	.timer_cancel = vmx_timer_cancel,
	.dirty = vmx_dirty,
};
