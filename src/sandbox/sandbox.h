/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the daemon gives up before it serves anybody: capabilities, files (Landlock) and system
 * calls (seccomp). All of it belongs to threads and is inherited by those they start, and none of
 * it comes back: call these before the first thread is started, capabilities first (they set
 * no_new_privs, which the others need).
 *
 * Control thread.
 */
#ifndef EXITLESS_SANDBOX_SANDBOX_H
#define EXITLESS_SANDBOX_SANDBOX_H

#include <stdbool.h>

/* Gives up all capabilities but the few that serving needs, and sets no_new_privs.
 * @network: keep those that making network interfaces needs. Returns 0 or -errno. */
int sandbox_capabilities(bool network);

/* ---- files (landlock(7)) ----------------------------------------------------------------- */

enum sandbox_access {
	SANDBOX_READ = 1 << 0,	  /* files */
	SANDBOX_WRITE = 1 << 1,	  /* files, and truncating them */
	SANDBOX_DEVICE = 1 << 2,  /* ioctl() of devices that are opened */
	SANDBOX_SOCKETS = 1 << 3, /* making sockets in a folder, and removing what is in it */
	SANDBOX_CREATE = 1 << 4,  /* making files in a folder */
	SANDBOX_EXECUTE = 1 << 5,
};
/* of a folder in which objects may be added later */
#define SANDBOX_ALL                                                                                \
	(SANDBOX_READ | SANDBOX_WRITE | SANDBOX_DEVICE | SANDBOX_SOCKETS | SANDBOX_CREATE)

struct sandbox_files;

/* Begins a list of what may be used; nothing is restricted yet. NULL with errno set: -EOPNOTSUPP or
 * -ENOSYS if the kernel has no Landlock. */
struct sandbox_files *sandbox_files_new(void);
void sandbox_files_free(struct sandbox_files *files);
/* Allows @access to a file, or to all below a folder; it is looked up now, and a file that is later
 * replaced by another of its name is not allowed. Returns 0 or -errno (-ENOENT: it is not there).
 */
int sandbox_files_allow(struct sandbox_files *files, const char *path, unsigned access);
/* From now on, for ever: nothing else can be opened, made or removed. Returns 0 or -errno. */
int sandbox_files_enter(struct sandbox_files *files);
/* Whether @path, or the folder in which it would be made, is among what was allowed. For a clear
 * message before the kernel says no; the kernel decides. */
bool sandbox_files_may(const struct sandbox_files *files, const char *path, unsigned access);
/* The version of the kernel's Landlock. */
int sandbox_files_version(const struct sandbox_files *files);

/* ---- system calls (seccomp(2)) ----------------------------------------------------------- */

enum sandbox_calls {
	SANDBOX_CALLS_OFF,
	SANDBOX_CALLS_REFUSE, /* EPERM, and a line in the kernel's audit log */
	SANDBOX_CALLS_KILL,   /* the process */
};

/* Leaves the calls that serving needs (the list is in calls.c). Returns 0 or -errno. */
int sandbox_calls(enum sandbox_calls how);

#endif
