/* SPDX-License-Identifier: BSD-2-Clause */
/* The messages of the front end by number, and what each may look like. */
#include "transport/vhost_user_messages.h"

#include <errno.h>

#define ALWAYS (-1)

/* By number; @size: least payload; @needs: protocol feature without which it may not come. */
static const struct message {
	const char *name;
	int (*handle)(struct vhost_user_server *s);
	uint16_t size;
	uint8_t max_fds;
	int8_t needs;
} messages[] = {
	[1] = { "GET_FEATURES", vhost_user_get_features, 0, 0, ALWAYS },
	[2] = { "SET_FEATURES", vhost_user_set_features, 8, 0, ALWAYS },
	[3] = { "SET_OWNER", vhost_user_nothing, 0, 0, ALWAYS },
	[4] = { "RESET_OWNER", vhost_user_nothing, 0, 0, ALWAYS },
	[5] = { "SET_MEM_TABLE", vhost_user_set_mem_table, 8, 8, ALWAYS },
	[6] = { "SET_LOG_BASE", vhost_user_set_log_base, 16, 1, VHOST_USER_PROTOCOL_F_LOG_SHMFD },
	[7] = { "SET_LOG_FD", vhost_user_nothing, 0, 1, ALWAYS },
	[8] = { "SET_VRING_NUM", vhost_user_set_vring_num, 8, 0, ALWAYS },
	[9] = { "SET_VRING_ADDR", vhost_user_set_vring_addr, 40, 0, ALWAYS },
	[10] = { "SET_VRING_BASE", vhost_user_set_vring_base, 8, 0, ALWAYS },
	[11] = { "GET_VRING_BASE", vhost_user_get_vring_base, 8, 0, ALWAYS },
	[12] = { "SET_VRING_KICK", vhost_user_set_vring_kick, 8, 1, ALWAYS },
	[13] = { "SET_VRING_CALL", vhost_user_set_vring_call, 8, 1, ALWAYS },
	[14] = { "SET_VRING_ERR", vhost_user_set_vring_err, 8, 1, ALWAYS },
	[15] = { "GET_PROTOCOL_FEATURES", vhost_user_get_protocol_features, 0, 0, ALWAYS },
	[16] = { "SET_PROTOCOL_FEATURES", vhost_user_set_protocol_features, 8, 0, ALWAYS },
	[17] = { "GET_QUEUE_NUM", vhost_user_get_queue_num, 0, 0, ALWAYS },
	[18] = { "SET_VRING_ENABLE", vhost_user_set_vring_enable, 8, 0, ALWAYS },
	[19] = { "SEND_RARP", vhost_user_send_rarp, 8, 0, VHOST_USER_PROTOCOL_F_RARP },
	[20] = { "NET_SET_MTU", vhost_user_net_set_mtu, 8, 0, VHOST_USER_PROTOCOL_F_NET_MTU },
	[21] = { "SET_BACKEND_REQ_FD", vhost_user_set_backend_req_fd, 0, 1,
		 VHOST_USER_PROTOCOL_F_BACKEND_REQ },
	[24] = { "GET_CONFIG", vhost_user_get_config, VHOST_USER_CONFIG_HEAD, 0,
		 VHOST_USER_PROTOCOL_F_CONFIG },
	[25] = { "SET_CONFIG", vhost_user_set_config, VHOST_USER_CONFIG_HEAD, 0,
		 VHOST_USER_PROTOCOL_F_CONFIG },
	[31] = { "GET_INFLIGHT_FD", vhost_user_get_inflight_fd, 20, 0,
		 VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD },
	[32] = { "SET_INFLIGHT_FD", vhost_user_set_inflight_fd, 20, 1,
		 VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD },
	[34] = { "RESET_DEVICE", vhost_user_reset_device, 0, 0,
		 VHOST_USER_PROTOCOL_F_RESET_DEVICE },
	[36] = { "GET_MAX_MEM_SLOTS", vhost_user_get_max_mem_slots, 0, 0,
		 VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS },
	[37] = { "ADD_MEM_REG", vhost_user_add_mem_reg, 40, 1,
		 VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS },
	[38] = { "REM_MEM_REG", vhost_user_rem_mem_reg, 40, 1,
		 VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS },
	[39] = { "SET_STATUS", vhost_user_set_status, 8, 0, VHOST_USER_PROTOCOL_F_STATUS },
	[40] = { "GET_STATUS", vhost_user_get_status, 0, 0, VHOST_USER_PROTOCOL_F_STATUS },
};

static const struct message *message_of(uint32_t request)
{
	return request < ARRAY_SIZE(messages) && messages[request].handle ? &messages[request]
									  : NULL;
}

const char *vhost_user_name(uint32_t request)
{
	const struct message *m = message_of(request);

	return m ? m->name : "unknown message";
}

int vhost_user_max_fds(const struct vhost_user_server *s)
{
	const struct message *m = message_of(s->header.request);

	return m ? m->max_fds : -EINVAL;
}

int vhost_user_handle(struct vhost_user_server *s)
{
	const struct message *m = message_of(s->header.request);

	if (s->header.size < m->size)
		return -EINVAL;
	if (m->needs >= 0 && !vhost_user_has(s, (enum vhost_user_protocol_feature)m->needs))
		return -EPROTO;
	return m->handle(s);
}
