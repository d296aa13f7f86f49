/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const kinds[] = {
	[CHANGE_LIST] = "list", [CHANGE_MASK] = "mask",		[CHANGE_TEXT] = "text",
	[CHANGE_DIR] = "dir",	[CHANGE_AFFINITY] = "affinity", [CHANGE_MOVE] = "move",
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* ---- a line ---------------------------------------------------------------------------------- */

static void put_text(json_t *json, const char *key, const char *text)
{
	if (text)
		json_object_set_new(json, key, json_string(text));
}

static void put_cpus(json_t *json, const char *key, const struct cpus *cpus)
{
	char *text = cpus_list(cpus);

	if (*text)
		put_text(json, key, text);
	free(text);
}

static json_t *change_to_json(const struct change *c)
{
	json_t *json = json_pack("{ss}", "change", kinds[c->kind]);

	put_text(json, "path", c->path);
	put_text(json, "value", c->value);
	put_text(json, "undo", c->undo);
	put_text(json, "what", c->what);
	put_cpus(json, "removed", &c->removed);
	put_cpus(json, "added", &c->added);
	put_cpus(json, "strip", &c->strip);
	if (c->known) {
		char *became = cpus_list(&c->became);

		put_text(json, "became", became);
		free(became);
	}
	if (c->optional)
		json_object_set_new(json, "optional", json_true());
	if (c->pinned)
		json_object_set_new(json, "pinned", json_true());
	if (c->spread)
		json_object_set_new(json, "spread", json_true());
	if (c->tid) {
		json_object_set_new(json, "tid", json_integer(c->tid));
		json_object_set_new(json, "start", json_integer((json_int_t)c->start));
	}
	return json;
}

static char *get_text(const json_t *json, const char *key)
{
	const char *text = json_string_value(json_object_get(json, key));

	return text ? host_text_copy(text) : NULL;
}

/* 1: there is no such set. */
static int get_cpus(const json_t *json, const char *key, struct cpus *cpus)
{
	const char *text = json_string_value(json_object_get(json, key));

	return text ? cpus_parse_list(cpus, text) : 1;
}

/* -EINVAL: that line is no change. */
static int change_from_json(struct change *c, const json_t *json)
{
	const char *kind = json_string_value(json_object_get(json, "change"));
	unsigned i = 0;
	int known;

	memset(c, 0, sizeof(*c));
	while (i < N_KINDS && (!kind || strcmp(kind, kinds[i])))
		i++;
	c->kind = (enum change_kind)i;
	known = get_cpus(json, "became", &c->became);
	if (i == N_KINDS || get_cpus(json, "removed", &c->removed) < 0 ||
	    get_cpus(json, "added", &c->added) < 0 || get_cpus(json, "strip", &c->strip) < 0 ||
	    known < 0)
		return -EINVAL;
	c->known = !known;
	c->path = get_text(json, "path");
	c->value = get_text(json, "value");
	c->undo = get_text(json, "undo");
	c->what = get_text(json, "what");
	c->optional = json_is_true(json_object_get(json, "optional"));
	c->pinned = json_is_true(json_object_get(json, "pinned"));
	c->spread = json_is_true(json_object_get(json, "spread"));
	c->tid = (int)json_integer_value(json_object_get(json, "tid"));
	c->start = (unsigned long long)json_integer_value(json_object_get(json, "start"));
	if ((c->kind != CHANGE_AFFINITY && !c->path) || (c->kind == CHANGE_MOVE && !c->undo)) {
		change_free(c);
		return -EINVAL;
	}
	return 0;
}

/* On the heap, without a newline. */
static char *change_to_line(const struct change *c)
{
	json_t *json = change_to_json(c);
	char *line = json_dumps(json, JSON_COMPACT);

	json_decref(json);
	return line;
}

/* ---- the file -------------------------------------------------------------------------------- */

int journal_append(int fd, const struct change *c)
{
	char *line = change_to_line(c), *text = host_printf("%s\n", line);
	size_t len = strlen(text);
	int err = write(fd, text, len) == (ssize_t)len ? 0 : errno ? -errno : -EIO;

	free(text);
	free(line);
	return err;
}

static void add_line(struct journal *journal, const char *text)
{
	struct journal_line line = { .text = host_text_copy(text) };
	json_t *json = json_loads(text, 0, NULL);

	line.is_change = json && !change_from_json(&line.change, json);
	json_decref(json);
	journal->line = host_grow(journal->line, (journal->n + 1) * sizeof(line));
	journal->line[journal->n++] = line;
}

int journal_read(const struct host *host, const char *path, struct journal *journal,
		 struct host_error *error)
{
	char *name = host_printf("%s%s", host->root, path), *text = NULL;
	FILE *in = fopen(name, "re");
	int err = in ? 0 : -errno;
	size_t room = 0;

	memset(journal, 0, sizeof(*journal));
	journal->path = host_text_copy(path);
	errno = 0;
	while (in && getline(&text, &room, in) >= 0) {
		text[strcspn(text, "\n")] = '\0';
		add_line(journal, text);
	}
	if (in && ferror(in))
		err = errno ? -errno : -EIO;
	free(text);
	if (in)
		fclose(in);
	free(name);
	if (!err)
		return 0;
	journal_done(journal);
	return host_fail(error, err, "%s: %s", path, strerror(-err));
}

void journal_done(struct journal *journal)
{
	for (unsigned i = 0; i < journal->n; i++) {
		if (journal->line[i].is_change)
			change_free(&journal->line[i].change);
		free(journal->line[i].text);
	}
	free(journal->line);
	free(journal->path);
	memset(journal, 0, sizeof(*journal));
}

void journals_done(struct journals *journals)
{
	for (unsigned i = 0; i < journals->n; i++)
		journal_done(&journals->journal[i]);
	free(journals->journal);
	memset(journals, 0, sizeof(*journals));
}

void journal_edit(struct journal *journal, struct journal_line *line)
{
	free(line->text);
	line->text = change_to_line(&line->change);
	journal->edited = true;
}

int journal_write(const struct host *host, struct journal *journal, struct host_error *error)
{
	int dir = (int)(strrchr(journal->path, '/') - journal->path), err = 0;
	char *name = host_printf("%s%s", host->root, journal->path);
	char *hidden = host_printf("%s%.*s/.rest", host->root, dir, journal->path);
	int fd = open(hidden, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");

	/* everybody may see whose the CPUs are */
	if (out && fchmod(fd, 0644) < 0)
		err = -errno;
	errno = out ? 0 : errno;
	for (unsigned i = 0; out && i < journal->n; i++)
		if (journal->line[i].text && fprintf(out, "%s\n", journal->line[i].text) < 0)
			err = -EIO;
	if (!out || fclose(out))
		err = errno ? -errno : -EIO;
	/* others look without a lock */
	if (!err && rename(hidden, name) < 0)
		err = -errno;
	if (err) {
		unlink(hidden);
		host_fail(error, err, "%s: %s", journal->path, strerror(-err));
	} else {
		journal->edited = false;
	}
	free(hidden);
	free(name);
	return err;
}
