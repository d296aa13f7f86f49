/* SPDX-License-Identifier: BSD-2-Clause */
#include "manager/balance.h"

#include "base/clock.h"
#include "base/util.h"
#include "fakes.h"
#include "manager/manager.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N(a) (sizeof(a) / sizeof((a)[0]))

static struct balance_choice choice;

static bool choose(const struct balance_core *cores, unsigned n_cores,
		   const struct balance_endpoint *ends, unsigned n_ends)
{
	return balance_choose(cores, n_cores, ends, n_ends, 800, 100, &choice);
}

static void full_core_gives(void **state)
{
	const struct balance_core cores[] = { { 100 }, { 950 }, { 50 } };
	const struct balance_endpoint ends[] = {
		{ 0, 100 }, { 1, 50 }, { 1, 400 }, { 1, 500 }, { 2, 50 },
	};

	assert_true(choose(cores, N(cores), ends, N(ends)));
	assert_int_equal(choice.endpoint, 2); /* 550 left is as good as 550 there: the first */
	assert_int_equal(choice.from, 1);
	assert_int_equal(choice.to, 2);
	assert_int_equal(choice.gain, 400);
}

static void not_full_keeps(void **state)
{
	const struct balance_core cores[] = { { 790 }, { 0 } };
	const struct balance_endpoint ends[] = { { 0, 400 }, { 0, 390 } };

	assert_false(choose(cores, N(cores), ends, N(ends)));
}

static void no_gain_no_move(void **state)
{
	/* moving all the load only moves the problem */
	const struct balance_core alone[] = { { 1000 }, { 0 } };
	const struct balance_endpoint one[] = { { 0, 1000 } };
	/* a little is not worth it */
	const struct balance_core both[] = { { 1000 }, { 900 } };
	const struct balance_endpoint small[] = { { 0, 50 }, { 0, 950 }, { 1, 900 } };

	assert_false(choose(alone, N(alone), one, N(one)));
	assert_false(choose(both, N(both), small, N(small)));
}

static void pinned_stay(void **state)
{
	const struct balance_core cores[] = { { 1000 }, { 0 } };
	const struct balance_endpoint ends[] = { { 0, 500, true }, { 0, 200 }, { 0, 300, true } };

	assert_true(choose(cores, N(cores), ends, N(ends)));
	assert_int_equal(choice.endpoint, 1);
	assert_int_equal(choice.gain, 200);
}

static void few_cores(void **state)
{
	const struct balance_core cores[] = { { 1000 } };
	const struct balance_endpoint ends[] = { { 0, 500 } };

	assert_false(choose(cores, 1, ends, 1));
	assert_false(choose(cores, 0, ends, 0));
}

static void equal_cores(void **state)
{
	const struct balance_core cores[] = { { 1000 }, { 1000 } };
	const struct balance_endpoint ends[] = { { 0, 500 }, { 1, 500 } };

	assert_false(choose(cores, N(cores), ends, N(ends)));
}

/* ---- by the manager ---------------------------------------------------------------------- */

struct fixture {
	struct loop *loop;
	struct manager *m;
	char directory[64];
};

/* Two cores with two NICs each, net0 and net2 on the first; these always have work. */
static int start(struct fixture *f, const char *core)
{
	struct core_spec cores[] = { { .name = "io0", .params.cpu = -1 },
				     { .name = "io1", .params.cpu = -1 } };
	struct switch_spec sw = { .name = "lan" };
	struct machine_spec machine = { .name = "vm1" };
	struct why why;
	int err;

	fakes = (struct fakes){ .busy = "vm1/net0 vm1/net2" };
	f->loop = loop_new();
	strcpy(f->directory, "/tmp/exitless-test-XXXXXX");
	if (!f->loop || !mkdtemp(f->directory))
		return -1;
	f->m = manager_new(f->loop, f->directory);
	err = manager_core_add(f->m, &cores[0], &why) || manager_core_add(f->m, &cores[1], &why) ||
	      manager_switch_add(f->m, &sw, &why) || manager_machine_add(f->m, &machine, &why);
	for (unsigned i = 0; !err && i < 4; i++) {
		struct device_spec nic = { .kind = "nic", .link_up = true, .plug.sw = "lan" };

		snprintf(nic.name, sizeof(nic.name), "net%u", i);
		snprintf(nic.core, sizeof(nic.core), "%s", core[0] ? cores[i % 2].name : "");
		err = manager_device_add(f->m, "vm1", &nic, &why);
	}
	return err;
}

static void finish(struct fixture *f)
{
	manager_free(f->m);
	loop_free(f->loop);
	remove(f->directory);
}

/* The cores of net0 to net3, as digits. */
static void add_core(void *arg, const struct device_info *info)
{
	strcat(arg, info->end.core + 2);
}

static const char *cores_of_all(struct fixture *f)
{
	static char cores[8];

	cores[0] = '\0';
	manager_each_device(f->m, "vm1", add_core, cores);
	return cores;
}

static struct balance_stats balanced(struct fixture *f, enum balance_mode mode, unsigned rounds)
{
	const struct balance_spec spec = { .mode = mode,
					   .interval_ns = 10 * NS_PER_MS,
					   .high_percent = 50,
					   .gain_percent = 1,
					   .hold_ns = 3600 * NS_PER_S };
	struct balance_stats before, now;

	manager_balance_stats(f->m, &before);
	manager_balance_set(f->m, &spec);
	do {
		assert_int_equal(loop_once(f->loop, -1), 0);
		manager_balance_stats(f->m, &now);
	} while (!now.moves && !now.dry_moves && now.rounds < before.rounds + rounds);
	return now;
}

static void busy_device_moves(void **state)
{
	struct balance_stats stats;
	struct fixture f;

	assert_int_equal(start(&f, ""), 0);
	assert_string_equal(cores_of_all(&f), "0101");
	stats = balanced(&f, BALANCE_DRY_RUN, 1000);
	assert_int_equal(stats.dry_moves, 1);
	assert_true(!strncmp(stats.last, "vm1/net0 from io0 to io1, ", 26) ||
		    !strncmp(stats.last, "vm1/net2 from io0 to io1, ", 26));
	assert_string_equal(cores_of_all(&f), "0101");
	finish(&f);

	assert_int_equal(start(&f, ""), 0);
	stats = balanced(&f, BALANCE_ON, 1000);
	assert_int_equal(stats.moves, 1);
	assert_int_equal(stats.dry_moves, 0);
	assert_string_equal(cores_of_all(&f), stats.last[7] == '0' ? "1101" : "0111");
	finish(&f);
}

/* Named in the configuration it stays where it is, however full that core is. */
static void named_core_is_kept(void **state)
{
	struct balance_stats stats;
	struct fixture f;

	assert_int_equal(start(&f, "io"), 0);
	stats = balanced(&f, BALANCE_ON, 20);
	assert_int_equal(stats.rounds, 20);
	assert_int_equal(stats.wishes + stats.moves, 0);
	assert_string_equal(cores_of_all(&f), "0101");
	finish(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_core_gives),   cmocka_unit_test(not_full_keeps),
		cmocka_unit_test(no_gain_no_move),   cmocka_unit_test(pinned_stay),
		cmocka_unit_test(few_cores),	     cmocka_unit_test(equal_cores),
		cmocka_unit_test(busy_device_moves), cmocka_unit_test(named_core_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
