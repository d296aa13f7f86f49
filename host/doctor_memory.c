/* SPDX-License-Identifier: BSD-2-Clause */
/* CPUs, memory, and what the daemon uses. */
#include "host/doctor_check.h"

#include <stdlib.h>
#include <string.h>

static char *list_or_none(const struct cpus *cpus)
{
	char *list = cpus_list(cpus);

	if (*list)
		return list;
	free(list);
	return host_text_copy("none");
}

static void isolation(struct doctor *d)
{
	const struct topology *t = d->topology;
	struct cpus both;
	char *isolated, *full, *nocbs;

	if (!t)
		return;
	both = cpus_and(&t->isolated, &t->nohz_full);
	isolated = list_or_none(&t->isolated);
	full = list_or_none(&t->nohz_full);
	nocbs = list_or_none(&t->nocbs);
	d->isolated = !cpus_empty(&both);
	doctor_add(
		d, "isolated-cpus", "direct", d->isolated ? DOCTOR_GOOD : DOCTOR_BAD,
		host_printf("isolated at boot: %s; nohz_full: %s; rcu_nocbs: %s", isolated, full,
			    nocbs),
		"the host runs nothing on them, and needs no tick there; direct mode wants a CPU "
		"that is both isolated and nohz_full for each vCPU",
		d->isolated ? NULL
			    : "exitless cpu plan --vcpus N prints the parameters to boot with");
	doctor_add(
		d, "run-time-isolation", "host", t->cgroup ? DOCTOR_GOOD : DOCTOR_BETTER,
		t->cgroup ? host_printf("cgroup v2 with cpuset at %s", t->cgroup)
			  : host_text_copy("no cgroup v2 with cpuset"),
		"exitless cpu apply makes isolated partitions with it; else it has to move every "
		"thread",
		t->cgroup ? NULL : "mount -t cgroup2 cgroup2 /sys/fs/cgroup");
	free(isolated);
	free(full);
	free(nocbs);
}

static void governor(struct doctor *d)
{
	char *text = host_read(d->host, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
	bool fast = text && !strcmp(text, "performance");

	if (text)
		doctor_add(d, "governor", "host", fast ? DOCTOR_GOOD : DOCTOR_BETTER,
			   host_printf("CPU frequency governor: %s", text),
			   "a polling core and a dedicated CPU are worth their full speed",
			   fast ? NULL : "cpupower frequency-set -g performance");
	free(text);
}

static void hugepages(struct doctor *d)
{
	struct host_names sizes = host_dir(d->host, "/sys/kernel/mm/hugepages");
	char *found = host_text_copy(""), *thp;
	long total = 0;

	for (unsigned i = 0; i < sizes.n; i++) {
		long n = host_number(d->host, 0, "/sys/kernel/mm/hugepages/%s/nr_hugepages",
				     sizes.name[i]),
		     free_n = host_number(d->host, 0, "/sys/kernel/mm/hugepages/%s/free_hugepages",
					  sizes.name[i]);
		char *longer = host_printf("%s%s%s: %ld, %ld free", found, *found ? "; " : "",
					   sizes.name[i], n, free_n);

		total += n;
		free(found);
		found = longer;
	}
	host_names_done(&sizes);
	doctor_add(d, "hugepages", "daemon", total ? DOCTOR_GOOD : DOCTOR_BETTER, found,
		   "guests' memory in large pages: fewer misses of the TLB and the IOMMU's",
		   total ? NULL
			 : "boot with hugepagesz=1G hugepages=N, or write to nr_hugepages; QEMU: "
			   "memory-backend-memfd,hugetlb=on,share=on");
	thp = host_read(d->host, "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
	if (thp) {
		const char *on = strchr(thp, '[');
		int len = on ? (int)strcspn(on + 1, "]") : 0;
		bool some = on && strncmp(on + 1, "never", 5) && strncmp(on + 1, "deny", 4);

		doctor_add(d, "shared-memory-thp", "daemon",
			   some || total ? DOCTOR_NOTE : DOCTOR_BETTER,
			   host_printf("transparent hugepages of shared memory: %.*s", len,
				       on ? on + 1 : ""),
			   "large pages for guests' memory that is in no hugepages",
			   some || total ? NULL
					 : "echo advise "
					   ">/sys/kernel/mm/transparent_hugepage/shmem_enabled");
	}
	free(thp);
}

static void daemon_needs(struct doctor *d)
{
	bool tun = host_exists(d->host, "/dev/net/tun");
	long off = host_number(d->host, 0, "/proc/sys/kernel/io_uring_disabled");

	doctor_add(d, "tun", "daemon", tun ? DOCTOR_GOOD : DOCTOR_BETTER,
		   host_printf("/dev/net/tun is %sthere", tun ? "" : "not "),
		   "host ports of the kind tap", tun ? NULL : "modprobe tun");
	doctor_add(d, "io_uring", "daemon", off == 2 ? DOCTOR_BAD : DOCTOR_GOOD,
		   host_printf("kernel.io_uring_disabled=%ld", off),
		   "disks in files are read and written by io_uring",
		   off == 2 ? "sysctl kernel.io_uring_disabled=1, with the daemon's group in "
			      "kernel.io_uring_group"
			    : NULL);
}

void doctor_memory(struct doctor *d)
{
	isolation(d);
	governor(d);
	hugepages(d);
	daemon_needs(d);
}
