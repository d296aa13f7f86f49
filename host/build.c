/* SPDX-License-Identifier: BSD-2-Clause */
/* What a placement changes, in the order in which it is done (place.h). */
#include "host/irq.h"
#include "host/place.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* include/linux/sched.h; /proc/PID/stat shows them as field 9. */
#define PF_KTHREAD	  0x00200000ul
#define PF_NO_SETAFFINITY 0x04000000ul

struct build {
	const struct host *host;
	const struct topology *t;
	const struct plan *plan;
	const struct vm *vm;
	struct changes *changes;
	bool apart; /* the CPUs become a partition */
};

/* From @now to off the dedicated CPUs; false if it is off already. */
static bool off(const struct build *b, const struct cpus *now, struct cpus *removed,
		struct cpus *added)
{
	struct cpus left = cpus_without(now, &b->plan->dedicated);

	*removed = cpus_and(now, &b->plan->dedicated);
	*added = (struct cpus){ 0 };
	if (cpus_empty(&left))
		*added = b->plan->housekeeping;
	return !cpus_empty(removed);
}

/* ---- control groups ------------------------------------------------------------------------ */

static void text(struct build *b, const char *value, const char *undo, bool verify, char *path)
{
	changes_add(b->changes, (struct change){ .kind = CHANGE_TEXT,
						 .path = path,
						 .value = host_text_copy(value),
						 .undo = undo ? host_text_copy(undo) : NULL,
						 .forgotten = !undo,
						 .verify = verify });
}

/* A process's or thread's group below the mount point, "" for the root; on the heap. */
static char *group_of(const struct build *b, const char *fmt, int pid, int tid)
{
	char *path = host_printf(fmt, pid, tid), *groups = host_read(b->host, "%s", path);
	char *at = groups ? strstr(groups, "0::/") : NULL, *group = NULL;

	if (at && (at == groups || at[-1] == '\n'))
		group = host_printf("%.*s", (int)strcspn(at + 3, "\n"), at + 3);
	if (group && !strcmp(group, "/"))
		group[0] = '\0';
	free(groups);
	free(path);
	return group;
}

/* The group that the process's threads can have groups below of: up from threaded ones. */
static char *thread_domain(const struct build *b)
{
	char *group = group_of(b, "/proc/%d/cgroup", b->vm->pid, 0);

	while (group && *group) {
		char *type = host_read(b->host, "%s%s/cgroup.type", b->t->cgroup, group);
		bool threaded = type && !strcmp(type, "threaded");

		free(type);
		if (!threaded)
			break;
		*strrchr(group, '/') = '\0';
	}
	return group;
}

/*
 * Can a group further down than below the root be a partition? cpuset.cpus.exclusive, of Linux 6.7,
 * tells, but is in a group only once that above it hands on the controller.
 */
static bool remote_partitions(const struct build *b, const char *domain)
{
	int first = 1 + (int)strcspn(domain + 1, "/");
	char *have, *word, *release;
	unsigned major = 0, minor = 0;
	bool on;

	if (host_exists(b->host, "%s%.*s/cpuset.cpus.exclusive", b->t->cgroup, first, domain))
		return true;
	have = host_read(b->host, "%s/cgroup.subtree_control", b->t->cgroup);
	word = host_word(have, "cpuset");
	on = word;
	free(word);
	free(have);
	if (on)
		return false;
	/* the root's own, of 6.8 */
	if (host_exists(b->host, "%s/cpuset.cpus.isolated", b->t->cgroup))
		return true;
	release = host_read(b->host, "/proc/sys/kernel/osrelease");
	if (release && sscanf(release, "%u.%u", &major, &minor) != 2)
		major = 0;
	free(release);
	return major > 6 || (major == 6 && minor >= 7);
}

/* The group below which the partition is to be, on the heap; NULL if there can be none, and *why
 * tells people. */
static char *partition_domain(const struct build *b, const char **why)
{
	char *domain = b->t->cgroup ? thread_domain(b) : NULL;

	*why = "there is no cgroup v2 with cpuset";
	if (!domain || !*domain || remote_partitions(b, domain))
		return domain;
	*why = "a partition below the machine's group needs cpuset.cpus.exclusive (Linux 6.7)";
	free(domain);
	return NULL;
}

/* Lets the groups down to @domain have cpusets, and hands the CPUs down to it. */
static void open_way(struct build *b, const char *domain)
{
	char *at = host_text_copy(domain), *end = at;

	for (;;) {
		char kept = *end, *have, *word;

		*end = '\0';
		if (*at)
			changes_add(b->changes,
				    (struct change){
					    .kind = CHANGE_LIST,
					    .path = host_printf("%s%s/cpuset.cpus.exclusive",
								b->t->cgroup, at),
					    .added = b->plan->at_run_time,
				    });
		have = host_read(b->host, "%s%s/cgroup.subtree_control", b->t->cgroup, at);
		word = host_word(have, "cpuset");
		/* stays: below the same group others' partitions may come to live on it */
		if (!word)
			text(b, "+cpuset", NULL, false,
			     host_printf("%s%s/cgroup.subtree_control", b->t->cgroup, at));
		free(word);
		free(have);
		*end = kept;
		if (!kept)
			break;
		end += 1 + strcspn(end + 1, "/");
	}
	free(at);
}

static void move_thread(struct build *b, int tid, unsigned vcpu, const char *group)
{
	char *old = group_of(b, "/proc/%d/task/%d/cgroup", b->vm->pid, tid);

	changes_add(b->changes, (struct change){
					.kind = CHANGE_MOVE,
					.path = host_text_copy(group),
					.undo = host_printf("%s%s", b->t->cgroup, old ? old : ""),
					.what = host_printf("vCPU %u (thread %d)", vcpu, tid),
					.tid = tid,
					.start = vm_start_of(b->host, tid),
				});
	free(old);
}

static void partition(struct build *b, const char *domain)
{
	char *group = host_printf("%s%s/exitless-%d", b->t->cgroup, domain, b->vm->pid);
	char *list = cpus_list(&b->plan->at_run_time);

	open_way(b, domain);
	changes_add(b->changes,
		    (struct change){ .kind = CHANGE_DIR, .path = host_text_copy(group) });
	text(b, "threaded", NULL, false, host_printf("%s/cgroup.type", group));
	text(b, list, NULL, false, host_printf("%s/cpuset.cpus", group));
	/* below the top the CPUs come from the groups above, as a "remote" partition's (6.7) */
	if (*domain)
		text(b, list, NULL, false, host_printf("%s/cpuset.cpus.exclusive", group));
	text(b, "isolated", "member", true, host_printf("%s/cpuset.cpus.partition", group));
	for (unsigned i = 0; i < b->plan->map.n; i++)
		for (unsigned j = 0; j < b->vm->n_vcpus; j++)
			if (b->vm->vcpu[j].index == b->plan->map.pin[i].vcpu &&
			    cpus_has(&b->plan->at_run_time, b->plan->map.pin[i].pcpu))
				move_thread(b, b->vm->vcpu[j].tid, b->vm->vcpu[j].index, group);
	free(list);
	free(group);
}

/* ---- threads ------------------------------------------------------------------------------- */

/* Where thread @tid of @pid may run, from its status file. */
static bool allowed(const struct build *b, int pid, int tid, struct cpus *cpus)
{
	char *status = host_read(b->host, "/proc/%d/task/%d/status", pid, tid), *at;
	bool good = false;

	at = status ? strstr(status, "\nCpus_allowed_list:") : NULL;
	if (at) {
		at += strlen("\nCpus_allowed_list:");
		at += strspn(at, " \t");
		at[strcspn(at, "\n")] = '\0';
		good = !cpus_parse_list(cpus, at);
	}
	free(status);
	*cpus = cpus_and(cpus, &b->t->online);
	return good && !cpus_empty(cpus);
}

static void affinity(struct build *b, int tid, char *what, const struct cpus *removed,
		     const struct cpus *added, bool optional, bool forgotten)
{
	changes_add(b->changes, (struct change){
					.kind = CHANGE_AFFINITY,
					.what = what,
					.tid = tid,
					.start = vm_start_of(b->host, tid),
					.removed = *removed,
					.added = *added,
					.optional = optional,
					.forgotten = forgotten,
				});
}

static bool is_pinned(const struct build *b, int tid, unsigned *vcpu, unsigned *pcpu)
{
	for (unsigned i = 0; i < b->vm->n_vcpus; i++) {
		if (b->vm->vcpu[i].tid != tid)
			continue;
		*vcpu = b->vm->vcpu[i].index;
		for (unsigned j = 0; j < b->plan->map.n; j++) {
			if (b->plan->map.pin[j].vcpu == *vcpu) {
				*pcpu = b->plan->map.pin[j].pcpu;
				return true;
			}
		}
	}
	return false;
}

/* vCPUs to their CPUs, the rest of the machine's threads off these. */
static void own_threads(struct build *b)
{
	struct host_names tids = vm_threads(b->host, b->vm->pid);

	for (unsigned i = 0; i < tids.n; i++) {
		int tid = atoi(tids.name[i]);
		struct cpus now, removed, added;
		unsigned vcpu, pcpu;

		if (!allowed(b, b->vm->pid, tid, &now))
			continue;
		if (is_pinned(b, tid, &vcpu, &pcpu)) {
			struct cpus one = { 0 };

			cpus_add(&one, pcpu);
			removed = cpus_without(&now, &one);
			added = cpus_without(&one, &now);
			affinity(b, tid, host_printf("vCPU %u (thread %d)", vcpu, tid), &removed,
				 &added, false, false);
			b->changes->change[b->changes->n - 1].pinned = true;
			/* by coming into the partition's group, and out of it */
			b->changes->change[b->changes->n - 1].spread = b->apart;
		} else if (off(b, &now, &removed, &added)) {
			affinity(b, tid, host_printf("thread %d of the machine", tid), &removed,
				 &added, false, false);
			/* QEMU's helpers come and go */
			b->changes->change[b->changes->n - 1].may_end = true;
		}
	}
	host_names_done(&tids);
}

/* Entering the partition's group has spread them over all of its CPUs. */
static void own_threads_again(struct build *b)
{
	for (unsigned i = 0; i < b->vm->n_vcpus; i++) {
		unsigned vcpu, pcpu;

		if (is_pinned(b, b->vm->vcpu[i].tid, &vcpu, &pcpu)) {
			struct cpus one = { 0 }, others = b->t->online;

			cpus_add(&one, pcpu);
			others = cpus_without(&others, &one);
			affinity(b, b->vm->vcpu[i].tid,
				 host_printf("vCPU %u (thread %d)", vcpu, b->vm->vcpu[i].tid),
				 &others, &one, false, true);
		}
	}
}

static unsigned long flags_of(const struct host *host, int pid)
{
	char *stat = host_read(host, "/proc/%d/stat", pid), *p = stat ? strrchr(stat, ')') : NULL;
	unsigned long flags = 0;

	for (int field = 2; p && field < 9; field++)
		p = strchr(p + 1, ' ');
	if (p)
		flags = strtoul(p, NULL, 10);
	free(stat);
	return flags;
}

/* One that may run on the dedicated CPUs only has its reasons. */
static void host_thread_off(struct build *b, int pid, int tid)
{
	struct cpus now, removed, added;
	char *comm;

	if (!allowed(b, pid, tid, &now) || !off(b, &now, &removed, &added) || !cpus_empty(&added))
		return;
	comm = host_read(b->host, "/proc/%d/task/%d/comm", pid, tid);
	affinity(b, tid, host_printf("host thread %s (%d)", comm ? comm : "?", tid), &removed,
		 &added, true, false);
	free(comm);
}

/* Whenever a partition comes or goes, the kernel gives its threads all CPUs that are in none. What
 * was not theirs before is stripped again. */
static void kernel_thread_off(struct build *b, int tid, bool again)
{
	struct cpus now, removed, added, hosts;
	char *comm;

	if (!allowed(b, tid, tid, &now))
		return;
	off(b, &now, &removed, &added);
	if (!cpus_empty(&added))
		return;
	comm = host_read(b->host, "/proc/%d/comm", tid);
	affinity(b, tid, host_printf("kernel thread %s (%d)", comm ? comm : "?", tid), &removed,
		 &added, true, again);
	free(comm);
	hosts = cpus_or(&b->plan->housekeeping, &b->t->isolated);
	hosts = cpus_without(&hosts, &b->plan->dedicated);
	b->changes->change[b->changes->n - 1].strip = cpus_without(&hosts, &now);
	b->changes->change[b->changes->n - 1].spread = b->t->cgroup;
}

/* @again: once more, with nothing to undo. */
static void kernel_threads(struct build *b, bool again)
{
	struct host_names pids = vm_processes(b->host);

	for (unsigned i = 0; i < pids.n; i++) {
		int pid = atoi(pids.name[i]);
		unsigned long flags = flags_of(b->host, pid);

		if (flags & PF_KTHREAD && !(flags & PF_NO_SETAFFINITY))
			kernel_thread_off(b, pid, again);
	}
	host_names_done(&pids);
}

static void host_threads(struct build *b)
{
	struct host_names pids = vm_processes(b->host);

	for (unsigned i = 0; i < pids.n; i++) {
		int pid = atoi(pids.name[i]);
		struct host_names tids;

		if (pid == b->vm->pid || flags_of(b->host, pid) & PF_KTHREAD)
			continue;
		tids = vm_threads(b->host, pid);
		for (unsigned j = 0; j < tids.n; j++)
			host_thread_off(b, pid, atoi(tids.name[j]));
		host_names_done(&tids);
	}
	host_names_done(&pids);
}

/* ---- interrupts and the kernel's own masks --------------------------------------------------- */

static void cpu_file(struct build *b, enum change_kind kind, char *path)
{
	char *content = host_read(b->host, "%s", path);
	struct cpus now = { 0 }, removed, added;
	int err = content ? kind == CHANGE_MASK ? cpus_parse_mask(&now, content)
						: cpus_parse_list(&now, content)
			  : -ENOENT;

	free(content);
	now = cpus_and(&now, &b->t->online);
	if (err || !off(b, &now, &removed, &added)) {
		free(path);
		return;
	}
	changes_add(b->changes, (struct change){ .kind = kind,
						 .path = path,
						 .removed = removed,
						 .added = added,
						 .optional = true });
}

static bool own_device(const struct vm *vm, const char *address)
{
	for (unsigned i = 0; *address && i < vm->devices.n; i++)
		if (!strcmp(vm->devices.name[i], address))
			return true;
	return false;
}

/* Drivers give their queues' vectors to their CPUs in order, so the vector's number tells the vCPU
 * as well as anything that can be seen from here. */
static void irq_to_vcpu(struct build *b, const struct irq *irq)
{
	struct cpus one = { 0 }, removed, added;
	unsigned vcpu = irq->vector % b->plan->map.n;

	cpus_add(&one, b->plan->map.pin[vcpu].pcpu);
	removed = cpus_without(&irq->affinity, &one);
	added = cpus_without(&one, &irq->affinity);
	if (cpus_empty(&removed) && cpus_empty(&added))
		return;
	changes_add(b->changes,
		    (struct change){
			    .kind = CHANGE_LIST,
			    .path = host_printf("/proc/irq/%u/smp_affinity_list", irq->number),
			    .what = host_printf("interrupt %u, vector %u of %s, of vCPU %u",
						irq->number, irq->vector, irq->device,
						b->plan->map.pin[vcpu].vcpu),
			    .removed = removed,
			    .added = added,
			    .optional = true,
			    .pinned = true,
		    });
}

static void interrupts(struct build *b)
{
	struct irqs irqs;

	irqs_read(b->host, &irqs);
	for (unsigned i = 0; i < irqs.n; i++) {
		struct irq *irq = &irqs.irq[i];
		struct cpus removed, added;

		irq->affinity = cpus_and(&irq->affinity, &b->t->online);
		if (own_device(b->vm, irq->device)) {
			irq_to_vcpu(b, irq);
			continue;
		}
		if (!off(b, &irq->affinity, &removed, &added))
			continue;
		changes_add(
			b->changes,
			(struct change){
				.kind = CHANGE_LIST,
				.path = host_printf("/proc/irq/%u/smp_affinity_list", irq->number),
				.what = host_printf("interrupt %u (%s)", irq->number, irq->what),
				.removed = removed,
				.added = added,
				.optional = true,
			});
	}
	irqs_done(&irqs);
}

static void kernel_masks(struct build *b)
{
	struct host_names queues = host_dir(b->host, "/sys/devices/virtual/workqueue");

	cpu_file(b, CHANGE_MASK, host_text_copy("/proc/irq/default_smp_affinity"));
	cpu_file(b, CHANGE_MASK, host_text_copy("/sys/devices/virtual/workqueue/cpumask"));
	for (unsigned i = 0; i < queues.n; i++)
		cpu_file(b, CHANGE_MASK,
			 host_printf("/sys/devices/virtual/workqueue/%s/cpumask", queues.name[i]));
	cpu_file(b, CHANGE_LIST, host_text_copy("/proc/sys/kernel/watchdog_cpumask"));
	host_names_done(&queues);
}

static int check_vcpus(const struct build *b, struct host_error *error)
{
	for (unsigned i = 0; i < b->plan->map.n; i++) {
		unsigned j = 0;

		while (j < b->vm->n_vcpus && b->vm->vcpu[j].index != b->plan->map.pin[i].vcpu)
			j++;
		if (j == b->vm->n_vcpus)
			return host_fail(error, -EINVAL, "%s has no vCPU %u, only %u of them",
					 b->vm->name, b->plan->map.pin[i].vcpu, b->vm->n_vcpus);
	}
	return 0;
}

int place_build(const struct host *host, const struct topology *topology, struct plan *plan,
		const struct vm *vm, struct changes *changes, struct host_error *error)
{
	struct build b = { host, topology, plan, vm, changes, false };
	const char *why = "";
	char *domain = NULL;
	int err = check_vcpus(&b, error);

	if (err)
		return err;
	if (!cpus_empty(&plan->at_run_time))
		domain = partition_domain(&b, &why);
	b.apart = domain;
	/* binding comes first so that undoing it comes last, outside of the partition */
	own_threads(&b);
	kernel_threads(&b, false);
	if (b.apart) {
		partition(&b, domain);
		own_threads_again(&b);
		kernel_threads(&b, true);
	} else if (!cpus_empty(&plan->at_run_time)) {
		host_threads(&b);
		host_names_add(&plan->notes,
			       host_printf("%s: the host's threads are moved off one by one", why));
	}
	free(domain);
	kernel_masks(&b);
	interrupts(&b);
	return 0;
}

void place_build_own_irqs(const struct host *host, const struct cpus *online,
			  const struct plan *plan, const struct vm *vm, struct changes *changes)
{
	struct build b = { .host = host, .plan = plan, .vm = vm, .changes = changes };
	struct irqs irqs;

	irqs_read_vfio(host, &irqs);
	for (unsigned i = 0; i < irqs.n; i++) {
		irqs.irq[i].affinity = cpus_and(&irqs.irq[i].affinity, online);
		if (own_device(vm, irqs.irq[i].device))
			irq_to_vcpu(&b, &irqs.irq[i]);
	}
	irqs_done(&irqs);
}
