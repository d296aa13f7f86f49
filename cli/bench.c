/* SPDX-License-Identifier: BSD-2-Clause */
/* exitless bench: load for any server of vhost-user or vfio-user devices. */
#include "bench.h"

#include "client.h"
#include "client/load.h"
#include "commands.h"
#include "table.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One row per kind of load. */
static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} loads[] = {
	{ "blk", bench_blk },
	{ "net", bench_net },
};

static int interrupted;

static void interrupt(int number)
{
	WRITE_ONCE(interrupted, 1);
}

/* A number with k, M or G, which are powers of @unit; false if it is none. */
static bool read_number(const char *text, double unit, double *value)
{
	static const char units[] = "kMG";
	const char *letter;
	char *end;

	if (!text)
		return false;
	*value = strtod(text, &end);
	if (end == text)
		return false;
	if (*end && (letter = strchr(units, *end))) {
		for (const char *u = units; u <= letter; u++)
			*value *= unit;
		end++;
	}
	return !*end;
}

static int not_a_number(const char *option, const char *what, const char *text, double min,
			double max)
{
	fprintf(stderr, "exitless bench: --%s: expected a %s from %.10g to %.10g, found \"%s\"\n",
		option, what, min, max, text ? text : "");
	return -1;
}

int bench_number(const char *option, const char *text, double min, double max, double *value)
{
	if (read_number(text, 1000, value) && *value >= min && *value <= max)
		return 0;
	return not_a_number(option, "number", text, min, max);
}

int bench_whole(const char *option, const char *text, double min, double max, double *value)
{
	if (read_number(text, 1000, value) && *value >= min && *value <= max &&
	    *value == (double)(uint64_t)*value)
		return 0;
	return not_a_number(option, "whole number", text, min, max);
}

int bench_bytes(const char *option, const char *text, double min, double max, double *value)
{
	if (read_number(text, 1024, value) && *value >= min && *value <= max &&
	    *value == (double)(uint64_t)*value)
		return 0;
	return not_a_number(option, "number of bytes", text, min, max);
}

/* 1 if "--KEY" was one of the common ones with a value, 0 if not, -1 after saying what is wrong. */
static int common_option(struct bench_common *common, const char *key, const char *value)
{
	double number;

	if (!strcmp(key, "seconds"))
		return bench_number(key, value, 0.01, 86400, &common->seconds) ? -1 : 1;
	if (!strcmp(key, "warmup"))
		return bench_number(key, value, 0, 3600, &common->warmup) ? -1 : 1;
	if (strcmp(key, "cpu") && strcmp(key, "pid"))
		return 0;
	if (bench_whole(key, value, !strcmp(key, "pid"), 4194304, &number))
		return -1;
	if (!strcmp(key, "cpu"))
		common->cpu = (int)number;
	else
		common->pid = (int)number;
	return 1;
}

/* The option argv[*i], and its value if that is a word of its own. 0, or -1. */
static int parse_option(struct bench_common *common, const struct bench_options *options,
			void *load, int argc, char **argv, int *i)
{
	char *key = argv[*i] + 2, *value = strchr(key, '=');
	int err;

	if (!strcmp(key, "stats")) {
		common->stats = true;
		return 0;
	}
	if (options->flag(load, key))
		return 0;
	if (value)
		*value++ = '\0';
	else if (*i + 1 < argc)
		value = argv[++*i];
	err = common_option(common, key, value);
	if (err)
		return MIN(err, 0);
	err = options->value(load, key, value);
	if (err > 0)
		fprintf(stderr, "exitless bench: what is \"--%s\"?\n", key);
	return err ? -1 : 0;
}

int bench_parse(struct bench_common *common, const struct bench_options *options, void *load,
		int argc, char **argv)
{
	int words = 0;

	*common = (struct bench_common){
		.seconds = 3, .warmup = 0.5, .cpu = -1, .stop = &interrupted
	};
	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--", 2))
			argv[++words] = argv[i];
		else if (parse_option(common, options, load, argc, argv, &i))
			return -1;
	}
	return words;
}

int bench_start(struct bench_common *common)
{
	int err = common->cpu >= 0 ? load_pin(common->cpu) : 0;
	double seconds;

	if (err)
		return cli_failed("bench", "--cpu %d: %s", common->cpu, strerror(-err));
	if (common->pid && load_cpu_seconds(common->pid, &seconds))
		return cli_failed("bench", "--pid: there is no process %d", common->pid);
	signal(SIGINT, interrupt);
	load_clock_init();
	return CLI_OK;
}

/* ---- the server -------------------------------------------------------------------------- */

static double now_s(void)
{
	return (double)time_now_ns() / 1e9;
}

void bench_server_begin(struct bench_common *common)
{
	int status;

	common->started_s = now_s();
	common->cpu_at_start = -1;
	if (common->pid && load_cpu_seconds(common->pid, &common->cpu_at_start))
		fprintf(stderr, "exitless bench: process %d has ended\n", common->pid);
	if (common->stats)
		common->stats_at_start = client_call("stats", NULL, &status);
}

struct sums {
	long long polls, empty_polls, packets, cycles, kicks, limited;
	long long busy_ns, idle_ns, sleep_ns;
};

static void sum(const json_t *stats, int sign, struct sums *sums)
{
	json_t *object, *queue;
	size_t i, k;

	json_array_foreach(json_object_get(stats, "devices"), i, object)
	{
		json_array_foreach(json_object_get(object, "queues"), k, queue)
		{
			sums->polls += sign * client_int(queue, "polls");
			sums->empty_polls += sign * client_int(queue, "empty_polls");
			sums->packets += sign * client_int(queue, "packets");
			sums->cycles += sign * client_int(queue, "cycles");
			sums->kicks += sign * client_int(queue, "kicks");
			sums->limited += sign * client_int(queue, "limited");
		}
	}
	json_array_foreach(json_object_get(stats, "cores"), i, object)
	{
		sums->busy_ns += sign * client_int(object, "busy_ns");
		sums->idle_ns += sign * client_int(object, "idle_ns");
		sums->sleep_ns += sign * client_int(object, "sleep_ns");
	}
}

static void add_stats(const struct bench_common *common, json_t *server, uint64_t operations)
{
	struct sums sums = { 0 };
	json_t *stats;
	int status;

	stats = client_call("stats", NULL, &status);
	if (!stats || !common->stats_at_start) {
		json_decref(stats);
		return;
	}
	sum(stats, 1, &sums);
	sum(common->stats_at_start, -1, &sums);
	json_decref(stats);
	json_object_set_new(server, "polls", json_integer(sums.polls));
	json_object_set_new(server, "empty_polls", json_integer(sums.empty_polls));
	json_object_set_new(server, "kicks", json_integer(sums.kicks));
	json_object_set_new(server, "limited", json_integer(sums.limited));
	json_object_set_new(server, "busy_s", json_real((double)sums.busy_ns / 1e9));
	json_object_set_new(server, "idle_s", json_real((double)sums.idle_ns / 1e9));
	json_object_set_new(server, "sleep_s", json_real((double)sums.sleep_ns / 1e9));
	json_object_set_new(
		server, "operations_per_poll",
		sums.polls > sums.empty_polls
			? json_real((double)sums.packets / (double)(sums.polls - sums.empty_polls))
			: json_null());
	json_object_set_new(server, "poll_cycles_per_operation",
			    sums.packets ? json_real((double)sums.cycles / (double)sums.packets)
					 : json_null());
	json_object_set_new(server, "busy_cycles_per_operation",
			    operations ? json_real((double)sums.busy_ns * load_cycles_per_s() /
						   1e9 / (double)operations)
				       : json_null());
}

void bench_server_end(struct bench_common *common, json_t *report, uint64_t operations)
{
	json_t *server = json_object();
	double cpu, seconds = now_s() - common->started_s;

	if (common->pid && common->cpu_at_start >= 0 && !load_cpu_seconds(common->pid, &cpu)) {
		cpu -= common->cpu_at_start;
		json_object_set_new(server, "cpu_s", json_real(cpu));
		json_object_set_new(server, "cpu_share", json_real(cpu / seconds));
		json_object_set_new(
			server, "cpu_cycles_per_operation",
			operations ? json_real(cpu * load_cycles_per_s() / (double)operations)
				   : json_null());
	}
	if (common->stats)
		add_stats(common, server, operations);
	json_object_set_new(report, "server", server);
	json_decref(common->stats_at_start);
	common->stats_at_start = NULL;
}

/* ---- the report -------------------------------------------------------------------------- */

int bench_not_opened(const char *path, int err)
{
	const char *why = strerror(-err);

	switch (err) {
	case -EOPNOTSUPP: why = "the server has not got what was asked for"; break;
	case -EPIPE:
	case -ECONNRESET: why = "the server hung up; another client may have the device"; break;
	case -ETIMEDOUT: why = "the server does not answer; its protocol may be another"; break;
	}
	return cli_failed("bench", "%s: %s", path, why);
}

int bench_wrong(json_t *report, const char *fmt, ...)
{
	json_t *error = json_object_get(report, "error");
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "exitless bench: %s\n", text);
	if (error)
		json_object_set_new(error, "message",
				    json_sprintf("%s; %s", client_text(error, "message"), text));
	else
		json_object_set_new(report, "error", json_pack("{ss}", "message", text));
	return CLI_FAILED;
}

json_t *bench_latency(const struct histogram *h)
{
	static const struct {
		const char *name;
		double quantile;
	} points[] = { { "p50", 0.5 },
		       { "p90", 0.9 },
		       { "p99", 0.99 },
		       { "p99.9", 0.999 },
		       { "p99.99", 0.9999 } };
	json_t *latency = json_object();

	json_object_set_new(latency, "count", json_integer((json_int_t)h->count));
	json_object_set_new(latency, "mean", json_real(histogram_mean(h)));
	for (unsigned i = 0; i < ARRAY_SIZE(points); i++)
		json_object_set_new(latency, points[i].name,
				    json_integer((json_int_t)histogram_at(h, points[i].quantile)));
	json_object_set_new(latency, "max", json_integer((json_int_t)h->max));
	return latency;
}

const char *bench_human(double value, char *buf, size_t size)
{
	static const char units[] = " kMGT";
	unsigned unit = 0;

	while (value >= 1000 && unit < 4) {
		value /= 1000;
		unit++;
	}
	if (unit)
		snprintf(buf, size, "%.2f%c", value, units[unit]);
	else
		snprintf(buf, size, "%.0f", value);
	return buf;
}

bool bench_print(const json_t *report)
{
	if (!cli_json())
		return false;
	client_print(report);
	return true;
}

void bench_print_server(const json_t *report)
{
	const char *key;
	json_t *value;
	struct table table;

	table_init(&table, "SERVER|>VALUE");
	json_object_foreach(json_object_get(report, "server"), key, value)
	{
		if (json_is_number(value))
			table_row(&table, "%s|%.6g", key, json_number_value(value));
	}
	table_done(&table, stdout);
}

int cmd_bench(int argc, char **argv)
{
	argc = cli_options(argc, argv);
	if (argc < 0)
		return CLI_USAGE;
	for (unsigned i = 0; argc > 1 && i < ARRAY_SIZE(loads); i++)
		if (!strcmp(argv[1], loads[i].name))
			return loads[i].run(argc - 1, argv + 1);
	if (argc > 1)
		return cli_usage(argv[0], "there is no load \"%s\"", argv[1]);
	return cli_usage(argv[0], "which load?");
}
