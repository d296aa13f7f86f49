/* SPDX-License-Identifier: BSD-2-Clause */
/* exitless bind: PCI devices for vfio-pci, and back. */
#include "host/bind.h"
#include "client.h"
#include "commands.h"
#include "options.h"
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *names_to_json(struct host_names *names)
{
	json_t *json = json_array();

	for (unsigned i = 0; i < names->n; i++)
		json_array_append_new(json, json_string(names->name[i]));
	host_names_done(names);
	return json;
}

static json_t *device_to_json(struct host *host, const struct pci_device *d)
{
	struct host_names uses = bind_uses(host, d->address), others = bind_in_the_way(host, d);
	char *before = bind_driver_before(host, d->address), id[16], class[8];
	json_t *json;

	snprintf(id, sizeof(id), "%04x:%04x", d->vendor, d->device);
	snprintf(class, sizeof(class), "%06x", d->class);
	json = json_pack("{sssssssisiss}", "address", d->address, "id", id, "class", class, "node",
			 d->node, "group", d->group, "driver", d->driver);
	json_object_set_new(json, "uses", names_to_json(&uses));
	json_object_set_new(json, "in_the_way", names_to_json(&others));
	if (before)
		json_object_set_new(json, "driver_before", json_string(before));
	free(before);
	return json;
}

static void print_row(struct table *table, const json_t *d)
{
	const json_t *uses = json_object_get(d, "uses"), *others = json_object_get(d, "in_the_way");
	const char *driver = client_text(d, "driver"), *before = client_text(d, "driver_before"),
		   *why = "-";
	char group[16] = "none";

	if (client_int(d, "group") >= 0)
		snprintf(group, sizeof(group), "%lld", client_int(d, "group"));
	else
		why = "no IOMMU group";
	if (json_array_size(uses))
		why = json_string_value(json_array_get(uses, 0));
	else if (json_array_size(others))
		why = json_string_value(json_array_get(others, 0));
	table_row(table, "%s|%s|%s|%s|%lld|%s|%s|%s%s", client_text(d, "address"),
		  client_text(d, "id"), client_text(d, "class"), group, client_int(d, "node"),
		  *driver ? driver : "-", *before ? before : "none",
		  json_array_size(uses) || !json_array_size(others) ? "" : "shares its group with ",
		  why);
}

static int list(struct host *host)
{
	struct host_names all = pci_all(host);
	json_t *devices = json_array(), *device;
	struct table table;
	size_t i;

	for (i = 0; i < all.n; i++) {
		struct pci_device d;

		if (!pci_read(host, all.name[i], &d, NULL) && !pci_is_bridge(&d))
			json_array_append_new(devices, device_to_json(host, &d));
	}
	host_names_done(&all);
	if (cli_json()) {
		client_print(devices);
	} else {
		table_init(&table, "DEVICE|ID|CLASS|GROUP|>NODE|DRIVER|BEFORE|IN THE WAY");
		json_array_foreach(devices, i, device) print_row(&table, device);
		table_done(&table, stdout);
	}
	json_decref(devices);
	return CLI_OK;
}

/* Gives devices to vfio-pci, or back; what cannot be does not keep the others from it. */
static int change(struct host *host, const struct host_names *names, bool undo, bool force)
{
	json_t *done = json_array(), *json = json_pack("{so}", undo ? "unbound" : "bound", done);
	json_t *failed = json_array();
	int status;

	for (unsigned i = 0; i < names->n; i++) {
		struct host_error error = { "" };
		int err = undo ? bind_give_back(host, names->name[i], force, &error)
			       : bind_take(host, names->name[i], force, &error);

		if (!err) {
			json_array_append_new(done, json_string(names->name[i]));
			continue;
		}
		fprintf(stderr, "exitless bind: %s\n", error.text);
		json_array_append_new(failed, json_string(error.text));
	}
	status = json_array_size(failed) ? CLI_FAILED : CLI_OK;
	/* as the daemon's, where there are several */
	if (status)
		json_object_set_new(
			json, "error",
			json_pack("{sOsO}", "message", json_array_get(failed, 0), "data", failed));
	if (cli_json())
		client_print(json);
	json_decref(failed);
	json_decref(json);
	return status;
}

int cmd_bind(int argc, char **argv)
{
	bool undo = false, all = false, force = false;
	const char *root = NULL;
	const struct cli_option options[] = {
		{ "--undo", .flag = &undo },
		{ "--all", .flag = &all },
		{ "--force", .flag = &force },
		{ "--root", .text = &root },
	};
	struct host_names names = { 0 };
	struct host host;
	int status;

	argc = cli_take_options(argc, argv, options, sizeof(options) / sizeof(options[0]));
	if (argc < 0)
		return CLI_USAGE;
	if (undo && (argc > 1) == all)
		return cli_usage("bind", "--undo which devices, or --all?");
	if (!undo && all)
		return cli_usage("bind", "--all goes with --undo");
	if (argc == 1 && !undo && force)
		return cli_usage("bind", "--force which devices?");
	host_init(&host, root);
	if (argc == 1 && !undo)
		return list(&host);
	if (root)
		return cli_usage("bind", "--root is for the list");
	if (!cli_is_root("bind"))
		return CLI_FAILED;
	if (all)
		names = bind_taken(&host);
	for (int i = 1; i < argc; i++)
		host_names_add(&names, host_text_copy(argv[i]));
	status = change(&host, &names, undo, force);
	host_names_done(&names);
	return status;
}
