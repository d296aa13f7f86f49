/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What each message of the front end does: vhost_user_messages.c has the table, the other files the
 * handlers, by what they are about. A handler finds the message in s->header, s->payload (no
 * shorter than the table asks for) and s->fds; descriptors that it leaves there are closed. It
 * returns 0, -EAGAIN (again when the queues that it drained have nothing in flight), or the error
 * that refuses the message. Private to transport/; control thread.
 */
#ifndef EXITLESS_TRANSPORT_VHOST_USER_MESSAGES_H
#define EXITLESS_TRANSPORT_VHOST_USER_MESSAGES_H

#include "transport/vhost_user_session.h"

#define VHOST_USER_CONFIG_HEAD 12u

static inline bool vhost_user_has(const struct vhost_user_server *s,
				  enum vhost_user_protocol_feature feature)
{
	return s->protocol >> feature & 1;
}

/* The message's only descriptor, the caller's from now on; -1: it brought none. */
static inline int vhost_user_take_fd(struct vhost_user_server *s)
{
	int fd = s->n_fds ? s->fds[0] : -1;

	if (fd >= 0)
		s->fds[0] = -1;
	return fd;
}

static inline void vhost_user_reply_u64(struct vhost_user_server *s, uint64_t value)
{
	vhost_user_reply(s, &value, sizeof(value), -1, false);
}

/* ---- the device: vhost_user_device.c ------------------------------------------------------- */

int vhost_user_get_features(struct vhost_user_server *s);
int vhost_user_set_features(struct vhost_user_server *s);
int vhost_user_get_protocol_features(struct vhost_user_server *s);
int vhost_user_set_protocol_features(struct vhost_user_server *s);
int vhost_user_nothing(struct vhost_user_server *s);
int vhost_user_get_queue_num(struct vhost_user_server *s);
int vhost_user_get_status(struct vhost_user_server *s);
int vhost_user_set_status(struct vhost_user_server *s);
int vhost_user_reset_device(struct vhost_user_server *s);
int vhost_user_get_config(struct vhost_user_server *s);
int vhost_user_set_config(struct vhost_user_server *s);
int vhost_user_set_backend_req_fd(struct vhost_user_server *s);
/* A ring was started: tells the front end of a configuration that it may not know. */
void vhost_user_tell_config(struct vhost_user_server *s);
int vhost_user_net_set_mtu(struct vhost_user_server *s);
int vhost_user_send_rarp(struct vhost_user_server *s);

/* ---- rings: vhost_user_rings.c ------------------------------------------------------------- */

int vhost_user_set_vring_num(struct vhost_user_server *s);
int vhost_user_set_vring_addr(struct vhost_user_server *s);
int vhost_user_set_vring_base(struct vhost_user_server *s);
int vhost_user_get_vring_base(struct vhost_user_server *s);
int vhost_user_set_vring_kick(struct vhost_user_server *s);
int vhost_user_set_vring_call(struct vhost_user_server *s);
int vhost_user_set_vring_err(struct vhost_user_server *s);
int vhost_user_set_vring_enable(struct vhost_user_server *s);

/* Undoes vhost_user_drain_all(). */
void vhost_user_resume_all(struct vhost_user_server *s);
/* Stops ring @i, which has nothing in flight; its position is kept. */
void vhost_user_stop_ring(struct vhost_user_server *s, unsigned i);
bool vhost_user_any_started(const struct vhost_user_server *s);
/* Drains the rings that vhost_user_restart_rings() would move now; true when they have nothing in
 * flight. */
bool vhost_user_drain_moved(struct vhost_user_server *s);
/* Memory has changed, and queues that move are drained: moves rings, and starts those that now can.
 */
int vhost_user_restart_rings(struct vhost_user_server *s);
/* Lock of queue @i held, or it is not started: whether it logs what it writes. */
void vhost_user_ring_log(struct vhost_user_server *s, unsigned i);

/* ---- memory: vhost_user_memory.c ----------------------------------------------------------- */

int vhost_user_set_mem_table(struct vhost_user_server *s);
int vhost_user_add_mem_reg(struct vhost_user_server *s);
int vhost_user_rem_mem_reg(struct vhost_user_server *s);
int vhost_user_get_max_mem_slots(struct vhost_user_server *s);
int vhost_user_set_log_base(struct vhost_user_server *s);

/* ---- the in-flight region: vhost_user_inflight.c ------------------------------------------- */

int vhost_user_get_inflight_fd(struct vhost_user_server *s);
int vhost_user_set_inflight_fd(struct vhost_user_server *s);
/* No queue is started. */
void vhost_user_drop_inflight(struct vhost_user_server *s);
/* The same; it stays, but what is in it concerns no one any more. */
void vhost_user_clear_inflight(struct vhost_user_server *s);

#endif
