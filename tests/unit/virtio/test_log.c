/* SPDX-License-Identifier: BSD-2-Clause */
/* The dirty log of what a device writes. */
#include "base/util.h"
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static struct rig rig;

static void logs_writes(void **state)
{
	for (unsigned k = 0; k < 2; k++) {
		uint64_t features = k ? PACKED : 0;
		int log = memfd_create("log", MFD_CLOEXEC);
		uint64_t page;
		uint8_t *bits;

		assert_int_equal(ftruncate(log, 4096), 0);
		bits = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, log, 0);
		assert_int_equal(rig_init(&rig, features, 8, 4096), 0);
		assert_int_equal(memory_space_log(rig.space, log, 0, 4096), 0);
		assert_int_equal(rig_start(&rig, rig_base(features)), 0);
		virtqueue_log(&rig.vq, true, true);
		/* from the end of one page to the next but one, of which 5000 bytes are written */
		assert_int_equal(vdrv_add(&rig.drv,
					  &(struct vdrv_buf){ RIG_DATA + 4000, 9000, true }, 1,
					  &rig, false),
				 0);
		vdrv_publish(&rig.drv);
		assert_int_equal(rig_take(&rig, 1), 1);
		virtqueue_give(&rig.vq, &rig.chains[0], 5000);
		virtqueue_publish(&rig.vq);
		page = RIG_DATA / 4096;
		assert_int_equal(bits[page / 8] & 7, 7);
		page = (k ? rig.drv.desc_addr : rig.drv.used_addr) / 4096;
		assert_true(bits[page / 8] & 1 << page % 8);
		page = rig.drv.avail_addr / 4096;
		assert_false(bits[page / 8] & 1 << page % 8);
		rig_done(&rig);
		munmap(bits, 4096);
		close(log);
	}
}

/* What was written and a status at the very end, whatever else the driver gave room for. */
static void logs_no_more(void **state)
{
	static const struct {
		uint32_t len;
		unsigned pages;
	} gives[] = { { 1, 2 }, { 4096, 2 }, { 4097, 3 }, { 4 * 4096 + 1, 6 }, { UINT32_MAX, 8 } };
	const unsigned first = RIG_DATA / 4096;
	int log = memfd_create("log", MFD_CLOEXEC);
	uint8_t *bits;

	assert_int_equal(ftruncate(log, 4096), 0);
	bits = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, log, 0);
	for (unsigned k = 0; k < ARRAY_SIZE(gives); k++) {
		struct vdrv_buf bufs[] = { { RIG_DATA, 4 * 4096, true },
					   { RIG_DATA + 8 * 4096, 4 * 4096, true } };
		unsigned pages = 0;

		assert_int_equal(rig_init(&rig, 0, 8, 0), 0);
		assert_int_equal(memory_space_log(rig.space, log, 0, 4096), 0);
		assert_int_equal(rig_start(&rig, 0), 0);
		virtqueue_log(&rig.vq, true, false);
		assert_int_equal(vdrv_add(&rig.drv, bufs, 2, &rig, false), 0);
		vdrv_publish(&rig.drv);
		assert_int_equal(rig_take(&rig, 1), 1);
		memset(bits, 0, 4096);
		virtqueue_give(&rig.vq, &rig.chains[0], gives[k].len);
		virtqueue_publish(&rig.vq);
		for (unsigned i = 0; i < 4096; i++)
			pages += (unsigned)__builtin_popcount(bits[i]);
		assert_int_equal(pages, gives[k].pages);
		assert_true(bits[first / 8] & 1);
		assert_true(bits[first / 8 + 1] & 8);
		rig_done(&rig);
	}
	munmap(bits, 4096);
	close(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(logs_writes),
		cmocka_unit_test(logs_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
