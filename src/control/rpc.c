/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests and answers (JSON-RPC 2.0, www.jsonrpc.org/specification); the socket is in listen.c. */
#include "control/rpc.h"

#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* @id is taken over. */
static json_t *answer_new(json_t *id)
{
	json_t *answer = json_object();

	json_object_set_new(answer, "jsonrpc", json_string("2.0"));
	json_object_set_new(answer, "id", id ? id : json_null());
	return answer;
}

/* Bytes of the UTF-8 character at @text (RFC 3629, section 3); 0 if it is none, or not all of it.
 */
static size_t character_bytes(const char *text)
{
	unsigned char first = (unsigned char)text[0];
	size_t len = first < 0x80 ? 1 : first < 0xc0 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

	for (size_t i = 1; i < len; i++)
		if (((unsigned char)text[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

json_t *rpc_text(const char *text)
{
	json_t *json = json_string(text);
	char *whole, *to;

	if (json)
		return json;
	whole = to = malloc(strlen(text) + 1);
	if (!whole)
		return NULL;
	while (*text) {
		size_t len = character_bytes(text);

		memcpy(to, text, len);
		to += len;
		text += MAX(len, (size_t)1);
	}
	*to = '\0';
	json = json_string(whole);
	free(whole);
	return json ? json : json_string("(not UTF-8)");
}

static json_t *answer_error(json_t *id, int code, const char *text, json_t *data)
{
	json_t *answer = answer_new(id), *error = json_object();

	json_object_set_new(error, "code", json_integer(code));
	json_object_set_new(error, "message", rpc_text(text));
	if (data)
		json_object_set_new(error, "data", data);
	json_object_set_new(answer, "error", error);
	return answer;
}

static const struct rpc_method *find_method(const struct rpc_config *config, const char *name)
{
	const struct rpc_method *method;

	for (method = config->methods; method->name; method++)
		if (!strcmp(method->name, name))
			return method;
	return NULL;
}

/* What is wrong with @request as such, or NULL. */
static const char *request_check(const json_t *request)
{
	const char *version = json_string_value(json_object_get(request, "jsonrpc"));
	json_t *params = json_object_get(request, "params");
	json_t *id = json_object_get(request, "id");

	if (!json_is_object(request))
		return "a request is an object";
	if (!version || strcmp(version, "2.0"))
		return "\"jsonrpc\" must be \"2.0\"";
	if (!json_is_string(json_object_get(request, "method")))
		return "\"method\" must be a text";
	if (params && !json_is_object(params))
		return "\"params\" must be an object";
	if (id && !json_is_string(id) && !json_is_number(id) && !json_is_null(id))
		return "\"id\" must be a text, a number or null";
	return NULL;
}

/* Returns the answer, or NULL for a notification. */
static json_t *handle_one(const struct rpc_config *config, const json_t *request)
{
	const char *wrong = request_check(request);
	const struct rpc_method *method;
	struct rpc_error error = { .code = RPC_INTERNAL_ERROR, .text = "internal error" };
	json_t *id, *result, *answer;
	const char *name;

	if (wrong)
		return answer_error(NULL, RPC_INVALID_REQUEST, wrong, NULL);
	id = json_object_get(request, "id");
	name = json_string_value(json_object_get(request, "method"));
	method = find_method(config, name);
	if (method) {
		result = method->call(config->context, json_object_get(request, "params"), &error);
	} else {
		result = NULL;
		error.code = RPC_METHOD_NOT_FOUND;
		snprintf(error.text, sizeof(error.text), "there is no method \"%.60s\"", name);
	}
	if (!id) {
		json_decref(result);
		json_decref(error.data);
		return NULL;
	}
	if (!result)
		return answer_error(json_incref(id), error.code, error.text, error.data);
	answer = answer_new(json_incref(id));
	json_object_set_new(answer, "result", result);
	return answer;
}

static json_t *handle_batch(const struct rpc_config *config, const json_t *batch)
{
	json_t *answers, *request, *answer;
	size_t i;

	if (!json_array_size(batch))
		return answer_error(NULL, RPC_INVALID_REQUEST, "an empty batch", NULL);
	if (json_array_size(batch) > RPC_BATCH_MAX)
		return answer_error(NULL, RPC_INVALID_REQUEST, "too many requests in a batch",
				    NULL);
	answers = json_array();
	json_array_foreach(batch, i, request)
	{
		answer = handle_one(config, request);
		if (answer)
			json_array_append_new(answers, answer);
	}
	if (json_array_size(answers))
		return answers;
	json_decref(answers); /* notifications only */
	return NULL;
}

char *rpc_answer(const struct rpc_config *config, const char *text, size_t len)
{
	json_error_t error;
	json_t *request, *answer;
	char *line = NULL;

	request = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (!request) {
		char why[sizeof(error.text) + 32];

		snprintf(why, sizeof(why), "column %d: %s", error.column, error.text);
		answer = answer_error(NULL, RPC_PARSE_ERROR, why, NULL);
	} else if (json_is_array(request)) {
		answer = handle_batch(config, request);
	} else {
		answer = handle_one(config, request);
	}
	if (answer)
		line = json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(9));
	json_decref(answer);
	json_decref(request);
	return line;
}
