/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QEMU's monitor protocol, as far as placement needs it. Main thread. Who serves is not trusted:
 * each call ends after 5 s, whatever comes meanwhile, and a message has 4 MiB at most.
 */
#ifndef EXITLESS_HOST_QMP_H
#define EXITLESS_HOST_QMP_H

#include "host/text.h"

#include <jansson.h>

struct qmp; /* a connection */

/* Connects to a UNIX socket and agrees on capabilities. *pid: whose socket it is. -errno with
 * @error set; -EBUSY where nobody greets, as QEMU serves one client at a time. */
int qmp_open(const char *path, struct qmp **qmp, int *pid, struct host_error *error);
/* Whose socket it is alone, whether he talks QMP or serves another client or not. The process, or
 * -errno with @error set. */
int qmp_peer(const char *path, struct host_error *error);
/* The command's result, a new reference; NULL with @error set. */
json_t *qmp_call(struct qmp *qmp, const char *command, struct host_error *error);
void qmp_close(struct qmp *qmp); /* may be NULL */

#endif
