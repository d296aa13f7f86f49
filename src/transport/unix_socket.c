/* SPDX-License-Identifier: BSD-2-Clause */
#include "transport/unix_socket.h"

#include "base/client_fd.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPT_AGAIN_NS (100 * NS_PER_MS)

/* Is anybody listening at @address? */
static bool is_alive(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool alive;

	if (fd < 0)
		return true;
	/* EAGAIN: its backlog is full */
	alive = !connect(fd, (const struct sockaddr *)address, sizeof(*address)) ||
		errno == EAGAIN || errno == EINPROGRESS;
	close(fd);
	return alive;
}

int unix_listen(const char *path, uid_t owner, gid_t group, mode_t mode)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat st;
	int fd, err;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	if (!lstat(path, &st)) {
		if (!S_ISSOCK(st.st_mode) || is_alive(&address))
			return -EADDRINUSE;
		if (unlink(path) < 0 && errno != ENOENT)
			return -errno;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	/* nobody can connect before listen() */
	if (chmod(path, mode ? mode : 0600) < 0 ||
	    ((owner != (uid_t)-1 || group != (gid_t)-1) && chown(path, owner, group) < 0) ||
	    listen(fd, 16) < 0) {
		err = -errno;
		unlink(path);
		close(fd);
		return err;
	}
	return fd;
}

int unix_accept(struct loop_fd *listener, const char *name, struct log_limit *limit)
{
	int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), err;

	if (fd >= 0)
		return fd;
	err = -errno;
	if (err == -EAGAIN || err == -EINTR || err == -ECONNABORTED)
		return err;
	log_limited(limit, LOG_LEVEL_WARNING, "%s: clients wait to be accepted: %s", name,
		    strerror(-err));
	loop_pause(listener, time_now_ns() + ACCEPT_AGAIN_NS);
	return err;
}

/* That one recvmsg() can bring (the kernel's SCM_MAX_FD). With less room the kernel would close the
 * rest, and we wait for that. */
#define FDS_MAX 253

ssize_t unix_receive(int fd, void *buf, size_t len, int *fds, unsigned *n_fds, unsigned max_fds,
		     struct client_closer *closer)
{
	char control[CMSG_SPACE(FDS_MAX * sizeof(int))] __attribute__((aligned(8)));
	struct iovec iov = { buf, len };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	bool too_many = false;

	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		unsigned count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (unsigned i = 0; i < count; i++) {
			int got;

			memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(got));
			if (*n_fds < max_fds) {
				fds[(*n_fds)++] = got;
			} else {
				client_closer_close(closer, got);
				too_many = true;
			}
		}
	}
	return too_many || msg.msg_flags & MSG_CTRUNC ? -EMFILE : n;
}

ssize_t unix_send(int fd, const void *buf, size_t len, int send_fd)
{
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = { 0 };
	struct iovec iov = { (void *)buf, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (send_fd >= 0) {
		struct cmsghdr *c;

		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &send_fd, sizeof(int));
	}
	n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 ? -errno : n;
}
