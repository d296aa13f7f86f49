/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/cpus.h"

#include "host/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A number, or "N" for the last CPU there can be. */
static bool number(const char **p, unsigned long *value)
{
	char *end;

	if (**p == 'N') {
		*value = HOST_CPUS_MAX - 1;
		++*p;
		return true;
	}
	if (!isdigit((unsigned char)**p))
		return false;
	*value = strtoul(*p, &end, 10);
	*p = end;
	return true;
}

/* "A", "A-B", "A-B:USED/GROUP" or "all" at *p, which moves past it. */
static int parse_range(struct cpus *cpus, const char **p)
{
	unsigned long from, to, used = 1, group = 1;

	if (!strncmp(*p, "all", 3)) {
		from = 0;
		to = HOST_CPUS_MAX - 1;
		*p += 3;
	} else {
		if (!number(p, &from))
			return -EINVAL;
		to = from;
		if (**p == '-') {
			++*p;
			if (!number(p, &to))
				return -EINVAL;
		}
	}
	if (**p == ':') {
		++*p;
		if (!number(p, &used) || *(*p)++ != '/' || !number(p, &group))
			return -EINVAL;
	}
	if (to < from || !group || used > group)
		return -EINVAL;
	if (to >= HOST_CPUS_MAX)
		return -ERANGE;
	for (unsigned long cpu = from; cpu <= to; cpu++)
		if ((cpu - from) % group < used)
			cpus_add(cpus, (unsigned)cpu);
	return 0;
}

int cpus_parse_list(struct cpus *out, const char *text)
{
	struct cpus cpus = { 0 };
	int err;

	while (*text && *text != '\n') {
		err = parse_range(&cpus, &text);
		if (err)
			return err;
		if (*text == ',' && text[1] && text[1] != '\n')
			text++;
		else if (*text && *text != '\n')
			return -EINVAL;
	}
	*out = cpus;
	return 0;
}

int cpus_parse_mask(struct cpus *out, const char *text)
{
	size_t len = strcspn(text, "\n");
	struct cpus cpus = { 0 };
	unsigned word = 0, digits = 0;

	if (!len)
		return -EINVAL;
	/* from the right: eight digits a word */
	while (len--) {
		unsigned char c = (unsigned char)text[len];
		unsigned value, bit = word * 32 + digits * 4;

		if (c == ',') {
			if (!digits || !len)
				return -EINVAL;
			word++;
			digits = 0;
			continue;
		}
		if (!isxdigit(c) || digits == 8)
			return -EINVAL;
		value = (unsigned)(isdigit(c) ? c - '0' : tolower(c) - 'a' + 10);
		if (value && bit >= HOST_CPUS_MAX)
			return -ERANGE;
		if (value)
			cpus.bits[bit / 64] |= (uint64_t)value << bit % 64;
		digits++;
	}
	*out = cpus;
	return 0;
}

char *cpus_list(const struct cpus *cpus)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int to;

	for (int cpu = cpus_next(cpus, 0); cpu >= 0; cpu = cpus_next(cpus, (unsigned)to + 1)) {
		for (to = cpu; cpus_has(cpus, (unsigned)to + 1);)
			to++;
		fprintf(out, "%s%d", ftell(out) ? "," : "", cpu);
		if (to > cpu)
			fprintf(out, "-%d", to);
	}
	fclose(out);
	return text;
}

char *cpus_mask(const struct cpus *cpus)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	bool begun = false;

	for (unsigned i = HOST_CPUS_MAX / 32; i-- > 0;) {
		uint32_t word = (uint32_t)(cpus->bits[i / 2] >> i % 2 * 32);

		if (begun)
			fprintf(out, ",%08x", word);
		else if (word || !i)
			fprintf(out, "%x", word);
		begun = begun || word;
	}
	fclose(out);
	return text;
}

unsigned cpus_count(const struct cpus *cpus)
{
	unsigned n = 0;

	for (unsigned i = 0; i < HOST_CPUS_MAX / 64; i++)
		n += (unsigned)__builtin_popcountll(cpus->bits[i]);
	return n;
}

bool cpus_equal(const struct cpus *a, const struct cpus *b)
{
	return !memcmp(a, b, sizeof(*a));
}

struct cpus cpus_and(const struct cpus *a, const struct cpus *b)
{
	struct cpus r;

	for (unsigned i = 0; i < HOST_CPUS_MAX / 64; i++)
		r.bits[i] = a->bits[i] & b->bits[i];
	return r;
}

struct cpus cpus_or(const struct cpus *a, const struct cpus *b)
{
	struct cpus r;

	for (unsigned i = 0; i < HOST_CPUS_MAX / 64; i++)
		r.bits[i] = a->bits[i] | b->bits[i];
	return r;
}

struct cpus cpus_without(const struct cpus *a, const struct cpus *b)
{
	struct cpus r;

	for (unsigned i = 0; i < HOST_CPUS_MAX / 64; i++)
		r.bits[i] = a->bits[i] & ~b->bits[i];
	return r;
}

int cpus_next(const struct cpus *cpus, unsigned from)
{
	for (unsigned i = from / 64; i < HOST_CPUS_MAX / 64; i++) {
		uint64_t word = cpus->bits[i];

		if (i == from / 64)
			word &= ~0ull << from % 64;
		if (word)
			return (int)(i * 64 + (unsigned)__builtin_ctzll(word));
	}
	return -1;
}
