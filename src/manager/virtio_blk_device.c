/* SPDX-License-Identifier: BSD-2-Clause */
/* The device kind "virtio-blk": a paravirtual disk, served over vhost-user. The model is the
 * backend. */
#include "disk/disk.h"
#include "manager/internal.h"
#include "transport/vhost_user.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct virtio_blk_state {
	struct disk *disk;
	struct vhost_user_server *server; /* NULL until it is served */
};

static int virtio_blk_build(struct device *dev, struct why *why)
{
	const struct device_spec *spec = &dev->spec;
	struct disk_config config = {
		.name = dev->id,
		.backend = spec->model,
		.path = spec->file[0] ? spec->file : NULL,
		.size_bytes = spec->size_bytes,
		.block_bytes = spec->block_bytes,
		.queues = spec->queues ? spec->queues : 1,
		.read_only = spec->read_only,
		.cached = spec->cached,
		.shared = spec->shared,
		.pin_memory = spec->pin_memory,
		.serial = spec->serial,
	};
	struct virtio_blk_state *state;
	int err;

	if (!strcmp(spec->model, "file") && !spec->file[0])
		return why_set(why, -EINVAL, "disk %s needs a file", dev->id);
	if (strcmp(spec->model, "file") && !spec->size_bytes)
		return why_set(why, -EINVAL, "disk %s needs a size", dev->id);
	state = calloc(1, sizeof(*state));
	if (!state)
		return why_set(why, -ENOMEM, "out of memory");
	state->disk = disk_new(&config, dev->space);
	if (!state->disk) {
		err = -errno;
		free(state);
		if (err == -EBUSY)
			return why_set(why, err, "another process uses %s", spec->file);
		return why_set(why, err, "disk %s cannot be made of %s: %s", dev->id,
			       spec->file[0] ? spec->file : spec->model, strerror(-err));
	}
	dev->state = state;
	dev->end = (struct endpoint){ 0 };
	dev->end.queues = disk_queues(state->disk, &dev->end.n_queues);
	return 0;
}

static void virtio_blk_destroy(struct device *dev)
{
	struct virtio_blk_state *state = dev->state;

	disk_free(state->disk);
	free(state);
}

static int virtio_blk_serve(struct device *dev, struct why *why)
{
	struct virtio_blk_state *state = dev->state;

	return vhost_serve(dev, disk_device(state->disk), &state->server, why);
}

static void virtio_blk_close(struct device *dev)
{
	struct virtio_blk_state *state = dev->state;

	vhost_user_server_free(state->server);
	state->server = NULL;
}

static void virtio_blk_disconnect(struct device *dev)
{
	struct virtio_blk_state *state = dev->state;

	vhost_user_server_disconnect(state->server);
}

static void virtio_blk_check(struct device *dev)
{
	struct virtio_blk_state *state = dev->state;

	vhost_user_server_check(state->server);
}

static int virtio_blk_set(struct device *dev, const struct device_spec *spec, struct why *why)
{
	struct virtio_blk_state *state = dev->state;
	int err;

	if (spec->queues != dev->spec.queues || spec->vmm_listens != dev->spec.vmm_listens ||
	    spec->read_only != dev->spec.read_only || spec->cached != dev->spec.cached ||
	    spec->shared != dev->spec.shared || spec->pin_memory != dev->spec.pin_memory ||
	    spec->block_bytes != dev->spec.block_bytes || strcmp(spec->file, dev->spec.file) ||
	    strcmp(spec->serial, dev->spec.serial))
		return why_set(why, -EOPNOTSUPP, "only the size of %s can change while it lives",
			       dev->id);
	/* the same size again: the file may have grown */
	err = disk_resize(state->disk, spec->size_bytes);
	if (err)
		return why_set(why, err, "%s cannot have that size", dev->id);
	dev->spec.size_bytes = spec->size_bytes;
	return 0;
}

struct sum {
	const char *name;
	uint64_t value;
};

static void pick(void *arg, const char *name, uint64_t value)
{
	struct sum *sum = arg;

	if (!strcmp(name, sum->name))
		sum->value = value;
}

static void virtio_blk_look(const struct device *dev, struct device_info *info)
{
	const struct virtio_blk_state *state = dev->state;
	struct sum notified = { "notified", 0 };

	disk_stats(state->disk, pick, &notified);
	info->interrupts = notified.value;
	info->express = true;
	if (state->server)
		vhost_look(state->server, info);
}

struct stat_group {
	manager_stat_fn *stat;
	void *arg;
};

static void disk_stat(void *arg, const char *name, uint64_t value)
{
	struct stat_group *group = arg;

	group->stat(group->arg, "device", name, value);
}

static void virtio_blk_stats(const struct device *dev, manager_stat_fn *stat, void *arg)
{
	const struct virtio_blk_state *state = dev->state;
	struct stat_group group = { stat, arg };

	disk_stats(state->disk, disk_stat, &group);
	stat(arg, "device", "size_bytes", disk_size(state->disk));
	vhost_stats(state->server, stat, arg);
}

const struct device_kind virtio_blk_device_kind = {
	.name = "virtio-blk",
	.transport = "vhost-user",
	.qemu_device = "vhost-user-blk-pci",
	.models = disk_backends,
	.build = virtio_blk_build,
	.destroy = virtio_blk_destroy,
	.serve = virtio_blk_serve,
	.close = virtio_blk_close,
	.disconnect = virtio_blk_disconnect,
	.check = virtio_blk_check,
	.set = virtio_blk_set,
	.look = virtio_blk_look,
	.stats = virtio_blk_stats,
};
