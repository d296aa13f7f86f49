/* SPDX-License-Identifier: BSD-2-Clause */
/* exitless direct: direct mode of a machine's vCPUs, and what it does to their exits. */
#include "host/direct.h"

#include "client.h"
#include "commands.h"
#include "host/exits.h"
#include "host/place.h"
#include "options.h"
#include "table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SECONDS 2

struct request {
	const char *vcpu_text, *seconds_text, *qmp;
	bool timer, ipi;
	long vcpu, seconds; /* -1: all */
	struct host host;
	struct vm vm;
	struct host_error error, exits_error; /* why exits were not counted */
};

static int said(const struct request *r)
{
	return cli_failed("direct", "%s", r->error.text);
}

static bool wanted(const struct request *r, unsigned vcpu)
{
	return r->vcpu < 0 || r->vcpu == (long)vcpu;
}

/* ---- exits -------------------------------------------------------------------------------------
 */

/* What cannot be counted is no reason to stop, so it is no result in JSON of its own. */
static void not_counted(const struct request *r)
{
	fprintf(stderr, "exitless direct: %s\n", r->exits_error.text);
}

static void add_rates(const struct request *r, json_t *all, json_t *before, json_t *after)
{
	if (before)
		json_object_set(all, "exits_before", before);
	if (after)
		json_object_set(all, "exits", after);
	if (r->exits_error.text[0])
		json_object_set_new(all, "exits_error", json_string(r->exits_error.text));
}

/* Exits a second by reason of each wanted vCPU, by its number; NULL (after a word on why) if they
 * cannot be counted. */
static json_t *measure(struct request *r)
{
	struct exits *exits = r->seconds ? exits_begin(&r->host, &r->exits_error) : NULL;
	json_t *counts, *rates = NULL, *n;
	double seconds;
	const char *reason;

	if (!r->seconds)
		return NULL;
	if (!exits) {
		not_counted(r);
		r->seconds = 0;
		return NULL;
	}
	seconds = exits_wait(exits, (unsigned)r->seconds);
	counts = exits_end(&r->host, exits, &r->exits_error);
	if (!counts) {
		not_counted(r);
		return NULL;
	}
	rates = json_object();
	for (unsigned i = 0; i < r->vm.n_vcpus; i++) {
		char tid[16], index[16];
		double all = 0, interrupts = 0;
		json_t *rate;

		if (!wanted(r, r->vm.vcpu[i].index))
			continue;
		rate = json_object();
		snprintf(tid, sizeof(tid), "%d", r->vm.vcpu[i].tid);
		snprintf(index, sizeof(index), "%u", r->vm.vcpu[i].index);
		json_object_foreach(json_object_get(counts, tid), reason, n)
		{
			double per_second = (double)json_integer_value(n) / seconds;

			all += per_second;
			if (exits_by_interrupts(reason))
				interrupts += per_second;
			json_object_set_new(rate, reason, json_real(per_second));
		}
		json_object_set_new(rate, "all", json_real(all));
		json_object_set_new(rate, "interrupts and timer", json_real(interrupts));
		json_object_set_new(rates, index, rate);
	}
	json_decref(counts);
	return rates;
}

static double rate_of(const json_t *rates, const char *vcpu, const char *reason)
{
	return json_number_value(json_object_get(json_object_get(rates, vcpu), reason));
}

static void print_rate(struct table *table, const char *vcpu, const char *reason,
		       const json_t *before, const json_t *after)
{
	double b = rate_of(before, vcpu, reason), a = rate_of(after, vcpu, reason);

	if (!after)
		table_row(table, "%s|%s|%.1f|-|-", vcpu, reason, b);
	else if (b > 0)
		table_row(table, "%s|%s|%.1f|%.1f|%.1f %%", vcpu, reason, b, a, 100 * a / b);
	else
		table_row(table, "%s|%s|%.1f|%.1f|-", vcpu, reason, b, a);
}

/* Sums first, then the reasons, those of before first. @after may be NULL. */
static void print_rates(const json_t *before, const json_t *after)
{
	const char *vcpu, *reason;
	json_t *reasons, *value;
	struct table table;

	table_init(&table,
		   after ? "VCPU|EXITS/S|>BEFORE|>AFTER|>RATIO" : "VCPU|EXITS|>A SECOND|>|>");
	json_object_foreach((json_t *)before, vcpu, reasons)
	{
		print_rate(&table, vcpu, "all", before, after);
		print_rate(&table, vcpu, "interrupts and timer", before, after);
		json_object_foreach(reasons, reason,
				    value) if (strcmp(reason, "all") != 0 &&
					       strcmp(reason, "interrupts and timer") != 0)
			print_rate(&table, vcpu, reason, before, after);
		json_object_foreach(json_object_get(after, vcpu), reason,
				    value) if (!json_object_get(reasons, reason))
			print_rate(&table, vcpu, reason, before, after);
	}
	table_done(&table, stdout);
}

/* ---- status ------------------------------------------------------------------------------------
 */

/* What kept most entries stock between two looks; NULL if all were direct. */
static const char *most(const json_t *before, const json_t *now, double *direct_percent)
{
	const char *word, *worst = NULL;
	json_t *n, *old = json_object_get(before, "entries");
	long long all = 0, direct = 0, highest = 0;

	json_object_foreach(json_object_get((json_t *)now, "entries"), word, n)
	{
		long long more = json_integer_value(n) -
				 json_integer_value(json_object_get(old, word));

		all += more;
		if (!strcmp(word, "direct")) {
			direct = more;
		} else if (more > highest) {
			highest = more;
			worst = word;
		}
	}
	*direct_percent = all ? 100.0 * (double)direct / (double)all : 0;
	return worst;
}

/* One object per vCPU. @before and @now: what the module showed, some time apart; where no time was
 * wanted, it is what there was since it was switched on. */
static json_t *states(const struct request *r, const json_t *before, const json_t *now)
{
	json_t *list = json_array(), *foreign;
	size_t j;

	for (unsigned i = 0; i < r->vm.n_vcpus; i++) {
		unsigned index = r->vm.vcpu[i].index;
		const json_t *was = r->seconds ? direct_vcpu(before, r->vm.pid, index) : NULL,
			     *is = direct_vcpu(now, r->vm.pid, index);
		const char *last = client_text(is, "why"), *worst;
		double percent = 0;
		json_t *one;

		if (!wanted(r, index))
			continue;
		one = json_pack("{sIsb}", "vcpu", (json_int_t)index, "on", is != NULL);
		json_array_append_new(list, one);
		if (!is)
			continue;
		worst = most(was, is, &percent);
		json_object_set(one, "cpu", json_object_get(is, "cpu"));
		json_object_set_new(one, "timer", json_boolean(client_int(is, "timer")));
		json_object_set_new(one, "now", json_string(last));
		json_object_set_new(one, "direct_percent", json_real(percent));
		if (strcmp(last, "direct") != 0) {
			json_object_set_new(one, "why", json_string(last));
			json_object_set_new(one, "meaning", json_string(direct_why(last)));
		}
		if (worst) {
			json_object_set_new(one, "mostly", json_string(worst));
			json_object_set_new(one, "mostly_meaning", json_string(direct_why(worst)));
			json_object_set_new(one, "passes", json_boolean(!direct_why_lasts(worst)));
		}
		json_array_foreach(json_object_get(now, "foreign"), j,
				   foreign) if (client_int(foreign, "pid") == r->vm.pid &&
						client_int(foreign, "index") == index)
			json_object_set(one, "foreign_irq", json_object_get(foreign, "irq"));
		json_object_set(one, "module", (json_t *)is);
	}
	return list;
}

static void print_states(const json_t *list)
{
	struct table table;
	const json_t *one;
	size_t i;

	table_init(&table, ">VCPU|>CPU|DIRECT|>ENTRIES DIRECT|TIMER|LAST ENTRY|MOSTLY IN THE WAY");
	json_array_foreach((json_t *)list, i, one)
	{
		bool on = json_is_true(json_object_get(one, "on"));
		char irq[32] = "";

		if (json_object_get(one, "foreign_irq"))
			snprintf(irq, sizeof(irq), " (interrupt %lld)",
				 client_int(one, "foreign_irq"));
		if (!on)
			table_row(&table, "%lld|-|off|-|-|-|-", client_int(one, "vcpu"));
		else
			table_row(&table, "%lld|%lld|on|%.1f %%|%s|%s|%s%s",
				  client_int(one, "vcpu"), client_int(one, "cpu"),
				  json_real_value(json_object_get(one, "direct_percent")),
				  json_is_true(json_object_get(one, "timer")) ? "guest's" : "KVM's",
				  client_text(one, "now"), client_text(one, "mostly_meaning"), irq);
	}
	table_done(&table, stdout);
}

/* Measures while the module counts, and shows both. @before: rates of another time, or NULL. */
static int report(struct request *r, json_t *before)
{
	json_t *first = direct_read(&r->host, &r->error), *second, *rates, *list, *all;

	if (!first)
		return said(r);
	rates = measure(r);
	second = direct_read(&r->host, &r->error);
	list = states(r, first, second);
	if (cli_json()) {
		all = json_pack("{sssisO}", "machine", r->vm.name, "pid", r->vm.pid, "vcpus", list);
		add_rates(r, all, before, rates);
		client_print(all);
		json_decref(all);
	} else {
		print_states(list);
		if (before)
			print_rates(before, rates);
		else if (rates)
			print_rates(rates, NULL);
	}
	json_decref(list);
	json_decref(rates);
	json_decref(first);
	json_decref(second);
	return CLI_OK;
}

/* ---- on and off --------------------------------------------------------------------------------
 */

/* The CPU that the vCPU is bound to; -1 after saying that it is bound to none. */
static int cpu_of(struct request *r, unsigned i)
{
	struct cpus cpus = { 0 };
	char *list;

	if (!r->host.ops->affinity_get(&r->host, r->vm.vcpu[i].tid, &cpus) &&
	    cpus_count(&cpus) == 1)
		return cpus_next(&cpus, 0);
	list = cpus_list(&cpus);
	cli_failed("direct",
		   "vCPU %u may run on CPU %s; it needs one of its own: exitless cpu apply",
		   r->vm.vcpu[i].index, list);
	free(list);
	return -1;
}

static int on(struct request *r)
{
	json_t *before;
	int status = CLI_OK;
	unsigned done = 0;

	for (unsigned i = 0; i < r->vm.n_vcpus; i++)
		if (wanted(r, r->vm.vcpu[i].index) && cpu_of(r, i) < 0)
			return CLI_FAILED;
	before = measure(r);
	for (unsigned i = 0; i < r->vm.n_vcpus && !status; i++) {
		struct direct_wish wish = {
			.pid = r->vm.pid,
			.vcpu = r->vm.vcpu[i].index,
			.timer = r->timer,
			.ipi = r->ipi,
		};

		if (!wanted(r, wish.vcpu))
			continue;
		wish.cpu = (unsigned)cpu_of(r, i);
		if (direct_on(&r->host, &wish, &r->error))
			status = said(r);
		else
			done++;
	}
	/* as a whole or not at all, but leave alone what was on before */
	for (unsigned i = 0; status && i < r->vm.n_vcpus && done; i++)
		if (wanted(r, r->vm.vcpu[i].index)) {
			direct_off(&r->host, r->vm.pid, (int)r->vm.vcpu[i].index, NULL);
			done--;
		}
	if (!status)
		status = report(r, before);
	json_decref(before);
	return status;
}

static int off(struct request *r)
{
	json_t *before = measure(r), *after, *all;

	if (direct_off(&r->host, r->vm.pid, (int)r->vcpu, &r->error)) {
		json_decref(before);
		return said(r);
	}
	after = measure(r);
	if (cli_json()) {
		all = json_pack("{sssi}", "machine", r->vm.name, "pid", r->vm.pid);
		add_rates(r, all, before, after);
		client_print(all);
		json_decref(all);
	} else if (before && after) {
		print_rates(before, after);
	}
	json_decref(before);
	json_decref(after);
	return CLI_OK;
}

static int run(struct request *r, int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	bool on_it = !strcmp(verb, "on"), off_it = !strcmp(verb, "off");
	bool known = false;

	if (!on_it && !off_it && strcmp(verb, "status") != 0)
		return cli_usage("direct", "on, off or status?");
	if (argc != 3)
		return cli_usage("direct", "which machine?");
	if ((r->timer || r->ipi) && !on_it)
		return cli_usage("direct", "--timer and --ipi go with on");
	if (!cli_number("direct", "--vcpu", r->vcpu_text, 0, HOST_CPUS_MAX - 1, &r->vcpu) ||
	    !cli_number("direct", "--seconds", r->seconds_text, 0, 3600, &r->seconds))
		return CLI_USAGE;
	if (!cli_is_root("direct"))
		return CLI_FAILED;
	host_init(&r->host, NULL);
	if (vm_find(&r->host, argv[2], r->qmp, &r->vm, &r->error) < 0)
		return said(r);
	for (unsigned i = 0; i < r->vm.n_vcpus; i++)
		known = known || wanted(r, r->vm.vcpu[i].index);
	if (!known) {
		host_fail(&r->error, -EINVAL, "%s has no vCPU %ld", r->vm.name, r->vcpu);
		return said(r);
	}
	return on_it ? on(r) : off_it ? off(r) : report(r, NULL);
}

int cmd_direct(int argc, char **argv)
{
	struct request *r = host_alloc(sizeof(*r));
	const struct cli_option options[] = {
		{ "--vcpu", .text = &r->vcpu_text }, { "--seconds", .text = &r->seconds_text },
		{ "--qmp", .text = &r->qmp },	     { "--timer", .flag = &r->timer },
		{ "--ipi", .flag = &r->ipi },
	};
	int status = CLI_USAGE;

	r->vcpu = -1;
	r->seconds = DEFAULT_SECONDS;
	argc = cli_take_options(argc, argv, options, sizeof(options) / sizeof(options[0]));
	if (argc >= 0)
		status = run(r, argc, argv);
	vm_done(&r->vm);
	free(r);
	return status;
}
