/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device: requests come from a queue, are checked, started on the backend, and given back when
 * it is done with them. A request's chain keeps its pieces in the request, so nothing is copied;
 * the transport waits for requests in flight before it takes memory away. While the image is
 * another process's, nothing is taken: requests stay in their rings, which can be stopped all the
 * same.
 *
 * Section 5.2.6: a header that the device reads, data, and a status byte that it writes last.
 */
#include "base/iov.h"
#include "base/log.h"
#include "disk/backend.h"
#include "disk/claim.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SECTOR	    512u
#define SEG_MAX	    126u
#define PIECES	    DISK_PIECES /* data over region borders, header and status */
#define FEATURE(f)  (1ull << VIRTIO_BLK_F_##f)
#define RANGE_MAX   (1u << 22) /* sectors of one discard: 2 GiB */
#define TURN_REAPED 64
#define BATCH	    8u /* as many as a cache line of a split ring has used elements */
#define PARTS_MAX   8u /* requests done in parts while more are taken, a batch at a time */

_Static_assert(PIECES >= 2 * SEG_MAX + 4, "each may lie over a border");

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

struct blk_request {
	struct disk_io io; /* first: the backend hands this back */
	struct virtq_chain chain;
	uint8_t *status;
	uint32_t written; /* data bytes that the device wrote */
	struct blk_request *next;
	struct iovec iov[PIECES];
};

struct blk_queue {
	struct virtqueue vq;
	struct io_queue io;
	struct disk *disk;
	unsigned index;
	char name[48];
	struct blk_request *requests, *free;
	struct blk_request *parts, **parts_end; /* done in parts, in turn */
	unsigned n_parts;
	uint64_t generation; /* of guest memory, when it was last looked at */
	uint64_t ops[5], bytes_read, bytes_written, errors, malformed;
};

struct disk {
	char *name;
	char serial[DISK_SERIAL_BYTES];
	bool read_only;
	unsigned block_bytes;
	struct disk_backend *backend;
	uint64_t sectors;     /* atomic */
	uint64_t asked_bytes; /* 0: as large as the file */
	bool shared;
	bool ready; /* atomic: the image is ours, or will be when it is used (shared) */
	struct disk_claim claim;
	struct virtio_device dev;
	bool writeback; /* atomic: the guest flushes when it wants durability */
	struct blk_queue *queues;
	unsigned n_queues;
	struct io_queue *io[DISK_QUEUES_MAX];
};

/* ---- requests ---------------------------------------------------------------------------- */

static void free_request(struct blk_queue *q, struct blk_request *r)
{
	r->next = q->free;
	q->free = r;
}

static void complete(struct blk_queue *q, struct blk_request *r, uint8_t status)
{
	struct virtq_chain *chain = &r->chain;
	uint32_t len = 0;

	if (status != VIRTIO_BLK_S_OK)
		COUNT(q->errors, 1);
	if (r->status) {
		WRITE_ONCE(*r->status, status);
		/* the piece that the status was taken from, as it was */
		chain->iov[chain->n_out + chain->n_in - 1].iov_len++;
		len = (status == VIRTIO_BLK_S_OK ? r->written : 0) + 1;
	}
	virtqueue_give(&q->vq, chain, len);
	free_request(q, r);
}

static bool in_range(const struct disk *disk, uint64_t sector, uint64_t bytes)
{
	uint64_t sectors = READ_ONCE(disk->sectors), n = bytes / SECTOR;

	return sector <= sectors && n <= sectors - sector;
}

/* Discard and write zeroes (section 5.2.6.2): one range, as max_discard_seg says. */
static int parse_range(struct disk *disk, struct blk_request *r, bool zeroes)
{
	struct virtio_blk_discard_write_zeroes range;

	if (disk->read_only || !disk->backend->can_discard)
		return VIRTIO_BLK_S_UNSUPP;
	if (r->io.bytes != sizeof(range))
		return VIRTIO_BLK_S_UNSUPP;
	iov_to_buf(r->io.iov, r->io.n_iov, 0, &range, sizeof(range));
	if (range.flags & ~1u || (!zeroes && range.flags))
		return VIRTIO_BLK_S_UNSUPP;
	if (range.num_sectors > RANGE_MAX ||
	    !in_range(disk, range.sector, (uint64_t)range.num_sectors * SECTOR))
		return VIRTIO_BLK_S_IOERR;
	r->io.op = zeroes ? DISK_ZEROES : DISK_DISCARD;
	r->io.unmap = range.flags & 1;
	r->io.durable = !READ_ONCE(disk->writeback);
	r->io.offset = range.sector * SECTOR;
	r->io.bytes = (uint64_t)range.num_sectors * SECTOR;
	r->io.n_iov = 0;
	return r->io.bytes ? -1 : VIRTIO_BLK_S_OK;
}

/* The readable data behind the header, in place. */
static void data_out(struct blk_request *r)
{
	struct virtq_chain *chain = &r->chain;
	size_t skip = sizeof(struct virtio_blk_outhdr);
	unsigned i = 0;

	while (i < chain->n_out && chain->iov[i].iov_len <= skip)
		skip -= chain->iov[i++].iov_len;
	if (i < chain->n_out) {
		chain->iov[i].iov_base = (uint8_t *)chain->iov[i].iov_base + skip;
		chain->iov[i].iov_len -= skip;
	}
	r->io.iov = chain->iov + i;
	r->io.n_iov = chain->n_out - i;
	r->io.bytes = chain->out_bytes - sizeof(struct virtio_blk_outhdr);
}

/* The writable data before the status. */
static void data_in(struct blk_request *r)
{
	struct virtq_chain *chain = &r->chain;

	r->io.iov = chain->iov + chain->n_out;
	/* the status may have been a piece of its own */
	r->io.n_iov = chain->n_in - !chain->iov[chain->n_out + chain->n_in - 1].iov_len;
	r->io.bytes = chain->in_bytes - 1;
}

static int parse_rw(struct blk_queue *q, struct blk_request *r, uint64_t sector)
{
	struct disk *disk = q->disk;

	if (r->io.op == DISK_WRITE && disk->read_only)
		return VIRTIO_BLK_S_IOERR;
	if (r->io.bytes % SECTOR || sector > UINT64_MAX / SECTOR ||
	    !in_range(disk, sector, r->io.bytes))
		return VIRTIO_BLK_S_IOERR;
	if (!r->io.bytes)
		return VIRTIO_BLK_S_OK;
	r->io.offset = sector * SECTOR;
	r->io.durable = !READ_ONCE(disk->writeback);
	r->io.region = q->vq.reader.host;
	r->io.region_bytes = q->vq.reader.size;
	if (r->io.op == DISK_READ) {
		r->written = (uint32_t)r->io.bytes;
		COUNT(q->bytes_read, r->io.bytes);
	} else {
		COUNT(q->bytes_written, r->io.bytes);
	}
	return -1;
}

/* Once: the driver may change it at any time. It may lie at any address. */
static void load_header(struct virtio_blk_outhdr *hdr, const void *p)
{
	typedef uint64_t __attribute__((aligned(1), may_alias)) any_u64;
	const volatile any_u64 *words = p;
	uint64_t first = words[0];

	hdr->type = (uint32_t)first;
	hdr->ioprio = (uint32_t)(first >> 32);
	hdr->sector = words[1];
}

/* Returns a status to complete with, or -1: to be started. */
static int parse(struct blk_queue *q, struct blk_request *r)
{
	struct virtq_chain *chain = &r->chain;
	struct virtio_blk_outhdr hdr;
	struct iovec *last;

	r->status = NULL;
	r->written = 0;
	r->io = (struct disk_io){ 0 };
	if (chain->error || !chain->n_in || !chain->in_bytes) {
		/* nowhere to put a status: given back as it is */
		COUNT(q->malformed, 1);
		return VIRTIO_BLK_S_IOERR;
	}
	last = &chain->iov[chain->n_out + chain->n_in - 1];
	r->status = (uint8_t *)last->iov_base + --last->iov_len;
	if (likely(chain->n_out && chain->iov[0].iov_len >= sizeof(hdr))) {
		load_header(&hdr, chain->iov[0].iov_base);
	} else if (iov_to_buf(chain->iov, chain->n_out, 0, &hdr, sizeof(hdr)) != sizeof(hdr)) {
		COUNT(q->malformed, 1);
		return VIRTIO_BLK_S_IOERR;
	}
	switch (hdr.type) {
	case VIRTIO_BLK_T_IN:
		r->io.op = DISK_READ;
		data_in(r);
		return parse_rw(q, r, hdr.sector);
	case VIRTIO_BLK_T_OUT:
		r->io.op = DISK_WRITE;
		data_out(r);
		return parse_rw(q, r, hdr.sector);
	case VIRTIO_BLK_T_FLUSH: r->io.op = DISK_FLUSH; return -1;
	case VIRTIO_BLK_T_GET_ID:
		/* up to 20 bytes; no NUL if it is that long */
		data_in(r);
		r->written = (uint32_t)iov_from_buf(r->io.iov, r->io.n_iov, 0, q->disk->serial,
						    MIN(r->io.bytes, (uint64_t)DISK_SERIAL_BYTES));
		return VIRTIO_BLK_S_OK;
	case VIRTIO_BLK_T_DISCARD: data_out(r); return parse_range(q->disk, r, false);
	case VIRTIO_BLK_T_WRITE_ZEROES: data_out(r); return parse_range(q->disk, r, true);
	default: return VIRTIO_BLK_S_UNSUPP;
	}
}

static uint8_t status_of(const struct disk_io *io)
{
	if (!io->result)
		return VIRTIO_BLK_S_OK;
	return io->result == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

/* ---- polling ----------------------------------------------------------------------------- */

static unsigned reap(struct blk_queue *q)
{
	struct disk_backend *backend = q->disk->backend;
	struct disk_io *done[TURN_REAPED];
	unsigned n;

	if (!backend->ops->reap || !q->vq.in_flight)
		return 0;
	n = backend->ops->reap(backend, q->index, done, TURN_REAPED);
	for (unsigned i = 0; i < n; i++) {
		struct blk_request *r = container_of(done[i], struct blk_request, io);

		if (unlikely(done[i]->result == -ECANCELED && q->vq.suspending)) {
			virtqueue_leave(&q->vq, &r->chain);
			free_request(q, r);
		} else {
			complete(q, r, status_of(done[i]));
		}
	}
	if (unlikely(q->vq.suspending && q->vq.in_flight && backend->ops->cancel))
		backend->ops->cancel(backend, q->index);
	return n;
}

/*
 * Takes up to a batch of requests, within the turn's budget. Where their headers and statuses are
 * is fetched meanwhile: the driver's CPU wrote them last.
 */
static unsigned take(struct blk_queue *q, const struct io_turn *turn, struct io_work *work,
		     struct blk_request **batch)
{
	unsigned n = 0;

	while (n < BATCH && work->packets < turn->budget_packets &&
	       work->bytes < turn->budget_bytes) {
		struct blk_request *r = q->free;
		struct virtq_chain *chain;
		struct virtq_arena arena;

		if (!r)
			break;
		chain = &r->chain;
		arena = (struct virtq_arena){ r->iov, 0, PIECES };
		if (!virtqueue_take(&q->vq, chain, 1, &arena))
			break;
		q->free = r->next;
		if (!n) /* the first tells what there is: the lines of the others, all at once */
			virtqueue_fetch(&q->vq, BATCH, true);
		if (likely(chain->n_in)) {
			const struct iovec *last = &chain->iov[chain->n_out + chain->n_in - 1];

			__builtin_prefetch((uint8_t *)last->iov_base + last->iov_len - 1, 1);
		}
		work->packets++;
		work->bytes += chain->in_bytes + chain->out_bytes;
		batch[n++] = r;
	}
	return n;
}

static bool is_rw(const struct blk_request *r)
{
	return r->io.op == DISK_READ || r->io.op == DISK_WRITE;
}

/* To be done in parts, which count when they are done. */
static void add_to_parts(struct blk_queue *q, struct blk_request *r, struct io_work *work)
{
	if (is_rw(r))
		work->bytes -= r->io.bytes - r->io.done;
	work->more = true;
	r->next = NULL;
	*(q->parts ? q->parts_end : &q->parts) = r;
	q->parts_end = &r->next;
	q->n_parts++;
}

static struct blk_request *first_of_parts(struct blk_queue *q)
{
	struct blk_request *r = q->parts;

	q->parts = r->next;
	q->n_parts--;
	return r;
}

/* What is done in parts: one of them, and more within the turn's budget; ranges use that up, too,
 * but are nothing that a rate is for. Returns how many requests came to their end. */
static unsigned go_on(struct blk_queue *q, const struct io_turn *turn, struct io_work *work)
{
	struct disk_backend *backend = q->disk->backend;
	uint64_t bytes = work->bytes;
	unsigned n = 0;

	work->spent = true;
	do {
		struct blk_request *r = q->parts;
		uint64_t before = r->io.done;
		int err;

		if (unlikely(q->vq.suspending)) {
			virtqueue_leave(&q->vq, &r->chain);
			free_request(q, first_of_parts(q));
			continue;
		}
		err = backend->ops->go_on(backend, q->index, &r->io);
		bytes += r->io.done - before;
		if (is_rw(r))
			work->bytes += r->io.done - before;
		if (err != DISK_MORE) {
			r->io.result = err;
			complete(q, first_of_parts(q), status_of(&r->io));
			n++;
		}
	} while (q->parts && bytes < turn->budget_bytes);
	work->more |= q->parts != NULL;
	return n;
}

/* The ring has stopped, or is broken or out of reach. */
static void forget_parts(struct blk_queue *q)
{
	while (q->parts) {
		free_request(q, first_of_parts(q));
		if (q->vq.started)
			q->vq.in_flight--;
	}
}

static void start(struct blk_queue *q, struct blk_request *r, struct io_work *work)
{
	struct disk_backend *backend = q->disk->backend;
	int status = parse(q, r), err;

	if (status < 0) {
		err = backend->ops->start(backend, q->index, &r->io);
		COUNT(q->ops[r->io.op], 1);
		if (err == -EAGAIN && backend->ops->submit) {
			/* its queue is full: make room */
			backend->ops->submit(backend, q->index);
			err = backend->ops->start(backend, q->index, &r->io);
		}
		if (err == DISK_PENDING)
			return;
		if (unlikely(err == DISK_MORE)) {
			add_to_parts(q, r, work);
			return;
		}
		r->io.result = err;
		status = status_of(&r->io);
	}
	complete(q, r, (uint8_t)status);
}

static void poll(struct io_queue *queue, struct io_turn *turn, struct io_work *work)
{
	struct blk_queue *q = container_of(queue, struct blk_queue, io);
	struct disk_backend *backend = q->disk->backend;
	struct blk_request *batch[BATCH];
	bool notify = false;
	unsigned done, n;

	pthread_mutex_lock(&q->vq.lock);
	/* a broken ring still gets what is in flight out of the backend */
	if (unlikely(!virtqueue_begin(&q->vq))) {
		forget_parts(q);
		if (q->vq.started && q->vq.in_flight && backend->ops->reap) {
			struct disk_io *ended[TURN_REAPED];

			n = backend->ops->reap(backend, q->index, ended, TURN_REAPED);
			for (unsigned i = 0; i < n; i++) {
				struct blk_request *r = container_of(ended[i], struct blk_request,
								     io);

				free_request(q, r);
				q->vq.in_flight--;
			}
		}
		pthread_mutex_unlock(&q->vq.lock);
		return;
	}
	if (unlikely(q->generation != q->vq.reader.generation)) {
		q->generation = q->vq.reader.generation;
		if (backend->ops->memory_changed)
			backend->ops->memory_changed(backend, q->index);
	}
	done = reap(q);
	if (likely(q->vq.enabled && LOAD_ACQUIRE(q->disk->ready))) {
		do {
			/* a stop has to wait for what is in flight, at whatever rate */
			n = unlikely(q->n_parts >= PARTS_MAX) ? 0 : take(q, turn, work, batch);
			for (unsigned i = 0; i < n; i++)
				start(q, batch[i], work);
			/* the driver can go on with these while others are done */
			notify |= virtqueue_publish(&q->vq);
		} while (n == BATCH);
		work->more |= work->packets >= turn->budget_packets ||
			      work->bytes >= turn->budget_bytes || virtqueue_walked_far(&q->vq);
		if (work->packets && backend->ops->submit) {
			backend->ops->submit(backend, q->index);
			/* what needed no waiting */
			done += reap(q);
		}
	}
	if (unlikely(q->parts != NULL))
		done += go_on(q, turn, work);
	/* what is done counts as work too: the queue stays awake for it */
	if (!work->packets)
		work->packets = done;
	notify |= virtqueue_publish(&q->vq);
	pthread_mutex_unlock(&q->vq.lock);
	if (notify)
		virtqueue_notify(&q->vq);
}

static bool notify_queue(struct io_queue *queue, bool on)
{
	struct blk_queue *q = container_of(queue, struct blk_queue, io);
	bool more = false;

	/* whoever makes it ready wakes the queue */
	if (unlikely(!LOAD_ACQUIRE(q->disk->ready)))
		return false;
	pthread_mutex_lock(&q->vq.lock);
	/* completions do not notify: while any is awaited, the queue is polled */
	if (on && q->vq.started && q->vq.in_flight)
		more = true;
	else if (virtqueue_begin(&q->vq) && q->vq.enabled)
		more = on && queue->wake_fd < 0 ? true : virtqueue_kicks(&q->vq, on);
	pthread_mutex_unlock(&q->vq.lock);
	return more;
}

static const struct io_queue_ops queue_ops = { .poll = poll, .notify = notify_queue };

/* ---- device ------------------------------------------------------------------------------ */

static struct disk *of_dev(struct virtio_device *dev)
{
	return container_of(dev, struct disk, dev);
}

static void features_set(struct virtio_device *dev, uint64_t features)
{
	struct disk *disk = of_dev(dev);

	/* sections 5.2.5.2, 5.2.6.2: a driver that cannot flush expects writes to be durable, also
	 * where it could switch the cache; until it does */
	WRITE_ONCE(disk->writeback, features & FEATURE(FLUSH));
}

static int config_read(struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len)
{
	struct disk *disk = of_dev(dev);
	struct virtio_blk_config config = {
		.capacity = READ_ONCE(disk->sectors),
		.seg_max = SEG_MAX,
		.blk_size = disk->block_bytes,
		.opt_io_size = 0,
		.min_io_size = 1,
		.physical_block_exp = disk->block_bytes == SECTOR ? 3 : 0,
		.wce = READ_ONCE(disk->writeback),
		.num_queues = (uint16_t)disk->n_queues,
		.max_discard_sectors = RANGE_MAX,
		.max_discard_seg = 1,
		.discard_sector_alignment = disk->block_bytes / SECTOR,
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
	WRITE_ONCE(disk->writeback, *(const uint8_t *)buf != 0);
	return 0;
}

static int use(struct virtio_device *dev, bool on)
{
	struct disk *disk = of_dev(dev);

	if (!disk->shared || !disk->backend->ops->lock)
		return 0;
	return disk->backend->ops->lock(disk->backend, on);
}

static void reset(struct virtio_device *dev)
{
	struct disk *disk = of_dev(dev);

	features_set(dev, FEATURE(FLUSH));
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
	q->io.ops = &queue_ops;
	q->io.name = q->name;
	q->io.wake_fd = -1;
	q->io.drain_wake_fd = true;
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

/* Whoever had the image may have changed its size. */
static void claimed(struct disk_claim *claim)
{
	struct disk *disk = container_of(claim, struct disk, claim);
	uint64_t size;

	if (size_of(disk, disk->asked_bytes, &size))
		log_warning("%s: its image is smaller than it was", disk->name);
	else if (size != disk_size(disk))
		disk_resize(disk, disk->asked_bytes);
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
	err = disk->backend->ops->resize(disk->backend, size);
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
	if (disk->backend->ops->pinned)
		stat(arg, "pinned_chunks", disk->backend->ops->pinned(disk->backend));
}
