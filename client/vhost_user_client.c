/* SPDX-License-Identifier: BSD-2-Clause */
#include "client/vhost_user_client.h"

#include "client/unix.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int vhost_connect(struct vhost_client *c, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int err = -ENAMETOOLONG;

	*c = (struct vhost_client){ .fd = -1, .timeout_ms = -1 };
	if (strlen(path) >= sizeof(address.sun_path))
		return err;
	strcpy(address.sun_path, path);
	for (unsigned i = 0; i < 100; i++) {
		struct timespec ts = { .tv_nsec = 10000000 };
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0)
			return -errno;
		if (!connect(fd, (struct sockaddr *)&address, sizeof(address))) {
			c->fd = fd;
			return 0;
		}
		err = -errno;
		close(fd);
		nanosleep(&ts, NULL);
	}
	return err;
}

void vhost_timeout(struct vhost_client *c, unsigned seconds)
{
	c->timeout_ms = (int)seconds * 1000;
}

void vhost_close(struct vhost_client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

int vhost_send(struct vhost_client *c, uint32_t request, uint32_t flags, const void *payload,
	       uint32_t len, const int *fds, unsigned n_fds)
{
	char control[CMSG_SPACE(VHOST_CLIENT_FDS_MAX * sizeof(int))] __attribute__((aligned(8)));
	struct vhost_header header = { request, flags | 1, len };
	struct iovec iov[2] = { { &header, sizeof(header) }, { (void *)payload, len } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = len ? 2 : 1 };

	if (n_fds > VHOST_CLIENT_FDS_MAX)
		return -EINVAL;
	if (n_fds) {
		struct cmsghdr *cmsg;

		memset(control, 0, sizeof(control));
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
	}
	return sendmsg(c->fd, &msg, MSG_NOSIGNAL) == (ssize_t)(sizeof(header) + len) ? 0 : -EPIPE;
}

static int receive_all(struct vhost_client *c, void *buf, size_t len, int *got_fd)
{
	int err = client_receive(c->fd, buf, len, got_fd, c->timeout_ms);

	return err == -ECONNRESET ? -EPIPE : err; /* as when it cannot be sent to any more */
}

int vhost_receive(struct vhost_client *c, struct vhost_header *header, void *payload, uint32_t *len,
		  int *fd)
{
	int err;

	if (fd)
		*fd = -1;
	err = receive_all(c, header, sizeof(*header), fd);
	if (err)
		return err;
	if (header->size > *len)
		return -EMSGSIZE;
	*len = header->size;
	return header->size ? receive_all(c, payload, header->size, fd) : 0;
}

static int receive_u64(struct vhost_client *c, uint32_t request, uint64_t *value)
{
	struct vhost_header header;
	uint32_t len = sizeof(*value);
	int err = vhost_receive(c, &header, value, &len, NULL);

	if (err)
		return err;
	return header.request == request && header.flags == 5 && len == sizeof(*value) ? 0
										       : -EPROTO;
}

int vhost_request(struct vhost_client *c, uint32_t request, const void *payload, uint32_t len,
		  int fd)
{
	uint64_t result;
	int err = vhost_send(c, request, VHOST_NEED_REPLY, payload, len, &fd, fd >= 0);

	if (!err)
		err = receive_u64(c, request, &result);
	return err ? err : result ? -EIO : 0;
}

int vhost_request_u64(struct vhost_client *c, uint32_t request, uint64_t value, int fd)
{
	return vhost_request(c, request, &value, sizeof(value), fd);
}

int vhost_get_u64(struct vhost_client *c, uint32_t request, uint64_t *value)
{
	int err = vhost_send(c, request, 0, NULL, 0, NULL, 0);

	return err ? err : receive_u64(c, request, value);
}

int vhost_negotiate(struct vhost_client *c, uint64_t features, uint64_t protocol)
{
	int err = vhost_get_u64(c, VHOST_GET_FEATURES, &c->features);

	if (err)
		return err;
	c->features &= features | VHOST_F_PROTOCOL;
	if (c->features & VHOST_F_PROTOCOL) {
		err = vhost_get_u64(c, VHOST_GET_PROTOCOL_FEATURES, &c->protocol);
		if (err)
			return err;
		c->protocol &= protocol;
		err = vhost_send(c, VHOST_SET_PROTOCOL_FEATURES, 0, &c->protocol, 8, NULL, 0);
		if (err)
			return err;
	}
	err = vhost_send(c, VHOST_SET_OWNER, 0, NULL, 0, NULL, 0);
	return err ? err : vhost_send(c, VHOST_SET_FEATURES, 0, &c->features, 8, NULL, 0);
}

int vhost_add_region(struct vhost_client *c, const struct vhost_client_region *region, int fd)
{
	struct {
		uint64_t pad;
		struct vhost_client_region region;
	} message = { 0, *region };

	return vhost_request(c, VHOST_ADD_MEM_REG, &message, sizeof(message), fd);
}

static int ring_fd(struct vhost_client *c, uint32_t request, unsigned index, int fd)
{
	return vhost_request_u64(c, request, index | (fd < 0 ? 0x100 : 0), fd);
}

int vhost_ring_start(struct vhost_client *c, unsigned index, const struct vdrv *ring, uint32_t base,
		     int kick, int call)
{
	uint32_t num[2] = { index, ring->num }, at[2] = { index, base }, on[2] = { index, 1 };
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} addr = { index, 0, ring->desc_addr, ring->used_addr, ring->avail_addr, ring->used_addr };
	int err = vhost_request(c, VHOST_SET_VRING_NUM, num, sizeof(num), -1);

	if (!err)
		err = vhost_request(c, VHOST_SET_VRING_BASE, at, sizeof(at), -1);
	if (!err)
		err = vhost_request(c, VHOST_SET_VRING_ADDR, &addr, sizeof(addr), -1);
	if (!err)
		err = ring_fd(c, VHOST_SET_VRING_CALL, index, call);
	if (!err)
		err = ring_fd(c, VHOST_SET_VRING_KICK, index, kick);
	if (!err)
		err = vhost_request(c, VHOST_SET_VRING_ENABLE, on, sizeof(on), -1);
	return err;
}

int vhost_ring_stop(struct vhost_client *c, unsigned index, uint32_t *base)
{
	uint32_t state[2] = { index, 0 }, len = sizeof(state);
	struct vhost_header header;
	int err = vhost_send(c, VHOST_GET_VRING_BASE, 0, state, sizeof(state), NULL, 0);

	if (!err)
		err = vhost_receive(c, &header, state, &len, NULL);
	if (!err)
		*base = state[1];
	return err;
}
