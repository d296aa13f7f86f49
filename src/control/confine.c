/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a configuration to what the daemon needs while it serves; the rest is given up. Files are
 * allowed one by one where they are known. Those of a folder are allowed where they come and go by
 * name: sockets, and the configuration, which an editor may replace.
 */
#include "base/log.h"
#include "base/util.h"
#include "control/daemon.h"
#include "sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES (SPEC_FILE_BYTES + 2)

static bool has_tap(const struct config *config)
{
	const struct port_spec *ports = config->ports.items;

	for (unsigned i = 0; i < config->ports.n; i++)
		if (!strcmp(ports[i].kind, "tap"))
			return true;
	return false;
}

/* What cannot be allowed cannot be used: whoever tries says so. */
static void allow(struct sandbox_files *files, const char *path, unsigned access)
{
	int err = sandbox_files_allow(files, path, access);

	if (err && err != -ENOENT)
		log_warning("sandbox: %s: %s", path, strerror(-err));
}

static void folder_of(const char *path, char folder[PATH_BYTES])
{
	const char *slash = strrchr(path, '/');

	if (slash)
		snprintf(folder, PATH_BYTES, "%.*s", MAX((int)(slash - path), 1), path);
	else
		strcpy(folder, ".");
}

static void allow_folder_of(struct sandbox_files *files, const char *path, unsigned access)
{
	char folder[PATH_BYTES];

	folder_of(path, folder);
	allow(files, folder, access);
}

/* Name servers change while we run, and the file is then another one; where it is alone with its
 * kind its folder is allowed. */
static void allow_resolver(struct sandbox_files *files)
{
	static const char *const folders[] = { "/run/systemd/resolve", "/run/NetworkManager",
					       "/run/resolvconf", "/run/connman" };

	allow(files, "/etc/resolv.conf", SANDBOX_READ);
	for (unsigned i = 0; i < ARRAY_SIZE(folders); i++)
		allow(files, folders[i], SANDBOX_READ);
}

static void allow_port(struct sandbox_files *files, const struct port_spec *spec)
{
	if (spec->replay_file[0])
		allow(files, spec->replay_file, SANDBOX_READ);
	if (spec->netns[0])
		allow(files, spec->netns, SANDBOX_READ);
	if (spec->capture_file[0]) {
		/* only what is there can be allowed */
		int fd = open(spec->capture_file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		if (fd >= 0)
			close(fd);
		allow(files, spec->capture_file, SANDBOX_WRITE);
	}
	if (spec->tftp_directory[0])
		allow(files, spec->tftp_directory, SANDBOX_READ);
}

static void allow_device(struct sandbox_files *files, const struct device_spec *spec)
{
	if (spec->socket[0])
		allow_folder_of(files, spec->socket, SANDBOX_SOCKETS);
	if (spec->file[0])
		allow(files, spec->file,
		      SANDBOX_READ | SANDBOX_DEVICE | (spec->read_only ? 0 : SANDBOX_WRITE));
}

static void allow_all(struct sandbox_files *files, const struct config *config, const char *path)
{
	/* for users and groups by name; eventfds of others are signalled by way of /dev/null */
	static const char *const read[] = { "/etc/passwd", "/etc/group", "/etc/nsswitch.conf",
					    "/etc/localtime", "/dev/null" };
	const struct machine_entry *machines = config->machines.items;
	const struct port_spec *ports = config->ports.items;

	for (unsigned i = 0; i < ARRAY_SIZE(read); i++)
		allow(files, read[i], SANDBOX_READ);
	allow(files, "/dev/null", SANDBOX_WRITE);
	allow(files, "/dev/net/tun", SANDBOX_READ | SANDBOX_WRITE | SANDBOX_DEVICE);
	allow_resolver(files);
	if (path)
		allow_folder_of(files, path, SANDBOX_READ);
	allow_folder_of(files, config->control.socket, SANDBOX_SOCKETS);
	allow(files, config->control.directory, SANDBOX_SOCKETS);
	for (unsigned i = 0; i < config->sandbox.n_paths; i++)
		allow(files, config->sandbox.paths[i], SANDBOX_ALL);
	for (unsigned i = 0; i < config->ports.n; i++)
		allow_port(files, &ports[i]);
	for (unsigned i = 0; i < config->machines.n; i++) {
		const struct device_spec *devices = machines[i].devices.items;

		for (unsigned j = 0; j < machines[i].devices.n; j++)
			allow_device(files, &devices[j]);
	}
}

static int limit_files(const struct config *config, const char *path, struct sandbox_files **out)
{
	struct sandbox_files *files = sandbox_files_new();
	int err;

	if (!files && (errno == ENOSYS || errno == EOPNOTSUPP)) {
		log_warning("sandbox: this kernel has no Landlock; files are not limited");
		return 0;
	}
	if (!files)
		return -errno;
	allow_all(files, config, path);
	err = sandbox_files_enter(files);
	if (err) {
		sandbox_files_free(files);
		return err;
	}
	*out = files;
	return 0;
}

int confine(const struct config *config, const char *path, struct sandbox_files **files)
{
	const struct control_spec *control = &config->control;
	int err;

	*files = NULL;
	err = sandbox_capabilities(control->allow_tap || has_tap(config));
	if (err)
		return err;
	/* below it sockets can be allowed only once it is there */
	err = manager_directory_make(control->directory);
	if (err)
		log_debug("%s: %s", control->directory, strerror(-err)); /* who needs it says so */
	err = config->sandbox.files ? limit_files(config, path, files) : 0;
	return err ? err : sandbox_calls(config->sandbox.calls);
}

/* ---- objects that come later ------------------------------------------------------------- */

static int check(const struct sandbox_files *files, const char *key, const char *path,
		 unsigned access, struct why *why)
{
	if (!path[0] || sandbox_files_may(files, path, access))
		return 0;
	return why_set(why, -EACCES,
		       "%s: the sandbox does not let the daemon use %.100s; at its start only "
		       "what the configuration names was allowed, and what is in \"sandbox.paths\"",
		       key, path);
}

int confine_check_port(const struct sandbox_files *files, const struct port_spec *spec,
		       struct why *why)
{
	int err;

	if (!files)
		return 0;
	err = check(files, "replay_file", spec->replay_file, SANDBOX_READ, why);
	if (!err)
		err = check(files, "capture_file", spec->capture_file, SANDBOX_WRITE, why);
	return err ? err : check(files, "tftp_directory", spec->tftp_directory, SANDBOX_READ, why);
}

int confine_check_device(const struct sandbox_files *files, const struct device_spec *spec,
			 struct why *why)
{
	char folder[PATH_BYTES];
	int err = 0;

	if (!files)
		return 0;
	if (spec->socket[0] && !spec->vmm_listens) {
		folder_of(spec->socket, folder);
		err = check(files, "socket", folder, SANDBOX_SOCKETS, why);
	}
	if (err)
		return err;
	return check(files, "file", spec->file,
		     spec->read_only ? SANDBOX_READ : SANDBOX_READ | SANDBOX_WRITE, why);
}
