/* SPDX-License-Identifier: GPL-2.0-only */
/* What the supported kernels (6.12 and later) call differently. */
#ifndef EXITLESS_COMPAT_H
#define EXITLESS_COMPAT_H

#include <linux/eventfd.h>
#include <linux/hrtimer.h>
#include <linux/irq.h>
#include <linux/irqbypass.h>
#include <linux/version.h>

#include <asm/msr.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
#define rdmsrq_(msr, value)	 rdmsrq(msr, value)
#define wrmsrq_(msr, value)	 wrmsrq(msr, value)
#define rdmsrq_safe_(msr, value) rdmsrq_safe(msr, value)
#else
#define rdmsrq_(msr, value)	 rdmsrl(msr, value)
#define wrmsrq_(msr, value)	 wrmsrl(msr, value)
#define rdmsrq_safe_(msr, value) rdmsrl_safe(msr, value)
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0)
static inline int ex_consumer_add(struct irq_bypass_consumer *c, struct eventfd_ctx *token)
{
	return irq_bypass_register_consumer(c, token);
}
#else
static inline int ex_consumer_add(struct irq_bypass_consumer *c, struct eventfd_ctx *token)
{
	c->token = token;
	return irq_bypass_register_consumer(c);
}
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
static inline void ex_hrtimer_init(struct hrtimer *t, enum hrtimer_restart (*fn)(struct hrtimer *))
{
	hrtimer_setup(t, fn, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED);
}
static inline unsigned int ex_nr_irqs(void)
{
	return irq_get_nr_irqs();
}
#else
static inline void ex_hrtimer_init(struct hrtimer *t, enum hrtimer_restart (*fn)(struct hrtimer *))
{
	hrtimer_init(t, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED);
	t->function = fn;
}
static inline unsigned int ex_nr_irqs(void)
{
	return nr_irqs;
}
#endif

/* The guest's instruction pointer, as KVM keeps it for the next entry. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
#define ex_rip(vcpu) ((vcpu)->arch.rip)
#else
#define ex_rip(vcpu) ((vcpu)->arch.regs[VCPU_REGS_RIP])
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
#define ex_nested_ctl(control) ((control)->misc_ctl)
#else
#define ex_nested_ctl(control) ((control)->nested_ctl)
#endif

#endif
