/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Texts and errors of a short-lived command: out of memory ends the process, everything else is
 * returned. Any thread.
 */
#ifndef EXITLESS_HOST_TEXT_H
#define EXITLESS_HOST_TEXT_H

#include <stdarg.h>
#include <stddef.h>

/* What went wrong, for people. Zero-initialised it is empty. */
struct host_error {
	char text[512];
};

/* Notes what went wrong (@error may be NULL) and returns @err, which is a -errno. */
int host_fail(struct host_error *error, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Memory of the heap, never NULL; freed with free(). */
void *host_alloc(size_t bytes); /* zeroed */
void *host_grow(void *old, size_t bytes);
char *host_text_copy(const char *text);
char *host_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *host_vprintf(const char *fmt, va_list ap);

/* A list of texts that it owns. Zero-initialised it is empty. */
struct host_names {
	char **name;
	unsigned n;
};

void host_names_add(struct host_names *names, char *name); /* takes @name over */
void host_names_done(struct host_names *names);

#endif
