/* SPDX-License-Identifier: BSD-2-Clause */
/* What reports have in common: walks over the manager's objects, and values; private to control/.
 */
#ifndef EXITLESS_CONTROL_VISIT_H
#define EXITLESS_CONTROL_VISIT_H

#include "manager/manager.h"

#include <jansson.h>

/* What the manager's iterators get: what to add to, and whom to look for. */
struct visit {
	struct manager *m;
	json_t *list;
	json_t *result;
	const char *name; /* NULL: all */
};

/* Each adds to visit->list; NULL: no such list. */
struct visit_lists {
	void (*core)(void *visit, const struct core_info *info);
	void (*sw)(void *visit, const struct switch_info *info);
	void (*port)(void *visit, const struct port_info *info);
	void (*machine)(void *visit, const struct machine_info *info);
};

/* A new object with "cores", "switches", "ports" and "machines", as @lists fill them. */
json_t *visit_all(struct manager *m, const struct visit_lists *lists);
bool visit_wanted(const struct visit *visit, const char *name);

/* null for no text */
void set_text(json_t *json, const char *key, const char *text);
void set_uint(json_t *json, const char *key, uint64_t value);

#endif
