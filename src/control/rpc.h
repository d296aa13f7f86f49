/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * JSON-RPC 2.0 over a Unix stream socket, one request or batch per line, one line per answer.
 * Methods run on the control thread and answer at once. A client that sends more than it may, or
 * does not read, loses its connection; nobody waits for it.
 */
#ifndef EXITLESS_CONTROL_RPC_H
#define EXITLESS_CONTROL_RPC_H

#include "base/loop.h"

#include <jansson.h>
#include <sys/types.h>

#define RPC_REQUEST_MAX (1u << 20)  /* bytes of a line */
#define RPC_PENDING_MAX (32u << 20) /* bytes of answers that a client has not read */
#define RPC_BATCH_MAX	64
#define RPC_CLIENTS_MAX 64

/* The specification's codes, and ours (-32000 to -32099). */
enum rpc_code {
	RPC_PARSE_ERROR = -32700,
	RPC_INVALID_REQUEST = -32600,
	RPC_METHOD_NOT_FOUND = -32601,
	RPC_INVALID_PARAMS = -32602,
	RPC_INTERNAL_ERROR = -32603,
	RPC_FAILED = -32000,
	RPC_NOT_FOUND = -32001,
	RPC_EXISTS = -32002,
	RPC_BUSY = -32003,
	RPC_NOT_CHANGEABLE = -32004,
};

struct rpc_error {
	int code;
	char text[512];
	json_t *data; /* list of texts, or NULL; taken over */
};

struct rpc_method {
	const char *name;
	/* @params: an object, or NULL. Returns the result, or NULL with @error filled. */
	json_t *(*call)(void *context, const json_t *params, struct rpc_error *error);
};

struct rpc_config {
	const char *path; /* replaced if stale, -EADDRINUSE if alive */
	uid_t owner;	  /* -1: leave */
	gid_t group;
	mode_t mode;
	const struct rpc_method *methods; /* ends with a NULL name; outlives the server */
	void *context;
};

struct rpc_server;

/* NULL with errno set. */
struct rpc_server *rpc_server_new(struct loop *loop, const struct rpc_config *config);
/* Drops all clients and removes the socket. NULL is allowed. */
void rpc_server_free(struct rpc_server *server);

/* What is answered to the line @text: compact JSON without a line end (freed by the caller), or
 * NULL if nothing is. */
char *rpc_answer(const struct rpc_config *config, const char *text, size_t len);

/* @text for an answer, which may hold parts of what a client sent (UTF-8), cut anywhere: a
 * character of which the cut has left a part only is left out. NULL without memory. */
json_t *rpc_text(const char *text);

#endif
