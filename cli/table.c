/* SPDX-License-Identifier: BSD-2-Clause */
#include "table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Splits @line, which the row then owns. */
static void add_row(struct table *table, char *line)
{
	char **row = calloc(TABLE_COLUMNS_MAX, sizeof(*row));
	char ***rows = realloc(table->rows, (table->n_rows + 1) * sizeof(*rows));
	unsigned n = 0;

	if (!row || !rows || !line) {
		fputs("exitless: out of memory\n", stderr);
		exit(1);
	}
	table->rows = rows;
	rows[table->n_rows++] = row;
	while (n < TABLE_COLUMNS_MAX) {
		row[n++] = line;
		line = strchr(line, '|');
		if (!line)
			break;
		*line++ = '\0';
	}
	if (table->n_rows == 1)
		table->n_columns = n;
	for (; n < table->n_columns; n++)
		row[n] = row[0] + strlen(row[0]);
}

void table_init(struct table *table, const char *heads)
{
	*table = (struct table){ .n_rows = 0 };
	add_row(table, strdup(heads));
}

void table_row(struct table *table, const char *fmt, ...)
{
	char *line;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&line, fmt, ap) < 0)
		line = NULL;
	va_end(ap);
	add_row(table, line);
}

static void print_cell(const char *cell, size_t width, int right, int last, FILE *out)
{
	if (right)
		fprintf(out, "%*s", (int)width, cell);
	else if (last)
		fputs(cell, out);
	else
		fprintf(out, "%-*s", (int)width, cell);
	fputs(last ? "\n" : "  ", out);
}

void table_done(struct table *table, FILE *out)
{
	int right[TABLE_COLUMNS_MAX] = { 0 };
	size_t width[TABLE_COLUMNS_MAX] = { 0 };

	for (unsigned j = 0; j < table->n_columns; j++)
		if (table->rows[0][j][0] == '>')
			right[j] = 1;
	for (unsigned i = 0; i < table->n_rows; i++)
		for (unsigned j = 0; j < table->n_columns; j++) {
			size_t len = strlen(table->rows[i][j]) - (!i && right[j]);

			if (len > width[j])
				width[j] = len;
		}
	for (unsigned i = 0; i < table->n_rows; i++) {
		for (unsigned j = 0; table->n_rows > 1 && j < table->n_columns; j++)
			print_cell(table->rows[i][j] + (!i && right[j]), width[j], right[j],
				   j + 1 == table->n_columns, out);
		free(table->rows[i][0]);
		free(table->rows[i]);
	}
	free(table->rows);
}

const char *table_number(char *buf, double value)
{
	static const char prefixes[] = " kMGTPE";
	unsigned i = 0;

	while (value >= 999.5 && i < sizeof(prefixes) - 2) {
		value /= 1000;
		i++;
	}
	if (!i)
		snprintf(buf, 16, "%.0f", value);
	else
		snprintf(buf, 16, "%.*f%c",
			 value < 10    ? 2
			 : value < 100 ? 1
				       : 0,
			 value, prefixes[i]);
	return buf;
}
