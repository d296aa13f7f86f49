/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The configuration file: JSON with comments, decoded by the schemas, with every mistake reported.
 * Control thread.
 */
#ifndef EXITLESS_CONTROL_CONFIG_H
#define EXITLESS_CONTROL_CONFIG_H

#include "control/objects.h"
#include "manager/manager.h"

#define CONFIG_BYTES_MAX (4u << 20)

/* Called for each mistake, in the order of the lines, with "FILE:LINE: WHERE: what is wrong". */
typedef void config_mistake_fn(void *arg, const char *text);

/* Returns 0, or -EINVAL after mistakes, -EFBIG, or what opening the file gives (reported too). The
 * caller calls config_free() in any case. */
int config_load(const char *path, struct config *config, config_mistake_fn *mistake, void *arg);
/* The same for @len bytes at @text, which is changed; @name stands for the file. */
int config_parse(const char *name, char *text, size_t len, struct config *config,
		 config_mistake_fn *mistake, void *arg);
void config_free(struct config *config);

/* Has the manager build all of it. On failure what was built stays for manager_free(). */
int config_apply(const struct config *config, struct manager *m, struct why *why);

#endif
