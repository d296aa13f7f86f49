/* SPDX-License-Identifier: BSD-2-Clause */
/* What only the daemon's main() needs. Control thread. */
#ifndef EXITLESS_CONTROL_DAEMON_H
#define EXITLESS_CONTROL_DAEMON_H

#include "control/config.h"
#include "control/control.h"

/* Tells the service manager ("READY=1", sd_notify(3)); nothing if there is none. */
void notify_supervisor(const char *state);
/* How often the service manager wants to hear "WATCHDOG=1" at least (sd_watchdog_enabled(3)), in
 * ns; 0: not at all. */
uint64_t notify_watchdog_ns(void);

/* Gives up what serving @config does not need, for this thread and those it starts: capabilities,
 * files, system calls (as config->sandbox says). @path: of the configuration, or NULL. *@files:
 * what may still be used, for the control socket and the caller to free; NULL: everything. Returns
 * 0 or -errno. */
int confine(const struct config *config, const char *path, struct sandbox_files **files);

/* Compares what runs, and what @control was started with (its sandbox is not NULL), with @config
 * and calls @tell for each difference; returns how many. */
unsigned config_compare(const struct config *config, const struct control *control,
			void (*tell)(void *arg, const char *text), void *arg);

#endif
