/* SPDX-License-Identifier: BSD-2-Clause */
/* IOMMU, interrupt remapping, VFIO. */
#include "host/doctor_check.h"

#include "host/pci.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The words of iommu=..., of which the last one counts: arch/x86/kernel/pci-dma.c. */
static bool passes_through(const char *mode)
{
	bool passes = false;

	while (mode && *mode) {
		if (!strncmp(mode, "pt", 2))
			passes = true;
		else if (!strncmp(mode, "nopt", 4))
			passes = false;
		mode += strcspn(mode, ",");
		mode += *mode == ',';
	}
	return passes;
}

static void iommu(struct doctor *d)
{
	struct host_names groups = host_dir(d->host, "/sys/kernel/iommu_groups"),
			  units = host_dir(d->host, "/sys/class/iommu");
	char *mode = doctor_boot(d, "iommu");
	bool passes = passes_through(mode);

	doctor_add(d, "iommu", "vfio", groups.n ? DOCTOR_GOOD : DOCTOR_BAD,
		   host_printf("%u IOMMU unit%s, %u groups", units.n, units.n == 1 ? "" : "s",
			       groups.n),
		   "a device that a guest drives can reach that guest's memory only",
		   groups.n ? NULL
		   : d->intel
			   ? "switch VT-d on in the firmware's settings; boot with intel_iommu=on"
			   : "switch the IOMMU on in the firmware's settings; boot without "
			     "amd_iommu=off");
	if (groups.n)
		doctor_add(d, "iommu-passthrough", "host", passes ? DOCTOR_GOOD : DOCTOR_BETTER,
			   host_printf("iommu=%s", mode ? mode : ""),
			   "with iommu=pt the host's own devices are spared the translation",
			   passes ? NULL : "boot with iommu=pt");
	free(mode);
	host_names_done(&groups);
	host_names_done(&units);
}

/* VT-d specification, Capability Register, bit 59: Posted Interrupt Support. */
static bool intel_posts(const char *cap)
{
	return strtoull(cap, NULL, 16) >> 59 & 1;
}

/*
 * AMD I/O Virtualization Technology, Extended Feature Register: bits 7 (GASup) and 21 (GAMSup).
 * Linux shows it alone before 6.0, as "EFR2:EFR" before 6.7, and as "EFR:EFR2" since. EFR2 has
 * nothing in these bits: the highest of SnpAvicSup, of which no more than 1 is defined, and none.
 */
static bool amd_posts(const char *features)
{
	const uint64_t both = 1ull << 21 | 1ull << 7;
	const char *second = strchr(features, ':');

	return (strtoull(features, NULL, 16) & both) == both ||
	       (second && (strtoull(second + 1, NULL, 16) & both) == both);
}

/* Do the IOMMU units post interrupts into guests? Linux uses that if all of them can: VT-d's
 * set_irq_posting_cap(), AMD's enable_iommus_vapic(). */
static bool units_post(struct doctor *d)
{
	struct host_names units = host_dir(d->host, "/sys/class/iommu");
	unsigned known = 0, post = 0;

	for (unsigned i = 0; i < units.n; i++) {
		char *cap = host_read(d->host, "/sys/class/iommu/%s/intel-iommu/cap",
				      units.name[i]);
		char *features = host_read(d->host, "/sys/class/iommu/%s/amd-iommu/features",
					   units.name[i]);

		known += cap || features;
		post += (cap && intel_posts(cap)) || (features && amd_posts(features));
		free(cap);
		free(features);
	}
	host_names_done(&units);
	return known && post == known;
}

static void remapping(struct doctor *d)
{
	char *interrupts = host_read(d->host, "/proc/interrupts"),
	     *unsafe = doctor_parameter(d, "vfio_iommu_type1", "allow_unsafe_interrupts"),
	     *intremap = doctor_boot(d, "intremap"), *ga = doctor_boot(d, "amd_iommu_intr");
	bool posts = units_post(d);

	/* interrupt chips that are remapped are called so */
	d->remapping = (interrupts && strstr(interrupts, " IR-")) ||
		       strstr(d->dmesg, "Enabled IRQ remapping") ||
		       strstr(d->dmesg, "Interrupt remapping enabled");
	doctor_add(d, "interrupt-remapping", "vfio", d->remapping ? DOCTOR_GOOD : DOCTOR_BAD,
		   host_text_copy(d->remapping ? "on" : "off"),
		   "a device that a guest drives can raise no interrupts but its own; without it "
		   "vfio refuses devices, and x2APIC needs it too",
		   d->remapping ? NULL
				: "switch it on in the firmware's settings; boot without "
				  "intremap=off");
	if (*unsafe == 'Y')
		doctor_add(d, "unsafe-interrupts", "vfio", DOCTOR_BAD,
			   host_text_copy("vfio_iommu_type1.allow_unsafe_interrupts=1"),
			   "a guest can forge the host's interrupts", "take that parameter away");
	if (intremap && strstr(intremap, "nopost"))
		posts = false;
	if (ga && !strcmp(ga, "legacy"))
		posts = false;
	d->posted = d->posted && posts && d->remapping;
	doctor_add(
		d, "posted-interrupts", "direct", DOCTOR_NOTE,
		host_printf("the IOMMU %s; %s",
			    posts ? "posts interrupts" : "does not post interrupts",
			    d->posted ? "the processor takes them" : "not in use"),
		d->posted ? "a device's interrupt goes into a running guest without an exit; the "
			    "timer is all that direct mode could add"
			  : "a device's interrupt makes the guest exit, and direct mode takes that "
			    "away",
		NULL);
	free(interrupts);
	free(unsafe);
	free(intremap);
	free(ga);
}

static void vfio(struct doctor *d)
{
	bool driver = host_exists(d->host, "/sys/bus/pci/drivers/vfio-pci");
	struct host_names bound = host_dir(d->host, "/sys/bus/pci/drivers/vfio-pci");
	unsigned n = 0;

	/* its devices are links by address; its files have no colon */
	for (unsigned i = 0; i < bound.n; i++)
		n += strchr(bound.name[i], ':') != NULL;
	host_names_done(&bound);
	doctor_add(d, "vfio-pci", "vfio", driver ? DOCTOR_GOOD : DOCTOR_BETTER,
		   driver ? host_printf("loaded, %u devices", n) : host_text_copy("not loaded"),
		   "the driver that hands a PCI device to a VMM",
		   driver ? NULL : "modprobe vfio-pci");
}

void doctor_iommu(struct doctor *d)
{
	iommu(d);
	remapping(d);
	vfio(d);
}
