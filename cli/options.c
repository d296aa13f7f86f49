/* SPDX-License-Identifier: BSD-2-Clause */
#include "options.h"

#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How many words the option at argv[i] takes; 0: none of these; -1 after saying what is wrong. */
static int take(int argc, char **argv, int i, const struct cli_option *o)
{
	size_t len = strlen(o->name);

	if (strncmp(argv[i], o->name, len) || (argv[i][len] && argv[i][len] != '='))
		return 0;
	if (!o->text) {
		if (argv[i][len]) {
			cli_usage(argv[0], "%s takes no value", o->name);
			return -1;
		}
		*o->flag = true;
		return 1;
	}
	if (argv[i][len]) {
		*o->text = argv[i] + len + 1;
		return 1;
	}
	if (i + 1 >= argc) {
		cli_usage(argv[0], "%s needs a value", o->name);
		return -1;
	}
	*o->text = argv[i + 1];
	return 2;
}

int cli_take_options(int argc, char **argv, const struct cli_option *options, unsigned n)
{
	int kept = 1;

	argc = cli_options(argc, argv);
	for (int i = 1; i < argc;) {
		int words = 0;

		for (unsigned j = 0; j < n && !words; j++)
			words = take(argc, argv, i, &options[j]);
		if (words < 0)
			return -1;
		if (!words && !strncmp(argv[i], "--", 2)) {
			cli_usage(argv[0], "there is no option %s", argv[i]);
			return -1;
		}
		if (!words)
			argv[kept++] = argv[i++];
		i += words;
	}
	if (argc < 0)
		return -1;
	argv[kept] = NULL;
	return kept;
}

bool cli_number(const char *command, const char *option, const char *text, long min, long max,
		long *value)
{
	char *end;
	long n;

	if (!text)
		return true;
	errno = 0;
	n = strtol(text, &end, 10);
	if (errno || end == text || *end || n < min || n > max) {
		cli_usage(command, "%s: a number from %ld to %ld is wanted, not \"%s\"", option,
			  min, max, text);
		return false;
	}
	*value = n;
	return true;
}

bool cli_is_root(const char *command)
{
	if (!geteuid())
		return true;
	cli_failed(command, "only root may do that");
	return false;
}
