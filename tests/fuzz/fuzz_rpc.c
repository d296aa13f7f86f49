/* SPDX-License-Identifier: BSD-2-Clause */
/* Any lines on the control socket, over a manager with stand-ins for devices. */
#include "../unit/manager/fakes.h"
#include "base/log.h"
#include "control/control.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(const struct rpc_config *config, const uint8_t *text, size_t len)
{
	char *line = rpc_answer(config, (const char *)text, len);
	json_t *json;

	if (!line)
		return;
	if (strchr(line, '\n'))
		abort(); /* an answer is one line */
	json = json_loads(line, 0, NULL);
	if (!json)
		abort(); /* and JSON */
	json_decref(json);
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_spec spec;
	struct control control = { .spec = &spec };
	struct rpc_config config = { .methods = control_methods, .context = &control };
	struct loop *loop = loop_new();
	struct core_spec core;

	log_set_level(LOG_LEVEL_ERROR);
	fakes = (struct fakes){ .nics = 0 };
	schema_defaults(&control_schema, &spec);
	schema_defaults(&core_schema, &core);
	strcpy(core.name, "io0");
	control.m = manager_new(loop, "/tmp");
	if (manager_core_add(control.m, &core, NULL))
		abort();
	while (size) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t len = end ? (size_t)(end - data) : size;

		answer(&config, data, len);
		data += end ? len + 1 : len;
		size -= end ? len + 1 : len;
	}
	manager_free(control.m);
	loop_free(loop);
	if (fakes.nics || fakes.servers || fakes.attached || fakes.switches || fakes.host_ports)
		abort(); /* something was left */
	return 0;
}
