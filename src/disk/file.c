/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file or block device by io_uring, one ring per queue, submitted once per batch and reaped by
 * polling the completion ring in memory. The file is open twice: past the host's cache (O_DIRECT)
 * for requests that are aligned for it, and through it for the others; the kernel keeps the two
 * coherent. Both are registered with each ring.
 *
 * A write is done when the host has it; a flush (or a durable write) when stable storage has.
 */
#include "disk/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_TRIES 400 /* of 5 ms */

enum { BUFFERED, DIRECT };

struct file_queue {
	struct io_uring ring;
	bool ready;
	unsigned unsubmitted;
};

struct file_backend {
	struct disk_backend backend;
	int fds[2]; /* DIRECT: -1 if the file cannot */
	bool block_device;
	bool shared, read_only;
	unsigned align; /* of addresses, lengths and offsets for DIRECT */
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

	for (unsigned i = 0; i < f->n_queues; i++)
		if (f->queues[i].ready)
			io_uring_queue_exit(&f->queues[i].ring);
	for (unsigned i = 0; i < 2; i++)
		if (f->fds[i] >= 0)
			close(f->fds[i]);
	free(f);
}

static bool is_aligned(const struct file_backend *f, const struct disk_io *io)
{
	uint64_t bits = io->offset;

	for (unsigned i = 0; i < io->n_iov; i++)
		bits |= (uintptr_t)io->iov[i].iov_base | io->iov[i].iov_len;
	return !(bits & (f->align - 1));
}

static void prepare_rw(const struct file_backend *f, struct io_uring_sqe *sqe, struct disk_io *io)
{
	int index = f->fds[DIRECT] >= 0 && is_aligned(f, io) ? DIRECT : BUFFERED;

	if (io->n_iov == 1 && io->iov[0].iov_len <= INT32_MAX) {
		unsigned len = (unsigned)io->iov[0].iov_len;

		if (io->op == DISK_READ)
			io_uring_prep_read(sqe, index, io->iov[0].iov_base, len, io->offset);
		else
			io_uring_prep_write(sqe, index, io->iov[0].iov_base, len, io->offset);
	} else if (io->op == DISK_READ) {
		io_uring_prep_readv(sqe, index, io->iov, io->n_iov, io->offset);
	} else {
		io_uring_prep_writev(sqe, index, io->iov, io->n_iov, io->offset);
	}
	if (io->op == DISK_WRITE && io->durable)
		sqe->rw_flags = RWF_DSYNC;
}

static int file_start(struct disk_backend *backend, unsigned queue, struct disk_io *io)
{
	struct file_backend *f = of(backend);
	struct file_queue *q = &f->queues[queue];
	struct io_uring_sqe *sqe = io_uring_get_sqe(&q->ring);

	if (!sqe)
		return -EAGAIN;
	switch (io->op) {
	case DISK_READ:
	case DISK_WRITE: prepare_rw(f, sqe, io); break;
	case DISK_FLUSH: io_uring_prep_fsync(sqe, BUFFERED, IORING_FSYNC_DATASYNC); break;
	case DISK_DISCARD:
		io_uring_prep_fallocate(sqe, BUFFERED, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					(off_t)io->offset, (off_t)io->bytes);
		break;
	case DISK_ZEROES:
		io_uring_prep_fallocate(sqe, BUFFERED,
					(io->unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) |
						FALLOC_FL_KEEP_SIZE,
					(off_t)io->offset, (off_t)io->bytes);
		break;
	}
	sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, io);
	q->unsubmitted++;
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

static unsigned file_reap(struct disk_backend *backend, unsigned queue, struct disk_io **done,
			  unsigned max)
{
	struct file_queue *q = &of(backend)->queues[queue];
	struct io_uring_cqe *cqes[64];
	unsigned n;

	if (q->unsubmitted)
		file_submit(backend, queue);
	/* completions may wait for the kernel to run them in this thread */
	if (!io_uring_cq_ready(&q->ring) && READ_ONCE(*q->ring.sq.kflags) & IORING_SQ_TASKRUN)
		io_uring_get_events(&q->ring);
	n = io_uring_peek_batch_cqe(&q->ring, cqes, MIN(max, (unsigned)ARRAY_SIZE(cqes)));
	for (unsigned i = 0; i < n; i++) {
		struct disk_io *io = io_uring_cqe_get_data(cqes[i]);
		int res = cqes[i]->res;

		if (res >= 0 && (io->op == DISK_READ || io->op == DISK_WRITE))
			res = (uint64_t)res == io->bytes ? 0 : -EIO;
		io->result = MIN(res, 0);
		done[i] = io;
	}
	io_uring_cq_advance(&q->ring, n);
	return n;
}

static uint64_t file_size(struct disk_backend *backend)
{
	struct file_backend *f = of(backend);
	struct stat st;
	uint64_t size = 0;

	if (f->block_device)
		return ioctl(f->fds[BUFFERED], BLKGETSIZE64, &size) < 0 ? 0 : size;
	return fstat(f->fds[BUFFERED], &st) < 0 ? 0 : (uint64_t)st.st_size;
}

/*
 * Two daemons that write one image would destroy it. A live migration hands it from one to the
 * other: a shared one is locked only while a VMM uses it (file_lock()). After a kill the file stays
 * locked for as long as requests of the killed process are under way, since they hold the file by
 * its ring: that is waited for, so that none of them can land behind what we write.
 */
static int lock_file(int fd, bool shared)
{
	const struct timespec pause = { .tv_nsec = 5000000 };

	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		if (!flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB))
			return 0;
		if (errno != EWOULDBLOCK)
			return -errno;
		nanosleep(&pause, NULL);
	}
	return -EBUSY;
}

static int file_lock(struct disk_backend *backend, bool on)
{
	struct file_backend *f = of(backend);
	int how = !on ? LOCK_UN : f->read_only ? LOCK_SH : LOCK_EX;

	if (!f->shared || !flock(f->fds[BUFFERED], how | LOCK_NB))
		return 0;
	return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

static const struct disk_backend_ops file_ops = {
	.free = file_free,
	.start = file_start,
	.submit = file_submit,
	.reap = file_reap,
	.lock = file_lock,
	.size = file_size,
};

static int open_file(struct file_backend *f, const struct disk_config *config)
{
	int flags = (config->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC;
	struct stat st;
	int block = 0, err;

	f->fds[BUFFERED] = open(config->path, flags);
	if (f->fds[BUFFERED] < 0 || fstat(f->fds[BUFFERED], &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return -EINVAL;
	f->shared = config->shared;
	f->read_only = config->read_only;
	err = f->shared ? 0 : lock_file(f->fds[BUFFERED], config->read_only);
	if (err)
		return err;
	f->block_device = S_ISBLK(st.st_mode);
	f->align = 512;
	if (f->block_device && !ioctl(f->fds[BUFFERED], BLKSSZGET, &block) && block > 512)
		f->align = (unsigned)block;
	else if (!f->block_device && st.st_blksize >= 512 &&
		 is_power_of_two((uint64_t)st.st_blksize))
		f->align = (unsigned)st.st_blksize; /* safe wherever the file lies */
	if (!config->cached)
		f->fds[DIRECT] = open(config->path, flags | O_DIRECT);
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
	for (unsigned i = 0; i < f->n_queues && !err; i++) {
		int fds[2] = { f->fds[BUFFERED],
			       f->fds[DIRECT] >= 0 ? f->fds[DIRECT] : f->fds[BUFFERED] };
		struct io_uring_params params = { .flags = IORING_SETUP_COOP_TASKRUN |
							   IORING_SETUP_TASKRUN_FLAG };

		err = io_uring_queue_init_params(DISK_DEPTH, &f->queues[i].ring, &params);
		if (err)
			break;
		f->queues[i].ready = true;
		err = io_uring_register_files(&f->queues[i].ring, fds, 2);
	}
	if (!err)
		return &f->backend;
	file_free(&f->backend);
	errno = -err;
	return NULL;
}
