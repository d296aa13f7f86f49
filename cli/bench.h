/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the loads of `exitless bench` share. A load of a new kind: the load itself in client/ (no
 * printing there), its options and its report in cli/bench_KIND.c with one function like
 * bench_net(), declared here, and a row in the table in bench.c. The report is one JSON object,
 * which bench_print() shows; what it has in common with others comes from the functions below.
 */
#ifndef EXITLESS_CLI_BENCH_H
#define EXITLESS_CLI_BENCH_H

#include "client/histogram.h"

#include <jansson.h>

/* Options that all loads have. */
#define BENCH_COMMON_ARGUMENTS "[--seconds S] [--warmup S] [--cpu N] [--pid PID] [--stats]"

struct bench_common {
	double seconds, warmup; /* of measuring, and before it */
	int cpu;		/* to run on; -1: any */
	int pid;		/* of the server, for its CPU time; 0: not known */
	bool stats;		/* the server is exitlessd: ask it for its counters */
	const int *stop;	/* set once the user interrupted the run */
	/* private */
	double cpu_at_start, started_s;
	json_t *stats_at_start;
};

/* What a load does with its own options. */
struct bench_options {
	/* "--KEY" without a value: true if there is such a one */
	bool (*flag)(void *load, const char *key);
	/* "--KEY VALUE" (NULL: none was given): 0, -1 after saying what is wrong, or 1: no such
	 * key.
	 */
	int (*value)(void *load, const char *key, char *value);
};

/* Takes the options out: common ones into @common, the others as @options say, for @load. Returns
 * how many words are left, from argv[1] on, or -1 after saying what is wrong. */
int bench_parse(struct bench_common *common, const struct bench_options *options, void *load,
		int argc, char **argv);

/* Right before the load runs: looks for the server's process, pins the thread, measures the clock,
 * handles SIGINT. 0 or an exit status, after saying why. */
int bench_start(struct bench_common *common);
/* Marks the beginning and the end of what is measured; the end adds "server" to @report: its CPU
 * time and, with --stats, what its cores and queues did for @operations packets or requests. */
void bench_server_begin(struct bench_common *common);
void bench_server_end(struct bench_common *common, json_t *report, uint64_t operations);

/* Says why the server at @path cannot be used (@err negative); returns an exit status. */
int bench_not_opened(const char *path, int err);
/* Says what is wrong with what a load did, and adds it to the report's "error"; returns an exit
 * status. */
int bench_wrong(json_t *report, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* {"count", "mean", "p50", ... "max"}, in nanoseconds. */
json_t *bench_latency(const struct histogram *h);
/* A number as people read it: 12.3M; in @buf. */
const char *bench_human(double value, char *buf, size_t size);
/* With --json the report itself; otherwise false, and the load prints its table. */
bool bench_print(const json_t *report);
/* The server's part of a report, for people. */
void bench_print_server(const json_t *report);
/* Numbers in options: any, whole ones, and of bytes. k, M and G are powers of 1000, of bytes powers
 * of 1024. -1 after saying what is wrong. */
int bench_number(const char *option, const char *text, double min, double max, double *value);
int bench_whole(const char *option, const char *text, double min, double max, double *value);
int bench_bytes(const char *option, const char *text, double min, double max, double *value);

/* The loads: argv[0] is their name; what they return is the exit status. */
int bench_blk(int argc, char **argv);
int bench_net(int argc, char **argv);

#endif
