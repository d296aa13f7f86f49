/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moving devices and host ports between cores by measured load. Each interval: a core's load is the
 * share of time it worked; an endpoint's is its queues' part of the cycles that its core spent in
 * polls. From a core that is nearly full, the endpoint moves to the least loaded core that
 * brings the busier of the two down most.
 *
 * Against moving back and forth: the gain must be worth it, the same choice must come out of two
 * intervals running, and who was moved stays for a while. An endpoint whose configuration names a
 * core stays on it. A dry run decides and counts, and moves nothing.
 */
#include "manager/balance.h"

#include "base/clock.h"
#include "base/log.h"
#include "manager/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool balance_choose(const struct balance_core *cores, unsigned n_cores,
		    const struct balance_endpoint *endpoints, unsigned n_endpoints, unsigned high,
		    unsigned gain, struct balance_choice *choice)
{
	unsigned from = 0, to = 0, best = 0, least = MAX(gain, 1u);

	for (unsigned i = 1; i < n_cores; i++) {
		from = cores[i].load > cores[from].load ? i : from;
		to = cores[i].load < cores[to].load ? i : to;
	}
	if (n_cores < 2 || from == to || cores[from].load < high)
		return false;
	for (unsigned i = 0; i < n_endpoints; i++) {
		const struct balance_endpoint *end = &endpoints[i];
		unsigned left, there, after;

		if (end->core != from || end->stays || end->load > cores[from].load)
			continue;
		left = cores[from].load - end->load;
		there = cores[to].load + end->load;
		after = MAX(left, there);
		if (after + least > cores[from].load)
			continue;
		best = cores[from].load - after;
		least = best + 1;
		*choice = (struct balance_choice){ i, from, to, best };
	}
	return best != 0;
}

/* ---- measuring --------------------------------------------------------------------------- */

/* What moved since the last interval. */
static unsigned core_load(struct core *core)
{
	struct io_core_stats now, *before = &core->seen;
	uint64_t busy_ns, all_ns;

	io_core_stats(core->io, &now);
	busy_ns = now.busy_ns - before->busy_ns;
	all_ns = busy_ns + now.idle_ns - before->idle_ns + now.sleep_ns - before->sleep_ns;
	*before = now;
	return all_ns ? (unsigned)MIN(1000 * busy_ns / all_ns, 1000ul) : 0;
}

static uint64_t endpoint_cycles(struct endpoint *end)
{
	uint64_t cycles = 0, since;

	for (unsigned i = 0; i < end->n_queues; i++)
		cycles += READ_ONCE(end->queues[i]->stats.cycles);
	since = cycles - end->cycles_seen;
	end->cycles_seen = cycles;
	return since;
}

struct round {
	struct manager *m;
	struct core **cores;
	struct balance_core *loads;
	uint64_t *core_cycles;
	unsigned n_cores;
	struct endpoint **ends;
	struct balance_endpoint *numbers;
	uint64_t *cycles;
	unsigned n_ends;
};

static void round_add(struct round *r, struct endpoint *end, const char *core)
{
	unsigned i = 0, n = r->n_ends;

	if (!end->core)
		return;
	while (r->cores[i] != end->core)
		i++;
	r->ends[n] = end;
	r->cycles[n] = endpoint_cycles(end);
	r->core_cycles[i] += r->cycles[n];
	r->numbers[n] = (struct balance_endpoint){
		.core = i,
		.stays = (core[0] && strcmp(core, CORE_AUTO)) ||
			 (end->moved_ns && time_now_ns() - end->moved_ns < r->m->balance.hold_ns),
	};
	r->n_ends++;
}

/* Counts for the arrays; the lists are short. */
static void count_all(struct manager *m, unsigned *n_cores, unsigned *n_ends)
{
	struct machine *machine;
	struct device *dev;
	struct core *core;
	struct port *port;

	*n_cores = *n_ends = 0;
	list_for_each(core, &m->cores, node)(*n_cores)++;
	list_for_each(port, &m->ports, node)(*n_ends)++;
	list_for_each(machine, &m->machines, node)
		list_for_each(dev, &machine->devices, node)(*n_ends)++;
}

static void round_fill(struct round *r)
{
	struct manager *m = r->m;
	struct machine *machine;
	struct device *dev;
	struct core *core;
	struct port *port;

	list_for_each(core, &m->cores, node)
	{
		r->loads[r->n_cores].load = core_load(core);
		r->cores[r->n_cores++] = core;
	}
	list_for_each(port, &m->ports, node) round_add(r, &port->end, port->spec.core);
	list_for_each(machine, &m->machines, node) list_for_each(dev, &machine->devices, node)
		round_add(r, &dev->end, dev->spec.core);
	for (unsigned i = 0; i < r->n_ends; i++) {
		struct balance_endpoint *number = &r->numbers[i];
		uint64_t all = r->core_cycles[number->core];

		number->load = all ? (unsigned)(r->loads[number->core].load * (double)r->cycles[i] /
						(double)all)
				   : 0;
	}
}

/* ---- moving ------------------------------------------------------------------------------ */

static const char *endpoint_name(const struct endpoint *end)
{
	return end->port ? end->port->name : end->n_queues ? end->queues[0]->name : "?";
}

static void decide(struct round *r)
{
	struct balance_spec *spec = &r->m->balance;
	struct balance_stats *stats = &r->m->balance_stats;
	struct balance_choice choice;
	struct endpoint *end;
	struct core *to;

	if (!balance_choose(r->loads, r->n_cores, r->numbers, r->n_ends, 10 * spec->high_percent,
			    10 * spec->gain_percent, &choice)) {
		r->m->balance_wish = NULL;
		return;
	}
	end = r->ends[choice.endpoint];
	to = r->cores[choice.to];
	if (r->m->balance_wish != end || r->m->balance_wish_core != to) {
		r->m->balance_wish = end; /* again next time, and it goes */
		r->m->balance_wish_core = to;
		stats->wishes++;
		return;
	}
	r->m->balance_wish = NULL;
	end->moved_ns = time_now_ns();
	snprintf(stats->last, sizeof(stats->last), "%s from %s to %s, gains %u.%u %%",
		 endpoint_name(end), r->cores[choice.from]->spec.name, to->spec.name,
		 choice.gain / 10, choice.gain % 10);
	if (spec->mode == BALANCE_DRY_RUN) {
		stats->dry_moves++;
		log_info("balance: would move %s", stats->last);
	} else if (endpoint_move(end, to, NULL)) {
		stats->failed++;
	} else {
		stats->moves++;
		log_info("balance: moved %s", stats->last);
	}
}

void balance_round(struct manager *m)
{
	struct round r = { .m = m };
	unsigned n_cores, n_ends;

	count_all(m, &n_cores, &n_ends);
	r.cores = calloc(n_cores + 1, sizeof(*r.cores));
	r.loads = calloc(n_cores + 1, sizeof(*r.loads));
	r.core_cycles = calloc(n_cores + 1, sizeof(*r.core_cycles));
	r.ends = calloc(n_ends + 1, sizeof(*r.ends));
	r.numbers = calloc(n_ends + 1, sizeof(*r.numbers));
	r.cycles = calloc(n_ends + 1, sizeof(*r.cycles));
	if (r.cores && r.loads && r.core_cycles && r.ends && r.numbers && r.cycles) {
		round_fill(&r);
		m->balance_stats.rounds++;
		decide(&r);
	}
	free(r.cores);
	free(r.loads);
	free(r.core_cycles);
	free(r.ends);
	free(r.numbers);
	free(r.cycles);
}

static void again(struct loop_timer *timer)
{
	struct manager *m = container_of(timer, struct manager, balance_timer);

	balance_round(m);
	loop_timer_set(m->loop, timer, time_now_ns() + m->balance.interval_ns, again);
}

void manager_balance_set(struct manager *m, const struct balance_spec *spec)
{
	loop_timer_cancel(&m->balance_timer);
	m->balance = *spec;
	m->balance_wish = NULL;
	if (spec->mode != BALANCE_OFF)
		loop_timer_set(m->loop, &m->balance_timer, time_now_ns() + spec->interval_ns,
			       again);
}

const struct balance_spec *manager_balance(const struct manager *m)
{
	return &m->balance;
}

void manager_balance_stats(const struct manager *m, struct balance_stats *stats)
{
	*stats = m->balance_stats;
}
