/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine as its files show it: all paths are below a root directory, "/" or a saved tree.
 * What changes the machine goes through an ops table, so that tests can look on, and let a step
 * fail. Main thread only.
 */
#ifndef EXITLESS_HOST_HOST_H
#define EXITLESS_HOST_HOST_H

#include "host/cpus.h"
#include "host/text.h"

#include <stdbool.h>

struct host;

/* Each returns 0 or -errno. Paths are absolute within the root. */
struct host_ops {
	int (*write)(struct host *host, const char *path, const char *text);
	int (*make_dir)(struct host *host, const char *path);
	int (*remove_dir)(struct host *host, const char *path);
	/* of one thread, by its id */
	int (*affinity_get)(struct host *host, int tid, struct cpus *cpus);
	int (*affinity_set)(struct host *host, int tid, const struct cpus *cpus);
	/* 0: nobody has this block device to himself; -EBUSY: somebody has mounted it or built on
	 * it. Of a saved tree always 0. Changes nothing. */
	int (*claim)(struct host *host, const char *path);
};

struct host {
	const char *root; /* "" for the machine itself; no '/' at its end */
	const struct host_ops *ops;
	void *arg; /* the ops' own */
};

/* @root: "/" or NULL for the machine itself; else a saved tree, whose affinities cannot change. The
 * text stays the caller's and must outlive @host. */
void host_init(struct host *host, const char *root);
static inline bool host_live(const struct host *host)
{
	return !host->root[0];
}

/* A file's content without the newlines at its end, on the heap; NULL with errno set. */
char *host_read(const struct host *host, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Its first line alone, however long the rest is. */
char *host_read_line(const struct host *host, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The whole with its length, for files that are not text. */
char *host_read_bytes(const struct host *host, const char *path, size_t *len);
bool host_exists(const struct host *host, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A number in a file, or @missing. */
long host_number(const struct host *host, long missing, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A CPU list in a file; an unreadable one leaves *cpus empty and returns false. */
bool host_cpus(const struct host *host, struct cpus *cpus, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The last part of what a symbolic link points to, on the heap; NULL if there is none. */
char *host_link(const struct host *host, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* What is in a directory, in the order of the numbers in the names; empty if there is none. errno
 * is 0, or why it could not be read. */
struct host_names host_dir(const struct host *host, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The kernel's log, if it may be read; NULL otherwise. Of a saved tree: its file "dmesg". */
char *host_dmesg(const struct host *host);

/* Changes; 0 or -errno. */
int host_write(struct host *host, const char *text, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The word after "KEY=" in a list of words such as /proc/cmdline, on the heap; NULL without. The
 * last one counts. For a word without '=' it is "". */
char *host_word(const char *words, const char *key);

#endif
