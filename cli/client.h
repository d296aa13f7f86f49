/* SPDX-License-Identifier: BSD-2-Clause */
/* The control socket from the other side (docs/rpc.md). */
#ifndef EXITLESS_CLI_CLIENT_H
#define EXITLESS_CLI_CLIENT_H

#include <jansson.h>

/* Calls @method and returns its result, or NULL after saying on standard error why not; *status is
 * then what to exit with. @params (may be NULL) is taken over. */
json_t *client_call(const char *method, json_t *params, int *status);
/* The same for commands that print nothing but, with --json, the result. */
int client_do(const char *method, json_t *params);
/* Prints @json as text for humans' eyes and programs. */
void client_print(const json_t *json);

/* Splits "vm1/net0" into "machine" and "name" of @params. -1 when there is no '/'. */
int client_set_device(json_t *params, const char *id);

/* Numbers and texts of objects; 0, "-" where missing. */
long long client_int(const json_t *object, const char *key);
const char *client_text(const json_t *object, const char *key);
/* Of the object under @group. */
long long client_int_in(const json_t *object, const char *group, const char *key);

#endif
