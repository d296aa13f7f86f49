/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Schemas: one table per kind of object says which keys it has, of what type and range, what they
 * are when left out, and what they mean. The same table decodes the configuration file, checks what
 * comes over the control socket, writes an object back as JSON, and is the source of
 * docs/config.md. Control thread.
 */
#ifndef EXITLESS_CONTROL_SCHEMA_H
#define EXITLESS_CONTROL_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum schema_type {
	SCHEMA_BOOL,	/* bool */
	SCHEMA_INT,	/* signed, of .size bytes */
	SCHEMA_UINT,	/* unsigned, of .size bytes */
	SCHEMA_REAL,	/* double; min and max apply */
	SCHEMA_NAME,	/* char[.size]: the name of an object */
	SCHEMA_TEXT,	/* char[.size], not empty */
	SCHEMA_CHOICE,	/* char[.size], one of .choices() */
	SCHEMA_INDEX,	/* enum of .size bytes: which of .choices() */
	SCHEMA_WORD,	/* bool, one of the two .words: false, true */
	SCHEMA_MAC,	/* uint8_t[6] */
	SCHEMA_MODE,	/* mode_t, text of octal digits */
	SCHEMA_USER,	/* uid_t, name or number */
	SCHEMA_GROUP,	/* gid_t, name or number */
	SCHEMA_TEXTS,	/* char[.count_max][.size], count at .count_offset */
	SCHEMA_UINTS,	/* unsigned of .size bytes, [.count_max], count at .count_offset */
	SCHEMA_OBJECT,	/* of .schema, at .offset */
	SCHEMA_OBJECTS, /* struct schema_list of .schema, at most .count_max */
	SCHEMA_JSON,	/* const json_t *: an object as it is, borrowed */
};

enum schema_flags {
	SCHEMA_REQUIRED = 1, /* must be given */
	SCHEMA_RUNTIME = 2,  /* can be changed while the object lives */
};

/* Decoded objects of one kind, in one allocation; schema_free() frees it. */
struct schema_list {
	void *items;
	unsigned n;
};

struct schema {
	const char *name; /* "device" */
	const char *help;
	const struct schema_row *rows;
	size_t n_rows;
	size_t size;	    /* of the structure */
	size_t kind_offset; /* of the char[] that .only refers to; 0: none */
};

struct schema_row {
	const char *key;
	enum schema_type type;
	unsigned flags;
	size_t offset, size;
	uint64_t scale;	   /* what is stored is the number given times this; 0: 1 */
	int64_t min, max;  /* of the number given */
	const char *unset; /* what it is when left out, as JSON; NULL: all zero bytes */
	const char *only;  /* only for objects of this kind, or these: "a,b" */
	const char *const *(*choices)(void);
	const char *words[2];
	size_t count_offset;
	unsigned count_max;
	const struct schema *schema;
	const char *unset_help; /* for the documentation, where .unset does not say it */
	const char *help;
};

/* Where a value is in its document: a chain of frames on the stack of the decoder. */
struct json_path {
	const struct json_path *up;
	const char *key; /* NULL: an array's element */
	size_t index;
};

/* Writes "machines[0].devices[1].mac" (empty for the root). */
void json_path_format(const struct json_path *path, char *buf, size_t size);

/* Who wants to know of mistakes; embed. */
struct schema_sink {
	/* @text: what was expected and what was found. */
	void (*mistake)(struct schema_sink *sink, const struct json_path *at, const char *text);
	unsigned mistakes;
};

void schema_mistake(struct schema_sink *sink, const struct json_path *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

enum schema_mode {
	SCHEMA_NEW,    /* everything that is left out gets its default */
	SCHEMA_CHANGE, /* what is left out stays; only SCHEMA_RUNTIME keys are taken */
};

/* Decodes @json into @object, which has schema->size bytes. Goes on after a mistake. Returns
 * whether there was none; after SCHEMA_NEW the caller calls schema_free() in any case. */
bool schema_decode(const struct schema *schema, const json_t *json, void *object,
		   enum schema_mode mode, const struct json_path *at, struct schema_sink *sink);
/* Fills in the defaults alone. */
void schema_defaults(const struct schema *schema, void *object);
/* Frees the lists in @object. */
void schema_free(const struct schema *schema, void *object);
/* The other way round; keys that are at their default are there too, those of other kinds and
 * empty texts are not. NULL on lack of memory. */
json_t *schema_encode(const struct schema *schema, const void *object);
/* Writes the reference of @schema and the schemas in it as Markdown. */
void schema_document(const struct schema *schema, FILE *out);

/* The word of @words (NULL-terminated) that @word was probably meant to be, or NULL. */
const char *schema_nearest(const char *word, const char *const *words);

#endif
