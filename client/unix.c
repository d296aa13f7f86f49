/* SPDX-License-Identifier: BSD-2-Clause */
#include "client/unix.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int client_receive(int fd, void *buf, size_t len, int *got_fd, int timeout_ms)
{
	uint8_t *at = buf;

	while (len) {
		char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
		struct iovec iov = { at, len };
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = control,
				      .msg_controllen = sizeof(control) };
		struct pollfd pfd = { fd, POLLIN, 0 };
		struct cmsghdr *cmsg;
		ssize_t n;

		if (!poll(&pfd, 1, timeout_ms))
			return -ETIMEDOUT;
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
		if (n <= 0)
			return -ECONNRESET;
		cmsg = CMSG_FIRSTHDR(&msg);
		if (cmsg && cmsg->cmsg_type == SCM_RIGHTS) {
			int got;

			memcpy(&got, CMSG_DATA(cmsg), sizeof(got));
			if (got_fd)
				*got_fd = got;
			else
				close(got);
		}
		at += n;
		len -= (size_t)n;
	}
	return 0;
}
