/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/topology.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CPU "/sys/devices/system/cpu"

const char *cpu_kind_name(enum cpu_kind kind)
{
	switch (kind) {
	case CPU_FAST: return "performance";
	case CPU_SLOW: return "efficiency";
	default: return "-";
	}
}

/* The first CPU of the widest cache that cpu<N> knows of. */
static int llc_read(const struct host *host, unsigned cpu)
{
	struct cpus shared, widest = { 0 };
	long level, highest = 0;

	for (unsigned i = 0;
	     (level = host_number(host, -1, CPU "/cpu%u/cache/index%u/level", cpu, i)) >= 0; i++) {
		if (level >= highest &&
		    host_cpus(host, &shared, CPU "/cpu%u/cache/index%u/shared_cpu_list", cpu, i)) {
			highest = level;
			widest = shared;
		}
	}
	return cpus_next(&widest, 0);
}

static void cpu_read(const struct host *host, struct topology *t, unsigned cpu)
{
	struct topology_cpu *c = &t->cpu[cpu];

	c->package = (int)host_number(host, 0, CPU "/cpu%u/topology/physical_package_id", cpu);
	c->core = (int)host_number(host, (long)cpu, CPU "/cpu%u/topology/core_id", cpu);
	/* the newer name first */
	if (!host_cpus(host, &c->threads, CPU "/cpu%u/topology/core_cpus_list", cpu))
		host_cpus(host, &c->threads, CPU "/cpu%u/topology/thread_siblings_list", cpu);
	c->threads = cpus_and(&c->threads, &t->online);
	cpus_add(&c->threads, cpu);
	t->smt = t->smt || cpus_count(&c->threads) > 1;
	c->llc = llc_read(host, cpu);
}

static void nodes_read(const struct host *host, struct topology *t)
{
	if (!host_cpus(host, &t->nodes, "/sys/devices/system/node/online"))
		cpus_add(&t->nodes, 0); /* a kernel without NUMA */
	cpus_for_each (node, &t->nodes) {
		struct cpus cpus;
		char *row;

		if (node >= HOST_NODES_MAX)
			break;
		for (unsigned i = 0; i < HOST_NODES_MAX; i++)
			t->distance[node][i] = (int)i == node ? 10 : 20;
		host_cpus(host, &cpus, "/sys/devices/system/node/node%d/cpulist", node);
		cpus_for_each (cpu, &cpus)
			t->cpu[cpu].node = node;
		row = host_read(host, "/sys/devices/system/node/node%d/distance", node);
		if (row) {
			char *p = row;

			/* one number per online node */
			cpus_for_each (to, &t->nodes)
				if (to < HOST_NODES_MAX)
					t->distance[node][to] = (unsigned)strtoul(p, &p, 10);
		}
		free(row);
	}
}

/* Cores of one kind have the same base frequency, however far each may go beyond it. */
static void kinds_by_frequency(const struct host *host, struct topology *t)
{
	long highest = 0, lowest = 0;

	cpus_for_each (cpu, &t->online) {
		long khz = host_number(host, 0, CPU "/cpu%d/cpufreq/base_frequency", cpu);

		highest = khz > highest ? khz : highest;
		lowest = !lowest || khz < lowest ? khz : lowest;
		/* not told of all: no judgement */
		if (!khz)
			return;
	}
	t->hybrid = lowest != highest;
	cpus_for_each (cpu, &t->online) {
		long khz = host_number(host, 0, CPU "/cpu%d/cpufreq/base_frequency", cpu);

		if (t->hybrid)
			t->cpu[cpu].kind = khz == highest ? CPU_FAST : CPU_SLOW;
	}
}

static void kinds_read(const struct host *host, struct topology *t)
{
	static const struct {
		const char *pmu;
		enum cpu_kind kind;
	} kinds[] = {
		{ "cpu_core", CPU_FAST },
		{ "cpu_atom", CPU_SLOW },
		{ "cpu_lowpower", CPU_SLOW },
	};

	/* each kind of core has counters of its own, where there are any */
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct cpus cpus;

		host_cpus(host, &cpus, "/sys/devices/%s/cpus", kinds[i].pmu);
		t->hybrid = t->hybrid || (kinds[i].kind == CPU_SLOW && !cpus_empty(&cpus));
		cpus_for_each (cpu, &cpus)
			t->cpu[cpu].kind = kinds[i].kind;
	}
	if (!t->hybrid)
		kinds_by_frequency(host, t);
}

static void cgroup_find(const struct host *host, struct topology *t)
{
	char *mounts = host_read(host, "/proc/mounts"), *rest = mounts, *line;

	while (rest && !t->cgroup && (line = strsep(&rest, "\n"))) {
		char *where, *type, *controllers;

		strsep(&line, " ");
		where = strsep(&line, " ");
		type = strsep(&line, " ");
		if (!where || !type || strcmp(type, "cgroup2"))
			continue;
		controllers = host_read(host, "%s/cgroup.controllers", where);
		if (controllers) {
			char *word = host_word(controllers, "cpuset");

			if (word)
				t->cgroup = host_text_copy(where);
			free(word);
		}
		free(controllers);
	}
	free(mounts);
	if (t->cgroup)
		host_cpus(host, &t->partitions, "%s/cpuset.cpus.isolated", t->cgroup);
}

static void boot_read(const struct host *host, struct topology *t)
{
	char *words = host_read(host, "/proc/cmdline"), *word = host_word(words, "rcu_nocbs");

	host_cpus(host, &t->isolated, CPU "/isolated");
	host_cpus(host, &t->nohz_full, CPU "/nohz_full");
	if (word && !*word)
		t->nocbs = t->online;
	else if (word)
		cpus_parse_list(&t->nocbs, word);
	t->nocbs = cpus_or(&t->nocbs, &t->nohz_full);
	t->nocbs = cpus_and(&t->nocbs, &t->online);
	free(word);
	free(words);
}

struct topology *topology_read(const struct host *host, struct host_error *error)
{
	struct topology *t = host_alloc(sizeof(*t));
	char *online = host_read(host, CPU "/online");
	int err = online ? cpus_parse_list(&t->online, online) : -ENOENT;

	free(online);
	if (err || cpus_empty(&t->online)) {
		if (err == -ERANGE)
			host_fail(error, err, "%s%s/online: no more than %d CPUs are supported",
				  host->root, CPU, HOST_CPUS_MAX);
		else
			host_fail(error, -ENOENT, "%s%s/online does not list the CPUs", host->root,
				  CPU);
		free(t);
		return NULL;
	}
	cpus_for_each (cpu, &t->online)
		cpu_read(host, t, (unsigned)cpu);
	nodes_read(host, t);
	kinds_read(host, t);
	boot_read(host, t);
	cgroup_find(host, t);
	return t;
}

void topology_free(struct topology *t)
{
	if (!t)
		return;
	free(t->cgroup);
	free(t);
}
