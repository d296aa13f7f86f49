/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Landlock, by its system calls: a ruleset names what it handles, rules allow some of it below a
 * file or folder, and the thread restricts itself. A kernel knows a version (ABI) and refuses bits
 * that are newer, so they are masked; what an old kernel cannot restrict stays possible. The
 * numbers are the kernel's (include/uapi/linux/landlock.h), and here because Debian 12's header is
 * older than the kernels that it meets.
 */
#include "sandbox/sandbox.h"

#include "base/sanitize.h"
#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CREATE_RULESET 444
#define ADD_RULE       445
#define RESTRICT_SELF  446

#define CREATE_RULESET_VERSION 1u
#define RULE_PATH_BENEATH      1

#define FS_EXECUTE     (1ull << 0)
#define FS_WRITE_FILE  (1ull << 1)
#define FS_READ_FILE   (1ull << 2)
#define FS_READ_DIR    (1ull << 3)
#define FS_REMOVE_FILE (1ull << 5)
#define FS_MAKE_REG    (1ull << 8)
#define FS_MAKE_SOCK   (1ull << 9)
#define FS_TRUNCATE    (1ull << 14) /* ABI 3 */
#define FS_IOCTL_DEV   (1ull << 15) /* ABI 5 */
#define FS_ABI_1       ((1ull << 13) - 1)
#define FS_REFER       (1ull << 13) /* ABI 2 */
/* what makes sense for a file; a rule for one must not have more */
#define FS_OF_FILE (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

#define SCOPE_SIGNAL (1ull << 1) /* ABI 6 */

struct ruleset_attr {
	uint64_t handled_access_fs;
	uint64_t handled_access_net; /* ABI 4; nothing is handled */
	uint64_t scoped;	     /* ABI 6 */
};

struct path_beneath_attr {
	uint64_t allowed_access;
	int32_t parent_fd;
} __attribute__((packed));

struct allowed {
	char *path; /* without links */
	bool folder;
	unsigned access;
};

struct sandbox_files {
	int version, fd;
	uint64_t handled;
	struct allowed *allowed;
	unsigned n;
};

struct sandbox_files *sandbox_files_new(void)
{
	struct ruleset_attr attr = { .handled_access_fs = FS_ABI_1 };
	struct sandbox_files *files;
	size_t size = sizeof(attr.handled_access_fs);
	long version = syscall(CREATE_RULESET, NULL, 0, CREATE_RULESET_VERSION);

	if (version < 0)
		return NULL;
	if (version >= 2)
		attr.handled_access_fs |= FS_REFER;
	if (version >= 3)
		attr.handled_access_fs |= FS_TRUNCATE;
	if (version >= 5)
		attr.handled_access_fs |= FS_IOCTL_DEV;
	if (version >= 6) {
		attr.scoped = SCOPE_SIGNAL;
		size = sizeof(attr);
	}
	files = calloc(1, sizeof(*files));
	if (!files)
		return NULL;
	files->version = (int)version;
	files->handled = attr.handled_access_fs;
	files->fd = (int)syscall(CREATE_RULESET, &attr, size, 0);
	if (files->fd < 0) {
		free(files);
		return NULL;
	}
	if (SANITIZED) {
		sandbox_files_allow(files, "/usr", SANDBOX_READ | SANDBOX_EXECUTE);
		sandbox_files_allow(files, "/proc", SANDBOX_READ);
		sandbox_files_allow(files, "/proc/self/exe", SANDBOX_READ);
	}
	return files;
}

void sandbox_files_free(struct sandbox_files *files)
{
	if (!files)
		return;
	if (files->fd >= 0)
		close(files->fd);
	while (files->n)
		free(files->allowed[--files->n].path);
	free(files->allowed);
	free(files);
}

int sandbox_files_version(const struct sandbox_files *files)
{
	return files->version;
}

static uint64_t rights(unsigned access)
{
	static const struct {
		unsigned access;
		uint64_t rights;
	} table[] = {
		{ SANDBOX_READ, FS_READ_FILE | FS_READ_DIR },
		{ SANDBOX_WRITE, FS_WRITE_FILE | FS_TRUNCATE },
		{ SANDBOX_DEVICE, FS_IOCTL_DEV },
		{ SANDBOX_SOCKETS, FS_MAKE_SOCK | FS_REMOVE_FILE },
		{ SANDBOX_CREATE, FS_MAKE_REG },
		{ SANDBOX_EXECUTE, FS_EXECUTE },
	};
	uint64_t sum = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		if (access & table[i].access)
			sum |= table[i].rights;
	return sum;
}

static int remember(struct sandbox_files *files, const char *path, bool folder, unsigned access)
{
	struct allowed *list = realloc(files->allowed, (files->n + 1) * sizeof(*list));
	char *real;

	if (!list)
		return -ENOMEM;
	files->allowed = list;
	real = realpath(path, NULL);
	if (!real)
		return -errno;
	list[files->n++] = (struct allowed){ real, folder, access };
	return 0;
}

int sandbox_files_allow(struct sandbox_files *files, const char *path, unsigned access)
{
	struct path_beneath_attr attr = { .allowed_access = rights(access) & files->handled };
	struct stat st;
	int err = 0;

	attr.parent_fd = open(path, O_PATH | O_CLOEXEC);
	if (attr.parent_fd < 0)
		return -errno;
	if (fstat(attr.parent_fd, &st) < 0)
		err = -errno;
	if (!S_ISDIR(st.st_mode))
		attr.allowed_access &= FS_OF_FILE;
	/* EBADFD: of the kernel's own (a network namespace), which is never restricted */
	if (!err && attr.allowed_access &&
	    syscall(ADD_RULE, files->fd, RULE_PATH_BENEATH, &attr, 0) < 0 && errno != EBADFD)
		err = -errno;
	close(attr.parent_fd);
	return err ? err : remember(files, path, S_ISDIR(st.st_mode), access);
}

int sandbox_files_enter(struct sandbox_files *files)
{
	int err = syscall(RESTRICT_SELF, files->fd, 0) < 0 ? -errno : 0;

	close(files->fd);
	files->fd = -1;
	return err;
}

/* @path without links; if it is not there yet, that of its folder. */
static char *resolve(const char *path, bool *there)
{
	char *real = realpath(path, NULL), *copy, *slash;

	*there = real != NULL;
	if (real)
		return real;
	copy = strdup(path);
	if (!copy)
		return NULL;
	slash = strrchr(copy, '/');
	if (slash)
		slash[slash == copy] = '\0';
	real = realpath(slash ? copy : ".", NULL);
	free(copy);
	return real;
}

bool sandbox_files_may(const struct sandbox_files *files, const char *path, unsigned access)
{
	bool there, may = false;
	char *real = resolve(path, &there);

	if (!real)
		return true; /* that it is not there is for others to say */
	for (unsigned i = 0; i < files->n && !may; i++) {
		const struct allowed *a = &files->allowed[i];
		size_t len = strlen(a->path);

		if ((a->access & access) != access)
			continue;
		if (a->folder)
			may = !strncmp(real, a->path, len) &&
			      (!real[len] || real[len] == '/' || len == 1);
		else
			may = there && !strcmp(real, a->path);
	}
	free(real);
	return may;
}
