/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The commands of `exitless`. To add one: write int cmd_NAME(int argc, char **argv) in a file of
 * its own, declare it here, and give it a line in the table in main.c. argv[0] is the command's
 * name; what is returned is the exit status.
 */
#ifndef EXITLESS_CLI_COMMANDS_H
#define EXITLESS_CLI_COMMANDS_H

#include <stdbool.h>

/* Exit statuses. */
enum {
	CLI_OK = 0,
	CLI_FAILED = 1,	     /* the daemon (or host) said no, or the output cannot be written; why
			      * is on standard error */
	CLI_USAGE = 2,	     /* the command line is wrong */
	CLI_UNREACHABLE = 3, /* no daemon answers */
};

/* Takes the options that all commands have (--json, --socket PATH) out of argv, wherever they
 * stand; returns the new argc, or -1 after saying what is wrong. main() has done it already for
 * those in front of the command's name. */
int cli_options(int argc, char **argv);
bool cli_json(void);
const char *cli_socket(void);
/* Says "exitless NAME: ..." and how the command is used; returns CLI_USAGE. */
int cli_usage(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Prints how the command is used, because that was asked for; returns CLI_OK. */
int cli_help(const char *command);

/* Says "exitless NAME: ..." and, with --json, an object "error" as the daemon's are; returns
 * CLI_FAILED. */
int cli_failed(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The daemon's. */
int cmd_status(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_stats(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_add(int argc, char **argv);
int cmd_remove(int argc, char **argv);
int cmd_set(int argc, char **argv);
int cmd_link(int argc, char **argv);
int cmd_disconnect(int argc, char **argv);
int cmd_flush(int argc, char **argv);
int cmd_log(int argc, char **argv);
int cmd_balance(int argc, char **argv);
int cmd_metrics(int argc, char **argv);
int cmd_rpc(int argc, char **argv);
int cmd_vmm(int argc, char **argv);

/* Without the daemon, or with any other server. */
int cmd_bench(int argc, char **argv);

/* The host's; no daemon is needed. */
int cmd_cpu(int argc, char **argv);
int cmd_bind(int argc, char **argv);
int cmd_direct(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

#endif
