/* SPDX-License-Identifier: BSD-2-Clause */
/* exitless cpu show: the host's CPUs, and who has them. */
#include "cpu.h"

#include "client.h"
#include "commands.h"
#include "table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *state_of(const struct topology *t, unsigned cpu)
{
	if (cpus_has(&t->isolated, cpu))
		return cpus_has(&t->nohz_full, cpu) ? "isolated at boot, nohz_full"
						    : "isolated at boot";
	if (cpus_has(&t->partitions, cpu))
		return "isolated at run time";
	return cpus_has(&t->nohz_full, cpu) ? "nohz_full" : "-";
}

/* Where the thread of a vCPU may run now; "-" if it has no name or is gone. On the heap. */
static char *affinity_now(struct host *host, const struct vm *vm, unsigned vcpu)
{
	struct cpus cpus;

	for (unsigned i = 0; i < vm->n_vcpus; i++)
		if (vm->vcpu[i].index == vcpu &&
		    !host->ops->affinity_get(host, vm->vcpu[i].tid, &cpus))
			return cpus_list(&cpus);
	return host_text_copy("-");
}

static void add_machine(struct host *host, json_t *machines, json_t *owners,
			const struct placement *p)
{
	struct vm *vm = host_alloc(sizeof(*vm));
	char *dedicated = cpus_list(&p->dedicated);
	bool alive = place_alive(host, p);
	json_t *vcpus = json_array();

	/* by the names of its threads: no socket is disturbed for looking */
	if (alive)
		vm_look(host, p->pid, vm, NULL);
	for (unsigned i = 0; i < p->map.n; i++) {
		unsigned vcpu = p->map.pin[i].vcpu, cpu = p->map.pin[i].pcpu;
		char *now = affinity_now(host, vm, vcpu), key[16];

		json_array_append_new(vcpus, json_pack("{sIsIss}", "vcpu", (json_int_t)vcpu, "cpu",
						       (json_int_t)cpu, "runs_on", now));
		snprintf(key, sizeof(key), "%u", cpu);
		json_object_set_new(owners, key, json_sprintf("%s, vCPU %u", p->name, vcpu));
		free(now);
	}
	cpus_for_each (cpu, &p->dedicated) {
		char key[16];

		snprintf(key, sizeof(key), "%d", cpu);
		if (!json_object_get(owners, key))
			json_object_set_new(owners, key, json_sprintf("%s, empty", p->name));
	}
	json_array_append_new(machines,
			      json_pack("{sssisbsssO}", "machine", p->name, "pid", p->pid, "runs",
					alive, "dedicated", dedicated, "vcpus", vcpus));
	json_decref(vcpus);
	vm_done(vm);
	free(vm);
	free(dedicated);
}

static json_t *cpus_to_json(const struct topology *t, const json_t *owners)
{
	json_t *cpus = json_array();

	cpus_for_each (cpu, &t->online) {
		const struct topology_cpu *c = &t->cpu[cpu];
		char key[16], *threads = cpus_list(&c->threads);
		json_t *json = json_pack("{sisisiss}", "cpu", cpu, "node", c->node, "package",
					 c->package, "core", threads);

		snprintf(key, sizeof(key), "%d", cpu);
		json_object_set_new(json, "kind", json_string(cpu_kind_name(c->kind)));
		json_object_set_new(json, "state", json_string(state_of(t, (unsigned)cpu)));
		json_object_set_new(json, "of", json_string(client_text(owners, key)));
		json_array_append_new(cpus, json);
		free(threads);
	}
	return cpus;
}

static void print_cpus(const json_t *cpus)
{
	struct table table;
	const json_t *cpu;
	size_t i;

	table_init(&table, ">CPU|>NODE|>PACKAGE|CORE|KIND|STATE|OF");
	json_array_foreach((json_t *)cpus, i, cpu) table_row(
		&table, "%lld|%lld|%lld|%s|%s|%s|%s", client_int(cpu, "cpu"),
		client_int(cpu, "node"), client_int(cpu, "package"), client_text(cpu, "core"),
		client_text(cpu, "kind"), client_text(cpu, "state"), client_text(cpu, "of"));
	table_done(&table, stdout);
}

static void print_machines(const json_t *machines)
{
	struct table table;
	const json_t *machine, *vcpu;
	size_t i, j;

	table_init(&table, "MACHINE|>PID|>VCPU|>CPU|RUNS ON");
	json_array_foreach((json_t *)machines, i, machine)
	{
		bool runs = json_is_true(json_object_get(machine, "runs"));

		json_array_foreach(json_object_get(machine, "vcpus"), j, vcpu) table_row(
			&table, "%s|%lld|%lld|%lld|%s", client_text(machine, "machine"),
			client_int(machine, "pid"), client_int(vcpu, "vcpu"),
			client_int(vcpu, "cpu"), runs ? client_text(vcpu, "runs_on") : "gone");
	}
	table_done(&table, stdout);
}

int cpu_show(struct host *host, const struct topology *t)
{
	struct host_names pids = place_all(host);
	int unread = errno;
	struct placement *p = host_alloc(sizeof(*p));
	struct host_error error = { "" }, why = { "" };
	json_t *machines = json_array(), *owners = json_object(), *cpus;

	if (unread)
		host_fail(&error, -unread, "it cannot be told who has CPUs: %s", strerror(unread));
	for (unsigned i = 0; i < pids.n; i++) {
		int err = place_read(host, atoi(pids.name[i]), p, &why);

		if (!err)
			add_machine(host, machines, owners, p);
		else if (err != -ENOENT)
			error = why;
	}
	host_names_done(&pids);
	free(p);
	cpus = cpus_to_json(t, owners);
	if (cli_json()) {
		json_t *all = json_pack("{sOsO}", "cpus", cpus, "machines", machines);

		if (error.text[0])
			json_object_set_new(all, "error", json_pack("{ss}", "message", error.text));
		client_print(all);
		json_decref(all);
	} else {
		print_cpus(cpus);
		print_machines(machines);
	}
	json_decref(cpus);
	json_decref(machines);
	json_decref(owners);
	if (!error.text[0])
		return CLI_OK;
	fprintf(stderr, "exitless cpu: not all is shown: %s\n", error.text);
	return CLI_FAILED;
}
