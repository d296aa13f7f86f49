/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/map.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A number in decimal; -1 if there is none. */
static long number(char **p)
{
	long value;

	*p += strspn(*p, " \t\r");
	if (!isdigit((unsigned char)**p))
		return -1;
	errno = 0;
	value = strtol(*p, p, 10);
	return errno || (**p && !strchr(" \t\r", **p)) ? -1 : value;
}

static int by_vcpu(const void *a, const void *b)
{
	unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

	return x < y ? -1 : x > y;
}

/* 1: the line says nothing. */
static int parse_line(struct cpu_map *map, char *line, const char *where, struct host_error *error)
{
	long vcpu, pcpu;
	char *p = line;

	line[strcspn(line, "#")] = '\0';
	if (!line[strspn(line, " \t\r")])
		return 1;
	vcpu = number(&p);
	pcpu = vcpu < 0 ? -1 : number(&p);
	if (pcpu < 0 || p[strspn(p, " \t\r")])
		return host_fail(error, -EINVAL,
				 "%s: two numbers are wanted, a vCPU and a physical CPU", where);
	if (vcpu >= HOST_CPUS_MAX || pcpu >= HOST_CPUS_MAX)
		return host_fail(error, -EINVAL, "%s: CPU numbers end at %d", where,
				 HOST_CPUS_MAX - 1);
	for (unsigned i = 0; i < map->n; i++) {
		if (map->pin[i].vcpu == (unsigned)vcpu)
			return host_fail(error, -EINVAL, "%s: vCPU %ld is there already", where,
					 vcpu);
		if (map->pin[i].pcpu == (unsigned)pcpu)
			return host_fail(error, -EINVAL, "%s: CPU %ld has vCPU %u already", where,
					 pcpu, map->pin[i].vcpu);
	}
	map->pin[map->n].vcpu = (unsigned)vcpu;
	map->pin[map->n++].pcpu = (unsigned)pcpu;
	return 0;
}

int cpu_map_parse(struct cpu_map *map, const char *name, const char *text, struct host_error *error)
{
	char *copy = host_text_copy(text), *rest = copy, *line;
	unsigned number = 0;
	int err = 0;

	map->n = 0;
	while (err >= 0 && (line = strsep(&rest, "\n"))) {
		char *where = host_printf("%s:%u", name, ++number);

		err = parse_line(map, line, where, error);
		free(where);
	}
	free(copy);
	if (err < 0)
		return err;
	if (!map->n)
		return host_fail(error, -EINVAL, "%s: no vCPU is in it", name);
	qsort(map->pin, map->n, sizeof(map->pin[0]), by_vcpu);
	return 0;
}

int cpu_map_read(struct cpu_map *map, const char *path, struct host_error *error)
{
	FILE *in = strcmp(path, "-") ? fopen(path, "re") : stdin;
	char *text = NULL;
	size_t room = 0;
	ssize_t n;
	int err;

	if (!in)
		return host_fail(error, -errno, "%s: %s", path, strerror(errno));
	errno = 0;
	n = getdelim(&text, &room, '\0', in);
	if (n < 0 && errno)
		err = host_fail(error, -errno, "%s: %s", path, strerror(errno));
	else
		err = cpu_map_parse(map, path, n < 0 ? "" : text, error);
	free(text);
	if (in != stdin)
		fclose(in);
	return err;
}

char *cpu_map_print(const struct cpu_map *map)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	for (unsigned i = 0; i < map->n; i++)
		fprintf(out, "%u %u\n", map->pin[i].vcpu, map->pin[i].pcpu);
	fclose(out);
	return text;
}
