/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests come from a queue, are checked, started on the backend, and given back when it is done
 * with them. A request's chain keeps its pieces in the request, so nothing is copied; the transport
 * waits for requests in flight before it takes memory away. While the image is another process's,
 * nothing is taken: requests stay in their rings, which can be stopped all the same.
 *
 * Section 5.2.6: a header that the device reads, data, and a status byte that it writes last.
 */
#include "disk/virtio_blk/private.h"

#include "base/iov.h"

#include <errno.h>

#define TURN_REAPED 64
#define BATCH	    8u /* as many as a cache line of a split ring has used elements */
#define PARTS_MAX   8u /* requests done in parts while more are taken, a batch at a time */

#define NO_STATUS -2 /* of parse(): the driver can be told nothing */

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
		r->written = (uint32_t)MIN(r->io.bytes, UINT32_MAX - 1ull);
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

/* A chain with an error, or without room for a status. The driver may not look at the length, and
 * its status may be an old one. */
static int parse_bad(struct blk_queue *q, struct blk_request *r)
{
	struct virtq_chain *chain = &r->chain;

	COUNT(q->malformed, 1);
	if (!chain->error)
		return VIRTIO_BLK_S_IOERR; /* nowhere to put it: given back as it is */
	if (!chain->n_in)
		return NO_STATUS;
	r->status = (uint8_t *)chain->iov[chain->n_out].iov_base;
	chain->iov[chain->n_out].iov_len--;
	return VIRTIO_BLK_S_IOERR;
}

/* Returns a status to complete with, NO_STATUS, or -1: to be started. */
static int parse(struct blk_queue *q, struct blk_request *r)
{
	struct virtq_chain *chain = &r->chain;
	struct virtio_blk_outhdr hdr;
	struct iovec *last;

	r->status = NULL;
	r->written = 0;
	r->io = (struct disk_io){ 0 };
	if (unlikely(chain->error || !chain->n_in || !chain->in_bytes))
		return parse_bad(q, r);
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
			COUNT(q->vq.in_flight, 0u - 1);
	}
}

static void start(struct blk_queue *q, struct blk_request *r, struct io_work *work)
{
	struct disk_backend *backend = q->disk->backend;
	int status = parse(q, r), err;

	if (unlikely(status == NO_STATUS)) {
		virtqueue_break(&q->vq);
		virtqueue_leave(&q->vq, &r->chain);
		free_request(q, r);
		return;
	}
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
				COUNT(q->vq.in_flight, 0u - 1);
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
	/* the queue stays awake for what is done */
	work->ended = done;
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

const struct io_queue_ops blk_queue_ops = { .poll = poll, .notify = notify_queue };
