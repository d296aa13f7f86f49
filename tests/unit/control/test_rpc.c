/* SPDX-License-Identifier: BSD-2-Clause */
/* The methods over a manager with stand-ins, and the socket with clients that behave badly. */
#include "../manager/fakes.h"
#include "base/clock.h"
#include "control/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	char directory[64], socket[96];
	struct loop *loop;
	struct control_spec spec;
	struct control control;
	struct rpc_config config;
	struct rpc_server *server;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct core_spec core;

	fakes = (struct fakes){ .nics = 0 };
	strcpy(f->directory, "/tmp/exitless-test-XXXXXX");
	if (!mkdtemp(f->directory))
		return -1;
	snprintf(f->socket, sizeof(f->socket), "%s/control.sock", f->directory);
	f->loop = loop_new();
	schema_defaults(&control_schema, &f->spec);
	strcpy(f->spec.socket, f->socket);
	f->control.m = manager_new(f->loop, f->directory);
	f->control.spec = &f->spec;
	f->config = (struct rpc_config){ .methods = control_methods, .context = &f->control };
	schema_defaults(&core_schema, &core);
	strcpy(core.name, "io0");
	if (manager_core_add(f->control.m, &core, NULL))
		return -1;
	f->server = control_serve(f->loop, &f->control);
	*state = f;
	return f->server ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	rpc_server_free(f->server);
	manager_free(f->control.m);
	loop_free(f->loop);
	assert_int_equal(access(f->socket, F_OK), -1);
	remove(f->directory);
	free(f);
	return 0;
}

/* The answer to @text, parsed; NULL if there is none. */
static json_t *ask(struct fixture *f, const char *text)
{
	char *line = rpc_answer(&f->config, text, strlen(text));
	json_t *json = line ? json_loads(line, 0, NULL) : NULL;

	if (line) {
		assert_null(strchr(line, '\n'));
		assert_non_null(json);
	}
	free(line);
	return json;
}

static void expect_error(struct fixture *f, const char *text, int code)
{
	json_t *json = ask(f, text);
	json_t *error = json_object_get(json, "error");

	assert_non_null(error);
	if (json_integer_value(json_object_get(error, "code")) != code)
		fail_msg("%s: code %lld: %s", text,
			 (long long)json_integer_value(json_object_get(error, "code")),
			 json_string_value(json_object_get(error, "message")));
	assert_true(json_string_length(json_object_get(error, "message")) > 0);
	json_decref(json);
}

static json_t *expect_result(struct fixture *f, const char *method, const char *params)
{
	char text[1024];
	json_t *json, *result;

	snprintf(text, sizeof(text),
		 "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"%s\",\"params\":%s}", method, params);
	json = ask(f, text);
	result = json_incref(json_object_get(json, "result"));
	if (!result) {
		char *dump = json_dumps(json, 0);

		fail_msg("%s: %s", text, dump);
	}
	assert_int_equal(json_integer_value(json_object_get(json, "id")), 7);
	json_decref(json);
	return result;
}

static void run(struct fixture *f, const char *method, const char *params)
{
	json_decref(expect_result(f, method, params));
}

#define CALL(method, params)                                                                       \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"" method "\",\"params\":" params "}"

static void protocol(void **state)
{
	struct fixture *f = *state;
	json_t *json;

	expect_error(f, "", -32700);
	expect_error(f, "{", -32700);
	expect_error(f, "\xff", -32700);
	expect_error(f, "{\"id\":1,\"id\":2}", -32700);
	expect_error(f, "1", -32700);
	expect_error(f, "[]", -32600);
	expect_error(f, "{}", -32600);
	expect_error(f, "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"status\"}", -32600);
	expect_error(f, "{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"status\"}", -32600);
	expect_error(f, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":3}", -32600);
	expect_error(f, CALL("status", "[1]"), -32600);
	expect_error(f, CALL("none", "{}"), -32601);
	expect_error(f, CALL("status", "{\"x\":1}"), -32602);
	/* a notification has no answer, not even to a mistake */
	assert_null(ask(f, "{\"jsonrpc\":\"2.0\",\"method\":\"status\"}"));
	assert_null(ask(f, "{\"jsonrpc\":\"2.0\",\"method\":\"none\"}"));
	assert_null(ask(f, "[{\"jsonrpc\":\"2.0\",\"method\":\"none\"}]"));
	json = ask(f, "[1, {\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"status\"},"
		      "{\"jsonrpc\":\"2.0\",\"method\":\"status\"}]");
	assert_int_equal(json_array_size(json), 2);
	assert_string_equal(json_string_value(json_object_get(json_array_get(json, 1), "id")), "a");
	json_decref(json);
}

static void too_big_a_batch(void **state)
{
	struct fixture *f = *state;
	char text[512] = "[0";

	for (int i = 0; i < RPC_BATCH_MAX; i++)
		strcat(text, ",0");
	strcat(text, "]");
	expect_error(f, text, -32600);
}

static void objects(void **state)
{
	struct fixture *f = *state;
	json_t *json, *dev;

	run(f, "add", "{\"object\":\"switch\",\"spec\":{\"name\":\"lan\"}}");
	run(f, "add",
	    "{\"object\":\"port\",\"spec\":{\"name\":\"out\",\"kind\":\"null\","
	    "\"switch\":\"lan\"}}");
	run(f, "add",
	    "{\"object\":\"machine\",\"spec\":{\"name\":\"vm1\",\"devices\":[{\"name\":"
	    "\"net0\",\"switch\":\"lan\"}]}}");
	run(f, "add", "{\"object\":\"device\",\"machine\":\"vm1\",\"spec\":{\"name\":\"net1\"}}");
	run(f, "add", "{\"object\":\"core\",\"spec\":{\"name\":\"io1\"}}");

	json = expect_result(f, "status", "{}");
	assert_int_equal(json_array_size(json_object_get(json, "cores")), 2);
	dev = json_array_get(
		json_object_get(json_array_get(json_object_get(json, "machines"), 0), "devices"),
		0);
	assert_string_equal(json_string_value(json_object_get(dev, "switch")), "lan");
	assert_true(json_is_false(json_object_get(dev, "connected")));
	json_decref(json);

	json = expect_result(f, "stats", "{\"machine\":\"vm1\",\"name\":\"net0\"}");
	assert_int_equal(json_array_size(json_object_get(json, "devices")), 1);
	dev = json_array_get(json_object_get(json, "devices"), 0);
	/* 3 traps, 30 packets, 6 interrupts, as the stand-ins count */
	assert_true(json_real_value(json_object_get(dev, "traps_per_packet")) == 0.1);
	assert_true(json_real_value(json_object_get(dev, "traps_per_interrupt")) == 0.5);
	json_decref(json);
	run(f, "stats", "{}");
	run(f, "stats", "{\"machine\":\"vm1\"}");

	json = expect_result(f, "show",
			     "{\"object\":\"device\",\"machine\":\"vm1\",\"name\":\"net0\"}");
	assert_string_equal(json_string_value(json_object_get(json, "machine")), "vm1");
	json_decref(json);
	json = expect_result(f, "show", "{\"object\":\"switch\",\"name\":\"lan\"}");
	assert_int_equal(json_array_size(json_object_get(json, "ports")), 2);
	assert_int_equal(json_integer_value(json_object_get(
				 json_array_get(json_object_get(json, "addresses"), 0), "vid")),
			 7);
	json_decref(json);
	run(f, "show", "{\"object\":\"core\",\"name\":\"io1\"}");
	run(f, "show", "{\"object\":\"port\",\"name\":\"out\"}");
	run(f, "show", "{\"object\":\"machine\",\"name\":\"vm1\"}");
	run(f, "show", "{\"object\":\"config\"}");

	run(f, "set",
	    "{\"object\":\"device\",\"machine\":\"vm1\",\"name\":\"net0\",\"spec\":"
	    "{\"core\":\"io1\",\"isolated\":true,\"link\":\"down\"}}");
	assert_false(fakes.link_up);
	run(f, "link", "{\"machine\":\"vm1\",\"name\":\"net0\",\"link\":\"up\"}");
	assert_true(fakes.link_up);
	run(f, "set", "{\"object\":\"core\",\"name\":\"io0\",\"spec\":{\"turn_packets\":5}}");
	run(f, "set", "{\"object\":\"port\",\"name\":\"out\",\"spec\":{\"isolated\":true}}");
	run(f, "set", "{\"object\":\"machine\",\"name\":\"vm1\",\"spec\":{\"weight\":5}}");
	run(f, "set", "{\"object\":\"switch\",\"name\":\"lan\",\"spec\":{}}");
	run(f, "disconnect", "{\"machine\":\"vm1\",\"name\":\"net0\"}");
	run(f, "flush", "{\"name\":\"lan\"}");
	run(f, "log", "{\"level\":\"error\"}");

	json = expect_result(f, "metrics", "{}");
	assert_non_null(strstr(json_string_value(json_object_get(json, "text")),
			       "\nexitless_device_traps{machine=\"vm1\",device=\"net0\"} 3\n"));
	json_decref(json);

	run(f, "remove", "{\"object\":\"device\",\"machine\":\"vm1\",\"name\":\"net1\"}");
	run(f, "remove", "{\"object\":\"machine\",\"name\":\"vm1\"}");
	run(f, "remove", "{\"object\":\"port\",\"name\":\"out\"}");
	run(f, "remove", "{\"object\":\"switch\",\"name\":\"lan\"}");
	run(f, "remove", "{\"object\":\"core\",\"name\":\"io1\"}");
	assert_int_equal(fakes.nics, 0);
}

static void refusals(void **state)
{
	struct fixture *f = *state;
	json_t *json;

	run(f, "add",
	    "{\"object\":\"machine\",\"spec\":{\"name\":\"vm1\",\"devices\":[{\"name\":"
	    "\"net0\"}]}}");
	expect_error(f, CALL("add", "{\"object\":\"core\",\"spec\":{\"name\":\"io0\"}}"), -32002);
	expect_error(f, CALL("add", "{\"object\":\"thing\",\"spec\":{}}"), -32602);
	expect_error(f, CALL("add", "{\"object\":\"core\"}"), -32602);
	expect_error(f, CALL("add", "{\"object\":\"core\",\"spec\":[]}"), -32602);
	expect_error(f, CALL("add", "{\"object\":\"device\",\"spec\":{\"name\":\"x\"}}"), -32602);
	expect_error(f,
		     CALL("add", "{\"object\":\"device\",\"machine\":\"no\",\"spec\":{\"name\":"
				 "\"x\"}}"),
		     -32001);
	expect_error(f, CALL("remove", "{\"object\":\"core\",\"name\":\"io0\"}"), -32003);
	expect_error(f, CALL("remove", "{\"object\":\"core\",\"name\":\"io9\"}"), -32001);
	expect_error(f, CALL("show", "{\"object\":\"core\",\"name\":\"io9\"}"), -32001);
	expect_error(f, CALL("stats", "{\"machine\":\"vm9\"}"), -32001);
	expect_error(f, CALL("stats", "{\"name\":\"net0\"}"), -32602);
	expect_error(f, CALL("set", "{\"object\":\"core\",\"name\":\"io0\",\"spec\":{\"cpu\":1}}"),
		     -32602);
	expect_error(f, CALL("set", "{\"object\":\"switch\",\"name\":\"lan\",\"spec\":{}}"),
		     -32001);
	expect_error(f, CALL("link", "{\"machine\":\"vm1\",\"name\":\"net9\",\"link\":\"up\"}"),
		     -32001);
	expect_error(f, CALL("link", "{\"machine\":\"vm1\",\"name\":\"net0\",\"link\":true}"),
		     -32602);
	expect_error(f, CALL("log", "{\"level\":\"loud\"}"), -32602);
	/* a machine of which one device cannot be is not there at all */
	expect_error(f,
		     CALL("add", "{\"object\":\"machine\",\"spec\":{\"name\":\"vm2\",\"devices\":"
				 "[{\"name\":\"a\"},{\"name\":\"b\",\"core\":\"io9\"}]}}"),
		     -32001);
	assert_int_equal(fakes.nics, 1);
	assert_null(manager_machine(f->control.m, "vm2"));
	/* all mistakes are told */
	json = ask(f, CALL("add", "{\"object\":\"core\",\"spec\":{\"nam\":1,\"cpu\":\"x\"}}"));
	assert_int_equal(json_array_size(json_object_get(json_object_get(json, "error"), "data")),
			 3);
	json_decref(json);
}

/* What a client sent comes back in an error whole, or cut between two characters; in every place of
 * the cut, with characters of two, three and four bytes. */
static void cut_texts(void **state)
{
	static const char *const characters[] = { "\u00fc", "\u20ac", "\U0001f600" };
	struct fixture *f = *state;

	for (unsigned i = 0; i < 4 * ARRAY_SIZE(characters); i++) {
		const char *character = characters[i / 4];
		char name[1024] = "", request[2048];
		json_t *json, *error;
		const char *text;

		memset(name, 'x', i % 4);
		while (strlen(name) < 600)
			strcat(name, character);
		snprintf(request, sizeof(request), CALL("%s", "{}"), name);
		json = ask(f, request);
		text = json_string_value(
			json_object_get(json_object_get(json, "error"), "message"));
		assert_non_null(strstr(text, "there is no method \""));
		assert_non_null(strstr(text, character));
		assert_int_equal(text[strlen(text) - 1], '"');
		json_decref(json);
		/* what is wrong in parameters is told twice */
		snprintf(request, sizeof(request), CALL("status", "{\"%s\":1}"), name);
		json = ask(f, request);
		error = json_object_get(json, "error");
		text = json_string_value(json_object_get(error, "message"));
		assert_non_null(strstr(text, character));
		assert_int_equal(json_array_size(json_object_get(error, "data")), 1);
		assert_string_equal(
			json_string_value(json_array_get(json_object_get(error, "data"), 0)), text);
		json_decref(json);
	}
}

/* ---- the socket -------------------------------------------------------------------------- */

static int dial(struct fixture *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(address.sun_path, f->socket);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void turn(struct fixture *f)
{
	for (int i = 0; i < 8; i++)
		assert_int_equal(loop_once(f->loop, 0), 0);
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Reads up to a line end; the length, 0 when the other end closed, -1 when nothing came. */
static ssize_t hear(struct fixture *f, int fd, char *buf, size_t size)
{
	size_t len = 0;

	for (int i = 0; i < 10000; i++) {
		ssize_t n = recv(fd, buf + len, size - 1 - len, 0);

		if (!n || (n < 0 && errno == ECONNRESET))
			return 0;
		if (n > 0) {
			len += (size_t)n;
			buf[len] = '\0';
			if (buf[len - 1] == '\n' || len == size - 1)
				return (ssize_t)len;
		}
		turn(f);
	}
	return -1;
}

#define STATUS "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n"

static void framing(void **state)
{
	struct fixture *f = *state;
	char buf[8192];
	int a = dial(f), b = dial(f);

	/* a byte at a time, with another client in between */
	for (const char *p = STATUS; *p; p++) {
		assert_int_equal(send(a, p, 1, 0), 1);
		turn(f);
		if (p == &STATUS[10]) {
			say(b, STATUS);
			assert_true(hear(f, b, buf, sizeof(buf)) > 0);
		}
	}
	assert_true(hear(f, a, buf, sizeof(buf)) > 0);
	assert_non_null(strstr(buf, "\"result\""));
	/* two in one, and an empty line */
	say(a, "\n" STATUS "\r\n{\n");
	assert_true(hear(f, a, buf, sizeof(buf)) > 0);
	if (!strstr(buf, "-32700"))
		assert_true(hear(f, a, buf, sizeof(buf)) > 0);
	assert_non_null(strstr(buf, "-32700"));
	/* half a line, then gone */
	say(b, "{\"jsonrpc\"");
	close(b);
	turn(f);
	/* its last words are answered when it closes its half only */
	say(a, STATUS);
	shutdown(a, SHUT_WR);
	assert_true(hear(f, a, buf, sizeof(buf)) > 0);
	assert_int_equal(hear(f, a, buf, sizeof(buf)), 0);
	close(a);
}

static void too_long_a_line(void **state)
{
	struct fixture *f = *state;
	static char big[65536];
	char buf[256];
	int fd = dial(f);

	memset(big, 'x', sizeof(big));
	for (unsigned i = 0; i < 4 * RPC_REQUEST_MAX / sizeof(big); i++) {
		if (send(fd, big, sizeof(big), MSG_NOSIGNAL) < 0 && errno == EPIPE)
			break;
		turn(f);
	}
	assert_int_equal(hear(f, fd, buf, sizeof(buf)), 0);
	close(fd);
}

static void does_not_read(void **state)
{
	struct fixture *f = *state;
	char buf[8192];
	int deaf = dial(f), other = dial(f);
	int sent = 0;

	/* it is not read from any more once its answers pile up */
	for (int idle = 0; idle < 50;) {
		if (send(deaf, STATUS, strlen(STATUS), MSG_NOSIGNAL) == (ssize_t)strlen(STATUS))
			sent++, idle = 0;
		else
			idle++;
		turn(f);
		assert_true(sent < 1000000);
	}
	say(other, STATUS);
	assert_true(hear(f, other, buf, sizeof(buf)) > 0);
	/* and goes on when it reads */
	assert_true(hear(f, deaf, buf, sizeof(buf)) > 0);
	close(deaf);
	close(other);
	turn(f);
}

static void too_many(void **state)
{
	struct fixture *f = *state;
	int fds[RPC_CLIENTS_MAX + 1];
	char buf[8192];

	for (int i = 0; i <= RPC_CLIENTS_MAX; i++) {
		fds[i] = dial(f);
		assert_true(fds[i] >= 0);
		turn(f);
	}
	assert_int_equal(hear(f, fds[RPC_CLIENTS_MAX], buf, sizeof(buf)), 0);
	for (int i = 0; i <= RPC_CLIENTS_MAX; i++)
		close(fds[i]);
	turn(f);
	fds[0] = dial(f);
	say(fds[0], STATUS);
	assert_true(hear(f, fds[0], buf, sizeof(buf)) > 0);
	close(fds[0]);
}

/* A client for whom there is no descriptor waits, and the loop does not spin over it: it comes
 * round for its timers only, where it would thousands of times. */
static void no_descriptor_left(void **state)
{
	struct fixture *f = *state;
	struct rlimit limit, none;
	int fd = dial(f), next = dup(0), rounds = 0;
	uint64_t until_ns;
	char buf[8192];

	assert_true(fd >= 0 && next > fd);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = (rlim_t)next;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	until_ns = time_now_ns() + 300 * NS_PER_MS;
	while (time_now_ns() < until_ns) {
		assert_int_equal(loop_once(f->loop, 50), 0);
		rounds++;
	}
	assert_true(rounds < 100);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	/* it is served as soon as there is one */
	say(fd, STATUS);
	while (recv(fd, buf, sizeof(buf), MSG_PEEK) < 0)
		assert_int_equal(loop_once(f->loop, 50), 0);
	assert_true(hear(f, fd, buf, sizeof(buf)) > 0);
	close(fd);
}

static void socket_file(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	int fd;

	assert_int_equal(stat(f->socket, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	/* another daemon does not take a live one's place */
	assert_null(control_serve(f->loop, &f->control));
	assert_int_equal(errno, EADDRINUSE);
	/* but a dead one's */
	rpc_server_free(f->server);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	{
		struct sockaddr_un address = { .sun_family = AF_UNIX };

		strcpy(address.sun_path, f->socket);
		assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	}
	close(fd);
	f->spec.mode = 0600;
	f->server = control_serve(f->loop, &f->control);
	assert_non_null(f->server);
	assert_int_equal(stat(f->socket, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	/* and never a file's */
	rpc_server_free(f->server);
	fd = open(f->socket, O_CREAT | O_WRONLY, 0600);
	close(fd);
	f->server = control_serve(f->loop, &f->control);
	assert_null(f->server);
	assert_int_equal(errno, EADDRINUSE);
	unlink(f->socket);
}

int main(void)
{
#undef T
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(protocol), T(cut_texts),   T(too_big_a_batch),    T(objects),
		T(refusals), T(framing),     T(too_long_a_line),    T(does_not_read),
		T(too_many), T(socket_file), T(no_descriptor_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
