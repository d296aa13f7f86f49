/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the host does with a PCI device, and who has it by VFIO. Disks and network interfaces are
 * found by the path that their link in /sys leads to: it goes over the device, whatever is between
 * them (a controller, a SCSI host, virtio). A disk of NVMe's own multipathing has no such path; it
 * belongs to a subsystem, which has links to the controllers.
 *
 * A disk is in use if it or a partition is mounted or swapped to, if something is built on it (LVM,
 * LUKS, md: "holders"), or if the kernel says that somebody has it to himself, which is all that
 * shows of ZFS and of the further disks of a btrfs.
 */
#include "host/bind.h"

#include "host/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BLOCK "/sys/block"
#define NET   "/sys/class/net"

static bool leads_over(const char *path, const char *address)
{
	char *part = host_printf("/%s/", address);
	bool yes = strstr(path, part);

	free(part);
	return yes;
}

/* Is one of the controllers that an NVMe subsystem has links to this device's? */
static bool has_controller(const char *subsystem, const char *address)
{
	struct host at = { .root = subsystem };
	struct host_names names = host_dir(&at, "/");
	bool yes = false;

	for (unsigned i = 0; i < names.n && !yes; i++) {
		char *name = host_printf("%s/%s", subsystem, names.name[i]);
		char *real = strncmp(names.name[i], "nvme", 4) ? NULL : realpath(name, NULL);

		yes = real && leads_over(real, address);
		free(real);
		free(name);
	}
	host_names_done(&names);
	return yes;
}

/* Is what this link of /sys leads to the device's? */
static bool belongs(const struct host *host, const char *class, const char *name,
		    const char *address)
{
	char *path = host_printf("%s%s/%s", host->root, class, name);
	char *real = realpath(path, NULL);
	bool yes = real && leads_over(real, address);

	if (real && !yes && strstr(real, "/nvme-subsystem/")) {
		*strrchr(real, '/') = '\0';
		yes = has_controller(real, address);
	}
	free(real);
	free(path);
	return yes;
}

/* ---- disks -------------------------------------------------------------------------------------
 */

/* Its name below /dev: /sys has '!' for '/'. On the heap. */
static char *node_of(const char *block)
{
	char *node = host_printf("/dev/%s", block);

	for (char *p = node; (p = strchr(p, '!'));)
		*p = '/';
	return node;
}

/* Is there a line that begins with this word? @table may be NULL. */
static bool listed(const char *table, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = table; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (!strncmp(p, word, len) && (p[len] == ' ' || p[len] == '\t'))
			return true;
	}
	return false;
}

struct tables {
	char *mounts, *swaps;
};

/* What uses a disk or partition, for people, on the heap; NULL: nothing. @block: its directory in
 * BLOCK, for a partition below its disk's. */
static char *use_of(const struct host *host, const char *block, const struct tables *tables)
{
	const char *slash = strrchr(block, '/');
	char *node = node_of(slash ? slash + 1 : block), *use = NULL;
	struct host_names holders = host_dir(host, BLOCK "/%s/holders", block);

	if (listed(tables->mounts, node) || listed(tables->swaps, node))
		use = host_text_copy("");
	else if (holders.n)
		use = host_printf(" by %s", holders.name[0]);
	host_names_done(&holders);
	free(node);
	return use;
}

/* The same of the disk and its partitions. */
static char *use_of_disk(struct host *host, const char *disk, const struct tables *tables)
{
	struct host_names below = host_dir(host, BLOCK "/%s", disk);
	char *use = use_of(host, disk, tables), *node = node_of(disk);

	for (unsigned i = 0; i < below.n && !use; i++) {
		char *part = host_printf("%s/%s", disk, below.name[i]);

		if (host_exists(host, BLOCK "/%s/partition", part))
			use = use_of(host, part, tables);
		free(part);
	}
	/* a partition's counts for the disk */
	if (!use && host->ops->claim(host, node) == -EBUSY)
		use = host_text_copy("");
	free(node);
	host_names_done(&below);
	return use;
}

static void add_disks(struct host *host, const char *address, struct host_names *uses)
{
	struct host_names disks = host_dir(host, BLOCK);
	struct tables tables = { host_read(host, "/proc/mounts"), host_read(host, "/proc/swaps") };

	for (unsigned i = 0; i < disks.n; i++) {
		char *use = NULL;

		if (belongs(host, BLOCK, disks.name[i], address))
			use = use_of_disk(host, disks.name[i], &tables);
		if (use)
			host_names_add(uses,
				       host_printf("disk %s is in use%s", disks.name[i], use));
		free(use);
	}
	free(tables.mounts);
	free(tables.swaps);
	host_names_done(&disks);
}

/* ---- network interfaces ------------------------------------------------------------------------
 */

static void add_nets(const struct host *host, const char *address, struct host_names *uses)
{
	struct host_names nets = host_dir(host, NET);

	for (unsigned i = 0; i < nets.n; i++) {
		/* include/uapi/linux/if.h: IFF_UP */
		if (host_number(host, 0, NET "/%s/flags", nets.name[i]) & 1 &&
		    belongs(host, NET, nets.name[i], address))
			host_names_add(uses,
				       host_printf("network interface %s is up", nets.name[i]));
	}
	host_names_done(&nets);
}

/* An interface that was moved to another network namespace (a container's) is not listed here, nor
 * are its flags; but its directory is there, and the count of links of the one above has it. */
static bool has_hidden(const struct host *host, const char *dir)
{
	char *path = host_printf("%s%s/net", host->root, dir);
	struct host_names seen = host_dir(host, "%s/net", dir);
	struct stat st;
	bool yes = !lstat(path, &st) && S_ISDIR(st.st_mode) &&
		   (!seen.n || st.st_nlink > 2 + seen.n);

	host_names_done(&seen);
	free(path);
	return yes;
}

/* The device's own, or a level further down (virtio, subfunctions). */
static void add_hidden_nets(const struct host *host, const char *address, struct host_names *uses)
{
	char *dir = host_printf("/sys/bus/pci/devices/%s", address);
	struct host_names below = host_dir(host, "%s", dir);
	bool yes = has_hidden(host, dir);

	for (unsigned i = 0; i < below.n && !yes; i++) {
		char *path = host_printf("%s/%s", dir, below.name[i]), *link;

		/* leads to another device: a VF, or the PF */
		link = host_link(host, "%s", path);
		yes = !link && has_hidden(host, path);
		free(link);
		free(path);
	}
	if (yes)
		host_names_add(uses, host_text_copy("a network interface of it is in another "
						    "network namespace"));
	host_names_done(&below);
	free(dir);
}

struct host_names bind_uses(struct host *host, const char *address)
{
	struct host_names uses = { 0 };

	add_nets(host, address, &uses);
	add_hidden_nets(host, address, &uses);
	add_disks(host, address, &uses);
	return uses;
}

/* ---- who has it by VFIO ------------------------------------------------------------------------
 */

/* Does the path end in one of these? A process may see its files below another root. */
static bool ends_in(const char *path, const struct host_names *files)
{
	size_t len = strlen(path);

	for (unsigned i = 0; i < files->n; i++) {
		size_t n = strlen(files->name[i]);

		if (len >= n && !strcmp(path + len - n, files->name[i]))
			return true;
	}
	return false;
}

static bool has_open(const struct host *host, const char *pid, const struct host_names *files)
{
	struct host_names fds = host_dir(host, "/proc/%s/fd", pid);
	bool yes = false;

	for (unsigned i = 0; i < fds.n && !yes; i++) {
		char *target = vm_open_file(host, pid, fds.name[i]);

		yes = target && ends_in(target, files);
		free(target);
	}
	host_names_done(&fds);
	return yes;
}

struct host_names bind_holders(const struct host *host, const struct pci_device *device)
{
	struct host_names holders = { 0 }, files = { 0 }, pids = vm_processes(host),
			  nodes = host_dir(host, "/sys/bus/pci/devices/%s/vfio-dev",
					   device->address);

	host_names_add(&files, host_printf("/dev/vfio/%d", device->group));
	host_names_add(&files, host_printf("/dev/vfio/noiommu-%d", device->group));
	for (unsigned i = 0; i < nodes.n; i++)
		host_names_add(&files, host_printf("/dev/vfio/devices/%s", nodes.name[i]));
	for (unsigned i = 0; i < pids.n; i++) {
		char *comm;

		if (!has_open(host, pids.name[i], &files))
			continue;
		comm = host_read(host, "/proc/%s/comm", pids.name[i]);
		host_names_add(&holders,
			       host_printf("process %s (%s)", pids.name[i], comm ? comm : "?"));
		free(comm);
	}
	host_names_done(&nodes);
	host_names_done(&files);
	host_names_done(&pids);
	return holders;
}
