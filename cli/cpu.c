/* SPDX-License-Identifier: BSD-2-Clause */
/* exitless cpu: physical CPUs for a machine's vCPUs alone. */
#include "cpu.h"

#include "client.h"
#include "commands.h"
#include "host/direct.h"
#include "host/pci.h"
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct request {
	const char *map_file, *vcpus, *node, *device, *cpus, *qmp, *root;
	bool no_watch, gone, all;
	long n_vcpus, wanted_node; /* of the options; 0, -1: not given */
	struct cpus allowed, taken;
	struct host host;
	struct topology *topology;
	struct vm vm;
	struct cpu_map map;
	struct plan plan;
	struct changes changes;
};

/* ---- what is wanted ----------------------------------------------------------------------------
 */

/* The node of the device that was named, else of the machine's first; -1: none or unknown. */
static int find_node(struct request *r, struct host_error *error)
{
	struct pci_device device = { .node = -1 };
	int err;

	if (r->wanted_node >= 0)
		return (int)r->wanted_node;
	if (r->device) {
		err = pci_read(&r->host, r->device, &device, error);
		if (err)
			return err;
	} else if (r->vm.devices.n) {
		pci_read(&r->host, r->vm.devices.name[0], &device, NULL);
	}
	return device.node < 0 ? -1 : device.node;
}

static int make_plan(struct request *r, struct host_error *error)
{
	struct plan_request wish = { .n_vcpus = r->vm.n_vcpus };
	unsigned vcpus[HOST_CPUS_MAX];
	int err;

	for (unsigned i = 0; i < r->vm.n_vcpus; i++)
		vcpus[i] = r->vm.vcpu[i].index;

	wish.node = find_node(r, error);
	if (wish.node < -1)
		return wish.node;
	if (r->n_vcpus)
		wish.n_vcpus = (unsigned)r->n_vcpus;
	/* one that has too few of them is refused later */
	if (wish.n_vcpus <= r->vm.n_vcpus)
		wish.vcpus = vcpus;
	wish.allowed = r->allowed;
	if (r->map_file) {
		err = cpu_map_read(&r->map, r->map_file, error);
		if (err)
			return err;
		wish.map = &r->map;
	}
	err = place_taken(&r->host, r->vm.pid, &r->taken, error);
	if (err)
		return err;
	wish.taken = r->taken;
	return plan_make(r->topology, &wish, &r->plan, error);
}

/* ---- what comes out ----------------------------------------------------------------------------
 */

static void set_cpus(json_t *json, const char *key, const struct cpus *cpus)
{
	char *text = cpus_list(cpus);

	json_object_set_new(json, key, json_string(text));
	free(text);
}

/* Those that are dedicated, by this plan or to other machines, and those that are @so already. */
static char *dedicated_or(const struct request *r, const struct cpus *so)
{
	struct cpus all = cpus_or(&r->plan.dedicated, &r->taken);

	all = cpus_or(&all, so);
	return cpus_list(&all);
}

/* The kernel parameters with which nothing would be left to do at run time, and nothing that was
 * booted with is lost. */
static char *boot_parameters(const struct request *r)
{
	char *isolated = dedicated_or(r, &r->topology->isolated),
	     *tickless = dedicated_or(r, &r->topology->nohz_full),
	     *callbacks = dedicated_or(r, &r->topology->nocbs),
	     *rest = cpus_list(&r->plan.housekeeping), *text;

	text = host_printf("isolcpus=managed_irq,domain,%s nohz_full=%s rcu_nocbs=%s "
			   "irqaffinity=%s",
			   isolated, tickless, callbacks, rest);
	free(isolated);
	free(tickless);
	free(callbacks);
	free(rest);
	return text;
}

static json_t *report(const struct request *r)
{
	const struct plan *plan = &r->plan;
	json_t *json = json_object(), *map = json_array(), *notes = json_array(),
	       *changes = json_array();
	char *text;

	if (r->vm.pid) {
		json_object_set_new(json, "machine", json_string(r->vm.name));
		json_object_set_new(json, "pid", json_integer(r->vm.pid));
	}
	for (unsigned i = 0; i < plan->map.n; i++)
		json_array_append_new(map, json_pack("{sIsIsi}", "vcpu",
						     (json_int_t)plan->map.pin[i].vcpu, "cpu",
						     (json_int_t)plan->map.pin[i].pcpu, "node",
						     r->topology->cpu[plan->map.pin[i].pcpu].node));
	json_object_set_new(json, "map", map);
	set_cpus(json, "dedicated", &plan->dedicated);
	set_cpus(json, "isolated_at_boot", &plan->at_boot);
	set_cpus(json, "isolated_at_run_time", &plan->at_run_time);
	set_cpus(json, "housekeeping", &plan->housekeeping);
	for (unsigned i = 0; i < plan->notes.n; i++)
		json_array_append_new(notes, json_string(plan->notes.name[i]));
	json_object_set_new(json, "notes", notes);
	text = boot_parameters(r);
	json_object_set_new(json, "boot_parameters", json_string(text));
	free(text);
	for (unsigned i = 0; i < r->changes.n; i++) {
		text = change_print(&r->changes.change[i]);
		json_array_append_new(changes, json_string(text));
		free(text);
	}
	json_object_set_new(json, "changes", changes);
	return json;
}

/* The map is in the form that --map reads; the rest are comments in it. */
static void print_plan(const json_t *json)
{
	const json_t *item;
	size_t i;

	printf("# vcpu pcpu\n");
	json_array_foreach(json_object_get(json, "map"), i, item)
		printf("%lld %lld\n", client_int(item, "vcpu"), client_int(item, "cpu"));
	printf("# dedicated %s; isolated at boot: %s; at run time: %s; left to the host: %s\n",
	       client_text(json, "dedicated"), client_text(json, "isolated_at_boot"),
	       client_text(json, "isolated_at_run_time"), client_text(json, "housekeeping"));
	json_array_foreach(json_object_get(json, "notes"), i, item)
		printf("# %s\n", json_string_value(item));
	printf("# best at boot: %s\n", client_text(json, "boot_parameters"));
	json_array_foreach(json_object_get(json, "changes"), i, item)
		printf("# change: %s\n", json_string_value(item));
}

/* ---- the verbs ---------------------------------------------------------------------------------
 */

static int said(const struct host_error *error)
{
	return error->text[0] ? cli_failed("cpu", "%s", error->text) : CLI_FAILED;
}

/* Machines that have ended without anybody noticing. */
static int undo_gone(struct host *host, bool all, unsigned *n)
{
	struct host_names pids = place_all(host);
	int status = CLI_OK;

	for (unsigned i = 0; i < pids.n; i++) {
		struct host_error error = { "" };
		int pid = atoi(pids.name[i]), err;

		/* one that is gone is direct no more */
		if (all)
			direct_off(host, pid, -1, NULL);
		err = place_undo(host, pid, !all, &error);
		if (!err) {
			++*n;
		} else if (err < 0 && err != -ENOENT) {
			fprintf(stderr, "exitless cpu: %s\n", error.text);
			status = CLI_FAILED;
		}
	}
	host_names_done(&pids);
	return status;
}

static int apply(struct request *r)
{
	struct host_error error = { "" };
	unsigned refused = 0;
	json_t *json;
	int err;

	err = place_apply(&r->host, &r->plan, &r->vm, &r->changes, &refused, &error);
	if (err)
		return said(&error);
	if (!r->no_watch) {
		err = cpu_watch(r->vm.pid);
		if (err)
			fprintf(stderr,
				"exitless cpu: nobody watches for the machine's end (%s); call "
				"exitless cpu undo then\n",
				strerror(-err));
	}
	if (cli_json()) {
		json = report(r);
		json_object_set_new(json, "refused", json_integer(refused));
		client_print(json);
		json_decref(json);
		return CLI_OK;
	}
	for (unsigned i = 0; i < r->plan.map.n; i++)
		printf("vCPU %u: CPU %u\n", r->plan.map.pin[i].vcpu, r->plan.map.pin[i].pcpu);
	for (unsigned i = 0; i < r->plan.notes.n; i++)
		printf("%s\n", r->plan.notes.name[i]);
	printf("%u changes made, %u more refused by the kernel\n", r->changes.n - refused, refused);
	return CLI_OK;
}

static int plan_or_apply(struct request *r, const char *which, bool do_it)
{
	struct host_error error = { "" };
	unsigned n = 0;
	json_t *json;
	int err = 0;

	if (do_it)
		undo_gone(&r->host, false, &n);
	if (which)
		err = vm_find(&r->host, which, r->qmp, &r->vm, &error);
	if (!err)
		err = make_plan(r, &error);
	if (!err && which)
		err = place_build(&r->host, r->topology, &r->plan, &r->vm, &r->changes, &error);
	if (err)
		return said(&error);
	if (do_it)
		return apply(r);
	json = report(r);
	if (cli_json())
		client_print(json);
	else
		print_plan(json);
	json_decref(json);
	return CLI_OK;
}

static int say_undone(unsigned n, int status)
{
	json_t *json = json_pack("{si}", "undone", (int)n);

	if (status)
		json_object_set_new(json, "error",
				    json_pack("{ss}", "message", "not all could be undone"));
	if (cli_json())
		client_print(json);
	else
		printf("%u undone\n", n);
	json_decref(json);
	return status;
}

static int undo(struct request *r, const char *which)
{
	struct host_error error = { "" };
	unsigned n = 0;
	int status, pid;

	if (!which) {
		status = undo_gone(&r->host, r->all, &n);
		return say_undone(n, status);
	}
	pid = place_find(&r->host, which, &error);
	if (pid < 0)
		return said(&error);
	/* a vCPU that loses its CPU cannot be direct; that it is not, or no module, is no mistake
	 */
	direct_off(&r->host, pid, -1, NULL);
	if (place_undo(&r->host, pid, false, &error) < 0)
		return said(&error);
	return cli_json() ? say_undone(1, CLI_OK) : CLI_OK;
}

enum {
	PLAN = 1,
	APPLY = 2,
	UNDO = 4,
	SHOW = 8,
};

/* False after saying which option that was given is none of this verb's. */
static bool check_options(const struct request *r, const char *name, unsigned verb)
{
	const struct {
		const char *name;
		bool given;
		unsigned verbs;
	} options[] = {
		{ "--map", r->map_file, PLAN | APPLY },
		{ "--vcpus", r->vcpus, PLAN | APPLY },
		{ "--node", r->node, PLAN | APPLY },
		{ "--device", r->device, PLAN | APPLY },
		{ "--cpus", r->cpus, PLAN | APPLY },
		{ "--qmp", r->qmp, PLAN | APPLY },
		{ "--root", r->root, PLAN | SHOW },
		{ "--no-watch", r->no_watch, APPLY },
		{ "--gone", r->gone, UNDO },
		{ "--all", r->all, UNDO },
	};

	for (unsigned i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (options[i].given && !(options[i].verbs & verb)) {
			cli_usage("cpu", "%s is not for %s", options[i].name, name);
			return false;
		}
	}
	return true;
}

/* What is asked for without looking at what it names; CLI_OK if there is sense in it. */
static int check(const struct request *r, int argc, char **argv, unsigned verb)
{
	const char *which = argc > 2 ? argv[2] : NULL;

	if (!verb)
		return cli_usage("cpu", "plan, apply, undo or show?");
	if (argc > 3 || (verb == SHOW && which))
		return cli_usage("cpu", "what is \"%s\"?", argv[verb == SHOW ? 2 : 3]);
	if (!check_options(r, argv[1], verb))
		return CLI_USAGE;
	if (verb == APPLY && !which)
		return cli_usage("cpu", "which machine?");
	if (verb == UNDO && (which != NULL) + r->gone + r->all != 1)
		return cli_usage("cpu", "undo which machine, --gone or --all?");
	if (verb == PLAN && !which && !r->map_file && !r->vcpus)
		return cli_usage("cpu", "a machine, --vcpus or --map is wanted");
	if (r->map_file && r->vcpus)
		return cli_usage("cpu", "--map or --vcpus, not both");
	if (r->node && r->device)
		return cli_usage("cpu", "--node or --device, not both");
	if (r->qmp && !which)
		return cli_usage("cpu", "--qmp is for a machine");
	return CLI_OK;
}

static bool parse_cpus(struct request *r)
{
	int err = r->cpus ? cpus_parse_list(&r->allowed, r->cpus) : 0;

	if (err == -ERANGE)
		cli_usage("cpu", "--cpus: CPU numbers end at %d, not \"%s\"", HOST_CPUS_MAX - 1,
			  r->cpus);
	/* none would be taken for all */
	else if (r->cpus && (err || !cpus_count(&r->allowed)))
		err = cli_usage("cpu", "--cpus: \"%s\" is no list of CPUs like 2-5,8", r->cpus);
	return !err;
}

static int run(struct request *r, int argc, char **argv)
{
	static const char *const verbs[] = { "plan", "apply", "undo", "show" };
	const char *which = argc > 2 ? argv[2] : NULL;
	struct host_error error = { "" };
	unsigned verb = 0;
	int status;

	for (unsigned i = 0; i < 4; i++)
		if (argc > 1 && !strcmp(argv[1], verbs[i]))
			verb = 1u << i;
	status = check(r, argc, argv, verb);
	if (status)
		return status;
	if (!cli_number("cpu", "--vcpus", r->vcpus, 1, HOST_CPUS_MAX, &r->n_vcpus) ||
	    !cli_number("cpu", "--node", r->node, 0, HOST_NODES_MAX - 1, &r->wanted_node) ||
	    !parse_cpus(r))
		return CLI_USAGE;
	if (verb & (APPLY | UNDO) && !cli_is_root("cpu"))
		return CLI_FAILED;
	host_init(&r->host, r->root);
	if (verb == UNDO)
		return undo(r, which);
	r->topology = topology_read(&r->host, &error);
	if (!r->topology)
		return said(&error);
	return verb == SHOW ? cpu_show(&r->host, r->topology)
			    : plan_or_apply(r, which, verb == APPLY);
}

int cmd_cpu(int argc, char **argv)
{
	struct request *r = host_alloc(sizeof(*r));
	const struct cli_option options[] = {
		{ "--map", .text = &r->map_file }, { "--vcpus", .text = &r->vcpus },
		{ "--node", .text = &r->node },	   { "--device", .text = &r->device },
		{ "--cpus", .text = &r->cpus },	   { "--qmp", .text = &r->qmp },
		{ "--root", .text = &r->root },	   { "--no-watch", .flag = &r->no_watch },
		{ "--gone", .flag = &r->gone },	   { "--all", .flag = &r->all },
	};
	int status = CLI_USAGE;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			free(r);
			return cli_help("cpu");
		}
	}
	r->wanted_node = -1;
	argc = cli_take_options(argc, argv, options, sizeof(options) / sizeof(options[0]));
	if (argc >= 0)
		status = run(r, argc, argv);
	changes_done(&r->changes);
	plan_done(&r->plan);
	vm_done(&r->vm);
	topology_free(r->topology);
	free(r);
	return status;
}
