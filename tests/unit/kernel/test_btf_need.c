/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kernel/host/btf_need.c on the BTF of Debian's kernels (btf_save.py): where the members are, as
 * pahole shows them too, and that a kernel which lacks one is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "host/btf_need.h"

/* What struct ex_offsets has been checked for here. */
#define N_WORDS 16

static u8 data[65536];
static struct btf_image image;

static void load(const char *kernel)
{
	char path[256];
	size_t n;
	FILE *in;

	snprintf(path, sizeof(path), BTF "/%s.btf", kernel);
	in = fopen(path, "r");
	assert_non_null(in);
	n = fread(data, 1, sizeof(data), in);
	fclose(in);
	assert_in_range(n, 1000, sizeof(data) - 1);
	assert_int_equal(btf_image_init(&image, NULL, data, (u32)n), 0);
}

static const char *container, *member;
static struct ex_offsets off;

/* As words, to tell which one differs. */
static void expect(const char *module, const u32 *want)
{
	const u32 *have = (const u32 *)&off;

	assert_int_equal(btf_need(&image, module, &off, &container, &member), 0);
	for (unsigned i = 0; i < N_WORDS; i++)
		if (have[i] != want[i])
			fail_msg("%s: word %u is %u, not %u", module, i, have[i], want[i]);
}

static void finds_members(void **state)
{
	/* kvm_lapic's regs, isr_count, its size, irr_pending, lapic_timer; kvm_timer's timer,
	 * period, target_expiration, tscdeadline, hv_timer_in_use; vcpu_svm's vmcb; vcpu_vmx's
	 * exit_reason, idt_vectoring_info, hv_deadline_tsc; eventfd_ctx's kref, wqh */
	_Static_assert(sizeof(off) == N_WORDS * sizeof(u32), "all of them");
	static const struct {
		const char *kernel;
		u32 lapic[5], timer[5], vmcb, vmx[3], eventfd[2];
		int vcpu_bytes;
	} kernels[] = {
		{ "6.1",
		  { 168, 156, 2, 154, 16 },
		  { 0, 64, 72, 88, 112 },
		  6552,
		  { 7808, 6572, 8688 },
		  { 0, 8 },
		  6552 },
		{ "6.12",
		  { 168, 156, 2, 154, 16 },
		  { 0, 64, 72, 88, 112 },
		  6480,
		  { 7744, 6500, 8624 },
		  { 0, 8 },
		  6480 },
		{ "7.2",
		  { 184, 174, 2, 170, 16 },
		  { 0, 80, 88, 104, 128 },
		  6720,
		  { 6800, 6852, 8888 },
		  { 0, 8 },
		  6720 },
		{ "7.3",
		  { 184, 174, 2, 170, 16 },
		  { 0, 80, 88, 104, 128 },
		  6456,
		  { 6544, 6596, 8632 },
		  { 0, 8 },
		  6456 },
	};

	u32 want[N_WORDS];

	for (unsigned i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
		load(kernels[i].kernel);
		memcpy(want, kernels[i].lapic, sizeof(kernels[i].lapic));
		memcpy(want + 5, kernels[i].timer, sizeof(kernels[i].timer));
		memcpy(want + 14, kernels[i].eventfd, sizeof(kernels[i].eventfd));
		want[10] = kernels[i].vmcb;
		memset(want + 11, 0, sizeof(kernels[i].vmx));
		expect("kvm_amd", want);
		want[10] = 0;
		memcpy(want + 11, kernels[i].vmx, sizeof(kernels[i].vmx));
		expect("kvm_intel", want);
		assert_int_equal(btf_struct_bytes(&image, "kvm_vcpu"), kernels[i].vcpu_bytes);
	}
}

/* Another letter in the name of each member in turn. */
static void refuses_without_one(void **state)
{
	static const struct {
		const char *module, *container, *member;
	} members[] = {
		{ "kvm_amd", "kvm_lapic", "regs" },
		{ "kvm_amd", "kvm_lapic", "isr_count" },
		{ "kvm_amd", "kvm_lapic", "lapic_timer" },
		{ "kvm_amd", "kvm_timer", "target_expiration" },
		{ "kvm_amd", "kvm_timer", "hv_timer_in_use" },
		{ "kvm_amd", "vcpu_svm", "vmcb" },
		{ "kvm_intel", "vcpu_vmx", "exit_reason" },
		{ "kvm_intel", "vcpu_vmx", "hv_deadline_tsc" },
		{ "kvm_amd", "apic_chip_data", "hw_irq_cfg" },
		{ "kvm_intel", "vcpu_vmx", "idt_vectoring_info" },
		{ "kvm_amd", "eventfd_ctx", "wqh" },
	};

	for (unsigned i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		char *name = NULL;
		size_t len = strlen(members[i].member) + 1;

		load("6.12");
		for (u32 at = 0; at + len <= image.strings_bytes && !name; at++)
			if (!memcmp(image.strings + at, members[i].member, len) &&
			    (!at || !image.strings[at - 1]))
				name = (char *)data + (image.strings - data) + at;
		assert_non_null(name);
		name[0] = '?';
		off.lapic_regs = 77;
		assert_true(btf_need(&image, members[i].module, &off, &container, &member) < 0);
		assert_string_equal(container, members[i].container);
		assert_string_equal(member, members[i].member);
		assert_int_equal(off.lapic_regs, 77);
	}
}

/* The module of the other processor does not matter. */
static void looks_at_one_module(void **state)
{
	load("6.12");
	assert_int_equal(btf_need(&image, "kvm_amd", &off, &container, &member), 0);
	assert_int_equal(off.vmx_exit_reason, 0);
	assert_int_not_equal(off.svm_vmcb, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_members),
		cmocka_unit_test(refuses_without_one),
		cmocka_unit_test(looks_at_one_module),
	};

	return cmocka_run_group_tests_name("kernel/btf_need", tests, NULL, NULL);
}
