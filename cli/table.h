/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables of text: columns as wide as they need to be, numbers to the right. */
#ifndef EXITLESS_CLI_TABLE_H
#define EXITLESS_CLI_TABLE_H

#include <stdio.h>

#define TABLE_COLUMNS_MAX 16

struct table {
	unsigned n_columns, n_rows;
	char ***rows; /* rows[0]: the heads */
};

/* @heads: separated by '|'. A head that begins with '>' makes its column flush right. */
void table_init(struct table *table, const char *heads);
/* Adds a row of as many cells as there are columns, separated by '|'. */
void table_row(struct table *table, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints and frees it; nothing if it has no rows. */
void table_done(struct table *table, FILE *out);

/* A number with a unit prefix: "1.23M". In @buf of at least 16 bytes. */
const char *table_number(char *buf, double value);

#endif
