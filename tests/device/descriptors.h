/* SPDX-License-Identifier: BSD-2-Clause */
/* The descriptors of this process, for tests that look for leaks, and its threads. */
#ifndef TESTS_DEVICE_DESCRIPTORS_H
#define TESTS_DEVICE_DESCRIPTORS_H

#include <dirent.h>

static inline unsigned entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* How many are open; one more than before the call is its own, each time. */
static inline unsigned open_fds(void)
{
	return entries("/proc/self/fd");
}

/* How many threads there are. Those that close what clients sent end by themselves. */
static inline unsigned tasks(void)
{
	return entries("/proc/self/task");
}

#endif
