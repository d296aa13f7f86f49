/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/plan.h"

#include "base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct core {
	int first; /* its lowest CPU, which names it */
	struct cpus cpus;
	unsigned foreign; /* distance from the wanted node; 0: no wish */
	bool isolated;
	enum cpu_kind kind;
	int llc;
	unsigned llc_free; /* CPUs of the candidates around that cache */
};

static void note(struct plan *plan, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void note(struct plan *plan, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	host_names_add(&plan->notes, host_vprintf(fmt, ap));
	va_end(ap);
}

/* The host's own core: the first CPU keeps time and watches. */
static struct cpus reserved(const struct topology *t)
{
	return t->cpu[cpus_next(&t->online, 0)].threads;
}

static int core_order(const void *a, const void *b)
{
	const struct core *x = a, *y = b;

	if (x->isolated != y->isolated)
		return x->isolated ? -1 : 1;
	if (x->foreign != y->foreign)
		return x->foreign < y->foreign ? -1 : 1;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->llc != y->llc) {
		if (x->llc_free != y->llc_free)
			return x->llc_free > y->llc_free ? -1 : 1;
		return x->llc < y->llc ? -1 : 1;
	}
	return x->first < y->first ? -1 : 1;
}

/* Those that may be given away, best first. */
static unsigned candidates(const struct topology *t, const struct plan_request *r,
			   struct core *cores)
{
	struct cpus host = reserved(t);
	unsigned n = 0;

	cpus_for_each (cpu, &t->online) {
		const struct topology_cpu *c = &t->cpu[cpu];
		struct core *core = &cores[n];
		struct cpus open;

		if (cpus_next(&c->threads, 0) != cpu || cpus_has(&host, (unsigned)cpu) ||
		    cpus_meet(&c->threads, &r->taken))
			continue;
		open = cpus_and(&c->threads, &r->allowed);
		if (!cpus_empty(&r->allowed) && !cpus_equal(&open, &c->threads))
			continue;
		open = cpus_and(&c->threads, &t->isolated);
		*core = (struct core){
			.first = cpu,
			.cpus = c->threads,
			.foreign = r->node < 0 ? 0 : t->distance[r->node][c->node],
			.isolated = cpus_equal(&open, &c->threads),
			.kind = c->kind,
			.llc = c->llc,
		};
		n++;
	}
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < n; j++)
			if (cores[j].llc == cores[i].llc)
				cores[i].llc_free += cpus_count(&cores[j].cpus);
	qsort(cores, n, sizeof(*cores), core_order);
	return n;
}

static int choose(const struct topology *t, const struct plan_request *r, struct plan *plan,
		  struct host_error *error)
{
	struct core *cores = host_alloc(HOST_CPUS_MAX * sizeof(*cores));
	unsigned n = candidates(t, r, cores), room = 0, vcpu = 0;

	for (unsigned i = 0; i < n; i++)
		room += cpus_count(&cores[i].cpus);
	if (room < r->n_vcpus) {
		free(cores);
		return host_fail(error, -ENOSPC,
				 "%u vCPUs want a CPU each, and only %u can be dedicated (the "
				 "first core is the host's)",
				 r->n_vcpus, room);
	}
	for (unsigned i = 0; i < n && vcpu < r->n_vcpus; i++) {
		cpus_for_each (cpu, &cores[i].cpus) {
			if (vcpu == r->n_vcpus)
				break;
			plan->map.pin[vcpu].vcpu = r->vcpus ? r->vcpus[vcpu] : vcpu;
			plan->map.pin[vcpu++].pcpu = (unsigned)cpu;
		}
	}
	plan->map.n = vcpu;
	free(cores);
	return 0;
}

static int check_map(const struct topology *t, const struct plan_request *r,
		     struct host_error *error)
{
	for (unsigned i = 0; i < r->map->n; i++) {
		unsigned cpu = r->map->pin[i].pcpu;

		if (!cpus_has(&t->online, cpu))
			return host_fail(error, -EINVAL, "CPU %u is not online", cpu);
		if (!cpus_empty(&r->allowed) && !cpus_has(&r->allowed, cpu))
			return host_fail(error, -EINVAL, "CPU %u is not among those allowed", cpu);
		if (cpus_has(&r->taken, cpu))
			return host_fail(error, -EBUSY, "CPU %u is another machine's", cpu);
		if ((int)cpu == cpus_next(&t->online, 0))
			return host_fail(error, -EINVAL, "CPU %u is the host's: it keeps the time",
					 cpu);
	}
	return 0;
}

/* Whole cores, as far as they can be had: a map may split the first one or another machine's. */
static void dedicate(const struct topology *t, const struct plan_request *r, struct plan *plan)
{
	struct cpus host = { 0 };

	cpus_add(&host, (unsigned)cpus_next(&t->online, 0));
	for (unsigned i = 0; i < plan->map.n; i++) {
		struct cpus core = t->cpu[plan->map.pin[i].pcpu].threads, all = core;

		core = cpus_without(&core, &host);
		core = cpus_without(&core, &r->taken);
		if (!cpus_equal(&core, &all))
			note(plan, "vCPU %u on CPU %u shares a core with %s", plan->map.pin[i].vcpu,
			     plan->map.pin[i].pcpu,
			     cpus_meet(&all, &host) ? "the host" : "another machine");
		plan->dedicated = cpus_or(&plan->dedicated, &core);
	}
}

static void note_empty(struct plan *plan)
{
	struct cpus used = { 0 };
	char *text;

	for (unsigned i = 0; i < plan->map.n; i++)
		cpus_add(&used, plan->map.pin[i].pcpu);
	used = cpus_without(&plan->dedicated, &used);
	if (cpus_empty(&used))
		return;
	text = cpus_list(&used);
	note(plan, "CPU %s stays empty: its core's other thread runs a vCPU", text);
	free(text);
}

/* @what is true of those dedicated CPUs that are not in @have. */
static void note_lack(struct plan *plan, const struct cpus *have, const char *what)
{
	struct cpus lack = cpus_without(&plan->dedicated, have);
	char *text;

	if (cpus_empty(&lack))
		return;
	text = cpus_list(&lack);
	note(plan, "CPU %s %s", text, what);
	free(text);
}

static void notes(const struct topology *t, const struct plan_request *r, struct plan *plan)
{
	bool fast = false, slow = false;
	struct cpus far = { 0 };
	char *text;

	note_empty(plan);
	for (unsigned i = 0; i < plan->map.n; i++) {
		const struct topology_cpu *c = &t->cpu[plan->map.pin[i].pcpu];

		fast = fast || c->kind == CPU_FAST;
		slow = slow || c->kind == CPU_SLOW;
		if (r->node >= 0 && c->node != r->node)
			cpus_add(&far, plan->map.pin[i].pcpu);
	}
	if (fast && slow)
		note(plan, "performance and efficiency cores are mixed: vCPUs differ in speed");
	if (!cpus_empty(&far)) {
		text = cpus_list(&far);
		note(plan, "CPU %s is not on the device's NUMA node %d", text, r->node);
		free(text);
	}
	note_lack(plan, &t->nohz_full,
		  "was not booted with nohz_full=: the host's tick goes on there");
	note_lack(plan, &t->nocbs,
		  "was not booted with rcu_nocbs= or nohz_full=: RCU callbacks run there");
}

int plan_make(const struct topology *t, const struct plan_request *r, struct plan *plan,
	      struct host_error *error)
{
	int err;

	memset(plan, 0, sizeof(*plan));
	if (r->node >= HOST_NODES_MAX || (r->node >= 0 && !cpus_has(&t->nodes, (unsigned)r->node)))
		return host_fail(error, -EINVAL, "there is no NUMA node %d", r->node);
	if (!r->map && !r->n_vcpus)
		return host_fail(error, -EINVAL, "how many vCPUs?");
	err = r->map ? check_map(t, r, error) : choose(t, r, plan, error);
	if (err) {
		plan_done(plan);
		return err;
	}
	if (r->map)
		plan->map = *r->map;
	dedicate(t, r, plan);
	plan->at_boot = cpus_and(&plan->dedicated, &t->isolated);
	plan->at_run_time = cpus_without(&plan->dedicated, &t->isolated);
	plan->housekeeping = cpus_without(&t->online, &plan->dedicated);
	plan->housekeeping = cpus_without(&plan->housekeeping, &r->taken);
	plan->housekeeping = cpus_without(&plan->housekeeping, &t->isolated);
	if (cpus_empty(&plan->housekeeping)) {
		plan_done(plan);
		return host_fail(error, -ENOSPC, "no CPU would be left to the host");
	}
	notes(t, r, plan);
	return 0;
}

void plan_done(struct plan *plan)
{
	host_names_done(&plan->notes);
	memset(plan, 0, sizeof(*plan));
}
