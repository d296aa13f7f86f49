/* SPDX-License-Identifier: BSD-2-Clause */
/* The reference of a schema in Markdown: a table per object, depth first. */
#include "control/schema.h"

#include <string.h>

static void document_type(const struct schema_row *row, FILE *out)
{
	const char *const *choices;

	switch (row->type) {
	case SCHEMA_BOOL: fputs("true or false", out); break;
	case SCHEMA_INT:
	case SCHEMA_UINT:
		fprintf(out, "%lld to %lld", (long long)row->min, (long long)row->max);
		break;
	case SCHEMA_REAL:
		fprintf(out, "number, %lld to %lld", (long long)row->min, (long long)row->max);
		break;
	case SCHEMA_NAME: fputs("name", out); break;
	case SCHEMA_TEXT: fprintf(out, "text, up to %zu characters", row->size - 1); break;
	case SCHEMA_INDEX:
	case SCHEMA_CHOICE:
		for (choices = row->choices(); *choices; choices++)
			fprintf(out, "`\"%s\"`%s", *choices, choices[1] ? ", " : "");
		break;
	case SCHEMA_WORD: fprintf(out, "`\"%s\"`, `\"%s\"`", row->words[0], row->words[1]); break;
	case SCHEMA_MAC: fputs("MAC address", out); break;
	case SCHEMA_MODE: fputs("file mode, `\"0660\"`", out); break;
	case SCHEMA_USER: fputs("user, name or number", out); break;
	case SCHEMA_GROUP: fputs("group, name or number", out); break;
	case SCHEMA_TEXTS: fprintf(out, "list of up to %u texts", row->count_max); break;
	case SCHEMA_UINTS:
		fprintf(out, "list of up to %u numbers, %lld to %lld", row->count_max,
			(long long)row->min, (long long)row->max);
		break;
	case SCHEMA_OBJECT:
		fprintf(out, "object, see [%s](#%s)", row->schema->name, row->key);
		break;
	case SCHEMA_OBJECTS:
		fprintf(out, "list of objects, see [%s](#%s)", row->schema->name,
			row->schema->name);
		break;
	case SCHEMA_JSON: fputs("object", out); break;
	}
}

static void document_unset(const struct schema_row *row, FILE *out)
{
	if (row->flags & SCHEMA_REQUIRED)
		fputs("required", out);
	else if (row->unset_help)
		fputs(row->unset_help, out);
	else if (row->unset)
		fprintf(out, "`%s`", row->unset);
	else
		fputs("-", out);
}

void schema_document(const struct schema *schema, FILE *out)
{
	fprintf(out, "## %s\n\n%s\n\n", schema->name, schema->help);
	fputs("| key | value | when left out | live | meaning |\n|---|---|---|---|---|\n", out);
	for (size_t i = 0; i < schema->n_rows; i++) {
		const struct schema_row *row = &schema->rows[i];

		fprintf(out, "| `%s` | ", row->key);
		document_type(row, out);
		fputs(" | ", out);
		document_unset(row, out);
		fprintf(out, " | %s | ", row->flags & SCHEMA_RUNTIME ? "yes" : "");
		if (row->only)
			fprintf(out, "*%s*: ", row->only);
		fprintf(out, "%s |\n", row->help);
	}
	fputc('\n', out);
	for (size_t i = 0; i < schema->n_rows; i++)
		if (schema->rows[i].schema)
			schema_document(schema->rows[i].schema, out);
}
