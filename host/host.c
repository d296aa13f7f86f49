/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_MAX (64u << 20)

static char *full(const struct host *host, const char *path)
{
	return host_printf("%s%s", host->root, path);
}

/* The path below the root from a format. */
#define FULL(host, fmt, path)                                                                      \
	char *path;                                                                                \
	do {                                                                                       \
		va_list full_ap;                                                                   \
		char *full_tail;                                                                   \
		va_start(full_ap, fmt);                                                            \
		full_tail = host_vprintf(fmt, full_ap);                                            \
		va_end(full_ap);                                                                   \
		path = full(host, full_tail);                                                      \
		free(full_tail);                                                                   \
	} while (0)

static int real_write(struct host *host, const char *path, const char *text)
{
	char *name = full(host, path);
	size_t len = strlen(text);
	int fd = open(name, O_WRONLY | O_TRUNC | O_CLOEXEC), err = 0;
	ssize_t n;

	free(name);
	if (fd < 0)
		return -errno;
	/* one write: each is a command to the kernel */
	n = write(fd, text, len);
	if (n < 0)
		err = -errno;
	else if ((size_t)n != len)
		err = -EIO;
	if (close(fd) < 0 && !err)
		err = -errno;
	return err;
}

static int real_make_dir(struct host *host, const char *path)
{
	char *name = full(host, path);
	int err = mkdir(name, 0755) < 0 ? -errno : 0;

	free(name);
	return err;
}

static int real_remove_dir(struct host *host, const char *path)
{
	char *name = full(host, path);
	int err = rmdir(name) < 0 ? -errno : 0;

	free(name);
	return err;
}

static int real_affinity_get(struct host *host, int tid, struct cpus *cpus)
{
	cpu_set_t set;

	_Static_assert(sizeof(set) == sizeof(*cpus), "both are 1024 bits");
	if (!host_live(host))
		return -EROFS;
	if (sched_getaffinity(tid, sizeof(set), &set) < 0)
		return -errno;
	memcpy(cpus, &set, sizeof(set));
	return 0;
}

static int real_affinity_set(struct host *host, int tid, const struct cpus *cpus)
{
	cpu_set_t set;

	if (!host_live(host))
		return -EROFS;
	memcpy(&set, cpus, sizeof(set));
	return sched_setaffinity(tid, sizeof(set), &set) < 0 ? -errno : 0;
}

static int real_claim(struct host *host, const char *path)
{
	int fd;

	if (!host_live(host))
		return 0;
	/* open(2): of a block device O_EXCL without O_CREAT; O_NONBLOCK: also without a medium */
	fd = open(path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static const struct host_ops real_ops = {
	.write = real_write,
	.make_dir = real_make_dir,
	.remove_dir = real_remove_dir,
	.affinity_get = real_affinity_get,
	.affinity_set = real_affinity_set,
	.claim = real_claim,
};

void host_init(struct host *host, const char *root)
{
	host->root = !root || !strcmp(root, "/") ? "" : root;
	host->ops = &real_ops;
	host->arg = NULL;
}

static char *read_file(const char *name, size_t *len)
{
	size_t have = 0, room = 4096;
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char *buf;
	ssize_t n;

	if (fd < 0)
		return NULL;
	buf = host_alloc(room);
	while ((n = read(fd, buf + have, room - have - 1)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || have > READ_MAX) {
			int err = n < 0 ? errno : EFBIG;

			free(buf);
			close(fd);
			errno = err;
			return NULL;
		}
		have += (size_t)n;
		if (have + 1 == room)
			buf = host_grow(buf, room *= 2);
	}
	close(fd);
	buf[have] = '\0';
	*len = have;
	return buf;
}

static char *read_text(const char *name)
{
	size_t len;
	char *text = read_file(name, &len);

	while (text && len && text[len - 1] == '\n')
		text[--len] = '\0';
	return text;
}

char *host_read(const struct host *host, const char *fmt, ...)
{
	FULL(host, fmt, path);
	char *text = read_text(path);
	int err = errno;

	free(path);
	errno = err;
	return text;
}

char *host_read_line(const struct host *host, const char *fmt, ...)
{
	FULL(host, fmt, path);
	FILE *in = fopen(path, "re");
	char *line = NULL;
	size_t room = 0;
	int err = errno;

	free(path);
	errno = err;
	if (!in)
		return NULL;
	errno = 0;
	if (getline(&line, &room, in) < 0) {
		err = errno;
		free(line);
		/* an empty file has an empty line */
		line = err ? NULL : host_text_copy("");
	}
	fclose(in);
	errno = err;
	if (line)
		line[strcspn(line, "\n")] = '\0';
	return line;
}

char *host_read_bytes(const struct host *host, const char *path, size_t *len)
{
	char *name = full(host, path), *data = read_file(name, len);

	free(name);
	return data;
}

bool host_exists(const struct host *host, const char *fmt, ...)
{
	FULL(host, fmt, path);
	bool yes = !access(path, F_OK);

	free(path);
	return yes;
}

long host_number(const struct host *host, long missing, const char *fmt, ...)
{
	FULL(host, fmt, path);
	char *text = read_text(path), *end;
	long value = missing;

	free(path);
	if (text) {
		long n = strtol(text, &end, 0);

		if (end != text)
			value = n;
	}
	free(text);
	return value;
}

bool host_cpus(const struct host *host, struct cpus *cpus, const char *fmt, ...)
{
	FULL(host, fmt, path);
	char *text = read_text(path);
	bool good;

	*cpus = (struct cpus){ 0 };
	good = text && !cpus_parse_list(cpus, text);
	free(path);
	free(text);
	return good;
}

char *host_link(const struct host *host, const char *fmt, ...)
{
	FULL(host, fmt, path);
	char target[4096];
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	const char *slash;

	free(path);
	if (n < 0)
		return NULL;
	target[n] = '\0';
	slash = strrchr(target, '/');
	return host_text_copy(slash ? slash + 1 : target);
}

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

struct host_names host_dir(const struct host *host, const char *fmt, ...)
{
	FULL(host, fmt, path);
	struct host_names names = { 0 };
	struct dirent **entries;
	int n = scandir(path, &entries, visible, versionsort), err = n < 0 ? errno : 0;

	free(path);
	errno = err;
	if (n < 0)
		return names;
	for (int i = 0; i < n; i++) {
		host_names_add(&names, host_text_copy(entries[i]->d_name));
		free(entries[i]);
	}
	free(entries);
	errno = 0;
	return names;
}

char *host_dmesg(const struct host *host)
{
	char *text;
	int size, n;

	if (!host_live(host))
		return host_read(host, "/dmesg");
	size = klogctl(10, NULL, 0); /* SYSLOG_ACTION_SIZE_BUFFER */
	if (size <= 0)
		return NULL;
	text = host_alloc((size_t)size + 1);
	n = klogctl(3, text, size); /* SYSLOG_ACTION_READ_ALL */
	if (n < 0) {
		free(text);
		return NULL;
	}
	text[n] = '\0';
	return text;
}

int host_write(struct host *host, const char *text, const char *fmt, ...)
{
	va_list ap;
	char *path;
	int err;

	va_start(ap, fmt);
	path = host_vprintf(fmt, ap);
	va_end(ap);
	err = host->ops->write(host, path, text);
	free(path);
	return err;
}

char *host_word(const char *words, const char *key)
{
	size_t len = strlen(key);
	char *found = NULL;

	while (words && *words) {
		size_t n = strcspn(words, " \t\n");

		if (n >= len && !strncmp(words, key, len) && (n == len || words[len] == '=')) {
			size_t skip = n == len ? len : len + 1;

			free(found);
			found = host_printf("%.*s", (int)(n - skip), words + skip);
		}
		words += n;
		words += strspn(words, " \t\n");
	}
	return found;
}
