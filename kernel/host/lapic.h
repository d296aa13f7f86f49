/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * This CPU's LAPIC, by its registers' offsets (asm/apicdef.h), in the mode that the host has it in:
 * MSRs in x2APIC mode, a page otherwise (SDM volume 3, chapter 12). Interrupts off.
 */
#ifndef EXITLESS_LAPIC_H
#define EXITLESS_LAPIC_H

#include <linux/smp.h>

#include <asm/apic.h>
#include <asm/apicdef.h>
#include <asm/msr.h>
#include <asm/smp.h>

#include "compat.h"

#define EX_X2APIC(reg) (APIC_BASE_MSR + ((reg) >> 4))
#define EX_ICR_LOOKS   100000

static inline u32 ex_lapic_read(u32 reg)
{
	u64 value;

	if (!x2apic_mode)
		return native_apic_mem_read(reg);
	rdmsrq_(EX_X2APIC(reg), value);
	return value;
}

static inline void ex_lapic_write(u32 reg, u32 value)
{
	if (x2apic_mode)
		wrmsrq_(EX_X2APIC(reg), value);
	else
		native_apic_mem_write(reg, value);
}

/* What should never be, as counted; any context, not exact. */
struct ex_trouble {
	u32 lines; /* vectors given up while still pending */
	u32 icr;   /* interrupt commands written while the one before was not sent yet */
	u32 isr;   /* vectors found in service with nobody to end them */
};
extern struct ex_trouble ex_trouble;

/* xAPIC mode: the command before has been sent; a LAPIC takes some cycles for that. */
static inline void ex_lapic_idle(void)
{
	unsigned int i;

	for (i = 0; i < EX_ICR_LOOKS; i++) {
		if (!(native_apic_mem_read(APIC_ICR) & APIC_ICR_BUSY))
			return;
		cpu_relax();
	}
	ex_trouble.icr++;
}

/* @command: what goes into the low half of the interrupt command register. */
static inline void ex_lapic_send(int cpu, u32 command)
{
	u32 id = per_cpu(x86_cpu_to_apicid, cpu);

	if (x2apic_mode) {
		weak_wrmsr_fence();
		wrmsrq_(EX_X2APIC(APIC_ICR), (u64)id << 32 | command);
		return;
	}
	ex_lapic_idle();
	native_apic_mem_write(APIC_ICR2, SET_XAPIC_DEST_FIELD(id));
	native_apic_mem_write(APIC_ICR, command);
}

/* An interrupt of this vector comes to this CPU as soon as it takes any. */
static inline void ex_lapic_self(u8 vector)
{
	if (x2apic_mode) {
		wrmsrq_(EX_X2APIC(APIC_SELF_IPI), vector);
		return;
	}
	ex_lapic_idle();
	native_apic_mem_write(APIC_ICR, APIC_DEST_SELF | vector);
}

static inline bool ex_lapic_pending(u8 vector)
{
	return ex_lapic_read(APIC_IRR + vector / 32 * 16) >> vector % 32 & 1;
}

static inline bool ex_lapic_in_service(u8 vector)
{
	return ex_lapic_read(APIC_ISR + vector / 32 * 16) >> vector % 32 & 1;
}

#endif
