/* SPDX-License-Identifier: BSD-2-Clause */
/* What the manager's objects look like as JSON (docs/rpc.md). Control thread. Each returns a new
 * value, or NULL when there is no such object. */
#ifndef EXITLESS_CONTROL_REPORT_H
#define EXITLESS_CONTROL_REPORT_H

#include "manager/manager.h"

#include <jansson.h>

/* All objects in short: "cores", "switches", "ports", "machines" with "devices", and the names of
 * those devices that are "leaving". */
json_t *report_objects(struct manager *m);
/* All counters of @machine's device @name; NULL, NULL: of everything. */
json_t *report_stats(struct manager *m, const char *machine, const char *name);
/* All that is known of one object but its counters. */
json_t *report_core(struct manager *m, const char *name);
json_t *report_switch(struct manager *m, const char *name);
json_t *report_port(struct manager *m, const char *name);
json_t *report_machine(struct manager *m, const char *name);
json_t *report_device(struct manager *m, const char *machine, const char *name);
/* The objects as a configuration would have them. */
json_t *report_config(struct manager *m);
/* All counters in the text format of Prometheus (freed by the caller). */
char *report_metrics(struct manager *m);

#endif
