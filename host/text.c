/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *p)
{
	if (p)
		return p;
	fputs("out of memory\n", stderr);
	abort();
}

int host_fail(struct host_error *error, int err, const char *fmt, ...)
{
	va_list ap;

	if (error) {
		va_start(ap, fmt);
		vsnprintf(error->text, sizeof(error->text), fmt, ap);
		va_end(ap);
	}
	return err;
}

void *host_alloc(size_t bytes)
{
	return checked(calloc(1, bytes));
}

void *host_grow(void *old, size_t bytes)
{
	return checked(realloc(old, bytes));
}

char *host_text_copy(const char *text)
{
	return checked(strdup(text));
}

char *host_vprintf(const char *fmt, va_list ap)
{
	char *text;

	return checked(vasprintf(&text, fmt, ap) < 0 ? NULL : text);
}

char *host_printf(const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	text = host_vprintf(fmt, ap);
	va_end(ap);
	return text;
}

void host_names_add(struct host_names *names, char *name)
{
	names->name = host_grow(names->name, (names->n + 1) * sizeof(char *));
	names->name[names->n++] = name;
}

void host_names_done(struct host_names *names)
{
	for (unsigned i = 0; i < names->n; i++)
		free(names->name[i]);
	free(names->name);
	*names = (struct host_names){ 0 };
}
