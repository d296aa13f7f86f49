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
#include <unistd.h>

#include <cmocka.h>

static struct host host;
static struct host_ops ops, real;
static char *root;
static struct host_error error;
static int fail_at, step;

#define DEVICES "/sys/bus/pci/devices"

/* What the kernel does with these files. */
static int bus_write(struct host *h, const char *path, const char *text)
{
	const char *base = strrchr(path, '/') + 1;
	char *link, *target, *override;

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
		target = host_printf("../../drivers/%s",
				     strcmp(override, "(null)") ? override : "igb");
		assert_int_equal(symlink(target, link), 0);
		free(target);
		free(override);
	}
	free(link);
	return 0;
}

static int setup(void **state)
{
	root = tree_new("devices");
	host_init(&host, root);
	real = *host.ops;
	ops = real;
	ops.write = bus_write;
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
	says(bind_give_back(&host, "03:00.0", &error), -ENOENT, "not bound");
	assert_int_equal(step, 0);
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
	assert_int_equal(bind_give_back(&host, "03:00.0", &error), 0);
	assert_int_equal(bind_give_back(&host, "03:00.1", &error), 0);
	driver_is("0000:03:00.0", "igb");
	driver_is("0000:03:00.1", "igb");
	text = tree_get(root, DEVICES "/0000:03:00.0/driver_override");
	assert_string_equal(text, "(null)");
	free(text);
	assert_null(bind_driver_before(&host, "0000:03:00.0"));
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
		TEST(takes_and_gives_back),
		TEST(fails_at_every_step),
		TEST(without_vfio),
	};

	return cmocka_run_group_tests_name("host/bind", tests, NULL, NULL);
}
