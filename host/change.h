/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Changes to the machine that can be taken back. Each is written to a journal before it is made, so
 * that whoever comes later, after a crash too, can undo it; a list of changes is made as a whole or
 * not at all.
 *
 * Several machines' changes overlap: two of them move the same interrupt away from different CPUs.
 * So a change of a set of CPUs notes which ones it took out and put in, and what became of the set.
 * Undoing it puts back and takes out just these, and only if the set still is what it became, but
 * for CPUs of other machines. If one of these has pinned it to its own CPUs, or made it what it is
 * now, its change is told what there is to put back when it is undone itself.
 */
#ifndef EXITLESS_HOST_CHANGE_H
#define EXITLESS_HOST_CHANGE_H

#include "host/host.h"

#include <jansson.h>

enum change_kind {
	CHANGE_LIST,	 /* a file with a list of CPUs */
	CHANGE_MASK,	 /* a file with a mask of CPUs */
	CHANGE_TEXT,	 /* a file that is written */
	CHANGE_DIR,	 /* a directory that is made */
	CHANGE_AFFINITY, /* where a thread may run */
	CHANGE_MOVE,	 /* a thread's control group */
};

struct change {
	enum change_kind kind;
	char *path;	/* of the file or directory; CHANGE_MOVE: the new group's directory */
	char *value;	/* CHANGE_TEXT: what is written */
	char *undo;	/* CHANGE_TEXT: what undoes it, NULL: nothing; CHANGE_MOVE: the old group */
	char *what;	/* for people */
	bool optional;	/* the kernel may refuse it, for instance an interrupt of its own */
	bool verify;	/* CHANGE_TEXT: the file must then read like that */
	bool forgotten; /* nothing to undo */
	bool may_end;	/* CHANGE_AFFINITY: nothing is wrong if the thread has ended meanwhile */
	int tid;	/* CHANGE_AFFINITY, CHANGE_MOVE */
	unsigned long long start; /* the thread's, as vm_start_of() */
	struct cpus removed, added;
	/* CHANGE_AFFINITY: not in the set, but the kernel may put them there meanwhile */
	struct cpus strip;
	bool pinned; /* of a set: it is on the machine's own CPUs, and nobody else's to widen */
	bool spread; /* CHANGE_AFFINITY: the kernel may also put any others there meanwhile */
	/* Set when it is made: what became of the set. Older journals do not tell. */
	struct cpus became;
	bool known;
};

/* A list that owns what its changes point to. Zero-initialised it is empty. */
struct changes {
	struct change *change;
	unsigned n;
};

/* Adds a change; its texts are taken over. */
void changes_add(struct changes *changes, struct change change);
void changes_done(struct changes *changes);
void change_free(struct change *change); /* what it points to */

/* "CPU 3 -> 0-2" and the like, on the heap. */
char *change_print(const struct change *change);

/* What has become of changes that were to be made. */
struct changes_made {
	unsigned refused; /* optional ones that failed */
	bool left;	  /* a failure could not be undone wholly: the journal has what is left */
};

/*
 * Makes all of @changes, each after its line is in the file @journal below the root, which must
 * exist. If one fails, those before are undone, their lines removed, and *error tells; if one of
 * them cannot be undone, the lines stay for changes_undo(), and *error tells that, too. What is
 * refused of a file has no line. A thread that has ended since the change was thought of is -ESRCH,
 * even if another has its number. *made is set in any case.
 */
int changes_make(struct host *host, const struct changes *changes, const char *journal,
		 struct changes_made *made, struct host_error *error);

/*
 * Changes of sets that the journal has a line for are to have no more lines: each such line becomes
 * one of what the set was at first and of what this change makes of it. So a journal has no more
 * lines than there are sets, however often their changes are made anew. For changes_make() then.
 */
int changes_fold(struct host *host, struct changes *changes, const char *journal,
		 struct host_error *error);

/*
 * Undoes what the journal holds, last first, as far as it can. What belongs to threads that have
 * ended, or has been changed by others since, is past; what other machines hold goes to @others
 * (journal.h), and to their files. 0: the file is gone then; else what could not be undone stays in
 * it, and *error tells the first.
 */
struct journals;
int changes_undo(struct host *host, const char *journal, struct journals *others,
		 struct host_error *error);

#endif
