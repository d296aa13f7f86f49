/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Batches of reads and writes on a pipe: with io_uring, without it, and with one that fails for
 * good in the middle of its life.
 */
#include "port/batch_io.h"

#include "base/util.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int ends[2];
static struct batch_io rx, tx;
static char buffers[8][16];
static struct iovec iov[8];

static int setup(void **state)
{
	(void)state;
	assert_int_equal(pipe2(ends, O_NONBLOCK | O_DIRECT), 0);
	batch_io_init(&rx, ends[0], false);
	rx.watched = true;
	batch_io_init(&tx, ends[1], true);
	if (!rx.have_ring || !tx.have_ring)
		print_message("io_uring is not to be had here\n");
	for (unsigned i = 0; i < ARRAY_SIZE(iov); i++)
		iov[i] = (struct iovec){ buffers[i], sizeof(buffers[i]) };
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	batch_io_done(&rx);
	batch_io_done(&tx);
	close(ends[0]);
	close(ends[1]);
	return 0;
}

static void send_three(char first)
{
	for (unsigned i = 0; i < 3; i++) {
		memset(buffers[i], first + (int)i, sizeof(buffers[i]));
		batch_io_add(&tx, &iov[i], 1);
	}
	assert_int_equal(batch_io_run(&tx), 3);
}

static void receive_three(char first)
{
	unsigned n;

	assert_true(batch_io_ready(&rx));
	memset(buffers, 0, sizeof(buffers));
	for (unsigned i = 0; i < 5; i++)
		batch_io_add(&rx, &iov[i], 1);
	n = batch_io_run(&rx);
	assert_in_range(n, 4, 5);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(rx.results[i], sizeof(buffers[i]));
		assert_int_equal(buffers[i][0], first + (int)i);
		assert_int_equal(buffers[i][15], first + (int)i);
	}
	for (unsigned i = 3; i < n; i++)
		assert_int_equal(rx.results[i], -EAGAIN);
}

static void there_and_back(void **state)
{
	(void)state;
	for (char c = 'a'; c < 'h'; c++) {
		send_three(c);
		assert_int_equal(tx.results[2], 16);
		receive_three(c);
	}
}

static void without_ring(void **state)
{
	(void)state;
	batch_io_done(&rx);
	batch_io_done(&tx);
	there_and_back(state);
	assert_int_equal(tx.calls, 7 * 3);
}

/* What the ring's descriptor stands for can no longer be entered. */
static void break_ring(struct batch_io *io)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_true(null >= 0);
	assert_true(dup2(null, io->ring.ring_fd) >= 0);
	close(null);
}

/* More batches than a broken ring has room for: nothing of them may stay in it. */
static void ring_fails(void **state)
{
	(void)state;
	if (!tx.have_ring)
		skip();
	there_and_back(state);
	break_ring(&tx);
	send_three('n');
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(tx.results[i], -EIO);
	for (unsigned i = 0; i < 4 * BATCH_IO_MAX; i++)
		there_and_back(state);

	break_ring(&rx);
	batch_io_add(&rx, &iov[0], 1);
	assert_int_equal(batch_io_run(&rx), 1);
	assert_int_equal(rx.results[0], -EIO);
	for (unsigned i = 0; i < 4 * BATCH_IO_MAX; i++)
		there_and_back(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(there_and_back, setup, teardown),
		cmocka_unit_test_setup_teardown(without_ring, setup, teardown),
		cmocka_unit_test_setup_teardown(ring_fails, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
