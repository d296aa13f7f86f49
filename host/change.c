/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/change.h"

#include "host/journal.h"
#include "host/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void change_free(struct change *c)
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

/* ---- making one ------------------------------------------------------------------------------ */

/* What is in a set beforehand becomes what is to be in it. */
static struct cpus swap(const struct cpus *now, const struct cpus *out, const struct cpus *in)
{
	struct cpus set = cpus_without(now, out);

	return cpus_or(&set, in);
}

static bool of_set(const struct change *c)
{
	return c->kind == CHANGE_LIST || c->kind == CHANGE_MASK || c->kind == CHANGE_AFFINITY;
}

static int set_get(struct host *host, const struct change *c, struct cpus *now)
{
	char *text;
	int err;

	if (c->kind == CHANGE_AFFINITY)
		return host->ops->affinity_get(host, c->tid, now);
	text = host_read(host, "%s", c->path);
	if (!text)
		return -errno;
	err = c->kind == CHANGE_MASK ? cpus_parse_mask(now, text) : cpus_parse_list(now, text);
	free(text);
	return err;
}

static int set_put(struct host *host, const struct change *c, const struct cpus *set)
{
	char *text;
	int err;

	if (c->kind == CHANGE_AFFINITY)
		return cpus_empty(set) ? -EINVAL : host->ops->affinity_set(host, c->tid, set);
	text = c->kind == CHANGE_MASK ? cpus_mask(set) : cpus_list(set);
	/* a file takes no empty write; a list's newline empties it */
	err = host_write(host, *text ? text : "\n", "%s", c->path);
	free(text);
	return err;
}

/* What it will be, from what it is now: somebody may have changed it since it was looked at. */
static int set_prepare(struct host *host, struct change *c)
{
	struct cpus now = { 0 };
	int err = set_get(host, c, &now);

	if (err)
		return err;
	c->removed = cpus_and(&c->removed, &now);
	c->added = cpus_without(&c->added, &now);
	c->became = swap(&now, &c->removed, &c->added);
	c->became = cpus_without(&c->became, &c->strip);
	c->known = true;
	return 0;
}

static int set_make(struct host *host, const struct change *c)
{
	if (c->kind != CHANGE_AFFINITY && cpus_empty(&c->removed) && cpus_empty(&c->added))
		return 0;
	return set_put(host, c, &c->became);
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

/* Says what is wrong unless that has been said already. */
static int failed(const struct change *c, int err, struct host_error *error)
{
	char *text;

	if (!err || error->text[0])
		return err;
	text = change_print(c);
	host_fail(error, err, "%s: %s", text, strerror(-err));
	free(text);
	return err;
}

/* Before it is written down. */
static int change_prepare(struct host *host, struct change *c, struct host_error *error)
{
	error->text[0] = '\0';
	/* another may have its number by now */
	if (of_thread(c) && vm_start_of(host, c->tid) != c->start)
		return host_fail(error, -ESRCH, "%s: %s", c->what, strerror(ESRCH));
	return of_set(c) ? failed(c, set_prepare(host, c), error) : 0;
}

static int change_make(struct host *host, const struct change *c, struct host_error *error)
{
	int err = 0;

	error->text[0] = '\0';
	switch (c->kind) {
	case CHANGE_LIST:
	case CHANGE_MASK:
	case CHANGE_AFFINITY: err = set_make(host, c); break;
	case CHANGE_TEXT: err = change_text(host, c, error); break;
	case CHANGE_DIR: err = host->ops->make_dir(host, c->path); break;
	case CHANGE_MOVE: err = change_move(host, c, c->path); break;
	}
	return failed(c, err, error);
}

/* ---- undoing one ----------------------------------------------------------------------------- */

/* What the set was before. */
static struct cpus found(const struct change *c)
{
	return swap(&c->became, &c->added, &c->removed);
}

/* Has nobody changed it since but other machines, and the kernel? */
static bool untouched(const struct change *c, const struct cpus *now, const struct journals *others)
{
	struct cpus was = c->became, is = *now, less;

	/* written before it was told what the set became */
	if (!c->known)
		return true;
	if (others) {
		was = cpus_without(&was, &others->cpus);
		is = cpus_without(&is, &others->cpus);
	}
	if (!c->spread)
		return cpus_equal(&was, &is);
	less = cpus_without(&was, &is);
	return cpus_empty(&less);
}

static bool same_set(const struct change *a, const struct change *b)
{
	if (a->kind != b->kind)
		return false;
	return of_thread(a) ? a->tid == b->tid && a->start == b->start : !strcmp(a->path, b->path);
}

/* Is it another machine's to say where that is? An older line does not tell; what is not optional
 * is its own thread. */
static bool pins(const struct change *c)
{
	return c->known ? c->pinned : of_thread(c) && !c->optional;
}

/* The change of another machine that pins the set, else the one that made it what it is now. */
static struct journal_line *holder(const struct change *c, const struct cpus *now,
				   const struct journals *others, struct journal **of)
{
	struct journal_line *made = NULL;

	for (unsigned i = 0; i < others->n; i++) {
		struct journal *journal = &others->journal[i];

		for (unsigned j = 0; j < journal->n; j++) {
			struct journal_line *line = &journal->line[j];
			const struct change *other = &line->change;

			if (!line->is_change || !same_set(c, other) ||
			    !(pins(other) || (other->known && cpus_equal(&other->became, now))))
				continue;
			*of = journal;
			if (pins(other))
				return line;
			made = line;
		}
	}
	return made;
}

/* The set stays as it is; when the other change is undone, so is this one. Doing that twice is
 * doing it once. */
static void hand_over(const struct change *c, struct journal *journal, struct journal_line *line)
{
	struct change *to = &line->change;

	if (to->known) {
		struct cpus was = found(to);

		was = swap(&was, &c->added, &c->removed);
		to->removed = cpus_without(&was, &to->became);
		to->added = cpus_without(&to->became, &was);
	} else {
		to->removed = cpus_or(&to->removed, &c->removed);
	}
	journal_edit(journal, line);
}

static int set_undo(struct host *host, const struct change *c, const struct journals *others)
{
	struct journal_line *line = NULL;
	struct journal *journal = NULL;
	struct cpus now = { 0 }, set;
	bool mine;
	int err = set_get(host, c, &now);

	if (err)
		return err;
	mine = untouched(c, &now, others);
	if (others)
		line = holder(c, &now, others, &journal);
	if (line && (!mine || pins(&line->change))) {
		hand_over(c, journal, line);
		return 0;
	}
	if (!mine)
		return 0;
	set = swap(&now, &c->added, &c->removed);
	set = cpus_without(&set, &c->strip);
	if (c->kind != CHANGE_AFFINITY && cpus_equal(&set, &now))
		return 0;
	return set_put(host, c, &set);
}

/* @others may be NULL: nobody can have come since. */
static int change_undo(struct host *host, const struct change *c, const struct journals *others)
{
	int err = 0;

	if (c->forgotten || (of_thread(c) && vm_start_of(host, c->tid) != c->start))
		return 0;
	switch (c->kind) {
	case CHANGE_LIST:
	case CHANGE_MASK:
	case CHANGE_AFFINITY: err = set_undo(host, c, others); break;
	case CHANGE_TEXT: err = c->undo ? host_write(host, c->undo, "%s", c->path) : 0; break;
	case CHANGE_DIR: err = host->ops->remove_dir(host, c->path); break;
	case CHANGE_MOVE: err = change_move(host, c, c->undo); break;
	}
	/* gone meanwhile, or never made */
	if (err == -ENOENT || err == -ESRCH || err == -ENODEV)
		return 0;
	return err;
}

/* ---- all of them ------------------------------------------------------------------------------
 */

/*
 * Undoes the first @n, last first; @refused tells which of them were never made. False if one could
 * not be undone; the first of these is added to what *error says.
 */
static bool roll_back(struct host *host, const struct change *made, unsigned n, const bool *refused,
		      const char *journal, struct host_error *error)
{
	bool whole = true;

	while (n-- > 0) {
		const struct change *c = &made[n];
		int err = change_undo(host, c, NULL);

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
	struct change *done; /* as they are made; what they point to is the list's */
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
	done = host_alloc((changes->n + 1) * sizeof(*done));
	begin = lseek(fd, 0, SEEK_END);
	for (i = 0; i < changes->n; i++) {
		struct change *c = &done[i];
		off_t before = lseek(fd, 0, SEEK_END);

		*c = changes->change[i];
		err = change_prepare(host, c, &why);
		if (!err && !c->forgotten) {
			err = journal_append(fd, c);
			if (err) {
				host_fail(&why, err, "%s: %s", journal, strerror(-err));
				journal_cut(fd, before);
				break;
			}
		}
		err = err ? err : change_make(host, c, &why);
		if (!err)
			continue;
		refused[i] = true;
		if (!c->optional && !(c->may_end && err == -ESRCH)) {
			/* it may have been taken before it was found wrong; what becomes of the
			 * file is up to its directory, which is undone next */
			if (c->kind == CHANGE_TEXT)
				change_undo(host, c, NULL);
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
		made->left = !roll_back(host, done, i, refused, journal, &why);
		if (!made->left && ftruncate(fd, begin) < 0)
			host_fail(&why, err, "%s keeps what has been undone: %s", journal,
				  strerror(errno));
		if (error)
			*error = why;
	}
	free(done);
	free(refused);
	close(fd);
	return err;
}

/* What @c makes of the set, in the line of an earlier change. */
static void fold(struct journal *journal, struct journal_line *line, const struct change *c)
{
	struct change *first = &line->change;
	struct cpus was = first->known ? found(first) : found(c);

	/* before what it became was told, this was all there was to undo it by */
	if (!first->known)
		was = swap(&was, &first->added, &first->removed);
	if (first->known && cpus_equal(&first->became, &c->became) && first->pinned == c->pinned)
		return;
	first->removed = cpus_without(&was, &c->became);
	first->added = cpus_without(&c->became, &was);
	first->became = c->became;
	first->known = true;
	first->pinned = c->pinned;
	if (c->what) {
		free(first->what);
		first->what = host_text_copy(c->what);
	}
	journal_edit(journal, line);
}

/* True if there is a line; of several, which older journals have, only the first stays. */
static bool fold_all(struct journal *journal, const struct change *c)
{
	bool folded = false;

	for (unsigned i = 0; i < journal->n; i++) {
		struct journal_line *line = &journal->line[i];

		if (!line->text || !line->is_change || !same_set(c, &line->change))
			continue;
		if (!folded) {
			fold(journal, line, c);
		} else {
			free(line->text);
			line->text = NULL;
			journal->edited = true;
		}
		folded = true;
	}
	return folded;
}

int changes_fold(struct host *host, struct changes *changes, const char *path,
		 struct host_error *error)
{
	struct host_error why = { "" };
	struct journal journal;
	int err;

	if (!changes->n)
		return 0;
	err = journal_read(host, path, &journal, error);
	if (err)
		return err;
	for (unsigned i = 0; i < changes->n; i++) {
		struct change c = changes->change[i];

		if (of_set(&c) && !change_prepare(host, &c, &why))
			changes->change[i].forgotten = fold_all(&journal, &c);
	}
	if (journal.edited)
		err = journal_write(host, &journal, error);
	journal_done(&journal);
	return err;
}

/* What other machines have taken over is in their journals before it leaves this one. */
static int write_others(const struct host *host, struct journals *others, struct host_error *error)
{
	int first = 0;

	for (unsigned i = 0; i < others->n; i++) {
		struct host_error why = { "" };
		int err = others->journal[i].edited ? journal_write(host, &others->journal[i], &why)
						    : 0;

		if (err && !first)
			first = host_fail(error, err, "%s", why.text);
	}
	return first;
}

int changes_undo(struct host *host, const char *path, struct journals *others,
		 struct host_error *error)
{
	struct journal journal;
	int first = 0, err = journal_read(host, path, &journal, error);
	char *name;

	if (err)
		return err;
	for (unsigned i = journal.n; i-- > 0;) {
		struct journal_line *line = &journal.line[i];

		if (!line->is_change)
			continue;
		err = change_undo(host, &line->change, others);
		/* what the kernel refused to change it refuses to change back */
		if (line->change.optional)
			err = 0;
		if (err && !first) {
			char *what = change_print(&line->change);

			first = host_fail(error, err, "cannot undo %s: %s", what, strerror(-err));
			free(what);
		}
		if (!err) {
			free(line->text);
			line->text = NULL;
		}
	}
	name = host_printf("%s%s", host->root, path);
	err = write_others(host, others, first ? NULL : error);
	if (err)
		first = first ? first : err;
	else if (first)
		/* where that fails all stay, which does no harm: undone twice is undone once */
		journal_write(host, &journal, NULL);
	else if (unlink(name) < 0)
		first = host_fail(error, -errno, "%s: %s", name, strerror(errno));
	free(name);
	journal_done(&journal);
	return first;
}
