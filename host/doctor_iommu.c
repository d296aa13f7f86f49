/* SPDX-License-Identifier: BSD-2-Clause */
/* IOMMU, interrupt remapping, VFIO. */
#include "host/doctor_check.h"

#include "host/pci.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void iommu(struct doctor *d)
{
	struct host_names groups = host_dir(d->host, "/sys/kernel/iommu_groups"),
			  units = host_dir(d->host, "/sys/class/iommu");
	char *mode = doctor_boot(d, "iommu");

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
		doctor_add(d, "iommu-passthrough", "host",
			   mode && strstr(mode, "pt") ? DOCTOR_GOOD : DOCTOR_BETTER,
			   host_printf("iommu=%s", mode ? mode : ""),
			   "with iommu=pt the host's own devices are spared the translation",
			   mode && strstr(mode, "pt") ? NULL : "boot with iommu=pt");
	free(mode);
	host_names_done(&groups);
	host_names_done(&units);
}

/* Does an IOMMU unit post interrupts into guests? VT-d specification, Capability Register, bit 59;
 * AMD I/O Virtualization Technology, Extended Feature Register, bit 7 (GASup). */
static bool unit_posts(struct doctor *d)
{
	struct host_names units = host_dir(d->host, "/sys/class/iommu");
	bool posts = false;

	for (unsigned i = 0; i < units.n; i++) {
		char *cap = host_read(d->host, "/sys/class/iommu/%s/intel-iommu/cap",
				      units.name[i]);
		char *features = host_read(d->host, "/sys/class/iommu/%s/amd-iommu/features",
					   units.name[i]);
		/* newer kernels show a second register in front: "efr2:efr" */
		const char *efr = features ? strrchr(features, ':') : NULL;

		if (cap && strtoull(cap, NULL, 16) >> 59 & 1)
			posts = true;
		efr = efr ? efr + 1 : features;
		if (efr && strtoull(efr, NULL, 16) >> 7 & 1)
			posts = true;
		free(cap);
		free(features);
	}
	host_names_done(&units);
	return posts;
}

static void remapping(struct doctor *d)
{
	char *interrupts = host_read(d->host, "/proc/interrupts"),
	     *unsafe = doctor_parameter(d, "vfio_iommu_type1", "allow_unsafe_interrupts"),
	     *intremap = doctor_boot(d, "intremap"), *ga = doctor_boot(d, "amd_iommu_intr");
	bool posts = unit_posts(d);

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
