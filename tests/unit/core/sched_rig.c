/* SPDX-License-Identifier: BSD-2-Clause */
#include "sched_rig.h"

#include "base/rcu.h"
#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

uint64_t fake_now_ns;

static uint64_t fake_clock(void)
{
	return fake_now_ns;
}

struct fake *order[4096];
unsigned n_order;

void fake_poll(struct io_queue *queue, struct io_turn *turn, struct io_work *work)
{
	struct fake *fake = container_of(queue, struct fake, q);
	uint64_t n = MIN(fake->waiting, (uint64_t)turn->budget_packets);

	if (fake->bytes)
		n = MIN(n, MAX(turn->budget_bytes / fake->bytes, 1ull));
	fake_now_ns += n * fake->spin_ns;
	if (fake->waiting != UINT64_MAX)
		fake->waiting -= n;
	fake->taken += n;
	fake->polls++;
	fake->largest_poll = MAX(fake->largest_poll, (unsigned)n);
	if (fake->drops) {
		work->spent = n > 0;
		return;
	}
	work->packets = (unsigned)n;
	work->bytes = n * fake->bytes;
	work->more = fake->waiting > 0;
	if (n && n_order < ARRAY_SIZE(order))
		order[n_order++] = fake;
}

bool fake_pending(struct io_queue *queue)
{
	return container_of(queue, struct fake, q)->waiting > 0;
}

static bool fake_notify(struct io_queue *queue, bool on)
{
	struct fake *fake = container_of(queue, struct fake, q);

	fake->notified = on;
	return on && fake->waiting;
}

const struct io_queue_ops doorbell_ops = { .poll = fake_poll, .pending = fake_pending };
const struct io_queue_ops notify_ops = { fake_poll, fake_pending, fake_notify };

struct io_core *core;

int sched_rig_start(void **state)
{
	struct io_core_params params = { .cpu = -1, .turn_packets = 16, .quantum_ns = 100000 };

	n_order = 0;
	core = io_core_new_unstarted("io0", &params);
	if (!core)
		return -1;
	fake_now_ns = core->last_now_ns;
	core->now_ns = fake_clock;
	rcu_reader_register();
	return 0;
}

int sched_rig_stop(void **state)
{
	io_core_free(core);
	rcu_reader_unregister();
	return 0;
}

void fake_add(struct fake *fake, const struct io_queue_ops *ops, struct io_group *group)
{
	fake->q.ops = ops;
	fake->q.name = "q";
	fake->q.group = group;
	fake->q.wake_fd = -1;
	assert_int_equal(io_queue_add(core, &fake->q), 0);
}

void turns(unsigned n)
{
	while (n--) {
		fake_now_ns += 100;
		io_core_turn(core, false);
	}
}
