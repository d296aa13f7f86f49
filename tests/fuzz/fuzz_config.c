/* SPDX-License-Identifier: BSD-2-Clause */
/* Any text as a configuration file: read, and when it is good written back and read again. */
#include "control/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count_mistake(void *arg, const char *text)
{
	(*(unsigned *)arg)++;
}

static int parse(const void *text, size_t len, struct config *config)
{
	char *copy = malloc(len + 1);
	unsigned mistakes = 0;
	int err;

	memcpy(copy, text, len);
	err = config_parse("fuzz", copy, len, config, count_mistake, &mistakes);
	if (!err != !mistakes)
		abort(); /* a refusal without a reason, or the other way round */
	free(copy);
	return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config config, again;
	json_t *json;
	char *text;

	if (!parse(data, size, &config)) {
		json = schema_encode(&config_schema, &config);
		text = json_dumps(json, 0);
		if (parse(text, strlen(text), &again))
			abort(); /* what we write we must be able to read */
		config_free(&again);
		free(text);
		json_decref(json);
	}
	config_free(&config);
	return 0;
}
