/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Decoding by table. One function per type takes a value or reports why it cannot; the walk over
 * an object's keys finds unknown, repeated and missing ones. Nothing stops at the first mistake.
 */
#include "control/schema.h"

#include "base/util.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>

/* ---- paths and mistakes ------------------------------------------------------------------ */

void json_path_format(const struct json_path *path, char *buf, size_t size)
{
	size_t len;

	buf[0] = '\0';
	if (!path)
		return;
	json_path_format(path->up, buf, size);
	len = strlen(buf);
	if (path->key)
		snprintf(buf + len, size - len, "%s%s", len ? "." : "", path->key);
	else
		snprintf(buf + len, size - len, "[%zu]", path->index);
}

void schema_mistake(struct schema_sink *sink, const struct json_path *at, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	sink->mistakes++;
	sink->mistake(sink, at, text);
}

/* What a value is, for "found ...". */
static const char *found(const json_t *json, char *buf, size_t size)
{
	char *text;

	switch (json_typeof(json)) {
	case JSON_OBJECT: return "an object";
	case JSON_ARRAY: return "a list";
	default: break;
	}
	text = json_dumps(json, JSON_ENCODE_ANY);
	snprintf(buf, size, "%.40s%s", text ? text : "?", text && strlen(text) > 40 ? "..." : "");
	free(text);
	return buf;
}

static void wrong(struct schema_sink *sink, const struct json_path *at, const json_t *json,
		  const char *expected)
{
	char buf[64];

	schema_mistake(sink, at, "expected %s, found %s", expected, found(json, buf, sizeof(buf)));
}

/* Levenshtein distance of two words, each cut to 31 characters. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[32];
	size_t len_a = strnlen(a, 31), len_b = strnlen(b, 31);

	for (size_t j = 0; j <= len_b; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= len_a; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= len_b; j++) {
			unsigned above = row[j];
			unsigned change = diagonal + (a[i - 1] != b[j - 1]);

			row[j] = MIN(above, row[j - 1]) + 1;
			row[j] = MIN(change, row[j]);
			diagonal = above;
		}
	}
	return row[len_b];
}

const char *schema_nearest(const char *word, const char *const *words)
{
	unsigned best = (unsigned)MAX(strlen(word) / 2, (size_t)1) + 1;
	const char *nearest = NULL;

	for (; *words; words++) {
		unsigned d = distance(word, *words);

		if (d < best) {
			best = d;
			nearest = *words;
		}
	}
	return nearest;
}

/* ---- values ------------------------------------------------------------------------------ */

static void store_int(void *field, size_t size, int64_t value)
{
	switch (size) {
	case 1: *(int8_t *)field = (int8_t)value; break;
	case 2: *(int16_t *)field = (int16_t)value; break;
	case 4: *(int32_t *)field = (int32_t)value; break;
	default: *(int64_t *)field = value; break;
	}
}

static int64_t load_int(const void *field, size_t size, bool is_signed)
{
	switch (size) {
	case 1: return is_signed ? *(const int8_t *)field : *(const uint8_t *)field;
	case 2: return is_signed ? *(const int16_t *)field : *(const uint16_t *)field;
	case 4: return is_signed ? *(const int32_t *)field : (int64_t) * (const uint32_t *)field;
	default: return *(const int64_t *)field;
	}
}

static bool take_int(const struct schema_row *row, const json_t *json, void *field,
		     const struct json_path *at, struct schema_sink *sink)
{
	char expected[80];
	int64_t value;

	snprintf(expected, sizeof(expected), "a whole number from %lld to %lld",
		 (long long)row->min, (long long)row->max);
	if (!json_is_integer(json)) {
		wrong(sink, at, json, expected);
		return false;
	}
	value = json_integer_value(json);
	if (value < row->min || value > row->max) {
		wrong(sink, at, json, expected);
		return false;
	}
	if (value > 0 && row->scale)
		value *= (int64_t)row->scale;
	store_int(field, row->size, value);
	return true;
}

static bool take_real(const struct schema_row *row, const json_t *json, void *field,
		      const struct json_path *at, struct schema_sink *sink)
{
	char expected[80];
	double value = json_number_value(json);

	if (!json_is_number(json) || value < (double)row->min || value > (double)row->max) {
		snprintf(expected, sizeof(expected), "a number from %lld to %lld",
			 (long long)row->min, (long long)row->max);
		wrong(sink, at, json, expected);
		return false;
	}
	*(double *)field = value;
	return true;
}

static bool take_text(const struct schema_row *row, const json_t *json, void *field,
		      const struct json_path *at, struct schema_sink *sink)
{
	char expected[64];
	const char *text = json_string_value(json);

	snprintf(expected, sizeof(expected), "a text of 1 to %zu characters", row->size - 1);
	if (!text || !text[0] || strlen(text) != json_string_length(json) ||
	    strlen(text) >= row->size) {
		wrong(sink, at, json, expected);
		return false;
	}
	memset(field, 0, row->size);
	memcpy(field, text, strlen(text));
	return true;
}

static bool take_name(const struct schema_row *row, const json_t *json, void *field,
		      const struct json_path *at, struct schema_sink *sink)
{
	const char *text = json_string_value(json);
	bool good = text && text[0] && strlen(text) < row->size &&
		    strlen(text) == json_string_length(json);

	for (size_t i = 0; good && text[i]; i++)
		good = isalnum((unsigned char)text[i]) || (i && strchr("_.-", text[i]));
	if (!good) {
		char expected[128];

		snprintf(expected, sizeof(expected),
			 "a name (up to %zu letters, digits and, not in front, '_', '.', '-')",
			 row->size - 1);
		wrong(sink, at, json, expected);
		return false;
	}
	memset(field, 0, row->size);
	memcpy(field, text, strlen(text));
	return true;
}

/* "x", "y" or "z" */
static void list_words(const char *const *words, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (unsigned i = 0; words[i] && len < size; i++) {
		const char *between = !i ? "" : words[i + 1] ? ", " : " or ";

		len += (size_t)snprintf(buf + len, size - len, "%s\"%s\"", between, words[i]);
	}
}

static bool take_choice(const struct schema_row *row, const json_t *json, void *field,
			const struct json_path *at, struct schema_sink *sink)
{
	const char *const *choices = row->choices();
	const char *text = json_string_value(json);
	char expected[256];

	for (unsigned i = 0; text && choices[i]; i++)
		if (!strcmp(text, choices[i])) {
			if (row->type == SCHEMA_INDEX) {
				store_int(field, row->size, i);
				return true;
			}
			memset(field, 0, row->size);
			memcpy(field, text, MIN(strlen(text), row->size - 1));
			return true;
		}
	list_words(choices, expected, sizeof(expected));
	wrong(sink, at, json, expected);
	return false;
}

static bool take_word(const struct schema_row *row, const json_t *json, void *field,
		      const struct json_path *at, struct schema_sink *sink)
{
	const char *words[] = { row->words[0], row->words[1], NULL };
	const char *text = json_string_value(json);
	char expected[64];

	for (unsigned i = 0; text && i < 2; i++)
		if (!strcmp(text, words[i])) {
			*(bool *)field = i;
			return true;
		}
	list_words(words, expected, sizeof(expected));
	wrong(sink, at, json, expected);
	return false;
}

static bool take_mac(const json_t *json, uint8_t mac[6], const struct json_path *at,
		     struct schema_sink *sink)
{
	const char *text = json_string_value(json);
	uint8_t value[6];
	bool good = text && json_string_length(json) == 17;

	for (unsigned i = 0; good && i < 6; i++) {
		const char *p = text + 3 * i;

		good = isxdigit((unsigned char)p[0]) && isxdigit((unsigned char)p[1]) &&
		       p[2] == (i < 5 ? ':' : '\0');
		value[i] = good ? (uint8_t)strtoul(p, NULL, 16) : 0;
	}
	if (good && !(value[0] & 1) && memcmp(value, "\0\0\0\0\0", 6)) {
		memcpy(mac, value, 6);
		return true;
	}
	wrong(sink, at, json,
	      good ? "a device's MAC address, not a group's and not all zero"
		   : "a MAC address like \"52:54:00:12:34:56\"");
	return false;
}

static bool take_mode(const json_t *json, mode_t *mode, const struct json_path *at,
		      struct schema_sink *sink)
{
	const char *text = json_string_value(json);
	size_t len = text ? strlen(text) : 0;

	if (len < 3 || len > 4 || strspn(text, "01234567") != len ||
	    strtoul(text, NULL, 8) > 0777) {
		wrong(sink, at, json, "a file mode as octal digits in quotes, like \"0660\"");
		return false;
	}
	*mode = (mode_t)strtoul(text, NULL, 8);
	return true;
}

static bool take_id(const struct schema_row *row, const json_t *json, void *field,
		    const struct json_path *at, struct schema_sink *sink)
{
	bool user = row->type == SCHEMA_USER;
	int64_t id = -1;

	if (json_is_integer(json)) {
		id = json_integer_value(json);
	} else if (json_is_string(json) && user) {
		const struct passwd *pw = getpwnam(json_string_value(json));

		id = pw ? (int64_t)pw->pw_uid : -1;
	} else if (json_is_string(json)) {
		const struct group *gr = getgrnam(json_string_value(json));

		id = gr ? (int64_t)gr->gr_gid : -1;
	}
	if (id < 0 || id >= UINT32_MAX) {
		wrong(sink, at, json,
		      user ? "a user of this host (name or number)"
			   : "a group of this host (name or number)");
		return false;
	}
	if (user)
		*(uid_t *)field = (uid_t)id;
	else
		*(gid_t *)field = (gid_t)id;
	return true;
}

static bool take_elements(const struct schema_row *row, const json_t *json, void *object,
			  const struct json_path *at, struct schema_sink *sink)
{
	unsigned *n = (unsigned *)((char *)object + row->count_offset);
	char *field = (char *)object + row->offset;
	bool good = true;
	size_t i;
	json_t *element;
	char expected[64];

	if (!json_is_array(json) || json_array_size(json) > row->count_max) {
		snprintf(expected, sizeof(expected), "a list of at most %u %s", row->count_max,
			 row->type == SCHEMA_TEXTS ? "texts" : "numbers");
		wrong(sink, at, json, expected);
		return false;
	}
	memset(field, 0, row->size * row->count_max);
	*n = 0;
	json_array_foreach(json, i, element)
	{
		struct json_path here = { .up = at, .index = i };

		if (row->type == SCHEMA_TEXTS)
			good &= take_text(row, element, field + i * row->size, &here, sink);
		else
			good &= take_int(row, element, field + i * row->size, &here, sink);
		(*n)++;
	}
	return good;
}

static bool take_objects(const struct schema_row *row, const json_t *json, struct schema_list *list,
			 const struct json_path *at, struct schema_sink *sink)
{
	const struct schema *schema = row->schema;
	bool good = true;
	json_t *element;
	size_t i;

	if (!json_is_array(json) || json_array_size(json) > row->count_max) {
		char expected[64];

		snprintf(expected, sizeof(expected), "a list of at most %u %s objects",
			 row->count_max, schema->name);
		wrong(sink, at, json, expected);
		return false;
	}
	list->items = calloc(json_array_size(json) + 1, schema->size);
	if (!list->items) {
		schema_mistake(sink, at, "out of memory");
		return false;
	}
	json_array_foreach(json, i, element)
	{
		struct json_path here = { .up = at, .index = i };

		good &= schema_decode(schema, element, (char *)list->items + i * schema->size,
				      SCHEMA_NEW, &here, sink);
		list->n++;
	}
	return good;
}

static bool take_value(const struct schema_row *row, const json_t *json, void *object,
		       const struct json_path *at, struct schema_sink *sink)
{
	void *field = (char *)object + row->offset;

	switch (row->type) {
	case SCHEMA_BOOL:
		if (!json_is_boolean(json)) {
			wrong(sink, at, json, "true or false");
			return false;
		}
		*(bool *)field = json_is_true(json);
		return true;
	case SCHEMA_INT:
	case SCHEMA_UINT: return take_int(row, json, field, at, sink);
	case SCHEMA_REAL: return take_real(row, json, field, at, sink);
	case SCHEMA_NAME: return take_name(row, json, field, at, sink);
	case SCHEMA_TEXT: return take_text(row, json, field, at, sink);
	case SCHEMA_INDEX:
	case SCHEMA_CHOICE: return take_choice(row, json, field, at, sink);
	case SCHEMA_WORD: return take_word(row, json, field, at, sink);
	case SCHEMA_MAC: return take_mac(json, field, at, sink);
	case SCHEMA_MODE: return take_mode(json, field, at, sink);
	case SCHEMA_USER:
	case SCHEMA_GROUP: return take_id(row, json, field, at, sink);
	case SCHEMA_TEXTS:
	case SCHEMA_UINTS: return take_elements(row, json, object, at, sink);
	case SCHEMA_OBJECT: return schema_decode(row->schema, json, field, SCHEMA_NEW, at, sink);
	case SCHEMA_OBJECTS: return take_objects(row, json, field, at, sink);
	case SCHEMA_JSON:
		if (!json_is_object(json)) {
			wrong(sink, at, json, "an object");
			return false;
		}
		*(const json_t **)field = json;
		return true;
	}
	return false;
}

/* ---- objects ----------------------------------------------------------------------------- */

static const struct schema_row *find_row(const struct schema *schema, const char *key)
{
	for (size_t i = 0; i < schema->n_rows; i++)
		if (!strcmp(schema->rows[i].key, key))
			return &schema->rows[i];
	return NULL;
}

static bool refuse_unknown(const struct schema *schema, const char *key, const struct json_path *at,
			   struct schema_sink *sink)
{
	const char *keys[64];
	const char *nearest;
	size_t n = 0;

	for (size_t i = 0; i < schema->n_rows && n < ARRAY_SIZE(keys) - 1; i++)
		keys[n++] = schema->rows[i].key;
	keys[n] = NULL;
	nearest = schema_nearest(key, keys);
	if (nearest)
		schema_mistake(sink, at, "there is no key \"%.40s\" in %s; did you mean \"%s\"?",
			       key, schema->name, nearest);
	else
		schema_mistake(sink, at, "there is no key \"%.40s\" in %s", key, schema->name);
	return false;
}

static void default_mistake(struct schema_sink *sink, const struct json_path *at, const char *text)
{
	abort(); /* a default of our own table that the table refuses */
}

void schema_defaults(const struct schema *schema, void *object)
{
	struct schema_sink sink = { .mistake = default_mistake };

	memset(object, 0, schema->size);
	for (size_t i = 0; i < schema->n_rows; i++) {
		const struct schema_row *row = &schema->rows[i];
		char *field = (char *)object + row->offset;
		json_t *json;

		if (row->type == SCHEMA_OBJECT) {
			schema_defaults(row->schema, field);
		} else if (row->type == SCHEMA_USER || row->type == SCHEMA_GROUP) {
			store_int(field, sizeof(uid_t), -1);
		} else if (row->unset) {
			json = json_loads(row->unset, JSON_DECODE_ANY, NULL);
			if (!json)
				abort(); /* as above, or out of memory at start-up */
			take_value(row, json, object, NULL, &sink);
			json_decref(json);
		}
	}
}

/* @object is decoded far enough to know its kind. */
static bool kind_fits(const struct schema *schema, const struct schema_row *row, const void *object)
{
	const char *kind = (const char *)object + schema->kind_offset;
	size_t len = strlen(kind);

	if (!row->only)
		return true;
	for (const char *at = row->only; at; at = strchr(at, ',')) {
		at += *at == ',';
		if (!strncmp(at, kind, len) && (at[len] == ',' || !at[len]))
			return true;
	}
	return false;
}

bool schema_decode(const struct schema *schema, const json_t *json, void *object,
		   enum schema_mode mode, const struct json_path *at, struct schema_sink *sink)
{
	const struct schema_row *row;
	unsigned before = sink->mistakes;
	const char *key;
	json_t *value;

	if (mode == SCHEMA_NEW)
		schema_defaults(schema, object);
	if (!json_is_object(json)) {
		char expected[64];

		snprintf(expected, sizeof(expected), "an object (%s)", schema->name);
		wrong(sink, at, json, expected);
		return false;
	}
	/* jansson's foreach macro takes no const */
	json_object_foreach((json_t *)json, key, value)
	{
		struct json_path here = { .up = at, .key = key };

		row = find_row(schema, key);
		if (!row)
			refuse_unknown(schema, key, &here, sink);
		else if (mode == SCHEMA_CHANGE && !(row->flags & SCHEMA_RUNTIME))
			schema_mistake(sink, &here,
				       "\"%s\" cannot change while the %s lives; remove it and add "
				       "it again",
				       key, schema->name);
		else
			take_value(row, value, object, &here, sink);
	}
	for (size_t i = 0; i < schema->n_rows; i++) {
		row = &schema->rows[i];
		value = json_object_get(json, row->key);
		if (!value && mode == SCHEMA_NEW && row->flags & SCHEMA_REQUIRED)
			schema_mistake(sink, at, "a %s needs the key \"%s\"", schema->name,
				       row->key);
		if (value && !kind_fits(schema, row, object)) {
			struct json_path here = { .up = at, .key = row->key };

			schema_mistake(sink, &here, "\"%s\" is for a %s of kind %s only", row->key,
				       schema->name, row->only);
		}
	}
	return sink->mistakes == before;
}

void schema_free(const struct schema *schema, void *object)
{
	for (size_t i = 0; i < schema->n_rows; i++) {
		const struct schema_row *row = &schema->rows[i];
		char *field = (char *)object + row->offset;
		struct schema_list *list = (struct schema_list *)field;

		if (row->type == SCHEMA_OBJECT)
			schema_free(row->schema, field);
		if (row->type != SCHEMA_OBJECTS)
			continue;
		for (unsigned j = 0; j < list->n; j++)
			schema_free(row->schema, (char *)list->items + j * row->schema->size);
		free(list->items);
		*list = (struct schema_list){ .n = 0 };
	}
}

/* ---- back to JSON ------------------------------------------------------------------------ */

static json_t *encode_elements(const struct schema_row *row, const void *object)
{
	unsigned n = *(const unsigned *)((const char *)object + row->count_offset);
	const char *field = (const char *)object + row->offset;
	json_t *list;

	if (!n && !row->unset)
		return NULL;
	list = json_array();
	for (unsigned i = 0; i < n; i++) {
		const char *element = field + i * row->size;

		json_array_append_new(list,
				      row->type == SCHEMA_TEXTS
					      ? json_string(element)
					      : json_integer(load_int(element, row->size, false)));
	}
	return list;
}

static json_t *encode_objects(const struct schema_row *row, const struct schema_list *list)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < list->n; i++)
		json_array_append_new(array,
				      schema_encode(row->schema, (const char *)list->items +
									 i * row->schema->size));
	return array;
}

/* NULL: there is nothing to say. */
static json_t *encode_value(const struct schema_row *row, const void *object)
{
	const void *field = (const char *)object + row->offset;
	const uint8_t *mac = field;
	const char *text = field;
	char buf[32];
	int64_t value;

	switch (row->type) {
	case SCHEMA_BOOL: return json_boolean(*(const bool *)field);
	case SCHEMA_INT:
	case SCHEMA_UINT:
		value = load_int(field, row->size, row->type == SCHEMA_INT);
		return json_integer(value > 0 && row->scale ? value / (int64_t)row->scale : value);
	case SCHEMA_REAL: return json_real(*(const double *)field);
	case SCHEMA_NAME:
	case SCHEMA_TEXT:
	case SCHEMA_CHOICE: return text[0] ? json_string(text) : NULL;
	case SCHEMA_INDEX: return json_string(row->choices()[load_int(field, row->size, false)]);
	case SCHEMA_WORD: return json_string(row->words[*(const bool *)field]);
	case SCHEMA_MAC:
		snprintf(buf, sizeof(buf), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
			 mac[3], mac[4], mac[5]);
		return memcmp(mac, "\0\0\0\0\0", 6) ? json_string(buf) : NULL;
	case SCHEMA_MODE:
		snprintf(buf, sizeof(buf), "%04o", *(const mode_t *)field);
		return json_string(buf);
	case SCHEMA_USER:
	case SCHEMA_GROUP:
		value = load_int(field, sizeof(uid_t), false);
		return value == UINT32_MAX ? NULL : json_integer(value);
	case SCHEMA_TEXTS:
	case SCHEMA_UINTS: return encode_elements(row, object);
	case SCHEMA_OBJECT: return schema_encode(row->schema, field);
	case SCHEMA_OBJECTS: return encode_objects(row, field);
	case SCHEMA_JSON: break; /* of requests only */
	}
	return NULL;
}

json_t *schema_encode(const struct schema *schema, const void *object)
{
	json_t *json = json_object();

	for (size_t i = 0; i < schema->n_rows; i++) {
		json_t *value;

		if (!kind_fits(schema, &schema->rows[i], object))
			continue;
		value = encode_value(&schema->rows[i], object);
		if (value)
			json_object_set_new(json, schema->rows[i].key, value);
	}
	return json;
}
