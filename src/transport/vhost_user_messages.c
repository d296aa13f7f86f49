/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What each message of the front end does.
 *
 * A ring is started when it has a size, addresses and a kick, and memory to lie in; whichever comes
 * last starts it. Addresses come in the front end's own address space (or the guest's, with
 * GPA_ADDRESSES) and are turned into guest addresses by the table of regions, so virtqueues know
 * guest addresses only.
 */
#include "base/util.h"
#include "transport/vhost_user_session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define RING_NO_FD  0x100u
#define CONFIG_MAX  256u
#define CONFIG_HEAD 12u

static int take_fd(struct vhost_user_server *s)
{
	int fd = s->n_fds ? s->fds[0] : -1;

	if (fd >= 0)
		s->fds[0] = -1;
	return fd;
}

static void reply_u64(struct vhost_user_server *s, uint64_t value)
{
	vhost_user_reply(s, &value, sizeof(value), -1, false);
}

static bool has(const struct vhost_user_server *s, enum vhost_user_protocol_feature feature)
{
	return s->protocol >> feature & 1;
}

/* ---- draining ---------------------------------------------------------------------------- */

static bool drain_queue(struct virtqueue *vq)
{
	bool idle;

	pthread_mutex_lock(&vq->lock);
	idle = virtqueue_drain(vq);
	pthread_mutex_unlock(&vq->lock);
	return idle;
}

bool vhost_user_drain_all(struct vhost_user_server *s)
{
	bool idle = true;

	for (unsigned i = 0; i < s->dev->n_queues; i++)
		idle &= drain_queue(s->dev->queues[i]);
	return idle;
}

bool vhost_user_drained(struct vhost_user_server *s)
{
	bool idle = true;

	for (unsigned i = 0; i < s->dev->n_queues; i++) {
		struct virtqueue *vq = s->dev->queues[i];

		pthread_mutex_lock(&vq->lock);
		idle &= !vq->started || !vq->draining || !vq->in_flight;
		pthread_mutex_unlock(&vq->lock);
	}
	return idle;
}

static void resume_all(struct vhost_user_server *s)
{
	for (unsigned i = 0; i < s->dev->n_queues; i++) {
		struct virtqueue *vq = s->dev->queues[i];

		pthread_mutex_lock(&vq->lock);
		virtqueue_resume(vq);
		pthread_mutex_unlock(&vq->lock);
		virtio_device_wake(s->dev, i);
	}
}

/* ---- rings ------------------------------------------------------------------------------- */

/* The guest address of a front end's address. */
static int to_guest(const struct vhost_user_server *s, uint64_t user, uint64_t *guest)
{
	for (unsigned i = 0; i < s->n_regions; i++) {
		const struct vhost_user_region *r = &s->regions[i];

		if (user - r->user < r->size) {
			*guest = r->guest + (user - r->user);
			return 0;
		}
	}
	return -EFAULT;
}

static int ring_config(const struct vhost_user_server *s, const struct vhost_user_ring *ring,
		       struct virtq_config *config)
{
	*config = (struct virtq_config){ .num = ring->num,
					 .base = ring->base,
					 .features = s->dev->acked };
	if (to_guest(s, ring->desc, &config->desc) || to_guest(s, ring->avail, &config->avail) ||
	    to_guest(s, ring->used, &config->used))
		return -EFAULT;
	return 0;
}

static void set_log(struct vhost_user_server *s, unsigned i)
{
	virtqueue_log(s->dev->queues[i], s->features >> VHOST_F_LOG_ALL_BIT & 1,
		      s->rings[i].addr_flags & 1);
}

/* Starts ring @i if all that it needs is there. 0 if not yet. */
static int start_ring(struct vhost_user_server *s, unsigned i)
{
	struct vhost_user_ring *ring = &s->rings[i];
	struct virtqueue *vq = s->dev->queues[i];
	struct virtq_config config;
	int err = 0;

	if (!ring->kicked || !ring->num || !ring->has_addr || !s->n_regions)
		return 0;
	err = ring_config(s, ring, &config);
	if (err)
		return err;
	pthread_mutex_lock(&vq->lock);
	if (!vq->started) {
		uint8_t *region = NULL;

		if (s->inflight && i < s->inflight_queues)
			region = s->inflight + i * s->inflight_each;
		if (region && s->inflight_num != ring->num)
			err = -EINVAL;
		else if (s->dev->in_flight)
			err = virtqueue_inflight_set(vq, region,
						     s->dev->acked >> VIRTIO_F_RING_PACKED & 1,
						     s->inflight_num);
		if (!err)
			err = virtqueue_start(vq, &config);
		if (!err) {
			set_log(s, i);
			if (!(s->features >> VHOST_USER_F_PROTOCOL_FEATURES_BIT & 1))
				vq->enabled = true;
			s->stats.ring_starts++;
			if (virtqueue_begin(vq))
				virtqueue_kicks(vq, false);
		}
	}
	pthread_mutex_unlock(&vq->lock);
	/* the front end may have offered something before it kicked */
	if (!err)
		virtio_device_wake(s->dev, i);
	return err;
}

/* Nothing is in flight in ring @i. */
static void stop_ring(struct vhost_user_server *s, unsigned i)
{
	struct virtqueue *vq = s->dev->queues[i];

	pthread_mutex_lock(&vq->lock);
	if (vq->started) {
		virtqueue_stop(vq);
		s->rings[i].base = virtqueue_base(vq);
		s->stats.ring_stops++;
	}
	virtqueue_resume(vq);
	virtqueue_inflight_set(vq, NULL, false, 0);
	pthread_mutex_unlock(&vq->lock);
	s->rings[i].kicked = false;
	virtio_device_set_kick(s->dev, i, -1);
}

static bool any_started(const struct vhost_user_server *s)
{
	for (unsigned i = 0; i < s->dev->n_queues; i++)
		if (READ_ONCE(s->dev->queues[i]->started))
			return true;
	return false;
}

/* Memory has changed: rings may have moved, or can start now. Queues are drained. */
static int restart_rings(struct vhost_user_server *s)
{
	int err = 0;

	for (unsigned i = 0; i < s->dev->n_queues; i++) {
		struct virtqueue *vq = s->dev->queues[i];
		struct virtq_config config;
		int e;

		if (!s->rings[i].kicked)
			continue;
		if (ring_config(s, &s->rings[i], &config))
			continue; /* out of reach, until memory comes */
		pthread_mutex_lock(&vq->lock);
		if (vq->started &&
		    (vq->config.desc != config.desc || vq->config.avail != config.avail ||
		     vq->config.used != config.used)) {
			virtqueue_stop(vq);
			s->rings[i].base = virtqueue_base(vq);
		}
		pthread_mutex_unlock(&vq->lock);
		e = start_ring(s, i);
		if (e)
			err = e;
	}
	return err;
}

struct vring_state {
	uint32_t index, num;
};

static int ring_index(const struct vhost_user_server *s, struct vring_state *state)
{
	memcpy(state, s->payload, sizeof(*state));
	return state->index < s->dev->n_queues ? 0 : -EINVAL;
}

static int set_vring_num(struct vhost_user_server *s)
{
	struct vring_state state;

	if (ring_index(s, &state) || !state.num || state.num > VIRTQ_NUM_MAX)
		return -EINVAL;
	if (READ_ONCE(s->dev->queues[state.index]->started))
		return state.num == s->rings[state.index].num ? 0 : -EBUSY;
	/* whether it must be a power of two is known at the start */
	s->rings[state.index].num = state.num;
	return 0;
}

static int set_vring_base(struct vhost_user_server *s)
{
	struct vring_state state;

	if (ring_index(s, &state))
		return -EINVAL;
	if (READ_ONCE(s->dev->queues[state.index]->started))
		return -EBUSY;
	if (!(s->dev->acked >> VIRTIO_F_RING_PACKED & 1) && state.num > 0xffff)
		return -EINVAL;
	s->rings[state.index].base = state.num;
	return 0;
}

static int set_vring_addr(struct vhost_user_server *s)
{
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} addr;
	struct vhost_user_ring *ring;
	struct virtqueue *vq;
	struct virtq_config config;
	bool same;

	memcpy(&addr, s->payload, sizeof(addr));
	if (addr.index >= s->dev->n_queues)
		return -EINVAL;
	ring = &s->rings[addr.index];
	vq = s->dev->queues[addr.index];
	same = ring->has_addr && ring->desc == addr.desc && ring->used == addr.used &&
	       ring->avail == addr.avail;
	if (!same && READ_ONCE(vq->started) && !drain_queue(vq))
		return -EAGAIN;
	ring->addr_flags = addr.flags;
	ring->desc = addr.desc;
	ring->used = addr.used;
	ring->avail = addr.avail;
	ring->has_addr = true;
	pthread_mutex_lock(&vq->lock);
	set_log(s, addr.index);
	if (!same && vq->started) {
		virtqueue_stop(vq);
		ring->base = virtqueue_base(vq);
	}
	pthread_mutex_unlock(&vq->lock);
	if (same)
		return 0;
	/* an address that is nowhere is known to be wrong as soon as there is memory */
	if (s->n_regions && ring_config(s, ring, &config))
		return -EFAULT;
	return start_ring(s, addr.index);
}

static int get_vring_base(struct vhost_user_server *s)
{
	struct vring_state state;

	if (ring_index(s, &state))
		return -EINVAL;
	if (!drain_queue(s->dev->queues[state.index]))
		return -EAGAIN;
	stop_ring(s, state.index);
	state.num = s->rings[state.index].base;
	vhost_user_reply(s, &state, sizeof(state), -1, false);
	return 0;
}

static int set_vring_enable(struct vhost_user_server *s)
{
	struct vring_state state;
	struct virtqueue *vq;

	if (ring_index(s, &state) || state.num > 1)
		return -EINVAL;
	vq = s->dev->queues[state.index];
	pthread_mutex_lock(&vq->lock);
	vq->enabled = state.num;
	pthread_mutex_unlock(&vq->lock);
	virtio_device_wake(s->dev, state.index);
	return 0;
}

/* An eventfd, non-blocking from now on. Kept simple: no other descriptor without a file type
 * behaves worse than one that is never signalled. */
static bool is_eventfd(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat st;

	return flags >= 0 && !fstat(fd, &st) && !(st.st_mode & S_IFMT) &&
	       !fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

/* The queue and descriptor of KICK, CALL and ERR; *fd -1: none. */
static int ring_fd(struct vhost_user_server *s, unsigned *index, int *fd)
{
	uint64_t value = load_le64(s->payload);

	*index = (unsigned)(value & 0xff);
	*fd = -1;
	if (value > (RING_NO_FD | 0xff) || *index >= s->dev->n_queues)
		return -EINVAL;
	if (value & RING_NO_FD)
		return s->n_fds ? -EINVAL : 0;
	if (s->n_fds != 1 || !is_eventfd(s->fds[0]))
		return -EINVAL;
	*fd = take_fd(s);
	return 0;
}

static int set_vring_kick(struct vhost_user_server *s)
{
	unsigned i;
	int fd, err = ring_fd(s, &i, &fd);

	if (err)
		return err;
	virtio_device_set_kick(s->dev, i, fd);
	s->rings[i].kicked = true;
	return start_ring(s, i);
}

static int set_vring_call(struct vhost_user_server *s)
{
	unsigned i;
	int fd, err = ring_fd(s, &i, &fd);

	if (!err)
		virtqueue_set_call(s->dev->queues[i], fd);
	return err;
}

static int set_vring_err(struct vhost_user_server *s)
{
	unsigned i;
	int fd, err = ring_fd(s, &i, &fd);

	if (!err)
		virtqueue_set_err(s->dev->queues[i], fd);
	return err;
}

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
		bits |= 1ull << VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD;
	if (s->dev->ops->mtu_set)
		bits |= 1ull << VHOST_USER_PROTOCOL_F_NET_MTU;
	if (s->dev->ops->announce)
		bits |= 1ull << VHOST_USER_PROTOCOL_F_RARP;
	return bits;
}

static int get_features(struct vhost_user_server *s)
{
	reply_u64(s, all_features(s));
	return 0;
}

static int set_features(struct vhost_user_server *s)
{
	uint64_t features = load_le64(s->payload), acked = features & s->dev->features;

	if (features & ~all_features(s))
		return -EINVAL;
	if (any_started(s) && acked != s->dev->acked)
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
		set_log(s, i);
		if (vq->started && !(features >> VHOST_USER_F_PROTOCOL_FEATURES_BIT & 1))
			vq->enabled = true;
		pthread_mutex_unlock(&vq->lock);
	}
	return 0;
}

static int get_protocol_features(struct vhost_user_server *s)
{
	reply_u64(s, all_protocol_features(s));
	return 0;
}

static int set_protocol_features(struct vhost_user_server *s)
{
	uint64_t bits = load_le64(s->payload);

	if (bits & ~all_protocol_features(s))
		return -EINVAL;
	s->protocol = bits;
	return 0;
}

static int nothing(struct vhost_user_server *s)
{
	return 0;
}

static int get_queue_num(struct vhost_user_server *s)
{
	reply_u64(s, s->dev->in_pairs ? s->dev->n_queues / 2 : s->dev->n_queues);
	return 0;
}

static int get_status(struct vhost_user_server *s)
{
	reply_u64(s, s->status);
	return 0;
}

static int set_status(struct vhost_user_server *s)
{
	s->status = s->payload[0];
	return 0;
}

static int reset_device(struct vhost_user_server *s)
{
	if (!vhost_user_drain_all(s))
		return -EAGAIN;
	for (unsigned i = 0; i < s->dev->n_queues; i++) {
		stop_ring(s, i);
		s->dev->queues[i]->enabled = false;
		s->rings[i] = (struct vhost_user_ring){ 0 };
	}
	s->status = 0;
	s->stats.resets++;
	if (s->dev->ops->reset)
		s->dev->ops->reset(s->dev);
	return 0;
}

/* ---- memory ------------------------------------------------------------------------------ */

static int check_region(const struct vhost_user_server *s, const struct vhost_user_region *r)
{
	if (!r->size || r->guest + (r->size - 1) < r->guest || r->user + (r->size - 1) < r->user)
		return -EINVAL;
	for (unsigned i = 0; i < s->n_regions; i++) {
		const struct vhost_user_region *other = &s->regions[i];

		if ((r->guest <= other->guest + (other->size - 1) &&
		     other->guest <= r->guest + (r->size - 1)) ||
		    (r->user <= other->user + (other->size - 1) &&
		     other->user <= r->user + (r->size - 1)))
			return -EEXIST;
	}
	return 0;
}

static int add_region(struct vhost_user_server *s, const struct vhost_user_region *r, int fd)
{
	int err;

	if (s->n_regions == VHOST_USER_SLOTS_MAX)
		return -ENOSPC;
	err = check_region(s, r);
	if (!err)
		err = memory_space_map(s->dev->space, r->guest, r->size, MEMORY_READ | MEMORY_WRITE,
				       fd, r->offset);
	if (!err)
		s->regions[s->n_regions++] = *r;
	return err;
}

static int set_mem_table(struct vhost_user_server *s)
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
		err = restart_rings(s);
	resume_all(s);
	return err;
}

static int add_mem_reg(struct vhost_user_server *s)
{
	struct vhost_user_region r;
	int err;

	memcpy(&r, s->payload + 8, sizeof(r));
	if (s->n_fds != 1)
		return -EINVAL;
	s->stats.memory_changes++;
	err = add_region(s, &r, s->fds[0]);
	return err ? err : restart_rings(s);
}

static int rem_mem_reg(struct vhost_user_server *s)
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
	resume_all(s);
	return 0;
}

static int get_max_mem_slots(struct vhost_user_server *s)
{
	reply_u64(s, VHOST_USER_SLOTS_MAX);
	return 0;
}

static int set_log_base(struct vhost_user_server *s)
{
	int err;

	if (s->n_fds != 1)
		return -EINVAL;
	err = memory_space_log(s->dev->space, s->fds[0], load_le64(s->payload + 8),
			       load_le64(s->payload));
	if (!err && has(s, VHOST_USER_PROTOCOL_F_LOG_SHMFD))
		vhost_user_reply(s, NULL, 0, -1, false);
	return err;
}

/* ---- in-flight region -------------------------------------------------------------------- */

struct inflight_message {
	uint64_t size, offset;
	uint16_t queues, num;
};

static void drop_inflight(struct vhost_user_server *s)
{
	if (!s->inflight)
		return;
	for (unsigned i = 0; i < s->dev->n_queues; i++) {
		struct virtqueue *vq = s->dev->queues[i];

		pthread_mutex_lock(&vq->lock);
		virtqueue_inflight_set(vq, NULL, false, 0);
		pthread_mutex_unlock(&vq->lock);
	}
	munmap(s->inflight, s->inflight_bytes);
	s->inflight = NULL;
}

static int inflight_sizes(const struct vhost_user_server *s, const struct inflight_message *m,
			  size_t *each)
{
	if (!m->queues || m->queues > s->dev->n_queues || !m->num || m->num > VIRTQ_NUM_MAX)
		return -EINVAL;
	*each = virtqueue_inflight_bytes(s->dev->acked >> VIRTIO_F_RING_PACKED & 1, m->num);
	return 0;
}

static int get_inflight_fd(struct vhost_user_server *s)
{
	struct inflight_message m;
	size_t each;
	int fd;

	memcpy(&m, s->payload, sizeof(m.size) * 2 + 4);
	if (inflight_sizes(s, &m, &each))
		return -EINVAL;
	fd = memfd_create("exitless-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	m.size = ALIGN_UP(each * m.queues, (size_t)4096);
	m.offset = 0;
	if (ftruncate(fd, (off_t)m.size) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	/* the answer is as long as the question */
	memcpy(s->payload, &m, sizeof(m.size) * 2 + 4);
	vhost_user_reply(s, s->payload, s->header.size, fd, true);
	return 0;
}

static int set_inflight_fd(struct vhost_user_server *s)
{
	struct inflight_message m;
	struct stat st;
	size_t each;
	int seals;
	void *p;

	memcpy(&m, s->payload, sizeof(m.size) * 2 + 4);
	if (s->n_fds != 1 || inflight_sizes(s, &m, &each) || any_started(s))
		return -EINVAL;
	/* a region that can shrink under us would be a SIGBUS */
	seals = fcntl(s->fds[0], F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(s->fds[0], &st) < 0)
		return -EACCES;
	if (m.offset % 4096 || m.size < each * m.queues || m.offset > (uint64_t)st.st_size ||
	    m.size > (uint64_t)st.st_size - m.offset)
		return -ERANGE;
	p = mmap(NULL, m.size, PROT_READ | PROT_WRITE, MAP_SHARED, s->fds[0], (off_t)m.offset);
	if (p == MAP_FAILED)
		return -errno;
	drop_inflight(s);
	s->inflight = p;
	s->inflight_bytes = m.size;
	s->inflight_each = each;
	s->inflight_queues = m.queues;
	s->inflight_num = m.num;
	return 0;
}

/* ---- configuration, and the rest ---------------------------------------------------------- */

static int get_config(struct vhost_user_server *s)
{
	uint32_t offset = load_le32(s->payload), size = load_le32(s->payload + 4);

	if (!s->dev->ops->config_read)
		return -EOPNOTSUPP;
	if (size > CONFIG_MAX || s->header.size < CONFIG_HEAD + size || offset > CONFIG_MAX) {
		vhost_user_reply(s, NULL, 0, -1, false);
		return 0;
	}
	memset(s->payload + CONFIG_HEAD, 0, size);
	if (s->dev->ops->config_read(s->dev, offset, s->payload + CONFIG_HEAD, size))
		vhost_user_reply(s, NULL, 0, -1, false);
	else
		vhost_user_reply(s, s->payload, CONFIG_HEAD + size, -1, false);
	return 0;
}

static int set_config(struct vhost_user_server *s)
{
	uint32_t offset = load_le32(s->payload), size = load_le32(s->payload + 4);
	uint32_t flags = load_le32(s->payload + 8);

	if (size > CONFIG_MAX || s->header.size < CONFIG_HEAD + size || flags > 1 ||
	    offset > CONFIG_MAX)
		return -EINVAL;
	if (!s->dev->ops->config_write)
		return -EPERM;
	return s->dev->ops->config_write(s->dev, offset, s->payload + CONFIG_HEAD, size, flags);
}

static int set_backend_req_fd(struct vhost_user_server *s)
{
	int type = 0;
	socklen_t len = sizeof(type);

	if (s->n_fds != 1 || getsockopt(s->fds[0], SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return -EINVAL;
	if (s->backend_fd >= 0)
		close(s->backend_fd);
	s->backend_fd = take_fd(s);
	return 0;
}

void vhost_user_config_changed(struct virtio_device *dev, void *arg)
{
	struct vhost_user_server *s = arg;
	/* VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, no answer wanted */
	struct vhost_user_header header = { .request = 2, .flags = VHOST_USER_VERSION };

	/* None may be sent while all rings are stopped; then the front end asks by itself. */
	if (s->backend_fd < 0 || !any_started(s))
		return;
	if (send(s->backend_fd, &header, sizeof(header), MSG_DONTWAIT | MSG_NOSIGNAL) !=
	    sizeof(header))
		log_limited(&s->limit, LOG_LEVEL_WARNING,
			    "%s: the front end does not take a change of configuration", dev->name);
}

static int net_set_mtu(struct vhost_user_server *s)
{
	return s->dev->ops->mtu_set ? s->dev->ops->mtu_set(s->dev, load_le64(s->payload))
				    : -EOPNOTSUPP;
}

static int send_rarp(struct vhost_user_server *s)
{
	if (!s->dev->ops->announce)
		return -EOPNOTSUPP;
	s->dev->ops->announce(s->dev, s->payload);
	return 0;
}

/* By number; @size: least payload; @needs: protocol feature without which it may not come, or -1.
 */
static const struct message {
	const char *name;
	int (*handle)(struct vhost_user_server *s);
	uint16_t size;
	uint8_t max_fds;
	int8_t needs;
} messages[] = {
	[1] = { "GET_FEATURES", get_features, 0, 0, -1 },
	[2] = { "SET_FEATURES", set_features, 8, 0, -1 },
	[3] = { "SET_OWNER", nothing, 0, 0, -1 },
	[4] = { "RESET_OWNER", nothing, 0, 0, -1 },
	[5] = { "SET_MEM_TABLE", set_mem_table, 8, 8, -1 },
	[6] = { "SET_LOG_BASE", set_log_base, 16, 1, VHOST_USER_PROTOCOL_F_LOG_SHMFD },
	[7] = { "SET_LOG_FD", nothing, 0, 1, -1 },
	[8] = { "SET_VRING_NUM", set_vring_num, 8, 0, -1 },
	[9] = { "SET_VRING_ADDR", set_vring_addr, 40, 0, -1 },
	[10] = { "SET_VRING_BASE", set_vring_base, 8, 0, -1 },
	[11] = { "GET_VRING_BASE", get_vring_base, 8, 0, -1 },
	[12] = { "SET_VRING_KICK", set_vring_kick, 8, 1, -1 },
	[13] = { "SET_VRING_CALL", set_vring_call, 8, 1, -1 },
	[14] = { "SET_VRING_ERR", set_vring_err, 8, 1, -1 },
	[15] = { "GET_PROTOCOL_FEATURES", get_protocol_features, 0, 0, -1 },
	[16] = { "SET_PROTOCOL_FEATURES", set_protocol_features, 8, 0, -1 },
	[17] = { "GET_QUEUE_NUM", get_queue_num, 0, 0, -1 },
	[18] = { "SET_VRING_ENABLE", set_vring_enable, 8, 0, -1 },
	[19] = { "SEND_RARP", send_rarp, 8, 0, VHOST_USER_PROTOCOL_F_RARP },
	[20] = { "NET_SET_MTU", net_set_mtu, 8, 0, VHOST_USER_PROTOCOL_F_NET_MTU },
	[21] = { "SET_BACKEND_REQ_FD", set_backend_req_fd, 0, 1,
		 VHOST_USER_PROTOCOL_F_BACKEND_REQ },
	[24] = { "GET_CONFIG", get_config, CONFIG_HEAD, 0, VHOST_USER_PROTOCOL_F_CONFIG },
	[25] = { "SET_CONFIG", set_config, CONFIG_HEAD, 0, VHOST_USER_PROTOCOL_F_CONFIG },
	[31] = { "GET_INFLIGHT_FD", get_inflight_fd, 20, 0, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD },
	[32] = { "SET_INFLIGHT_FD", set_inflight_fd, 20, 1, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD },
	[34] = { "RESET_DEVICE", reset_device, 0, 0, VHOST_USER_PROTOCOL_F_RESET_DEVICE },
	[36] = { "GET_MAX_MEM_SLOTS", get_max_mem_slots, 0, 0,
		 VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS },
	[37] = { "ADD_MEM_REG", add_mem_reg, 40, 1, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS },
	[38] = { "REM_MEM_REG", rem_mem_reg, 40, 1, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS },
	[39] = { "SET_STATUS", set_status, 8, 0, VHOST_USER_PROTOCOL_F_STATUS },
	[40] = { "GET_STATUS", get_status, 0, 0, VHOST_USER_PROTOCOL_F_STATUS },
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
	if (m->needs >= 0 && !(s->protocol >> m->needs & 1))
		return -EPROTO;
	return m->handle(s);
}

void vhost_user_release(struct vhost_user_server *s)
{
	for (unsigned i = 0; i < s->dev->n_queues; i++) {
		stop_ring(s, i);
		s->dev->queues[i]->enabled = false;
		virtqueue_set_call(s->dev->queues[i], -1);
		virtqueue_set_err(s->dev->queues[i], -1);
		s->rings[i] = (struct vhost_user_ring){ 0 };
	}
	drop_inflight(s);
	memory_space_unmap(s->dev->space, 0, 0);
	memory_space_log(s->dev->space, -1, 0, 0);
	s->n_regions = 0;
	if (s->backend_fd >= 0)
		close(s->backend_fd);
	s->backend_fd = -1;
	s->features = s->protocol = 0;
	s->features_acked = false;
	s->status = 0;
	s->dev->acked = 0;
	if (s->dev->ops->reset)
		s->dev->ops->reset(s->dev);
}
