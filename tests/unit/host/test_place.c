/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * host/place.c, build.c, change.c: a plan carried out in a saved tree and undone, with a failure or
 * a crash at every step (place_rig.h).
 */
#include "host/irq.h"
#include "host/place.h"

#include "place_rig.h"
#include "tree.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void finds_the_machine(void **state)
{
	static struct vm vm;

	assert_int_equal(vm_find(&fake.host, "1000", NULL, &vm, &error), 0);
	assert_int_equal(vm.n_vcpus, 2);
	assert_int_equal(vm.vcpu[1].tid, 1002);
	assert_int_equal(vm.start, 5000);
	assert_int_equal(vm.devices.n, 1);
	assert_string_equal(vm.devices.name[0], "0000:01:00.0");
	vm_done(&vm);
	assert_int_equal(vm_find(&fake.host, "999", NULL, &vm, &error), -ESRCH);
	assert_int_equal(vm_find(&fake.host, "200", NULL, &vm, &error), -ENOENT);
	assert_non_null(strstr(error.text, "debug-threads"));
}

static void applies_and_undoes(void **state)
{
	assert_int_equal(apply("0 2\n1 3\n"), 0);
	runs_on(1000, "0-1");
	runs_on(1001, "2");
	runs_on(1002, "3");
	runs_on(1003, "0-1");
	runs_on(31, "0-1");
	runs_on(2, "0");
	/* the partition keeps it off; and what may run on one CPU only stays */
	runs_on(200, "0-3");
	runs_on(30, "2");
	has("/proc/irq/24/smp_affinity_list", "0-1");
	has("/proc/irq/30/smp_affinity_list", "2");
	has("/proc/irq/31/smp_affinity_list", "3");
	has("/proc/irq/32/smp_affinity_list", "2");
	has("/proc/irq/default_smp_affinity", "3");
	has("/sys/devices/virtual/workqueue/cpumask", "3");
	has("/proc/sys/kernel/watchdog_cpumask", "0-1");
	has(GROUP "/cpuset.cpus", "2-3");
	has(GROUP "/cpuset.cpus.partition", "isolated");
	assert_int_equal(apply("0 2\n"), -EEXIST);
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
	as_at_first();
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), -ENOENT);
}

/* Without groups, everybody's threads go. */
static void without_groups(void **state)
{
	no_groups();
	assert_int_equal(apply("0 2\n1 3\n"), 0);
	runs_on(200, "0-1");
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
	as_at_first();
}

static void remove_file(const char *path)
{
	char *name = host_printf("%s%s", fake.root, path);

	assert_int_equal(unlink(name), 0);
	free(name);
}

/* Before 6.7 partitions are only below the root. */
static void older_kernels(void **state)
{
	static const char *const newer[] = { "/sys/fs/cgroup/machine/cpuset.cpus.exclusive",
					     "/sys/fs/cgroup/machine/vm1/cpuset.cpus.exclusive",
					     "/sys/fs/cgroup/cpuset.cpus.isolated" };

	/* what is told by groups that have no cpusets yet */
	fake.late = true;
	remove_file(newer[0]);
	remove_file(newer[1]);
	assert_int_equal(apply("0 2\n1 3\n"), 0);
	has(GROUP "/cpuset.cpus.partition", "isolated");
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
	as_at_first();
	for (unsigned i = 0; i < 3; i++) {
		teardown(state);
		setup(state);
		for (unsigned j = 0; j < 3; j++)
			remove_file(newer[j]);
		tree_put(fake.root, "/proc/sys/kernel/osrelease",
			 i ? "6.1.0-28-amd64\n" : "6.7.2-arch1\n");
		if (i == 2)
			tree_put(fake.root, "/sys/fs/cgroup/cgroup.subtree_control",
				 "cpuset cpu\n");
		fake.late = i == 0;
		assert_int_equal(apply("0 2\n1 3\n"), 0);
		assert_int_equal(host_exists(&fake.host, GROUP), i == 0);
		runs_on(1001, "2");
		runs_on(200, i ? "0-1" : "0-3");
		assert_int_equal(!strstr(notes, "cpuset.cpus.exclusive (Linux 6.7)"), i == 0);
		assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
		tree_put(fake.root, newer[0], "");
		tree_put(fake.root, newer[1], "");
		as_at_first();
	}
	/* in the root group itself that is no matter */
	remove_file(newer[0]);
	tree_put(fake.root, "/proc/1000/cgroup", "0::/\n");
	assert_int_equal(apply("0 2\n1 3\n"), 0);
	has("/sys/fs/cgroup/exitless-1000/cpuset.cpus.partition", "isolated");
	assert_null(strstr(notes, "one by one"));
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
}

/* What somebody else has changed since stays. */
static void leaves_what_others_did(void **state)
{
	assert_int_equal(apply("0 2\n1 3\n"), 0);
	tree_put(fake.root, "/proc/irq/25/smp_affinity_list", "1\n");
	tree_put(fake.root, "/sys/devices/virtual/workqueue/writeback/cpumask", "1\n");
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
	has("/proc/irq/25/smp_affinity_list", "1");
	has("/sys/devices/virtual/workqueue/writeback/cpumask", "1");
	tree_put(fake.root, "/sys/devices/virtual/workqueue/writeback/cpumask", "f\n");
	as_at_first();
	/* threads, too */
	no_groups();
	assert_int_equal(apply("0 2\n1 3\n"), 0);
	pin(200, "1");
	pin(1003, "0");
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
	runs_on(200, "1");
	runs_on(1003, "0");
	pin(200, "0-3");
	pin(1003, "0-3");
	as_at_first();
	/* but a CPU that is switched off is taken from threads by the kernel */
	assert_int_equal(apply("0 2\n1 3\n"), 0);
	tree_put(fake.root, "/sys/devices/system/cpu/online", "0,2-3\n");
	pin(200, "0");
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
	runs_on(200, "0,2-3");
	pin(200, "0-3");
	as_at_first();
}

/* Two machines, undone in either order, with groups and without. */
static void two_machines(void **state)
{
	for (unsigned i = 0; i < 8; i++) {
		bool groups = i & 1, first_goes = i & 2, first = i & 4;
		int a = first ? 2000 : 1000, b = first ? 1000 : 2000;

		teardown(state);
		setup(state);
		another_machine();
		if (!groups)
			no_groups();
		assert_int_equal(apply_for(a, "0 2\n"), 0);
		assert_int_equal(apply_for(b, "0 3\n"), 0);
		runs_on(a + 1, "2");
		runs_on(b + 1, "3");
		has("/proc/irq/25/smp_affinity_list", "0-1");
		assert_int_equal(place_undo(&fake.host, first_goes ? a : b, false, &error), 0);
		/* the other's is as it was, the rest is freer */
		runs_on(first_goes ? b + 1 : a + 1, first_goes ? "3" : "2");
		has("/proc/irq/25/smp_affinity_list", first_goes ? "0-2" : "0-1,3");
		has("/proc/irq/default_smp_affinity", first_goes ? "7" : "b");
		if (!groups) {
			runs_on(2002, first_goes ? "0-2" : "0-1,3");
			runs_on(200, first_goes ? "0-2" : "0-1,3");
		}
		assert_int_equal(place_undo(&fake.host, first_goes ? b : a, false, &error), 0);
		as_at_first();
		for (int tid = 2000; tid < 2003; tid++)
			runs_on(tid, "0-3");
		assert_false(host_exists(&fake.host, "/run/exitless-host/cpu/2000"));
	}
}

/* An interrupt that could go nowhere else is the host's again when both are undone. */
static void hands_over(void **state)
{
	another_machine();
	no_groups();
	tree_put(fake.root, "/proc/irq/24/smp_affinity_list", "2-3\n");
	assert_int_equal(apply_for(1000, "0 2\n"), 0);
	has("/proc/irq/24/smp_affinity_list", "3");
	assert_int_equal(apply_for(2000, "0 3\n"), 0);
	has("/proc/irq/24/smp_affinity_list", "0-1");
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
	has("/proc/irq/24/smp_affinity_list", "0-1");
	assert_int_equal(place_undo(&fake.host, 2000, false, &error), 0);
	has("/proc/irq/24/smp_affinity_list", "2-3");
	tree_put(fake.root, "/proc/irq/24/smp_affinity_list", "2\n");
	as_at_first();
}

/* Written before journals told what a set became. */
static void undoes_older_journals(void **state)
{
	static const char *const since[] = { ",\"became\":\"", ",\"taken\":\"" };
	char *text, *at;

	another_machine();
	no_groups();
	assert_int_equal(apply_for(1000, "0 2\n"), 0);
	assert_int_equal(apply_for(2000, "0 3\n"), 0);
	for (unsigned i = 0; i < 4; i++) {
		const char *path = i & 1 ? JOURNAL : "/run/exitless-host/cpu/2000";

		text = tree_get(fake.root, path);
		while ((at = strstr(text, since[i / 2]))) {
			char *end = strchr(at + strlen(since[i / 2]), '"') + 1;

			memmove(at, end, strlen(end) + 1);
		}
		at = host_printf("%s\n", text);
		tree_put(fake.root, path, at);
		free(at);
		free(text);
	}
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
	runs_on(2001, "3");
	has("/proc/irq/25/smp_affinity_list", "0-2");
	assert_int_equal(place_undo(&fake.host, 2000, false, &error), 0);
	runs_on(2001, "0-3");
	/* these could not tell that somebody else had put 3 there */
	has("/proc/irq/24/smp_affinity_list", "2-3");
	tree_put(fake.root, "/proc/irq/24/smp_affinity_list", "2\n");
	as_at_first();
}

static void fails_at_every_step(void **state)
{
	int n = 1, failures = 0, err;
	bool reached;

	do {
		teardown(state);
		setup(state);
		fake.fail_at = n++;
		err = apply("0 2\n1 3\n");
		reached = fake.step >= fake.fail_at;
		failures += err != 0;
		/* optional steps are passed over */
		if (!err) {
			fake.fail_at = 0;
			assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
		} else {
			assert_non_null(strstr(error.text, "Input/output error"));
		}
		as_at_first();
	} while (reached);
	assert_in_range(failures, 8, n);
}

/* So does what comes after it, which may be the undoing: that can be repeated. */
static void fails_to_undo(void **state)
{
	int n = 1, kept = 0, err;
	bool reached;

	do {
		teardown(state);
		setup(state);
		fake.fail_at = n++;
		fake.fail_last = fake.fail_at + 1;
		err = apply("0 2\n1 3\n");
		reached = fake.step >= fake.fail_at;
		fake.fail_at = fake.fail_last = 0;
		if (err && host_exists(&fake.host, JOURNAL)) {
			assert_non_null(strstr(error.text, "nor can this be undone"));
			kept++;
		} else if (err) {
			as_at_first();
			continue;
		}
		assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
		as_at_first();
	} while (reached);
	assert_in_range(kept, 8, n);
}

static void thread_ends(void)
{
	fake.ended = 1003;
}

static void number_comes_again(void)
{
	tree_put(fake.root, "/proc/1003/stat",
		 "1003 (bash) S 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 9000 0");
}

static void vcpu_number_comes_again(void)
{
	tree_put(fake.root, "/proc/1001/stat",
		 "1001 (bash) S 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 9000 0");
}

/* QEMU's helpers do at any time; a vCPU does not without its machine. */
static void threads_end_meanwhile(void **state)
{
	fake.meanwhile = thread_ends;
	assert_int_equal(apply("0 2\n1 3\n"), 0);
	runs_on(1001, "2");
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
	as_at_first();
	fake.ended = 0;
	fake.meanwhile = number_comes_again;
	assert_int_equal(apply("0 2\n1 3\n"), 0);
	runs_on(1001, "2");
	runs_on(1003, "0-3");
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
	as_at_first();
	fake.meanwhile = vcpu_number_comes_again;
	assert_int_equal(apply("0 2\n1 3\n"), -ESRCH);
	assert_non_null(strstr(error.text, "vCPU 0 (thread 1001)"));
	as_at_first();
}

/* The command is killed at any step; a later one undoes what is in the journal. */
static void crashes_at_every_step(void **state)
{
	static const int threads[] = { 2, 30, 31, 200, 1000, 1001, 1002, 1003 };
	bool crashed;
	int n = 1;

	do {
		pid_t pid;
		int status;

		teardown(state);
		setup(state);
		pid = fork();
		assert_true(pid >= 0);
		if (!pid) {
			fake.crash_at = n;
			_exit(apply("0 2\n1 3\n") || fake.step < n);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		crashed = !WEXITSTATUS(status);
		/* the affinities of threads are not the child's to keep: ask the tree */
		for (unsigned i = 0; i < sizeof(threads) / sizeof(threads[0]); i++) {
			int tid = threads[i];
			char *text = host_read(&fake.host, "/proc/%d/task/%d/status",
					       tid > 1000 ? 1000 : tid, tid);
			char *at = text ? strstr(text, "list:\t") : NULL;

			if (at)
				assert_int_equal(cpus_parse_list(&fake.affinity[tid], at + 6), 0);
			free(text);
		}
		assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
		as_at_first();
		n++;
	} while (crashed);
	assert_true(n > 20);
}

/* Its threads are gone, others have their numbers. */
static void undoes_for_the_dead(void **state)
{
	static struct placement p;

	assert_int_equal(apply("0 2\n1 3\n"), 0);
	assert_int_equal(place_read(&fake.host, 1000, &p, &error), 0);
	assert_int_equal(p.map.n, 2);
	assert_true(place_alive(&fake.host, &p));
	tree_put(fake.root, "/proc/1000/stat",
		 "1000 (qemu) Z 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 5000 0");
	assert_false(place_alive(&fake.host, &p));
	tree_put(fake.root, "/proc/1000/stat",
		 "1000 (bash) S 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 9 0");
	tree_put(fake.root, "/proc/1001/stat",
		 "1001 (bash) S 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 9 0");
	assert_false(place_alive(&fake.host, &p));
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
	runs_on(1001, "2");
	runs_on(1002, "0-3");
	runs_on(31, "0-3");
	has("/proc/irq/30/smp_affinity_list", "0-3");
	assert_false(host_exists(&fake.host, GROUP));
}

/* Those that look for the dead must not take another's, nor one that they cannot read. */
static void undoes_only_for_the_dead(void **state)
{
	char *text;

	assert_int_equal(apply("0 2\n1 3\n"), 0);
	assert_int_equal(place_undo(&fake.host, 1000, true, &error), 1);
	runs_on(1001, "2");
	text = tree_get(fake.root, JOURNAL);
	tree_put(fake.root, JOURNAL, "");
	assert_int_equal(place_undo(&fake.host, 1000, true, &error), -EINVAL);
	assert_non_null(strstr(error.text, "process 1000"));
	assert_true(host_exists(&fake.host, JOURNAL));
	tree_put(fake.root, JOURNAL, text);
	free(text);
	tree_put(fake.root, "/proc/1000/stat",
		 "1000 (qemu) Z 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 5000 0");
	assert_int_equal(place_undo(&fake.host, 1000, true, &error), 0);
	as_at_first();
	assert_int_equal(place_undo(&fake.host, 1000, true, &error), -ENOENT);
}

/* What cannot be undone stays in the journal, below the heading, and can be undone later. */
static void keeps_what_is_left(void **state)
{
	static struct placement p;
	char *all, *left;

	assert_int_equal(apply("0 2\n1 3\n"), 0);
	all = tree_get(fake.root, JOURNAL);
	/* everything fails; optional ones are passed over */
	fake.fail_at = 1;
	fake.fail_last = 1000;
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), -EIO);
	fake.fail_at = fake.fail_last = 0;
	left = tree_get(fake.root, JOURNAL);
	assert_in_range(strlen(left), 100, strlen(all) - 100);
	assert_int_equal(place_read(&fake.host, 1000, &p, &error), 0);
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
	assert_false(host_exists(&fake.host, GROUP));
	runs_on(1001, "0-3");
	runs_on(1002, "0-3");
	free(left);
	free(all);
}

/* A journal is never seen without its heading, and has its content for itself. */
static void journal_comes_as_a_whole(void **state)
{
	static const char new[] = "/run/exitless-host/cpu/.new";
	struct rlimit full = { 0, RLIM_INFINITY }, before;
	/* of one that has ended */
	static const char another[] = "{\"machine\":\"x\",\"pid\":999,\"start\":1,\"map\":"
				      "\"0 2\\n\",\"dedicated\":\"2\",\"housekeeping\":\"0\"}";
	char *hidden = host_printf("%s%s", fake.root, new), *other, *text;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	full.rlim_max = before.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
	assert_int_equal(apply("0 2\n1 3\n"), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_false(host_exists(&fake.host, JOURNAL));
	as_at_first();
	/* killed when it had just come */
	tree_put(fake.root, new, another);
	other = host_printf("%s/run/exitless-host/cpu/999", fake.root);
	assert_int_equal(link(hidden, other), 0);
	assert_int_equal(apply("0 2\n1 3\n"), 0);
	text = tree_get(fake.root, "/run/exitless-host/cpu/999");
	assert_string_equal(text, another);
	assert_false(host_exists(&fake.host, "%s", new));
	free(text);
	free(other);
	free(hidden);
}

/* Interrupts that the device has got since follow. */
static void follows_new_interrupts(void **state)
{
	assert_int_equal(apply("0 2\n1 3\n"), 0);
	tree_put(fake.root, "/proc/irq/31/smp_affinity_list", "0-1\n");
	assert_int_equal(place_follow(&fake.host, 1000, &error), 0);
	has("/proc/irq/31/smp_affinity_list", "3");
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
	has("/proc/irq/30/smp_affinity_list", "0-3");
	assert_false(host_exists(&fake.host, JOURNAL));
	assert_int_equal(place_follow(&fake.host, 1000, &error), 1);
}

/* Somebody moves them time and again, or the guest gives them up and asks for them anew. */
static void follows_for_ever(void **state)
{
	static const char *const others[] = { "0-1\n", "1\n", "0\n", "0-3\n" };
	static const char vectors[] = "           CPU0 CPU1 CPU2 CPU3\n"
				      "30: 0 0 0 0 IR-PCI vfio-msix[%u](0000:01:00.0)\n"
				      "31: 0 0 0 0 IR-PCI vfio-msix[%u](0000:01:00.0)\n"
				      "25: 0 0 0 0 IR-PCI %s\n";
	unsigned long lines = 0;

	assert_int_equal(apply("0 2\n1 3\n"), 0);
	for (unsigned i = 0; i < 200; i++) {
		char *table = host_printf(vectors, i / 7, i / 7 + 1,
					  i / 11 % 2 ? "vfio-msix[9](0000:01:00.0)" : "ahci");
		char *text;
		unsigned long n = 0;

		tree_put(fake.root, "/proc/interrupts", table);
		free(table);
		tree_put(fake.root, "/proc/irq/30/smp_affinity_list", others[i % 4]);
		tree_put(fake.root, "/proc/irq/31/smp_affinity_list", others[i / 4 % 4]);
		if (i / 11 % 2)
			tree_put(fake.root, "/proc/irq/25/smp_affinity_list", others[i % 4]);
		assert_int_equal(place_follow(&fake.host, 1000, &error), 0);
		has("/proc/irq/30/smp_affinity_list", i / 7 % 2 ? "3" : "2");
		text = tree_get(fake.root, JOURNAL);
		for (char *at = text; (at = strchr(at, '\n')); at++)
			n++;
		free(text);
		lines = lines ? lines : n;
		assert_int_equal(n, lines);
	}
	/* one of them is another device's by now */
	tree_put(fake.root, "/proc/irq/31/smp_affinity_list", "1\n");
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
	has("/proc/irq/31/smp_affinity_list", "1");
	tree_put(fake.root, "/proc/irq/31/smp_affinity_list", "0-3\n");
	has("/proc/irq/25/smp_affinity_list", "0-3");
	as_at_first();
}

static int watched;

static void watch_files(const char *const *paths)
{
	watched = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	assert_true(watched >= 0);
	for (; *paths; paths++) {
		char *name = host_printf("%s%s", fake.root, *paths);

		assert_true(inotify_add_watch(watched, name, IN_OPEN) > 0);
		free(name);
	}
}

/* Events since watch_files(); 0: none of them was opened. */
static unsigned opened(void)
{
	char buf[4096] __attribute__((aligned(8)));
	ssize_t n = read(watched, buf, sizeof(buf));

	close(watched);
	return n < 0 ? 0 : (unsigned)(n / (ssize_t)sizeof(struct inotify_event));
}

/* It is done each second, on hosts with thousands of interrupts. */
static void follows_at_little_cost(void **state)
{
	static const char *const needless[] = {
		"/proc/irq/24/smp_affinity_list", "/proc/irq/25/smp_affinity_list",
		"/sys/devices/system/cpu/cpu1/topology/core_cpus_list", NULL
	};
	static const char *const lists[] = { "/proc/interrupts", "/sys/devices/system/cpu/online",
					     NULL };

	assert_int_equal(apply("0 2\n1 3\n"), 0);
	tree_put(fake.root, "/proc/irq/31/smp_affinity_list", "0-1\n");
	watch_files(needless);
	assert_int_equal(place_follow(&fake.host, 1000, &error), 0);
	assert_int_equal(opened(), 0);
	has("/proc/irq/31/smp_affinity_list", "3");
	/* without devices there is nothing to look at */
	remove_file("/proc/1000/fd/20");
	watch_files(lists);
	assert_int_equal(place_follow(&fake.host, 1000, &error), 0);
	assert_int_equal(opened(), 0);
}

/* A large host's table is read as a small one's. */
static void reads_many_interrupts(void **state)
{
	char *text = NULL, *path;
	struct irqs irqs, some;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	for (unsigned cpu = 0; cpu < 64; cpu++)
		fprintf(out, "%*sCPU%u", 7, "", cpu);
	for (unsigned i = 1600; i-- > 0;) {
		fprintf(out, "\n%4u:", i);
		for (unsigned cpu = 0; cpu < 64; cpu++)
			fprintf(out, " %10u", i * cpu);
		if (i % 100 == 7)
			fprintf(out, "  IR-PCI-MSIX vfio-msix[%u](0000:01:00.0)", i / 100);
		else if (i != 40)
			fprintf(out, "  IR-PCI-MSIX nvme%u", i);
		path = host_printf("/proc/irq/%u/smp_affinity_list", i);
		tree_put(fake.root, path, i % 2 ? "1\n" : "0-3\n");
		free(path);
	}
	fprintf(out, "\n LOC: 1000\n");
	fclose(out);
	tree_put(fake.root, "/proc/interrupts", text);
	free(text);
	irqs_read(&fake.host, &irqs);
	irqs_read_vfio(&fake.host, &some);
	assert_int_equal(irqs.n, 1600);
	assert_int_equal(some.n, 16);
	for (unsigned i = 0; i < 1600; i++) {
		char *what = i == 40 ? host_text_copy("") : host_printf("IR-PCI-MSIX nvme%u", i);
		const struct irq *irq = &irqs.irq[i];

		assert_int_equal(irq->number, i);
		assert_int_equal(cpus_count(&irq->affinity), i % 2 ? 1 : 4);
		if (i % 100 == 7) {
			assert_string_equal(irq->device, "0000:01:00.0");
			assert_int_equal(irq->vector, i / 100);
			assert_int_equal(some.irq[i / 100].number, i);
			assert_int_equal(some.irq[i / 100].vector, i / 100);
			assert_string_equal(some.irq[i / 100].what, irq->what);
		} else {
			assert_string_equal(irq->what, what);
			assert_string_equal(irq->device, "");
		}
		free(what);
	}
	irqs_done(&irqs);
	irqs_done(&some);
}

/* Whoever asks is told, also by root with a closed umask. */
static void everybody_may_read(void **state)
{
	static const char *const paths[] = { "/run/exitless-host", "/run/exitless-host/cpu",
					     JOURNAL };
	mode_t before = umask(077);

	for (unsigned again = 0; again < 2; again++) {
		if (again) {
			/* what is left is a file of its own */
			fake.fail_at = 1;
			fake.fail_last = 1000;
			assert_int_equal(place_undo(&fake.host, 1000, false, &error), -EIO);
		} else {
			assert_int_equal(apply("0 2\n1 3\n"), 0);
		}
		for (unsigned i = 0; i < 3; i++) {
			char *name = host_printf("%s%s", fake.root, paths[i]);
			struct stat st;

			assert_int_equal(stat(name, &st), 0);
			assert_int_equal(st.st_mode & 0777, i < 2 ? 0755 : 0644);
			free(name);
		}
	}
	umask(before);
}

/* However long it is, its heading tells; and one that tells nothing does not read as no machine. */
static void tells_what_is_taken(void **state)
{
	struct cpus taken;
	char *path = host_printf("%s" JOURNAL, fake.root), *list;

	assert_int_equal(apply("0 2\n1 3\n"), 0);
	assert_int_equal(truncate(path, 300 << 20), 0);
	assert_int_equal(place_taken(&fake.host, 1, &taken, &error), 0);
	list = cpus_list(&taken);
	assert_string_equal(list, "2-3");
	free(list);
	assert_int_equal(place_undo(&fake.host, 1000, true, &error), 1);
	tree_put(fake.root, JOURNAL, "{}\n");
	another_machine();
	assert_int_equal(apply_for(2000, "0 2\n"), -EINVAL);
	assert_non_null(strstr(error.text, "which CPUs are taken"));
	assert_int_equal(unlink(path), 0);
	/* nor one that cannot be read at all */
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(place_taken(&fake.host, 1, &taken, &error), -EISDIR);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(place_taken(&fake.host, 1, &taken, &error), 0);
	free(path);
}

/* A thread that was refused gets other CPUs all the same when a partition comes and goes. */
static void strips_what_was_refused(void **state)
{
	fake.stuck = 2;
	fake.refuses = GROUP "/cgroup.threads";
	assert_int_equal(apply("0 2\n1 3\n"), -EIO);
	as_at_first();
}

/* One that the kernel does not let go is tried again and again, and leaves nothing. */
static void follows_without_traces(void **state)
{
	char *before, *after;

	fake.refuses = "/proc/irq/31/smp_affinity_list";
	assert_int_equal(apply("0 2\n1 3\n"), 0);
	before = tree_get(fake.root, JOURNAL);
	assert_null(strstr(before, fake.refuses));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(place_follow(&fake.host, 1000, &error), 0);
	after = tree_get(fake.root, JOURNAL);
	assert_string_equal(after, before);
	has("/proc/irq/31/smp_affinity_list", "0-3");
	fake.refuses = NULL;
	assert_int_equal(place_follow(&fake.host, 1000, &error), 0);
	has("/proc/irq/31/smp_affinity_list", "3");
	assert_int_equal(place_undo(&fake.host, 1000, false, &error), 0);
	as_at_first();
	free(before);
	free(after);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(finds_the_machine),
		TEST(applies_and_undoes),
		TEST(without_groups),
		TEST(leaves_what_others_did),
		TEST(fails_at_every_step),
		TEST(crashes_at_every_step),
		TEST(undoes_only_for_the_dead),
		TEST(journal_comes_as_a_whole),
		TEST(keeps_what_is_left),
		TEST(fails_to_undo),
		TEST(threads_end_meanwhile),
		TEST(undoes_for_the_dead),
		TEST(follows_new_interrupts),
		TEST(follows_without_traces),
		TEST(strips_what_was_refused),
		TEST(two_machines),
		TEST(hands_over),
		TEST(undoes_older_journals),
		TEST(follows_at_little_cost),
		TEST(reads_many_interrupts),
		TEST(everybody_may_read),
		TEST(older_kernels),
		TEST(follows_for_ever),
		TEST(tells_what_is_taken),
	};

	return cmocka_run_group_tests_name("host/place", tests, NULL, NULL);
}
