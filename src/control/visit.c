/* SPDX-License-Identifier: BSD-2-Clause */
#include "control/visit.h"

#include <string.h>

bool visit_wanted(const struct visit *visit, const char *name)
{
	return !visit->name || !strcmp(visit->name, name);
}

void set_text(json_t *json, const char *key, const char *text)
{
	json_object_set_new(json, key, text && text[0] ? json_string(text) : json_null());
}

void set_uint(json_t *json, const char *key, uint64_t value)
{
	json_object_set_new(json, key, json_integer((json_int_t)value));
}

json_t *visit_all(struct manager *m, const struct visit_lists *lists)
{
	struct visit visit = { .m = m };
	json_t *json = json_object();

	if (lists->core) {
		json_object_set_new(json, "cores", visit.list = json_array());
		manager_each_core(m, lists->core, &visit);
	}
	if (lists->sw) {
		json_object_set_new(json, "switches", visit.list = json_array());
		manager_each_switch(m, lists->sw, &visit);
	}
	if (lists->port) {
		json_object_set_new(json, "ports", visit.list = json_array());
		manager_each_port(m, lists->port, &visit);
	}
	if (lists->machine) {
		json_object_set_new(json, "machines", visit.list = json_array());
		manager_each_machine(m, lists->machine, &visit);
	}
	return json;
}
