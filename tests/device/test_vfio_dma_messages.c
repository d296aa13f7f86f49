/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * DMA_READ and DMA_WRITE: the server's requests for memory without a file. The device is a stage on
 * the server's thread; the client answers as it should, otherwise, or not at all.
 */
#include "tests/device/vfio_harness.h"

#include "base/clock.h"
#include "memory/remote.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE	4096u
#define ASKED	64u /* requests without an answer, at most */
#define REMOTE	GUEST_BASE
#define REMOTES GUEST_SIZE

struct header {
	uint16_t id, command;
	uint32_t size, flags, error;
};

/* Requests that the test answers itself. */
static struct vu_dma held[ASKED + 1];
static unsigned n_held;

static int hold(struct vu_client *c, const struct vu_dma *dma, void *arg)
{
	assert_true(n_held < ASKED + 1);
	held[n_held++] = *dma;
	return 0;
}

/* ---- the device: on the server's thread ---------------------------------------------------- */

static struct memory_stage *stage;

struct op {
	uint64_t addr;
	uint32_t len;
	const void *data; /* written; NULL: read */
	bool waiting, found;
	uint8_t bytes[16]; /* the first */
};

static void do_new(void *arg)
{
	stage = memory_stage_new(space);
}

static void do_free(void *arg)
{
	memory_stage_free(stage);
	stage = NULL;
}

static void do_clear(void *arg)
{
	memory_stage_clear(stage);
}

static void do_add(void *arg)
{
	struct op *op = arg;

	if (!op->data) {
		assert_int_equal(memory_stage_fetch(stage, op->addr, op->len), 0);
	} else {
		void *to = memory_stage_write(stage, op->addr, op->len);

		assert_non_null(to);
		memcpy(to, op->data, op->len);
	}
}

static void do_submit(void *arg)
{
	memory_stage_submit(stage);
}

static void do_look(void *arg)
{
	struct op *op = arg;
	uint8_t *p = memory_stage_at(stage, op->addr, op->len);

	op->waiting = memory_stage_waiting(stage);
	op->found = p;
	if (p)
		memcpy(op->bytes, p, op->len < 16 ? op->len : 16);
}

static void add(uint64_t addr, uint32_t len, const void *data)
{
	struct op op = { addr, len, data, false, false, { 0 } };

	on_server(do_add, &op);
}

static void submit(void)
{
	on_server(do_submit, NULL);
}

static struct op look(uint64_t addr, uint32_t len)
{
	struct op op = { addr, len, NULL, false, false, { 0 } };

	on_server(do_look, &op);
	return op;
}

static uint64_t waiting(void)
{
	struct vfio_user_stats stats;

	server_stats(&stats);
	return stats.dma_waiting;
}

/* The server's thread has handled all that was sent. */
static void settle(void)
{
	uint8_t byte;

	assert_int_equal(vu_region_read(&client, VFIO_PCI_CONFIG_REGION_INDEX, 0, &byte, 1), 0);
}

/* ---- set-up -------------------------------------------------------------------------------- */

static int setup(void **state)
{
	n_held = 0;
	if (client_start(state) || vu_memory_make(&client, REMOTE, REMOTES))
		return -1;
	for (uint64_t i = 0; i < REMOTES; i++)
		client.memory[i] = (uint8_t)(i * 7 + (i >> 8));
	on_server(do_new, NULL);
	return vu_dma_map(&client, REMOTE, REMOTES, -1, 0, 3);
}

static int teardown(void **state)
{
	if (stage)
		on_server(do_free, NULL);
	return client_stop(state);
}

/* Serves until nothing is missing. */
static void serve_all(void)
{
	uint64_t until = time_now_ns() + 60 * NS_PER_S;

	while (look(0, 0).waiting && time_now_ns() < until)
		assert_true(vu_serve(&client, 1) >= 0);
	assert_false(look(0, 0).waiting);
}

/* Until @n requests are held. */
static void wait_held(unsigned n)
{
	client.dma = hold;
	while (n_held < n)
		assert_true(vu_serve(&client, 60000) > 0);
}

/* A read of the server's, held by the client. */
static const struct vu_dma *one_read(uint32_t len)
{
	add(REMOTE, len, NULL);
	submit();
	wait_held(1);
	return &held[0];
}

/* ---- as it should be ----------------------------------------------------------------------- */

static void reads_and_writes(void **state)
{
	unsigned changes = recorded()->memory_changes;
	struct op op;

	add(REMOTE + 5, 1000, NULL);
	add(REMOTE + 0x2000, 16, "written, and so ");
	submit();
	serve_all();
	op = look(REMOTE + 5, 1000);
	assert_true(op.found);
	assert_memory_equal(op.bytes, client.memory + 5, 16);
	assert_memory_equal(client.memory + 0x2000, "written, and so ", 16);
	assert_int_equal(client.dma_reads, 1);
	assert_int_equal(client.dma_writes, 1);
	/* the device was told that something has come */
	assert_true(recorded()->memory_changes > changes);
}

static void in_one_message(void **state)
{
	add(REMOTE, MEMORY_STAGE_BYTES, NULL);
	submit();
	serve_all();
	assert_true(look(REMOTE, MEMORY_STAGE_BYTES).found);
	assert_int_equal(client.dma_reads, 1);
}

static void writes_in_order(void **state)
{
	for (uint32_t i = 0; i < 500; i++)
		add(REMOTE + i % 3, 4, &i);
	submit();
	for (unsigned done = 0; done < 500;) {
		n_held = 0;
		wait_held(1);
		for (unsigned i = 0; i < n_held; i++, done++) {
			assert_true(held[i].write);
			assert_int_equal(held[i].addr, REMOTE + done % 3);
			assert_int_equal(held[i].count, 4);
			assert_int_equal(vu_dma_answer(&client, &held[i], 0, NULL), 0);
		}
	}
	settle();
	assert_false(look(0, 0).waiting);
}

static void in_flight_is_bounded(void **state)
{
	for (unsigned i = 0; i < 300; i++)
		add(REMOTE + i, 1, NULL);
	submit();
	wait_held(ASKED);
	settle(); /* no more of them comes before that reply */
	assert_int_equal(n_held, ASKED);
	assert_int_equal(waiting(), ASKED);
	/* answers may come in any order */
	for (unsigned i = ASKED; i-- > 0;)
		assert_int_equal(vu_dma_answer(&client, &held[i], 0, client.memory), 0);
	client.dma = NULL;
	serve_all();
	assert_int_equal(client.dma_reads, 300);
}

static void negotiate(uint32_t max)
{
	char request[128] = "", reply[512];
	int len = snprintf(request + 4, sizeof(request) - 4,
			   "{\"capabilities\":{\"max_data_xfer_size\":%u}}", max);

	vu_close(&client);
	wait_disconnected();
	assert_int_equal(vu_connect(&client, server_path()), 0);
	assert_true(vu_request(&client, 1, request, 4 + (size_t)len + 1, NULL, 0, reply,
			       sizeof(reply), NULL) > 0);
	assert_int_equal(vu_memory_make(&client, REMOTE, REMOTES), 0);
	assert_int_equal(vu_dma_map(&client, REMOTE, REMOTES, -1, 0, 3), 0);
}

static void in_pieces_of_the_client_s_size(void **state)
{
	static const uint32_t sizes[] = { 4096, 4096, 1808 };
	char data[10000];
	uint64_t at = REMOTE;

	negotiate(4096);
	memset(client.memory, 3, sizeof(data));
	add(REMOTE, sizeof(data), NULL);
	submit();
	wait_held(3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(held[i].addr, at);
		assert_int_equal(held[i].count, sizes[i]);
		vu_dma_answer(&client, &held[i], 0, client.memory + (at - REMOTE));
		at += sizes[i];
	}
	settle();
	assert_int_equal(look(REMOTE + 9999, 1).bytes[0], 3);
	client.dma = NULL;
	memset(data, 9, sizeof(data));
	add(REMOTE, sizeof(data), data);
	submit();
	serve_all();
	assert_memory_equal(client.memory, data, sizeof(data));
	assert_int_equal(client.dma_writes, 3);
}

static void a_client_that_takes_nothing(void **state)
{
	negotiate(0);
	add(REMOTE, 8, NULL);
	submit();
	assert_int_equal(vu_reset(&client), 0); /* it cannot read registers either */
	assert_false(look(REMOTE, 8).waiting);
	assert_false(look(REMOTE, 8).found);
	assert_int_equal(client.dma_reads, 0);
}

static void no_requests_without_such_memory(void **state)
{
	vu_close(&client);
	wait_disconnected();
	assert_int_equal(vu_open(&client, server_path()), 0);
	assert_int_equal(vu_memory(&client, REMOTE, REMOTES), 0);
	add(REMOTE, 8, NULL);
	submit();
	settle();
	assert_false(look(REMOTE, 8).waiting);
	assert_int_equal(client.dma_reads, 0);
}

static void a_reply_byte_by_byte(void **state)
{
	const struct vu_dma *dma = one_read(5);
	struct {
		struct header header;
		uint64_t addr, count;
		uint8_t data[5];
	} __attribute__((packed)) reply = { { dma->id, 11, 37, 1, 0 }, REMOTE, 5, "bytes" };

	for (size_t i = 0; i < sizeof(reply); i++)
		assert_int_equal(vu_send_raw(&client, (uint8_t *)&reply + i, 1, NULL, 0), 0);
	settle();
	assert_memory_equal(look(REMOTE, 5).bytes, "bytes", 5);
}

/* ---- otherwise ----------------------------------------------------------------------------- */

static void refused(void **state)
{
	struct vfio_user_stats stats;

	vu_dma_answer(&client, one_read(16), ENODEV, NULL);
	settle();
	assert_false(look(REMOTE, 16).waiting);
	assert_false(look(REMOTE, 16).found);
	server_stats(&stats);
	assert_true(stats.connected);
	assert_int_equal(stats.dma_errors, 1);
}

static void dropped(void)
{
	expect_dropped(&client);
	wait_disconnected();
	assert_false(look(REMOTE, 16).waiting);
	assert_false(look(REMOTE, 16).found);
	assert_int_equal(waiting(), 0);
	vu_close(&client);
	expect_serving();
}

static void wrong_replies(void **state)
{
	static const struct {
		int id; /* on top of the right one */
		uint16_t command;
		uint32_t size, flags;
		int addr;
		uint32_t count;
	} wrong[] = {
		{ 1, 11, 48, 1, 0, 16 },     /* another id */
		{ 64, 11, 48, 1, 0, 16 },    /* one of the same slot */
		{ 0, 12, 32, 1, 0, 16 },     /* another command */
		{ 0, 9, 48, 1, 0, 16 },	     /* a client's */
		{ 0, 11, 47, 1, 0, 16 },     /* too short */
		{ 0, 11, 49, 1, 0, 16 },     /* too long */
		{ 0, 11, 32, 1, 0, 16 },     /* no data */
		{ 0, 11, 16, 1, 0, 16 },     /* no payload, and no error */
		{ 0, 11, 48, 0x21, 0, 16 },  /* an error with data */
		{ 0, 11, 48, 1, 4096, 16 },  /* another address */
		{ 0, 11, 48, 1, 0, 15 },     /* another count */
		{ 0, 11, 1 << 20, 1, 0, 16 } /* far too long */
	};
	uint8_t zeros[32] = { 0 };

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		const struct vu_dma *dma = one_read(16);
		struct {
			struct header header;
			uint64_t addr, count;
		} reply = { { (uint16_t)(dma->id + wrong[i].id), wrong[i].command, wrong[i].size,
			      wrong[i].flags, 0 },
			    REMOTE + (uint64_t)wrong[i].addr,
			    wrong[i].count };

		vu_send_raw(&client, &reply, wrong[i].size < 32 ? wrong[i].size : 32, NULL, 0);
		if (wrong[i].size > 32)
			vu_send_raw(&client, zeros,
				    wrong[i].size - 32 < 32 ? wrong[i].size - 32 : 32, NULL, 0);
		dropped();
		teardown(state);
		assert_int_equal(setup(state), 0);
	}
}

static void answered_twice(void **state)
{
	const struct vu_dma *dma = one_read(16);

	vu_dma_answer(&client, dma, 0, client.memory);
	settle();
	assert_true(look(REMOTE, 16).found);
	vu_dma_answer(&client, dma, 0, client.memory);
	expect_dropped(&client);
	vu_close(&client);
	expect_serving();
}

static void with_a_descriptor(void **state)
{
	const struct vu_dma *dma = one_read(16);
	struct header reply = { dma->id, 11, 16, 0x21, EFAULT };
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	vu_send_raw(&client, &reply, sizeof(reply), &fd, 1);
	close(fd);
	dropped();
}

/* It never answers: its own device waits, and nothing else does. */
static void never_answered(void **state)
{
	char byte = 1;

	for (unsigned i = 0; i < 1000; i++)
		add(REMOTE + i, 1, &byte);
	submit();
	wait_held(ASKED);
	for (unsigned i = 0; i < 100; i++)
		settle();
	assert_int_equal(waiting(), ASKED);
	assert_int_equal(vu_reset(&client), 0);
	assert_true(look(0, 0).waiting);
	on_server(do_clear, NULL); /* the device's reset does that */
	assert_false(look(0, 0).waiting);
	settle();
	assert_int_equal(n_held, ASKED);
	/* at last: none of it does any harm, and the device works */
	for (unsigned i = 0; i < ASKED; i++)
		vu_dma_answer(&client, &held[i], 0, NULL);
	client.dma = NULL;
	add(REMOTE, 16, NULL);
	submit();
	serve_all();
	assert_true(look(REMOTE, 16).found);
	assert_int_equal(client.dma_writes, ASKED);
}

/* It does not read: what is sent and what is kept for it is bounded. */
static void never_read(void **state)
{
	static char data[8192];
	struct vfio_user_stats stats;

	for (unsigned i = 0; i < MEMORY_STAGE_BYTES / sizeof(data); i++)
		add(REMOTE + i * sizeof(data), sizeof(data), data);
	submit();
	server_stats(&stats);
	assert_true(stats.connected);
	assert_true(stats.dma_waiting <= ASKED);
	serve_all();
	assert_int_equal(client.dma_writes, MEMORY_STAGE_BYTES / sizeof(data));
	settle();
}

static void unmapped_in_flight(void **state)
{
	uint32_t value = 1;

	for (unsigned i = 0; i < ASKED + 20; i++)
		add(REMOTE + i * 4, 4, i % 2 ? &value : NULL);
	submit();
	wait_held(ASKED);
	assert_int_equal(vu_dma_unmap(&client, REMOTE, REMOTES), 0);
	/* those that were not sent yet never are */
	for (unsigned i = 0; i < ASKED; i++)
		vu_dma_answer(&client, &held[i], i % 3 ? 0 : ENODEV, client.memory);
	settle();
	assert_int_equal(n_held, ASKED);
	assert_false(look(0, 0).waiting);
	for (unsigned i = 0; i < ASKED + 20; i++)
		assert_false(look(REMOTE + i * 4, 4).found);
	assert_int_equal(vu_dma_map(&client, REMOTE, REMOTES, -1, 0, 3), 0);
	on_server(do_clear, NULL);
	client.dma = NULL;
	add(REMOTE, 16, NULL);
	submit();
	serve_all();
	assert_true(look(REMOTE, 16).found);
}

static void gone_in_flight(void **state)
{
	unsigned fds;

	for (unsigned round = 0; round < 50; round++) {
		fds = open_fds();
		for (unsigned i = 0; i < 200; i++)
			add(REMOTE + i * 4, 4, i % 2 ? &round : NULL);
		submit();
		if (round % 2)
			wait_held(1 + round);
		close(client.fd);
		client.fd = -1;
		vu_close(&client);
		wait_disconnected();
		assert_false(look(0, 0).waiting);
		assert_int_equal(waiting(), 0);
		on_server(do_clear, NULL);
		n_held = 0;
		assert_int_equal(vu_open(&client, server_path()), 0);
		assert_int_equal(vu_memory_make(&client, REMOTE, REMOTES), 0);
		assert_int_equal(vu_dma_map(&client, REMOTE, REMOTES, -1, 0, 3), 0);
		assert_int_equal(open_fds(), fds);
	}
	add(REMOTE, 16, NULL);
	submit();
	serve_all();
	assert_true(look(REMOTE, 16).found);
}

/* Replies that the client makes up before anything was asked. */
static void answers_nobody_asked_for(void **state)
{
	struct header reply = { 1, 11, 16, 0x21, EFAULT };

	vu_send_raw(&client, &reply, sizeof(reply), NULL, 0);
	expect_dropped(&client);
	vu_close(&client);
	expect_serving();
}

#define with_stage(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_stage(reads_and_writes),
		with_stage(in_one_message),
		with_stage(writes_in_order),
		with_stage(in_flight_is_bounded),
		with_stage(in_pieces_of_the_client_s_size),
		with_stage(a_client_that_takes_nothing),
		with_stage(no_requests_without_such_memory),
		with_stage(a_reply_byte_by_byte),
		with_stage(refused),
		with_stage(wrong_replies),
		with_stage(answered_twice),
		with_stage(with_a_descriptor),
		with_stage(never_answered),
		with_stage(never_read),
		with_stage(unmapped_in_flight),
		with_stage(gone_in_flight),
		with_stage(answers_nobody_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
