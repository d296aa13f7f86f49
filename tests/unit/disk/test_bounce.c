/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests in parts by buffers, against a file that is an array: many at once, of two queues, in
 * any order. */
#include "disk/bounce.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BLOCK	 4096u
#define SECTOR	 512u
#define SECTORS	 1021u /* the last block is not whole */
#define BYTES	 (SECTORS * SECTOR)
#define REQUESTS 64u

static uint8_t file[ALIGN_UP(BYTES, BLOCK)], wanted[BYTES];
static struct bounce_locks locks;
static struct bounce_pool pools[2];

struct request {
	struct disk_io io;
	struct iovec iov[3];
	uint8_t *data;
	bool used;
};

static unsigned draw(unsigned n)
{
	return (unsigned)rand() % n;
}

/* A step of @r; true: it is done. */
static bool step(struct bounce_pool *pool, struct request *r)
{
	struct disk_io *io = &r->io;
	unsigned bytes, n;
	uint8_t *data;
	uint64_t at;

	if (!io->bounce && !bounce_begin(pool, io, BLOCK))
		return false;
	data = bounce_from(io, &at, &bytes);
	assert_true(at < BYTES);
	n = (unsigned)MIN((uint64_t)bytes, BYTES - at);
	if (bounce_reads(io)) {
		assert_int_equal(at % BLOCK, 0);
		assert_int_equal(bytes % BLOCK, 0);
		/* in part, now and then */
		if (io->op == DISK_READ && n > 2 * BLOCK && !draw(4))
			n -= BLOCK;
		memcpy(data, file + at, n);
	} else {
		/* never longer than it was; whole blocks but at its end */
		assert_true(at + bytes <= BYTES);
		if (at < ALIGN_DOWN(BYTES, BLOCK)) {
			assert_int_equal(at % BLOCK, 0);
			assert_int_equal(bytes % BLOCK, 0);
		}
		memcpy(file + at, data, n);
	}
	if (bounce_moved(pool, io, n) == DISK_PENDING) {
		assert_non_null(io->bounce);
		return false;
	}
	assert_null(io->bounce);
	return io->done == io->bytes;
}

/* Writes of sectors that are nobody else's just now, and what they leave. */
static void many_at_once(void **state)
{
	static struct request requests[REQUESTS];
	static bool taken[SECTORS];
	unsigned ended = 0;

	srand(1);
	for (unsigned i = 0; i < BYTES; i++)
		file[i] = wanted[i] = (uint8_t)rand();
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(bounce_init(&pools[i], &locks, 512), 0);
	while (ended < 4000) {
		unsigned k = draw(REQUESTS);
		struct request *r = &requests[k];
		unsigned first, n;
		bool busy = false;

		if (r->used) {
			if (!step(&pools[k % 2], r))
				continue;
			first = (unsigned)(r->io.offset / SECTOR);
			n = (unsigned)(r->io.bytes / SECTOR);
			for (unsigned i = first; i < first + n; i++)
				taken[i] = false;
			if (r->io.op == DISK_READ)
				assert_memory_equal(r->data, wanted + r->io.offset, r->io.bytes);
			free(r->data);
			r->used = false;
			ended++;
			continue;
		}
		n = 1 + draw(draw(4) ? 12 : 300);
		first = draw(SECTORS - n + 1);
		for (unsigned i = first; i < first + n; i++)
			busy |= taken[i];
		if (busy)
			continue;
		for (unsigned i = first; i < first + n; i++)
			taken[i] = true;
		r->used = true;
		r->data = malloc(n * SECTOR);
		r->io = (struct disk_io){ .op = draw(3),
					  .offset = first * SECTOR,
					  .bytes = n * SECTOR,
					  .iov = r->iov,
					  .n_iov = 3 };
		r->io.op = r->io.op == DISK_FLUSH ? DISK_ZEROES : r->io.op;
		r->iov[0] = (struct iovec){ r->data, 1 + draw(500) };
		r->iov[1] = (struct iovec){ r->data + r->iov[0].iov_len, 0 };
		r->iov[2] = (struct iovec){ r->iov[1].iov_base, n * SECTOR - r->iov[0].iov_len };
		for (unsigned i = 0; i < n * SECTOR; i++)
			r->data[i] = (uint8_t)rand();
		if (r->io.op == DISK_WRITE)
			memcpy(wanted + r->io.offset, r->data, n * SECTOR);
		if (r->io.op == DISK_ZEROES)
			memset(wanted + r->io.offset, 0, n * SECTOR);
	}
	for (unsigned k = 0; k < REQUESTS; k++)
		for (unsigned tries = 0; requests[k].used && tries < 100000; tries++)
			for (unsigned i = 0; i < REQUESTS; i++)
				if (requests[i].used && step(&pools[i % 2], &requests[i])) {
					requests[i].used = false;
					free(requests[i].data);
				}
	assert_memory_equal(file, wanted, BYTES);
	for (unsigned i = 0; i < 2; i++) {
		unsigned n = 0;

		for (struct bounce *b = pools[i].free; b; b = b->next)
			n++;
		assert_int_equal(n, BOUNCE_BUFFERS);
		bounce_done(&pools[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(locks.bits); i++)
		assert_int_equal(locks.bits[i], 0);
}

/* Of two that change parts of one block the second waits, in whichever queue. */
static void one_changes_a_block(void **state)
{
	struct iovec iov = { file, SECTOR };
	struct disk_io a = {
		.op = DISK_WRITE, .offset = 0, .bytes = SECTOR, .iov = &iov, .n_iov = 1
	};
	struct disk_io b = a, other = a, read = a;

	b.offset = 3 * SECTOR;
	other.offset = BLOCK;
	read.op = DISK_READ;
	for (unsigned i = 0; i < 2; i++) {
		pools[i] = (struct bounce_pool){ 0 };
		assert_int_equal(bounce_init(&pools[i], &locks, 512), 0);
	}
	assert_true(bounce_begin(&pools[0], &a, BLOCK));
	assert_false(bounce_begin(&pools[0], &b, BLOCK));
	assert_false(bounce_begin(&pools[1], &b, BLOCK));
	assert_true(bounce_begin(&pools[1], &read, BLOCK));
	assert_true(bounce_begin(&pools[1], &other, BLOCK));
	assert_int_equal(bounce_moved(&pools[0], &a, BLOCK), DISK_PENDING); /* it was read */
	assert_false(bounce_begin(&pools[1], &b, BLOCK));
	assert_int_equal(bounce_moved(&pools[0], &a, BLOCK), 0);
	assert_true(bounce_begin(&pools[1], &b, BLOCK));
	bounce_end(&pools[1], &b);
	bounce_end(&pools[1], &other);
	bounce_end(&pools[1], &read);
	for (unsigned i = 0; i < 2; i++)
		bounce_done(&pools[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_at_once),
		cmocka_unit_test(one_changes_a_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
