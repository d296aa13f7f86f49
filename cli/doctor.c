/* SPDX-License-Identifier: BSD-2-Clause */
/* exitless doctor: what this host has, lacks, and could do better. */
#include "host/doctor.h"

#include "client.h"
#include "commands.h"
#include "options.h"

#include <stdio.h>
#include <string.h>

/* The parts in the order in which they are shown. */
static const struct {
	const char *what, *title;
} parts[] = {
	{ "host", "The host" },
	{ "daemon", "Devices of exitlessd" },
	{ "vfio", "PCI devices for guests" },
	{ "direct", "Direct interrupts" },
};

static void print_check(const json_t *check, bool all)
{
	static const struct {
		const char *state, *mark;
	} marks[] = {
		{ "good", "ok    " }, { "note", "      " },    { "better", "better" },
		{ "bad", "LACKS " },  { "unknown", "?     " },
	};
	const char *state = client_text(check, "state");

	for (unsigned i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (!strcmp(marks[i].state, state))
			printf("  %s  %s: %s\n", marks[i].mark, client_text(check, "id"),
			       client_text(check, "found"));
	/* what is good needs no words, unless all are wanted */
	if (all || strcmp(state, "good") != 0)
		printf("            %s\n", client_text(check, "means"));
	if (json_object_get(check, "do"))
		printf("            -> %s\n", client_text(check, "do"));
}

static void print(const json_t *report, bool all)
{
	const json_t *direct = json_object_get(report, "direct"), *check, *way;
	size_t i;

	for (unsigned part = 0; part < sizeof(parts) / sizeof(parts[0]); part++) {
		printf("%s\n", parts[part].title);
		json_array_foreach(json_object_get(report, "checks"), i,
				   check) if (!strcmp(client_text(check, "for"), parts[part].what))
			print_check(check, all);
	}
	printf("Would direct mode help on this host? %s: %s.\n",
	       !strcmp(client_text(direct, "verdict"), "helps")	       ? "Yes"
	       : !strcmp(client_text(direct, "verdict"), "has-better") ? "It has better"
								       : "Not as it is",
	       client_text(direct, "why"));
	way = json_object_get(direct, "in_the_way");
	if (json_array_size(way))
		printf("In the way:");
	json_array_foreach((json_t *)way, i, check) printf(" %s", json_string_value(check));
	if (json_array_size(way))
		putchar('\n');
}

int cmd_doctor(int argc, char **argv)
{
	const char *root = NULL;
	bool all = false;
	const struct cli_option options[] = { { "--root", .text = &root },
					      { "--all", .flag = &all } };
	struct host host;
	json_t *report;

	argc = cli_take_options(argc, argv, options, 2);
	if (argc < 0)
		return CLI_USAGE;
	if (argc > 1)
		return cli_usage("doctor", "what is \"%s\"?", argv[1]);
	host_init(&host, root);
	report = doctor_examine(&host);
	if (cli_json())
		client_print(report);
	else
		print(report, all);
	json_decref(report);
	return CLI_OK;
}
