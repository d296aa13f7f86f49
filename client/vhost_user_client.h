/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The front end of vhost-user, as a VMM has it: for tests and load clients. Blocking, one thread.
 * Functions return 0 or -errno; -EIO: the back end refused; -EPIPE: it closed the connection.
 */
#ifndef EXITLESS_CLIENT_VHOST_USER_CLIENT_H
#define EXITLESS_CLIENT_VHOST_USER_CLIENT_H

#include "client/virtio_driver.h"

#include <sys/types.h>

#define VHOST_CLIENT_FDS_MAX 32

enum vhost_request {
	VHOST_GET_FEATURES = 1,
	VHOST_SET_FEATURES,
	VHOST_SET_OWNER,
	VHOST_RESET_OWNER,
	VHOST_SET_MEM_TABLE,
	VHOST_SET_LOG_BASE,
	VHOST_SET_LOG_FD,
	VHOST_SET_VRING_NUM,
	VHOST_SET_VRING_ADDR,
	VHOST_SET_VRING_BASE,
	VHOST_GET_VRING_BASE,
	VHOST_SET_VRING_KICK,
	VHOST_SET_VRING_CALL,
	VHOST_SET_VRING_ERR,
	VHOST_GET_PROTOCOL_FEATURES,
	VHOST_SET_PROTOCOL_FEATURES,
	VHOST_GET_QUEUE_NUM,
	VHOST_SET_VRING_ENABLE,
	VHOST_SEND_RARP,
	VHOST_NET_SET_MTU,
	VHOST_SET_BACKEND_REQ_FD,
	VHOST_GET_CONFIG = 24,
	VHOST_SET_CONFIG,
	VHOST_GET_INFLIGHT_FD = 31,
	VHOST_SET_INFLIGHT_FD,
	VHOST_RESET_DEVICE = 34,
	VHOST_GET_MAX_MEM_SLOTS = 36,
	VHOST_ADD_MEM_REG,
	VHOST_REM_MEM_REG,
	VHOST_SET_STATUS,
	VHOST_GET_STATUS,
};

#define VHOST_NEED_REPLY 8
#define VHOST_F_PROTOCOL (1ull << 30)
#define VHOST_F_LOG_ALL	 (1ull << 26)

struct vhost_header {
	uint32_t request, flags, size;
};

struct vhost_client_region {
	uint64_t guest, size, user, offset;
};

struct vhost_client {
	int fd, timeout_ms;
	uint64_t features, protocol;
};

/* Retries for a second while nobody listens. */
int vhost_connect(struct vhost_client *c, const char *path);
/* Answers are waited for this long, not for ever: -ETIMEDOUT then. */
#define VHOST_ANSWER_S 20 /* a server is given to answer, by loads */
void vhost_timeout(struct vhost_client *c, unsigned seconds);
void vhost_close(struct vhost_client *c);

/* As it is: nothing is checked, and nothing waits for an answer. */
int vhost_send(struct vhost_client *c, uint32_t request, uint32_t flags, const void *payload,
	       uint32_t len, const int *fds, unsigned n_fds);
/* The next message from the back end: *len is the room and then the length; @fd may be NULL. */
int vhost_receive(struct vhost_client *c, struct vhost_header *header, void *payload, uint32_t *len,
		  int *fd);
/* Asks for a status (REPLY_ACK) and waits for it. */
int vhost_request(struct vhost_client *c, uint32_t request, const void *payload, uint32_t len,
		  int fd);
int vhost_request_u64(struct vhost_client *c, uint32_t request, uint64_t value, int fd);
/* A request whose answer is a u64. */
int vhost_get_u64(struct vhost_client *c, uint32_t request, uint64_t *value);

/* Negotiates what both know of @features and @protocol, as owner. */
int vhost_negotiate(struct vhost_client *c, uint64_t features, uint64_t protocol);
int vhost_add_region(struct vhost_client *c, const struct vhost_client_region *region, int fd);
/* Sets a ring up and starts it; @kick and @call: eventfds, -1: none. */
int vhost_ring_start(struct vhost_client *c, unsigned index, const struct vdrv *ring, uint32_t base,
		     int kick, int call);
/* Stops it; *base is where it stands. */
int vhost_ring_stop(struct vhost_client *c, unsigned index, uint32_t *base);

#endif
