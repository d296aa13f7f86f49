// SPDX-License-Identifier: GPL-2.0-only
/* Reads the running kernel's BTF from sysfs and looks up what the headers do not tell. */
#include <linux/fs.h>
#include <linux/vmalloc.h>

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

static int btf_lookup(const struct btf_image *image, const char *module)
{
	const char *container, *member;
	int err;

	err = btf_need(image, module, &ex_off, &container, &member);
	if (err) {
		pr_err("%s: member %s of struct %s %s\n", module, member, container,
		       err == -ENOENT ? "is missing" : "is not as expected");
		return -ENXIO;
	}
	if (btf_struct_bytes(image, "kvm_vcpu") != sizeof(struct kvm_vcpu) ||
	    btf_struct_bytes(image, "kvm") != sizeof(struct kvm)) {
		pr_err("%s was built with other headers than this module\n", module);
		return -ENXIO;
	}
	return 0;
}

/* What headers tell is where BTF has it, and what is not there is not found. */
static int btf_known(const struct btf_image *image, const char *module)
{
	static const struct {
		struct btf_want want;
		u32 offset;
		int err;
	} known[] = {
		{ { "kvm_vcpu", "kvm", BTF_WANT_PTR, "kvm" }, offsetof(struct kvm_vcpu, kvm) },
		{ { "kvm_vcpu", "vcpu_idx", BTF_WANT_INT, NULL, 1u << 4 },
		  offsetof(struct kvm_vcpu, vcpu_idx) },
		{ { "kvm_vcpu", "arch", BTF_WANT_STRUCT, "kvm_vcpu_arch" },
		  offsetof(struct kvm_vcpu, arch) },
		{ { "kvm_vcpu_arch", "apic", BTF_WANT_PTR }, offsetof(struct kvm_vcpu_arch, apic) },
		{ { "task_struct", "group_leader", BTF_WANT_PTR, "task_struct" },
		  offsetof(struct task_struct, group_leader) },
		{ { "clock_event_device", "features", BTF_WANT_INT, NULL, 1u << 4 },
		  offsetof(struct clock_event_device, features) },
		{ { "kvm_vcpu", "kvm", BTF_WANT_PTR, "mm_struct" }, 0, -EINVAL },
		{ { "kvm_vcpu", "kvm", BTF_WANT_INT, NULL, 1u << 8 }, 0, -EINVAL },
		{ { "kvm_vcpu", "exitless" }, 0, -ENOENT },
		{ { "exitless", "kvm" }, 0, -ENOENT },
	};
	struct ex_offsets off;
	struct btf_found found;
	const char *container, *member;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(known); i++) {
		int err = btf_match(image, &known[i].want, &found);

		if (err == known[i].err && (err || found.offset == known[i].offset))
			continue;
		pr_err("self-test: member %s of struct %s: %d, offset %u\n", known[i].want.member,
		       known[i].want.container, err, err ? 0 : found.offset);
		return -EINVAL;
	}
	if (btf_need(image, module, &off, &container, &member) ||
	    memcmp(&off, &ex_off, sizeof(off)))
		return -EINVAL;
	return 0;
}

static int btf_with(const char *module,
		    int (*fn)(const struct btf_image *image, const char *module))
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
		err = fn(&image, module);
out:
	vfree(data);
	vfree(base_data);
	return err;
}

int ex_btf_load(const char *module)
{
	return btf_with(module, btf_lookup);
}

const char *ex_btf_test(const char *module)
{
	return btf_with(module, btf_known) ? "it is not as the headers tell" : NULL;
}
