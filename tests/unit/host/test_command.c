/* SPDX-License-Identifier: BSD-2-Clause */
/* exitless cpu, bind and doctor on saved hosts: what they print, and what they refuse. */
#include "host/text.h"
#include "tree.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char *root, *output;

/* Runs it, what it says on either stream goes to @output; its exit status. */
static int run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static int run(const char *fmt, ...)
{
	char *tail, *command;
	size_t room = 0;
	va_list ap;
	FILE *in;

	va_start(ap, fmt);
	tail = host_vprintf(fmt, ap);
	va_end(ap);
	command = host_printf(EXITLESS " %s 2>&1", tail);
	in = popen(command, "r");
	assert_non_null(in);
	free(output);
	output = NULL;
	if (getdelim(&output, &room, '\0', in) < 0) {
		free(output);
		output = host_text_copy("");
	}
	free(command);
	free(tail);
	return WEXITSTATUS(pclose(in));
}

static void says(const char *what)
{
	if (!strstr(output, what))
		fail_msg("\"%s\" is not in:\n%s", what, output);
}

static int teardown(void **state)
{
	tree_free(root);
	root = NULL;
	return 0;
}

static void plans(void **state)
{
	char *map;
	json_t *json;

	root = tree_new("two-sockets");
	assert_int_equal(run("cpu plan --vcpus 4 --device af:00.0 --root %s", root), 0);
	says("# vcpu pcpu\n0 1\n1 17\n2 3\n3 19\n# dedicated 1,3,17,19;");
	says("isolcpus=managed_irq,domain,1,3,17,19 nohz_full=1,3,17,19");
	/* what it prints, it reads */
	map = host_printf("%s/map", root);
	tree_put(root, "/map", output);
	assert_int_equal(run("cpu plan --map %s --root %s --json", map, root), 0);
	json = json_loads(output, 0, NULL);
	assert_non_null(json);
	assert_int_equal(json_array_size(json_object_get(json, "map")), 4);
	assert_string_equal(json_string_value(json_object_get(json, "dedicated")), "1,3,17,19");
	json_decref(json);
	tree_put(root, "/map", "0 1\n1 x\n");
	assert_int_equal(run("cpu plan --map %s --root %s", map, root), 1);
	says("map:2: two numbers are wanted");
	free(map);
	assert_int_equal(run("cpu plan --vcpus 31 --root %s", root), 1);
	says("only 30 can be dedicated");
}

static void plans_for_a_machine(void **state)
{
	root = tree_new("machine");
	assert_int_equal(run("cpu plan 1000 --root %s", root), 0);
	says("0 1\n1 2\n");
	says("interrupt 31, vector 1 of 0000:01:00.0, of vCPU 1");
	says("/sys/fs/cgroup/machine/vm1/exitless-1000: made");
	assert_int_equal(run("cpu show --root %s", root), 0);
	says("CPU  NODE");
	/* one was hot-plugged in a later slot */
	tree_put(root, "/proc/1000/task/1002/comm", "CPU 5/KVM\n");
	assert_int_equal(run("cpu plan 1000 --root %s", root), 0);
	says("\n0 1\n5 2\n");
	assert_int_equal(run("cpu plan 1000 --vcpus 1 --root %s", root), 0);
	says("\n0 1\n#");
	assert_int_equal(run("cpu plan 1000 --vcpus 3 --root %s", root), 1);
	says("1000 has no vCPU 1, only 2 of them");
	assert_int_equal(run("cpu plan 77 --root %s", root), 1);
	says("there is no process 77");
}

/* Whoever boots with them takes nothing from those that have CPUs already. */
static void keeps_what_was_booted_with(void **state)
{
	static const char other[] = "{\"machine\":\"x\",\"pid\":1000,\"start\":%s,\"map\":"
				    "\"0 1\\n\",\"dedicated\":\"1\",\"housekeeping\":\"0\"}\n";
	char *text;

	root = tree_new("one-socket");
	tree_put(root, "/sys/devices/system/cpu/isolated", "4-5\n");
	tree_put(root, "/sys/devices/system/cpu/nohz_full", "5\n");
	tree_put(root, "/proc/cmdline", "isolcpus=4-5 nohz_full=5 rcu_nocbs=3\n");
	tree_put(root, "/proc/1000/stat",
		 "1000 (qemu) S 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 5000 0");
	for (unsigned i = 0; i < 2; i++) {
		text = host_printf(other, i ? "5000" : "4000");
		tree_put(root, "/run/exitless-host/cpu/1000", text);
		free(text);
		assert_int_equal(run("cpu plan --vcpus 1 --root %s", root), 0);
		says("\n0 4\n");
		/* a machine that has ended has none */
		says(i ? "isolcpus=managed_irq,domain,1,4-5 nohz_full=1,4-5 rcu_nocbs=1,3-5 "
			 "irqaffinity=0,2-3\n"
		       : "isolcpus=managed_irq,domain,4-5 nohz_full=4-5 rcu_nocbs=3-5 "
			 "irqaffinity=0-3\n");
	}
}

/* What cannot be read is not nothing. A directory cannot be read as a file, even by root. */
static void says_what_it_cannot_tell(void **state)
{
	json_t *json;

	root = tree_new("two-sockets");
	tree_put(root, "/run/exitless-host/cpu/1000/x", "");
	assert_int_equal(run("cpu plan --vcpus 2 --root %s", root), 1);
	says("which CPUs are taken: /run/exitless-host/cpu/1000: Is a directory");
	assert_int_equal(run("cpu show --root %s", root), 1);
	says("CPU  NODE");
	says("exitless cpu: not all is shown: /run/exitless-host/cpu/1000: Is a directory");
	assert_int_equal(run("cpu show --json --root %s 2>/dev/null #", root), 1);
	json = json_loads(output, 0, NULL);
	assert_non_null(json_object_get(json, "error"));
	json_decref(json);
	/* nor can a file be read as a directory */
	tree_free(root);
	root = tree_new("two-sockets");
	tree_put(root, "/run/exitless-host/cpu", "");
	assert_int_equal(run("cpu plan --vcpus 2 --root %s", root), 1);
	says("/run/exitless-host/cpu: Not a directory");
	assert_int_equal(run("cpu show --root %s", root), 1);
	says("who has CPUs: Not a directory");
}

static void lists_devices(void **state)
{
	root = tree_new("devices");
	assert_int_equal(run("bind --root %s", root), 0);
	says("disk nvme0n1 is in use");
	says("network interface eth2 is up");
	says("shares its group with 0000:03:00.1 (igb)");
	says("no IOMMU group");
}

static void examines(void **state)
{
	json_t *json;

	root = tree_new("doctor-intel");
	assert_int_equal(run("doctor --root %s", root), 0);
	says("Would direct mode help on this host? It has better: ");
	assert_int_equal(run("--json doctor --root %s", root), 0);
	json = json_loads(output, 0, NULL);
	assert_non_null(json);
	assert_true(json_array_size(json_object_get(json, "checks")) > 30);
	json_decref(json);
}

/* As the daemon's commands do: an object "error", besides what is said on standard error. */
static void refusals_as_json(void **state)
{
	static const char *const lines[] = {
		"direct status no-such-machine --json",
		"cpu plan no-such-machine --json",
		"--json cpu undo no-such-machine",
		"--json bind 0000:ff:1f.7",
	};

	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		const char *start;
		json_t *json;

		assert_int_equal(run("%s", lines[i]), 1);
		says("exitless ");
		start = strchr(output, '{');
		json = start ? json_loads(start, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
		if (!json_string_value(json_object_get(json_object_get(json, "error"), "message")))
			fail_msg("\"%s\" says no error:\n%s", lines[i], output);
		json_decref(json);
	}
}

/* What one device lacks does not hide what another does. */
static void all_refusals_as_json(void **state)
{
	const char *start;
	json_t *json, *list;

	if (geteuid())
		skip();
	assert_int_equal(run("--json bind 0000:ff:1f.7 hello 0000:ff:1f.6"), 1);
	start = strchr(output, '{');
	json = start ? json_loads(start, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
	assert_int_equal(json_array_size(json_object_get(json, "bound")), 0);
	list = json_object_get(json_object_get(json, "error"), "data");
	assert_int_equal(json_array_size(list), 3);
	assert_non_null(strstr(json_string_value(json_array_get(list, 0)), "0000:ff:1f.7"));
	assert_non_null(strstr(json_string_value(json_array_get(list, 1)), "hello"));
	assert_non_null(strstr(json_string_value(json_array_get(list, 2)), "0000:ff:1f.6"));
	json_decref(json);
}

/* A process that looks like a machine, by the name of its thread. There is no module that knows
 * it; whether exits can be counted here or not, the answer is one. */
static void one_answer_as_json(void **state)
{
	char name[16] = "";
	json_t *json;
	int status;

	prctl(PR_GET_NAME, name);
	assert_int_equal(prctl(PR_SET_NAME, "CPU 0/KVM"), 0);
	/* standard output alone: the rest of the line is a comment */
	status = run("--json direct off %d --seconds 1 2>/dev/null #", (int)getpid());
	prctl(PR_SET_NAME, name);
	assert_int_equal(status, 1);
	json = json_loads(output, 0, NULL);
	if (!json_object_get(json, "error"))
		fail_msg("no error, or more than that:\n%s", output);
	json_decref(json);
}

static void wrong_words(void **state)
{
	static const char *const lines[] = {
		"cpu",
		"cpu dance",
		"cpu plan",
		"cpu plan --vcpus",
		"cpu plan --vcpus 0",
		"cpu plan --vcpus 2 --node x",
		"cpu plan --vcpus 2 --cpus x",
		"cpu plan --vcpus 2 --cpus=",
		"cpu plan --vcpus 2 --cpus ''",
		"cpu plan no-such-machine --node x",
		"cpu apply no-such-machine --vcpus 0",
		"cpu plan a b",
		"cpu plan --color",
		"cpu apply",
		"cpu apply vm --root /tmp",
		"cpu undo",
		"cpu undo vm --all",
		"cpu show vm",
		"cpu plan --vcpus 4 --map /dev/null",
		"cpu apply vm --vcpus 4 --map /dev/null",
		"cpu plan --vcpus 4 --node 0 --device 00:00.0",
		"cpu plan --vcpus 4 --qmp /tmp/qmp",
		"cpu plan --vcpus 4 --gone",
		"cpu plan --vcpus 4 --all",
		"cpu plan --vcpus 4 --no-watch",
		"cpu apply vm --gone",
		"cpu apply vm --all",
		"cpu undo vm --map /dev/null",
		"cpu undo vm --vcpus 2",
		"cpu undo vm --node 0",
		"cpu undo vm --device 00:00.0",
		"cpu undo vm --cpus 2",
		"cpu undo vm --qmp /tmp/qmp",
		"cpu undo vm --no-watch",
		"cpu undo --gone --root /tmp",
		"cpu show --map /dev/null",
		"cpu show --vcpus 2",
		"cpu show --node 0",
		"cpu show --device 00:00.0",
		"cpu show --cpus 2",
		"cpu show --qmp /tmp/qmp",
		"cpu show --no-watch",
		"cpu show --gone",
		"cpu show --all",
		"bind --undo",
		"bind --all",
		"bind --force",
		"bind --undo --all=1",
		"bind 0000:00:00.0 --root /tmp",
		"doctor now",
		"direct",
		"direct on",
		"direct maybe vm",
		"direct off vm --timer",
		"direct on vm --vcpu -1",
	};

	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		int status = run("%s", lines[i]);

		if (status != 2)
			fail_msg("\"%s\": status %d\n%s", lines[i], status, output);
		says("usage: exitless ");
	}
	assert_int_equal(run("cpu plan --vcpus 2 --cpus 5000"), 2);
	says("CPU numbers end at 1023");
}

/* Asked for anywhere, it is no mistake. */
static void helps(void **state)
{
	static const char *const lines[] = { "cpu --help", "cpu plan --help", "cpu plan vm -h",
					     "cpu undo --all --help", "help cpu" };

	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		assert_int_equal(run("%s", lines[i]), 0);
		says("usage: exitless cpu plan|apply|undo|show");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(plans, teardown),
		cmocka_unit_test_teardown(plans_for_a_machine, teardown),
		cmocka_unit_test_teardown(keeps_what_was_booted_with, teardown),
		cmocka_unit_test_teardown(says_what_it_cannot_tell, teardown),
		cmocka_unit_test_teardown(lists_devices, teardown),
		cmocka_unit_test_teardown(examines, teardown),
		cmocka_unit_test_teardown(refusals_as_json, teardown),
		cmocka_unit_test_teardown(all_refusals_as_json, teardown),
		cmocka_unit_test_teardown(one_answer_as_json, teardown),
		cmocka_unit_test_teardown(wrong_words, teardown),
		cmocka_unit_test_teardown(helps, teardown),
	};

	return cmocka_run_group_tests_name("host/command", tests, NULL, NULL);
}
