/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/change.h"

#include "host/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const kinds[] = {
	[CHANGE_LIST] = "list", [CHANGE_MASK] = "mask",		[CHANGE_TEXT] = "text",
	[CHANGE_DIR] = "dir",	[CHANGE_AFFINITY] = "affinity", [CHANGE_MOVE] = "move",
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void change_free(struct change *c)
{
	free(c->path);
	free(c->value);
	free(c->undo);
	free(c->what);
}

void changes_add(struct changes *changes, struct change change)
{
	changes->change = host_grow(changes->change, (changes->n + 1) * sizeof(change));
	changes->change[changes->n++] = change;
}

void changes_done(struct changes *changes)
{
	for (unsigned i = 0; i < changes->n; i++)
		change_free(&changes->change[i]);
	free(changes->change);
	*changes = (struct changes){ 0 };
}

char *change_print(const struct change *c)
{
	char *removed = cpus_list(&c->removed), *added = cpus_list(&c->added), *text;
	const char *what = c->what ? c->what : c->path;

	if (c->kind == CHANGE_TEXT)
		text = host_printf("%s: \"%s\"", c->path, c->value);
	else if (c->kind == CHANGE_DIR)
		text = host_printf("%s: made", c->path);
	else if (c->kind == CHANGE_MOVE)
		text = host_printf("%s: to %s", what, c->path);
	else
		text = host_printf("%s:%s%s%s%s%s", what, *removed ? " off CPU " : "", removed,
				   *removed && *added ? "," : "", *added ? " to CPU " : "", added);
	free(removed);
	free(added);
	return text;
}

/* ---- making and undoing one ---------------------------------------------------------------- */

/* What is in a set beforehand becomes what is to be in it. */
static struct cpus swap(const struct cpus *now, const struct cpus *out, const struct cpus *in)
{
	struct cpus set = cpus_without(now, out);

	return cpus_or(&set, in);
}

static int change_set(struct host *host, const struct change *c, const struct cpus *out,
		      const struct cpus *in)
{
	char *text = host_read(host, "%s", c->path);
	bool mask = c->kind == CHANGE_MASK;
	struct cpus now = { 0 }, set;
	int err;

	if (!text)
		return -errno;
	err = mask ? cpus_parse_mask(&now, text) : cpus_parse_list(&now, text);
	free(text);
	if (err)
		return err;
	set = swap(&now, out, in);
	if (cpus_equal(&set, &now))
		return 0;
	text = mask ? cpus_mask(&set) : cpus_list(&set);
	/* a file takes no empty write; a list's newline empties it */
	err = host_write(host, *text ? text : "\n", "%s", c->path);
	free(text);
	return err;
}

static int change_affinity(struct host *host, const struct change *c, const struct cpus *out,
			   const struct cpus *in)
{
	struct cpus now, set;
	int err = host->ops->affinity_get(host, c->tid, &now);

	if (err)
		return err;
	set = swap(&now, out, in);
	set = cpus_without(&set, &c->strip);
	if (cpus_empty(&set))
		return -EINVAL;
	return host->ops->affinity_set(host, c->tid, &set);
}

static int change_move(struct host *host, const struct change *c, const char *to)
{
	char tid[16];

	snprintf(tid, sizeof(tid), "%d", c->tid);
	return host_write(host, tid, "%s/cgroup.threads", to);
}

static int change_text(struct host *host, const struct change *c, struct host_error *error)
{
	int err = host_write(host, c->value, "%s", c->path);
	char *text;

	if (err || !c->verify)
		return err;
	text = host_read(host, "%s", c->path);
	if (!text || strcmp(text, c->value))
		err = host_fail(error, -EOPNOTSUPP, "%s says \"%s\"", c->path, text ? text : "");
	free(text);
	return err;
}

static bool of_thread(const struct change *c)
{
	return c->kind == CHANGE_AFFINITY || c->kind == CHANGE_MOVE;
}

static int change_make(struct host *host, const struct change *c, struct host_error *error)
{
	int err = 0;

	error->text[0] = '\0';
	/* another may have its number by now */
	if (of_thread(c) && vm_start_of(host, c->tid) != c->start)
		return host_fail(error, -ESRCH, "%s: %s", c->what, strerror(ESRCH));
	switch (c->kind) {
	case CHANGE_LIST:
	case CHANGE_MASK: err = change_set(host, c, &c->removed, &c->added); break;
	case CHANGE_TEXT: err = change_text(host, c, error); break;
	case CHANGE_DIR: err = host->ops->make_dir(host, c->path); break;
	case CHANGE_AFFINITY: err = change_affinity(host, c, &c->removed, &c->added); break;
	case CHANGE_MOVE: err = change_move(host, c, c->path); break;
	}
	if (err && !error->text[0]) {
		char *text = change_print(c);

		host_fail(error, err, "%s: %s", text, strerror(-err));
		free(text);
	}
	return err;
}

static int change_undo(struct host *host, const struct change *c)
{
	int err = 0;

	if (c->forgotten || (of_thread(c) && vm_start_of(host, c->tid) != c->start))
		return 0;
	switch (c->kind) {
	case CHANGE_LIST:
	case CHANGE_MASK: err = change_set(host, c, &c->added, &c->removed); break;
	case CHANGE_TEXT: err = c->undo ? host_write(host, c->undo, "%s", c->path) : 0; break;
	case CHANGE_DIR: err = host->ops->remove_dir(host, c->path); break;
	case CHANGE_AFFINITY: err = change_affinity(host, c, &c->added, &c->removed); break;
	case CHANGE_MOVE: err = change_move(host, c, c->undo); break;
	}
	/* gone meanwhile, or never made */
	if (err == -ENOENT || err == -ESRCH || err == -ENODEV)
		return 0;
	return err;
}

/* ---- the journal --------------------------------------------------------------------------- */

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
	if (c->optional)
		json_object_set_new(json, "optional", json_true());
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

/* -EINVAL: that line is no change. */
static int change_from_json(struct change *c, const json_t *json)
{
	const char *kind = json_string_value(json_object_get(json, "change"));
	char *removed = get_text(json, "removed"), *added = get_text(json, "added");
	char *strip = get_text(json, "strip");
	unsigned i = 0;
	int err = 0;

	memset(c, 0, sizeof(*c));
	while (i < N_KINDS && (!kind || strcmp(kind, kinds[i])))
		i++;
	c->kind = (enum change_kind)i;
	if (i == N_KINDS || (removed && cpus_parse_list(&c->removed, removed)) ||
	    (added && cpus_parse_list(&c->added, added)) ||
	    (strip && cpus_parse_list(&c->strip, strip)))
		err = -EINVAL;
	free(removed);
	free(added);
	free(strip);
	if (err)
		return err;
	c->path = get_text(json, "path");
	c->value = get_text(json, "value");
	c->undo = get_text(json, "undo");
	c->what = get_text(json, "what");
	c->optional = json_is_true(json_object_get(json, "optional"));
	c->tid = (int)json_integer_value(json_object_get(json, "tid"));
	c->start = (unsigned long long)json_integer_value(json_object_get(json, "start"));
	if ((c->kind != CHANGE_AFFINITY && !c->path) || (c->kind == CHANGE_MOVE && !c->undo)) {
		change_free(c);
		return -EINVAL;
	}
	return 0;
}

static int journal_add(int fd, const struct change *c)
{
	json_t *json = change_to_json(c);
	char *line = json_dumps(json, JSON_COMPACT), *text = host_printf("%s\n", line);
	size_t len = strlen(text);
	int err = write(fd, text, len) == (ssize_t)len ? 0 : errno ? -errno : -EIO;

	free(text);
	free(line);
	json_decref(json);
	return err;
}

/*
 * Undoes the first @n, last first; @refused tells which of them were never made. False if one could
 * not be undone; the first of these is added to what *error says.
 */
static bool roll_back(struct host *host, const struct changes *changes, unsigned n,
		      const bool *refused, const char *journal, struct host_error *error)
{
	bool whole = true;

	while (n-- > 0) {
		const struct change *c = &changes->change[n];
		int err = change_undo(host, c);

		/* nothing was made, but a thread may have got CPUs otherwise since (strip) */
		if (refused[n])
			err = 0;
		if (err && whole) {
			struct host_error why = *error;
			char *text = change_print(c);

			host_fail(error, err, "%.200s; nor can this be undone: %s: %s; %s keeps it",
				  why.text, text, strerror(-err), journal);
			free(text);
		}
		whole = whole && !err;
	}
	return whole;
}

/* Takes back what is behind @length; where that fails it is a change that was not made, which is
 * undone without harm. */
static void journal_cut(int fd, off_t length)
{
	if (ftruncate(fd, length) < 0)
		errno = 0;
}

int changes_make(struct host *host, const struct changes *changes, const char *journal,
		 struct changes_made *made, struct host_error *error)
{
	char *name = host_printf("%s%s", host->root, journal);
	int fd = open(name, O_WRONLY | O_APPEND | O_CLOEXEC), err = fd < 0 ? -errno : 0;
	struct host_error why = { "" };
	bool *refused;
	unsigned i;
	off_t begin;

	*made = (struct changes_made){ 0 };
	if (err)
		host_fail(error, err, "%s: %s", name, strerror(-err));
	free(name);
	if (err)
		return err;
	refused = host_alloc((changes->n + 1) * sizeof(*refused));
	begin = lseek(fd, 0, SEEK_END);
	for (i = 0; i < changes->n; i++) {
		const struct change *c = &changes->change[i];
		off_t before = lseek(fd, 0, SEEK_END);

		if (!c->forgotten) {
			err = journal_add(fd, c);
			if (err) {
				host_fail(&why, err, "%s: %s", journal, strerror(-err));
				journal_cut(fd, before);
				break;
			}
		}
		err = change_make(host, c, &why);
		if (!err)
			continue;
		refused[i] = true;
		if (!c->optional && !(c->may_end && err == -ESRCH)) {
			/* it may have been taken before it was found wrong; what becomes of the
			 * file is up to its directory, which is undone next */
			if (c->kind == CHANGE_TEXT)
				change_undo(host, c);
			break;
		}
		/* or it would be there once more each time that somebody tries; but undoing a
		 * thread's strips it of CPUs that it gets otherwise */
		if (!of_thread(c))
			journal_cut(fd, before);
		made->refused += c->optional;
		err = 0;
	}
	if (err) {
		made->left = !roll_back(host, changes, i, refused, journal, &why);
		if (!made->left && ftruncate(fd, begin) < 0)
			host_fail(&why, err, "%s keeps what has been undone: %s", journal,
				  strerror(errno));
		if (error)
			*error = why;
	}
	free(refused);
	close(fd);
	return err;
}

/* The journal with only those lines of @lines that are left; if that cannot be written all stay,
 * which does no harm: what has been undone can be undone again. */
static void journal_rewrite(const struct host *host, const char *journal, char **lines, unsigned n)
{
	int dir = (int)(strrchr(journal, '/') - journal);
	char *name = host_printf("%s%s", host->root, journal);
	char *hidden = host_printf("%s%.*s/.rest", host->root, dir, journal);
	int fd = open(hidden, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	bool whole = true;

	for (unsigned i = 0; out && i < n; i++)
		if (lines[i] && fprintf(out, "%s\n", lines[i]) < 0)
			whole = false;
	if (!out || fclose(out))
		whole = false;
	/* others look without a lock */
	if (whole && rename(hidden, name) < 0)
		unlink(hidden);
	free(hidden);
	free(name);
}

int changes_undo(struct host *host, const char *journal, struct host_error *error)
{
	char *text = host_read(host, "%s", journal), *rest = text, *line, *name;
	struct host_names lines = { 0 };
	int first = 0, err;

	if (!text)
		return host_fail(error, -errno, "%s: %s", journal, strerror(errno));
	while ((line = strsep(&rest, "\n")))
		host_names_add(&lines, host_text_copy(line));
	free(text);
	for (unsigned i = lines.n; i-- > 0;) {
		json_t *json = json_loads(lines.name[i], 0, NULL);
		struct change c;

		/* a heading, or cut short by a crash before its change was made */
		if (!json || change_from_json(&c, json) < 0) {
			json_decref(json);
			continue;
		}
		json_decref(json);
		err = change_undo(host, &c);
		/* what the kernel refused to change it refuses to change back */
		if (c.optional)
			err = 0;
		if (err && !first) {
			char *what = change_print(&c);

			first = host_fail(error, err, "cannot undo %s: %s", what, strerror(-err));
			free(what);
		}
		if (!err) {
			free(lines.name[i]);
			lines.name[i] = NULL;
		}
		change_free(&c);
	}
	name = host_printf("%s%s", host->root, journal);
	if (first)
		journal_rewrite(host, journal, lines.name, lines.n);
	else if (unlink(name) < 0)
		first = host_fail(error, -errno, "%s: %s", name, strerror(errno));
	free(name);
	host_names_done(&lines);
	return first;
}
