/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What differs between a configuration and what runs. Both as JSON, object by object, by name. What
 * the file leaves to the daemon (a model, an address) is no difference. What was settled at the
 * start, and can only be settled by another one, is compared with what it was then.
 */
#include "base/log.h"
#include "control/daemon.h"
#include "control/report.h"

#include <stdio.h>
#include <string.h>

struct compare {
	void (*tell)(void *arg, const char *text);
	void *arg;
	unsigned found;
};

static void tell(struct compare *compare, const char *what, const char *name, const char *how)
{
	char text[256];

	snprintf(text, sizeof(text), "%s %s %s", what, name, how);
	compare->found++;
	compare->tell(compare->arg, text);
}

static const json_t *find_name(const json_t *list, const char *name)
{
	json_t *item;
	size_t i;

	json_array_foreach((json_t *)list, i,
			   item) if (!strcmp(json_string_value(json_object_get(item, "name")),
					     name)) return item;
	return NULL;
}

static void compare_lists(struct compare *compare, const char *what, const char *owner,
			  const json_t *file, const json_t *runs);

static void compare_items(struct compare *compare, const char *what, const char *name,
			  const json_t *file, const json_t *runs)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)file, key, value)
	{
		json_t *other = json_object_get(runs, key);
		char how[128];

		if (json_equal(value, other))
			continue;
		if (!strcmp(key, "devices")) {
			compare_lists(compare, "device", name, value, other);
			continue;
		}
		snprintf(how, sizeof(how), "runs with another \"%s\" than the file has", key);
		tell(compare, what, name, how);
	}
}

/* @owner: the machine of devices, else NULL. */
static void compare_lists(struct compare *compare, const char *what, const char *owner,
			  const json_t *file, const json_t *runs)
{
	char id[2 * SPEC_NAME_BYTES];
	json_t *item;
	size_t i;

	json_array_foreach((json_t *)file, i, item)
	{
		const char *name = json_string_value(json_object_get(item, "name"));
		const json_t *other = find_name(runs, name);

		snprintf(id, sizeof(id), "%s%s%s", owner ? owner : "", owner ? "/" : "", name);
		if (other)
			compare_items(compare, what, id, item, other);
		else
			tell(compare, what, id, "is in the file and does not run");
	}
	json_array_foreach((json_t *)runs, i, item)
	{
		const char *name = json_string_value(json_object_get(item, "name"));

		snprintf(id, sizeof(id), "%s%s%s", owner ? owner : "", owner ? "/" : "", name);
		if (!find_name(file, name))
			tell(compare, what, id, "runs and is not in the file");
	}
}

/* Every key that is in one of the two, which are taken over. @live: can be changed as it runs. */
static void compare_keys(struct compare *compare, const char *what, bool live, json_t *file,
			 json_t *runs)
{
	json_t *all = json_copy(runs), *value;
	const char *key;
	char text[128];

	json_object_update_missing(all, file);
	json_object_foreach(all, key, value)
	{
		if (json_equal(json_object_get(file, key), json_object_get(runs, key)))
			continue;
		snprintf(text, sizeof(text), "%s with another \"%s\" than the file has%s",
			 live ? "runs" : "was started", key,
			 live ? "" : ", which needs a new start");
		tell(compare, "the", what, text);
	}
	json_decref(all);
	json_decref(file);
	json_decref(runs);
}

static void compare_daemon(struct compare *compare, const struct config *config,
			   const struct control *control)
{
	if (log_level_parse(config->log_level) != (int)log_get_level())
		tell(compare, "the", "log", "runs with another \"log_level\" than the file has");
	compare_keys(compare, "balance", true, schema_encode(&balance_schema, &config->balance),
		     schema_encode(&balance_schema, manager_balance(control->m)));
	compare_keys(compare, "control", false, schema_encode(&control_schema, &config->control),
		     schema_encode(&control_schema, control->spec));
	compare_keys(compare, "sandbox", false, schema_encode(&sandbox_schema, &config->sandbox),
		     schema_encode(&sandbox_schema, control->sandbox));
}

unsigned config_compare(const struct config *config, const struct control *control,
			void (*fn)(void *arg, const char *text), void *arg)
{
	static const char *const lists[][2] = {
		{ "cores", "core" },
		{ "switches", "switch" },
		{ "ports", "port" },
		{ "machines", "machine" },
	};
	struct compare compare = { .tell = fn, .arg = arg };
	json_t *file = schema_encode(&config_schema, config), *runs = report_config(control->m);

	compare_daemon(&compare, config, control);
	for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		const json_t *wanted = json_object_get(file, lists[i][0]);

		if (!i && !json_array_size(wanted))
			continue; /* the one core that nobody has to name */
		compare_lists(&compare, lists[i][1], NULL, wanted,
			      json_object_get(runs, lists[i][0]));
	}
	json_decref(file);
	json_decref(runs);
	return compare.found;
}
