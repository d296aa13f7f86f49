/* SPDX-License-Identifier: BSD-2-Clause */
#include "tree.h"

#include "host/cpus.h"
#include "host/text.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void make_dirs(const char *path)
{
	char *copy = host_text_copy(path);

	for (char *p = copy + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		if (mkdir(copy, 0755) < 0)
			assert_int_equal(errno, EEXIST);
		*p = '/';
	}
	free(copy);
}

void tree_put(const char *root, const char *path, const char *text)
{
	char *name = host_printf("%s%s", root, path);
	FILE *out;

	make_dirs(name);
	out = fopen(name, "w");
	assert_non_null(out);
	fputs(text, out);
	assert_int_equal(fclose(out), 0);
	free(name);
}

char *tree_get(const char *root, const char *path)
{
	char *name = host_printf("%s%s", root, path), *text = NULL;
	FILE *in = fopen(name, "r");
	size_t room = 0;
	ssize_t n;

	assert_non_null(in);
	n = getdelim(&text, &room, '\0', in);
	fclose(in);
	free(name);
	if (n < 0) {
		free(text);
		return host_text_copy("");
	}
	while (n && text[n - 1] == '\n')
		text[--n] = '\0';
	return text;
}

static void put_one(const char *root, const char *path, const char *target, const char *text)
{
	char *name;

	if (!target) {
		tree_put(root, path, text);
		return;
	}
	name = host_printf("%s%s", root, path);
	make_dirs(name);
	assert_int_equal(symlink(target, name), 0);
	free(name);
}

/* Over all numbers of the list in the path. */
static void put_all(const char *root, const char *path, const char *target, const char *text)
{
	const char *open = strchr(path, '{'), *close = open ? strchr(open, '}') : NULL;
	struct cpus cpus;
	char *list;

	if (!close) {
		put_one(root, path, target, text);
		return;
	}
	list = host_printf("%.*s", (int)(close - open - 1), open + 1);
	assert_int_equal(cpus_parse_list(&cpus, list), 0);
	free(list);
	cpus_for_each (cpu, &cpus) {
		char *each = host_printf("%.*s%d%s", (int)(open - path), path, cpu, close + 1);

		put_one(root, each, target, text);
		free(each);
	}
}

/* The line's own text, or the lines after it; moves *rest past them. */
static char *text_of(const char *value, char **rest)
{
	char *text;

	if (*value == ' ')
		return host_printf("%s\n", value + 1);
	text = host_text_copy("");
	while (*rest && **rest == '\t') {
		char *line = strsep(rest, "\n") + 1, *longer = host_printf("%s%s\n", text, line);

		free(text);
		text = longer;
	}
	return text;
}

char *tree_new(const char *name)
{
	/* thousands of files, in memory where that can be had */
	char memory[] = "/dev/shm/exitless-tree.XXXXXX", disk[] = "/tmp/exitless-tree.XXXXXX";
	char *root = mkdtemp(memory) ? memory : mkdtemp(disk);
	char *text, *rest, *line;

	assert_non_null(root);
	line = host_printf("/%s.txt", name);
	text = tree_get(TREES, line);
	free(line);
	rest = text;
	while ((line = strsep(&rest, "\n"))) {
		char *arrow = strstr(line, " -> "), *colon, *content;

		if (!*line || *line == '#')
			continue;
		if (arrow) {
			*arrow = '\0';
			put_all(root, line, arrow + 4, NULL);
			continue;
		}
		/* PCI addresses have colons too */
		colon = strstr(line, ": ");
		if (!colon) {
			colon = line + strlen(line) - 1;
			assert_int_equal(*colon, ':');
		}
		*colon = '\0';
		content = text_of(colon + 1, &rest);
		put_all(root, line, NULL, content);
		free(content);
	}
	free(text);
	return host_text_copy(root);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void tree_free(char *root)
{
	if (!root)
		return;
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(root);
}
