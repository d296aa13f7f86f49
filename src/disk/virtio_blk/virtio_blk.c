/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device: what it offers, its configuration space, its image and that image's size. Requests
 * are requests.c's.
 */
#include "disk/virtio_blk/private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* by bit */
static const char *const feature_names[64] = {
	[VIRTIO_BLK_F_SEG_MAX] = "SEG_MAX",
	[VIRTIO_BLK_F_RO] = "RO",
	[VIRTIO_BLK_F_BLK_SIZE] = "BLK_SIZE",
	[VIRTIO_BLK_F_FLUSH] = "FLUSH",
	[VIRTIO_BLK_F_TOPOLOGY] = "TOPOLOGY",
	[VIRTIO_BLK_F_CONFIG_WCE] = "CONFIG_WCE",
	[VIRTIO_BLK_F_MQ] = "MQ",
	[VIRTIO_BLK_F_DISCARD] = "DISCARD",
	[VIRTIO_BLK_F_WRITE_ZEROES] = "WRITE_ZEROES",
};

static struct disk *of_dev(struct virtio_device *dev)
{
	return container_of(dev, struct disk, dev);
}

/* ---- the write cache --------------------------------------------------------------------- */

/*
 * A driver that switches the cache (section 5.2.5, writeback) is heard of once. The VMM remembers
 * what it said, shows that to the guest from then on, also to the next driver after a reset, and
 * tells us only when it changes. So it lasts here, too: over resets and connections, and in the
 * word that the VMM keeps (virtio/device.h) over our own end. A VMM that reads the configuration
 * before there is a driver is a new one, or will show what it reads: then the cache is on.
 */
enum { KEPT_ON = 1, KEPT_OFF = 2 };

/* Section 5.2.6.2: who can neither flush nor switch the cache expects writes to be durable. */
static void cache_apply(struct disk *disk)
{
	uint64_t acked = disk->dev.acked;

	WRITE_ONCE(disk->writeback,
		   acked & FEATURE(CONFIG_WCE) ? disk->cache : !!(acked & FEATURE(FLUSH)));
}

static void cache_set(struct disk *disk, bool on)
{
	disk->cache = on;
	if (disk->kept)
		WRITE_ONCE(*disk->kept, on ? KEPT_ON : KEPT_OFF);
	cache_apply(disk);
}

static void keep(struct virtio_device *dev, uint64_t *word)
{
	struct disk *disk = of_dev(dev);
	uint64_t was = word ? READ_ONCE(*word) : 0;

	disk->kept = word;
	cache_set(disk, was == KEPT_ON || was == KEPT_OFF ? was == KEPT_ON : disk->cache);
}

static void features_set(struct virtio_device *dev, uint64_t features)
{
	struct disk *disk = of_dev(dev);

	disk->begun = true;
	/* section 5.2.5.2: without the flush it starts switched off */
	if (features & FEATURE(CONFIG_WCE) && !(features & FEATURE(FLUSH)))
		cache_set(disk, false);
	else
		cache_apply(disk);
}

/* ---- what transports ask for ------------------------------------------------------------- */

static int config_read(struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len)
{
	struct disk *disk = of_dev(dev);
	struct virtio_blk_config config;

	if (!disk->begun)
		cache_set(disk, true);
	config = (struct virtio_blk_config){
		.capacity = READ_ONCE(disk->sectors),
		.seg_max = SEG_MAX,
		.blk_size = disk->block_bytes,
		.opt_io_size = 0,
		.min_io_size = 1,
		.physical_block_exp = disk->block_bytes == SECTOR ? 3 : 0,
		.wce = disk->cache,
		.num_queues = (uint16_t)disk->n_queues,
		.max_discard_sectors = RANGE_MAX,
		.max_discard_seg = 1,
		.discard_sector_alignment = MAX(disk->block_bytes, disk->backend->discard_bytes) /
					    SECTOR,
		.max_write_zeroes_sectors = RANGE_MAX,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = 1,
	};

	/* what a front end asks for beyond is zero */
	if (offset < sizeof(config))
		memcpy(buf, (uint8_t *)&config + offset,
		       MIN(len, (uint32_t)sizeof(config) - offset));
	return 0;
}

static int config_write(struct virtio_device *dev, uint32_t offset, const void *buf, uint32_t len,
			bool migration)
{
	struct disk *disk = of_dev(dev);

	if (migration)
		return 0;
	if (offset != offsetof(struct virtio_blk_config, wce) || len != 1)
		return -EPERM;
	disk->begun = true; /* it may say so before its features come */
	cache_set(disk, *(const uint8_t *)buf != 0);
	return 0;
}

static void look_at_size(struct disk *disk);

static int use(struct virtio_device *dev, bool on)
{
	struct disk *disk = of_dev(dev);
	int err;

	if (!disk->shared || !disk->backend->ops->lock)
		return 0;
	err = disk->backend->ops->lock(disk->backend, on);
	if (!err && on)
		look_at_size(disk);
	return err;
}

static void reset(struct virtio_device *dev)
{
	struct disk *disk = of_dev(dev);

	disk->begun = false;
	cache_apply(disk);
	for (unsigned i = 0; i < disk->n_queues && disk->backend->ops->memory_changed; i++) {
		pthread_mutex_lock(&disk->queues[i].vq.lock);
		disk->backend->ops->memory_changed(disk->backend, i);
		pthread_mutex_unlock(&disk->queues[i].vq.lock);
	}
}

static const struct virtio_device_ops device_ops = {
	.features_set = features_set,
	.config_read = config_read,
	.config_write = config_write,
	.use = use,
	.reset = reset,
	.keep = keep,
};

/* ---- making ------------------------------------------------------------------------------ */

const char *const *disk_backends(void)
{
	static const char *const names[] = { "file", "malloc", "null", NULL };

	return names;
}

static struct disk_backend *backend_new(const struct disk_config *config)
{
	if (!strcmp(config->backend, "file"))
		return disk_file_new(config);
	if (!strcmp(config->backend, "malloc"))
		return disk_malloc_new(config);
	if (!strcmp(config->backend, "null"))
		return disk_null_new(config);
	errno = EINVAL;
	return NULL;
}

void disk_free(struct disk *disk)
{
	if (!disk)
		return;
	disk_claim_end(&disk->claim);
	if (disk->backend)
		disk->backend->ops->free(disk->backend);
	for (unsigned i = 0; disk->queues && i < disk->n_queues; i++) {
		struct blk_queue *q = &disk->queues[i];

		if (!q->requests)
			break;
		virtqueue_done(&q->vq);
		if (q->io.wake_fd >= 0)
			close(q->io.wake_fd);
		free(q->requests);
	}
	free(disk->queues);
	free(disk->name);
	free(disk);
}

static int queue_init(struct disk *disk, unsigned i, struct memory_space *space)
{
	struct blk_queue *q = &disk->queues[i];

	q->requests = calloc(DISK_DEPTH, sizeof(*q->requests));
	if (!q->requests)
		return -ENOMEM;
	for (unsigned k = 0; k < DISK_DEPTH; k++) {
		q->requests[k].next = q->free;
		q->free = &q->requests[k];
	}
	virtqueue_init(&q->vq, space);
	q->disk = disk;
	q->index = i;
	snprintf(q->name, sizeof(q->name), "%s/q%u", disk->name, i);
	q->io.ops = &blk_queue_ops;
	q->io.name = q->name;
	q->io.wake_fd = -1;
	q->io.drain_wake_fd = true;
	q->io.ending = &q->vq.draining;
	disk->io[i] = &q->io;
	disk->dev.queues[i] = &q->vq;
	disk->dev.io[i] = &q->io;
	return 0;
}

static int size_of(struct disk *disk, uint64_t wanted, uint64_t *size)
{
	uint64_t there = disk->backend->ops->size ? disk->backend->ops->size(disk->backend)
						  : UINT64_MAX;

	*size = wanted ? wanted : there;
	if (*size == UINT64_MAX)
		return -EINVAL;
	if (*size > there)
		return -ERANGE;
	*size -= *size % disk->block_bytes;
	return *size ? 0 : -ERANGE;
}

/* Whoever had the image may have changed its size. A client can have us look again and again. */
static void look_at_size(struct disk *disk)
{
	uint64_t size;

	if (size_of(disk, disk->asked_bytes, &size))
		log_limited(&disk->limit, LOG_LEVEL_WARNING, "%s: its image is smaller than it was",
			    disk->name);
	else if (size != disk_size(disk))
		disk_resize(disk, disk->asked_bytes);
}

static void claimed(struct disk_claim *claim)
{
	struct disk *disk = container_of(claim, struct disk, claim);

	look_at_size(disk);
	STORE_RELEASE(disk->ready, true);
	for (unsigned i = 0; i < disk->n_queues; i++)
		virtio_device_wake(&disk->dev, i);
	log_info("%s: has its image", disk->name);
}

/* Rings are polled from here on, and wait if the image does not come at once. */
static int claim_image(struct disk *disk, const struct disk_config *config)
{
	int err;

	disk->claim = (struct disk_claim){
		.backend = disk->backend,
		.loop = config->loop,
		.got = claimed,
	};
	err = disk->shared ? 0 : disk_claim_make(&disk->claim);
	disk->ready = !err;
	if (err != -EAGAIN)
		return err;
	log_warning("%s: waits for its image: another process has %s", disk->name, config->path);
	return 0;
}

struct disk *disk_new(const struct disk_config *config, struct memory_space *space)
{
	struct disk *disk;
	uint64_t size;
	int err = -ENOMEM;

	if (!config->queues || config->queues > DISK_QUEUES_MAX ||
	    (config->block_bytes && config->block_bytes != 512 && config->block_bytes != 4096) ||
	    config->size_bytes % SECTOR) {
		errno = EINVAL;
		return NULL;
	}
	disk = calloc(1, sizeof(*disk));
	if (!disk)
		return NULL;
	disk->name = strdup(config->name);
	disk->queues = calloc(config->queues, sizeof(*disk->queues));
	if (!disk->name || !disk->queues)
		goto fail;
	disk->block_bytes = config->block_bytes ? config->block_bytes : SECTOR;
	disk->read_only = config->read_only;
	disk->shared = config->shared;
	disk->asked_bytes = config->size_bytes;
	if (config->serial)
		memcpy(disk->serial, config->serial, strnlen(config->serial, sizeof(disk->serial)));
	disk->backend = backend_new(config);
	if (!disk->backend) {
		err = -errno;
		goto fail;
	}
	err = size_of(disk, config->size_bytes, &size);
	if (err)
		goto fail;
	disk->sectors = size / SECTOR;
	disk->dev = (struct virtio_device){
		.ops = &device_ops,
		.name = disk->name,
		.space = space,
		.features = (VIRTQ_FEATURES & ~(1ull << VIRTIO_F_IN_ORDER)) | FEATURE(SEG_MAX) |
			    FEATURE(BLK_SIZE) | FEATURE(TOPOLOGY) | FEATURE(FLUSH) |
			    FEATURE(CONFIG_WCE) | FEATURE(MQ) |
			    (config->read_only ? FEATURE(RO)
					       : FEATURE(DISCARD) | FEATURE(WRITE_ZEROES)),
		.feature_names = feature_names,
		.in_flight = true,
		.has_config = true,
		.n_queues = config->queues,
	};
	for (unsigned i = 0; i < config->queues; i++) {
		disk->n_queues = i + 1;
		err = queue_init(disk, i, space);
		if (err)
			goto fail;
	}
	cache_set(disk, true);
	reset(&disk->dev);
	err = claim_image(disk, config);
	if (err)
		goto fail;
	return disk;
fail:
	disk_free(disk);
	errno = -err;
	return NULL;
}

struct virtio_device *disk_device(struct disk *disk)
{
	return &disk->dev;
}

struct io_queue *const *disk_queues(struct disk *disk, unsigned *n)
{
	*n = disk->n_queues;
	return disk->io;
}

uint64_t disk_size(const struct disk *disk)
{
	return READ_ONCE(disk->sectors) * SECTOR;
}

bool disk_waits(const struct disk *disk)
{
	return !READ_ONCE(disk->ready);
}

/* A backend whose size is what it is asked for. */
static int backend_resize(struct disk *disk, uint64_t bytes)
{
	uint64_t size = bytes - bytes % disk->block_bytes;
	int err;

	if (!size)
		return -EINVAL;
	for (unsigned i = 0; i < disk->n_queues; i++)
		pthread_mutex_lock(&disk->queues[i].vq.lock);
	/* as it is made: what is no whole block is there, unused */
	err = disk->backend->ops->resize(disk->backend, bytes);
	if (!err)
		WRITE_ONCE(disk->sectors, size / SECTOR);
	for (unsigned i = disk->n_queues; i--;)
		pthread_mutex_unlock(&disk->queues[i].vq.lock);
	return err;
}

int disk_resize(struct disk *disk, uint64_t size_bytes)
{
	uint64_t size;
	int err = size_bytes % SECTOR ? -EINVAL : 0;

	if (!err && disk->backend->ops->resize)
		err = backend_resize(disk, size_bytes);
	if (!err)
		err = size_of(disk, size_bytes, &size);
	if (err)
		return err;
	disk->asked_bytes = size_bytes;
	WRITE_ONCE(disk->sectors, size / SECTOR);
	if (disk->dev.config_changed)
		disk->dev.config_changed(&disk->dev, disk->dev.config_changed_arg);
	return 0;
}

void disk_stats(struct disk *disk, disk_stat_fn *stat, void *arg)
{
	static const char *const names[] = {
		[DISK_READ] = "reads",		[DISK_WRITE] = "writes",
		[DISK_FLUSH] = "flushes",	[DISK_DISCARD] = "discards",
		[DISK_ZEROES] = "write_zeroes",
	};
	uint64_t sum[ARRAY_SIZE(names)] = { 0 }, read = 0, written = 0, errors = 0, malformed = 0;
	uint64_t resubmitted = 0, broken = 0, notified = 0, in_flight = 0;

	for (unsigned i = 0; i < disk->n_queues; i++) {
		const struct blk_queue *q = &disk->queues[i];

		for (unsigned k = 0; k < ARRAY_SIZE(names); k++)
			sum[k] += READ_ONCE(q->ops[k]);
		read += READ_ONCE(q->bytes_read);
		written += READ_ONCE(q->bytes_written);
		errors += READ_ONCE(q->errors);
		malformed += READ_ONCE(q->malformed);
		resubmitted += READ_ONCE(q->vq.stats.resubmitted);
		broken += READ_ONCE(q->vq.stats.broken);
		notified += READ_ONCE(q->vq.stats.notified);
		in_flight += READ_ONCE(q->vq.in_flight);
	}
	for (unsigned k = 0; k < ARRAY_SIZE(names); k++)
		stat(arg, names[k], sum[k]);
	stat(arg, "bytes_read", read);
	stat(arg, "bytes_written", written);
	stat(arg, "errors", errors);
	stat(arg, "malformed", malformed);
	stat(arg, "resubmitted", resubmitted);
	stat(arg, "rings_broken", broken);
	stat(arg, "notified", notified);
	stat(arg, "in_flight", in_flight);
	stat(arg, "writeback", READ_ONCE(disk->writeback));
	if (disk->backend->ops->pinned)
		stat(arg, "pinned_chunks", disk->backend->ops->pinned(disk->backend));
}
