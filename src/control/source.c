/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One node per value, in the order of the text, so that children follow their parent. The text is
 * known to be good JSON, so the scan looks only at what it needs: brackets, strings, commas and
 * line ends.
 */
#include "control/source.h"

#include "base/util.h"

#include <stdlib.h>
#include <string.h>

unsigned source_strip_comments(char *text, size_t len)
{
	unsigned line = 1;

	for (size_t i = 0; i < len; i++) {
		char next = i + 1 < len ? text[i + 1] : '\0';
		unsigned begin = line;

		if (text[i] == '\n') {
			line++;
		} else if (text[i] == '"') {
			for (i++; i < len && text[i] != '"' && text[i] != '\n'; i++)
				if (text[i] == '\\')
					i++;
			if (i < len && text[i] == '\n')
				line++; /* jansson says what is wrong */
		} else if (text[i] == '#' || (text[i] == '/' && next == '/')) {
			for (; i < len && text[i] != '\n'; i++)
				text[i] = ' ';
			line++;
		} else if (text[i] == '/' && next == '*') {
			size_t end = i + 2;

			while (end + 1 < len && (text[end] != '*' || text[end + 1] != '/'))
				end++;
			if (end + 1 >= len)
				return begin;
			for (; i < end + 2; i++) {
				if (text[i] == '\n')
					line++;
				else
					text[i] = ' ';
			}
			i--;
		}
	}
	return 0;
}

struct node {
	const char *key; /* in the text, NULL: an element */
	size_t key_len;
	unsigned line;
	unsigned parent;
	unsigned children; /* so far: the next element's index */
	unsigned index;	   /* in the parent */
};

struct source {
	struct node *nodes; /* [0]: the root */
	unsigned n, room;
	unsigned *order; /* nodes by parent, then key or index, then place */
};

/* ---- the scan ---------------------------------------------------------------------------- */

struct scan {
	struct source *source;
	const char *at, *end;
	unsigned line;
};

static void skip_blank(struct scan *scan)
{
	for (; scan->at < scan->end && strchr(" \t\r\n:,", *scan->at); scan->at++) {
		if (!*scan->at)
			break;
		scan->line += *scan->at == '\n';
	}
}

/* At a quote; returns the length of what is between, raw. */
static size_t skip_string(struct scan *scan, const char **string)
{
	*string = ++scan->at;
	while (scan->at < scan->end && *scan->at != '"')
		scan->at += *scan->at == '\\' && scan->at + 1 < scan->end ? 2 : 1;
	return (size_t)(scan->at++ - *string);
}

static int node_add(struct source *source, const struct node *node)
{
	if (source->n == source->room) {
		unsigned room = source->room ? 2 * source->room : 256;
		struct node *nodes = realloc(source->nodes, room * sizeof(*nodes));

		if (!nodes)
			return -1;
		source->nodes = nodes;
		source->room = room;
	}
	source->nodes[source->n] = *node;
	return (int)source->n++;
}

/* Without recursion: @inside is the object or list that we are in. */
static int scan_values(struct scan *scan)
{
	struct source *source = scan->source;
	unsigned inside = 0;

	for (;;) {
		struct node node = { .parent = inside };
		const char *string;
		int id;

		skip_blank(scan);
		if (scan->at >= scan->end)
			return 0;
		if (*scan->at == '}' || *scan->at == ']') {
			scan->at++;
			inside = source->nodes[inside].parent;
			continue;
		}
		node.line = scan->line;
		if (*scan->at == '"') {
			const char *after;

			node.key_len = skip_string(scan, &string);
			for (after = scan->at; after < scan->end && strchr(" \t\r\n", *after);)
				after++;
			if (after < scan->end && *after == ':') {
				node.key = string;
				skip_blank(scan);
				if (scan->at < scan->end && *scan->at == '"')
					skip_string(scan, &string);
			}
		}
		if (source->n) {
			node.index = source->nodes[inside].children++;
			id = node_add(source, &node);
		} else {
			id = node_add(source, &node); /* the root */
		}
		if (id < 0)
			return -1;
		if (scan->at < scan->end && (*scan->at == '{' || *scan->at == '[')) {
			inside = (unsigned)id;
			scan->at++;
			continue;
		}
		while (scan->at < scan->end && *scan->at && !strchr(" \t\r\n,]}", *scan->at))
			scan->at++; /* a number or word */
	}
}

static int compare_key(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int by = memcmp(a, b, MIN(a_len, b_len));

	return by ? by : (a_len > b_len) - (a_len < b_len);
}

/* Elements come before keys; no parent has both. */
static int compare_place(const struct node *a, unsigned parent, const char *key, size_t key_len,
			 unsigned index)
{
	if (a->parent != parent)
		return a->parent < parent ? -1 : 1;
	if (!a->key || !key)
		return !a->key && !key ? (a->index > index) - (a->index < index) : !!a->key - !!key;
	return compare_key(a->key, a->key_len, key, key_len);
}

static int compare_nodes(const void *a, const void *b, void *arg)
{
	const struct source *source = arg;
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
	const struct node *node = &source->nodes[y];
	int by = compare_place(&source->nodes[x], node->parent, node->key, node->key_len,
			       node->index);

	return by ? by : (x > y) - (x < y);
}

struct source *source_new(const char *text, size_t len)
{
	struct source *source = calloc(1, sizeof(*source));
	struct scan scan = { .source = source, .at = text, .end = text + len, .line = 1 };

	if (!source)
		return NULL;
	if (scan_values(&scan) < 0)
		goto fail;
	source->order = calloc(source->n + 1, sizeof(*source->order));
	if (!source->order)
		goto fail;
	for (unsigned i = 0; i < source->n; i++)
		source->order[i] = i;
	if (source->n > 1) /* the root is its own parent and stays in front */
		qsort_r(source->order + 1, source->n - 1, sizeof(*source->order), compare_nodes,
			source);
	return source;
fail:
	source_free(source);
	return NULL;
}

void source_free(struct source *source)
{
	if (!source)
		return;
	free(source->nodes);
	free(source->order);
	free(source);
}

/* ---- asking ------------------------------------------------------------------------------ */

/* The child of @parent at @step; 0 if there is none. Of a repeated key the last, as jansson does.
 */
static unsigned find_child(const struct source *source, unsigned parent,
			   const struct json_path *step)
{
	unsigned low = 1, high = source->n; /* the first one behind it is in [low, high] */
	const struct node *node;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		node = &source->nodes[source->order[middle]];
		if (compare_place(node, parent, step->key, step->key ? strlen(step->key) : 0,
				  (unsigned)step->index) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 1)
		return 0;
	node = &source->nodes[source->order[low - 1]];
	return compare_place(node, parent, step->key, step->key ? strlen(step->key) : 0,
			     (unsigned)step->index)
		       ? 0
		       : source->order[low - 1];
}

/* The node at @path, or the nearest one around it. *exact: whether it is the one. */
static unsigned find_node(const struct source *source, const struct json_path *path, bool *exact)
{
	unsigned parent, child;

	*exact = true;
	if (!path)
		return 0;
	parent = find_node(source, path->up, exact);
	if (!*exact)
		return parent;
	child = find_child(source, parent, path);
	*exact = child != 0;
	return child ? child : parent;
}

unsigned source_line(const struct source *source, const struct json_path *path)
{
	bool exact;

	return source->n ? source->nodes[find_node(source, path, &exact)].line : 1;
}

void source_repeated(const struct source *source,
		     void (*found)(void *arg, const char *key, unsigned line, unsigned first),
		     void *arg)
{
	unsigned first = 1;

	for (unsigned i = 2; i < source->n; i++) {
		const struct node *a = &source->nodes[source->order[first]];
		const struct node *b = &source->nodes[source->order[i]];
		char key[64];

		if (!a->key || !b->key || a->parent != b->parent ||
		    compare_key(a->key, a->key_len, b->key, b->key_len)) {
			first = i;
			continue;
		}
		memcpy(key, b->key, MIN(b->key_len, sizeof(key) - 1));
		key[MIN(b->key_len, sizeof(key) - 1)] = '\0';
		found(arg, key, b->line, a->line);
	}
}
