/* SPDX-License-Identifier: BSD-2-Clause */
/* host/direct.c, exits.c: the module's and the tracepoints' texts; a command that fails. */
#include "host/direct.h"

#include "host/exits.h"
#include "tree.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char shown[] =
	"exitless_kvm abi=1 hardware=SVM\n"
	"vcpu pid=1000 index=0 cpu=2 on=1 timer=1 why=direct handed_back=7 entries_direct=90 "
	"entries_injecting=10 vector_0xfb=7\n"
	"route pid=1000 index=0 irq=30 host=0x22 guest=0x25\n"
	"vcpu pid=1000 index=1 cpu=3 on=1 timer=0 why=foreign-interrupt entries_direct=0\n"
	"foreign pid=1000 index=1 irq=24 count=1\n"
	"something new=1\n";

static long long number(const json_t *object, const char *key)
{
	json_t *n = json_object_get(object, key);

	assert_non_null(n);
	return json_integer_value(n);
}

static void reads_the_module(void **state)
{
	json_t *all = direct_parse(shown);
	const json_t *vcpu = direct_vcpu(all, 1000, 0), *route;

	assert_int_equal(number(json_object_get(all, "module"), "abi"), 1);
	assert_int_equal(number(vcpu, "cpu"), 2);
	assert_string_equal(json_string_value(json_object_get(vcpu, "why")), "direct");
	assert_int_equal(number(json_object_get(vcpu, "entries"), "direct"), 90);
	assert_int_equal(number(json_object_get(vcpu, "vectors"), "0xfb"), 7);
	route = json_array_get(json_object_get(all, "route"), 0);
	assert_int_equal(number(route, "host"), 0x22);
	assert_non_null(direct_vcpu(all, 1000, 1));
	assert_null(direct_vcpu(all, 1000, 2));
	assert_null(direct_vcpu(all, 1, 0));
	assert_int_equal(json_array_size(json_object_get(all, "foreign")), 1);
	json_decref(all);
	all = direct_parse("");
	assert_int_equal(json_array_size(json_object_get(all, "vcpu")), 0);
	json_decref(all);
	assert_true(direct_why_lasts("foreign-interrupt"));
	assert_false(direct_why_lasts("injecting"));
	assert_string_equal(direct_why("a-word-of-tomorrow"), "a-word-of-tomorrow");
}

/* Each word of the module's is known here. */
static void knows_every_word(void **state)
{
	char *text, *at;
	struct host tree = { .root = SOURCE };
	unsigned n = 0;

	text = host_read(&tree, "/kernel/host/main.c");
	assert_non_null(text);
	at = strstr(text, "whys[EX_WHYS] = {");
	assert_non_null(at);
	*strstr(at, "};") = '\0';
	while ((at = strstr(at, "] = \""))) {
		char *word = at + 5;

		at = strchr(word, '"');
		*at++ = '\0';
		if (strcmp(word, "direct") && !strcmp(direct_why(word), word))
			fail_msg("\"%s\" has no meaning", word);
		n++;
	}
	assert_in_range(n, 10, 100);
	free(text);
}

static int answer;
static char written[128];

static int module_write(struct host *host, const char *path, const char *text)
{
	assert_string_equal(path, "/dev/exitless_kvm");
	snprintf(written, sizeof(written), "%s", text);
	return answer;
}

static void switches(void **state)
{
	struct host_ops ops = { .write = module_write };
	struct host host = { .root = "", .ops = &ops };
	struct direct_wish wish = { .pid = 7, .vcpu = 1, .cpu = 3, .timer = true };
	struct host_error error = { "" };

	answer = 0;
	assert_int_equal(direct_on(&host, &wish, &error), 0);
	assert_string_equal(written, "on pid=7 vcpu=1 cpu=3 timer=1");
	wish.ipi = true;
	assert_int_equal(direct_on(&host, &wish, &error), 0);
	assert_string_equal(written, "on pid=7 vcpu=1 cpu=3 timer=1 ipi=1");
	assert_int_equal(direct_off(&host, 7, -1, &error), 0);
	assert_string_equal(written, "off pid=7");
	assert_int_equal(direct_off(&host, 7, 1, &error), 0);
	assert_string_equal(written, "off pid=7 vcpu=1");
	answer = -ETIME;
	assert_int_equal(direct_on(&host, &wish, &error), -ETIME);
	assert_non_null(strstr(error.text, "vCPU 1 on CPU 3: the vCPU did not enter"));
	answer = -ENOENT;
	assert_int_equal(direct_off(&host, 7, 1, &error), -ENOENT);
	assert_non_null(strstr(error.text, "not in direct mode"));
}

static void counts_exits(void **state)
{
	static const char exits[] =
		"# event histogram\n#\n\n"
		"{ common_pid:        101, isa:          2, exit_reason:        124 } hitcount:   "
		"      50\n"
		"{ common_pid:        101, isa:          2, exit_reason:         96 } hitcount:   "
		"       7\n"
		"{ common_pid:        102, isa:          1, exit_reason:         32 } hitcount:   "
		"       5\n"
		"{ common_pid:        102, isa:          1, exit_reason:        999 } hitcount:   "
		"       1\n"
		"{ common_pid:        102, isa:          2, exit_reason:         78 } hitcount:   "
		"       3\n"
		"\nTotals:\n    Hits: 66\n";
	static const char msrs[] =
		"{ common_pid:        101, write:          1, ecx:       2059 } hitcount:         "
		"20\n"
		"{ common_pid:        101, write:          0, ecx:       2105 } hitcount:         "
		"10\n"
		"{ common_pid:        101, write:          1, ecx:         27 } hitcount:          "
		"4\n"
		"{ common_pid:        102, write:          1, ecx:       1760 } hitcount:          "
		"9\n"
		"{ common_pid:        103, write:          1, ecx:       1760 } hitcount:          "
		"9\n";
	json_t *counts = exits_parse(exits, msrs), *one = json_object_get(counts, "101");

	assert_int_equal(number(one, "interrupt"), 7);
	assert_int_equal(number(one, "eoi-write"), 20);
	assert_int_equal(number(one, "timer-now-read"), 10);
	assert_int_equal(number(one, "msr"), 20);
	one = json_object_get(counts, "102");
	/* more accesses than exits: not all were counted */
	assert_int_equal(number(one, "tsc-deadline-write"), 5);
	assert_null(json_object_get(one, "msr-write"));
	assert_int_equal(number(one, "vmx-0x3e7"), 1);
	assert_int_equal(number(one, "exception"), 3);
	assert_null(json_object_get(counts, "103"));
	json_decref(counts);
	assert_true(exits_by_interrupts("eoi-write"));
	assert_false(exits_by_interrupts("icr-write"));
	assert_false(exits_by_interrupts("io"));
}

/* ---- counting, with a tracefs that is played here ----------------------------------------------
 */

#define INSTANCES "/sys/kernel/tracing/instances"

static struct host tracing;
static struct host_ops tracing_ops, real;

/* An instance comes with all its files. */
static int tracing_make_dir(struct host *host, const char *path)
{
	static const char *const files[] = { "kvm_exit/trigger", "kvm_exit/hist", "kvm_msr/trigger",
					     "kvm_msr/hist" };
	int err = real.make_dir(host, path);

	for (unsigned i = 0; !err && i < sizeof(files) / sizeof(files[0]); i++) {
		char *name = host_printf("%s/events/kvm/%s", path, files[i]);

		tree_put(host->root, name, "");
		free(name);
	}
	return err;
}

/* It goes with all of them; its histograms must have ended. */
static int tracing_remove_dir(struct host *host, const char *path)
{
	static const char *const events[] = { "kvm_exit", "kvm_msr" };
	char *text;

	for (unsigned i = 0; i < 2; i++) {
		text = host_read(host, "%s/events/kvm/%s/trigger", path, events[i]);
		if (!text || text[0] != '!')
			return -EBUSY;
		free(text);
	}
	tree_free(host_printf("%s%s", host->root, path));
	return 0;
}

static int setup(void **state)
{
	char *root = tree_new("machine");

	*state = root;
	tree_put(root, INSTANCES "/x", "");
	host_init(&tracing, root);
	real = tracing_ops = *tracing.ops;
	tracing_ops.make_dir = tracing_make_dir;
	tracing_ops.remove_dir = tracing_remove_dir;
	tracing.ops = &tracing_ops;
	return 0;
}

static int teardown(void **state)
{
	tree_free(*state);
	return 0;
}

static void instances_are(unsigned n)
{
	struct host_names names = host_dir(&tracing, INSTANCES);

	assert_int_equal(names.n, n + 1); /* "x" */
	host_names_done(&names);
}

static void signals_end_the_count(void **state)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

	for (unsigned i = 0; i < 3; i++) {
		pid_t child = fork();
		int status;

		assert_true(child >= 0);
		if (!child) {
			struct exits *e;

			signal(signals[i], SIG_DFL);
			e = exits_begin(&tracing, NULL);
			if (!e || raise(signals[i]))
				_exit(1);
			/* nobody waits that long */
			if (exits_wait(e, 3600) > 3000)
				_exit(2);
			json_decref(exits_end(&tracing, e, NULL));
			_exit(3);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), signals[i]);
		instances_are(0);
	}
}

/* As with nohup: what was ignored is. */
static void ignored_signals_do_not(void **state)
{
	struct exits *e;
	sigset_t after;
	json_t *counts;

	signal(SIGHUP, SIG_IGN);
	e = exits_begin(&tracing, NULL);
	assert_non_null(e);
	instances_are(1);
	assert_int_equal(raise(SIGHUP), 0);
	assert_true(exits_wait(e, 1) >= 1);
	counts = exits_end(&tracing, e, NULL);
	assert_non_null(counts);
	json_decref(counts);
	instances_are(0);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	assert_false(sigismember(&after, SIGINT) || sigismember(&after, SIGTERM));
	signal(SIGHUP, SIG_DFL);
}

/* Killed ones leave theirs; 1000 is a process of the tree. */
static void removes_stale_instances(void **state)
{
	char *mine = host_printf(INSTANCES "/exitless-%d", (int)getpid());
	struct exits *e;

	assert_int_equal(tracing_make_dir(&tracing, INSTANCES "/exitless-999"), 0);
	assert_int_equal(tracing_make_dir(&tracing, INSTANCES "/exitless-1000"), 0);
	assert_int_equal(tracing_make_dir(&tracing, INSTANCES "/exitless-999x"), 0);
	/* of a process that had the number of this one */
	assert_int_equal(tracing_make_dir(&tracing, mine), 0);
	e = exits_begin(&tracing, NULL);
	assert_non_null(e);
	assert_false(host_exists(&tracing, INSTANCES "/exitless-999"));
	instances_are(3);
	json_decref(exits_end(&tracing, e, NULL));
	assert_false(host_exists(&tracing, "%s", mine));
	assert_true(host_exists(&tracing, INSTANCES "/exitless-1000"));
	instances_are(2);
	free(mine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_the_module),
		cmocka_unit_test(knows_every_word),
		cmocka_unit_test(switches),
		cmocka_unit_test(counts_exits),
		cmocka_unit_test_setup_teardown(signals_end_the_count, setup, teardown),
		cmocka_unit_test_setup_teardown(ignored_signals_do_not, setup, teardown),
		cmocka_unit_test_setup_teardown(removes_stale_instances, setup, teardown),
	};

	return cmocka_run_group_tests_name("host/direct", tests, NULL, NULL);
}
