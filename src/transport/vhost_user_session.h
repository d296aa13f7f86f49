/* SPDX-License-Identifier: BSD-2-Clause */
/* The vhost-user server's state. vhost_user.c has sockets and framing, vhost_user_messages.c the
 * table of messages, vhost_user_{device,rings,memory,inflight}.c what each does. Private to
 * transport/. */
#ifndef EXITLESS_TRANSPORT_VHOST_USER_SESSION_H
#define EXITLESS_TRANSPORT_VHOST_USER_SESSION_H

#include "base/log.h"
#include "transport/hold.h"
#include "transport/vhost_user.h"

#define VHOST_USER_PAYLOAD_MAX 512
#define VHOST_USER_FDS_MAX     8
#define VHOST_USER_VERSION     1
#define VHOST_USER_REPLY       4
#define VHOST_USER_NEED_REPLY  8

#define VHOST_F_LOG_ALL_BIT		   26
#define VHOST_USER_F_PROTOCOL_FEATURES_BIT 30

enum vhost_user_protocol_feature {
	VHOST_USER_PROTOCOL_F_MQ = 0,
	VHOST_USER_PROTOCOL_F_LOG_SHMFD = 1,
	VHOST_USER_PROTOCOL_F_RARP = 2,
	VHOST_USER_PROTOCOL_F_REPLY_ACK = 3,
	VHOST_USER_PROTOCOL_F_NET_MTU = 4,
	VHOST_USER_PROTOCOL_F_BACKEND_REQ = 5,
	VHOST_USER_PROTOCOL_F_CONFIG = 9,
	VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD = 12,
	VHOST_USER_PROTOCOL_F_RESET_DEVICE = 13,
	VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS = 15,
	VHOST_USER_PROTOCOL_F_STATUS = 16,
	VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT = 20,
	VHOST_USER_PROTOCOL_F_GPA_ADDRESSES = 21,
};

struct vhost_user_header {
	uint32_t request, flags, size;
};

struct vhost_user_region {
	uint64_t guest, size, user, offset;
};

struct vhost_user_ring {
	uint32_t num, base;
	uint32_t addr_flags;
	uint64_t desc, used, avail; /* as the front end said, in its address space */
	bool has_addr, kicked;
};

struct vhost_user_server {
	struct loop *loop;
	struct virtio_device *dev;
	char *path;
	bool connect;
	struct loop_fd listener;
	int listen_fd; /* -1: connects */
	struct loop_timer retry;

	/* the session; fd -1: none */
	struct loop_fd lfd;
	int fd;
	struct vhost_user_header header;
	uint8_t payload[VHOST_USER_PAYLOAD_MAX];
	size_t got; /* of header and payload */
	int fds[VHOST_USER_FDS_MAX];
	unsigned n_fds;
	uint8_t out[sizeof(struct vhost_user_header) + VHOST_USER_PAYLOAD_MAX];
	size_t out_len, out_sent;
	int out_fd; /* goes with the first byte; borrowed unless out_fd_owned */
	bool out_fd_owned;

	struct client_hold hold;

	/* waiting for what is in flight, before the message is handled or the session ends */
	bool waiting, ending;
	struct loop_timer drain;
	uint64_t drain_until_ns;

	uint64_t features, protocol;
	bool features_acked;
	uint8_t status;
	bool in_use; /* the device knows that rings run */
	struct vhost_user_region regions[VHOST_USER_SLOTS_MAX];
	unsigned n_regions;
	struct vhost_user_ring rings[VIRTIO_QUEUES_MAX];
	int backend_fd; /* our requests to the front end; -1: none */
	/* the front end has asked for the device's configuration as it is now, or was told to */
	bool config_known;
	/* NULL: none; and the region in it */
	struct memory_file *inflight_file;
	uint8_t *inflight;
	uint16_t inflight_queues, inflight_num;
	size_t inflight_each;
	bool inflight_packed; /* the rings it was sized for */

	struct vhost_user_stats stats;
	struct log_limit limit, accept_limit;
};

/* ---- messages ---------------------------------------------------------------------------- */

/*
 * Handles s->header and s->payload. 0: done. -EAGAIN: again when nothing is in flight in the
 * queues that were told to drain. Anything else negative: refused.
 */
int vhost_user_handle(struct vhost_user_server *s);
/* How many descriptors this message may bring, or -EINVAL when there is no such message. */
int vhost_user_max_fds(const struct vhost_user_server *s);
const char *vhost_user_name(uint32_t request);
/* True when no queue has anything in flight. */
bool vhost_user_drain_all(struct vhost_user_server *s);
bool vhost_user_drained(struct vhost_user_server *s);
/* Everything that belongs to the session; nothing is in flight. */
void vhost_user_release(struct vhost_user_server *s);
void vhost_user_config_changed(struct virtio_device *dev, void *arg);

/* The answer to the current message, @fd with it (-1: none). */
void vhost_user_reply(struct vhost_user_server *s, const void *payload, size_t len, int fd,
		      bool fd_owned);

#endif
