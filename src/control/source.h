/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The text of a configuration: JSON with comments, and on which line each value stands. jansson
 * parses; what it does not keep (lines, repeated keys) is found by a scan of the same text.
 */
#ifndef EXITLESS_CONTROL_SOURCE_H
#define EXITLESS_CONTROL_SOURCE_H

#include "control/schema.h"

/* Blanks out comments ("//" and "#" to the end of the line, and C's) in @text, so that all else
 * stays on its line and column. Returns 0, or the line of a comment that does not end. */
unsigned source_strip_comments(char *text, size_t len);

struct source;

/* Takes @text, which is good JSON without comments and NULs, and outlives it. NULL on lack of
 * memory. */
struct source *source_new(const char *text, size_t len);
void source_free(struct source *source);

/* The line on which the value at @path (or its key) begins; of the nearest value around it that is
 * there. */
unsigned source_line(const struct source *source, const struct json_path *path);

/* Calls @found for each key that its object has already, with the lines of both. */
void source_repeated(const struct source *source,
		     void (*found)(void *arg, const char *key, unsigned line, unsigned first),
		     void *arg);

#endif
