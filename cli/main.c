/* SPDX-License-Identifier: BSD-2-Clause */
/* exitless: finds the command and runs it. */
#include "client.h"
#include "commands.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SOCKET "/run/exitless/exitless.sock"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *arguments, *help;
} commands[] = {
	{ "status", cmd_status, "", "what there is, and who is connected" },
	{ "stats", cmd_stats, "[MACHINE[/DEVICE]]", "counters" },
	{ "top", cmd_top, "[--interval SECONDS] [--count N]", "rates, live" },
	{ "show", cmd_show, "core|switch|port|machine|device|config [NAME]", "one object in full" },
	{ "add", cmd_add, "core|switch|port|machine|device NAME [KEY=VALUE...] [--spec JSON]",
	  "add an object" },
	{ "remove", cmd_remove, "core|switch|port|machine|device NAME", "remove it" },
	{ "set", cmd_set, "core|switch|port|machine|device NAME [KEY=VALUE...] [--spec JSON]",
	  "change it" },
	{ "link", cmd_link, "MACHINE/DEVICE up|down", "set a device's link" },
	{ "disconnect", cmd_disconnect, "MACHINE/DEVICE", "drop a device's VMM" },
	{ "flush", cmd_flush, "SWITCH", "forget the addresses that a switch learned" },
	{ "log", cmd_log, "[error|warning|info|debug]", "show or set the daemon's log level" },
	{ "balance", cmd_balance, "[KEY=VALUE...]",
	  "show or change how devices move between cores by load" },
	{ "vmm", cmd_vmm, "MACHINE --qemu|--libvirt|--cloud-hypervisor [--memory SIZE] [--cpus N]",
	  "print what attaches a machine's devices" },
	{ "bench", cmd_bench, "blk | net [OPTIONS] SOCKET...",
	  "load for this or any other server of vhost-user and vfio-user devices" },
	{ "metrics", cmd_metrics, "", "counters for Prometheus" },
	{ "cpu", cmd_cpu,
	  "plan|apply|undo|show [MACHINE] [--map FILE | --vcpus N] [--node N | --device ADDRESS] "
	  "[--cpus LIST] [--qmp SOCKET] [--no-watch] [--gone] [--all] [--root DIRECTORY]",
	  "give vCPUs physical CPUs of their own, and undo it" },
	{ "bind", cmd_bind,
	  "[ADDRESS... [--force]] | --undo ADDRESS...|--all [--force] | [--root DIRECTORY]",
	  "list PCI devices, give some to vfio-pci, and back" },
	{ "direct", cmd_direct,
	  "on|off|status MACHINE [--vcpu N] [--timer] [--ipi] [--seconds N] [--qmp SOCKET]",
	  "let vCPUs take interrupts and timer without exits; exits a second, before and after" },
	{ "doctor", cmd_doctor, "[--all] [--root DIRECTORY]",
	  "what this host has and lacks for near-native I/O, and what to do about it" },
	{ "rpc", cmd_rpc, "METHOD [PARAMS]", "call a method of the control socket" },
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* The command line is the process's; so is what it says. */
static struct {
	bool json;
	const char *socket;
} cli;

bool cli_json(void)
{
	return cli.json;
}

const char *cli_socket(void)
{
	const char *socket = cli.socket ? cli.socket : getenv("EXITLESS_SOCKET");

	return socket && socket[0] ? socket : DEFAULT_SOCKET;
}

/* How many words the common option at argv[i] takes: 0 if it is none, -1 if it is incomplete. */
static int common_option(int argc, char **argv, int i)
{
	if (!strcmp(argv[i], "--json")) {
		cli.json = true;
		return 1;
	}
	if (!strncmp(argv[i], "--socket=", 9)) {
		cli.socket = argv[i] + 9;
		return 1;
	}
	if (strcmp(argv[i], "--socket"))
		return 0;
	if (i + 1 >= argc) {
		fputs("exitless: --socket needs a path\n", stderr);
		return -1;
	}
	cli.socket = argv[i + 1];
	return 2;
}

int cli_options(int argc, char **argv)
{
	int kept = 1;

	for (int i = 1; i < argc;) {
		int n = common_option(argc, argv, i);

		if (n < 0)
			return -1;
		if (!n)
			argv[kept++] = argv[i++];
		i += n;
	}
	argv[kept] = NULL;
	return kept;
}

static const struct command *find_command(const char *name)
{
	for (unsigned i = 0; i < N_COMMANDS; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

int cli_usage(const char *name, const char *fmt, ...)
{
	const struct command *command = find_command(name);
	va_list ap;

	fprintf(stderr, "exitless %s: ", name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nusage: exitless %s%s%s\n", name,
		command && command->arguments[0] ? " " : "", command ? command->arguments : "");
	return CLI_USAGE;
}

int cli_failed(const char *name, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	json_t *json;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "exitless %s: %s\n", name, text);
	if (cli_json()) {
		json = json_pack("{s{ss}}", "error", "message", text);
		client_print(json);
		json_decref(json);
	}
	return CLI_FAILED;
}

static void help(FILE *out)
{
	fputs("usage: exitless [--socket PATH] [--json] COMMAND ...\n\n", out);
	for (unsigned i = 0; i < N_COMMANDS; i++)
		fprintf(out, "  %s%s%s\n        %s\n", commands[i].name,
			commands[i].arguments[0] ? " " : "", commands[i].arguments,
			commands[i].help);
	fputs("\nEach takes --json. See exitless(1).\n", out);
}

static int no_command(const char *name)
{
	fprintf(stderr, "exitless: there is no command \"%s\"; try exitless help\n", name);
	return CLI_USAGE;
}

int cli_help(const char *name)
{
	const struct command *command = find_command(name);

	if (!command)
		return no_command(name);
	printf("usage: exitless %s %s\n%s\n", command->name, command->arguments, command->help);
	return CLI_OK;
}

static int cmd_help(int argc, char **argv)
{
	if (argc > 1)
		return cli_help(argv[1]);
	help(stdout);
	return CLI_OK;
}

static int run(int argc, char **argv)
{
	const struct command *command;
	int at = 1;

	while (at < argc) {
		int n = common_option(argc, argv, at);

		if (n < 0)
			return CLI_USAGE;
		if (!n)
			break;
		at += n;
	}
	if (at >= argc) {
		help(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(argv[at], "--version") || !strcmp(argv[at], "version")) {
		puts("exitless " EXITLESS_VERSION);
		return CLI_OK;
	}
	if (!strcmp(argv[at], "--help") || !strcmp(argv[at], "-h") || !strcmp(argv[at], "help"))
		return cmd_help(argc - at, argv + at);
	command = find_command(argv[at]);
	if (!command)
		return no_command(argv[at]);
	if (at + 1 < argc && (!strcmp(argv[at + 1], "--help") || !strcmp(argv[at + 1], "-h")))
		return cmd_help(2, argv + at - 1);
	return command->run(argc - at, argv + at);
}

/* What could not be written was not said, whatever became of the rest. */
static int written(int status)
{
	bool failed = ferror(stdout);

	errno = 0;
	if (!fflush(stdout) && !failed)
		return status;
	fprintf(stderr, "exitless: standard output cannot be written%s%s\n", errno ? ": " : "",
		errno ? strerror(errno) : "");
	return status ? status : CLI_FAILED;
}

int main(int argc, char **argv)
{
	return written(run(argc, argv));
}
