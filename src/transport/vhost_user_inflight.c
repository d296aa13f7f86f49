/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The region in which requests in flight are kept for who comes after us (virtio/inflight.c). How
 * long it is we decide when it is new: in ours there is a word for the device behind the requests.
 * Regions of other back ends have none, and are as good.
 */
#include "base/util.h"
#include "transport/vhost_user_messages.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define INFLIGHT_FILE_MAX (1ll << 30) /* one page of the largest ones, far more than is needed */

#define OURS 0x7373656c74697865ull /* "exitless" */

struct inflight_message {
	uint64_t size, offset;
	uint16_t queues, num;
};

struct inflight_end {
	uint64_t ours;
	uint64_t word; /* the device's: struct virtio_device_ops */
};

/* The word of the region, or NULL: that of another, or none any more. */
static void keep(struct vhost_user_server *s, uint64_t *word)
{
	if (s->dev->ops->keep)
		s->dev->ops->keep(s->dev, word);
}

void vhost_user_drop_inflight(struct vhost_user_server *s)
{
	if (!s->inflight_file)
		return;
	for (unsigned i = 0; i < s->dev->n_queues; i++) {
		struct virtqueue *vq = s->dev->queues[i];

		pthread_mutex_lock(&vq->lock);
		virtqueue_inflight_set(vq, NULL, false, 0);
		pthread_mutex_unlock(&vq->lock);
	}
	keep(s, NULL);
	memory_space_unshare(s->inflight_file);
	s->inflight_file = NULL;
}

void vhost_user_clear_inflight(struct vhost_user_server *s)
{
	for (unsigned i = 0; s->inflight_file && i < s->inflight_queues; i++)
		virtqueue_inflight_clear(s->inflight + i * s->inflight_each);
}

static int inflight_sizes(const struct vhost_user_server *s, const struct inflight_message *m,
			  size_t *each)
{
	if (!m->queues || m->queues > s->dev->n_queues || !m->num || m->num > VIRTQ_NUM_MAX)
		return -EINVAL;
	*each = virtqueue_inflight_bytes(s->dev->acked >> VIRTIO_F_RING_PACKED & 1, m->num);
	return 0;
}

int vhost_user_get_inflight_fd(struct vhost_user_server *s)
{
	const struct inflight_end end = { .ours = OURS };
	struct inflight_message m;
	size_t each;
	int fd;

	memcpy(&m, s->payload, sizeof(m.size) * 2 + 4);
	if (inflight_sizes(s, &m, &each))
		return -EINVAL;
	fd = memfd_create("exitless-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	m.size = ALIGN_UP(each * m.queues + sizeof(end), (size_t)4096);
	m.offset = 0;
	if (ftruncate(fd, (off_t)m.size) < 0 ||
	    pwrite(fd, &end, sizeof(end), (off_t)(each * m.queues)) < 0 ||
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

int vhost_user_set_inflight_fd(struct vhost_user_server *s)
{
	struct inflight_message m;
	struct stat st;
	struct memory_file *file;
	struct inflight_end *end;
	uint8_t *at;
	size_t each;
	int seals, err;

	memcpy(&m, s->payload, sizeof(m.size) * 2 + 4);
	if (s->n_fds != 1 || inflight_sizes(s, &m, &each) || vhost_user_any_started(s))
		return -EINVAL;
	/* One that shrinks is of no use to who comes after us. Seals do not say that pages are
	 * there: those of hugetlbfs may not be. */
	seals = fcntl(s->fds[0], F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(s->fds[0], &st) < 0)
		return -EACCES;
	/* it is mapped whole */
	if (m.offset % 4096 || m.size < each * m.queues || st.st_size > INFLIGHT_FILE_MAX)
		return -ERANGE;
	err = memory_space_share(s->dev->space, s->fds[0], m.offset, m.size, &file, &at);
	if (err)
		return err;
	vhost_user_drop_inflight(s);
	s->inflight_file = file;
	s->inflight = at;
	s->inflight_each = each;
	s->inflight_queues = m.queues;
	s->inflight_num = m.num;
	s->inflight_packed = s->dev->acked >> VIRTIO_F_RING_PACKED & 1;
	end = (struct inflight_end *)(at + each * m.queues);
	if (m.size - each * m.queues >= sizeof(*end) && READ_ONCE(end->ours) == OURS)
		keep(s, &end->word);
	return 0;
}
