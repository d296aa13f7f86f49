/* SPDX-License-Identifier: BSD-2-Clause */
/* The descriptors of this process, for tests that look for leaks. */
#ifndef TESTS_DEVICE_DESCRIPTORS_H
#define TESTS_DEVICE_DESCRIPTORS_H

#include <dirent.h>

/* How many are open; one more than before the call is its own, each time. */
static inline unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

#endif
