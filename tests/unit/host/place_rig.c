/* SPDX-License-Identifier: BSD-2-Clause */
#include "place_rig.h"

#include "host/irq.h"

#include "tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fake fake;
struct host_error error;
char *notes;

static int step(void)
{
	fake.step++;
	if (fake.step == fake.crash_at)
		_exit(0);
	if (fake.step >= fake.fail_at && fake.step <= fake.fail_last)
		return -EIO;
	return fake.step == fake.fail_at ? -EIO : 0;
}

/* Sets it, and shows it where the machine does. */
static void show_affinity(int tid, const struct cpus *cpus)
{
	static const int owners[] = { 1000, 200, 2, 30, 31, 2000 };

	for (unsigned i = 0; i < 6; i++) {
		char *path = host_printf("/proc/%d/task/%d/status", owners[i], tid);

		if (host_exists(&fake.host, "%s", path)) {
			char *list = cpus_list(cpus);
			char *text = host_printf("Name:\tx\nCpus_allowed_list:\t%s\n", list);

			tree_put(fake.root, path, text);
			free(text);
			free(list);
		}
		free(path);
	}
	fake.affinity[tid] = *cpus;
}

/* The kernel gives its threads all CPUs that are in no partition. */
static void spread_kernel_threads(const char *partition)
{
	struct cpus all;

	cpus_parse_list(&all, strcmp(partition, "isolated") ? "0-3" : "0-1");
	show_affinity(2, &all);
	show_affinity(31, &all);
}

static int fake_write(struct host *host, const char *path, const char *text)
{
	int err = step();
	char *full;

	if (!err && fake.refuses && !strcmp(path, fake.refuses))
		err = -EIO;
	if (err)
		return err;
	if (strstr(path, "cpuset.cpus.partition"))
		spread_kernel_threads(text);
	/* "+x" and "-x" are changes of what a group hands on; a thread in a list of threads joins
	 */
	if (fake.late && !strcmp(text, "+cpuset")) {
		const char *below = strstr(path, "machine/cg") ? "machine/vm1" : "machine";

		full = host_printf("/sys/fs/cgroup/%s/cpuset.cpus.exclusive", below);
		if (!strstr(path, "vm1"))
			tree_put(fake.root, full, "");
		free(full);
	}
	if (strstr(path, "cgroup.subtree_control"))
		return fake.real.write(host, path, text[0] == '+' ? "cpuset\n" : "\n");
	full = host_printf("%s%s", host->root, path);
	err = access(full, F_OK) ? -ENOENT : 0;
	free(full);
	return err ? err : fake.real.write(host, path, text);
}

static int fake_make_dir(struct host *host, const char *path)
{
	static const char *const files[] = { "cgroup.type", "cgroup.threads", "cpuset.cpus",
					     "cpuset.cpus.exclusive", "cpuset.cpus.partition" };
	int err = step();

	err = err ? err : fake.real.make_dir(host, path);
	for (unsigned i = 0; !err && i < sizeof(files) / sizeof(files[0]); i++) {
		char *name = host_printf("%s/%s", path, files[i]);

		tree_put(host->root, name, "");
		free(name);
	}
	return err;
}

static int fake_remove_dir(struct host *host, const char *path)
{
	struct host_names files = host_dir(host, "%s", path);
	int err = step();

	for (unsigned i = 0; !err && i < files.n; i++) {
		char *name = host_printf("%s%s/%s", host->root, path, files.name[i]);

		unlink(name);
		free(name);
	}
	host_names_done(&files);
	return err ? err : fake.real.remove_dir(host, path);
}

static int fake_affinity_get(struct host *host, int tid, struct cpus *cpus)
{
	*cpus = fake.affinity[tid];
	return tid == fake.ended ? -ESRCH : 0;
}

static int fake_affinity_set(struct host *host, int tid, const struct cpus *cpus)
{
	int err = step();

	if (tid == fake.stuck) {
		fake.stuck = 0;
		return -EINVAL;
	}
	if (!err)
		show_affinity(tid, cpus);
	return err;
}

int setup(void **state)
{
	memset(&fake, 0, sizeof(fake));
	fake.root = tree_new("machine");
	host_init(&fake.host, fake.root);
	fake.real = *fake.host.ops;
	fake.ops = (struct host_ops){
		.write = fake_write,
		.make_dir = fake_make_dir,
		.remove_dir = fake_remove_dir,
		.affinity_get = fake_affinity_get,
		.affinity_set = fake_affinity_set,
	};
	fake.host.ops = &fake.ops;
	for (unsigned i = 0; i < 2048; i++)
		cpus_parse_list(&fake.affinity[i], "0-3");
	cpus_parse_list(&fake.affinity[30], "2");
	/* somebody has put it there */
	cpus_parse_list(&fake.affinity[2], "0,2-3");
	tree_put(fake.root, "/proc/2/task/2/status", "Name:\tx\nCpus_allowed_list:\t0,2-3\n");
	fake.t = topology_read(&fake.host, &error);
	assert_non_null(fake.t);
	return 0;
}

int teardown(void **state)
{
	topology_free(fake.t);
	tree_free(fake.root);
	free(notes);
	notes = NULL;
	return 0;
}

int apply_for(int pid, const char *map_text)
{
	char which[16];
	struct plan_request r = { .node = -1 };
	struct changes changes = { 0 };
	static struct cpu_map map;
	static struct plan plan;
	static struct vm vm;
	unsigned refused = 0;
	int err;

	snprintf(which, sizeof(which), "%d", pid);
	err = place_taken(&fake.host, pid, &r.taken, &error);
	if (err)
		return err;
	assert_int_equal(cpu_map_parse(&map, "m", map_text, &error), 0);
	r.map = &map;
	assert_int_equal(vm_find(&fake.host, which, NULL, &vm, &error), 0);
	assert_int_equal(plan_make(fake.t, &r, &plan, &error), 0);
	assert_int_equal(place_build(&fake.host, fake.t, &plan, &vm, &changes, &error), 0);
	if (fake.meanwhile)
		fake.meanwhile();
	free(notes);
	notes = host_text_copy("");
	for (unsigned i = 0; i < plan.notes.n; i++) {
		char *more = host_printf("%s%s\n", notes, plan.notes.name[i]);

		free(notes);
		notes = more;
	}
	err = place_apply(&fake.host, &plan, &vm, &changes, &refused, &error);
	changes_done(&changes);
	plan_done(&plan);
	vm_done(&vm);
	return err;
}

int apply(const char *map_text)
{
	return apply_for(1000, map_text);
}

void another_machine(void)
{
	for (int tid = 2000; tid < 2003; tid++) {
		const char *name = tid == 2001 ? "CPU 0/KVM" : "qemu-system-x86";
		char *stat = host_printf("%d (%s) S 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 7%d 0", tid,
					 name, tid);
		char *dir = host_printf("/proc/2000/task/%d", tid);
		const char *const files[][2] = {
			{ "stat", stat },
			{ "comm", name },
			{ "cgroup", "0::/machine/vm1" },
			{ "status", "Name:\tx\nCpus_allowed_list:\t0-3\n" },
		};
		char *path = host_printf("/proc/%d/stat", tid);

		tree_put(fake.root, path, stat);
		free(path);
		for (unsigned i = 0; i < 4; i++) {
			path = host_printf("%s/%s", dir, files[i][0]);
			tree_put(fake.root, path, files[i][1]);
			free(path);
		}
		free(dir);
		free(stat);
	}
	tree_put(fake.root, "/proc/2000/cgroup", "0::/machine/vm1");
}

void no_groups(void)
{
	free(fake.t->cgroup);
	fake.t->cgroup = NULL;
}

void pin(int tid, const char *list)
{
	struct cpus cpus;

	assert_int_equal(cpus_parse_list(&cpus, list), 0);
	show_affinity(tid, &cpus);
}

void has(const char *path, const char *want)
{
	char *text = tree_get(fake.root, path);

	if (strcmp(text, want))
		fail_msg("%s: \"%s\", not \"%s\"", path, text, want);
	free(text);
}

void runs_on(int tid, const char *want)
{
	char *list = cpus_list(&fake.affinity[tid]);

	if (strcmp(list, want))
		fail_msg("thread %d: \"%s\", not \"%s\"", tid, list, want);
	free(list);
}

void as_at_first(void)
{
	static const int free_threads[] = { 1000, 1001, 1002, 1003, 200, 31 };

	for (unsigned i = 0; i < 6; i++)
		runs_on(free_threads[i], "0-3");
	runs_on(30, "2");
	runs_on(2, "0,2-3");
	has("/proc/irq/24/smp_affinity_list", "2");
	for (unsigned i = 30; i < 33; i++) {
		char *path = host_printf("/proc/irq/%u/smp_affinity_list", i);

		has(path, "0-3");
		free(path);
	}
	has("/proc/irq/default_smp_affinity", "f");
	has("/sys/devices/virtual/workqueue/cpumask", "f");
	has("/sys/devices/virtual/workqueue/writeback/cpumask", "f");
	has("/proc/sys/kernel/watchdog_cpumask", "0-3");
	has("/sys/fs/cgroup/machine/cpuset.cpus.exclusive", "");
	has("/sys/fs/cgroup/machine/vm1/cpuset.cpus.exclusive", "");
	assert_false(host_exists(&fake.host, GROUP));
	assert_false(host_exists(&fake.host, JOURNAL));
}
