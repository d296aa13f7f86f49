/* SPDX-License-Identifier: BSD-2-Clause */
/* exitless add, remove, set, link, disconnect, flush, log, metrics, rpc. */
#include "client.h"
#include "commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "cpu=1", "mac=52:54:00:12:34:56", "vids=[1,2]": what is JSON is taken as JSON, the rest as text;
 * so is null, which no key takes, but there are ports of that kind.
 */
static int add_pair(json_t *spec, const char *pair)
{
	const char *equals = strchr(pair, '=');
	json_t *value;

	if (!equals || equals == pair)
		return -1;
	value = json_loads(equals + 1, JSON_DECODE_ANY, NULL);
	if (!value || json_is_null(value))
		value = json_string(equals + 1);
	return value ? json_object_setn_new(spec, pair, (size_t)(equals - pair), value) : -1;
}

/* Fills @spec from "--spec JSON" and KEY=VALUE words. */
static int read_spec(int argc, char **argv, int at, json_t *spec)
{
	json_error_t error;
	json_t *json;

	for (; at < argc; at++) {
		const char *text = strncmp(argv[at], "--spec=", 7) ? NULL : argv[at] + 7;

		if (text || !strcmp(argv[at], "--spec")) {
			if (!text && ++at == argc)
				return cli_usage(argv[0], "--spec needs an object in JSON");
			json = json_loads(text ? text : argv[at], JSON_REJECT_DUPLICATES, &error);
			if (!json)
				return cli_usage(argv[0], "--spec: %s", error.text);
			if (json_object_update(spec, json) < 0) {
				json_decref(json);
				return cli_usage(argv[0], "--spec: it is no object");
			}
			json_decref(json);
		} else if (add_pair(spec, argv[at]) < 0) {
			return cli_usage(argv[0], "\"%s\" is not KEY=VALUE", argv[at]);
		}
	}
	return 0;
}

/* Puts "object", "name" and "machine" into a new @params. */
static int read_target(int argc, char **argv, json_t **params)
{
	argc = cli_options(argc, argv);
	if (argc < 0)
		return -CLI_USAGE;
	if (argc < 3)
		return -cli_usage(argv[0], "an object and its name are wanted");
	*params = json_object();
	json_object_set_new(*params, "object", json_string(argv[1]));
	if (strcmp(argv[1], "device")) {
		json_object_set_new(*params, "name", json_string(argv[2]));
	} else if (client_set_device(*params, argv[2]) < 0) {
		json_decref(*params);
		return -cli_usage(argv[0], "a device is named MACHINE/DEVICE");
	}
	return argc;
}

/* What takes a "spec" from the command line. */
static int with_spec(const char *method, int argc, char **argv)
{
	bool add = !strcmp(method, "add");
	json_t *params = NULL, *spec;
	int status;

	argc = read_target(argc, argv, &params);
	if (argc < 0)
		return -argc;
	spec = json_object();
	json_object_set_new(params, "spec", spec);
	if (add)
		json_object_set(spec, "name", json_object_get(params, "name"));
	status = add || argc > 3 ? read_spec(argc, argv, 3, spec) : cli_usage(argv[0], "set what?");
	if (!status)
		return client_do(method, params);
	json_decref(params);
	return status;
}

int cmd_add(int argc, char **argv)
{
	return with_spec("add", argc, argv);
}

int cmd_set(int argc, char **argv)
{
	return with_spec("set", argc, argv);
}

int cmd_remove(int argc, char **argv)
{
	json_t *params = NULL;

	argc = read_target(argc, argv, &params);
	if (argc < 0)
		return -argc;
	if (argc == 3)
		return client_do("remove", params);
	json_decref(params);
	return cli_usage(argv[0], "what is \"%s\"?", argv[3]);
}

/* A device and @n words more. */
static int device_words(int argc, char **argv, int n, json_t **params)
{
	argc = cli_options(argc, argv);
	if (argc < 0)
		return CLI_USAGE;
	*params = json_object();
	if (argc == 2 + n && !client_set_device(*params, argv[1]))
		return 0;
	json_decref(*params);
	return cli_usage(argv[0], "a device is named MACHINE/DEVICE%s",
			 n ? ", then comes a word" : "");
}

int cmd_link(int argc, char **argv)
{
	json_t *params;
	int status = device_words(argc, argv, 1, &params);

	if (status)
		return status;
	json_object_set_new(params, "link", json_string(argv[2]));
	return client_do("link", params);
}

int cmd_disconnect(int argc, char **argv)
{
	json_t *params;
	int status = device_words(argc, argv, 0, &params);

	return status ? status : client_do("disconnect", params);
}

int cmd_flush(int argc, char **argv)
{
	argc = cli_options(argc, argv);
	if (argc != 2)
		return argc < 0 ? CLI_USAGE : cli_usage(argv[0], "which switch?");
	return client_do("flush", json_pack("{ss}", "name", argv[1]));
}

int cmd_log(int argc, char **argv)
{
	json_t *result;
	int status;

	argc = cli_options(argc, argv);
	if (argc < 0)
		return CLI_USAGE;
	if (argc > 2)
		return cli_usage(argv[0], "one level is wanted");
	result = client_call("log", argc == 2 ? json_pack("{ss}", "level", argv[1]) : NULL,
			     &status);
	if (result && cli_json())
		client_print(result);
	else if (result)
		puts(client_text(result, "level"));
	json_decref(result);
	return status;
}

int cmd_balance(int argc, char **argv)
{
	json_t *params = json_object(), *result = NULL, *value;
	const char *key, *text;
	int status;

	argc = cli_options(argc, argv);
	status = argc < 0 ? CLI_USAGE : read_spec(argc, argv, 1, params);
	if (status)
		json_decref(params);
	else
		result = client_call("balance", params, &status);
	if (result && cli_json()) {
		client_print(result);
	} else if (result) {
		json_object_foreach(result, key, value)
		{
			text = json_string_value(value);
			if (json_is_integer(value))
				printf("%-14s %lld\n", key, (long long)json_integer_value(value));
			else
				printf("%-14s %s\n", key, text ? text : "-");
		}
	}
	json_decref(result);
	return status;
}

int cmd_metrics(int argc, char **argv)
{
	json_t *result;
	int status;

	argc = cli_options(argc, argv);
	if (argc != 1)
		return argc < 0 ? CLI_USAGE : cli_usage(argv[0], "what is \"%s\"?", argv[1]);
	result = client_call("metrics", NULL, &status);
	if (result && cli_json())
		client_print(result);
	else if (result)
		fputs(client_text(result, "text"), stdout);
	json_decref(result);
	return status;
}

int cmd_rpc(int argc, char **argv)
{
	json_t *params = NULL, *result;
	json_error_t error;
	int status;

	argc = cli_options(argc, argv);
	if (argc < 2 || argc > 3)
		return argc < 0 ? CLI_USAGE : cli_usage(argv[0], "a method is wanted");
	if (argc == 3) {
		params = json_loads(argv[2], JSON_REJECT_DUPLICATES, &error);
		if (!params)
			return cli_usage(argv[0], "the parameters: %s", error.text);
	}
	result = client_call(argv[1], params, &status);
	if (result)
		client_print(result);
	json_decref(result);
	return status;
}
