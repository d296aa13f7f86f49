// SPDX-License-Identifier: GPL-2.0-only
/* Reads the running kernel's BTF from sysfs and looks up what the headers do not tell. */
#include <linux/fs.h>
#include <linux/vmalloc.h>

#include "btf_match.h"
#include "direct.h"

#define BTF_BYTES_MAX (64u << 20)

struct ex_offsets ex_off;

static void *btf_read(const char *name, u32 *bytes)
{
	struct file *f;
	char path[64];
	loff_t pos = 0, size;
	void *data = NULL;
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/kernel/btf/%s", name);
	f = filp_open(path, O_RDONLY, 0);
	if (IS_ERR(f)) {
		pr_err("no %s (%ld): a kernel with CONFIG_DEBUG_INFO_BTF is needed\n", path,
		       PTR_ERR(f));
		return NULL;
	}
	size = i_size_read(file_inode(f));
	if (size > 0 && size < BTF_BYTES_MAX)
		data = vmalloc(size);
	while (data && pos < size) {
		n = kernel_read(f, data + pos, size - pos, &pos);
		if (n <= 0) {
			vfree(data);
			data = NULL;
		}
	}
	filp_close(f, NULL);
	if (data)
		*bytes = size;
	else
		pr_err("cannot read %s\n", path);
	return data;
}

static const struct {
	struct btf_want want;
	u32 *offset, *bytes;
	const char *module;    /* NULL: any */
	struct btf_want inner; /* newer kernels: @want is missing, and this is in struct vcpu_vt */
} wants[] = {
	{ { "kvm_lapic", "regs", BTF_WANT_PTR }, &ex_off.lapic_regs },
	{ { "kvm_lapic", "isr_count", BTF_WANT_INT, NULL, 1u << 2 | 1u << 4 },
	  &ex_off.lapic_isr_count,
	  &ex_off.lapic_isr_count_bytes },
	{ { "kvm_lapic", "irr_pending", BTF_WANT_INT, NULL, 1u << 1 }, &ex_off.lapic_irr_pending },
	{ { "eventfd_ctx", "kref", BTF_WANT_STRUCT, "kref" }, &ex_off.eventfd_kref },
	{ { "eventfd_ctx", "wqh", BTF_WANT_STRUCT, "wait_queue_head" }, &ex_off.eventfd_wqh },
	{ { "vcpu_svm", "vmcb", BTF_WANT_PTR, "vmcb" }, &ex_off.svm_vmcb, NULL, "kvm_amd" },
	{ { "vcpu_vmx", "exit_reason", BTF_WANT_UNION, "vmx_exit_reason" },
	  &ex_off.vmx_exit_reason,
	  NULL,
	  "kvm_intel",
	  { "vcpu_vt", "exit_reason", BTF_WANT_UNION, "vmx_exit_reason" } },
	{ { "vcpu_vmx", "idt_vectoring_info", BTF_WANT_INT, NULL, 1u << 4 },
	  &ex_off.vmx_idt_vectoring_info,
	  NULL,
	  "kvm_intel" },
};

/* 6.16 moved what VMX and TDX share into a structure of its own. */
static int match_inner(const struct btf_image *image, const struct btf_want *inner,
		       struct btf_found *found)
{
	const struct btf_want vt = { "vcpu_vmx", "vt", BTF_WANT_STRUCT, "vcpu_vt" };
	u32 outer;
	int err;

	err = btf_match(image, &vt, found);
	outer = found->offset;
	if (!err)
		err = btf_match(image, inner, found);
	found->offset += outer;
	return err;
}

static int btf_lookup(const struct btf_image *image, const char *module)
{
	const struct btf_want chip = { "apic_chip_data", "hw_irq_cfg", BTF_WANT_STRUCT, "irq_cfg" };
	struct btf_found found;
	unsigned int i;
	int err;

	for (i = 0; i < ARRAY_SIZE(wants); i++) {
		if (wants[i].module && strcmp(wants[i].module, module))
			continue;
		err = btf_match(image, &wants[i].want, &found);
		if (err == -ENOENT && wants[i].inner.container)
			err = match_inner(image, &wants[i].inner, &found);
		if (err) {
			pr_err("%s: member %s of struct %s %s\n", module, wants[i].want.member,
			       wants[i].want.container,
			       err == -ENOENT ? "is missing" : "has another type than expected");
			return -ENXIO;
		}
		*wants[i].offset = found.offset;
		if (wants[i].bytes)
			*wants[i].bytes = found.bytes;
	}
	/* irqmap.c takes the chip data of the vector domain for a struct irq_cfg. */
	err = btf_match(image, &chip, &found);
	if (err || found.offset) {
		pr_err("struct apic_chip_data does not begin with its struct irq_cfg\n");
		return -ENXIO;
	}
	if (btf_struct_bytes(image, "kvm_vcpu") != sizeof(struct kvm_vcpu) ||
	    btf_struct_bytes(image, "kvm") != sizeof(struct kvm)) {
		pr_err("%s was built with other headers than this module\n", module);
		return -ENXIO;
	}
	return 0;
}

int ex_btf_load(const char *module)
{
	struct btf_image base, image;
	void *base_data, *data = NULL;
	u32 bytes;
	int err = -ENOENT;

	base_data = btf_read("vmlinux", &bytes);
	if (!base_data)
		return err;
	err = btf_image_init(&base, NULL, base_data, bytes);
	if (err) {
		pr_err("the kernel's BTF is of an unknown form\n");
		goto out;
	}
	data = btf_read(module, &bytes);
	if (!data) {
		err = -ENOENT;
		goto out;
	}
	err = btf_image_init(&image, &base, data, bytes);
	if (err)
		pr_err("the BTF of %s is of an unknown form\n", module);
	else
		err = btf_lookup(&image, module);
out:
	vfree(data);
	vfree(base_data);
	return err;
}
