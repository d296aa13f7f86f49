/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of `exitless cpu` share. */
#ifndef EXITLESS_CLI_CPU_H
#define EXITLESS_CLI_CPU_H

#include "host/place.h"

/* Leaves a process behind that undoes the placement of @pid when that ends, and moves interrupts
 * that its devices get later; both are reported to syslog. Ends by itself once there is no
 * placement any more. 0 or -errno. */
int cpu_watch(int pid);
/* exitless cpu show: the host's CPUs and who has them. */
int cpu_show(struct host *host, const struct topology *topology);

#endif
