/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rings: their life, and the messages about them.
 *
 * A ring is started when it has a size, addresses and a kick, and memory to lie in; whichever comes
 * last starts it. Addresses come in the front end's own address space (or the guest's, with
 * GPA_ADDRESSES) and are turned into guest addresses by the table of regions, so virtqueues know
 * guest addresses only.
 */
#include "base/event.h"
#include "base/util.h"
#include "transport/vhost_user_messages.h"

#include <assert.h>
#include <errno.h>

#define RING_NO_FD 0x100u

/* ---- draining ---------------------------------------------------------------------------- */

bool vhost_user_drain_all(struct vhost_user_server *s)
{
	bool idle = true;

	for (unsigned i = 0; i < s->dev->n_queues; i++)
		idle &= virtio_device_drain(s->dev, i);
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

void vhost_user_resume_all(struct vhost_user_server *s)
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

/* The guest address of a front end's address; with GPA_ADDRESSES it gives no other. */
static int to_guest(const struct vhost_user_server *s, uint64_t user, uint64_t *guest)
{
	if (vhost_user_has(s, VHOST_USER_PROTOCOL_F_GPA_ADDRESSES)) {
		*guest = user;
		return 0;
	}
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

void vhost_user_ring_log(struct vhost_user_server *s, unsigned i)
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
	if (!vq->started) {
		bool packed = config.features >> VIRTIO_F_RING_PACKED & 1;
		uint8_t *region = NULL;

		if (s->inflight_file && i < s->inflight_queues)
			region = s->inflight + i * s->inflight_each;
		/* Features may have been negotiated anew since the region came. QEMU has it made as
		 * large as rings may be, and a driver may choose smaller ones. */
		if (region && (s->inflight_num < ring->num || s->inflight_packed != packed))
			err = -EINVAL;
		else if (s->dev->in_flight)
			err = virtqueue_inflight_set(vq, region, packed, s->inflight_num);
		vhost_user_ring_log(s, i);
		if (!err)
			err = virtqueue_prepare(vq, &config);
		if (err)
			return err;
		s->stats.ring_starts++;
		pthread_mutex_lock(&vq->lock);
		virtqueue_run(vq);
		if (!(s->features >> VHOST_USER_F_PROTOCOL_FEATURES_BIT & 1))
			virtqueue_enable(vq, true);
		if (virtqueue_begin(vq))
			virtqueue_kicks(vq, false);
		/* who served it before may have died between showing what it did and telling */
		virtqueue_notify(vq);
		pthread_mutex_unlock(&vq->lock);
		vhost_user_tell_config(s);
	}
	/* the front end may have offered something before it kicked */
	virtio_device_wake(s->dev, i);
	return 0;
}

/* Tells the device that its rings run, or do not any more. */
static int use_device(struct vhost_user_server *s, bool on)
{
	int err = 0;

	if (on == s->in_use)
		return 0;
	if (s->dev->ops->use)
		err = s->dev->ops->use(s->dev, on);
	if (!err)
		s->in_use = on;
	return err;
}

/* Nothing is in flight in ring @i. */
void vhost_user_stop_ring(struct vhost_user_server *s, unsigned i)
{
	struct virtqueue *vq = s->dev->queues[i];

	pthread_mutex_lock(&vq->lock);
	if (vq->started) {
		assert(!vq->in_flight);
		virtqueue_stop(vq);
		s->rings[i].base = virtqueue_base(vq);
		s->stats.ring_stops++;
		/* What was published last the guest may not have been told of: the core does that
		 * without the lock. Where the ring runs next, nobody knows of it. */
		virtqueue_notify(vq);
	}
	virtqueue_resume(vq);
	virtqueue_inflight_set(vq, NULL, false, 0);
	pthread_mutex_unlock(&vq->lock);
	s->rings[i].kicked = false;
	virtio_device_set_kick(s->dev, i, -1);
	for (i = 0; i < s->dev->n_queues; i++)
		if (s->rings[i].kicked)
			return;
	use_device(s, false);
}

bool vhost_user_any_started(const struct vhost_user_server *s)
{
	for (unsigned i = 0; i < s->dev->n_queues; i++)
		if (READ_ONCE(s->dev->queues[i]->started))
			return true;
	return false;
}

/* Ring @i runs, and not where its addresses, which are @config's, lead by now. */
static bool ring_moved(const struct vhost_user_server *s, unsigned i,
		       const struct virtq_config *config)
{
	const struct virtqueue *vq = s->dev->queues[i];

	return vq->started &&
	       (vq->config.desc != config->desc || vq->config.avail != config->avail ||
		vq->config.used != config->used);
}

bool vhost_user_drain_moved(struct vhost_user_server *s)
{
	bool idle = true;

	for (unsigned i = 0; i < s->dev->n_queues; i++) {
		struct virtq_config config;

		if (s->rings[i].kicked && !ring_config(s, &s->rings[i], &config) &&
		    ring_moved(s, i, &config))
			idle &= virtio_device_drain(s->dev, i);
	}
	return idle;
}

/* Memory has changed: rings may have moved, or can start now. Those that moved are drained. */
int vhost_user_restart_rings(struct vhost_user_server *s)
{
	int err = 0;

	for (unsigned i = 0; i < s->dev->n_queues; i++) {
		struct virtqueue *vq = s->dev->queues[i];
		struct virtq_config config;
		int e;

		if (!s->rings[i].kicked)
			continue;
		if (ring_config(s, &s->rings[i], &config))
			continue;
		pthread_mutex_lock(&vq->lock);
		if (ring_moved(s, i, &config)) {
			/* forgotten ones would be written to memory that may go */
			assert(!vq->in_flight);
			virtqueue_stop(vq);
			s->rings[i].base = virtqueue_base(vq);
			virtqueue_notify(vq);
		}
		pthread_mutex_unlock(&vq->lock);
		e = start_ring(s, i);
		/* out of reach: until memory comes */
		if (e && e != -EFAULT)
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

int vhost_user_set_vring_num(struct vhost_user_server *s)
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

int vhost_user_set_vring_base(struct vhost_user_server *s)
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

int vhost_user_set_vring_addr(struct vhost_user_server *s)
{
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} addr;
	struct vhost_user_ring *ring;
	struct virtqueue *vq;
	struct virtq_config config;
	bool same;
	int err;

	memcpy(&addr, s->payload, sizeof(addr));
	if (addr.index >= s->dev->n_queues)
		return -EINVAL;
	ring = &s->rings[addr.index];
	vq = s->dev->queues[addr.index];
	same = ring->has_addr && ring->desc == addr.desc && ring->used == addr.used &&
	       ring->avail == addr.avail;
	if (!same && READ_ONCE(vq->started) && !virtio_device_drain(s->dev, addr.index))
		return -EAGAIN;
	ring->addr_flags = addr.flags;
	ring->desc = addr.desc;
	ring->used = addr.used;
	ring->avail = addr.avail;
	ring->has_addr = true;
	pthread_mutex_lock(&vq->lock);
	vhost_user_ring_log(s, addr.index);
	if (!same && vq->started) {
		assert(!vq->in_flight);
		virtqueue_stop(vq);
		ring->base = virtqueue_base(vq);
		/* as in vhost_user_stop_ring() */
		virtqueue_notify(vq);
	}
	pthread_mutex_unlock(&vq->lock);
	if (same)
		return 0;
	/* an address that is nowhere is known to be wrong as soon as there is memory */
	if (s->n_regions && ring_config(s, ring, &config))
		err = -EFAULT;
	else
		err = start_ring(s, addr.index);
	ring->has_addr = !err;
	return err;
}

/* With GET_VRING_BASE_INFLIGHT requests need not come to their end: they may stay in the region. */
static bool stop_requests(struct vhost_user_server *s, unsigned i)
{
	bool idle;

	if (!vhost_user_has(s, VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT))
		return virtio_device_drain(s->dev, i);
	idle = virtio_device_suspend(s->dev, i);
	if (!idle)
		virtio_device_wake(s->dev, i);
	return idle;
}

int vhost_user_get_vring_base(struct vhost_user_server *s)
{
	struct vring_state state;

	if (ring_index(s, &state))
		return -EINVAL;
	if (!stop_requests(s, state.index))
		return -EAGAIN;
	vhost_user_stop_ring(s, state.index);
	state.num = s->rings[state.index].base;
	vhost_user_reply(s, &state, sizeof(state), -1, false);
	return 0;
}

int vhost_user_set_vring_enable(struct vhost_user_server *s)
{
	struct vring_state state;
	struct virtqueue *vq;

	if (ring_index(s, &state) || state.num > 1)
		return -EINVAL;
	vq = s->dev->queues[state.index];
	pthread_mutex_lock(&vq->lock);
	virtqueue_enable(vq, state.num);
	pthread_mutex_unlock(&vq->lock);
	virtio_device_wake(s->dev, state.index);
	return 0;
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
	if (s->n_fds != 1 || !event_fd_is(s->fds[0]))
		return -EINVAL;
	*fd = vhost_user_take_fd(s);
	return 0;
}

int vhost_user_set_vring_kick(struct vhost_user_server *s)
{
	unsigned i;
	int fd, err = use_device(s, true);

	/* -EAGAIN leaves the message as it came */
	if (err)
		return err;
	err = ring_fd(s, &i, &fd);
	if (err)
		return err;
	virtio_device_set_kick(s->dev, i, fd);
	s->rings[i].kicked = true;
	return start_ring(s, i);
}

int vhost_user_set_vring_call(struct vhost_user_server *s)
{
	unsigned i;
	int fd, err = ring_fd(s, &i, &fd);

	if (!err)
		virtqueue_set_call(s->dev->queues[i], fd);
	return err;
}

int vhost_user_set_vring_err(struct vhost_user_server *s)
{
	unsigned i;
	int fd, err = ring_fd(s, &i, &fd);

	if (!err)
		virtqueue_set_err(s->dev->queues[i], fd);
	return err;
}
