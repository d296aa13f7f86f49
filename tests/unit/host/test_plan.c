/* SPDX-License-Identifier: BSD-2-Clause */
/* host/plan.c: which CPUs a machine gets, on hosts of several kinds. */
#include "host/plan.h"

#include "tree.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct host_error error;

static struct topology *read_tree(const char *name)
{
	char *root = tree_new(name);
	struct topology *t;
	struct host host;

	host_init(&host, root);
	t = topology_read(&host, &error);
	assert_non_null(t);
	tree_free(root);
	return t;
}

/* The CPUs of vCPU 0, 1, ... and all that are dedicated. */
static void expect(const struct plan *plan, const char *pins, const char *dedicated)
{
	char text[256] = "", *list = cpus_list(&plan->dedicated);

	for (unsigned i = 0; i < plan->map.n; i++) {
		assert_int_equal(plan->map.pin[i].vcpu, i);
		sprintf(text + strlen(text), "%s%u", i ? " " : "", plan->map.pin[i].pcpu);
	}
	assert_string_equal(text, pins);
	assert_string_equal(list, dedicated);
	free(list);
}

static bool noted(const struct plan *plan, const char *what)
{
	for (unsigned i = 0; i < plan->notes.n; i++)
		if (strstr(plan->notes.name[i], what))
			return true;
	return false;
}

static struct cpus set(const char *list)
{
	struct cpus cpus;

	assert_int_equal(cpus_parse_list(&cpus, list), 0);
	return cpus;
}

static void one_socket(void **state)
{
	struct topology *t = read_tree("one-socket");
	struct plan_request r = { .n_vcpus = 2, .node = -1 };
	struct plan plan;
	char *list;

	assert_false(t->smt);
	assert_false(t->hybrid);
	/* those isolated at boot first, nothing else to be done */
	assert_int_equal(plan_make(t, &r, &plan, &error), 0);
	expect(&plan, "2 3", "2-3");
	assert_true(cpus_empty(&plan.at_run_time));
	list = cpus_list(&plan.housekeeping);
	assert_string_equal(list, "0-1");
	free(list);
	assert_false(noted(&plan, "nohz_full"));
	plan_done(&plan);
	/* then others */
	r.n_vcpus = 5;
	assert_int_equal(plan_make(t, &r, &plan, &error), 0);
	expect(&plan, "2 3 4 5 1", "1-5");
	list = cpus_list(&plan.at_run_time);
	assert_string_equal(list, "1");
	free(list);
	assert_true(noted(&plan, "CPU 1 was not booted with nohz_full"));
	plan_done(&plan);
	r.n_vcpus = 6;
	assert_int_equal(plan_make(t, &r, &plan, &error), -ENOSPC);
	/* another machine's */
	r.n_vcpus = 2;
	r.taken = set("2,4");
	assert_int_equal(plan_make(t, &r, &plan, &error), 0);
	expect(&plan, "3 5", "3,5");
	plan_done(&plan);
	topology_free(t);
}

static void two_sockets(void **state)
{
	struct topology *t = read_tree("two-sockets");
	struct plan_request r = { .n_vcpus = 4, .node = 1 };
	struct plan plan;

	assert_true(t->smt);
	assert_int_equal(t->distance[0][1], 21);
	assert_int_equal(t->cpu[17].node, 1);
	/* the device's node, whole cores */
	assert_int_equal(plan_make(t, &r, &plan, &error), 0);
	expect(&plan, "1 17 3 19", "1,3,17,19");
	assert_false(noted(&plan, "NUMA"));
	plan_done(&plan);
	/* one thread stays empty rather than somebody else's */
	r.n_vcpus = 3;
	assert_int_equal(plan_make(t, &r, &plan, &error), 0);
	expect(&plan, "1 17 3", "1,3,17,19");
	assert_true(noted(&plan, "CPU 19 stays empty"));
	plan_done(&plan);
	/* more than the node has */
	r.n_vcpus = 18;
	assert_int_equal(plan_make(t, &r, &plan, &error), 0);
	assert_true(noted(&plan, "NUMA node 1"));
	assert_false(cpus_has(&plan.dedicated, 0));
	assert_false(cpus_has(&plan.dedicated, 16));
	plan_done(&plan);
	r.n_vcpus = 31;
	assert_int_equal(plan_make(t, &r, &plan, &error), -ENOSPC);
	r.n_vcpus = 2;
	r.node = 0;
	assert_int_equal(plan_make(t, &r, &plan, &error), 0);
	expect(&plan, "2 18", "2,18");
	plan_done(&plan);
	r.node = 2;
	assert_int_equal(plan_make(t, &r, &plan, &error), -EINVAL);
	/* only among these, and only whole cores of them */
	r.node = 1;
	r.allowed = set("5,21,7,8-9,24");
	assert_int_equal(plan_make(t, &r, &plan, &error), 0);
	expect(&plan, "5 21", "5,21");
	plan_done(&plan);
	topology_free(t);
}

static void smt(void **state)
{
	struct topology *t = read_tree("smt");
	struct plan_request r = { .n_vcpus = 8, .node = -1 };
	struct plan plan;

	assert_int_equal(t->cpu[21].llc, 4);
	/* around one cache, and not the one whose first core is the host's */
	assert_int_equal(plan_make(t, &r, &plan, &error), 0);
	expect(&plan, "4 20 5 21 6 22 7 23", "4-7,20-23");
	assert_true(noted(&plan, "nohz_full="));
	assert_false(noted(&plan, "rcu_nocbs"));
	plan_done(&plan);
	topology_free(t);
}

/* Hosts as they are in the world. */
static void real_server(void **state)
{
	struct topology *t = read_tree("2x-xeon-4108");
	struct plan_request r = { .n_vcpus = 6, .node = 1 };
	struct plan plan;

	assert_int_equal(cpus_count(&t->online), 32);
	assert_false(t->hybrid);
	assert_int_equal(t->cpu[24].package, 1);
	assert_int_equal(t->cpu[24].llc, 8);
	assert_int_equal(plan_make(t, &r, &plan, &error), 0);
	expect(&plan, "8 24 9 25 10 26", "8-10,24-26");
	plan_done(&plan);
	/* the first core of the other node is the host's */
	r.node = 0;
	r.n_vcpus = 2;
	assert_int_equal(plan_make(t, &r, &plan, &error), 0);
	expect(&plan, "1 17", "1,17");
	plan_done(&plan);
	topology_free(t);
}

/* Kinds by the counters that each has. */
static void hybrid(void **state)
{
	struct topology *t = read_tree("hybrid");

	assert_true(t->hybrid);
	assert_int_equal(t->cpu[15].kind, CPU_FAST);
	assert_int_equal(t->cpu[16].kind, CPU_SLOW);
	topology_free(t);
}

/* Kinds by frequencies. */
static void real_hybrid(void **state)
{
	struct topology *t = read_tree("core-i7-1370p");
	struct plan_request r = { .n_vcpus = 4, .node = -1 };
	struct plan plan;

	assert_true(t->hybrid);
	assert_int_equal(t->cpu[11].kind, CPU_FAST);
	assert_int_equal(t->cpu[12].kind, CPU_SLOW);
	assert_int_equal(plan_make(t, &r, &plan, &error), 0);
	expect(&plan, "2 3 4 5", "2-5");
	plan_done(&plan);
	r.n_vcpus = 12;
	assert_int_equal(plan_make(t, &r, &plan, &error), 0);
	assert_int_equal(plan.map.pin[10].pcpu, 12);
	assert_true(noted(&plan, "mixed"));
	plan_done(&plan);
	topology_free(t);
}

static void maps(void **state)
{
	struct topology *t = read_tree("two-sockets");
	static struct cpu_map map;
	struct plan_request r = { .map = &map, .node = 1 };
	struct plan plan;

	/* the siblings come along, with a word on what is not as it should be */
	assert_int_equal(cpu_map_parse(&map, "m", "0 3\n1 4\n", NULL), 0);
	assert_int_equal(plan_make(t, &r, &plan, &error), 0);
	expect(&plan, "3 4", "3-4,19-20");
	assert_true(noted(&plan, "CPU 4 is not on the device's NUMA node"));
	assert_true(noted(&plan, "CPU 19-20 stays empty"));
	plan_done(&plan);
	/* the sibling of the first CPU can be had, but is not given as a core */
	assert_int_equal(cpu_map_parse(&map, "m", "0 16\n", NULL), 0);
	assert_int_equal(plan_make(t, &r, &plan, &error), 0);
	expect(&plan, "16", "16");
	assert_true(noted(&plan, "shares a core with the host"));
	plan_done(&plan);
	assert_int_equal(cpu_map_parse(&map, "m", "0 0\n", NULL), 0);
	assert_int_equal(plan_make(t, &r, &plan, &error), -EINVAL);
	assert_int_equal(cpu_map_parse(&map, "m", "0 32\n", NULL), 0);
	assert_int_equal(plan_make(t, &r, &plan, &error), -EINVAL);
	assert_non_null(strstr(error.text, "CPU 32 is not online"));
	r.taken = set("3,19");
	assert_int_equal(cpu_map_parse(&map, "m", "0 3\n", NULL), 0);
	assert_int_equal(plan_make(t, &r, &plan, &error), -EBUSY);
	topology_free(t);
}

/* Those that are there keep their numbers. */
static void holes(void **state)
{
	struct topology *t = read_tree("two-sockets");
	static const unsigned vcpus[] = { 0, 5, 6 };
	struct plan_request r = { .n_vcpus = 3, .vcpus = vcpus, .node = 1 };
	struct plan plan;
	char *text;

	assert_int_equal(plan_make(t, &r, &plan, &error), 0);
	text = cpu_map_print(&plan.map);
	assert_string_equal(text, "0 1\n5 17\n6 3\n");
	free(text);
	plan_done(&plan);
	topology_free(t);
}

static void no_host(void **state)
{
	char *root = tree_new("one-socket");
	struct topology *t;
	struct host host;

	host_init(&host, "/nowhere");
	assert_null(topology_read(&host, &error));
	assert_non_null(strstr(error.text, "/nowhere"));
	host_init(&host, root);
	tree_put(root, "/sys/devices/system/cpu/online", "0-1023\n");
	t = topology_read(&host, &error);
	assert_non_null(t);
	topology_free(t);
	tree_put(root, "/sys/devices/system/cpu/online", "0-1024\n");
	assert_null(topology_read(&host, &error));
	assert_non_null(strstr(error.text, "no more than 1024 CPUs"));
	tree_free(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_socket),  cmocka_unit_test(two_sockets),
		cmocka_unit_test(smt),	       cmocka_unit_test(real_server),
		cmocka_unit_test(real_hybrid), cmocka_unit_test(hybrid),
		cmocka_unit_test(maps),	       cmocka_unit_test(no_host),
		cmocka_unit_test(holes),
	};

	return cmocka_run_group_tests_name("host/plan", tests, NULL, NULL);
}
