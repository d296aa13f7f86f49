/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/bind.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEVICES "/sys/bus/pci/devices"
#define DRIVERS "/sys/bus/pci/drivers"
#define RUN	"/run/exitless-host/bind"

/* ---- may it? -----------------------------------------------------------------------------------
 */

static bool harmless(const char *driver)
{
	return !driver[0] || !strcmp(driver, "vfio-pci") || !strcmp(driver, "pci-stub");
}

struct host_names bind_in_the_way(const struct host *host, const struct pci_device *device)
{
	struct host_names group = { 0 }, others = { 0 };

	if (device->group >= 0)
		group = pci_group(host, device->group);
	for (unsigned i = 0; i < group.n; i++) {
		struct pci_device d;

		if (strcmp(group.name[i], device->address) != 0 &&
		    !pci_read(host, group.name[i], &d, NULL) && !pci_is_bridge(&d) &&
		    !harmless(d.driver))
			host_names_add(&others, host_printf("%s (%s)", d.address, d.driver));
	}
	host_names_done(&group);
	return others;
}

static int may_take(struct host *host, const struct pci_device *d, bool force,
		    struct host_error *error)
{
	struct host_names uses, others;
	int err = 0;

	if (pci_is_bridge(d))
		return host_fail(error, -ENOTSUP, "%s is a bridge", d->address);
	if (d->group < 0)
		return host_fail(error, -ENOTSUP,
				 "%s is in no IOMMU group: is the IOMMU on (intel_iommu=on, or the "
				 "firmware's setting)?",
				 d->address);
	if (force)
		return 0;
	uses = bind_uses(host, d->address);
	others = bind_in_the_way(host, d);
	if (uses.n)
		err = host_fail(error, -EBUSY, "%s is in use: %s", d->address, uses.name[0]);
	else if (others.n)
		err = host_fail(error, -EBUSY,
				"%s shares IOMMU group %d with %s%s; bind that as well first",
				d->address, d->group, others.name[0],
				others.n > 1 ? " and others" : "");
	host_names_done(&uses);
	host_names_done(&others);
	return err;
}

/* ---- what was before ---------------------------------------------------------------------------
 */

/* The text in driver_override, "" for none; on the heap. */
static char *override_of(const struct host *host, const char *address)
{
	char *text = host_read(host, DEVICES "/%s/driver_override", address);

	/* this is how the kernel shows that there is none */
	if (text && strcmp(text, "(null)") != 0)
		return text;
	free(text);
	return host_text_copy("");
}

static void forget(const struct host *host, const char *address)
{
	char *path = host_printf("%s" RUN "/%s", host->root, address);

	unlink(path);
	free(path);
}

static int note_before(const struct host *host, const struct pci_device *d,
		       struct host_error *error)
{
	static const char *const dirs[] = { "/run", "/run/exitless-host", RUN };
	char *path, *override = override_of(host, d->address);
	FILE *out;
	int err = 0;

	for (unsigned i = 0; i < 3; i++) {
		path = host_printf("%s%s", host->root, dirs[i]);
		/* everybody may look, whatever the umask */
		if (!mkdir(path, 0755))
			chmod(path, 0755);
		free(path);
	}
	/* of a time before it was the host's again */
	if (d->driver[0] && strcmp(override, "vfio-pci") != 0)
		forget(host, d->address);
	path = host_printf("%s" RUN "/%s", host->root, d->address);
	/* "x": what one has noted that did not come to its end is what was before */
	out = fopen(path, "wxe");
	if (out) {
		fprintf(out, "%s\n%s\n", d->driver, override);
		if (fclose(out)) {
			err = -errno;
			unlink(path);
		}
	} else if (errno != EEXIST) {
		err = -errno;
	}
	if (err)
		host_fail(error, err, "%s: %s", path, strerror(-err));
	free(path);
	free(override);
	return err;
}

struct note {
	char *driver, *override; /* "" for none; on the heap, the first has both */
};

static bool note_read(const struct host *host, const char *address, struct note *note)
{
	char *text = host_read(host, RUN "/%s", address), *second;

	if (!text)
		return false;
	second = text + strcspn(text, "\n");
	if (*second)
		*second++ = '\0';
	second[strcspn(second, "\n")] = '\0';
	if (!strcmp(second, "(null)"))
		*second = '\0';
	*note = (struct note){ text, second };
	return true;
}

char *bind_driver_before(const struct host *host, const char *address)
{
	char *text = host_read(host, RUN "/%s", address);

	if (text)
		text[strcspn(text, "\n")] = '\0';
	return text;
}

struct host_names bind_taken(const struct host *host)
{
	return host_dir(host, RUN);
}

/* ---- taking and giving back --------------------------------------------------------------------
 */

/* From its driver, whichever, to the one that driver_override allows; "" takes that away. */
static int change_driver(struct host *host, const char *address, const char *override,
			 struct host_error *error)
{
	const char *what = "driver_override";
	/* an empty line takes it away */
	int err = host_write(host, *override ? override : "\n", DEVICES "/%s/driver_override",
			     address);

	if (!err && host_exists(host, DEVICES "/%s/driver", address)) {
		what = "driver/unbind";
		err = host_write(host, address, DEVICES "/%s/driver/unbind", address);
	}
	if (!err) {
		what = "drivers_probe";
		err = host_write(host, address, "/sys/bus/pci/drivers_probe");
		/* nobody wants it */
		if (err == -EINVAL)
			err = 0;
	}
	return err ? host_fail(error, err, "%s: %s: %s", address, what, strerror(-err)) : 0;
}

/* drivers_probe does not tell. */
static int check_driver(const struct host *host, const char *address, const char *before,
			struct host_error *error)
{
	struct pci_device d;
	int err = pci_read(host, address, &d, error);

	if (err || !before[0] || !strcmp(d.driver, before))
		return err;
	if (d.driver[0])
		return host_fail(error, -EIO, "%s had the driver %s before, but %s took it now",
				 address, before, d.driver);
	return host_fail(error, -EIO,
			 "%s has no driver: %s, which it had before, did not take it; is that "
			 "loaded (modprobe %s)? See dmesg, and undo again then",
			 address, before, before);
}

int bind_take(struct host *host, const char *address, bool force, struct host_error *error)
{
	struct host_error first = { "" }, second = { "" };
	struct pci_device d;
	int err;

	err = pci_read(host, address, &d, error);
	if (err)
		return err;
	if (!strcmp(d.driver, "vfio-pci"))
		return 0;
	err = may_take(host, &d, force, error);
	if (err)
		return err;
	if (!host_exists(host, DRIVERS "/vfio-pci"))
		return host_fail(error, -ENOENT,
				 "the driver vfio-pci is not there: modprobe vfio-pci");
	err = note_before(host, &d, error);
	if (err)
		return err;
	err = change_driver(host, d.address, "vfio-pci", &first);
	if (!err)
		err = pci_read(host, d.address, &d, &first);
	if (!err && strcmp(d.driver, "vfio-pci") != 0)
		err = host_fail(&first, -EIO, "vfio-pci did not take %s; see dmesg", d.address);
	if (!err)
		return 0;
	if (bind_give_back(host, d.address, true, &second))
		return host_fail(error, err, "%.200s; then %.300s", first.text, second.text);
	return host_fail(error, err, "%s", first.text);
}

/* vfio-pci does not let go of a device while it is open: unbinding would wait, perhaps for ever. */
static int check_holders(const struct host *host, const struct pci_device *d,
			 struct host_error *error)
{
	struct host_names holders = { 0 };
	int err = 0;

	if (!strcmp(d->driver, "vfio-pci"))
		holders = bind_holders(host, d);
	if (holders.n)
		err = host_fail(error, -EBUSY,
				"%s is held by %s; end that first (with --force the kernel asks it "
				"for the device, and waits)",
				d->address, holders.name[0]);
	host_names_done(&holders);
	return err;
}

/* It is the host's, by whomever it was given back: only what keeps it from its driver is undone. */
static int restore_override(struct host *host, const char *address, const char *now,
			    const char *before, struct host_error *error)
{
	int err;

	if (strcmp(now, "vfio-pci") != 0)
		return 0;
	/* an empty line takes it away */
	err = host_write(host, *before ? before : "\n", DEVICES "/%s/driver_override", address);
	return err ? host_fail(error, err, "%s: driver_override: %s", address, strerror(-err)) : 0;
}

static int give_back(struct host *host, const struct pci_device *d, const struct note *note,
		     bool force, struct host_error *error)
{
	char *now = override_of(host, d->address);
	/* between two drivers: somebody was killed there */
	bool none = !d->driver[0] && (!strcmp(now, "vfio-pci") || !strcmp(now, note->override));
	int err;

	if (!strcmp(d->driver, "vfio-pci") || none) {
		err = force ? 0 : check_holders(host, d, error);
		if (!err)
			err = change_driver(host, d->address, note->override, error);
		if (!err)
			err = check_driver(host, d->address, note->driver, error);
	} else {
		err = restore_override(host, d->address, now, note->override, error);
	}
	free(now);
	return err;
}

int bind_give_back(struct host *host, const char *address, bool force, struct host_error *error)
{
	struct pci_device d = { .address = "" };
	struct note note;
	int err = pci_read(host, address, &d, error);

	if (err == -EINVAL)
		return err;
	pci_address(d.address, address);
	if (!note_read(host, d.address, &note))
		return err ? err
			   : host_fail(error, -ENOENT, "%s was not bound by exitless", d.address);
	/* what has left the machine needs nothing back */
	err = err ? 0 : give_back(host, &d, &note, force, error);
	if (!err)
		forget(host, d.address);
	free(note.driver);
	return err;
}
