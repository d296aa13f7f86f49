/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernel: how it was built and booted, its type information, which modules it takes. */
#include "host/doctor_check.h"

#include "host/direct.h"
#include "kernel/host/btf_need.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct option {
	const char *name, *what;
	bool must;
	const char *means;
} options[] = {
	{ "KVM", "host", true, "virtual machines" },
	{ "VFIO", "vfio", true, "devices for guests" },
	{ "VFIO_PCI", "vfio", true, "PCI devices for guests" },
	{ "VFIO_IOMMU_TYPE1", "vfio", false, "the interface to the IOMMU that all VMMs know" },
	{ "IRQ_REMAP", "vfio", true, "remapped interrupts" },
	{ "X86_X2APIC", "direct", true, "the interrupt controller's registers one by one" },
	{ "HIGH_RES_TIMERS", "direct", true, "timers off the tick" },
	{ "NO_HZ_FULL", "direct", true, "no tick on a CPU that runs one vCPU" },
	{ "RCU_NOCB_CPU", "direct", false, "RCU callbacks on other CPUs" },
	{ "CPU_ISOLATION", "direct", false, "CPUs isolated at boot" },
	{ "CPUSETS", "host", false, "CPUs isolated at run time" },
	{ "DEBUG_INFO_BTF", "direct", true,
	  "the kernel's types, which the module checks itself by" },
	{ "DEBUG_INFO_BTF_MODULES", "direct", true, "the same for kvm" },
	{ "FTRACE", "direct", true, "tracepoints, where the module hooks in" },
	{ "KPROBES", "direct", false, "the guest's own timer" },
	{ "HIST_TRIGGERS", "direct", false, "counting of exits by reason" },
	{ "HUGETLBFS", "daemon", false, "hugepages for guests' memory" },
	{ "TUN", "daemon", false, "ports of the kind tap" },
	{ "IO_URING", "daemon", true, "the daemon's disks" },
};

static void configuration(struct doctor *d)
{
	if (!d->config) {
		doctor_add(d, "kernel-config", "host", DOCTOR_UNKNOWN,
			   host_text_copy("the kernel's configuration is not to be found"),
			   "which parts the kernel was built with", NULL);
		return;
	}
	for (unsigned i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		char *value = doctor_config(d, options[i].name),
		     *id = host_printf("config-%s", options[i].name);
		bool on = *value == 'y' || *value == 'm';

		doctor_add(d, id, options[i].what,
			   on		     ? DOCTOR_GOOD
			   : options[i].must ? DOCTOR_BAD
					     : DOCTOR_BETTER,
			   host_printf("CONFIG_%s=%s", options[i].name, on ? value : "n"),
			   options[i].means, on ? NULL : "another kernel");
		free(id);
		free(value);
	}
}

/* Those that say which CPUs are judged by the topology, not by their words. */
static void parameters(struct doctor *d)
{
	static const struct {
		const char *key;
		enum doctor_state state;
		const char *means, *todo;
	} known[] = {
		{ "nohz", DOCTOR_BETTER, "nohz=off keeps the tick on every CPU", NULL },
		{ "nosmt", DOCTOR_NOTE, "no SMT: a core runs one vCPU", NULL },
		{ "mitigations", DOCTOR_NOTE, "what each exit costs depends on it", NULL },
		{ "idle", DOCTOR_NOTE, "idle=poll keeps CPUs from sleeping; wake-ups are faster",
		  NULL },
		{ "nmi_watchdog", DOCTOR_NOTE, "a watchdog's NMI interrupts guests now and then",
		  NULL },
		{ "noapic", DOCTOR_BAD, "interrupts are not the APIC's", "boot without noapic" },
		{ "nolapic", DOCTOR_BAD, "interrupts are not the LAPIC's", "boot without nolapic" },
		{ "nolapic_timer", DOCTOR_BAD, "the LAPIC's timer is not used",
		  "boot without nolapic_timer" },
	};

	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		char *value = doctor_boot(d, known[i].key), *id;

		if (value && (strcmp(known[i].key, "nohz") || !strcmp(value, "off"))) {
			id = host_printf("boot-%s", known[i].key);
			doctor_add(d, id, known[i].state == DOCTOR_BAD ? "direct" : "host",
				   known[i].state,
				   host_printf("%s%s%s", known[i].key, *value ? "=" : "", value),
				   known[i].means, known[i].todo);
			free(id);
		}
		free(value);
	}
}

/* Does the kernel have what the module needs? What is wrong, on the heap, or NULL; *known: could it
 * be told? */
static char *btf_lacks(const struct doctor *d, const char *module, bool *known)
{
	char *path = host_printf("/sys/kernel/btf/%s", module), *why = NULL;
	struct btf_image base, image;
	const char *container, *member;
	struct ex_offsets offsets;
	size_t base_len = 0, len = 0;
	char *base_data = host_read_bytes(d->host, "/sys/kernel/btf/vmlinux", &base_len),
	     *data = host_read_bytes(d->host, path, &len);
	int err;

	*known = base_data && data && !btf_image_init(&base, NULL, base_data, (u32)base_len) &&
		 !btf_image_init(&image, &base, data, (u32)len);
	err = *known ? btf_need(&image, module, &offsets, &container, &member) : 0;
	if (err)
		why = host_printf("member %s of struct %s %s", member, container,
				  err == -ENOENT ? "is missing" : "is not as expected");
	free(data);
	free(base_data);
	free(path);
	return why;
}

static void btf(struct doctor *d)
{
	const char *module = d->intel ? "kvm_intel" : "kvm_amd";
	bool kernel = host_exists(d->host, "/sys/kernel/btf/vmlinux"),
	     kvm = host_exists(d->host, "/sys/kernel/btf/%s", module),
	     loaded = host_exists(d->host, "/sys/module/%s", module), known = false;
	char *lacks = kernel && kvm ? btf_lacks(d, module, &known) : NULL;
	bool bad = !kernel || (loaded && !kvm) || lacks;

	doctor_add(
		d, "btf", "direct",
		bad	? DOCTOR_BAD
		: known ? DOCTOR_GOOD
			: DOCTOR_UNKNOWN,
		host_printf("the kernel has %s, %s %s%s%s", kernel ? "BTF" : "no BTF", module,
			    kvm	     ? "too"
			    : loaded ? "has none"
				     : "is not loaded",
			    lacks   ? "; "
			    : known ? ", all that the module needs"
				    : "",
			    lacks ? lacks : ""),
		"the module finds kvm's private members by it, and refuses to load where they are "
		"not as it expects",
		!bad	? NULL
		: lacks ? "a kernel that exitless_kvm was tested with: 6.12 to 7.3"
			: "a kernel with CONFIG_DEBUG_INFO_BTF and _BTF_MODULES");
	free(lacks);
}

/* Does the firmware check what boots? EFI variable SecureBoot: four bytes of attributes, a value.
 */
static const char *secure_boot(const struct doctor *d)
{
	size_t len = 0;
	char *data;
	bool on;

	if (!host_exists(d->host, "/sys/firmware/efi"))
		return "off";
	data = host_read_bytes(d->host,
			       "/sys/firmware/efi/efivars/"
			       "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
			       &len);
	if (!data && !host_exists(d->host, "/sys/firmware/efi/efivars/"
					   "SetupMode-8be4df61-93ca-11d2-aa0d-00e098032b8c"))
		return "unknown (efivarfs is not mounted)";
	on = data && len >= 5 && data[4] == 1;
	free(data);
	return on ? "on" : "off";
}

static void signatures(struct doctor *d)
{
	char *enforce = doctor_parameter(d, "module", "sig_enforce"),
	     *lockdown = host_read(d->host, "/sys/kernel/security/lockdown");
	bool locked = lockdown && !strstr(lockdown, "[none]"), must = *enforce == 'Y' || locked;

	doctor_add(d, "module-signatures", "direct", must ? DOCTOR_BETTER : DOCTOR_GOOD,
		   host_printf("Secure Boot %s; modules %s be signed%s", secure_boot(d),
			       must ? "must" : "need not", locked ? " (lockdown)" : ""),
		   "the kernel takes modules that are signed by a key it trusts",
		   must ? "let DKMS sign exitless_kvm and enrol its key once: mokutil --import "
			  "/var/lib/dkms/mok.pub, then reboot (docs/host.md)"
			: NULL);
	free(enforce);
	free(lockdown);
}

static void module(struct doctor *d)
{
	bool loaded = host_exists(d->host, "/sys/module/exitless_kvm");
	json_t *state = loaded && host_live(d->host) ? direct_read(d->host, NULL) : NULL;
	const json_t *about = json_object_get(state, "module");
	const char *hardware = json_string_value(json_object_get(about, "hardware"));

	doctor_add(d, "exitless_kvm", "direct", loaded ? DOCTOR_GOOD : DOCTOR_NOTE,
		   !loaded ? host_text_copy("not loaded")
		   : about ? host_printf("loaded, for %s, %zu vCPUs in direct mode",
					 hardware ? hardware : "?",
					 json_array_size(json_object_get(state, "vcpu")))
			   : host_text_copy("loaded"),
		   "the host module for direct interrupts",
		   loaded ? NULL : "modprobe exitless_kvm");
	json_decref(state);
}

void doctor_kernel(struct doctor *d)
{
	configuration(d);
	parameters(d);
	btf(d);
	signatures(d);
	module(d);
}
