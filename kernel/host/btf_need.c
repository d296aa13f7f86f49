// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* See btf_need.h. */
#include "btf_need.h"

#ifdef __KERNEL__
#include <linux/kernel.h>
#include <linux/stddef.h>
#else
#include <stddef.h>
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#endif

#define AT(field) (offsetof(struct ex_offsets, field) / sizeof(u32) + 1)

struct need {
	struct btf_want want;
	u32 offset, bytes;     /* AT(where it goes); 0: nowhere, the offset is to be 0 */
	const char *module;    /* NULL: any */
	struct btf_want inner; /* newer kernels: @want is missing, and this is in struct vcpu_vt */
};

static const struct need needs[] = {
	{ { "kvm_lapic", "regs", BTF_WANT_PTR }, AT(lapic_regs) },
	{ { "kvm_lapic", "isr_count", BTF_WANT_INT, NULL, 1u << 2 | 1u << 4 },
	  AT(lapic_isr_count),
	  AT(lapic_isr_count_bytes) },
	{ { "kvm_lapic", "irr_pending", BTF_WANT_INT, NULL, 1u << 1 }, AT(lapic_irr_pending) },
	{ { "kvm_lapic", "lapic_timer", BTF_WANT_STRUCT, "kvm_timer" }, AT(lapic_timer) },
	{ { "kvm_timer", "timer", BTF_WANT_STRUCT, "hrtimer" }, AT(timer_hrtimer) },
	{ { "kvm_timer", "period", BTF_WANT_INT, NULL, 1u << 8 }, AT(timer_period) },
	{ { "kvm_timer", "target_expiration", BTF_WANT_INT, NULL, 1u << 8 }, AT(timer_target) },
	{ { "kvm_timer", "tscdeadline", BTF_WANT_INT, NULL, 1u << 8 }, AT(timer_deadline) },
	{ { "kvm_timer", "hv_timer_in_use", BTF_WANT_INT, NULL, 1u << 1 }, AT(timer_hv_in_use) },
	{ { "eventfd_ctx", "kref", BTF_WANT_STRUCT, "kref" }, AT(eventfd_kref) },
	{ { "eventfd_ctx", "wqh", BTF_WANT_STRUCT, "wait_queue_head" }, AT(eventfd_wqh) },
	{ { "vcpu_svm", "vmcb", BTF_WANT_PTR, "vmcb" }, AT(svm_vmcb), 0, "kvm_amd" },
	{ { "vcpu_vmx", "exit_reason", BTF_WANT_UNION, "vmx_exit_reason" },
	  AT(vmx_exit_reason),
	  0,
	  "kvm_intel",
	  { "vcpu_vt", "exit_reason", BTF_WANT_UNION, "vmx_exit_reason" } },
	{ { "vcpu_vmx", "idt_vectoring_info", BTF_WANT_INT, NULL, 1u << 4 },
	  AT(vmx_idt_vectoring_info),
	  0,
	  "kvm_intel" },
	{ { "vcpu_vmx", "hv_deadline_tsc", BTF_WANT_INT, NULL, 1u << 8 },
	  AT(vmx_hv_deadline_tsc),
	  0,
	  "kvm_intel" },
	/* irqmap.c takes the chip data of the vector domain for a struct irq_cfg. */
	{ { "apic_chip_data", "hw_irq_cfg", BTF_WANT_STRUCT, "irq_cfg" } },
};

/* 6.16 moved what VMX and TDX share into a structure of its own. */
static int match_inner(const struct btf_image *image, const struct btf_want *inner,
		       struct btf_found *found)
{
	const struct btf_want vt = { "vcpu_vmx", "vt", BTF_WANT_STRUCT, "vcpu_vt" };
	u32 outer;
	int err;

	err = btf_match(image, &vt, found);
	if (err)
		return err;
	outer = found->offset;
	err = btf_match(image, inner, found);
	if (!err)
		found->offset += outer;
	return err;
}

int btf_need(const struct btf_image *image, const char *module, struct ex_offsets *off,
	     const char **container, const char **member)
{
	u32 words[sizeof(*off) / sizeof(u32)] = { 0 };
	struct btf_found found;
	u32 i;
	int err;

	for (i = 0; i < ARRAY_SIZE(needs); i++) {
		const struct need *n = &needs[i];

		if (n->module && strcmp(n->module, module))
			continue;
		err = btf_match(image, &n->want, &found);
		if (err == -ENOENT && n->inner.container)
			err = match_inner(image, &n->inner, &found);
		if (!err && !n->offset && found.offset)
			err = -EINVAL;
		if (err) {
			*container = n->want.container;
			*member = n->want.member;
			return err;
		}
		if (n->offset)
			words[n->offset - 1] = found.offset;
		if (n->bytes)
			words[n->bytes - 1] = found.bytes;
	}
	memcpy(off, words, sizeof(words));
	return 0;
}
