/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file that says what was changed: a heading, then a line of JSON for each change, in the order
 * in which they were made (change.h). Under the lock of whoever has the files.
 */
#ifndef EXITLESS_HOST_JOURNAL_H
#define EXITLESS_HOST_JOURNAL_H

#include "host/change.h"

struct journal_line {
	char *text;	/* as it is in the file; NULL: it goes when the file is written next */
	bool is_change; /* else a heading, or cut short by a crash before its change was made */
	struct change change;
};

struct journal {
	char *path; /* below the root */
	struct journal_line *line;
	unsigned n;
	bool edited; /* not as it is in the file any more */
};

/* Those of other machines, which may have changed the same sets. */
struct journals {
	struct journal *journal;
	unsigned n;
	/* All CPUs that came and went by these, or by others since: no sign that somebody else has
	 * changed a set. */
	struct cpus cpus;
};

/* -errno with @error set; *journal is then empty. */
int journal_read(const struct host *host, const char *path, struct journal *journal,
		 struct host_error *error);
void journal_done(struct journal *journal);
void journals_done(struct journals *journals);
/* The line's change has become another. */
void journal_edit(struct journal *journal, struct journal_line *line);
/* The file becomes what @journal is now, as a whole or not at all. */
int journal_write(const struct host *host, struct journal *journal, struct host_error *error);

/* Adds a line to a file that is open for appending. */
int journal_append(int fd, const struct change *change);

#endif
