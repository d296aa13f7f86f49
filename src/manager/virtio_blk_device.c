/* SPDX-License-Identifier: BSD-2-Clause */
/* The device kind "virtio-blk": a paravirtual disk, served over vhost-user. The model is the
 * backend. */
#include "disk/disk.h"
#include "manager/internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static int virtio_blk_check(const struct device_spec *spec, const char **key, struct why *why)
{
	bool file = !strcmp(spec->model, "file");

	*key = "file";
	if (file && !spec->file[0])
		return why_set(why, -EINVAL, "a disk of the model \"file\" needs a file");
	if (!file && spec->file[0])
		return why_set(why, -EINVAL, "a disk of the model \"%s\" has no file", spec->model);
	*key = "size_bytes";
	if (!file && !spec->size_bytes)
		return why_set(why, -EINVAL, "a disk of the model \"%s\" needs a size",
			       spec->model);
	if (spec->size_bytes % 512)
		return why_set(why, -EINVAL, "a size is a multiple of 512");
	*key = "block_bytes";
	if (spec->block_bytes && spec->block_bytes != 512 && spec->block_bytes != 4096)
		return why_set(why, -EINVAL, "blocks have 512 or 4096 bytes");
	*key = "serial";
	if (strlen(spec->serial) > 20)
		return why_set(why, -EINVAL, "a serial has up to 20 characters");
	return 0;
}

/* Two disks of one image would wait for each other's lock for ever. */
static int virtio_blk_clash(const struct device_spec *spec, const struct device_spec *other,
			    struct why *why)
{
	struct stat a, b;

	if ((spec->shared && other->shared) || (spec->read_only && other->read_only) ||
	    stat(spec->file, &a) || stat(other->file, &b) || a.st_dev != b.st_dev ||
	    a.st_ino != b.st_ino)
		return 0;
	return why_set(why, -EEXIST,
		       "another disk has the image %s; two can have one if both are \"read_only\" "
		       "or \"shared\"",
		       spec->file);
}

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
		.loop = dev->m->loop,
	};
	int err;

	dev->disk = disk_new(&config, dev->space);
	if (!dev->disk) {
		err = -errno;
		if (err == -ERANGE)
			return why_set(
				why, err, "the image %s of disk %s is %s", spec->file, dev->id,
				spec->size_bytes ? "smaller than the disk is to be" : "empty");
		return why_set(why, err, "disk %s cannot be made of %s: %s", dev->id,
			       spec->file[0] ? spec->file : spec->model, strerror(-err));
	}
	dev->virtio = disk_device(dev->disk);
	dev->end = (struct endpoint){ 0 };
	dev->end.queues = disk_queues(dev->disk, &dev->end.n_queues);
	return 0;
}

static void virtio_blk_destroy(struct device *dev)
{
	disk_free(dev->disk);
}

static int virtio_blk_set_check(const struct device *dev, const struct device_spec *spec,
				struct why *why)
{
	const char *key;
	int err = virtio_blk_check(spec, &key, why);

	if (err)
		return err;
	if (spec->queues != dev->spec.queues || spec->vmm_listens != dev->spec.vmm_listens ||
	    spec->read_only != dev->spec.read_only || spec->cached != dev->spec.cached ||
	    spec->shared != dev->spec.shared || spec->pin_memory != dev->spec.pin_memory ||
	    spec->block_bytes != dev->spec.block_bytes || strcmp(spec->file, dev->spec.file) ||
	    strcmp(spec->serial, dev->spec.serial))
		return why_set(why, -EOPNOTSUPP, "only the size of %s can change while it lives",
			       dev->id);
	return 0;
}

static int virtio_blk_set(struct device *dev, const struct device_spec *spec, struct why *why)
{
	int err;

	/* the same size again: the file may have grown */
	err = disk_resize(dev->disk, spec->size_bytes);
	if (err)
		return why_set(why, err, "%s cannot have that size: %s", dev->id,
			       err == -ERANGE ? "its file is smaller" : strerror(-err));
	return 0;
}

static const char *virtio_blk_waits_for(const struct device *dev)
{
	return disk_waits(dev->disk) ? "its image" : NULL;
}

static void virtio_blk_stats(const struct device *dev, void (*stat)(void *, const char *, uint64_t),
			     void *arg)
{
	disk_stats(dev->disk, stat, arg);
	stat(arg, "size_bytes", disk_size(dev->disk));
}

const struct device_kind virtio_blk_device_kind = {
	.name = "virtio-blk",
	.qemu_device = "vhost-user-blk-pci",
	.transport = &vhost_user_transport,
	.models = disk_backends,
	.check = virtio_blk_check,
	.clash = virtio_blk_clash,
	.build = virtio_blk_build,
	.destroy = virtio_blk_destroy,
	.set_check = virtio_blk_set_check,
	.set = virtio_blk_set,
	.waits_for = virtio_blk_waits_for,
	.stats = virtio_blk_stats,
};
