/* SPDX-License-Identifier: BSD-2-Clause */
/* The control socket's methods, over a manager (docs/rpc.md). Control thread. */
#ifndef EXITLESS_CONTROL_CONTROL_H
#define EXITLESS_CONTROL_CONTROL_H

#include "base/loop.h"
#include "control/objects.h"
#include "control/rpc.h"
#include "manager/manager.h"

/* What the methods work on; lives as long as the server. */
struct control {
	struct manager *m;
	const struct control_spec *spec;
	uint64_t started_ns;
};

extern const struct rpc_method control_methods[];

/* The server for @control, with the socket that its spec says. NULL with errno set. */
struct rpc_server *control_serve(struct loop *loop, struct control *control);

#endif
