/* SPDX-License-Identifier: BSD-2-Clause */
/* One connection, one line there, one line back. */
#include "client.h"

#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX   (64u << 20)
#define WAIT_SECONDS 15

/* Returns the socket or -errno. */
static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct timeval wait = { .tv_sec = WAIT_SECONDS };
	int fd, err;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static int send_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Receives a line into *line (freed by the caller). 0 or -errno. */
static int receive_line(int fd, char **line, size_t *len)
{
	size_t room = 65536, have = 0;
	char *buf = malloc(room);
	int err = -ENOMEM;

	while (buf) {
		ssize_t n = recv(fd, buf + have, room - have, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			err = n < 0 ? -errno : -ECONNRESET;
			break;
		}
		have += (size_t)n;
		if (buf[have - 1] == '\n') {
			*line = buf;
			*len = have;
			return 0;
		}
		if (have == room) {
			char *more = room < ANSWER_MAX ? realloc(buf, 2 * room) : NULL;

			if (!more)
				break;
			buf = more;
			room *= 2;
		}
	}
	free(buf);
	return err;
}

/* Returns the answer to the request @text, or NULL with *err set. */
static json_t *exchange(const char *text, int *err)
{
	char *line = NULL;
	size_t len = 0;
	json_t *answer;
	int fd;

	fd = connect_to(cli_socket());
	if (fd < 0) {
		*err = fd;
		return NULL;
	}
	*err = send_all(fd, text, strlen(text));
	if (!*err)
		*err = send_all(fd, "\n", 1);
	if (!*err)
		*err = receive_line(fd, &line, &len);
	close(fd);
	if (*err)
		return NULL;
	answer = json_loadb(line, len, 0, NULL);
	free(line);
	if (!answer)
		*err = -EPROTO;
	return answer;
}

static void print_error(const json_t *error)
{
	const json_t *data = json_object_get(error, "data"), *text;
	size_t i;

	if (cli_json()) {
		json_t *json = json_pack("{sO}", "error", error);

		client_print(json);
		json_decref(json);
	}
	if (!json_array_size(data))
		fprintf(stderr, "exitless: %s\n",
			json_string_value(json_object_get(error, "message")));
	json_array_foreach((json_t *)data, i, text)
		fprintf(stderr, "exitless: %s\n", json_string_value(text));
}

json_t *client_call(const char *method, json_t *params, int *status)
{
	json_t *request = json_object(), *answer, *error, *result;
	char *text;
	int err;

	json_object_set_new(request, "jsonrpc", json_string("2.0"));
	json_object_set_new(request, "id", json_integer(1));
	if (json_object_set_new(request, "method", json_string(method)) < 0) {
		fputs("exitless: the method's name is not UTF-8\n", stderr);
		json_decref(request);
		json_decref(params);
		*status = CLI_USAGE;
		return NULL;
	}
	if (params)
		json_object_set_new(request, "params", params);
	text = json_dumps(request, JSON_COMPACT);
	json_decref(request);
	answer = exchange(text, &err);
	free(text);
	if (!answer) {
		fprintf(stderr, "exitless: no daemon answers at %s: %s\n", cli_socket(),
			strerror(-err));
		*status = CLI_UNREACHABLE;
		return NULL;
	}
	error = json_object_get(answer, "error");
	result = json_incref(json_object_get(answer, "result"));
	if (error)
		print_error(error);
	*status = error || !result ? CLI_FAILED : CLI_OK;
	json_decref(answer);
	return result;
}

int client_do(const char *method, json_t *params)
{
	int status;
	json_t *result = client_call(method, params, &status);

	if (result && cli_json())
		client_print(result);
	else if (json_object_get(result, "state"))
		printf("%s\n", client_text(result, "state"));
	json_decref(result);
	return status;
}

void client_print(const json_t *json)
{
	json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
	putchar('\n');
}

int client_set_device(json_t *params, const char *id)
{
	const char *slash = strchr(id, '/');

	if (!slash)
		return -1;
	/* not UTF-8: json_stringn() gives NULL, and the daemon says what is missing */
	json_object_set_new(params, "machine", json_stringn(id, (size_t)(slash - id)));
	json_object_set_new(params, "name", json_string(slash + 1));
	return 0;
}

long long client_int(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

long long client_int_in(const json_t *object, const char *group, const char *key)
{
	return client_int(json_object_get(object, group), key);
}

const char *client_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "-";
}
