/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The e1000 family in memory without a file: rings and buffers by DMA messages, alone and mixed
 * with memory that has one; clients that answer late, wrongly or never.
 */
#include "tests/device/nic_harness.h"

#include "base/clock.h"
#include "nic/e1000/regs.h"

#include <poll.h>

#define RW 3

/* ---- where the memory is ------------------------------------------------------------------- */

static int no_file(struct vu_client *c)
{
	return vu_dma_map(c, GUEST_BASE, GUEST_SIZE, -1, 0, RW);
}

/* Pieces with and without, whose borders lie inside of the rings and of buffers. */
static int mixed(struct vu_client *c)
{
	static const uint64_t ends[] = { 0x1000,  0x2000,  0x3000,   0x14000,	0x27000,
					 0x90000, 0xa1000, 0x140000, GUEST_SIZE };
	uint64_t at = 0;
	int err = 0;

	for (unsigned i = 0; !err && i < ARRAY_SIZE(ends); i++) {
		err = vu_dma_map(c, GUEST_BASE + at, ends[i] - at, i % 2 ? c->memory_fd : -1,
				 i % 2 ? at : 0, RW);
		at = ends[i];
	}
	return err;
}

/* Rings in a file, buffers not, and the other way round: 2 rings of 4 KB come first. */
static int rings_in_a_file(struct vu_client *c)
{
	int err = vu_dma_map(c, GUEST_BASE, 0x2000, c->memory_fd, 0, RW);

	return err ? err : vu_dma_map(c, GUEST_BASE + 0x2000, GUEST_SIZE - 0x2000, -1, 0, RW);
}

static int buffers_in_a_file(struct vu_client *c)
{
	int err = vu_dma_map(c, GUEST_BASE, 0x2000, -1, 0, RW);

	return err ? err
		   : vu_dma_map(c, GUEST_BASE + 0x2000, GUEST_SIZE - 0x2000, c->memory_fd, 0x2000,
				RW);
}

static int start_82574l(void **state)
{
	return nics_start("82574L", "82574L", no_file);
}

static int start_82540em(void **state)
{
	return nics_start("82540EM", "82540EM", no_file);
}

static int start_mixed(void **state)
{
	return nics_start("82574L", "82540EM", mixed);
}

static int start_rings(void **state)
{
	return nics_start("82540EM", "82574L", rings_in_a_file);
}

static int start_buffers(void **state)
{
	return nics_start("82574L", "82540EM", buffers_in_a_file);
}

/* One buffer in as many regions as it has bytes, and memory without a file behind it. */
#define SPLINTERS   (GUEST_BASE + 0x200000)
#define N_SPLINTERS 256u
#define BEHIND	    (GUEST_BASE + 0x201000)

static int splinters(struct vu_client *c)
{
	int err = vu_dma_map(c, GUEST_BASE, SPLINTERS - GUEST_BASE, c->memory_fd, 0, RW);

	/* an offset is one of a page: they share their byte */
	for (unsigned i = 0; !err && i < N_SPLINTERS; i++)
		err = vu_dma_map(c, SPLINTERS + i, 1, c->memory_fd, SPLINTERS - GUEST_BASE, RW);
	return err ? err : vu_dma_map(c, BEHIND, 0x1000, -1, 0, RW);
}

static int start_splinters(void **state)
{
	return nics_start("82574L", "82574L", splinters);
}

/* Only the first. */
static int start_one(void **state)
{
	nics_start("82574L", "82574L", NULL);
	machine_disconnect(&machines[0]);
	machines[0].announce = no_file;
	machine_connect(&machines[0]);
	return 0;
}

/* ---- as it should be ----------------------------------------------------------------------- */

static void test_traffic_both_ways(void **state)
{
	transfer(&machines[0], &machines[1], 1000);
	transfer(&machines[1], &machines[0], 1000);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(machines[i].driver.interrupts > 0);
		assert_true(machines[i].client.dma_reads > 0);
		assert_true(machines[i].client.dma_writes > 0);
	}
}

static void test_one_of_two(void **state)
{
	transfer(&machines[0], &machines[1], 500);
	transfer(&machines[1], &machines[0], 500);
	assert_true(machines[0].client.dma_reads > 0);
	assert_int_equal(machines[1].client.dma_reads, 0);
	assert_int_equal(machines[1].client.dma_writes, 0);
}

static void test_large_segment_arrives_in_parts(void **state)
{
	transfer_segment(&machines[0], &machines[1]);
	transfer_segment(&machines[1], &machines[0]);
}

/* With the transmitter off, whose polls drive both. */
static void test_receive_alone(void **state)
{
	uint8_t frame[2048], got[2048];
	struct machine *a = &machines[0], *b = &machines[1];

	vu_write32(&b->client, 0, TCTL, 0);
	for (unsigned i = 0; i < 100; i++) {
		uint32_t len = make_frame(frame, a, b, i, 60 + i);

		assert_int_equal(e1000_driver_queue(&a->driver, frame, len), 0);
		e1000_driver_kick(&a->driver);
		assert_int_equal(wait_frame(b, got), len);
		assert_memory_equal(got, frame, len);
	}
}

/* As firmware does it. */
static void test_one_descriptor_at_a_time(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		transfer_one_by_one(&machines[0], &machines[1], 40);
		transfer(&machines[0], &machines[1], 100);
		transfer(&machines[1], &machines[0], 100);
	}
}

/* While there is none, nobody asks for it again and again. */
static void test_no_descriptor_costs_nothing(void **state)
{
	struct machine *a = &machines[0], *b = &machines[1];
	uint8_t frame[2048];
	uint64_t reads;

	transfer(a, b, 10);
	skip_frames(a, b);
	vu_write32(&b->client, 0, RDT(0), b->driver.rx_next);
	reads = b->client.dma_reads;
	for (unsigned i = 0; i < 20; i++)
		e1000_driver_queue(&a->driver, frame, make_frame(frame, a, b, i, 500));
	e1000_driver_kick(&a->driver);
	while (counter(b, "rx_waiting") < 20) {
		serve_both();
		usleep(100);
	}
	for (unsigned i = 0; i < 2000; i++) {
		serve_both();
		usleep(100);
	}
	assert_true(b->client.dma_reads - reads <= 2);
}

/* Requests, put aside. */
#define HELD_MAX 4096
static struct vu_dma held[HELD_MAX];
static unsigned n_held, n_held_writes;

static int hold(struct vu_client *c, const struct vu_dma *dma, void *arg)
{
	assert_true(n_held < HELD_MAX);
	if (dma->write) {
		uint8_t *copy = malloc(dma->count);

		memcpy(copy, dma->data, dma->count);
		held[n_held] = *dma;
		held[n_held++].data = copy;
		n_held_writes++;
		return 0;
	}
	held[n_held++] = *dma;
	return 0;
}

/* Reads are served at once. */
static int hold_writes(struct vu_client *c, const struct vu_dma *dma, void *arg)
{
	return dma->write ? hold(c, dma, arg) : vu_dma_serve(c, dma);
}

static void forget_held(void)
{
	while (n_held)
		if (held[--n_held].write)
			free(held[n_held].data);
	n_held_writes = 0;
}

static unsigned interrupts(const struct machine *m)
{
	struct pollfd pfds[2] = { { m->driver.irq_fds[0], POLLIN, 0 },
				  { m->driver.irq_fds[1], POLLIN, 0 } };

	return (unsigned)poll(pfds, 2, 0);
}

static void wait_interrupt(const struct machine *m)
{
	uint64_t until = time_now_ns() + 60 * NS_PER_S;

	while (!interrupts(m)) {
		assert_true(time_now_ns() < until);
		serve_both();
		usleep(100);
	}
}

/* Frame, then descriptor, then head, then interrupt: each only when the one before is there. */
static void test_order_of_what_the_guest_sees(void **state)
{
	struct machine *a = &machines[0], *b = &machines[1];
	uint8_t frame[2048], got[2048];
	uint32_t len = make_frame(frame, a, b, 1, 1000);
	unsigned at = 0;

	/* none is left over from the start */
	while (e1000_driver_interrupts(&b->driver))
		usleep(1000);
	b->client.dma = hold_writes;
	assert_int_equal(e1000_driver_queue(&a->driver, frame, len), 0);
	e1000_driver_kick(&a->driver);
	while (n_held < 3) {
		serve_both();
		usleep(100);
	}
	/* the last write is the one that says that it is done */
	for (; at < n_held; at++) {
		assert_int_equal(e1000_driver_receive(&b->driver, got, NULL), 0);
		assert_int_equal(interrupts(b), 0);
		assert_int_equal(vu_read32(&b->client, 0, RDH(0)), 0);
		memcpy(b->client.memory + (held[at].addr - GUEST_BASE), held[at].data,
		       held[at].count);
	}
	usleep(5000);
	assert_int_equal(interrupts(b), 0);
	assert_int_equal(vu_read32(&b->client, 0, RDH(0)), 0);
	assert_int_equal(e1000_driver_receive(&b->driver, got, NULL), len);
	assert_memory_equal(got, frame, len);
	for (unsigned i = 0; i < n_held; i++)
		vu_dma_answer(&b->client, &held[i], 0, NULL);
	b->client.dma = NULL;
	forget_held();
	wait_interrupt(b);
	assert_int_equal(vu_read32(&b->client, 0, RDH(0)), 1);
}

/* The transmit side: no DD and no interrupt before the write is acknowledged. */
static void test_order_of_transmit(void **state)
{
	struct machine *a = &machines[0], *b = &machines[1];
	uint8_t frame[2048], got[2048];
	uint32_t len = make_frame(frame, a, b, 1, 500);

	while (e1000_driver_interrupts(&a->driver))
		usleep(1000);
	a->client.dma = hold_writes;
	assert_int_equal(e1000_driver_queue(&a->driver, frame, len), 0);
	e1000_driver_kick(&a->driver);
	while (!n_held) {
		serve_both();
		usleep(100);
	}
	assert_int_equal(n_held, 1);
	assert_int_equal(held[0].count, 1); /* the status, and none of the driver's bytes */
	assert_int_equal(held[0].addr, GUEST_BASE + 12);
	assert_int_equal(wait_frame(b, got), len);
	assert_int_equal(interrupts(a), 0);
	assert_int_equal(vu_read32(&a->client, 0, TDH(0)), 0);
	a->client.dma = NULL;
	vu_dma_serve(&a->client, &held[0]);
	forget_held();
	wait_interrupt(a);
	assert_int_equal(vu_read32(&a->client, 0, TDH(0)), 1);
	assert_int_equal(e1000_driver_clean(&a->driver), 1);
}

/* A packet in two descriptors, the second of which comes while the first is being fetched. */
static int second_descriptor(struct vu_client *c, const struct vu_dma *dma, void *arg)
{
	struct machine *a = &machines[0];

	if (!dma->write && dma->addr == GUEST_BASE) {
		assert_int_equal(dma->count, 16);
		c->dma = NULL;
		vu_write32(c, 0, TDT(0), 2);
		a->driver.tx_tail = 2;
	}
	return vu_dma_serve(c, dma);
}

static void test_tail_moves_during_a_round(void **state)
{
	struct machine *a = &machines[0], *b = &machines[1];
	uint8_t frame[2048], got[2048], *ring = a->driver.memory;
	uint32_t len = make_frame(frame, a, b, 1, 1000), first = 400;

	for (unsigned i = 0; i < 2; i++) {
		uint64_t buffer = a->driver.tx_buffers + i * (uint64_t)E1000_DRIVER_BUFFER;

		memcpy(ring + (buffer - a->driver.tx_ring), frame + i * first,
		       i ? len - first : first);
		store_le64(ring + i * 16, buffer);
	}
	store_le64(ring + 8, first);
	store_le64(ring + 24, (len - first) | TXD_EOP | TXD_RS);
	a->client.dma = second_descriptor;
	vu_write32(&a->client, 0, TDT(0), 1);
	assert_int_equal(wait_frame(b, got), len);
	assert_memory_equal(got, frame, len);
	assert_null(a->client.dma);
	transfer(a, b, 10);
}

/* Memory gets its file while traffic flows, and loses it: as a VMM that changes its mind. */
static void test_back_and_forth(void **state)
{
	struct vu_client *c = &machines[0].client;

	for (unsigned i = 0; i < 10; i++) {
		uint64_t reads;

		transfer(&machines[0], &machines[1], 50);
		transfer(&machines[1], &machines[0], 50);
		reads = c->dma_reads;
		assert_int_equal(vu_dma_unmap(c, GUEST_BASE, GUEST_SIZE), 0);
		if (i % 2) {
			assert_int_equal(no_file(c), 0);
			continue;
		}
		assert_int_equal(vu_dma_map(c, GUEST_BASE, GUEST_SIZE, c->memory_fd, 0, RW), 0);
		/* the round after the last one without sees that nothing is left */
		transfer(&machines[0], &machines[1], 50);
		transfer(&machines[1], &machines[0], 50);
		reads = c->dma_reads;
		transfer(&machines[0], &machines[1], 50);
		transfer(&machines[1], &machines[0], 50);
		assert_int_equal(c->dma_reads, reads);
	}
}

/* ---- otherwise ----------------------------------------------------------------------------- */

static void queue_some(struct machine *m, unsigned n)
{
	uint8_t frame[2048];

	for (unsigned i = 0; i < n; i++)
		e1000_driver_queue(&m->driver, frame,
				   make_frame(frame, m, &machines[m == machines], i, 500));
	e1000_driver_kick(&m->driver);
}

static void test_reset_in_flight(void **state)
{
	struct machine *a = &machines[0], *b = &machines[1];

	for (unsigned i = 0; i < 20; i++) {
		queue_some(a, 100);
		queue_some(b, 100);
		for (unsigned n = 0; n < i; n++)
			serve_both();
		if (i % 2)
			assert_int_equal(vu_reset(&a->client), 0);
		e1000_driver_done(&a->driver);
		assert_int_equal(e1000_driver_init(&a->driver, &a->client, 0, RING_N, false), 0);
	}
	skip_frames(b, a);
	skip_frames(a, b);
	transfer(a, b, 300);
	transfer(b, a, 300);
}

static void test_unmapped_in_flight(void **state)
{
	struct machine *a = &machines[0], *b = &machines[1];

	for (unsigned i = 0; i < 20; i++) {
		queue_some(a, 100);
		queue_some(b, 100);
		for (unsigned n = 0; n < i % 5; n++)
			serve_both();
		assert_int_equal(vu_dma_unmap(&a->client, GUEST_BASE, GUEST_SIZE), 0);
		assert_true(e1000_driver_link(&a->driver));
		assert_int_equal(no_file(&a->client), 0);
		/* descriptors that could not be written are lost: the driver's watchdog resets */
		e1000_driver_done(&a->driver);
		assert_int_equal(e1000_driver_init(&a->driver, &a->client, 0, RING_N, false), 0);
		skip_frames(a, b);
	}
	skip_frames(b, a);
	transfer(a, b, 300);
	transfer(b, a, 300);
}

static void test_client_goes_and_another_comes(void **state)
{
	struct machine *a = &machines[0], *b = &machines[1];

	for (unsigned i = 0; i < 20; i++) {
		queue_some(a, 100);
		queue_some(b, 100);
		for (unsigned n = 0; n < i % 4; n++)
			serve_both();
		machine_disconnect(a);
		a->announce = i % 3 ? no_file : NULL;
		machine_connect(a);
		skip_frames(a, b);
		skip_frames(b, a);
		transfer(b, a, 50);
	}
	transfer(a, b, 100);
}

static int refuse(struct vu_client *c, const struct vu_dma *dma, void *arg)
{
	return vu_dma_answer(c, dma, EFAULT, NULL);
}

static void test_refused(void **state)
{
	struct machine *a = &machines[0], *b = &machines[1];

	for (unsigned i = 0; i < 10; i++) {
		a->client.dma = refuse;
		queue_some(a, 50);
		queue_some(b, 50);
		for (unsigned n = 0; n < 20; n++) {
			serve_both();
			usleep(500);
		}
		a->client.dma = NULL;
		assert_true(e1000_driver_link(&a->driver));
		e1000_driver_done(&a->driver);
		assert_int_equal(e1000_driver_init(&a->driver, &a->client, 0, RING_N, false), 0);
		skip_frames(a, b);
	}
	transfer(a, b, 300);
	transfer(b, a, 300);
}

/* The first never answers: the second's traffic goes on, and what is kept for the first is bounded.
 */
static void test_never_answered(void **state)
{
	struct machine *a = &machines[0], *b = &machines[1];
	uint64_t sent = 0;
	uint8_t frame[2048];

	a->client.dma = hold;
	queue_some(a, 200);
	while (sent < 20000 || !n_held) {
		serve_both();
		if (!e1000_driver_queue(&b->driver, frame, make_frame(frame, b, a, 1, 1400)))
			sent++;
		e1000_driver_kick(&b->driver);
		e1000_driver_clean(&b->driver);
	}
	assert_true(n_held > 0 && n_held <= 64);
	/* a thousand wait, at most; 255 are perhaps not sent yet */
	assert_true(counter(a, "rx_no_buffer") >= sent - 1024 - 255);
	/* its registers answer, and a reset makes it whole */
	assert_true(e1000_driver_link(&a->driver));
	e1000_driver_done(&a->driver);
	a->client.dma = NULL;
	for (unsigned i = 0; i < n_held; i++)
		vu_dma_answer(&a->client, &held[i], EIO, NULL);
	forget_held();
	assert_int_equal(e1000_driver_init(&a->driver, &a->client, 0, RING_N, false), 0);
	skip_frames(b, a);
	transfer(a, b, 300);
	transfer(b, a, 300);
}

/* After "GIO master disable" STATUS says when the device is done, and then it asks for nothing. */
static void test_master_disable_waits_for_messages(void **state)
{
	struct machine *a = &machines[0], *b = &machines[1];
	uint32_t ctrl;

	a->client.dma = hold;
	queue_some(a, 10);
	while (!n_held) {
		serve_both();
		usleep(100);
	}
	ctrl = vu_read32(&a->client, 0, CTRL);
	vu_write32(&a->client, 0, CTRL, ctrl | CTRL_GIO_MD);
	assert_true(vu_read32(&a->client, 0, STATUS) & STATUS_GIO_EN);
	for (unsigned i = 0; i < n_held; i++)
		vu_dma_answer(&a->client, &held[i], 0, a->client.memory);
	forget_held();
	assert_false(vu_read32(&a->client, 0, STATUS) & STATUS_GIO_EN);
	queue_some(b, 10);
	usleep(5000);
	assert_false(vu_read32(&a->client, 0, STATUS) & STATUS_GIO_EN);
	assert_int_equal(n_held, 0);
	a->client.dma = NULL;
	e1000_driver_done(&a->driver);
	assert_int_equal(e1000_driver_init(&a->driver, &a->client, 0, RING_N, false), 0);
	skip_frames(b, a);
	transfer(a, b, 100);
}

/* A direction that is turned off sends nothing more, whatever it had in mind. */
static void test_turned_off_in_flight(void **state)
{
	struct machine *a = &machines[0], *b = &machines[1];
	unsigned n;

	a->client.dma = hold_writes;
	queue_some(b, 200); /* some 600 writes */
	while (n_held < 64) {
		serve_both();
		usleep(100);
	}
	vu_write32(&a->client, 0, RCTL, 0);
	vu_write32(&a->client, 0, TCTL, 0);
	n = n_held;
	a->client.dma = hold;
	for (unsigned i = 0; i < n; i++)
		vu_dma_answer(&a->client, &held[i], 0, NULL);
	for (unsigned i = 0; i < 20; i++) {
		serve_both();
		usleep(500);
	}
	assert_int_equal(n_held, n);
	forget_held();
	a->client.dma = NULL;
	e1000_driver_done(&a->driver);
	assert_int_equal(e1000_driver_init(&a->driver, &a->client, 0, RING_N, false), 0);
	skip_frames(b, a);
	transfer(b, a, 300);
}

/* Frames that the filters refuse cost no message. */
static void test_filtered_frames_cost_nothing(void **state)
{
	struct machine *a = &machines[0], *b = &machines[1];
	uint8_t frame[2048];
	uint64_t reads = a->client.dma_reads;

	transfer(b, a, 10);
	skip_frames(b, a);
	reads = a->client.dma_reads;
	for (unsigned i = 0; i < 100; i++) {
		uint32_t len = make_frame(frame, b, a, i, 100);

		frame[0] = 0x01; /* a group that nobody listens to: flooded */
		frame[1] = 0;
		assert_int_equal(e1000_driver_queue(&b->driver, frame, len), 0);
	}
	e1000_driver_kick(&b->driver);
	while (counter(a, "rx_filtered") < 100) {
		serve_both();
		usleep(100);
	}
	assert_int_equal(a->client.dma_reads, reads);
}

#define SPLIT_0 (GUEST_BASE + 0x200000)
#define SPLIT_1 (GUEST_BASE + 0x201000)
static unsigned n_strange;

/* What is written into the buffers is the frame and nothing else. */
static int look_at_writes(struct vu_client *c, const struct vu_dma *dma, void *arg)
{
	if (dma->write && dma->addr >= SPLIT_0)
		for (uint64_t i = dma->addr == SPLIT_0 ? 14 : 0; i < dma->count; i++)
			n_strange += dma->data[i] != 0x42;
	return vu_dma_serve(c, dma);
}

/* That the buffers have no file is found out by the first of them; the second is without one, too.
 */
static void test_nothing_but_the_frame_is_written(void **state)
{
	struct machine *a = &machines[0], *b = &machines[1];
	uint8_t *ring = b->client.memory + (b->driver.rx_ring - GUEST_BASE), frame[1100];

	n_strange = 0;
	b->client.dma = look_at_writes;
	vu_write32(&b->client, 0, RCTL, 0);
	memset(ring, 0, RING_N * 16);
	store_le64(ring, SPLIT_0);
	store_le64(ring + 8, SPLIT_1);
	vu_write32(&b->client, 0, RFCTL, RFCTL_EXTEN);
	vu_write32(&b->client, 0, PSRCTL, 1 | 1 << 8);
	vu_write32(&b->client, 0, RDH(0), 0);
	vu_write32(&b->client, 0, RDT(0), 2);
	vu_write32(&b->client, 0, RCTL, RCTL_EN | RCTL_SECRC | RCTL_UPE | 1 << 10);
	memset(frame, 0x42, sizeof(frame));
	memcpy(frame, b->driver.mac, 6);
	memcpy(frame + 6, a->driver.mac, 6);
	assert_int_equal(e1000_driver_queue(&a->driver, frame, sizeof(frame)), 0);
	e1000_driver_kick(&a->driver);
	while (!(__atomic_load_n(ring + 8, __ATOMIC_ACQUIRE) & RXD_DD)) {
		serve_both();
		usleep(100);
	}
	assert_int_equal(n_strange, 0);
	assert_memory_equal(b->client.memory + (SPLIT_0 - GUEST_BASE), frame, 128);
	assert_memory_equal(b->client.memory + (SPLIT_1 - GUEST_BASE), frame + 128, 1100 - 128);
	b->client.dma = NULL;
}

/* The first of a descriptor's buffers takes all the pieces that a frame may have; then comes one
 * without a file. */
static void test_more_pieces_than_a_frame_has(void **state)
{
	struct machine *a = &machines[0], *b = &machines[1];
	uint8_t *ring = b->client.memory + (b->driver.rx_ring - GUEST_BASE), frame[600];

	vu_write32(&b->client, 0, RCTL, 0);
	memset(ring, 0, RING_N * 16);
	for (unsigned i = 0; i < RING_N; i += 2) {
		store_le64(ring + i * 16, SPLINTERS);
		for (unsigned n = 1; n < 4; n++)
			store_le64(ring + i * 16 + n * 8, BEHIND);
	}
	vu_write32(&b->client, 0, RFCTL, RFCTL_EXTEN);
	vu_write32(&b->client, 0, PSRCTL, N_SPLINTERS / 128 | 1 << 8 | 1 << 16 | 1 << 24);
	vu_write32(&b->client, 0, RDH(0), 0);
	vu_write32(&b->client, 0, RDT(0), RING_N - 2);
	vu_write32(&b->client, 0, RCTL, RCTL_EN | RCTL_SECRC | RCTL_UPE | 1 << 10);
	memset(frame, 0x42, sizeof(frame));
	memcpy(frame, b->driver.mac, 6);
	memcpy(frame + 6, a->driver.mac, 6);
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(e1000_driver_queue(&a->driver, frame, sizeof(frame)), 0);
		e1000_driver_kick(&a->driver);
		while (!e1000_driver_clean(&a->driver))
			serve_both();
		for (unsigned n = 0; n < 10; n++) {
			serve_both();
			usleep(1000);
		}
	}
	assert_int_equal(counter(b, "rx_packets"), 0);
	e1000_driver_done(&b->driver);
	assert_int_equal(e1000_driver_init(&b->driver, &b->client, 0, RING_N, false), 0);
	skip_frames(a, b);
	transfer(a, b, 100);
}

#define test(where, fn)                                                                            \
	{                                                                                          \
#where " " #fn, fn, start_##where, nics_stop, NULL                                 \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(82540em, test_traffic_both_ways),
		test(82574l, test_traffic_both_ways),
		test(mixed, test_traffic_both_ways),
		test(rings, test_traffic_both_ways),
		test(buffers, test_traffic_both_ways),
		test(one, test_one_of_two),
		test(82540em, test_large_segment_arrives_in_parts),
		test(82574l, test_large_segment_arrives_in_parts),
		test(mixed, test_large_segment_arrives_in_parts),
		test(82574l, test_one_descriptor_at_a_time),
		test(82540em, test_one_descriptor_at_a_time),
		test(mixed, test_one_descriptor_at_a_time),
		test(82574l, test_no_descriptor_costs_nothing),
		test(82574l, test_receive_alone),
		test(82540em, test_receive_alone),
		test(82574l, test_order_of_what_the_guest_sees),
		test(82540em, test_order_of_what_the_guest_sees),
		test(82574l, test_order_of_transmit),
		test(82540em, test_order_of_transmit),
		test(82574l, test_tail_moves_during_a_round),
		test(82540em, test_tail_moves_during_a_round),
		test(82574l, test_back_and_forth),
		test(82540em, test_back_and_forth),
		test(82574l, test_reset_in_flight),
		test(82540em, test_reset_in_flight),
		test(82574l, test_unmapped_in_flight),
		test(82574l, test_client_goes_and_another_comes),
		test(82540em, test_client_goes_and_another_comes),
		test(82574l, test_refused),
		test(one, test_never_answered),
		test(82574l, test_master_disable_waits_for_messages),
		test(82574l, test_turned_off_in_flight),
		test(82540em, test_turned_off_in_flight),
		test(82574l, test_filtered_frames_cost_nothing),
		test(rings, test_nothing_but_the_frame_is_written),
		test(splinters, test_more_pieces_than_a_frame_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
