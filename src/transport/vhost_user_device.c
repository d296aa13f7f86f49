/* SPDX-License-Identifier: BSD-2-Clause */
/* The device as a whole: features, status, reset, configuration, and messages for one kind only. */
#include "base/util.h"
#include "transport/vhost_user_messages.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONFIG_MAX 256u

/* ---- features ---------------------------------------------------------------------------- */

static uint64_t all_features(const struct vhost_user_server *s)
{
	return s->dev->features | 1ull << VHOST_F_LOG_ALL_BIT |
	       1ull << VHOST_USER_F_PROTOCOL_FEATURES_BIT;
}

static uint64_t all_protocol_features(const struct vhost_user_server *s)
{
	uint64_t bits = 1ull << VHOST_USER_PROTOCOL_F_MQ | 1ull << VHOST_USER_PROTOCOL_F_LOG_SHMFD |
			1ull << VHOST_USER_PROTOCOL_F_REPLY_ACK |
			1ull << VHOST_USER_PROTOCOL_F_BACKEND_REQ |
			1ull << VHOST_USER_PROTOCOL_F_RESET_DEVICE |
			1ull << VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS |
			1ull << VHOST_USER_PROTOCOL_F_STATUS |
			1ull << VHOST_USER_PROTOCOL_F_GPA_ADDRESSES;

	if (s->dev->has_config)
		bits |= 1ull << VHOST_USER_PROTOCOL_F_CONFIG;
	if (s->dev->in_flight)
		bits |= 1ull << VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD |
			1ull << VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT;
	if (s->dev->ops->mtu_set)
		bits |= 1ull << VHOST_USER_PROTOCOL_F_NET_MTU;
	if (s->dev->ops->announce)
		bits |= 1ull << VHOST_USER_PROTOCOL_F_RARP;
	return bits;
}

int vhost_user_get_features(struct vhost_user_server *s)
{
	vhost_user_reply_u64(s, all_features(s));
	return 0;
}

int vhost_user_set_features(struct vhost_user_server *s)
{
	uint64_t features = load_le64(s->payload), acked = features & s->dev->features;

	if (features & ~all_features(s))
		return -EINVAL;
	if (vhost_user_any_started(s) && acked != s->dev->acked)
		return -EBUSY;
	s->features = features;
	if (acked != s->dev->acked || !s->features_acked) {
		s->dev->acked = acked;
		if (s->dev->ops->features_set)
			s->dev->ops->features_set(s->dev, acked);
	}
	s->features_acked = true;
	/* the log may come and go while rings run */
	for (unsigned i = 0; i < s->dev->n_queues; i++) {
		struct virtqueue *vq = s->dev->queues[i];

		pthread_mutex_lock(&vq->lock);
		vhost_user_ring_log(s, i);
		if (vq->started && !(features >> VHOST_USER_F_PROTOCOL_FEATURES_BIT & 1))
			virtqueue_enable(vq, true);
		pthread_mutex_unlock(&vq->lock);
	}
	return 0;
}

int vhost_user_get_protocol_features(struct vhost_user_server *s)
{
	vhost_user_reply_u64(s, all_protocol_features(s));
	return 0;
}

int vhost_user_set_protocol_features(struct vhost_user_server *s)
{
	uint64_t bits = load_le64(s->payload);

	if (bits & ~all_protocol_features(s))
		return -EINVAL;
	/* the addresses of rings that run would lead elsewhere */
	if (vhost_user_any_started(s) &&
	    (bits ^ s->protocol) >> VHOST_USER_PROTOCOL_F_GPA_ADDRESSES & 1)
		return -EBUSY;
	s->protocol = bits;
	return 0;
}

int vhost_user_nothing(struct vhost_user_server *s)
{
	return 0;
}

int vhost_user_get_queue_num(struct vhost_user_server *s)
{
	vhost_user_reply_u64(s, s->dev->in_pairs ? s->dev->n_queues / 2 : s->dev->n_queues);
	return 0;
}

int vhost_user_get_status(struct vhost_user_server *s)
{
	vhost_user_reply_u64(s, s->status);
	return 0;
}

int vhost_user_set_status(struct vhost_user_server *s)
{
	s->status = s->payload[0];
	return 0;
}

int vhost_user_reset_device(struct vhost_user_server *s)
{
	if (!vhost_user_drain_all(s))
		return -EAGAIN;
	for (unsigned i = 0; i < s->dev->n_queues; i++) {
		vhost_user_stop_ring(s, i);
		virtqueue_enable(s->dev->queues[i], false);
		s->rings[i] = (struct vhost_user_ring){ 0 };
	}
	/* of a ring that was broken, requests are left in it: not for the next driver */
	vhost_user_clear_inflight(s);
	/* the driver negotiates anew, though it may well be the same */
	s->dev->acked = 0;
	s->features_acked = false;
	s->status = 0;
	s->stats.resets++;
	if (s->dev->ops->reset)
		s->dev->ops->reset(s->dev);
	return 0;
}

/* ---- configuration, and the rest ---------------------------------------------------------- */

int vhost_user_get_config(struct vhost_user_server *s)
{
	uint32_t offset = load_le32(s->payload), size = load_le32(s->payload + 4);

	if (!s->dev->ops->config_read)
		return -EOPNOTSUPP;
	if (size > CONFIG_MAX || s->header.size < VHOST_USER_CONFIG_HEAD + size ||
	    offset > CONFIG_MAX) {
		vhost_user_reply(s, NULL, 0, -1, false);
		return 0;
	}
	memset(s->payload + VHOST_USER_CONFIG_HEAD, 0, size);
	if (s->dev->ops->config_read(s->dev, offset, s->payload + VHOST_USER_CONFIG_HEAD, size))
		vhost_user_reply(s, NULL, 0, -1, false);
	else
		vhost_user_reply(s, s->payload, VHOST_USER_CONFIG_HEAD + size, -1, false);
	s->config_known = true;
	return 0;
}

int vhost_user_set_config(struct vhost_user_server *s)
{
	uint32_t offset = load_le32(s->payload), size = load_le32(s->payload + 4);
	uint32_t flags = load_le32(s->payload + 8);

	if (size > CONFIG_MAX || s->header.size < VHOST_USER_CONFIG_HEAD + size || flags > 1 ||
	    offset > CONFIG_MAX)
		return -EINVAL;
	if (!s->dev->ops->config_write)
		return -EPERM;
	return s->dev->ops->config_write(s->dev, offset, s->payload + VHOST_USER_CONFIG_HEAD, size,
					 flags);
}

int vhost_user_set_backend_req_fd(struct vhost_user_server *s)
{
	int domain = -1;
	socklen_t len = sizeof(domain);

	/* others may make a send() wait, whatever its flags say */
	if (s->n_fds != 1 || getsockopt(s->fds[0], SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ||
	    domain != AF_UNIX)
		return -EINVAL;
	client_closer_close(s->hold.closer, s->backend_fd);
	s->backend_fd = vhost_user_take_fd(s);
	/* rings may run already */
	vhost_user_tell_config(s);
	return 0;
}

/* QEMU asks for the configuration once, when the device is made: not when it connects again, nor
 * when it starts the rings. And before it has started one it does not listen. */
void vhost_user_tell_config(struct vhost_user_server *s)
{
	/* VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, no answer wanted */
	struct vhost_user_header header = { .request = 2, .flags = VHOST_USER_VERSION };

	if (s->config_known || s->backend_fd < 0 || !vhost_user_any_started(s) ||
	    !vhost_user_has(s, VHOST_USER_PROTOCOL_F_CONFIG))
		return;
	s->config_known = send(s->backend_fd, &header, sizeof(header),
			       MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(header);
	if (!s->config_known)
		log_limited(&s->limit, LOG_LEVEL_WARNING,
			    "%s: the front end does not take a change of configuration",
			    s->dev->name);
}

void vhost_user_config_changed(struct virtio_device *dev, void *arg)
{
	struct vhost_user_server *s = arg;

	s->config_known = false;
	vhost_user_tell_config(s);
}

int vhost_user_net_set_mtu(struct vhost_user_server *s)
{
	return s->dev->ops->mtu_set ? s->dev->ops->mtu_set(s->dev, load_le64(s->payload))
				    : -EOPNOTSUPP;
}

int vhost_user_send_rarp(struct vhost_user_server *s)
{
	if (!s->dev->ops->announce)
		return -EOPNOTSUPP;
	s->dev->ops->announce(s->dev, s->payload);
	return 0;
}

void vhost_user_release(struct vhost_user_server *s)
{
	for (unsigned i = 0; i < s->dev->n_queues; i++) {
		vhost_user_stop_ring(s, i);
		virtqueue_enable(s->dev->queues[i], false);
		virtqueue_set_call(s->dev->queues[i], -1);
		virtqueue_set_err(s->dev->queues[i], -1);
		s->rings[i] = (struct vhost_user_ring){ 0 };
	}
	vhost_user_drop_inflight(s);
	memory_space_unmap(s->dev->space, 0, 0);
	memory_space_log(s->dev->space, -1, 0, 0);
	s->n_regions = 0;
	client_closer_close(s->hold.closer, s->backend_fd);
	s->backend_fd = -1;
	s->features = s->protocol = 0;
	s->features_acked = s->config_known = false;
	s->status = 0;
	s->dev->acked = 0;
	if (s->dev->ops->reset)
		s->dev->ops->reset(s->dev);
}
