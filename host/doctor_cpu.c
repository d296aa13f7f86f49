/* SPDX-License-Identifier: BSD-2-Clause */
/* Virtualization, and how interrupts get into a guest. */
#include "host/doctor_check.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool yes(const char *parameter)
{
	return parameter[0] == 'Y' || parameter[0] == '1' || parameter[0] == 'y';
}

static void virtualization(struct doctor *d)
{
	bool svm = doctor_flag(d, "flags", "svm"), vmx = doctor_flag(d, "flags", "vmx");
	bool device = host_exists(d->host, "/dev/kvm");

	d->virtualization = svm || vmx;
	doctor_add(d, "virtualization", "host", d->virtualization ? DOCTOR_GOOD : DOCTOR_BAD,
		   host_printf("%s", svm   ? "AMD SVM"
				     : vmx ? "Intel VMX"
					   : "no svm or vmx in cpuinfo"),
		   "guests run on the processor, not in an interpreter",
		   d->virtualization ? NULL : "switch it on in the firmware's settings");
	if (!d->virtualization)
		return;
	doctor_add(d, "kvm", "host", device ? DOCTOR_GOOD : DOCTOR_BAD,
		   host_printf("/dev/kvm is %sthere", device ? "" : "not "),
		   "VMMs open it to run guests",
		   device ? NULL
		   : svm  ? "modprobe kvm_amd"
			  : "modprobe kvm_intel");
}

/* The interrupt controller that the guest sees: in hardware, or by exits. */
static void intel_apic(struct doctor *d)
{
	char *apicv = doctor_parameter(d, "kvm_intel", "enable_apicv"),
	     *ipiv = doctor_parameter(d, "kvm_intel", "enable_ipiv");
	bool has = doctor_flag(d, "vmx flags", "vid"), on = has && (!*apicv || yes(apicv));
	bool has_ipiv = doctor_flag(d, "vmx flags", "ipi_virt"),
	     ipiv_on = has_ipiv && (!*ipiv || yes(ipiv));

	d->posted = on && doctor_flag(d, "vmx flags", "posted_intr");
	doctor_add(
		d, "apicv", "direct", on || !has ? DOCTOR_NOTE : DOCTOR_BETTER,
		host_printf("APICv: %s", on    ? "on"
					 : has ? "off"
					       : "not in this processor"),
		on ? "acknowledging an interrupt takes no exit; direct mode works without it only "
		     "(kvm_intel.enable_apicv=0)"
		   : "each interrupt that a guest takes and acknowledges costs exits",
		on || !has ? NULL : "kvm_intel.enable_apicv=1, unless guests are direct");
	doctor_add(d, "ipi-virtualization", "host", DOCTOR_NOTE,
		   host_printf("IPI virtualization: %s", ipiv_on    ? "on"
							 : has_ipiv ? "off"
								    : "not in this processor"),
		   ipiv_on ? "IPIs between a guest's vCPUs take no exit"
			   : "each IPI between a guest's vCPUs costs an exit",
		   has_ipiv && !ipiv_on ? "kvm_intel.enable_ipiv=1" : NULL);
	free(apicv);
	free(ipiv);
}

static void amd_apic(struct doctor *d)
{
	char *avic = doctor_parameter(d, "kvm_amd", "avic");
	bool has = doctor_flag(d, "flags", "avic"), has_x2 = doctor_flag(d, "flags", "x2avic");
	bool on = has && yes(avic);

	d->posted = on;
	doctor_add(
		d, "avic", "direct", on || !has ? DOCTOR_NOTE : DOCTOR_BETTER,
		host_printf("AVIC: %s%s",
			    on	  ? "on"
			    : has ? "off"
				  : "not in this processor",
			    has ? has_x2 ? ", for x2APIC guests too" : ", xAPIC guests only" : ""),
		on ? "interrupts, acknowledgements and IPIs take no exit while a vCPU runs; direct "
		     "mode works without it only (kvm_amd.avic=0)"
		   : "each interrupt that a guest takes and acknowledges costs exits",
		has && !on ? "kvm_amd.avic=1, and see whether that is stable on this kernel; else "
			     "direct mode"
			   : NULL);
	free(avic);
}

/*
 * What the kernel's log says, which may have lost its beginning; arch/x86/kernel/apic has "Switched
 * APIC routing to: cluster x2apic" since 6.8, before without the colon, and the last one counts.
 * Where the routing stays what it was there is no such line.
 */
static enum doctor_state x2apic_by_log(const char *dmesg)
{
	const char *routing = NULL, *next = dmesg;

	while ((next = strstr(next, "Switched APIC routing to")))
		routing = next++;
	if (routing) {
		const char *word = strstr(routing, "x2apic");

		return word && word < routing + strcspn(routing, "\n") ? DOCTOR_GOOD
								       : DOCTOR_BETTER;
	}
	if (strstr(dmesg, "x2apic enabled"))
		return DOCTOR_GOOD;
	if (strstr(dmesg, "x2apic disabled") || strstr(dmesg, "x2apic is disabled") ||
	    strstr(dmesg, "IRQ remapping doesn't support X2APIC mode"))
		return DOCTOR_BETTER;
	/* the first line of all */
	return strstr(dmesg, "Linux version ") ? DOCTOR_BETTER : DOCTOR_UNKNOWN;
}

static void x2apic(struct doctor *d)
{
	char *off = doctor_boot(d, "nox2apic");
	bool has = doctor_flag(d, "flags", "x2apic");
	enum doctor_state state = has && !off ? x2apic_by_log(d->dmesg) : DOCTOR_BETTER;

	d->x2apic = state != DOCTOR_BETTER;
	doctor_add(d, "x2apic", "direct", state,
		   host_text_copy(
			   !has			  ? "the processor has no x2APIC"
			   : off		  ? "switched off by nox2apic"
			   : state == DOCTOR_GOOD ? "on"
			   : state == DOCTOR_BETTER
				   ? "off"
				   : "supported; the kernel's log does not tell whether it is on"),
		   "in this mode direct guests acknowledge interrupts without exits and can have "
		   "the timer; else neither",
		   d->x2apic ? NULL
			     : "switch on x2APIC and the IOMMU in the firmware's settings; boot "
			       "without nox2apic and with interrupt remapping");
	free(off);
}

/* What KVM lets a VMM switch off. */
static void exit_disabling(struct doctor *d)
{
	int fd = host_live(d->host) ? open("/dev/kvm", O_RDWR | O_CLOEXEC) : -1, bits;

	if (fd < 0)
		return;
	bits = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_DISABLE_EXITS);
	close(fd);
	doctor_add(d, "exit-disabling", "host", bits > 0 ? DOCTOR_GOOD : DOCTOR_NOTE,
		   host_printf("KVM can do without exits for:%s%s%s%s%s",
			       bits & KVM_X86_DISABLE_EXITS_HLT ? " HLT" : "",
			       bits & KVM_X86_DISABLE_EXITS_MWAIT ? " MWAIT" : "",
			       bits & KVM_X86_DISABLE_EXITS_PAUSE ? " PAUSE" : "",
			       bits & KVM_X86_DISABLE_EXITS_CSTATE ? " C-states" : "",
			       bits > 0 ? "" : " nothing"),
		   "a vCPU with a CPU of its own may halt by itself; QEMU: -overcommit cpu-pm=on",
		   NULL);
}

void doctor_cpu(struct doctor *d)
{
	bool deadline = doctor_flag(d, "flags", "tsc_deadline_timer");

	virtualization(d);
	if (d->intel)
		intel_apic(d);
	else if (d->amd)
		amd_apic(d);
	x2apic(d);
	exit_disabling(d);
	doctor_add(d, "timer", "direct", DOCTOR_NOTE,
		   host_printf("TSC deadline timer: %s", deadline ? "yes" : "no"),
		   deadline
			   ? "a guest uses the deadline if it is shown one, and direct mode passes "
			     "that only if the guest's TSC has no offset, the count always"
			   : "guests use the count of the one-shot timer, which direct mode passes",
		   deadline ? "QEMU: -cpu ...,tsc-deadline=off for guests with --timer" : NULL);
}
