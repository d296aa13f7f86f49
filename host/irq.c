/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/irq.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
	unsigned number;
	const char *what;
	size_t len;
};

/* Rows of /proc/interrupts; there are thousands of counts in each on a large host, so it is gone
 * through once. */
struct rows {
	char *table;
	struct row *row;
	unsigned n;
};

static int by_number(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

/* "NUMBER: COUNT... what", which has as many counts as the head has CPUs; other lines (NMI:, LOC:)
 * have no number. */
static void rows_read(const struct host *host, struct rows *rows)
{
	unsigned columns = 0, room = 0;
	const char *p;

	*rows = (struct rows){ .table = host_read(host, "/proc/interrupts") };
	p = rows->table ? rows->table : "";
	for (; *p && *p != '\n'; p++)
		columns += !strncmp(p, "CPU", 3);
	while (*p) {
		const char *line = ++p, *end = line + strcspn(line, "\n");
		char *at;
		unsigned long number = strtoul(line, &at, 10);

		p = end;
		if (at >= end || *at != ':')
			continue;
		at++;
		for (unsigned i = 0; i < columns && at < end; i++) {
			at += strspn(at, " ");
			at += strspn(at, "0123456789");
		}
		at += strspn(at, " ");
		if (rows->n == room)
			rows->row = host_grow(rows->row,
					      (room = room ? 2 * room : 64) * sizeof(*rows->row));
		rows->row[rows->n++] = (struct row){ (unsigned)number, at,
						     at < end ? (size_t)(end - at) : 0 };
	}
	if (rows->n)
		qsort(rows->row, rows->n, sizeof(*rows->row), by_number);
}

static void rows_done(struct rows *rows)
{
	free(rows->row);
	free(rows->table);
}

/* On the heap. */
static char *what_of(const struct rows *rows, unsigned number)
{
	struct row key = { .number = number }, *row = NULL;

	if (rows->n)
		row = bsearch(&key, rows->row, rows->n, sizeof(key), by_number);
	return row ? host_printf("%.*s", (int)row->len, row->what) : host_text_copy("");
}

/* "vfio-msix[3](0000:01:00.0)" */
static void find_device(struct irq *irq)
{
	static const char *const forms[] = { "vfio-msix[%u](%15[0-9a-f:.])",
					     "vfio-msi[%u](%15[0-9a-f:.])" };
	const char *at = strstr(irq->what, "vfio-");

	for (unsigned i = 0; at && i < 2; i++)
		if (sscanf(at, forms[i], &irq->vector, irq->device) == 2)
			return;
	if (!at || sscanf(at, "vfio-intx(%15[0-9a-f:.])", irq->device) != 1)
		irq->device[0] = '\0';
	irq->vector = 0;
}

/* Takes @what over. */
static void add(const struct host *host, struct irqs *irqs, unsigned number, char *what)
{
	struct irq irq = { .number = number, .what = what };

	if (!host_cpus(host, &irq.affinity, "/proc/irq/%u/smp_affinity_list", number)) {
		free(what);
		return;
	}
	find_device(&irq);
	irqs->irq = host_grow(irqs->irq, (irqs->n + 1) * sizeof(irq));
	irqs->irq[irqs->n++] = irq;
}

void irqs_read(const struct host *host, struct irqs *irqs)
{
	struct host_names names = host_dir(host, "/proc/irq");
	struct rows rows;

	rows_read(host, &rows);
	*irqs = (struct irqs){ 0 };
	for (unsigned i = 0; i < names.n; i++) {
		unsigned number = (unsigned)strtoul(names.name[i], NULL, 10);

		if (isdigit((unsigned char)names.name[i][0]))
			add(host, irqs, number, what_of(&rows, number));
	}
	rows_done(&rows);
	host_names_done(&names);
}

void irqs_read_vfio(const struct host *host, struct irqs *irqs)
{
	struct rows rows;

	rows_read(host, &rows);
	*irqs = (struct irqs){ 0 };
	for (unsigned i = 0; i < rows.n; i++)
		if (memmem(rows.row[i].what, rows.row[i].len, "vfio-", 5))
			add(host, irqs, rows.row[i].number, what_of(&rows, rows.row[i].number));
	rows_done(&rows);
}

void irqs_done(struct irqs *irqs)
{
	for (unsigned i = 0; i < irqs->n; i++)
		free(irqs->irq[i].what);
	free(irqs->irq);
	*irqs = (struct irqs){ 0 };
}
