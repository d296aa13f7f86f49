/* SPDX-License-Identifier: BSD-2-Clause */
/* exitless status, show: what there is. */
#include "client.h"
#include "commands.h"
#include "table.h"

#include <stdio.h>
#include <string.h>

static void print_devices(const json_t *machines)
{
	struct table table;
	const json_t *machine, *dev;
	size_t i, j;

	table_init(&table, "DEVICE|MODEL|MAC|LINK|SWITCH|CORE|VMM|SOCKET");
	json_array_foreach((json_t *)machines, i, machine)
	{
		const char *name = client_text(machine, "name");

		if (!json_array_size(json_object_get(machine, "devices")))
			table_row(&table, "%s/|-|-|-|-|-|-|-", name);
		json_array_foreach(json_object_get(machine, "devices"), j, dev)
		{
			const char *model = client_text(dev, "model");
			const char *state = client_text(dev, "state");
			char vmm[96] = "none";

			if (json_is_true(json_object_get(dev, "connected")))
				snprintf(vmm, sizeof(vmm), "pid %lld",
					 client_int(dev, "client_pid"));
			if (json_is_true(json_object_get(dev, "memory_failed")))
				strcat(vmm, " (memory lost)");
			if (!strncmp(state, "waiting", strlen("waiting")))
				snprintf(vmm + strlen(vmm), sizeof(vmm) - strlen(vmm), " (%s)",
					 state);
			table_row(&table, "%s/%s|%s|%s|%s|%s|%s|%s|%s", name,
				  client_text(dev, "name"),
				  model[0] == '-' ? client_text(dev, "kind") : model,
				  client_text(dev, "mac"), client_text(dev, "link"),
				  client_text(dev, "switch"), client_text(dev, "core"), vmm,
				  client_text(dev, "socket"));
		}
	}
	table_done(&table, stdout);
}

static void print_rest(const json_t *status)
{
	struct table table;
	const json_t *object;
	size_t i;

	json_array_foreach(json_object_get(status, "leaving"), i, object)
		printf("%s was removed; its last requests are at their storage still\n",
		       json_string_value(object));
	table_init(&table, "PORT|KIND|SWITCH|CORE|INTERFACE");
	json_array_foreach(json_object_get(status, "ports"), i, object)
		table_row(&table, "%s|%s|%s|%s|%s", client_text(object, "name"),
			  client_text(object, "kind"), client_text(object, "switch"),
			  client_text(object, "core"), client_text(object, "ifname"));
	table_done(&table, stdout);
	table_init(&table, "SWITCH|VLANS|>PORTS");
	json_array_foreach(json_object_get(status, "switches"), i, object)
		table_row(&table, "%s|%s|%lld", client_text(object, "name"),
			  json_is_true(json_object_get(object, "vlan_aware")) ? "yes" : "no",
			  client_int(object, "ports"));
	table_done(&table, stdout);
	table_init(&table, "CORE|>CPU|>QUEUES|>POLLED|>PARKED|>BUSY");
	json_array_foreach(json_object_get(status, "cores"), i, object)
	{
		char cpu[16] = "any";

		if (client_int(object, "cpu") >= 0)
			snprintf(cpu, sizeof(cpu), "%lld", client_int(object, "cpu"));
		table_row(&table, "%s|%s|%lld|%lld|%lld|%.1f %%", client_text(object, "name"), cpu,
			  client_int(object, "queues"), client_int(object, "polled"),
			  client_int(object, "parked"),
			  100 * json_real_value(json_object_get(object, "busy_share")));
	}
	table_done(&table, stdout);
}

static void print_sandbox(const json_t *sandbox)
{
	const char *calls = client_text(sandbox, "calls");

	if (!strcmp(client_text(sandbox, "files"), "on"))
		printf("sandbox: files limited (Landlock %lld)", client_int(sandbox, "landlock"));
	else
		fputs("sandbox: files not limited", stdout);
	if (!strcmp(calls, "refuse"))
		puts(", other system calls refused");
	else if (!strcmp(calls, "kill"))
		puts(", other system calls kill");
	else
		puts(", system calls not limited");
}

int cmd_status(int argc, char **argv)
{
	json_t *status;
	int err;

	argc = cli_options(argc, argv);
	if (argc < 0)
		return CLI_USAGE;
	if (argc > 1)
		return cli_usage(argv[0], "what is \"%s\"?", argv[1]);
	status = client_call("status", NULL, &err);
	if (!status)
		return err;
	if (cli_json()) {
		client_print(status);
	} else {
		printf("exitlessd %s, pid %lld, up %lld s, log level %s\n",
		       client_text(status, "version"), client_int(status, "pid"),
		       client_int(status, "uptime_s"), client_text(status, "log_level"));
		print_sandbox(json_object_get(status, "sandbox"));
		print_devices(json_object_get(status, "machines"));
		print_rest(status);
	}
	json_decref(status);
	return CLI_OK;
}

/* ---- show -------------------------------------------------------------------------------- */

/* Keys and plain values; lists of texts on one line. */
static void print_plain(const json_t *object, const char *indent)
{
	const char *key;
	json_t *value, *item;
	size_t i;

	json_object_foreach((json_t *)object, key, value)
	{
		if (json_is_object(value)) {
			printf("%s%s:\n", indent, key);
			print_plain(value, "    ");
			continue;
		}
		if (json_is_array(value) && json_is_object(json_array_get(value, 0)))
			continue; /* a table of its own */
		printf("%s%-20s", indent, key);
		if (json_is_array(value)) {
			json_array_foreach(value, i, item)
			{
				printf("%s", i ? ", " : "");
				if (json_is_string(item))
					fputs(json_string_value(item), stdout);
				else
					json_dumpf(item, stdout, JSON_ENCODE_ANY);
			}
		} else if (json_is_string(value)) {
			fputs(json_string_value(value), stdout);
		} else {
			json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
		}
		putchar('\n');
	}
}

static void print_tables(const json_t *object)
{
	struct table table;
	const json_t *row;
	size_t i;

	table_init(&table, "REGISTER|>OFFSET|>VALUE");
	json_array_foreach(json_object_get(object, "registers"), i, row)
		table_row(&table, "%s|0x%05llx|0x%08llx", client_text(row, "name"),
			  client_int(row, "offset"), client_int(row, "value"));
	table_done(&table, stdout);
	table_init(&table, "ADDRESS|>VLAN|PORT|>AGE");
	json_array_foreach(json_object_get(object, "addresses"), i, row) table_row(
		&table, "%s|%lld|%s|%.0f s", client_text(row, "mac"), client_int(row, "vid"),
		client_text(row, "port"), json_real_value(json_object_get(row, "age_s")));
	table_done(&table, stdout);
}

int cmd_show(int argc, char **argv)
{
	json_t *params, *object;
	int err;

	argc = cli_options(argc, argv);
	if (argc < 0)
		return CLI_USAGE;
	if (argc < 2 || argc > 3)
		return cli_usage(argv[0], "one object is wanted");
	params = json_object();
	json_object_set_new(params, "object", json_string(argv[1]));
	if (!strcmp(argv[1], "device")) {
		if (argc < 3 || client_set_device(params, argv[2]) < 0) {
			json_decref(params);
			return cli_usage(argv[0], "a device is named MACHINE/DEVICE");
		}
	} else if (argc == 3 && !strcmp(argv[1], "config")) {
		json_decref(params);
		return cli_usage(argv[0], "what is \"%s\"?", argv[2]);
	} else if (argc == 3) {
		json_object_set_new(params, "name", json_string(argv[2]));
	} else if (strcmp(argv[1], "config")) {
		json_decref(params);
		return cli_usage(argv[0], "which %s?", argv[1]);
	}
	object = client_call("show", params, &err);
	if (!object)
		return err;
	if (cli_json() || !strcmp(argv[1], "config")) {
		client_print(object); /* a configuration is JSON for humans too */
	} else if (!strcmp(argv[1], "machine")) {
		json_t *list = json_pack("[O]", object);

		print_plain(object, "");
		print_devices(list);
		json_decref(list);
	} else {
		print_plain(object, "");
		print_tables(object);
	}
	json_decref(object);
	return CLI_OK;
}
