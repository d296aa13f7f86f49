/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * No kick and no interrupt is lost: a driver that comes in between any two accesses of the device
 * to the ring, as the one is about to wait for the other (sections 2.7.7, 2.7.10 and 2.8.10).
 */
#include "base/util.h"
#include "rig.h"
#include "stepped.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NUM 8

static struct rig rig;
static bool device_goes_on, driver_kicks, device_notifies, driver_got;

/* ---- the driver -------------------------------------------------------------------------- */

static void driver_adds(void)
{
	struct vdrv_buf buf = { RIG_DATA, 100, false };

	assert_int_equal(vdrv_add(&rig.drv, &buf, 1, &rig, false), 0);
	driver_kicks = vdrv_publish(&rig.drv);
}

/* About to wait for an interrupt: asks for one, then looks once more. */
static void driver_waits(void)
{
	uint32_t len;

	vdrv_notifications(&rig.drv, true);
	driver_got = vdrv_get(&rig.drv, &len) != NULL;
}

/* ---- the device -------------------------------------------------------------------------- */

static void device_waits(void)
{
	device_goes_on = virtqueue_kicks(&rig.vq, true);
}

static void device_takes(void)
{
	assert_int_equal(rig_take(&rig, NUM), 1);
}

static void device_gives(void)
{
	virtqueue_give(&rig.vq, &rig.chains[0], 0);
	device_notifies = virtqueue_publish(&rig.vq);
}

/* ------------------------------------------------------------------------------------------ */

static bool stepped(unsigned n, void (*fn)(void), void (*turn)(void))
{
	uintptr_t parts[] = { (uintptr_t)rig.vq.desc, (uintptr_t)rig.vq.avail_ring,
			      (uintptr_t)rig.vq.used_ring };
	uintptr_t first = parts[0], last = parts[0];

	for (unsigned i = 1; i < ARRAY_SIZE(parts); i++) {
		first = MIN(first, parts[i]);
		last = MAX(last, parts[i]);
	}
	return stepped_run((void *)first, last - first + 16 * NUM, n, fn, turn);
}

/* A ring in use, so that its indices are anywhere, with nothing in it. */
static void start(uint64_t features, unsigned rounds)
{
	uint32_t len;

	assert_int_equal(rig_init(&rig, features, NUM, 0), 0);
	assert_int_equal(rig_start(&rig, rig_base(features)), 0);
	while (rounds--) {
		driver_adds();
		device_takes();
		device_gives();
		assert_non_null(vdrv_get(&rig.drv, &len));
	}
	assert_true(virtqueue_begin(&rig.vq));
}

static void no_kick_is_lost(uint64_t features, unsigned rounds)
{
	unsigned n = 0;
	bool again;

	do {
		start(features, rounds);
		virtqueue_kicks(&rig.vq, false);
		again = stepped(++n, device_waits, driver_adds);
		if (!again)
			driver_adds();
		assert_true(device_goes_on || driver_kicks);
		device_takes();
		rig_done(&rig);
	} while (again);
	/* off, on, look: one access each at the least */
	assert_in_range(n, 3, 100);
}

static void no_interrupt_is_lost(uint64_t features, unsigned rounds)
{
	unsigned n = 0;
	uint32_t len;
	bool again;

	do {
		start(features, rounds);
		vdrv_notifications(&rig.drv, false);
		driver_adds();
		device_takes();
		again = stepped(++n, device_gives, driver_waits);
		if (!again)
			driver_waits();
		assert_true(device_notifies || driver_got);
		assert_true(driver_got || vdrv_get(&rig.drv, &len));
		rig_done(&rig);
	} while (again);
	assert_in_range(n, 3, 100);
}

static void every_kind(void **state)
{
	static const uint64_t kinds[] = { 0, EVENT_IDX, PACKED, PACKED | EVENT_IDX };

	if (!stepped_possible())
		skip();
	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		for (unsigned rounds = 0; rounds < 2 * NUM + 2; rounds++) {
			no_kick_is_lost(kinds[k], rounds);
			no_interrupt_is_lost(kinds[k], rounds);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
