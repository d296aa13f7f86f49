/* SPDX-License-Identifier: BSD-2-Clause */
/* host/doctor*.c: what is found on saved hosts, and what it comes to. */
#include "host/doctor.h"

#include "tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *root;
static json_t *report;

static void examine(void)
{
	struct host host;

	json_decref(report);
	host_init(&host, root);
	report = doctor_examine(&host);
}

static void load(const char *name)
{
	root = tree_new(name);
	examine();
}

static int teardown(void **state)
{
	tree_free(root);
	json_decref(report);
	root = NULL;
	report = NULL;
	return 0;
}

static const char *of(const char *id, const char *key)
{
	json_t *check;
	size_t i;

	json_array_foreach(
		json_object_get(report, "checks"), i,
		check) if (!strcmp(json_string_value(json_object_get(check, "id")),
				   id)) return json_string_value(json_object_get(check, key));
	return NULL;
}

static void is(const char *id, const char *state)
{
	const char *have = of(id, "state");

	if (!have || strcmp(have, state))
		fail_msg("%s: %s, not %s", id, have ? have : "(missing)", state);
	/* what is lacking has a remedy */
	if (!strcmp(state, "bad") && !of(id, "do"))
		fail_msg("%s: no word on what to do", id);
}

static const char *verdict(const char *key)
{
	return json_string_value(json_object_get(json_object_get(report, "direct"), key));
}

static bool in_the_way(const char *id)
{
	json_t *list = json_object_get(json_object_get(report, "direct"), "in_the_way"), *one;
	size_t i;

	json_array_foreach(list, i, one) if (!strcmp(json_string_value(one), id)) return true;
	return false;
}

static void intel_has_better(void **state)
{
	load("doctor-intel");
	is("virtualization", "good");
	is("kvm", "good");
	is("x2apic", "good");
	is("iommu", "good");
	is("iommu-passthrough", "good");
	is("interrupt-remapping", "good");
	is("isolated-cpus", "good");
	is("config-NO_HZ_FULL", "good");
	is("btf", "unknown");
	is("hugepages", "good");
	is("module-signatures", "better");
	assert_non_null(strstr(of("module-signatures", "do"), "mokutil"));
	assert_non_null(strstr(of("apicv", "found"), "on"));
	assert_non_null(strstr(of("ipi-virtualization", "found"), "on"));
	assert_non_null(strstr(of("vfio-pci", "found"), "1 devices"));
	assert_string_equal(verdict("verdict"), "has-better");
	/* each of these takes the posting of interrupts away */
	tree_put(root, "/sys/module/kvm_intel/parameters/enable_apicv", "N\n");
	examine();
	assert_string_equal(verdict("verdict"), "helps");
	tree_put(root, "/sys/module/kvm_intel/parameters/enable_apicv", "Y\n");
	tree_put(root, "/proc/cmdline", "intel_iommu=on intremap=nopost\n");
	examine();
	assert_string_equal(verdict("verdict"), "helps");
	is("iommu-passthrough", "better");
	tree_put(root, "/proc/cmdline", "intel_iommu=on\n");
	tree_put(root, "/sys/class/iommu/dmar0/intel-iommu/cap", "c0000c0406f0462\n");
	examine();
	assert_string_equal(verdict("verdict"), "has-better");
	tree_put(root, "/sys/class/iommu/dmar0/intel-iommu/cap", "d2008c40660462\n");
	examine();
	assert_string_equal(verdict("verdict"), "helps");
	/* all units, or none */
	tree_put(root, "/sys/class/iommu/dmar1/intel-iommu/cap", "8ed008c40780466\n");
	examine();
	assert_string_equal(verdict("verdict"), "helps");
	tree_put(root, "/sys/class/iommu/dmar0/intel-iommu/cap", "8ed008c40780466\n");
	examine();
	assert_string_equal(verdict("verdict"), "has-better");
}

static void amd_is_helped(void **state)
{
	load("doctor-amd");
	is("x2apic", "good");
	is("avic", "better");
	is("run-time-isolation", "good");
	is("hugepages", "better");
	is("module-signatures", "good");
	assert_null(of("apicv", "state"));
	assert_string_equal(verdict("verdict"), "helps");
	/* its IOMMU has guest mode */
	tree_put(root, "/sys/module/kvm_amd/parameters/avic", "Y\n");
	examine();
	assert_string_equal(verdict("verdict"), "has-better");
	tree_put(root, "/proc/cmdline", "amd_iommu_intr=legacy\n");
	examine();
	assert_string_equal(verdict("verdict"), "helps");
}

#define FEATURES "/sys/class/iommu/ivhd0/amd-iommu/features"

/* A Zen 4 server with Linux 6.12, where the order of the two registers is another. */
static void amd_has_better(void **state)
{
	static const struct {
		const char *features, *verdict;
	} rows[] = {
		{ "25bf732fa2295afe:1d\n", "has-better" },
		{ "1d:25bf732fa2295afe\n", "has-better" },
		{ "25bf732fa2295afe:0\n", "has-better" },
		{ "25bf732fa2295afe\n", "has-better" },
		/* SnpAvicSup 1, no GASup or no GAMSup */
		{ "25bf732fa2095a7e:20\n", "helps" },
		{ "25bf732fa2095afe:20\n", "helps" },
		{ "20:25bf732fa2295a7e\n", "helps" },
		{ "25bf732fa2295a7e:80\n", "helps" },
		{ "0:0\n", "helps" },
		{ "\n", "helps" },
	};

	load("doctor-amd-6.12");
	is("x2apic", "good");
	is("avic", "note");
	assert_non_null(strstr(of("posted-interrupts", "found"), "the IOMMU posts interrupts"));
	assert_string_equal(verdict("verdict"), "has-better");
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tree_put(root, FEATURES, rows[i].features);
		examine();
		if (strcmp(verdict("verdict"), rows[i].verdict))
			fail_msg("%s: %s", rows[i].features, verdict("verdict"));
	}
}

static void says_what_is_in_the_way(void **state)
{
	load("doctor-amd");
	tree_put(root, "/sys/devices/system/cpu/nohz_full", "(null)\n");
	examine();
	is("isolated-cpus", "bad");
	assert_string_equal(verdict("verdict"), "impossible");
	assert_true(in_the_way("isolated-cpus"));
	tree_put(root, "/sys/devices/system/cpu/nohz_full", "4-7\n");
	tree_put(root, "/proc/cmdline", "quiet nox2apic nolapic_timer\n");
	tree_put(root, "/boot/config-6.1.0-amd64",
		 "CONFIG_KVM=m\n# CONFIG_NO_HZ_FULL is not set\n");
	examine();
	is("x2apic", "better");
	is("boot-nolapic_timer", "bad");
	is("config-KVM", "good");
	is("config-NO_HZ_FULL", "bad");
	is("config-KPROBES", "better");
	is("config-HIST_TRIGGERS", "better");
	is("config-IO_URING", "bad");
	assert_false(in_the_way("x2apic"));
	assert_true(in_the_way("boot-nolapic_timer"));
	/* the daemon's business */
	assert_false(in_the_way("config-IO_URING"));
	tree_put(root, "/dmesg", "[ 0.1] something else\n");
	tree_put(root, "/proc/cmdline", "quiet\n");
	examine();
	is("x2apic", "unknown");
}

/* The log may have lost its beginning: that nothing is left about it does not mean off. */
static void knows_x2apic(void **state)
{
	static const struct {
		const char *dmesg, *state;
	} rows[] = {
		{ "[ 9.0] processor: Processor 3 APIC 0x6\n", "unknown" },
		{ "[ 9.0] ACPI: \\_SB_.PCI0: IOAPIC at 0xfec00000, x2apic too\n", "unknown" },
		{ "", "unknown" },
		{ "[ 0.0] Linux version 6.12.0\n[ 0.1] APIC: Switch to symmetric I/O mode\n",
		  "better" },
		{ "[ 0.1] APIC: Switched APIC routing to: physical flat\n[ 0.2] x2apic\n",
		  "better" },
		{ "[ 0.1] Switched APIC routing to physical flat.\n", "better" },
		{ "[ 0.1] x2apic: IRQ remapping doesn't support X2APIC mode\n", "better" },
		{ "[ 0.1] DMAR-IR: x2apic is disabled because BIOS sets x2apic opt out bit.\n",
		  "better" },
		{ "[ 0.1] x2apic enabled\n", "good" },
		{ "[ 0.1] Switched APIC routing to physical x2apic.\n", "good" },
		/* as the firmware left it, and then not */
		{ "[ 0.1] APIC: Switched APIC routing to: cluster x2apic\n"
		  "[ 0.2] APIC: Switched APIC routing to: physical flat\n",
		  "better" },
	};

	load("doctor-amd");
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tree_put(root, "/dmesg", rows[i].dmesg);
		examine();
		if (strcmp(of("x2apic", "state"), rows[i].state))
			fail_msg("%s: %s", rows[i].dmesg, of("x2apic", "state"));
	}
}

static void knows_passthrough(void **state)
{
	static const struct {
		const char *cmdline, *state;
	} rows[] = {
		{ "quiet iommu=pt\n", "good" },		  { "quiet iommu=nopt\n", "better" },
		{ "quiet iommu=memaper=3,pt\n", "good" }, { "quiet iommu=nopt,pt\n", "good" },
		{ "quiet iommu=pt,nopt\n", "better" },	  { "quiet iommu=noopt\n", "better" },
		{ "quiet iommu=\n", "better" },		  { "quiet\n", "better" },
	};

	load("doctor-amd");
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tree_put(root, "/proc/cmdline", rows[i].cmdline);
		examine();
		if (strcmp(of("iommu-passthrough", "state"), rows[i].state))
			fail_msg("%s: %s", rows[i].cmdline, of("iommu-passthrough", "state"));
	}
}

static void put_bytes(const char *path, const void *data, size_t n)
{
	char *name = host_printf("%s%s", root, path);
	FILE *out = fopen(name, "w");

	assert_non_null(out);
	assert_int_equal(fwrite(data, 1, n, out), n);
	fclose(out);
	free(name);
}

#define EFIVARS	   "/sys/firmware/efi/efivars"
#define EFI_GLOBAL "-8be4df61-93ca-11d2-aa0d-00e098032b8c"

static void secure_boot_is(const char *what)
{
	examine();
	assert_non_null(strstr(of("module-signatures", "found"), what));
}

static void knows_secure_boot(void **state)
{
	load("doctor-amd");
	secure_boot_is("Secure Boot off;");
	tree_put(root, EFIVARS "/README", "");
	secure_boot_is("Secure Boot unknown");
	put_bytes(EFIVARS "/SetupMode" EFI_GLOBAL, "\6\0\0\0\0", 5);
	secure_boot_is("Secure Boot off;");
	put_bytes(EFIVARS "/SecureBoot" EFI_GLOBAL, "\6\0\0\0\0", 5);
	secure_boot_is("Secure Boot off;");
	put_bytes(EFIVARS "/SecureBoot" EFI_GLOBAL, "\6\0\0\0\1", 5);
	secure_boot_is("Secure Boot on;");
	/* cut short */
	put_bytes(EFIVARS "/SecureBoot" EFI_GLOBAL, "\6\0\0\0", 4);
	secure_boot_is("Secure Boot off;");
}

/* The same check as the module's, on the BTF of a saved kernel. */
static void matches_btf(void **state)
{
	/* a section without types, on top of the kernel's */
	static const unsigned char none[25] = { 0x9f, 0xeb, 1, 0, 24, [20] = 1 };
	struct host saved = { .root = BTF };
	size_t n = 0;
	char *data = host_read_bytes(&saved, "/6.12.btf", &n);

	load("doctor-amd");
	assert_non_null(data);
	put_bytes("/sys/kernel/btf/vmlinux", data, n);
	put_bytes("/sys/kernel/btf/kvm_amd", none, sizeof(none));
	examine();
	is("btf", "good");
	put_bytes("/sys/kernel/btf/vmlinux", none, sizeof(none));
	examine();
	is("btf", "bad");
	assert_non_null(strstr(of("btf", "found"), "member regs of struct kvm_lapic is missing"));
	assert_true(in_the_way("btf"));
	free(data);
}

/* Nothing is there at all: everything is said, nothing crashes. */
static void an_empty_host(void **state)
{
	load("one-socket");
	is("virtualization", "bad");
	is("kernel-config", "unknown");
	is("btf", "bad");
	is("iommu", "bad");
	assert_string_equal(verdict("verdict"), "impossible");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(intel_has_better, teardown),
		cmocka_unit_test_teardown(amd_is_helped, teardown),
		cmocka_unit_test_teardown(amd_has_better, teardown),
		cmocka_unit_test_teardown(says_what_is_in_the_way, teardown),
		cmocka_unit_test_teardown(knows_x2apic, teardown),
		cmocka_unit_test_teardown(knows_passthrough, teardown),
		cmocka_unit_test_teardown(knows_secure_boot, teardown),
		cmocka_unit_test_teardown(matches_btf, teardown),
		cmocka_unit_test_teardown(an_empty_host, teardown),
	};

	return cmocka_run_group_tests_name("host/doctor", tests, NULL, NULL);
}
