/* SPDX-License-Identifier: BSD-2-Clause */
/* Options of commands, with a value behind "=" or as the next word. */
#ifndef EXITLESS_CLI_OPTIONS_H
#define EXITLESS_CLI_OPTIONS_H

#include <stdbool.h>

struct cli_option {
	const char *name;  /* "--map" */
	const char **text; /* takes a value ("--map FILE" or "--map=FILE") */
	bool *flag;	   /* or none */
};

/* Takes these options, and those that all commands have, out of argv; returns the new argc, or -1
 * after saying what is wrong. */
int cli_take_options(int argc, char **argv, const struct cli_option *options, unsigned n);
/* A number from @min to @max; false after saying that it is none. NULL leaves *value alone. */
bool cli_number(const char *command, const char *option, const char *text, long min, long max,
		long *value);
/* Only root may; says so. */
bool cli_is_root(const char *command);

#endif
