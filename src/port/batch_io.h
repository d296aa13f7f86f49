/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Many reads or writes of one non-blocking descriptor with one system call, by io_uring; one call
 * each where the host does not let us have it. For one thread at a time.
 */
#ifndef EXITLESS_PORT_BATCH_IO_H
#define EXITLESS_PORT_BATCH_IO_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define BATCH_IO_MAX 64

struct batch_io {
	struct io_uring ring;
	bool have_ring, fixed;
	int fd;
	bool write;
	bool watched;  /* set by the owner: batch_io_ready() is to know */
	bool watching; /* the kernel will tell when there is something to read */
	int rw_flags;
	unsigned n;
	const struct iovec *iov[BATCH_IO_MAX];
	unsigned n_iov[BATCH_IO_MAX];
	int results[BATCH_IO_MAX]; /* bytes or -errno, after batch_io_run() */
	uint64_t calls;		   /* system calls ever */
};

void batch_io_init(struct batch_io *io, int fd, bool write);
void batch_io_done(struct batch_io *io);

/* Adds one of up to BATCH_IO_MAX; @iov is used in place until batch_io_run() has returned. */
static inline void batch_io_add(struct batch_io *io, const struct iovec *iov, unsigned n_iov)
{
	io->iov[io->n] = iov;
	io->n_iov[io->n++] = n_iov;
}

/* Does what was added, in order; empties it. Returns how many results there are. Without io_uring
 * reads stop at the first that would block. If io_uring fails, what it did not do has -EIO, and the
 * next batch goes without it. */
unsigned batch_io_run(struct batch_io *io);

/*
 * May a read find something? Costs a look at memory: with @watched, each batch of reads also asks
 * the kernel to put a word into the ring when the descriptor becomes readable. Always true without
 * @watched or io_uring.
 */
bool batch_io_ready(struct batch_io *io);

#endif
