/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file or block device by io_uring, one ring per queue, submitted once per batch and reaped by
 * polling the completion ring in memory. The file is open twice, past the host's page cache
 * (O_DIRECT) and through it, and both are registered with each ring, as is guest memory if that is
 * asked for (pinned.h).
 *
 * A file that can be read and written past the cache always is. The kernel keeps the two coherent
 * only for what comes one after the other: a write through the cache that begins while another of
 * the same page goes past it dirties the page as it was, and writes that back over the other; and a
 * page that is read meanwhile may stay as it was. So a request that is not aligned for O_DIRECT
 * goes there by a buffer that is (bounce.h). Blocks of which parts can be read and written are no
 * matter of that cache only where they are as small as a guest's sector, or whole pages; others
 * count as pages. What is left for the cache is the end of a file within such a block: nothing else
 * writes there.
 *
 * A file that lies in memory (tmpfs) is read and written at once, long requests part by part: there
 * is no storage to wait for, and io_uring would hand each request to a thread. Very long requests
 * of the others are given to such threads: the kernel would copy them, or look up their pages,
 * while the core waits. One behind FUSE is always given to such threads: the kernel believes that
 * it needs none, and the core would wait for the file system's process.
 *
 * A write is done when the host has it; a flush (or a durable write) when stable storage has. What
 * the kernel did in part, or asks to try again, is started again for the rest. A ring has room for
 * all requests that a queue can have in flight, so neither side of it overflows.
 */
#include "base/iov.h"
#include "disk/backend.h"
#include "disk/bounce.h"
#include "disk/pinned.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#define ZERO_BYTES (256u * 1024)
#define BUSY_TRIES 16 /* of what the kernel asks to try again, without the ring */
/* What the kernel may do for a request in the core's own time: copy, and look up pages. */
#define COPY_BYTES (1u << 20)
#define PAGE_BYTES (4u << 20)
#define CACHE_PAGE 4096u /* of the host's page cache, at least */

enum { BUFFERED, DIRECT };

/* What a request is at, if it is not at its beginning (disk_io.step). */
enum {
	STEP_FIRST,
	STEP_BOUNCED,	  /* READ, WRITE: not as it is, but in parts (bounce.h) */
	STEP_WRITE_ZEROS, /* ZEROES: the file cannot; they are written */
	STEP_SYNC,	  /* ZEROES: made durable */
};

struct file_queue {
	struct io_uring ring;
	bool ready;
	unsigned unsubmitted, under_way;
	bool cancelling; /* nothing is started again */
	bool cancel_out; /* a cancel of everything is under way */
	struct bounce_pool bounces;
	struct pinned pinned;
};

struct file_backend {
	struct disk_backend backend;
	int fds[2]; /* DIRECT: -1 if the file cannot */
	bool block_device, in_memory, waits;
	bool read_only;
	/* for DIRECT: of addresses; of lengths and offsets. Atomic: the file may want more than it
	 * says, or say that it can and never do it */
	unsigned align_memory, align_offset;
	bool direct_fails;
	struct bounce_locks locks;
	uint8_t *zeros; /* ZERO_BYTES, never written */
	unsigned n_queues;
	struct file_queue queues[DISK_QUEUES_MAX];
};

static struct file_backend *of(struct disk_backend *backend)
{
	return container_of(backend, struct file_backend, backend);
}

static void file_free(struct disk_backend *backend)
{
	struct file_backend *f = of(backend);

	for (unsigned i = 0; i < f->n_queues; i++) {
		if (f->queues[i].ready)
			io_uring_queue_exit(&f->queues[i].ring);
		pinned_done(&f->queues[i].pinned);
		bounce_done(&f->queues[i].bounces);
	}
	for (unsigned i = 0; i < 2; i++)
		if (f->fds[i] >= 0)
			close(f->fds[i]);
	if (f->zeros)
		munmap(f->zeros, ZERO_BYTES);
	free(f);
}

/* ---- starting ---------------------------------------------------------------------------- */

/* How reads and writes go by now. */
static int file_for_rw(const struct file_backend *f)
{
	return f->fds[DIRECT] < 0 || READ_ONCE(f->direct_fails) ? BUFFERED : DIRECT;
}

/* Of ZEROES the parts of blocks at both ends are written by a buffer, whatever the file can: beside
 * others that change parts of the same blocks. Whole ones are io->part. */
static bool zeros_bounce(const struct file_backend *f, struct disk_io *io)
{
	unsigned block = READ_ONCE(f->align_offset);

	if (io->step == STEP_SYNC)
		return false;
	io->part = io->bytes - io->done;
	if (file_for_rw(f) == BUFFERED)
		return false;
	io->part = ALIGN_DOWN(io->part, block);
	return (io->offset + io->done) & (block - 1) || !io->part;
}

/* Does @io go on by a buffer? A part that has begun is not asked about. */
static bool bounces(const struct file_backend *f, struct disk_io *io)
{
	uint64_t bits = io->offset + io->done, addresses = 0;
	unsigned block = READ_ONCE(f->align_offset);
	const struct iovec *iov = io->rest ? io->rest : io->iov;
	unsigned n = io->rest ? io->n_rest : io->n_iov;

	if (io->op == DISK_ZEROES)
		return zeros_bounce(f, io);
	if (io->op != DISK_READ && io->op != DISK_WRITE)
		return false;
	if (io->step == STEP_BOUNCED)
		return true;
	if (file_for_rw(f) == BUFFERED)
		return false;
	for (unsigned i = 0; i < n; i++) {
		bits |= iov[i].iov_len;
		addresses |= (uintptr_t)iov[i].iov_base;
	}
	if (likely(!(bits & (block - 1)) && !(addresses & (f->align_memory - 1))))
		return false;
	io->step = STEP_BOUNCED;
	return true;
}

static void prepare_rw(struct file_backend *f, struct file_queue *q, struct io_uring_sqe *sqe,
		       struct disk_io *io)
{
	const struct iovec *iov = io->rest ? io->rest : io->iov;
	unsigned n = io->rest ? io->n_rest : io->n_iov;
	uint64_t offset = io->offset + io->done;
	int file = file_for_rw(f), buffer = -1;

	if (n != 1 || iov->iov_len > INT32_MAX) {
		if (io->op == DISK_READ)
			io_uring_prep_readv(sqe, file, iov, n, offset);
		else
			io_uring_prep_writev(sqe, file, iov, n, offset);
	} else {
		unsigned len = (unsigned)iov->iov_len;

		buffer = pinned_find(&q->pinned, iov->iov_base, len, io->region, io->region_bytes);
		if (io->op == DISK_READ && buffer >= 0)
			io_uring_prep_read_fixed(sqe, file, iov->iov_base, len, offset, buffer);
		else if (io->op == DISK_READ)
			io_uring_prep_read(sqe, file, iov->iov_base, len, offset);
		else if (buffer >= 0)
			io_uring_prep_write_fixed(sqe, file, iov->iov_base, len, offset, buffer);
		else
			io_uring_prep_write(sqe, file, iov->iov_base, len, offset);
	}
	if (io->op == DISK_WRITE && io->durable)
		sqe->rw_flags = RWF_DSYNC;
	if (unlikely(io->bytes - io->done > (file == DIRECT ? PAGE_BYTES : COPY_BYTES)))
		sqe->flags |= IOSQE_ASYNC;
}

static void prepare_bounced(struct file_backend *f, struct io_uring_sqe *sqe, struct disk_io *io)
{
	struct bounce *b = io->bounce;
	unsigned bytes;
	uint64_t at;
	uint8_t *data;
	int file;

	io->direct = !b->alone && file_for_rw(f) == DIRECT;
	file = io->direct ? DIRECT : BUFFERED;
	/* by the cache others write in the block, too, and have no lock */
	if (b->fetched && !io->direct)
		b->alone = true;
	data = bounce_from(io, &at, &bytes);
	if (bounce_reads(io)) {
		io_uring_prep_read(sqe, file, data, bytes, at);
		return;
	}
	io_uring_prep_write(sqe, file, data, bytes, at);
	if (io->op == DISK_WRITE && io->durable)
		sqe->rw_flags = RWF_DSYNC;
}

static void prepare_zeros(struct file_backend *f, struct io_uring_sqe *sqe, struct disk_io *io)
{
	uint64_t at = io->offset + io->done, len = MIN(io->part, (uint64_t)ZERO_BYTES);
	int mode = FALLOC_FL_KEEP_SIZE | (io->unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);

	switch (io->step) {
	case STEP_WRITE_ZEROS:
		io->direct = file_for_rw(f) == DIRECT;
		io_uring_prep_write(sqe, io->direct ? DIRECT : BUFFERED, f->zeros, (unsigned)len,
				    at);
		/* there may be very many */
		sqe->flags |= IOSQE_ASYNC;
		break;
	case STEP_SYNC: io_uring_prep_fsync(sqe, BUFFERED, IORING_FSYNC_DATASYNC); break;
	default: io_uring_prep_fallocate(sqe, BUFFERED, mode, (off_t)at, (off_t)io->part);
	}
}

/* Puts the next step of @io into the ring. False: there is no room. */
static bool put(struct file_backend *f, struct file_queue *q, struct disk_io *io)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&q->ring);

	if (!sqe)
		return false;
	switch (io->op) {
	case DISK_READ:
	case DISK_WRITE:
		if (unlikely(io->bounce != NULL))
			prepare_bounced(f, sqe, io);
		else
			prepare_rw(f, q, sqe, io);
		break;
	case DISK_FLUSH: io_uring_prep_fsync(sqe, BUFFERED, IORING_FSYNC_DATASYNC); break;
	case DISK_DISCARD:
		io_uring_prep_fallocate(sqe, BUFFERED, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					(off_t)io->offset, (off_t)io->bytes);
		break;
	case DISK_ZEROES:
		if (io->bounce)
			prepare_bounced(f, sqe, io);
		else
			prepare_zeros(f, sqe, io);
		break;
	}
	sqe->flags |= IOSQE_FIXED_FILE;
	if (unlikely(f->waits))
		sqe->flags |= IOSQE_ASYNC;
	io_uring_sqe_set_data(sqe, io);
	q->unsubmitted++;
	return true;
}

/* The same, or has it wait for a buffer. */
static bool prepare(struct file_backend *f, struct file_queue *q, struct disk_io *io)
{
	if (unlikely(!io->bounce && bounces(f, io))) {
		if (bounce_waits(&q->bounces) ||
		    !bounce_begin(&q->bounces, io, READ_ONCE(f->align_offset))) {
			bounce_wait(&q->bounces, io);
			return true;
		}
	}
	return put(f, q, io);
}

/* Those that wait for a buffer or a block, as far as there are any now. */
static void go_on_waiting(struct file_backend *f, struct file_queue *q)
{
	struct disk_io *io;

	while ((io = bounce_waits(&q->bounces)) &&
	       bounce_begin(&q->bounces, io, READ_ONCE(f->align_offset))) {
		if (!put(f, q, io)) {
			bounce_end(&q->bounces, io);
			return;
		}
		bounce_waits_no_more(&q->bounces);
	}
}

/* What is left of @io after @done bytes more, in pieces of its own: the guest's stay as they are.
 */
static int cut(struct disk_io *io, uint64_t done)
{
	const struct iovec *from = io->rest ? io->rest : io->iov;
	unsigned n = io->rest ? io->n_rest : io->n_iov, i = 0;
	struct iovec *rest;

	while (i < n && from[i].iov_len <= done)
		done -= from[i++].iov_len;
	rest = malloc((n - i) * sizeof(*rest));
	if (!rest)
		return -EIO;
	memcpy(rest, from + i, (n - i) * sizeof(*rest));
	rest[0].iov_base = (uint8_t *)rest[0].iov_base + done;
	rest[0].iov_len -= done;
	free(io->rest);
	io->rest = rest;
	io->n_rest = n - i;
	return 0;
}

/* The same as the ring would do, at once: these pieces come next. */
static int rw_now(struct file_backend *f, struct disk_io *io, const struct iovec *iov, int n_iov)
{
	off_t at = (off_t)(io->offset + io->done);
	ssize_t n = io->op == DISK_READ ? preadv(f->fds[BUFFERED], iov, n_iov, at)
					: pwritev(f->fds[BUFFERED], iov, n_iov, at);

	if (n < 0 && (errno == EINTR || errno == EAGAIN) && io->step++ < BUSY_TRIES)
		return DISK_MORE;
	if (n <= 0)
		return n ? -errno : -EIO; /* the file ends here */
	io->done += (uint64_t)n;
	return io->done == io->bytes ? 0 : DISK_MORE;
}

static int file_go_on(struct disk_backend *backend, unsigned queue, struct disk_io *io)
{
	uint64_t len = MIN(io->bytes - io->done, (uint64_t)DISK_PART_BYTES);
	struct iovec part[DISK_PIECES];
	int n = iov_slice(io->iov, io->n_iov, io->done, len, part, ARRAY_SIZE(part));

	return n < 0 ? -EIO : rw_now(of(backend), io, part, n);
}

static int file_start(struct disk_backend *backend, unsigned queue, struct disk_io *io)
{
	struct file_backend *f = of(backend);
	struct file_queue *q = &f->queues[queue];

	if (f->in_memory && (io->op == DISK_READ || io->op == DISK_WRITE)) {
		if (unlikely(io->bytes > DISK_PART_BYTES))
			return DISK_MORE;
		return rw_now(f, io, io->iov, (int)io->n_iov);
	}
	q->cancelling = false;
	if (!prepare(f, q, io)) {
		bounce_end(&q->bounces, io);
		return -EAGAIN;
	}
	q->under_way++;
	return DISK_PENDING;
}

static void file_submit(struct disk_backend *backend, unsigned queue)
{
	struct file_queue *q = &of(backend)->queues[queue];

	/* what the kernel does not take now is taken with the next batch, or the next look */
	if (q->unsubmitted) {
		int n = io_uring_submit(&q->ring);

		if (n > 0)
			q->unsubmitted -= MIN((unsigned)n, q->unsubmitted);
	}
}

/* The kernel ends what waits for a thread or a lock, and lets go on what a device has (kernels
 * before 5.19 end nothing). */
static void file_cancel(struct disk_backend *backend, unsigned queue)
{
	struct file_queue *q = &of(backend)->queues[queue];
	struct io_uring_sqe *sqe;

	q->cancelling = true;
	if (!q->under_way || q->cancel_out)
		return;
	sqe = io_uring_get_sqe(&q->ring);
	if (!sqe)
		return;
	io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_data(sqe, NULL);
	q->cancel_out = true;
	q->unsubmitted++;
	file_submit(backend, queue);
}

/* ---- reaping ----------------------------------------------------------------------------- */

/* After -EINVAL past the cache, at @at and of so many bytes in memory that is aligned: the file
 * wants more alignment than it says, or it cannot at all. */
static void learn(struct file_backend *f, uint64_t at, unsigned bytes)
{
	if ((at | bytes) & (CACHE_PAGE - 1))
		WRITE_ONCE(f->align_offset, CACHE_PAGE);
	else
		WRITE_ONCE(f->direct_fails, true);
}

/* After a part of @io. 0 or -errno: it is over. */
static int after_part(struct file_backend *f, struct file_queue *q, struct disk_io *io, int res)
{
	/* another may have found out meanwhile */
	if (res == -EINVAL && io->direct) {
		learn(f, io->bounce->at, io->bounce->bytes);
		bounce_end(&q->bounces, io);
		return DISK_PENDING;
	}
	if (res < 0)
		return res;
	res = bounce_moved(&q->bounces, io, (unsigned)res);
	if (res)
		return res;
	return io->done < io->bytes ? DISK_PENDING : 0;
}

/* After a result of a read or write. 0, -errno, or DISK_PENDING: there is more to do. */
static int after_rw(struct file_backend *f, struct file_queue *q, struct disk_io *io, int res)
{
	if (io->bounce)
		return after_part(f, q, io, res);
	if (res == -EINVAL && io->step == STEP_FIRST && f->fds[DIRECT] >= 0) {
		io->step = STEP_BOUNCED;
		return DISK_PENDING;
	}
	if (res <= 0)
		return res ? res : -EIO; /* the file ends here: the host has cut it */
	if (io->done + (uint64_t)res == io->bytes)
		return 0;
	if (cut(io, (uint64_t)res))
		return -EIO;
	io->done += (uint64_t)res;
	return DISK_PENDING;
}

static int after_zeros(struct file_backend *f, struct file_queue *q, struct disk_io *io, int res)
{
	if (io->bounce) {
		res = after_part(f, q, io, res);
		if (res)
			return res;
		io->step = STEP_SYNC;
		return io->durable ? DISK_PENDING : 0;
	}
	/* -EINVAL: not on whole blocks */
	if ((res == -EOPNOTSUPP || res == -EINVAL) && io->step == STEP_FIRST) {
		io->step = STEP_WRITE_ZEROS;
		return DISK_PENDING;
	}
	if (res == -EINVAL && io->step == STEP_WRITE_ZEROS && io->direct) {
		learn(f, io->offset + io->done, (unsigned)MIN(io->part, (uint64_t)ZERO_BYTES));
		return DISK_PENDING;
	}
	if (res < 0 || io->step == STEP_SYNC)
		return MIN(res, 0);
	if (io->step == STEP_WRITE_ZEROS && !res)
		return -EIO;
	io->done += io->step == STEP_WRITE_ZEROS ? (uint64_t)res : io->part;
	if (io->done < io->bytes)
		return DISK_PENDING;
	io->step = STEP_SYNC;
	return io->durable ? DISK_PENDING : 0;
}

/* True when @io is done; otherwise it has been started again. */
static bool is_done(struct file_backend *f, struct file_queue *q, struct disk_io *io, int res)
{
	if (res == -EAGAIN || res == -EINTR)
		io->result = DISK_PENDING;
	else if (io->op == DISK_READ || io->op == DISK_WRITE)
		io->result = after_rw(f, q, io, res);
	else if (io->op == DISK_ZEROES)
		io->result = after_zeros(f, q, io, res);
	else if (io->op == DISK_DISCARD && res == -EINVAL)
		io->result = 0; /* not on whole blocks, and a hint */
	else
		io->result = MIN(res, 0);
	if (unlikely(io->result == DISK_PENDING)) {
		if (!q->cancelling && prepare(f, q, io))
			return false;
		io->result = q->cancelling ? -ECANCELED : -EIO;
	}
	bounce_end(&q->bounces, io);
	free(io->rest);
	q->under_way--;
	return true;
}

/* Those that wait for a buffer need not get one. */
static unsigned cancel_waiting(struct file_queue *q, struct disk_io **done, unsigned max)
{
	struct disk_io *io;
	unsigned n = 0;

	while (n < max && (io = bounce_waits(&q->bounces))) {
		bounce_waits_no_more(&q->bounces);
		io->result = -ECANCELED;
		free(io->rest);
		q->under_way--;
		done[n++] = io;
	}
	return n;
}

static unsigned file_reap(struct disk_backend *backend, unsigned queue, struct disk_io **done,
			  unsigned max)
{
	struct file_backend *f = of(backend);
	struct file_queue *q = &f->queues[queue];
	struct io_uring_cqe *cqes[64];
	unsigned n, n_done = 0;

	if (unlikely(bounce_waits(&q->bounces) != NULL)) {
		if (q->cancelling)
			n_done = cancel_waiting(q, done, max);
		else
			go_on_waiting(f, q);
	}
	if (q->unsubmitted)
		file_submit(backend, queue);
	/* completions may wait for the kernel to run them in this thread */
	if (!io_uring_cq_ready(&q->ring) && READ_ONCE(*q->ring.sq.kflags) & IORING_SQ_TASKRUN)
		io_uring_get_events(&q->ring);
	n = io_uring_peek_batch_cqe(&q->ring, cqes, MIN(max - n_done, (unsigned)ARRAY_SIZE(cqes)));
	for (unsigned i = 0; i < n; i++) {
		struct disk_io *io = io_uring_cqe_get_data(cqes[i]);

		if (unlikely(!io))
			q->cancel_out = false;
		else if (is_done(f, q, io, cqes[i]->res))
			done[n_done++] = io;
	}
	io_uring_cq_advance(&q->ring, n);
	if (unlikely(q->pinned.stale && !q->under_way))
		pinned_forget(&q->pinned);
	return n_done;
}

static void file_memory_changed(struct disk_backend *backend, unsigned queue)
{
	struct file_queue *q = &of(backend)->queues[queue];

	q->pinned.stale = true;
	if (!q->under_way)
		pinned_forget(&q->pinned);
}

static uint64_t file_pinned(struct disk_backend *backend)
{
	struct file_backend *f = of(backend);
	uint64_t n = 0;

	for (unsigned i = 0; i < f->n_queues; i++)
		n += READ_ONCE(f->queues[i].pinned.registered);
	return n;
}

/* ---- the file ---------------------------------------------------------------------------- */

static uint64_t file_size(struct disk_backend *backend)
{
	struct file_backend *f = of(backend);
	struct stat st;
	uint64_t size = 0;

	if (f->block_device)
		return ioctl(f->fds[BUFFERED], BLKGETSIZE64, &size) < 0 ? 0 : size;
	return fstat(f->fds[BUFFERED], &st) < 0 ? 0 : (uint64_t)st.st_size;
}

static int file_lock(struct disk_backend *backend, bool on)
{
	struct file_backend *f = of(backend);
	int how = !on ? LOCK_UN : f->read_only ? LOCK_SH : LOCK_EX;

	if (!flock(f->fds[BUFFERED], how | LOCK_NB))
		return 0;
	return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

static const struct disk_backend_ops file_ops = {
	.free = file_free,
	.start = file_start,
	.go_on = file_go_on,
	.submit = file_submit,
	.reap = file_reap,
	.cancel = file_cancel,
	.memory_changed = file_memory_changed,
	.pinned = file_pinned,
	.lock = file_lock,
	.size = file_size,
};

/* What DIRECT needs: as the kernel says it, or what is safe wherever the file lies. */
static void find_alignment(struct file_backend *f)
{
	struct statx stx = { 0 };
	int block = 0;

	f->align_memory = f->align_offset = 512;
	if (!statx(f->fds[DIRECT], "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) &&
	    stx.stx_mask & STATX_DIOALIGN && is_power_of_two(stx.stx_dio_mem_align) &&
	    is_power_of_two(stx.stx_dio_offset_align)) {
		f->align_memory = stx.stx_dio_mem_align;
		f->align_offset = stx.stx_dio_offset_align;
	} else if (f->block_device) {
		if (!ioctl(f->fds[BUFFERED], BLKSSZGET, &block) && block > 512)
			f->align_memory = f->align_offset = (unsigned)block;
	} else {
		f->align_memory = f->align_offset = CACHE_PAGE;
	}
	if (f->align_offset > 512)
		f->align_offset = MAX(f->align_offset, CACHE_PAGE);
	if (f->align_offset <= BOUNCE_BYTES)
		return;
	close(f->fds[DIRECT]);
	f->fds[DIRECT] = -1;
}

static int open_file(struct file_backend *f, const struct disk_config *config)
{
	int flags = (config->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC;
	struct statfs fs;
	struct stat st;
	int block;

	f->fds[BUFFERED] = open(config->path, flags);
	if (f->fds[BUFFERED] < 0 || fstat(f->fds[BUFFERED], &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return -EINVAL;
	f->read_only = config->read_only;
	f->block_device = S_ISBLK(st.st_mode);
	if (f->block_device && !ioctl(f->fds[BUFFERED], BLKSSZGET, &block))
		f->backend.discard_bytes = (unsigned)block;
	if (fstatfs(f->fds[BUFFERED], &fs))
		return -errno;
	/* a device's node lies in memory, too */
	f->in_memory = !f->block_device && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
	f->waits = fs.f_type == FUSE_SUPER_MAGIC;
	if (config->cached || f->in_memory)
		return 0;
	f->fds[DIRECT] = open(config->path, flags | O_DIRECT);
	if (f->fds[DIRECT] >= 0)
		find_alignment(f);
	return 0;
}

struct disk_backend *disk_file_new(const struct disk_config *config)
{
	struct file_backend *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return NULL;
	f->backend.ops = &file_ops;
	f->backend.can_discard = true;
	f->fds[BUFFERED] = f->fds[DIRECT] = -1;
	f->n_queues = config->queues;
	err = config->path ? open_file(f, config) : -EINVAL;
	f->zeros = mmap(NULL, ZERO_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (f->zeros == MAP_FAILED) {
		f->zeros = NULL;
		err = -ENOMEM;
	}
	for (unsigned i = 0; i < f->n_queues && !err; i++) {
		int fds[2] = { f->fds[BUFFERED],
			       f->fds[DIRECT] >= 0 ? f->fds[DIRECT] : f->fds[BUFFERED] };
		struct io_uring_params params = { .flags = IORING_SETUP_COOP_TASKRUN |
							   IORING_SETUP_TASKRUN_FLAG };

		err = io_uring_queue_init_params(DISK_DEPTH, &f->queues[i].ring, &params);
		if (err)
			break;
		f->queues[i].ready = true;
		err = bounce_init(&f->queues[i].bounces, &f->locks, f->align_memory);
		if (err)
			break;
		err = io_uring_register_files(&f->queues[i].ring, fds, 2);
		/* where that cannot be, requests go without */
		if (!err && config->pin_memory)
			pinned_init(&f->queues[i].pinned, &f->queues[i].ring);
	}
	if (!err)
		return &f->backend;
	file_free(&f->backend);
	errno = -err;
	return NULL;
}
