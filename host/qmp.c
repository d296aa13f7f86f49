/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS	 5000
#define LINE_MAX (4u << 20) /* thousands of vCPUs */

struct qmp {
	int fd;
	char *buf;
	size_t have, room;
	long long deadline_ms; /* of the call that is made */
};

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* More bytes into the buffer; 0 or -errno. */
static int receive_more(struct qmp *qmp)
{
	long long left = qmp->deadline_ms - now_ms();
	struct pollfd readable = { .fd = qmp->fd, .events = POLLIN };
	ssize_t n;

	if (qmp->have == LINE_MAX)
		return -EMSGSIZE;
	if (qmp->have == qmp->room) {
		qmp->room = qmp->room ? 2 * qmp->room : 4096;
		qmp->buf = host_grow(qmp->buf, qmp->room);
	}
	if (left <= 0 || !poll(&readable, 1, (int)left))
		return -ETIMEDOUT;
	n = recv(qmp->fd, qmp->buf + qmp->have, qmp->room - qmp->have, MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	if (!n)
		return -ECONNRESET;
	qmp->have += (size_t)n;
	return 0;
}

/* The next message, a line; NULL with *err set. */
static json_t *receive(struct qmp *qmp, int *err)
{
	size_t seen = 0, len;
	json_t *json;
	char *end;

	while (!(end = qmp->have ? memchr(qmp->buf + seen, '\n', qmp->have - seen) : NULL)) {
		seen = qmp->have;
		*err = receive_more(qmp);
		if (*err)
			return NULL;
	}
	len = (size_t)(end - qmp->buf) + 1;
	json = json_loadb(qmp->buf, len, 0, NULL);
	qmp->have -= len;
	memmove(qmp->buf, end + 1, qmp->have);
	*err = json ? 0 : -EPROTO;
	return json;
}

/* Until the deadline that is set, however much comes meanwhile. */
static json_t *call(struct qmp *qmp, const char *command, struct host_error *error)
{
	char *text = host_printf("{\"execute\": \"%s\"}\n", command);
	size_t len = strlen(text);
	int err = send(qmp->fd, text, len, MSG_NOSIGNAL) == (ssize_t)len ? 0 : -errno;
	json_t *answer, *result = NULL;

	free(text);
	/* events come in between */
	while (!err && (answer = receive(qmp, &err))) {
		json_t *failed = json_object_get(answer, "error");

		result = json_incref(json_object_get(answer, "return"));
		if (failed)
			host_fail(error, -EPROTO, "QEMU refuses %s: %s", command,
				  json_string_value(json_object_get(failed, "desc")));
		json_decref(answer);
		if (result || failed)
			return result;
	}
	host_fail(error, err, "QEMU does not answer %s: %s", command, strerror(-err));
	return NULL;
}

json_t *qmp_call(struct qmp *qmp, const char *command, struct host_error *error)
{
	qmp->deadline_ms = now_ms() + WAIT_MS;
	return call(qmp, command, error);
}

static int greet(struct qmp *qmp, const char *path, struct host_error *error)
{
	int err;
	json_t *json = receive(qmp, &err);
	bool good = json_object_get(json, "QMP");

	json_decref(json);
	if (err == -ETIMEDOUT)
		return host_fail(error, -EBUSY, "%s: nobody greets; has QEMU another client there?",
				 path);
	if (!good)
		return host_fail(error, err ? err : -EPROTO, "%s is no QMP socket", path);
	json = call(qmp, "qmp_capabilities", error);
	json_decref(json);
	return json ? 0 : -EPROTO;
}

static int connect_path(int fd, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	return connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

/* An address has room for 108 characters; a longer path is opened first. */
static int connect_long_path(int fd, const char *path)
{
	int at = open(path, O_PATH | O_CLOEXEC), err;
	char *name;

	if (at < 0)
		return -errno;
	name = host_printf("/proc/self/fd/%d", at);
	err = connect_path(fd, name);
	free(name);
	close(at);
	return err;
}

/* The descriptor, or -errno with @error set. */
static int connect_to(const char *path, int *pid, struct host_error *error)
{
	struct timeval wait = { .tv_sec = WAIT_MS / 1000 };
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int err, fd;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return host_fail(error, -errno, "socket: %s", strerror(errno));
	/* holds for connect(), too */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	err = connect_path(fd, path);
	if (err == -ENAMETOOLONG)
		err = connect_long_path(fd, path);
	if (!err && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		err = -errno;
	if (err) {
		close(fd);
		return host_fail(error, err, "%s: %s", path, strerror(-err));
	}
	*pid = peer.pid;
	return fd;
}

int qmp_peer(const char *path, struct host_error *error)
{
	int pid, fd = connect_to(path, &pid, error);

	if (fd < 0)
		return fd;
	close(fd);
	return pid;
}

int qmp_open(const char *path, struct qmp **out, int *pid, struct host_error *error)
{
	long long deadline_ms = now_ms() + WAIT_MS;
	struct qmp *qmp;
	int err, peer, fd = connect_to(path, &peer, error);

	if (fd < 0)
		return fd;
	qmp = host_alloc(sizeof(*qmp));
	qmp->fd = fd;
	qmp->deadline_ms = deadline_ms;
	err = greet(qmp, path, error);
	if (err) {
		qmp_close(qmp);
		return err;
	}
	*out = qmp;
	*pid = peer;
	return 0;
}

void qmp_close(struct qmp *qmp)
{
	if (!qmp)
		return;
	close(qmp->fd);
	free(qmp->buf);
	free(qmp);
}
