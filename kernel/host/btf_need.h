/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which members of the kernel's structures exitless_kvm uses that no header tells, and where they
 * are. Compiles in user space too, as btf_match.h does: for tests, and for `exitless doctor`.
 */
#ifndef EXITLESS_BTF_NEED_H
#define EXITLESS_BTF_NEED_H

#include "btf_match.h"

/* In bytes from the start of their structure. */
struct ex_offsets {
	u32 lapic_regs, lapic_isr_count, lapic_isr_count_bytes, lapic_irr_pending;
	u32 lapic_timer; /* and in that: */
	u32 timer_hrtimer, timer_period, timer_target, timer_deadline, timer_hv_in_use;
	u32 svm_vmcb;
	u32 vmx_exit_reason, vmx_idt_vectoring_info, vmx_hv_deadline_tsc;
	u32 eventfd_kref, eventfd_wqh;
};

/*
 * Finds all that @module ("kvm_amd" or "kvm_intel") is for, in its own BTF. -ENOENT: a member is
 * missing, -EINVAL: its type or place is another; *container and *member are then its names, and
 * *off is as it was.
 */
int btf_need(const struct btf_image *image, const char *module, struct ex_offsets *off,
	     const char **container, const char **member);

#endif
