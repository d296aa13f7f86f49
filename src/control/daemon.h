/* SPDX-License-Identifier: BSD-2-Clause */
/* What only the daemon's main() needs. Control thread. */
#ifndef EXITLESS_CONTROL_DAEMON_H
#define EXITLESS_CONTROL_DAEMON_H

#include "control/config.h"

/* Tells the service manager ("READY=1", sd_notify(3)); nothing if there is none. */
void notify_supervisor(const char *state);

/* Gives up all capabilities but the few that serving needs, for this thread and those it starts.
 * @network: keep those that making network interfaces needs. Returns 0 or -errno. */
int privileges_drop(bool network);

/* Compares what runs with @config and calls @tell for each difference; returns how many. */
unsigned config_compare(const struct config *config, struct manager *m,
			void (*tell)(void *arg, const char *text), void *arg);

#endif
