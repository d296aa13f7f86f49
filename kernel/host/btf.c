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
