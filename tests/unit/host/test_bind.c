/* SPDX-License-Identifier: BSD-2-Clause */
/* host/bind.c: which devices may be taken, and that they come back; the bus is played here. */
#include "host/bind.h"

#include "tree.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct host host;
static struct host_ops ops, real;
static char *root;
static struct host_error error;
static int fail_at, step;
static const char *claimed; /* a block device that somebody has to himself, or NULL */
static const char *taker; /* the driver that takes what has no override; "": none; NULL: its own */

#define DEVICES "/sys/bus/pci/devices"
#define RUN	"/run/exitless-host/bind"

/* What the kernel does with these files. */
static int bus_write(struct host *h, const char *path, const char *text)
{
	const char *base = strrchr(path, '/') + 1;
	char *link, *target, *override;
	const char *name = "";
	struct pci_device d;
	int err = 0;

	if (++step == fail_at)
		return -EIO;
	if (!strcmp(base, "driver_override"))
		return real.write(h, path, *text == '\n' ? "(null)\n" : text);
	link = host_printf("%s" DEVICES "/%s/driver", h->root, text);
	if (!strcmp(base, "unbind")) {
		assert_int_equal(unlink(link), 0);
	} else {
		assert_string_equal(path, "/sys/bus/pci/drivers_probe");
		override = host_read(h, DEVICES "/%s/driver_override", text);
		if (taker && !strcmp(override, "(null)"))
			name = taker;
		else if (strcmp(override, "(null)") != 0)
			name = override;
		else if (!pci_read(h, text, &d, NULL))
			name = d.class >> 8 == 0x0108 ? "nvme" : "igb";
		err = *name ? 0 : -EINVAL;
		target = host_printf("../../drivers/%s", name);
		if (!err)
			assert_int_equal(symlink(target, link), 0);
		free(target);
		free(override);
	}
	free(link);
	return err;
}

static int bus_claim(struct host *h, const char *path)
{
	return claimed && !strcmp(path, claimed) ? -EBUSY : 0;
}

static int setup(void **state)
{
	root = tree_new("devices");
	host_init(&host, root);
	real = *host.ops;
	ops = real;
	ops.write = bus_write;
	ops.claim = bus_claim;
	claimed = taker = NULL;
	host.ops = &ops;
	fail_at = step = 0;
	return 0;
}

static int teardown(void **state)
{
	tree_free(root);
	return 0;
}

static void driver_is(const char *address, const char *want)
{
	struct pci_device d;

	assert_int_equal(pci_read(&host, address, &d, &error), 0);
	assert_string_equal(d.driver, want);
}

static void says(int err, int want, const char *what)
{
	assert_int_equal(err, want);
	if (!strstr(error.text, what))
		fail_msg("\"%s\" does not say \"%s\"", error.text, what);
}

static void refuses(void **state)
{
	says(bind_take(&host, "hello", false, &error), -EINVAL, "hello");
	says(bind_take(&host, "09:00.0", false, &error), -ENODEV, "0000:09:00.0");
	says(bind_take(&host, "02:00.0", false, &error), -EBUSY, "disk nvme0n1");
	says(bind_take(&host, "04:00.0", false, &error), -EBUSY, "eth2 is up");
	says(bind_take(&host, "00:1c.0", false, &error), -ENOTSUP, "bridge");
	says(bind_take(&host, "05:00.0", false, &error), -ENOTSUP, "IOMMU");
	says(bind_take(&host, "03:00.0", false, &error), -EBUSY, "0000:03:00.1 (igb)");
	says(bind_give_back(&host, "03:00.0", false, &error), -ENOENT, "not bound");
	assert_int_equal(step, 0);
}

/* A link of /sys below the root, and what it leads to. */
static void put_link(const char *path, const char *target)
{
	char *name = host_printf("%s%s", root, path), *slash = strrchr(path, '/'), *dir;

	dir = host_printf("%.*s/x", (int)(slash - path), path);
	tree_put(root, dir, "");
	assert_int_equal(symlink(target, name), 0);
	free(dir);
	free(name);
}

static void drop_link(const char *path)
{
	char *name = host_printf("%s%s", root, path);

	assert_int_equal(unlink(name), 0);
	free(name);
}

#define DISK "/sys/devices/pci0000:00/0000:02:00.0/nvme/nvme0/nvme0n1"

/* Nothing of the disk is in the tables of mounts and swap; something else has it. */
static void unmounted(void)
{
	tree_put(root, "/proc/mounts", "/dev/mapper/vg-root / ext4 rw,relatime 0 0\n");
	tree_put(root, "/proc/swaps", "Filename Type Size Used Priority\n/dev/dm-1 partition\n");
}

static void refuses_disks_below_others(void **state)
{
	unmounted();
	assert_int_equal(bind_take(&host, "02:00.0", false, &error), 0);
	assert_int_equal(bind_give_back(&host, "02:00.0", false, &error), 0);
	/* LVM or LUKS on a partition */
	tree_put(root, DISK "/nvme0n1p2/holders/dm-0/x", "");
	says(bind_take(&host, "02:00.0", false, &error), -EBUSY, "disk nvme0n1 is in use by dm-0");
}

static void refuses_disks_with_holders(void **state)
{
	unmounted();
	tree_put(root, DISK "/holders/md127/x", "");
	says(bind_take(&host, "02:00.0", false, &error), -EBUSY, "disk nvme0n1 is in use by md127");
}

/* ZFS, or a further disk of a btrfs. */
static void refuses_disks_that_are_held(void **state)
{
	unmounted();
	claimed = "/dev/nvme0n1";
	says(bind_take(&host, "02:00.0", false, &error), -EBUSY, "disk nvme0n1 is in use");
}

static void tells_disks_apart(void **state)
{
	tree_put(root, "/proc/mounts", "/dev/nvme0n10 / ext4 rw 0 0\n/dev/nvme0n1p20 /x xfs rw\n");
	assert_int_equal(bind_take(&host, "02:00.0", false, &error), 0);
	assert_int_equal(bind_give_back(&host, "02:00.0", false, &error), 0);
	tree_put(root, "/proc/mounts", "proc /proc proc rw 0 0\n/dev/nvme0n1 /x xfs rw 0 0\n");
	says(bind_take(&host, "02:00.0", false, &error), -EBUSY, "disk nvme0n1 is in use");
	/* the partition is the disk's, wherever it stands in the table */
	tree_put(root, "/proc/mounts", "proc /proc proc rw 0 0\n/dev/nvme0n1p2 /x xfs rw 0 0\n");
	says(bind_take(&host, "02:00.0", false, &error), -EBUSY, "disk nvme0n1 is in use");
}

/* With two controllers, and a third that has nothing to do with it. */
static void refuses_nvme_multipath(void **state)
{
	static const char subsystem[] = "/sys/devices/virtual/nvme-subsystem/nvme-subsys0";
	char *head = host_printf("%s/nvme0n1/nvme0n1p2/partition", subsystem);
	char *one = host_printf("%s/nvme0", subsystem), *two = host_printf("%s/nvme1", subsystem);

	drop_link("/sys/block/nvme0n1");
	tree_put(root, head, "2\n");
	put_link("/sys/block/nvme0n1", "../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1");
	put_link(one, "../../../pci0000:00/0000:02:00.0/nvme/nvme0");
	tree_put(root, "/sys/devices/pci0000:00/0000:06:00.0/nvme/nvme1/state", "live\n");
	put_link(two, "../../../pci0000:00/0000:06:00.0/nvme/nvme1");
	says(bind_take(&host, "02:00.0", false, &error), -EBUSY, "disk nvme0n1 is in use");
	assert_int_equal(bind_uses(&host, "0000:07:00.0").n, 0);
	free(two);
	free(one);
	free(head);
}

/* Its interfaces are a level further down: below the virtio device. */
static void refuses_virtio_net(void **state)
{
	tree_put(root, DEVICES "/0000:03:00.1/virtio0/net/eth5/flags", "0x1003\n");
	put_link("/sys/class/net/eth5", "../../bus/pci/devices/0000:03:00.1/virtio0/net/eth5");
	assert_int_equal(bind_take(&host, "03:00.0", true, &error), 0);
	says(bind_take(&host, "03:00.1", false, &error), -EBUSY, "eth5 is up");
	tree_put(root, DEVICES "/0000:03:00.1/virtio0/net/eth5/flags", "0x1002\n");
	assert_int_equal(bind_take(&host, "03:00.1", false, &error), 0);
}

/* A directory of interfaces counts them all, and lists those of this network namespace alone: here
 * names with a dot are what is not listed. */
static void refuses_nets_of_other_namespaces(void **state)
{
	char *net = host_printf("%s" DEVICES "/0000:03:00.1/net", root);

	assert_int_equal(bind_take(&host, "03:00.0", true, &error), 0);
	/* no interface of a function that has a VF somewhere else */
	tree_put(root, DEVICES "/0000:08:00.0/net/.eth0/flags", "0x1003\n");
	put_link(DEVICES "/0000:03:00.1/virtfn0", "../0000:08:00.0");
	assert_int_equal(bind_uses(&host, "0000:03:00.1").n, 0);
	assert_int_equal(mkdir(net, 0755), 0);
	says(bind_take(&host, "03:00.1", false, &error), -EBUSY, "another network namespace");
	tree_put(root, DEVICES "/0000:03:00.1/net/eth1/flags", "0x1002\n");
	tree_put(root, DEVICES "/0000:03:00.1/net/.eth6/flags", "0x1003\n");
	says(bind_take(&host, "03:00.1", false, &error), -EBUSY, "another network namespace");
	tree_put(root, DEVICES "/0000:04:00.0/virtio1/net/.eth0/flags", "0x1003\n");
	tree_put(root, DEVICES "/0000:04:00.0/net/eth2/flags", "0x1002\n");
	says(bind_take(&host, "04:00.0", false, &error), -EBUSY, "another network namespace");
	assert_int_equal(bind_take(&host, "03:00.1", true, &error), 0);
	free(net);
}

static void takes_and_gives_back(void **state)
{
	struct host_names taken;
	char *before, *text;

	assert_int_equal(bind_take(&host, "03:00.1", true, &error), 0);
	driver_is("0000:03:00.1", "vfio-pci");
	/* now its neighbour can go without force, too */
	assert_int_equal(bind_take(&host, "0000:03:00.0", false, &error), 0);
	assert_int_equal(bind_take(&host, "0000:03:00.0", false, &error), 0);
	taken = bind_taken(&host);
	assert_int_equal(taken.n, 2);
	host_names_done(&taken);
	before = bind_driver_before(&host, "0000:03:00.0");
	assert_string_equal(before, "igb");
	free(before);
	assert_int_equal(bind_give_back(&host, "03:00.0", false, &error), 0);
	assert_int_equal(bind_give_back(&host, "03:00.1", false, &error), 0);
	driver_is("0000:03:00.0", "igb");
	driver_is("0000:03:00.1", "igb");
	text = tree_get(root, DEVICES "/0000:03:00.0/driver_override");
	assert_string_equal(text, "(null)");
	free(text);
	assert_null(bind_driver_before(&host, "0000:03:00.0"));
}

/* A machine that still has it, by its group or by the device's own file. */
static void does_not_wait_for_machines(void **state)
{
	assert_int_equal(bind_take(&host, "04:00.0", true, &error), 0);
	tree_put(root, "/proc/77/comm", "qemu\n");
	put_link("/proc/77/fd/9", "/dev/vfio/16");
	put_link("/proc/77/fd/10", "/dev/vfio/6");
	says(bind_give_back(&host, "04:00.0", false, &error), -EBUSY, "process 77 (qemu)");
	driver_is("0000:04:00.0", "vfio-pci");
	assert_int_equal(bind_give_back(&host, "04:00.0", true, &error), 0);
	driver_is("0000:04:00.0", "igb");
	drop_link("/proc/77/fd/10");

	assert_int_equal(bind_take(&host, "04:00.0", true, &error), 0);
	tree_put(root, DEVICES "/0000:04:00.0/vfio-dev/vfio2/dev", "1:2\n");
	put_link("/proc/77/fd/11", "/dev/vfio/devices/vfio2");
	says(bind_give_back(&host, "04:00.0", false, &error), -EBUSY, "process 77 (qemu)");
	drop_link("/proc/77/fd/11");
	assert_int_equal(bind_give_back(&host, "04:00.0", false, &error), 0);
	driver_is("0000:04:00.0", "igb");
}

/* What was given back by hand has a user again. */
static void leaves_what_is_the_hosts(void **state)
{
	char *text;

	unmounted();
	assert_int_equal(bind_take(&host, "02:00.0", false, &error), 0);
	assert_int_equal(bus_write(&host, DEVICES "/0000:02:00.0/driver_override", "\n"), 0);
	assert_int_equal(bus_write(&host, "/sys/bus/pci/drivers/vfio-pci/unbind", "0000:02:00.0"),
			 0);
	assert_int_equal(bus_write(&host, "/sys/bus/pci/drivers_probe", "0000:02:00.0"), 0);
	driver_is("0000:02:00.0", "nvme");
	step = 0;
	assert_int_equal(bind_give_back(&host, "02:00.0", false, &error), 0);
	assert_int_equal(step, 0);
	assert_null(bind_driver_before(&host, "0000:02:00.0"));
	says(bind_give_back(&host, "02:00.0", true, &error), -ENOENT, "not bound");

	/* killed after the note, and after the override */
	tree_put(root, RUN "/0000:04:00.0", "igb\n(null)\n");
	assert_int_equal(bind_give_back(&host, "04:00.0", true, &error), 0);
	assert_int_equal(step, 0);
	tree_put(root, RUN "/0000:04:00.0", "igb\nigb\n");
	tree_put(root, DEVICES "/0000:04:00.0/driver_override", "vfio-pci\n");
	assert_int_equal(bind_give_back(&host, "04:00.0", false, &error), 0);
	assert_int_equal(step, 1);
	text = tree_get(root, DEVICES "/0000:04:00.0/driver_override");
	assert_string_equal(text, "igb");
	free(text);
	driver_is("0000:04:00.0", "igb");
	assert_null(bind_driver_before(&host, "0000:04:00.0"));
}

/* Killed while it had no driver, on the way there or back. */
static void goes_on_between_two_drivers(void **state)
{
	static const char *const overrides[] = { "vfio-pci\n", "(null)\n", "pci-stub\n" };

	for (unsigned i = 0; i < 3; i++) {
		drop_link(DEVICES "/0000:04:00.0/driver");
		tree_put(root, RUN "/0000:04:00.0", "igb\n(null)\n");
		tree_put(root, DEVICES "/0000:04:00.0/driver_override", overrides[i]);
		assert_int_equal(bind_give_back(&host, "04:00.0", false, &error), 0);
		assert_null(bind_driver_before(&host, "0000:04:00.0"));
		/* the last is somebody else's */
		driver_is("0000:04:00.0", i < 2 ? "igb" : "");
	}
}

/* Nothing to give back, and no reason to fail for ever. */
static void forgets_what_is_gone(void **state)
{
	tree_put(root, RUN "/0000:0a:00.0", "igb\n(null)\n");
	says(bind_give_back(&host, "0b:00.0", false, &error), -ENODEV, "0000:0b:00.0");
	assert_int_equal(bind_give_back(&host, "0a:00.0", false, &error), 0);
	assert_int_equal(step, 0);
	assert_int_equal(bind_taken(&host).n, 0);
}

/* Another device may be there now. */
static void notes_anew(void **state)
{
	char *before;

	tree_put(root, RUN "/0000:04:00.0", "nvme\nuio\n");
	assert_int_equal(bind_take(&host, "04:00.0", true, &error), 0);
	before = bind_driver_before(&host, "0000:04:00.0");
	assert_string_equal(before, "igb");
	free(before);
	assert_int_equal(bind_give_back(&host, "04:00.0", false, &error), 0);
	driver_is("0000:04:00.0", "igb");
	/* but not after a kill: this is what was before */
	tree_put(root, RUN "/0000:04:00.0", "igb\nigb\n");
	tree_put(root, DEVICES "/0000:04:00.0/driver_override", "vfio-pci\n");
	assert_int_equal(bind_take(&host, "04:00.0", true, &error), 0);
	assert_int_equal(bind_give_back(&host, "04:00.0", false, &error), 0);
	before = tree_get(root, DEVICES "/0000:04:00.0/driver_override");
	assert_string_equal(before, "igb");
	free(before);
}

/* The only record of its driver stays until that has it. */
static void tells_that_no_driver_took_it(void **state)
{
	char *before;

	assert_int_equal(bind_take(&host, "04:00.0", true, &error), 0);
	taker = "";
	says(bind_give_back(&host, "04:00.0", false, &error), -EIO, "modprobe igb");
	driver_is("0000:04:00.0", "");
	says(bind_give_back(&host, "04:00.0", false, &error), -EIO, "0000:04:00.0 has no driver");
	before = bind_driver_before(&host, "0000:04:00.0");
	assert_string_equal(before, "igb");
	free(before);
	taker = NULL;
	assert_int_equal(bind_give_back(&host, "04:00.0", false, &error), 0);
	driver_is("0000:04:00.0", "igb");
	assert_null(bind_driver_before(&host, "0000:04:00.0"));

	assert_int_equal(bind_take(&host, "04:00.0", true, &error), 0);
	taker = "igb_uio";
	says(bind_give_back(&host, "04:00.0", false, &error), -EIO,
	     "had the driver igb before, but igb_uio took it");
	/* said once; it is the host's */
	assert_int_equal(bind_give_back(&host, "04:00.0", false, &error), 0);
	driver_is("0000:04:00.0", "igb_uio");

	/* it had none */
	drop_link(DEVICES "/0000:03:00.1/driver");
	taker = "";
	assert_int_equal(bind_take(&host, "03:00.1", true, &error), 0);
	assert_int_equal(bind_give_back(&host, "03:00.1", false, &error), 0);
	driver_is("0000:03:00.1", "");
}

/* Neither vfio-pci nor its own. */
static void tells_what_failed_both_ways(void **state)
{
	taker = "";
	fail_at = 3;
	says(bind_take(&host, "04:00.0", true, &error), -EIO, "drivers_probe");
	says(-EIO, -EIO, "modprobe igb");
	taker = NULL;
	assert_int_equal(bind_give_back(&host, "04:00.0", false, &error), 0);
	driver_is("0000:04:00.0", "igb");
}

static void fails_at_every_step(void **state)
{
	for (int n = 1; n <= 3; n++) {
		step = 0;
		fail_at = n;
		says(bind_take(&host, "04:00.0", true, &error), -EIO, "0000:04:00.0");
		driver_is("0000:04:00.0", "igb");
		assert_null(bind_driver_before(&host, "0000:04:00.0"));
	}
}

static void without_vfio(void **state)
{
	char *name = host_printf("%s/sys/bus/pci/drivers/vfio-pci/unbind", root);

	unlink(name);
	*strrchr(name, '/') = '\0';
	rmdir(name);
	free(name);
	says(bind_take(&host, "04:00.0", true, &error), -ENOENT, "modprobe vfio-pci");
	driver_is("0000:04:00.0", "igb");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(refuses),
		TEST(refuses_disks_below_others),
		TEST(refuses_disks_with_holders),
		TEST(refuses_disks_that_are_held),
		TEST(tells_disks_apart),
		TEST(refuses_nvme_multipath),
		TEST(refuses_virtio_net),
		TEST(refuses_nets_of_other_namespaces),
		TEST(takes_and_gives_back),
		TEST(does_not_wait_for_machines),
		TEST(leaves_what_is_the_hosts),
		TEST(goes_on_between_two_drivers),
		TEST(forgets_what_is_gone),
		TEST(notes_anew),
		TEST(tells_that_no_driver_took_it),
		TEST(tells_what_failed_both_ways),
		TEST(fails_at_every_step),
		TEST(without_vfio),
	};

	return cmocka_run_group_tests_name("host/bind", tests, NULL, NULL);
}
