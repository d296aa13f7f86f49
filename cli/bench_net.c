/* SPDX-License-Identifier: BSD-2-Clause */
/* exitless bench net: frames between network devices of a server (client/net_load.h). */
#include "bench.h"

#include "client.h"
#include "client/load.h"
#include "client/net_load.h"
#include "commands.h"
#include "table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_WINDOW 256
#define DEFAULT_RING   256
#define MEMCPY_S       0.3

static const char usage[] =
	"usage: exitless bench net " BENCH_COMMON_ARGUMENTS "\n"
	"        [--flow FROM-TO[,size=BYTES][,window=FRAMES][,rate=PER_SECOND][,gso=BYTES]"
	"[,sample=N]]...\n"
	"        [--size BYTES] [--window FRAMES] [--rate PER_SECOND] [--gso BYTES] [--sample N]\n"
	"        [--ring N] [--packed] [--in-order] [--mergeable] [--huge] [--verify] [--memcpy]\n"
	"        [vhost:|vfio:]SOCKET [vhost:|vfio:]SOCKET...\n";

struct setup {
	struct bench_common common;
	struct net_flow_params defaults;
	struct net_port_params port;
	char **flow_texts;
	struct net_flow_params *flows;
	unsigned n_flow_texts, n_flows;
	const char **paths;
	struct net_port **ports;
	unsigned n_ports;
	bool memcpy;
};

/* A number of a flow, by its key; 0, or -1 after saying what is wrong. */
static int flow_key(struct net_flow_params *flow, const char *key, const char *value)
{
	double number;

	if (!strcmp(key, "size")) {
		if (bench_bytes(key, value, NET_LOAD_SIZE_MIN, NET_LOAD_SIZE_MAX, &number))
			return -1;
		flow->size = (uint32_t)number;
	} else if (!strcmp(key, "window")) {
		if (bench_whole(key, value, 1, 1 << 20, &number))
			return -1;
		flow->window = (unsigned)number;
		flow->rate = 0;
	} else if (!strcmp(key, "rate")) {
		if (bench_number(key, value, 0.001, 1e9, &number))
			return -1;
		flow->rate = number;
		flow->window = 0;
	} else if (!strcmp(key, "gso")) {
		if (bench_bytes(key, value, 0, 65535, &number))
			return -1;
		flow->gso_size = (uint16_t)number;
	} else if (!strcmp(key, "sample")) {
		if (bench_whole(key, value, 1, 1 << 20, &number))
			return -1;
		flow->sample = (unsigned)number;
		if (!is_power_of_two(flow->sample)) {
			fputs("exitless bench: --sample: expected a power of two\n", stderr);
			return -1;
		}
	} else {
		return 1;
	}
	return 0;
}

/* "FROM-TO", and nothing else. */
static bool read_ports(const char *text, struct net_flow_params *flow)
{
	static const char digits[] = "0123456789";
	size_t from = strspn(text, digits), to;

	if (!from || from > 9 || text[from] != '-')
		return false;
	to = strspn(text + from + 1, digits);
	if (!to || to > 9 || text[from + 1 + to])
		return false;
	flow->from = (unsigned)strtoul(text, NULL, 10);
	flow->to = (unsigned)strtoul(text + from + 1, NULL, 10);
	return true;
}

static int parse_flow(char *text, struct net_flow_params *flow)
{
	char *rest = strchr(text, ','), *key;

	if (rest)
		*rest++ = '\0';
	if (!read_ports(text, flow)) {
		fprintf(stderr, "exitless bench: --flow: expected FROM-TO, found \"%s\"\n", text);
		return -1;
	}
	while (rest && (key = strsep(&rest, ","))) {
		char *value = strchr(key, '=');
		int err;

		if (value)
			*value++ = '\0';
		err = flow_key(flow, key, value);
		if (err > 0)
			fprintf(stderr, "exitless bench: --flow: what is \"%s\"?\n", key);
		if (err)
			return -1;
	}
	return 0;
}

static bool set_flag(void *load, const char *key)
{
	struct setup *s = load;

	if (!strcmp(key, "packed"))
		s->port.packed = true;
	else if (!strcmp(key, "in-order"))
		s->port.in_order = true;
	else if (!strcmp(key, "mergeable"))
		s->port.mergeable = true;
	else if (!strcmp(key, "huge"))
		s->port.huge = true;
	else if (!strcmp(key, "verify"))
		s->defaults.verify_all = true;
	else if (!strcmp(key, "memcpy"))
		s->memcpy = true;
	else
		return false;
	return true;
}

static int set_value(void *load, const char *key, char *value)
{
	struct setup *s = load;
	double number;

	if (!strcmp(key, "flow") && value) {
		s->flow_texts[s->n_flow_texts++] = value;
		return 0;
	}
	if (strcmp(key, "ring"))
		return flow_key(&s->defaults, key, value);
	if (bench_whole(key, value, 16, 32768, &number))
		return -1;
	s->port.ring = (unsigned)number;
	return 0;
}

static int parse(struct setup *s, int argc, char **argv)
{
	static const struct bench_options options = { set_flag, set_value };
	int n;

	s->defaults = (struct net_flow_params){ .to = 1, .size = 64, .window = DEFAULT_WINDOW };
	s->port.ring = DEFAULT_RING;
	n = bench_parse(&s->common, &options, s, argc, argv);
	if (n < 0)
		return -1;
	for (int i = 0; i < n; i++)
		s->paths[s->n_ports++] = argv[i + 1];
	if (s->n_ports < 2) {
		fputs("exitless bench: two devices at least\n", stderr);
		return -1;
	}
	if (!s->n_flow_texts) {
		s->flows[0] = s->flows[1] = s->defaults;
		s->flows[1].from = 1;
		s->flows[1].to = 0;
		s->n_flows = 2;
	}
	for (unsigned i = 0; i < s->n_flow_texts; i++) {
		s->flows[i] = s->defaults;
		if (parse_flow(s->flow_texts[i], &s->flows[i]))
			return -1;
		s->n_flows++;
	}
	for (unsigned i = 0; i < s->n_flows; i++) {
		struct net_flow_params *flow = &s->flows[i];

		if (!flow->sample)
			flow->sample = flow->window > 1 ? 16 : 1;
		s->port.frame_max = MAX(s->port.frame_max, flow->size);
		s->port.gso |= flow->gso_size > 0;
	}
	return 0;
}

/* 0 or an exit status, after saying why. */
static int open_port(struct setup *s, unsigned i)
{
	struct net_port_params params = s->port;
	const char *path = s->paths[i];
	bool vfio = !strncmp(path, "vfio:", 5);
	int err;

	params.path = vfio ? path + 5 : strncmp(path, "vhost:", 6) ? path : path + 6;
	err = vfio ? net_port_e1000(&params, &s->ports[i]) : net_port_virtio(&params, &s->ports[i]);
	return err ? bench_not_opened(params.path, err) : CLI_OK;
}

/* ---- the report -------------------------------------------------------------------------- */

static json_t *flow_report(const struct net_flow_result *r, double seconds)
{
	json_t *flow = json_object();

	json_object_set_new(flow, "from", json_integer(r->params.from));
	json_object_set_new(flow, "to", json_integer(r->params.to));
	json_object_set_new(flow, "size", json_integer(r->params.size));
	json_object_set_new(flow, "gso", json_integer(r->params.gso_size));
	json_object_set_new(flow, "window", json_integer(r->params.window));
	json_object_set_new(flow, "rate", json_real(r->params.rate));
	json_object_set_new(flow, "sent", json_integer((json_int_t)r->sent));
	json_object_set_new(flow, "received", json_integer((json_int_t)r->received));
	json_object_set_new(flow, "lost", json_integer((json_int_t)r->lost));
	json_object_set_new(flow, "late", json_integer((json_int_t)r->late));
	json_object_set_new(flow, "corrupt", json_integer((json_int_t)r->corrupt));
	if (!r->params.window) {
		json_object_set_new(flow, "due", json_integer((json_int_t)(r->sent + r->unsent)));
		json_object_set_new(flow, "unfinished", json_integer((json_int_t)r->unfinished));
		json_object_set_new(flow, "unsent", json_integer((json_int_t)r->unsent));
	}
	json_object_set_new(flow, "pps", json_real((double)r->received / seconds));
	json_object_set_new(flow, "bps", json_real(8 * (double)r->bytes / seconds));
	json_object_set_new(flow, "latency_ns", bench_latency(r->latency_ns));
	return flow;
}

static json_t *make_report(const struct setup *s, const struct net_load *load,
			   const struct net_load_result *run, uint64_t *received)
{
	json_t *report = json_object(), *flows = json_array(), *total = json_object(),
	       *client = json_object();
	struct net_flow_result sums = { 0 }, r;

	for (unsigned i = 0; i < s->n_flows; i++) {
		net_load_flow_result(load, i, &r);
		json_array_append_new(flows, flow_report(&r, run->seconds));
		sums.received += r.received;
		sums.bytes += r.bytes;
		sums.lost += r.lost;
		sums.late += r.late;
		sums.corrupt += r.corrupt;
	}
	json_object_set_new(report, "load", json_string("net"));
	json_object_set_new(report, "seconds", json_real(run->seconds));
	json_object_set_new(report, "rings", json_string(s->port.packed ? "packed" : "split"));
	json_object_set_new(report, "ports", json_integer(s->n_ports));
	json_object_set_new(report, "flows", flows);
	json_object_set_new(total, "received", json_integer((json_int_t)sums.received));
	json_object_set_new(total, "lost", json_integer((json_int_t)sums.lost));
	json_object_set_new(total, "late", json_integer((json_int_t)sums.late));
	json_object_set_new(total, "corrupt", json_integer((json_int_t)sums.corrupt));
	json_object_set_new(total, "device_errors", json_integer((json_int_t)run->device_errors));
	json_object_set_new(total, "foreign", json_integer((json_int_t)run->foreign));
	json_object_set_new(total, "pps", json_real((double)sums.received / run->seconds));
	json_object_set_new(total, "bps", json_real(8 * (double)sums.bytes / run->seconds));
	json_object_set_new(report, "total", total);
	json_object_set_new(client, "cycles_per_s", json_real(load_cycles_per_s()));
	json_object_set_new(client, "loops", json_integer((json_int_t)run->loops));
	json_object_set_new(client, "idle_loops", json_integer((json_int_t)run->idle_loops));
	json_object_set_new(client, "busy_share", json_real(run->busy_share));
	json_object_set_new(client, "kicks", json_integer((json_int_t)run->kicks));
	json_object_set_new(report, "client", client);
	*received = sums.received;
	return report;
}

static void print_tables(const json_t *report)
{
	const json_t *total = json_object_get(report, "total");
	const json_t *copy = json_object_get(report, "memcpy_bps");
	char pps[16], bps[16], p50[16], p99[16], p999[16];
	struct table table;
	json_t *flow;
	size_t i;

	table_init(&table, "FLOW|>SIZE|>FRAMES/S|>BITS/S|>LOST|>P50 ns|>P99 ns|>P99.9 ns");
	json_array_foreach(json_object_get(report, "flows"), i, flow)
	{
		table_row(&table, "%lld-%lld|%lld|%s|%s|%lld|%s|%s|%s", client_int(flow, "from"),
			  client_int(flow, "to"), client_int(flow, "size"),
			  bench_human(json_real_value(json_object_get(flow, "pps")), pps,
				      sizeof(pps)),
			  bench_human(json_real_value(json_object_get(flow, "bps")), bps,
				      sizeof(bps)),
			  client_int(flow, "lost"),
			  bench_human((double)client_int_in(flow, "latency_ns", "p50"), p50,
				      sizeof(p50)),
			  bench_human((double)client_int_in(flow, "latency_ns", "p99"), p99,
				      sizeof(p99)),
			  bench_human((double)client_int_in(flow, "latency_ns", "p99.9"), p999,
				      sizeof(p999)));
	}
	table_row(&table, "all||%s|%s|%lld|||",
		  bench_human(json_real_value(json_object_get(total, "pps")), pps, sizeof(pps)),
		  bench_human(json_real_value(json_object_get(total, "bps")), bps, sizeof(bps)),
		  client_int(total, "lost"));
	table_done(&table, stdout);
	if (copy)
		printf("memcpy of the same bytes: %s bits/s\n",
		       bench_human(json_real_value(copy), bps, sizeof(bps)));
	bench_print_server(report);
}

/* What came must be what was sent, and something must have come. */
static int judge(json_t *report)
{
	const json_t *total = json_object_get(report, "total");

	if (!client_int(total, "received"))
		return bench_wrong(report, "nothing was received");
	if (!client_int(total, "corrupt") && !client_int(total, "device_errors"))
		return CLI_OK;
	return bench_wrong(report, "%lld frames were corrupt, %lld errors of the device",
			   client_int(total, "corrupt"), client_int(total, "device_errors"));
}

static void begin(void *common)
{
	bench_server_begin(common);
}

static int run(struct setup *s)
{
	struct net_load_result result;
	struct net_load *load = NULL;
	json_t *report;
	uint64_t received;
	double copy;
	int err, status;

	for (unsigned i = 0; i < s->n_ports; i++) {
		status = open_port(s, i);
		if (status)
			return status;
	}
	err = net_load_new(s->ports, s->n_ports, &load);
	for (unsigned i = 0; !err && i < s->n_flows; i++)
		err = net_load_add_flow(load, &s->flows[i]);
	if (err) {
		net_load_free(load);
		return cli_failed("bench", "--flow: %s",
				  err == -ENOTSUP ? "large segments need virtio at both ends"
						  : strerror(-err));
	}
	err = net_load_run(load,
			   &(struct net_load_phases){ .warmup_s = s->common.warmup,
						      .seconds = s->common.seconds,
						      .stop = s->common.stop,
						      .begin = begin,
						      .arg = &s->common },
			   &result);
	if (err) {
		net_load_free(load);
		return cli_failed("bench", "%s", strerror(-err));
	}
	report = make_report(s, load, &result, &received);
	bench_server_end(&s->common, report, received);
	if (s->memcpy && !net_load_memcpy(load, MEMCPY_S, &copy))
		json_object_set_new(report, "memcpy_bps", json_real(8 * copy));
	status = judge(report);
	if (!bench_print(report))
		print_tables(report);
	json_decref(report);
	net_load_free(load);
	return status;
}

int bench_net(int argc, char **argv)
{
	struct setup s = { .flows = calloc((size_t)argc + 2, sizeof(*s.flows)),
			   .flow_texts = calloc((size_t)argc + 1, sizeof(*s.flow_texts)),
			   .paths = calloc((size_t)argc + 1, sizeof(*s.paths)),
			   .ports = calloc((size_t)argc + 1, sizeof(*s.ports)) };
	int status = CLI_FAILED;

	if (!s.flows || !s.flow_texts || !s.paths || !s.ports) {
		cli_failed("bench", "out of memory");
		goto out;
	}
	if (argc > 1 && !strcmp(argv[1], "--help")) {
		fputs(usage, stdout);
		status = CLI_OK;
		goto out;
	}
	if (parse(&s, argc, argv)) {
		fputs(usage, stderr);
		status = CLI_USAGE;
		goto out;
	}
	status = bench_start(&s.common);
	if (!status)
		status = run(&s);
	for (unsigned i = 0; i < s.n_ports; i++)
		net_port_free(s.ports[i]);
out:
	free(s.flows);
	free(s.flow_texts);
	free(s.paths);
	free(s.ports);
	return status;
}
