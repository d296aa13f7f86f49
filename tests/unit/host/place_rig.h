/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine in a saved tree whose kernel is played: groups get files, threads have affinities, and
 * each change can fail, or be the last thing that is done.
 */
#ifndef EXITLESS_TEST_PLACE_RIG_H
#define EXITLESS_TEST_PLACE_RIG_H

#include "host/place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define JOURNAL "/run/exitless-host/cpu/1000"
#define GROUP	"/sys/fs/cgroup/machine/vm1/exitless-1000"

struct fake {
	struct host host;
	struct host_ops ops, real;
	struct topology *t;
	char *root;
	struct cpus affinity[2048];
	int step, fail_at, fail_last, crash_at; /* counted from 1; 0: never; fail_at to fail_last */
	bool late;				/* groups have cpusets only once told so */
	const char *refuses;			/* a file, or NULL */
	int stuck;				/* a thread that cannot be bound just now */
	int ended;				/* a thread that has no affinity any more */
	void (*meanwhile)(void);		/* comes between the plan and its changes */
};

extern struct fake fake;
extern struct host_error error;
extern char *notes; /* of the last plan */

/* Around each test. */
int setup(void **state);
int teardown(void **state);
/* Plans by a map, builds and applies, for process 1000 or another; the error of the first that
 * fails. */
int apply(const char *map_text);
int apply_for(int pid, const char *map_text);
/* A second machine, process 2000, whose vCPU is thread 2001; 2002 is another thread of it. */
void another_machine(void);
/* As on a host without cgroup v2. */
void no_groups(void);
/* Somebody else gives a thread these CPUs. */
void pin(int tid, const char *list);
/* Fail if a file, a thread, or all of the machine is not so. */
void has(const char *path, const char *want);
void runs_on(int tid, const char *want);
void as_at_first(void);

#endif
