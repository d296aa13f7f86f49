/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The methods. Each checks its parameters by a schema, calls the manager, and answers. An object is
 * named by "object" (its kind), "name", and for a device "machine".
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "control/control.h"
#include "control/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- errors ------------------------------------------------------------------------------ */

/* Collects what schemas find as an error's data. */
struct params_sink {
	struct schema_sink sink;
	struct rpc_error *error;
};

static void params_mistake(struct schema_sink *sink, const struct json_path *at, const char *text)
{
	struct rpc_error *error = container_of(sink, struct params_sink, sink)->error;
	char where[160], line[sizeof(error->text)];

	json_path_format(at, where, sizeof(where));
	snprintf(line, sizeof(line), "%s%s%s", where, where[0] ? ": " : "", text);
	if (!error->data) {
		error->code = RPC_INVALID_PARAMS;
		strcpy(error->text, line);
		error->data = json_array();
	}
	json_array_append_new(error->data, rpc_text(line));
}

static bool params_decode(const struct schema *schema, const json_t *json, void *object,
			  enum schema_mode mode, const char *key, struct rpc_error *error)
{
	struct params_sink params = { .sink.mistake = params_mistake, .error = error };
	struct json_path at = { .key = key };
	json_t *empty = json ? NULL : json_object();
	bool good;

	good = schema_decode(schema, json ? json : empty, object, mode, key ? &at : NULL,
			     &params.sink);
	json_decref(empty);
	return good;
}

static json_t *failed(struct rpc_error *error, int err, const char *text)
{
	switch (err) {
	case -ENOENT: error->code = RPC_NOT_FOUND; break;
	case -EEXIST: error->code = RPC_EXISTS; break;
	case -EBUSY: error->code = RPC_BUSY; break;
	case -EOPNOTSUPP: error->code = RPC_NOT_CHANGEABLE; break;
	case -EINVAL: error->code = RPC_INVALID_PARAMS; break;
	default: error->code = RPC_FAILED; break;
	}
	snprintf(error->text, sizeof(error->text), "%s", text);
	return NULL;
}

static json_t *done(struct rpc_error *error, int err, const struct why *why)
{
	return err ? failed(error, err, why->text) : json_object();
}

/* ---- parameters -------------------------------------------------------------------------- */

static const char *const *object_kinds(void)
{
	static const char *const kinds[] = { "core", "switch", "port", "machine", "device", NULL };

	return kinds;
}

static const char *const *show_kinds(void)
{
	static const char *const kinds[] = { "core",   "switch", "port", "machine",
					     "device", "config", NULL };

	return kinds;
}

static const char *const *log_levels(void)
{
	static const char *const levels[] = { "error", "warning", "info", "debug", NULL };

	return levels;
}

struct target {
	char object[SPEC_KIND_BYTES];
	char machine[SPEC_NAME_BYTES];
	char name[SPEC_NAME_BYTES];
	const json_t *spec;
	char level[SPEC_KIND_BYTES];
	bool up;
};

#define FIELD(f) .offset = offsetof(struct target, f), .size = sizeof(((struct target *)0)->f)
#define PARAMS(schema_name, table)                                                                 \
	static const struct schema schema_name = { .name = "parameters",                           \
						   .rows = table,                                  \
						   .n_rows = ARRAY_SIZE(table),                    \
						   .size = sizeof(struct target) }

static const struct schema_row no_rows[] = {
	{ "machine", SCHEMA_NAME, FIELD(machine) },
	{ "name", SCHEMA_NAME, FIELD(name) },
};
PARAMS(which_params, no_rows);

static const struct schema_row spec_rows[] = {
	{ "object", SCHEMA_CHOICE, SCHEMA_REQUIRED, FIELD(object), .choices = object_kinds },
	{ "machine", SCHEMA_NAME, FIELD(machine) },
	{ "name", SCHEMA_NAME, FIELD(name) },
	{ "spec", SCHEMA_JSON, SCHEMA_REQUIRED, FIELD(spec) },
};
PARAMS(spec_params, spec_rows);

static const struct schema_row object_rows[] = {
	{ "object", SCHEMA_CHOICE, SCHEMA_REQUIRED, FIELD(object), .choices = object_kinds },
	{ "machine", SCHEMA_NAME, FIELD(machine) },
	{ "name", SCHEMA_NAME, SCHEMA_REQUIRED, FIELD(name) },
};
PARAMS(object_params, object_rows);

static const struct schema_row show_rows[] = {
	{ "object", SCHEMA_CHOICE, SCHEMA_REQUIRED, FIELD(object), .choices = show_kinds },
	{ "machine", SCHEMA_NAME, FIELD(machine) },
	{ "name", SCHEMA_NAME, FIELD(name) },
};
PARAMS(show_params, show_rows);

static const struct schema_row device_rows[] = {
	{ "machine", SCHEMA_NAME, SCHEMA_REQUIRED, FIELD(machine) },
	{ "name", SCHEMA_NAME, SCHEMA_REQUIRED, FIELD(name) },
};
PARAMS(device_params, device_rows);

static const struct schema_row link_rows[] = {
	{ "machine", SCHEMA_NAME, SCHEMA_REQUIRED, FIELD(machine) },
	{ "name", SCHEMA_NAME, SCHEMA_REQUIRED, FIELD(name) },
	{ "link", SCHEMA_WORD, SCHEMA_REQUIRED, FIELD(up), .words = { "down", "up" } },
};
PARAMS(link_params, link_rows);

static const struct schema_row flush_rows[] = {
	{ "name", SCHEMA_NAME, SCHEMA_REQUIRED, FIELD(name) },
};
PARAMS(flush_params, flush_rows);

static const struct schema_row log_rows[] = {
	{ "level", SCHEMA_CHOICE, FIELD(level), .choices = log_levels },
};
PARAMS(log_params, log_rows);

static bool target_decode(const struct schema *schema, const json_t *params, struct target *target,
			  struct rpc_error *error)
{
	if (!params_decode(schema, params, target, SCHEMA_NEW, NULL, error))
		return false;
	if (!strcmp(target->object, "device") && !target->machine[0]) {
		failed(error, -EINVAL, "a device needs the parameter \"machine\"");
		return false;
	}
	return true;
}

/* ---- looking ----------------------------------------------------------------------------- */

/* What is in force, which depends on the kernel too. */
static json_t *sandbox_brief(const struct control *control)
{
	const struct sandbox_spec *spec = control->sandbox;
	json_t *json = spec ? schema_encode(&sandbox_schema, spec) : json_object();

	json_object_set_new(json, "files", json_string(control->files ? "on" : "off"));
	json_object_set_new(json, "landlock",
			    control->files ? json_integer(sandbox_files_version(control->files))
					   : json_null());
	return json;
}

static json_t *status(void *context, const json_t *params, struct rpc_error *error)
{
	struct control *control = context;
	struct target target;
	json_t *json;

	if (!params_decode(&which_params, params, &target, SCHEMA_NEW, NULL, error))
		return NULL;
	json = report_objects(control->m);
	json_object_set_new(json, "version", json_string(EXITLESS_VERSION));
	json_object_set_new(json, "pid", json_integer(getpid()));
	json_object_set_new(
		json, "uptime_s",
		json_integer((json_int_t)((time_now_ns() - control->started_ns) / NS_PER_S)));
	json_object_set_new(json, "log_level", json_string(log_level_name(log_get_level())));
	json_object_set_new(json, "directory", json_string(control->spec->directory));
	json_object_set_new(json, "sandbox", sandbox_brief(control));
	return json;
}

static json_t *no_object(struct rpc_error *error, const struct target *target)
{
	char text[160];

	snprintf(text, sizeof(text), "there is no %s %s%s%s", target->object, target->machine,
		 target->machine[0] && target->name[0] ? "/" : "", target->name);
	return failed(error, -ENOENT, text);
}

static json_t *stats(void *context, const json_t *params, struct rpc_error *error)
{
	struct control *control = context;
	struct target target;

	if (!params_decode(&which_params, params, &target, SCHEMA_NEW, NULL, error))
		return NULL;
	if (!target.machine[0])
		return target.name[0]
			       ? failed(error, -EINVAL, "\"name\" needs the parameter \"machine\"")
			       : report_stats(control->m, NULL, NULL);
	strcpy(target.object, target.name[0] ? "device" : "machine");
	if (!manager_machine(control->m, target.machine) ||
	    (target.name[0] && !manager_device(control->m, target.machine, target.name)))
		return no_object(error, &target);
	return report_stats(control->m, target.machine, target.name[0] ? target.name : NULL);
}

static json_t *show(void *context, const json_t *params, struct rpc_error *error)
{
	struct control *control = context;
	struct manager *m = control->m;
	struct target target;
	json_t *json = NULL;

	if (!target_decode(&show_params, params, &target, error))
		return NULL;
	if (!strcmp(target.object, "config")) {
		json = report_config(m);
		json_object_set_new(json, "control", schema_encode(&control_schema, control->spec));
		json_object_set_new(json, "log_level",
				    json_string(log_level_name(log_get_level())));
		if (control->sandbox)
			json_object_set_new(json, "sandbox",
					    schema_encode(&sandbox_schema, control->sandbox));
		json_object_set_new(json, "balance",
				    schema_encode(&balance_schema, manager_balance(m)));
	} else if (!strcmp(target.object, "core")) {
		json = report_core(m, target.name);
	} else if (!strcmp(target.object, "switch")) {
		json = report_switch(m, target.name);
	} else if (!strcmp(target.object, "port")) {
		json = report_port(m, target.name);
	} else if (!strcmp(target.object, "machine")) {
		json = report_machine(m, target.name);
	} else {
		json = report_device(m, target.machine, target.name);
	}
	return json ? json : no_object(error, &target);
}

static json_t *metrics(void *context, const json_t *params, struct rpc_error *error)
{
	struct control *control = context;
	char *text = report_metrics(control->m);
	json_t *json;

	if (!text)
		return failed(error, -ENOMEM, "out of memory");
	json = json_object();
	json_object_set_new(json, "text", json_string(text));
	free(text);
	return json;
}

/* ---- changing ---------------------------------------------------------------------------- */

/* @machine: of a device. */
static void say(const char *what, const char *object, const char *machine, const char *name)
{
	bool device = !strcmp(object, "device");

	log_info("control: %s %s %s%s%s", what, object, device ? machine : "", device ? "/" : "",
		 name);
}

static json_t *changed(struct rpc_error *error, const char *object, const struct target *target,
		       int err, const struct why *why)
{
	if (!err)
		say("changed", object, target->machine, target->name);
	return done(error, err, why);
}

static json_t *add_machine(struct control *control, const struct target *target,
			   struct rpc_error *error)
{
	struct manager *m = control->m;
	struct machine_entry entry;
	const struct device_spec *devices;
	struct why why = { "" };
	int err = 0;

	if (params_decode(&machine_schema, target->spec, &entry, SCHEMA_NEW, "spec", error)) {
		devices = entry.devices.items;
		err = manager_machine_add(m, &entry.spec, &why);
		for (unsigned i = 0; !err && i < entry.devices.n; i++) {
			err = confine_check_device(control->files, &devices[i], &why);
			if (!err)
				err = manager_device_add(m, entry.spec.name, &devices[i], &why);
			if (err)
				manager_machine_remove(m, entry.spec.name, NULL);
		}
	}
	if (!err && !error->data)
		say("added", "machine", NULL, entry.spec.name);
	schema_free(&machine_schema, &entry);
	return error->data ? NULL : done(error, err, &why);
}

/* The answer to "add": what a device still waits for is said at once. */
static json_t *added(struct manager *m, const struct target *target, const char *name)
{
	json_t *result = json_object(), *device, *state;

	if (strcmp(target->object, "device"))
		return result;
	device = report_device(m, target->machine, name);
	state = json_object_get(device, "state");
	if (strcmp(json_string_value(state), "ready"))
		json_object_set(result, "state", state);
	json_decref(device);
	return result;
}

static json_t *add(void *context, const json_t *params, struct rpc_error *error)
{
	struct control *control = context;
	struct manager *m = control->m;
	union {
		struct core_spec core;
		struct switch_spec sw;
		struct port_spec port;
		struct device_spec device;
	} spec;
	struct target target;
	struct why why = { "" };
	const json_t *json;
	const char *name;
	int err;

	if (!target_decode(&spec_params, params, &target, error))
		return NULL;
	json = target.spec;
	if (!strcmp(target.object, "machine"))
		return add_machine(control, &target, error);
	if (!strcmp(target.object, "core")) {
		if (!params_decode(&core_schema, json, &spec.core, SCHEMA_NEW, "spec", error))
			return NULL;
		err = manager_core_add(m, &spec.core, &why);
	} else if (!strcmp(target.object, "switch")) {
		if (!params_decode(&switch_schema, json, &spec.sw, SCHEMA_NEW, "spec", error))
			return NULL;
		err = manager_switch_add(m, &spec.sw, &why);
	} else if (!strcmp(target.object, "port")) {
		if (!params_decode(&port_schema, json, &spec.port, SCHEMA_NEW, "spec", error))
			return NULL;
		err = confine_check_port(control->files, &spec.port, &why);
		if (!err)
			err = manager_port_add(m, &spec.port, &why);
	} else {
		if (!params_decode(&device_schema, json, &spec.device, SCHEMA_NEW, "spec", error))
			return NULL;
		err = confine_check_device(control->files, &spec.device, &why);
		if (!err)
			err = manager_device_add(m, target.machine, &spec.device, &why);
	}
	if (err)
		return failed(error, err, why.text);
	name = json_string_value(json_object_get(json, "name"));
	say("added", target.object, target.machine, name);
	return added(m, &target, name);
}

struct leaving {
	char id[2 * SPEC_NAME_BYTES];
	size_t len; /* of it that counts */
	bool found;
};

static void find_leaving(void *arg, const char *id)
{
	struct leaving *leaving = arg;

	leaving->found |= !strncmp(id, leaving->id, leaving->len);
}

/* The answer to "remove": a disk's storage may have its requests still. */
static json_t *removed(struct manager *m, const struct target *target)
{
	struct leaving leaving = { .found = false };
	json_t *result = json_object();

	if (!strcmp(target->object, "machine"))
		snprintf(leaving.id, sizeof(leaving.id), "%s/", target->name);
	else if (!strcmp(target->object, "device"))
		snprintf(leaving.id, sizeof(leaving.id), "%s/%s", target->machine, target->name);
	else
		return result;
	/* all devices of the machine, or this one */
	leaving.len = strlen(leaving.id) + !strcmp(target->object, "device");
	manager_each_leaving(m, find_leaving, &leaving);
	if (leaving.found)
		json_object_set_new(result, "state", json_string("waiting for its last requests"));
	return result;
}

static json_t *remove_object(void *context, const json_t *params, struct rpc_error *error)
{
	struct manager *m = ((struct control *)context)->m;
	struct target target;
	struct why why = { "" };
	int err;

	if (!target_decode(&object_params, params, &target, error))
		return NULL;
	if (!strcmp(target.object, "core"))
		err = manager_core_remove(m, target.name, &why);
	else if (!strcmp(target.object, "switch"))
		err = manager_switch_remove(m, target.name, &why);
	else if (!strcmp(target.object, "port"))
		err = manager_port_remove(m, target.name, &why);
	else if (!strcmp(target.object, "machine"))
		err = manager_machine_remove(m, target.name, &why);
	else
		err = manager_device_remove(m, target.machine, target.name, &why);
	if (err)
		return done(error, err, &why);
	say("removed", target.object, target.machine, target.name);
	return removed(m, &target);
}

static json_t *set_core(struct manager *m, const struct target *target, struct rpc_error *error)
{
	const struct core_spec *now = manager_core(m, target->name);
	struct core_spec spec;
	struct why why = { "" };

	if (!now)
		return no_object(error, target);
	spec = *now;
	if (!params_decode(&core_schema, target->spec, &spec, SCHEMA_CHANGE, "spec", error))
		return NULL;
	return changed(error, "core", target, manager_core_set(m, &spec, &why), &why);
}

static json_t *set_port(struct manager *m, const struct target *target, struct rpc_error *error)
{
	const struct port_spec *now = manager_port(m, target->name);
	struct port_spec spec;
	struct why why = { "" };

	if (!now)
		return no_object(error, target);
	spec = *now;
	if (!params_decode(&port_schema, target->spec, &spec, SCHEMA_CHANGE, "spec", error))
		return NULL;
	return changed(error, "port", target, manager_port_set(m, &spec, &why), &why);
}

static json_t *set_device(struct manager *m, const struct target *target, struct rpc_error *error)
{
	const struct device_spec *now = manager_device(m, target->machine, target->name);
	struct device_spec spec;
	struct why why = { "" };

	if (!now)
		return no_object(error, target);
	spec = *now;
	if (!params_decode(&device_schema, target->spec, &spec, SCHEMA_CHANGE, "spec", error))
		return NULL;
	return changed(error, "device", target, manager_device_set(m, target->machine, &spec, &why),
		       &why);
}

static json_t *set_machine(struct manager *m, const struct target *target, struct rpc_error *error)
{
	const struct machine_spec *now = manager_machine(m, target->name);
	struct machine_entry entry = { .devices.n = 0 };
	struct why why = { "" };

	if (!now)
		return no_object(error, target);
	entry.spec = *now;
	if (!params_decode(&machine_schema, target->spec, &entry, SCHEMA_CHANGE, "spec", error))
		return NULL;
	return changed(error, "machine", target, manager_machine_set(m, &entry.spec, &why), &why);
}

static json_t *set_switch(struct manager *m, const struct target *target, struct rpc_error *error)
{
	const struct switch_spec *now = manager_switch(m, target->name);
	struct switch_spec spec;
	struct why why = { "" };

	if (!now)
		return no_object(error, target);
	spec = *now;
	if (!params_decode(&switch_schema, target->spec, &spec, SCHEMA_CHANGE, "spec", error))
		return NULL;
	return changed(error, "switch", target, manager_switch_set(m, &spec, &why), &why);
}

static json_t *set(void *context, const json_t *params, struct rpc_error *error)
{
	struct manager *m = ((struct control *)context)->m;
	struct target target;

	if (!target_decode(&spec_params, params, &target, error))
		return NULL;
	if (!target.name[0])
		return failed(error, -EINVAL, "\"name\" is missing");
	if (!strcmp(target.object, "core"))
		return set_core(m, &target, error);
	if (!strcmp(target.object, "port"))
		return set_port(m, &target, error);
	if (!strcmp(target.object, "device"))
		return set_device(m, &target, error);
	if (!strcmp(target.object, "switch"))
		return set_switch(m, &target, error);
	return set_machine(m, &target, error);
}

static json_t *link_method(void *context, const json_t *params, struct rpc_error *error)
{
	struct manager *m = ((struct control *)context)->m;
	struct target target;
	struct why why = { "" };

	if (!params_decode(&link_params, params, &target, SCHEMA_NEW, NULL, error))
		return NULL;
	return changed(error, "device", &target,
		       manager_device_link(m, target.machine, target.name, target.up, &why), &why);
}

static json_t *disconnect(void *context, const json_t *params, struct rpc_error *error)
{
	struct manager *m = ((struct control *)context)->m;
	struct target target;
	struct why why = { "" };

	if (!params_decode(&device_params, params, &target, SCHEMA_NEW, NULL, error))
		return NULL;
	return done(error, manager_device_disconnect(m, target.machine, target.name, &why), &why);
}

static json_t *flush(void *context, const json_t *params, struct rpc_error *error)
{
	struct manager *m = ((struct control *)context)->m;
	struct target target;
	struct why why = { "" };

	if (!params_decode(&flush_params, params, &target, SCHEMA_NEW, NULL, error))
		return NULL;
	return done(error, manager_switch_flush(m, target.name, &why), &why);
}

static json_t *log_method(void *context, const json_t *params, struct rpc_error *error)
{
	struct target target;
	json_t *json;

	if (!params_decode(&log_params, params, &target, SCHEMA_NEW, NULL, error))
		return NULL;
	if (target.level[0])
		log_set_level((enum log_level)log_level_parse(target.level));
	json = json_object();
	json_object_set_new(json, "level", json_string(log_level_name(log_get_level())));
	return json;
}

/* With parameters: changes them. */
static json_t *balance(void *context, const json_t *params, struct rpc_error *error)
{
	struct manager *m = ((struct control *)context)->m;
	struct balance_spec spec = *manager_balance(m);
	struct balance_stats now;
	json_t *json;

	if (!params_decode(&balance_schema, params, &spec, SCHEMA_CHANGE, NULL, error))
		return NULL;
	if (params && json_object_size(params))
		manager_balance_set(m, &spec);
	manager_balance_stats(m, &now);
	json = schema_encode(&balance_schema, &spec);
	json_object_set_new(json, "rounds", json_integer((json_int_t)now.rounds));
	json_object_set_new(json, "wishes", json_integer((json_int_t)now.wishes));
	json_object_set_new(json, "moves", json_integer((json_int_t)now.moves));
	json_object_set_new(json, "dry_moves", json_integer((json_int_t)now.dry_moves));
	json_object_set_new(json, "failed", json_integer((json_int_t)now.failed));
	json_object_set_new(json, "last", now.last[0] ? json_string(now.last) : json_null());
	return json;
}

const struct rpc_method control_methods[] = {
	{ "status", status },	      /* all objects in short */
	{ "stats", stats },	      /* counters */
	{ "show", show },	      /* one object in full */
	{ "metrics", metrics },	      /* counters for Prometheus */
	{ "add", add },		      /* an object */
	{ "remove", remove_object },  /* it */
	{ "set", set },		      /* what can change while it lives */
	{ "link", link_method },      /* a device's, up or down */
	{ "disconnect", disconnect }, /* a device's VMM */
	{ "flush", flush },	      /* what a switch learned */
	{ "balance", balance },	      /* moving by load */
	{ "log", log_method },	      /* the log's level */
	{ NULL, NULL },
};

struct rpc_server *control_serve(struct loop *loop, struct control *control)
{
	struct rpc_config config = {
		.path = control->spec->socket,
		.owner = control->spec->owner,
		.group = control->spec->group,
		.mode = control->spec->mode,
		.methods = control_methods,
		.context = control,
	};

	return rpc_server_new(loop, &config);
}
