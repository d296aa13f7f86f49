/* SPDX-License-Identifier: BSD-2-Clause */
/* Registers that are work for a while, and a client that writes to nothing else: others have their
 * turn in between. */
#include "tests/device/vfio_harness.h"

#include "base/clock.h"
#include "base/loop.h"
#include "tests/device/lingering.h"
#include "transport/round.h"

#include <stdlib.h>

#define CONFIG VFIO_PCI_CONFIG_REGION_INDEX
#define MULTI  256u
#define POSTED 40u

/* The server's thread's. */
static unsigned written, others_turn, out_of_order;
static void (*turn)(void);
static struct lingering_gate gate;

static void others(void *arg)
{
	others_turn = written;
	if (turn)
		turn();
}

/* Somebody else wants the control thread from the first write on, and each takes a round's time. */
static void slowly(uint64_t offset)
{
	uint64_t until = time_now_ns() + CLIENT_ROUND_NS;

	if (!written && loop_post(server_loop(), others, NULL))
		abort();
	out_of_order += offset != 4 * written;
	written++;
	while (time_now_ns() < until)
		;
}

static int start(void **state)
{
	if (client_start(state) || vu_enable(&client))
		return -1;
	written = others_turn = out_of_order = 0;
	turn = NULL;
	bar_written = slowly;
	return 0;
}

/* Registers 0, 4, 8, ... */
static void send_multi(uint32_t flags)
{
	struct {
		uint64_t n;
		struct {
			uint64_t offset;
			uint32_t region, count;
			uint8_t data[8];
		} records[MULTI];
	} m = { .n = MULTI };

	for (unsigned i = 0; i < MULTI; i++) {
		m.records[i].offset = 4 * i;
		m.records[i].count = 4;
	}
	assert_int_equal(vu_send(&client, 15, flags, &m, sizeof(m), NULL, 0), 0);
}

static void post_more(void)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < POSTED; i++)
		assert_int_equal(vu_region_post(&client, 0, 4 * (MULTI + i), &value, 4), 0);
}

/* Once the server has done what it has read. */
static void expect_in_order(unsigned n)
{
	recorded();
	assert_int_equal(written, n);
	assert_int_equal(out_of_order, 0);
}

static void many_messages(void **state)
{
	uint32_t value = 0;

	lingering_begin(&gate, server_loop());
	for (unsigned i = 0; i < POSTED; i++)
		assert_int_equal(vu_region_post(&client, 0, 4 * i, &value, 4), 0);
	sem_post(&gate.open);
	assert_int_equal(vu_region_read(&client, CONFIG, 0, &value, 4), 0);
	expect_in_order(POSTED);
	assert_in_range(others_turn, 1, 4);
}

/* What comes after it is done after it. */
static void one_message(void **state)
{
	struct vfio_user_stats stats;
	uint32_t value;

	lingering_begin(&gate, server_loop());
	send_multi(0x10);
	post_more();
	sem_post(&gate.open);
	assert_int_equal(vu_region_read(&client, CONFIG, 0, &value, 4), 0);
	expect_in_order(MULTI + POSTED);
	assert_in_range(others_turn, 1, 32);
	server_stats(&stats);
	assert_int_equal(stats.write_multi, MULTI);
	assert_int_equal(stats.posted_writes, POSTED);
}

static void answered_when_done(void **state)
{
	uint64_t n = 0;

	send_multi(0);
	assert_int_equal(vu_receive(&client, 15, &n, 8, NULL), 8);
	assert_int_equal(n, MULTI);
	expect_in_order(MULTI);
	assert_in_range(others_turn, 1, 32);
	/* and there is no second answer */
	assert_int_equal(vu_reset(&client), 0);
}

static void disconnect(void)
{
	vfio_user_server_disconnect(server);
}

/* The rest of it is not written, nor what came behind it; the next client's begins at its start. */
static void session_ends_within(void **state)
{
	turn = disconnect;
	lingering_begin(&gate, server_loop());
	send_multi(0x10);
	post_more();
	sem_post(&gate.open);
	expect_dropped(&client);
	vu_close(&client);
	expect_serving();
	expect_in_order(others_turn);
	assert_in_range(others_turn, 1, 32);
	turn = NULL;
	written = 0;
	assert_int_equal(vu_open(&client, server_path()), 0);
	assert_int_equal(vu_enable(&client), 0);
	send_multi(0x10);
	assert_int_equal(vu_reset(&client), 0);
	expect_in_order(MULTI);
}

static void client_goes_within(void **state)
{
	send_multi(0x10);
	vu_close(&client);
	expect_serving();
	assert_int_equal(out_of_order, 0);
}

static void reset(void)
{
	pci_function_reset(function, PCI_RESET_FUNCTION);
}

/* By somebody else: the rest of the registers are not there any more until they are enabled. */
static void reset_within(void **state)
{
	uint32_t value;

	turn = reset;
	send_multi(0x10);
	assert_int_equal(vu_region_read(&client, CONFIG, 0, &value, 4), 0);
	expect_in_order(others_turn);
	assert_in_range(others_turn, 1, 32);
}

int main(void)
{
#define test_slow(fn) cmocka_unit_test_setup_teardown(fn, start, client_stop)
	const struct CMUnitTest tests[] = {
		test_slow(many_messages),      test_slow(one_message),
		test_slow(answered_when_done), test_slow(session_ends_within),
		test_slow(client_goes_within), test_slow(reset_within),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
