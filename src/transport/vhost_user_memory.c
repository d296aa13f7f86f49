/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of memory regions, and the log of what was written to them. */
#include "base/util.h"
#include "transport/vhost_user_messages.h"

#include <errno.h>

static int check_region(const struct vhost_user_server *s, const struct vhost_user_region *r)
{
	bool gpa = vhost_user_has(s, VHOST_USER_PROTOCOL_F_GPA_ADDRESSES);

	if (s->n_regions == VHOST_USER_SLOTS_MAX)
		return -ENOSPC;
	if (!r->size || r->guest + (r->size - 1) < r->guest ||
	    (!gpa && r->user + (r->size - 1) < r->user))
		return -EINVAL;
	for (unsigned i = 0; i < s->n_regions; i++) {
		const struct vhost_user_region *other = &s->regions[i];

		if ((r->guest <= other->guest + (other->size - 1) &&
		     other->guest <= r->guest + (r->size - 1)) ||
		    (!gpa && r->user <= other->user + (other->size - 1) &&
		     other->user <= r->user + (r->size - 1)))
			return -EEXIST;
	}
	return 0;
}

static int add_region(struct vhost_user_server *s, const struct vhost_user_region *r, int fd)
{
	int err = check_region(s, r);

	if (!err && !memory_is_file(fd)) {
		log_limited(&s->limit, LOG_LEVEL_WARNING,
			    "%s: memory must be a memfd, or a file of tmpfs or hugetlbfs",
			    s->dev->name);
		err = -EINVAL;
	}
	if (!err)
		err = memory_space_map(s->dev->space, r->guest, r->size, MEMORY_READ | MEMORY_WRITE,
				       fd, r->offset);
	if (err == -ENOSPC)
		log_limited(&s->limit, LOG_LEVEL_WARNING, "%s: %s", s->dev->name, memory_no_space);
	if (!err)
		s->regions[s->n_regions++] = *r;
	return err;
}

int vhost_user_set_mem_table(struct vhost_user_server *s)
{
	struct vhost_user_region r[VHOST_USER_FDS_MAX];
	uint32_t n = load_le32(s->payload);
	int err = 0;

	if (n > VHOST_USER_FDS_MAX || s->header.size < 8 + n * sizeof(r[0]) || s->n_fds != n)
		return -EINVAL;
	memcpy(r, s->payload + 8, n * sizeof(r[0]));
	if (!vhost_user_drain_all(s))
		return -EAGAIN;
	s->stats.memory_changes++;
	memory_space_unmap(s->dev->space, 0, 0);
	s->n_regions = 0;
	for (unsigned i = 0; i < n && !err; i++)
		err = add_region(s, &r[i], s->fds[i]);
	if (!err)
		err = vhost_user_restart_rings(s);
	vhost_user_resume_all(s);
	return err;
}

int vhost_user_add_mem_reg(struct vhost_user_server *s)
{
	struct vhost_user_region r;
	bool idle;
	int err;

	memcpy(&r, s->payload + 8, sizeof(r));
	if (s->n_fds != 1)
		return -EINVAL;
	err = check_region(s, &r);
	if (err)
		return err;
	/* A ring whose addresses lead elsewhere by it, or did already, moves. */
	s->regions[s->n_regions++] = r;
	idle = vhost_user_drain_moved(s);
	s->n_regions--;
	if (!idle)
		return -EAGAIN;
	s->stats.memory_changes++;
	err = add_region(s, &r, s->fds[0]);
	if (!err)
		err = vhost_user_restart_rings(s);
	vhost_user_resume_all(s);
	return err;
}

int vhost_user_rem_mem_reg(struct vhost_user_server *s)
{
	struct vhost_user_region r;
	unsigned i;

	memcpy(&r, s->payload + 8, sizeof(r));
	for (i = 0; i < s->n_regions; i++)
		if (s->regions[i].guest == r.guest && s->regions[i].size == r.size &&
		    s->regions[i].user == r.user)
			break;
	if (i == s->n_regions)
		return -ENOENT;
	/* requests in flight may point into it */
	if (!vhost_user_drain_all(s))
		return -EAGAIN;
	s->stats.memory_changes++;
	s->regions[i] = s->regions[--s->n_regions];
	memory_space_unmap(s->dev->space, r.guest, r.size);
	vhost_user_resume_all(s);
	return 0;
}

int vhost_user_get_max_mem_slots(struct vhost_user_server *s)
{
	vhost_user_reply_u64(s, VHOST_USER_SLOTS_MAX);
	return 0;
}

int vhost_user_set_log_base(struct vhost_user_server *s)
{
	int err;

	if (s->n_fds != 1)
		return -EINVAL;
	err = memory_space_log(s->dev->space, s->fds[0], load_le64(s->payload + 8),
			       load_le64(s->payload));
	if (!err && vhost_user_has(s, VHOST_USER_PROTOCOL_F_LOG_SHMFD))
		vhost_user_reply(s, NULL, 0, -1, false);
	return err;
}
