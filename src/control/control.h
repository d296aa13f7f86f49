/* SPDX-License-Identifier: BSD-2-Clause */
/* The control socket's methods, over a manager (docs/rpc.md). Control thread. */
#ifndef EXITLESS_CONTROL_CONTROL_H
#define EXITLESS_CONTROL_CONTROL_H

#include "base/loop.h"
#include "control/objects.h"
#include "control/rpc.h"
#include "manager/manager.h"
#include "sandbox/sandbox.h"

/* What the methods work on; lives as long as the server. */
struct control {
	struct manager *m;
	const struct control_spec *spec;
	const struct sandbox_spec *sandbox;
	struct sandbox_files *files; /* NULL: not limited */
	uint64_t started_ns;
};

/* Whether an object that is added could use its files, with a reason if not: 0 or -EACCES. @files
 * may be NULL. */
int confine_check_port(const struct sandbox_files *files, const struct port_spec *spec,
		       struct why *why);
int confine_check_device(const struct sandbox_files *files, const struct device_spec *spec,
			 struct why *why);

extern const struct rpc_method control_methods[];

/* The server for @control, with the socket that its spec says. NULL with errno set. */
struct rpc_server *control_serve(struct loop *loop, struct control *control);

#endif
