/* SPDX-License-Identifier: BSD-2-Clause */
/* Objects as JSON: in short for `status`, in full for `show`, and as a configuration. */
#include "control/report.h"

#include "base/clock.h"
#include "control/objects.h"
#include "control/visit.h"
#include "virtio/device.h"

#include <stdio.h>
#include <string.h>

/* ---- in short ---------------------------------------------------------------------------- */

static json_t *core_brief(const struct core_info *info)
{
	uint64_t all_ns = info->stats.busy_ns + info->stats.idle_ns + info->stats.sleep_ns;
	json_t *json = json_object();

	set_text(json, "name", info->spec->name);
	json_object_set_new(json, "cpu", json_integer(info->spec->params.cpu));
	set_uint(json, "queues", info->stats.queues);
	set_uint(json, "polled", info->stats.polled);
	set_uint(json, "parked", info->stats.parked);
	json_object_set_new(json, "busy_share",
			    json_real(all_ns ? (double)info->stats.busy_ns / (double)all_ns : 0));
	return json;
}

static void add_core(void *arg, const struct core_info *info)
{
	struct visit *visit = arg;

	json_array_append_new(visit->list, core_brief(info));
}

static void add_switch(void *arg, const struct switch_info *info)
{
	struct visit *visit = arg;
	json_t *json = json_object();

	set_text(json, "name", info->spec->name);
	json_object_set_new(json, "vlan_aware", json_boolean(info->spec->vlan_aware));
	set_uint(json, "ports", info->ports);
	json_array_append_new(visit->list, json);
}

static json_t *port_brief(const struct port_info *info)
{
	json_t *json = json_object();

	set_text(json, "name", info->spec->name);
	set_text(json, "kind", info->spec->kind);
	set_text(json, "switch", info->spec->plug.sw);
	set_text(json, "core", info->end.core);
	set_text(json, "ifname", info->ifname);
	return json;
}

static void add_port(void *arg, const struct port_info *info)
{
	struct visit *visit = arg;

	json_array_append_new(visit->list, port_brief(info));
}

static json_t *device_brief(const struct device_info *info)
{
	json_t *spec = schema_encode(&device_schema, info->spec);
	static const char *const keys[] = { "name",   "kind",	"model",  "mac",	"link",
					    "socket", "switch", "queues", "vmm_listens" };
	json_t *json = json_object();

	for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		json_t *value = json_object_get(spec, keys[i]);

		json_object_set_new(json, keys[i], value ? json_incref(value) : json_null());
	}
	json_decref(spec);
	set_text(json, "machine", info->machine);
	set_text(json, "core", info->end.core);
	if (info->waits_for)
		json_object_set_new(json, "state", json_sprintf("waiting for %s", info->waits_for));
	else
		set_text(json, "state", "ready");
	set_text(json, "transport", info->transport);
	set_text(json, "qemu_device", info->qemu_device);
	json_object_set_new(json, "express", json_boolean(info->express));
	json_object_set_new(json, "connected", json_boolean(info->connected));
	json_object_set_new(json, "client_pid",
			    info->client_pid ? json_integer(info->client_pid) : json_null());
	json_object_set_new(json, "memory_failed", json_boolean(info->memory_failed));
	return json;
}

static void add_device(void *arg, const struct device_info *info)
{
	struct visit *visit = arg;

	json_array_append_new(visit->list, device_brief(info));
}

static json_t *machine_brief(struct manager *m, const char *name)
{
	struct visit visit = { .list = json_array() };
	json_t *json = json_object();

	manager_each_device(m, name, add_device, &visit);
	set_text(json, "name", name);
	json_object_set_new(json, "devices", visit.list);
	return json;
}

static void add_machine(void *arg, const struct machine_info *info)
{
	struct visit *visit = arg;

	json_array_append_new(visit->list, machine_brief(visit->m, info->spec->name));
}

static void add_leaving(void *arg, const char *id)
{
	json_array_append_new(arg, json_string(id));
}

json_t *report_objects(struct manager *m)
{
	static const struct visit_lists lists = { add_core, add_switch, add_port, add_machine };

	json_t *all = visit_all(m, &lists), *leaving = json_array();

	manager_each_leaving(m, add_leaving, leaving);
	json_object_set_new(all, "leaving", leaving);
	return all;
}

/* ---- in full ----------------------------------------------------------------------------- */

static void show_core(void *arg, const struct core_info *info)
{
	struct visit *visit = arg;

	if (!visit_wanted(visit, info->spec->name))
		return;
	visit->result = core_brief(info);
	json_object_set_new(visit->result, "spec", schema_encode(&core_schema, info->spec));
}

/* The queues of an endpoint that the core in question polls. */
static void add_queues(struct visit *visit, const struct endpoint_info *end)
{
	if (!end->core || !visit_wanted(visit, end->core))
		return;
	for (unsigned i = 0; i < end->n_queues; i++)
		json_array_append_new(visit->list, json_string(end->queues[i]->name));
}

static void port_queues(void *arg, const struct port_info *info)
{
	add_queues(arg, &info->end);
}

static void device_queues(void *arg, const struct device_info *info)
{
	add_queues(arg, &info->end);
}

json_t *report_core(struct manager *m, const char *name)
{
	struct visit visit = { .name = name };

	manager_each_core(m, show_core, &visit);
	if (!visit.result)
		return NULL;
	visit.list = json_array();
	manager_each_port(m, port_queues, &visit);
	manager_each_device(m, NULL, device_queues, &visit);
	json_object_set_new(visit.result, "queue_names", visit.list);
	return visit.result;
}

static void add_address(void *arg, const uint8_t mac[6], uint16_t vid, const char *port,
			uint64_t age_ns)
{
	json_t *list = arg, *json = json_object();
	char text[18];

	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	set_text(json, "mac", text);
	set_uint(json, "vid", vid);
	set_text(json, "port", port);
	json_object_set_new(json, "age_s", json_real((double)age_ns / NS_PER_S));
	json_array_append_new(list, json);
}

static void show_switch(void *arg, const struct switch_info *info)
{
	struct visit *visit = arg;
	json_t *addresses = json_array();

	if (!visit_wanted(visit, info->spec->name)) {
		json_decref(addresses);
		return;
	}
	net_switch_dump(info->sw, add_address, addresses);
	visit->result = json_object();
	set_text(visit->result, "name", info->spec->name);
	json_object_set_new(visit->result, "spec", schema_encode(&switch_schema, info->spec));
	json_object_set_new(visit->result, "addresses", addresses);
}

static void port_of_switch(void *arg, const struct port_info *info)
{
	struct visit *visit = arg;

	if (visit_wanted(visit, info->spec->plug.sw))
		json_array_append_new(visit->list, json_string(info->spec->name));
}

static void device_of_switch(void *arg, const struct device_info *info)
{
	struct visit *visit = arg;
	char id[2 * SPEC_NAME_BYTES];

	if (!info->end.port || !visit_wanted(visit, info->spec->plug.sw))
		return;
	snprintf(id, sizeof(id), "%s/%s", info->machine, info->spec->name);
	json_array_append_new(visit->list, json_string(id));
}

json_t *report_switch(struct manager *m, const char *name)
{
	struct visit visit = { .name = name };

	manager_each_switch(m, show_switch, &visit);
	if (!visit.result)
		return NULL;
	visit.list = json_array();
	manager_each_port(m, port_of_switch, &visit);
	manager_each_device(m, NULL, device_of_switch, &visit);
	json_object_set_new(visit.result, "ports", visit.list);
	return visit.result;
}

static void show_port(void *arg, const struct port_info *info)
{
	struct visit *visit = arg;

	if (!visit_wanted(visit, info->spec->name))
		return;
	visit->result = port_brief(info);
	json_object_set_new(visit->result, "spec", schema_encode(&port_schema, info->spec));
}

json_t *report_port(struct manager *m, const char *name)
{
	struct visit visit = { .name = name };

	manager_each_port(m, show_port, &visit);
	return visit.result;
}

json_t *report_machine(struct manager *m, const char *name)
{
	const struct machine_spec *now = manager_machine(m, name);
	struct machine_entry entry = { .devices.n = 0 };
	json_t *json, *spec;

	if (!now)
		return NULL;
	entry.spec = *now;
	spec = schema_encode(&machine_schema, &entry);
	json_object_del(spec, "devices");
	json = machine_brief(m, name);
	json_object_set_new(json, "spec", spec);
	return json;
}

static void add_register(void *arg, const char *name, uint32_t offset, uint32_t value)
{
	json_t *list = arg, *json = json_object();

	set_text(json, "name", name);
	set_uint(json, "offset", offset);
	set_uint(json, "value", value);
	json_array_append_new(list, json);
}

/* The names of those that the driver took. */
static json_t *features(const struct virtio_device *virtio)
{
	json_t *list = json_array();

	for (unsigned bit = 0; bit < 64; bit++) {
		const char *name = virtio_feature_name(virtio, bit);

		if (virtio->acked >> bit & 1)
			json_array_append_new(list, name ? json_string(name)
							 : json_sprintf("bit %u", bit));
	}
	return list;
}

static void show_device(void *arg, const struct device_info *info)
{
	struct visit *visit = arg;
	json_t *registers, *memory;

	if (!visit_wanted(visit, info->spec->name))
		return;
	visit->result = device_brief(info);
	json_object_set_new(visit->result, "spec", schema_encode(&device_schema, info->spec));
	memory = json_object();
	set_uint(memory, "bytes", info->memory_bytes);
	set_uint(memory, "regions", info->memory_regions);
	json_object_set_new(memory, "failed", json_boolean(info->memory_failed));
	json_object_set_new(visit->result, "memory", memory);
	if (info->virtio)
		json_object_set_new(visit->result, "features", features(info->virtio));
	if (!info->regs)
		return;
	registers = json_array();
	reg_bank_dump(info->regs, add_register, registers);
	json_object_set_new(visit->result, "registers", registers);
}

json_t *report_device(struct manager *m, const char *machine, const char *name)
{
	struct visit visit = { .name = name };

	manager_each_device(m, machine, show_device, &visit);
	return visit.result;
}

/* ---- as a configuration ------------------------------------------------------------------ */

static void config_core(void *arg, const struct core_info *info)
{
	json_array_append_new(((struct visit *)arg)->list, schema_encode(&core_schema, info->spec));
}

static void config_switch(void *arg, const struct switch_info *info)
{
	json_array_append_new(((struct visit *)arg)->list,
			      schema_encode(&switch_schema, info->spec));
}

static void config_port(void *arg, const struct port_info *info)
{
	json_array_append_new(((struct visit *)arg)->list, schema_encode(&port_schema, info->spec));
}

static void config_device(void *arg, const struct device_info *info)
{
	json_array_append_new(((struct visit *)arg)->list,
			      schema_encode(&device_schema, info->spec));
}

static void config_machine(void *arg, const struct machine_info *info)
{
	struct visit *visit = arg, devices = { .list = json_array() };
	struct machine_entry entry = { .spec = *info->spec };
	json_t *json = schema_encode(&machine_schema, &entry);

	manager_each_device(visit->m, info->spec->name, config_device, &devices);
	json_object_set_new(json, "devices", devices.list);
	json_array_append_new(visit->list, json);
}

json_t *report_config(struct manager *m)
{
	static const struct visit_lists lists = { config_core, config_switch, config_port,
						  config_machine };

	return visit_all(m, &lists);
}
