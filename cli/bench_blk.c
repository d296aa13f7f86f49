/* SPDX-License-Identifier: BSD-2-Clause */
/* exitless bench blk: requests to the disks of a server (client/blk_load.h). */
#include "bench.h"

#include "client.h"
#include "client/blk_load.h"
#include "client/load.h"
#include "commands.h"
#include "table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_DEPTH 32
#define DEFAULT_SIZE  4096

static const char usage[] =
	"usage: exitless bench blk " BENCH_COMMON_ARGUMENTS "\n"
	"        [--depth N] [--rate PER_SECOND] [--queues N] [--size BYTES] [--read PERCENT]\n"
	"        [--span BYTES] [--seed N] [--sequential] [--packed] [--indirect] [--event-idx]\n"
	"        [--verify] SOCKET[,KEY=VALUE]...\n";

struct setup {
	struct bench_common common;
	struct blk_load_config defaults;
	struct blk_load_config *configs;
	struct blk_load **loads;
	unsigned n;
	json_t *report;
};

/* A number of a load, by its key; 0, -1 after saying what is wrong, or 1: no such key. */
static int load_key(struct blk_load_config *c, const char *key, const char *value)
{
	double number;
	int err;

	if (!strcmp(key, "depth")) {
		err = bench_whole(key, value, 0, BLK_LOAD_DEPTH_MAX, &number);
		if (!err)
			c->depth = (unsigned)number;
	} else if (!strcmp(key, "rate")) {
		err = bench_number(key, value, 0.001, 1e9, &number);
		if (!err)
			c->rate_per_s = number;
	} else if (!strcmp(key, "queues")) {
		err = bench_whole(key, value, 1, BLK_LOAD_QUEUES_MAX, &number);
		if (!err)
			c->queues = (unsigned)number;
	} else if (!strcmp(key, "size")) {
		err = bench_bytes(key, value, 512, 1 << 20, &number);
		if (!err)
			c->block_bytes = (uint32_t)number;
	} else if (!strcmp(key, "read")) {
		err = bench_whole(key, value, 0, 100, &number);
		if (!err)
			c->read_percent = (unsigned)number;
	} else if (!strcmp(key, "span")) {
		err = bench_bytes(key, value, 512, 1e18, &number);
		if (!err)
			c->span_bytes = (uint64_t)number;
	} else if (!strcmp(key, "seed")) {
		err = bench_whole(key, value, 0, 1e15, &number);
		if (!err)
			c->seed = (uint64_t)number;
	} else {
		return 1;
	}
	return err ? -1 : 0;
}

static bool set_flag(void *load, const char *key)
{
	struct blk_load_config *c = &((struct setup *)load)->defaults;

	if (!strcmp(key, "sequential"))
		c->sequential = true;
	else if (!strcmp(key, "packed"))
		c->packed = true;
	else if (!strcmp(key, "indirect"))
		c->indirect = true;
	else if (!strcmp(key, "event-idx"))
		c->event_idx = true;
	else if (!strcmp(key, "verify"))
		c->verify = true;
	else
		return false;
	return true;
}

static int set_default(void *load, const char *key, char *value)
{
	return load_key(&((struct setup *)load)->defaults, key, value);
}

/* "SOCKET,KEY=VALUE,...": on top of the defaults. */
static int parse_disk(struct setup *s, char *text, struct blk_load_config *config)
{
	char *rest = text, *key;

	*config = s->defaults;
	config->seed += (uint64_t)(config - s->configs) << 32;
	config->path = strsep(&rest, ",");
	while ((key = strsep(&rest, ","))) {
		char *value = strchr(key, '=');
		int err;

		if (value)
			*value++ = '\0';
		err = load_key(config, key, value);
		if (err > 0)
			fprintf(stderr, "exitless bench: %s: what is \"%s\"?\n", config->path, key);
		if (err)
			return -1;
	}
	if (config->block_bytes % 512) {
		fputs("exitless bench: --size: expected a multiple of 512\n", stderr);
		return -1;
	}
	return 0;
}

static int parse(struct setup *s, int argc, char **argv)
{
	static const struct bench_options options = { set_flag, set_default };
	int n;

	s->defaults = (struct blk_load_config){ .queues = 1,
						.depth = DEFAULT_DEPTH,
						.block_bytes = DEFAULT_SIZE,
						.read_percent = 100,
						.seed = 1 };
	n = bench_parse(&s->common, &options, s, argc, argv);
	for (int i = 0; i < n; i++) {
		if (parse_disk(s, argv[i + 1], &s->configs[i]))
			return -1;
		s->n++;
	}
	if (!n)
		fputs("exitless bench: which disks?\n", stderr);
	return n > 0 ? 0 : -1;
}

/* ---- the report -------------------------------------------------------------------------- */

static void put(json_t *object, const char *key, uint64_t value)
{
	json_object_set_new(object, key, json_integer((json_int_t)value));
}

static json_t *disk_report(const struct setup *s, unsigned i, double seconds)
{
	const struct blk_load_stats *stats = blk_load_stats(s->loads[i]);
	const struct blk_load_config *c = &s->configs[i];
	uint64_t done = stats->reads + stats->writes;
	json_t *disk = json_object();

	json_object_set_new(disk, "socket", json_string(c->path));
	put(disk, "capacity_bytes", blk_load_disk_bytes(s->loads[i]));
	put(disk, "queues", c->queues);
	put(disk, "depth", c->depth);
	json_object_set_new(disk, "rate", json_real(c->rate_per_s));
	put(disk, "size", c->block_bytes);
	put(disk, "read_percent", c->read_percent);
	put(disk, "reads", stats->reads);
	put(disk, "writes", stats->writes);
	put(disk, "errors", stats->errors);
	put(disk, "wrong", stats->wrong);
	put(disk, "kicks", stats->kicks);
	if (c->rate_per_s > 0) {
		put(disk, "due", done + stats->unfinished + stats->unsent);
		put(disk, "unfinished", stats->unfinished);
		put(disk, "unsent", stats->unsent);
	}
	json_object_set_new(disk, "iops", json_real((double)done / seconds));
	json_object_set_new(disk, "bytes_per_s",
			    json_real((double)done * c->block_bytes / seconds));
	json_object_set_new(disk, "latency_ns", bench_latency(&stats->latency));
	return disk;
}

static void add_disks(const struct setup *s, double seconds)
{
	json_t *disks = json_array(), *total = json_object();
	uint64_t done = 0, moved = 0, errors = 0, wrong = 0;

	for (unsigned i = 0; i < s->n; i++) {
		const struct blk_load_stats *stats = blk_load_stats(s->loads[i]);

		json_array_append_new(disks, disk_report(s, i, seconds));
		done += stats->reads + stats->writes;
		moved += (stats->reads + stats->writes) * s->configs[i].block_bytes;
		errors += stats->errors;
		wrong += stats->wrong;
	}
	json_object_set_new(s->report, "disks", disks);
	put(total, "requests", done);
	put(total, "errors", errors);
	put(total, "wrong", wrong);
	json_object_set_new(total, "iops", json_real((double)done / seconds));
	json_object_set_new(total, "bytes_per_s", json_real((double)moved / seconds));
	json_object_set_new(s->report, "total", total);
}

static void add_client(const struct setup *s, const struct blk_run_result *run)
{
	const struct blk_load_config *c = &s->defaults;
	json_t *client = json_object();

	json_object_set_new(s->report, "load", json_string("blk"));
	json_object_set_new(s->report, "seconds", json_real(run->seconds));
	json_object_set_new(s->report, "rings", json_string(c->packed ? "packed" : "split"));
	json_object_set_new(s->report, "indirect", json_boolean(c->indirect));
	json_object_set_new(s->report, "sequential", json_boolean(c->sequential));
	json_object_set_new(s->report, "verified", json_boolean(c->verify));
	json_object_set_new(client, "cycles_per_s", json_real(load_cycles_per_s()));
	put(client, "loops", run->loops);
	put(client, "idle_loops", run->idle_loops);
	json_object_set_new(s->report, "client", client);
}

static void print_tables(const json_t *report)
{
	const json_t *total = json_object_get(report, "total");
	char iops[16], rate[16], p50[16], p99[16], p999[16];
	struct table table;
	json_t *disk;
	size_t i;

	table_init(&table, "DISK|>DEPTH|>SIZE|>READ %|>IO/S|>BYTES/S|>P50 ns|>P99 ns|>P99.9 ns");
	json_array_foreach(json_object_get(report, "disks"), i, disk)
	{
		const char *path = client_text(disk, "socket"), *name = strrchr(path, '/');

		table_row(&table, "%s|%lld|%lld|%lld|%s|%s|%s|%s|%s", name ? name + 1 : path,
			  client_int(disk, "depth") * client_int(disk, "queues"),
			  client_int(disk, "size"), client_int(disk, "read_percent"),
			  bench_human(json_real_value(json_object_get(disk, "iops")), iops,
				      sizeof(iops)),
			  bench_human(json_real_value(json_object_get(disk, "bytes_per_s")), rate,
				      sizeof(rate)),
			  bench_human((double)client_int_in(disk, "latency_ns", "p50"), p50,
				      sizeof(p50)),
			  bench_human((double)client_int_in(disk, "latency_ns", "p99"), p99,
				      sizeof(p99)),
			  bench_human((double)client_int_in(disk, "latency_ns", "p99.9"), p999,
				      sizeof(p999)));
	}
	table_row(&table, "all||||%s|%s|||",
		  bench_human(json_real_value(json_object_get(total, "iops")), iops, sizeof(iops)),
		  bench_human(json_real_value(json_object_get(total, "bytes_per_s")), rate,
			      sizeof(rate)));
	table_done(&table, stdout);
	bench_print_server(report);
}

/* What was read must be what was written, and something must have been done. */
static int judge(const struct setup *s, int err)
{
	uint64_t errors = 0, wrong = 0, done = 0;
	int status = CLI_OK;

	for (unsigned i = 0; i < s->n; i++) {
		const struct blk_load_stats *stats = blk_load_stats(s->loads[i]);

		errors += stats->errors;
		wrong += stats->wrong;
		done += stats->reads + stats->writes;
		if (err && blk_load_busy(s->loads[i]))
			status = bench_wrong(s->report, "%s: %u requests did not come back",
					     s->configs[i].path, blk_load_busy(s->loads[i]));
	}
	if (errors || wrong)
		status = bench_wrong(s->report, "%llu requests failed, %llu reads were wrong",
				     (unsigned long long)errors, (unsigned long long)wrong);
	else if (!done)
		status = bench_wrong(s->report, "nothing was done");
	return status;
}

static void begin(void *arg)
{
	struct setup *s = arg;

	bench_server_begin(&s->common);
}

static void end(void *arg)
{
	struct setup *s = arg;
	uint64_t done = 0;

	for (unsigned i = 0; i < s->n; i++)
		done += blk_load_stats(s->loads[i])->reads + blk_load_stats(s->loads[i])->writes;
	bench_server_end(&s->common, s->report, done);
}

/* 0 or an exit status, after saying why. */
static int open_disk(struct setup *s, unsigned i)
{
	const char *path = s->configs[i].path;
	unsigned queues;

	s->loads[i] = blk_load_new(&s->configs[i], &queues);
	if (s->loads[i])
		return CLI_OK;
	if (errno == EINVAL)
		return cli_failed("bench", "%s: the disk is too small", path);
	if (errno == ERANGE)
		return cli_failed("bench", "%s: the disk has %u queue%s, not %u", path, queues,
				  queues == 1 ? "" : "s", s->configs[i].queues);
	return bench_not_opened(path, -errno);
}

static int run(struct setup *s)
{
	struct blk_run_result result;
	int err, status;

	for (unsigned i = 0; i < s->n; i++) {
		status = open_disk(s, i);
		if (status)
			return status;
	}
	s->report = json_object();
	err = blk_loads_run(s->loads, s->n,
			    &(struct blk_run_phases){ .warmup_s = s->common.warmup,
						      .seconds = s->common.seconds,
						      .stop = s->common.stop,
						      .begin = begin,
						      .end = end,
						      .arg = s },
			    &result);
	add_client(s, &result);
	add_disks(s, result.seconds);
	status = judge(s, err);
	if (!bench_print(s->report))
		print_tables(s->report);
	json_decref(s->report);
	return status;
}

int bench_blk(int argc, char **argv)
{
	struct setup s = { .configs = calloc((size_t)argc + 1, sizeof(*s.configs)),
			   .loads = calloc((size_t)argc + 1, sizeof(struct blk_load *)) };
	int status = CLI_FAILED;

	if (!s.configs || !s.loads) {
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
	for (unsigned i = 0; i < s.n; i++)
		blk_load_free(s.loads[i]);
out:
	free(s.configs);
	free(s.loads);
	return status;
}
