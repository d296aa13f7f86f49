/* SPDX-License-Identifier: BSD-2-Clause */
/* vhost-user devices for the tests of the manager: no NICs, and disks that do nothing but to keep
 * their server when they are told to be stuck. */
#include "fakes.h"

#include "disk/disk.h"
#include "nic/virtio_net/virtio_net.h"
#include "transport/vhost_user.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct nic *virtio_net_new(const struct nic_config *config, struct memory_space *space,
			   unsigned pairs)
{
	errno = ENOMEM;
	return NULL;
}

struct virtio_device *virtio_net_device(struct nic *nic)
{
	return NULL;
}

struct vhost_user_server *vhost_user_server_new(struct loop *loop,
						const struct vhost_user_config *config,
						struct virtio_device *dev)
{
	fakes.servers++;
	return calloc(1, 1);
}

bool vhost_user_server_close(struct vhost_user_server *s)
{
	return !fakes.stuck;
}

void vhost_user_server_free(struct vhost_user_server *s)
{
	fakes.servers--;
	free(s);
}

void vhost_user_server_stats(const struct vhost_user_server *s, struct vhost_user_stats *stats)
{
	*stats = (struct vhost_user_stats){ 0 };
}

void vhost_user_server_disconnect(struct vhost_user_server *s)
{
}

void vhost_user_server_check(struct vhost_user_server *s)
{
}

const char *const *disk_backends(void)
{
	static const char *const names[] = { "null", NULL };

	return names;
}

struct disk {
	struct io_queue queue, *queues[1];
	unsigned n_queues;
};

static void nothing(struct io_queue *queue, struct io_turn *turn, struct io_work *work)
{
}

static const struct io_queue_ops queue_ops = { .poll = nothing };

struct disk *disk_new(const struct disk_config *config, struct memory_space *space)
{
	struct disk *disk = calloc(1, sizeof(*disk));

	disk->queue = (struct io_queue){ .ops = &queue_ops,
					 .name = "queue",
					 .wake_fd = fakes.disk_wake_fd };
	disk->queues[0] = &disk->queue;
	disk->n_queues = fakes.disk_wake_fd != 0;
	fakes.disks++;
	return disk;
}

void disk_free(struct disk *disk)
{
	fakes.disks--;
	free(disk);
}

struct virtio_device *disk_device(struct disk *disk)
{
	return NULL;
}

struct io_queue *const *disk_queues(struct disk *disk, unsigned *n)
{
	*n = disk->n_queues;
	return disk->queues;
}

int disk_resize(struct disk *disk, uint64_t size_bytes)
{
	if (fakes.fail_resize)
		return -fakes.fail_resize;
	strncat(fakes.journal, "resize ", sizeof(fakes.journal) - strlen(fakes.journal) - 1);
	return 0;
}

bool disk_waits(const struct disk *disk)
{
	return false;
}

uint64_t disk_size(const struct disk *disk)
{
	return 0;
}

void disk_stats(struct disk *disk, disk_stat_fn *stat, void *arg)
{
}
