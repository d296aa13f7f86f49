/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io_uring waits for a descriptor that would block even if it is marked as non-blocking, as long as
 * its file can tell; RWF_NOWAIT says that we mean it. A file that cannot tell refuses the flag, and
 * for those the mark is enough.
 */
#include "port/batch_io.h"

#include "base/util.h"

#include <errno.h>
#include <poll.h>

#define WATCH_DATA UINT64_MAX

void batch_io_init(struct batch_io *io, int fd, bool write)
{
	memset(io, 0, sizeof(*io));
	io->fd = fd;
	io->write = write;
	io->rw_flags = RWF_NOWAIT;
	io->have_ring = io_uring_queue_init(2 * BATCH_IO_MAX, &io->ring, 0) == 0;
	io->fixed = io->have_ring && io_uring_register_files(&io->ring, &fd, 1) == 0;
}

void batch_io_done(struct batch_io *io)
{
	if (io->have_ring)
		io_uring_queue_exit(&io->ring);
	io->have_ring = io->watching = false;
}

static unsigned run_plain(struct batch_io *io)
{
	unsigned i = 0;

	for (; i < io->n; i++) {
		ssize_t n = io->write ? writev(io->fd, io->iov[i], (int)io->n_iov[i])
				      : readv(io->fd, io->iov[i], (int)io->n_iov[i]);

		COUNT(io->calls, 1);
		io->results[i] = n < 0 ? -errno : (int)n;
		if (n < 0 && !io->write) {
			i++;
			break;
		}
	}
	io->n = 0;
	return i;
}

static void prepare(struct batch_io *io, unsigned i)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);
	int fd = io->fixed ? 0 : io->fd;

	if (io->n_iov[i] == 1 && io->write)
		io_uring_prep_write(sqe, fd, io->iov[i]->iov_base, (unsigned)io->iov[i]->iov_len,
				    0);
	else if (io->n_iov[i] == 1)
		io_uring_prep_read(sqe, fd, io->iov[i]->iov_base, (unsigned)io->iov[i]->iov_len, 0);
	else if (io->write)
		io_uring_prep_writev(sqe, fd, io->iov[i], io->n_iov[i], 0);
	else
		io_uring_prep_readv(sqe, fd, io->iov[i], io->n_iov[i], 0);
	if (io->fixed)
		io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	sqe->rw_flags = io->rw_flags;
	io_uring_sqe_set_data64(sqe, i);
}

/* Behind the reads: completes at once if they left something, else when something comes. */
static void watch(struct batch_io *io)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);

	io_uring_prep_poll_add(sqe, io->fixed ? 0 : io->fd, POLLIN);
	if (io->fixed)
		io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data64(sqe, WATCH_DATA);
	io->watching = true;
}

/* Takes what is complete; returns how many of them are results. */
static unsigned reap(struct batch_io *io)
{
	unsigned head, seen = 0, results = 0;
	struct io_uring_cqe *cqe;

	io_uring_for_each_cqe(&io->ring, head, cqe)
	{
		uint64_t data = io_uring_cqe_get_data64(cqe);

		seen++;
		if (data == WATCH_DATA) {
			io->watching = false;
			continue;
		}
		io->results[data] = cqe->res;
		results++;
	}
	io_uring_cq_advance(&io->ring, seen);
	return results;
}

bool batch_io_ready(struct batch_io *io)
{
	if (io->watching && io_uring_cq_ready(&io->ring))
		reap(io);
	return !io->watching;
}

static void run_ring(struct batch_io *io)
{
	unsigned n = io->n, done = 0;

	for (unsigned i = 0; i < n; i++) {
		prepare(io, i);
		io->results[i] = -EIO;
	}
	/* the descriptor does not block, so all are done when the call returns; waiting for them is
	 * what makes sure that nobody uses the buffers any more */
	if (io->watched && !io->watching)
		watch(io);
	while (done < n) {
		int err = io_uring_submit_and_wait(&io->ring, n - done);
		unsigned seen = reap(io);

		COUNT(io->calls, 1);
		done += seen;
		if (err < 0 && err != -EINTR && err != -EAGAIN && err != -EBUSY && !seen) {
			/* it will not get better, and what it holds is not to come later */
			batch_io_done(io);
			break;
		}
	}
}

unsigned batch_io_run(struct batch_io *io)
{
	unsigned n = io->n;

	if (!n)
		return 0;
	if (!io->have_ring)
		return run_plain(io);
	run_ring(io);
	if (unlikely(io->have_ring && io->rw_flags && io->results[0] == -EOPNOTSUPP)) {
		io->rw_flags = 0;
		run_ring(io);
	}
	io->n = 0;
	return n;
}
