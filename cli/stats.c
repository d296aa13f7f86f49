/* SPDX-License-Identifier: BSD-2-Clause */
/* exitless stats, top: counters, and what became of them in the last second. */
#include "client.h"
#include "commands.h"
#include "options.h"
#include "table.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TOP_QUEUES 16 /* as many as top shows */

static const char *ratio(const json_t *object, const char *key, char *buf, size_t size)
{
	const json_t *value = json_object_get(object, key);

	if (json_is_number(value))
		snprintf(buf, size, "%.4f", json_number_value(value));
	else
		snprintf(buf, size, "-");
	return buf;
}

/* Where an endpoint's traffic is counted: by the switch, of a disk by itself. */
struct traffic {
	const char *group, *sent, *sent_bytes, *received, *received_bytes, *dropped;
};

static const struct traffic *traffic(const json_t *object)
{
	static const struct traffic frames = { "switch",	 "sent_packets",
					       "sent_bytes",	 "received_packets",
					       "received_bytes", "receive_dropped" };
	static const struct traffic requests = { "device", "writes",	 "bytes_written",
						 "reads",  "bytes_read", "errors" };
	const json_t *counters = json_object_get(object, "counters");

	return json_object_get(counters, frames.group) ? &frames : &requests;
}

static void print_summary(const json_t *stats)
{
	struct table table;
	const json_t *object;
	char packet[32], interrupt[32];
	size_t i;

	table_init(&table, "DEVICE|>SENT|>RECEIVED|>DROPPED|>TRAPS|>INTERRUPTS|>TRAPS/PACKET|"
			   ">TRAPS/INTERRUPT");
	json_array_foreach(json_object_get(stats, "devices"), i, object)
	{
		const json_t *counters = json_object_get(object, "counters");
		const struct traffic *t = traffic(object);

		table_row(&table, "%s/%s|%lld|%lld|%lld|%lld|%lld|%s|%s",
			  client_text(object, "machine"), client_text(object, "name"),
			  client_int_in(counters, t->group, t->sent),
			  client_int_in(counters, t->group, t->received),
			  client_int_in(counters, t->group, t->dropped),
			  client_int(object, "traps"), client_int(object, "interrupts"),
			  ratio(object, "traps_per_packet", packet, sizeof(packet)),
			  ratio(object, "traps_per_interrupt", interrupt, sizeof(interrupt)));
	}
	table_done(&table, stdout);
	table_init(&table, "PORT|KIND|>SENT|>RECEIVED|>DROPPED");
	json_array_foreach(json_object_get(stats, "ports"), i, object)
	{
		const json_t *counters = json_object_get(object, "counters");

		table_row(&table, "%s|%s|%lld|%lld|%lld", client_text(object, "name"),
			  client_text(object, "kind"),
			  client_int_in(counters, "switch", "sent_packets"),
			  client_int_in(counters, "switch", "received_packets"),
			  client_int_in(counters, "switch", "receive_dropped"));
	}
	table_done(&table, stdout);
	table_init(&table, "MACHINE|>PACKETS|>BYTES|>CORE TIME|>LIMITED|>PROMOTED");
	json_array_foreach(json_object_get(stats, "machines"), i, object)
		table_row(&table, "%s|%lld|%lld|%.3f s|%lld|%lld", client_text(object, "name"),
			  client_int(object, "packets"), client_int(object, "bytes"),
			  (double)client_int(object, "busy_ns") / 1e9,
			  client_int(object, "limited"), client_int(object, "promoted"));
	table_done(&table, stdout);
	table_init(&table, "CORE|>TURNS|>SLEEPS|>BUSY|>IDLE|>ASLEEP");
	json_array_foreach(json_object_get(stats, "cores"), i, object)
		table_row(&table, "%s|%lld|%lld|%.3f s|%.3f s|%.3f s", client_text(object, "name"),
			  client_int(object, "turns"), client_int(object, "sleeps"),
			  (double)client_int(object, "busy_ns") / 1e9,
			  (double)client_int(object, "idle_ns") / 1e9,
			  (double)client_int(object, "sleep_ns") / 1e9);
	table_done(&table, stdout);
}

/* Polls that found work: what a driver need not announce. */
static long long found(const json_t *queue)
{
	return client_int(queue, "polls") - client_int(queue, "empty_polls");
}

/* Every counter that is not zero. */
static void print_counters(const json_t *object)
{
	const char *name, *key;
	json_t *group, *value;
	struct table table;
	size_t i;

	table_init(&table, "GROUP|COUNTER|>VALUE");
	json_object_foreach(json_object_get(object, "counters"), name, group)
		json_object_foreach(group, key, value) if (json_integer_value(value)) table_row(
			&table, "%s|%s|%lld", name, key, (long long)json_integer_value(value));
	table_done(&table, stdout);
	table_init(&table, "QUEUE|STATE|>FOUND|>EMPTY|>KICKS|>PARKED|>PACKETS|>BYTES|>LIMITED|"
			   ">PROMOTED|>WAITED|>MIGRATED|>CYCLES/PACKET");
	json_array_foreach(json_object_get(object, "queues"), i, value)
	{
		long long packets = client_int(value, "packets");

		table_row(&table, "%s|%s|%lld|%lld|%lld|%lld|%lld|%lld|%lld|%lld|%.3f s|%lld|%lld",
			  client_text(value, "name"), client_text(value, "state"), found(value),
			  client_int(value, "empty_polls"), client_int(value, "kicks"),
			  client_int(value, "parked"), packets, client_int(value, "bytes"),
			  client_int(value, "limited"), client_int(value, "promoted"),
			  (double)client_int(value, "waited_ns") / 1e9,
			  client_int(value, "migrated"),
			  packets ? client_int(value, "cycles") / packets : 0);
	}
	table_done(&table, stdout);
}

int cmd_stats(int argc, char **argv)
{
	json_t *params, *stats, *object;
	size_t i;
	int err;

	argc = cli_options(argc, argv);
	if (argc < 0)
		return CLI_USAGE;
	if (argc > 2)
		return cli_usage(argv[0], "what is \"%s\"?", argv[2]);
	params = json_object();
	if (argc == 2 && client_set_device(params, argv[1]) < 0)
		json_object_set_new(params, "machine", json_string(argv[1]));
	stats = client_call("stats", params, &err);
	if (!stats)
		return err;
	if (cli_json()) {
		client_print(stats);
	} else {
		print_summary(stats);
		json_array_foreach(json_object_get(stats, "devices"), i, object) if (argc == 2)
			print_counters(object);
	}
	json_decref(stats);
	return CLI_OK;
}

/* ---- top --------------------------------------------------------------------------------- */

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* The object of the same name (and machine) in an earlier answer. */
static const json_t *earlier(const json_t *list, const json_t *object)
{
	const json_t *item;
	size_t i;

	json_array_foreach(
		(json_t *)list, i,
		item) if (!strcmp(client_text(item, "name"), client_text(object, "name")) &&
			  !strcmp(client_text(item, "machine"),
				  client_text(object, "machine"))) return item;
	return NULL;
}

/* What the rates are taken from. */
struct sample {
	const json_t *now, *before;
	double seconds;
};

static double rate(const struct sample *sample, const char *group, const char *key)
{
	const json_t *a = sample->now, *b = sample->before;
	long long delta;

	if (group) {
		a = json_object_get(json_object_get(a, "counters"), group);
		b = json_object_get(json_object_get(b, "counters"), group);
	}
	delta = client_int(a, key) - client_int(b, key);
	return sample->before && delta > 0 ? (double)delta / sample->seconds : 0;
}

static json_t *endpoint_rates(const struct sample *sample)
{
	const struct traffic *t = traffic(sample->now);
	json_t *rates = json_object();
	double packets = rate(sample, NULL, "packets");
	double traps = rate(sample, NULL, "traps");

	json_object_set(rates, "machine", json_object_get(sample->now, "machine"));
	json_object_set(rates, "name", json_object_get(sample->now, "name"));
	json_object_set_new(rates, "sent_pps", json_real(rate(sample, t->group, t->sent)));
	json_object_set_new(rates, "received_pps", json_real(rate(sample, t->group, t->received)));
	json_object_set_new(rates, "sent_bps",
			    json_real(8 * rate(sample, t->group, t->sent_bytes)));
	json_object_set_new(rates, "received_bps",
			    json_real(8 * rate(sample, t->group, t->received_bytes)));
	json_object_set_new(rates, "dropped_pps", json_real(rate(sample, t->group, t->dropped)));
	json_object_set_new(rates, "traps_ps", json_real(traps));
	json_object_set_new(rates, "interrupts_ps", json_real(rate(sample, NULL, "interrupts")));
	json_object_set_new(rates, "traps_per_packet",
			    packets > 0 ? json_real(traps / packets) : json_null());
	return rates;
}

static json_t *core_rates(const struct sample *sample)
{
	double busy = rate(sample, NULL, "busy_ns"), idle = rate(sample, NULL, "idle_ns");
	double asleep = rate(sample, NULL, "sleep_ns"), all = busy + idle + asleep;
	json_t *rates = json_object();

	json_object_set(rates, "name", json_object_get(sample->now, "name"));
	json_object_set_new(rates, "busy_share", json_real(all > 0 ? busy / all : 0));
	json_object_set_new(rates, "idle_share", json_real(all > 0 ? idle / all : 0));
	json_object_set_new(rates, "sleep_share", json_real(all > 0 ? asleep / all : 0));
	json_object_set_new(rates, "turns_ps", json_real(rate(sample, NULL, "turns")));
	json_object_set(rates, "queues", json_object_get(sample->now, "queues"));
	json_object_set(rates, "polled", json_object_get(sample->now, "polled"));
	return rates;
}

static json_t *machine_rates(const struct sample *sample)
{
	json_t *rates = json_object();

	json_object_set(rates, "name", json_object_get(sample->now, "name"));
	json_object_set_new(rates, "packets_ps", json_real(rate(sample, NULL, "packets")));
	json_object_set_new(rates, "bytes_ps", json_real(rate(sample, NULL, "bytes")));
	/* of one core */
	json_object_set_new(rates, "core_share", json_real(rate(sample, NULL, "busy_ns") / 1e9));
	json_object_set_new(rates, "limited_ps", json_real(rate(sample, NULL, "limited")));
	json_object_set_new(rates, "promoted_ps", json_real(rate(sample, NULL, "promoted")));
	return rates;
}

/* What the scheduler did with one queue; "migrated" in all. */
static json_t *queue_rates(const struct sample *sample)
{
	static const struct {
		const char *name, *of;
	} counters[] = {
		{ "empty_ps", "empty_polls" }, { "kicks_ps", "kicks" },
		{ "parked_ps", "parked" },     { "packets_ps", "packets" },
		{ "bytes_ps", "bytes" },       { "limited_ps", "limited" },
		{ "promoted_ps", "promoted" }, { "cycles_ps", "cycles" },
	};
	double polls = rate(sample, NULL, "polls"), empty = rate(sample, NULL, "empty_polls");
	double packets = rate(sample, NULL, "packets"), cycles = rate(sample, NULL, "cycles");
	json_t *rates = json_object();

	json_object_set(rates, "name", json_object_get(sample->now, "name"));
	json_object_set(rates, "state", json_object_get(sample->now, "state"));
	json_object_set_new(rates, "found_ps", json_real(polls > empty ? polls - empty : 0));
	for (unsigned i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
		json_object_set_new(rates, counters[i].name,
				    json_real(rate(sample, NULL, counters[i].of)));
	json_object_set_new(rates, "waited_share",
			    json_real(rate(sample, NULL, "waited_ns") / 1e9));
	json_object_set(rates, "migrated", json_object_get(sample->now, "migrated"));
	json_object_set_new(rates, "cycles_per_packet",
			    packets > 0 ? json_real(cycles / packets) : json_null());
	return rates;
}

/* Adds those of all devices, or ports. */
static void add_queues(json_t *list, const json_t *now, const json_t *before, double seconds)
{
	const json_t *object, *queue;
	size_t i, j;

	json_array_foreach((json_t *)now, i, object)
	{
		const json_t *then = json_object_get(earlier(before, object), "queues");

		json_array_foreach(json_object_get(object, "queues"), j, queue)
		{
			struct sample sample = {
				.now = queue,
				.before = earlier(then, queue),
				.seconds = seconds,
			};

			json_array_append_new(list, queue_rates(&sample));
		}
	}
}

static json_t *all_rates(const json_t *now, const json_t *before, double seconds)
{
	static const struct {
		const char *list;
		json_t *(*rates)(const struct sample *sample);
	} lists[] = {
		{ "devices", endpoint_rates },
		{ "ports", endpoint_rates },
		{ "machines", machine_rates },
		{ "cores", core_rates },
	};
	json_t *rates = json_object(), *queues = json_array();

	for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		json_t *list = json_array(), *object;
		const char *name = lists[i].list;
		size_t j;

		add_queues(queues, json_object_get(now, name), json_object_get(before, name),
			   seconds);

		json_array_foreach(json_object_get(now, name), j, object)
		{
			struct sample sample = {
				.now = object,
				.before = earlier(json_object_get(before, name), object),
				.seconds = seconds,
			};

			json_array_append_new(list, lists[i].rates(&sample));
		}
		json_object_set_new(rates, name, list);
	}
	json_object_set_new(rates, "queues", queues);
	json_object_set_new(rates, "seconds", json_real(seconds));
	return rates;
}

static double real(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

static void endpoint_row(struct table *table, const json_t *object)
{
	char n[7][16], ratio_text[32];
	const char *machine = client_text(object, "machine");

	table_row(table, "%s%s%s|%s|%s|%s|%s|%s|%s|%s|%s", machine[0] == '-' ? "" : machine,
		  machine[0] == '-' ? "" : "/", client_text(object, "name"),
		  table_number(n[0], real(object, "sent_pps")),
		  table_number(n[1], real(object, "received_pps")),
		  table_number(n[2], real(object, "sent_bps")),
		  table_number(n[3], real(object, "received_bps")),
		  table_number(n[4], real(object, "dropped_pps")),
		  table_number(n[5], real(object, "traps_ps")),
		  table_number(n[6], real(object, "interrupts_ps")),
		  ratio(object, "traps_per_packet", ratio_text, sizeof(ratio_text)));
}

static int by_cycles(const void *a, const void *b)
{
	double x = real(*(const json_t *const *)a, "cycles_ps");
	double y = real(*(const json_t *const *)b, "cycles_ps");

	return (x < y) - (x > y);
}

/* Those that took most of their cores' time; a queue that slept has nothing to show. */
static void print_queues(const json_t *queues)
{
	size_t n = json_array_size(queues);
	const json_t **sorted = calloc(n + 1, sizeof(*sorted));
	struct table table;

	if (!sorted)
		return;
	for (size_t i = 0; i < n; i++)
		sorted[i] = json_array_get(queues, i);
	qsort(sorted, n, sizeof(*sorted), by_cycles);
	table_init(&table, "QUEUE|STATE|>FOUND|>EMPTY|>KICKS|>PARKED|>PACKETS|>LIMITED|>PROMOTED|"
			   ">WAITED|>MIGRATED|>CYCLES/S|>CYCLES/PACKET");
	for (size_t i = 0; i < n && i < TOP_QUEUES && real(sorted[i], "cycles_ps") > 0; i++) {
		const json_t *queue = sorted[i];
		char text[9][16];

		table_row(&table, "%s|%s|%s|%s|%s|%s|%s|%s|%s|%.1f %%|%lld|%s|%s",
			  client_text(queue, "name"), client_text(queue, "state"),
			  table_number(text[0], real(queue, "found_ps")),
			  table_number(text[1], real(queue, "empty_ps")),
			  table_number(text[2], real(queue, "kicks_ps")),
			  table_number(text[3], real(queue, "parked_ps")),
			  table_number(text[4], real(queue, "packets_ps")),
			  table_number(text[5], real(queue, "limited_ps")),
			  table_number(text[6], real(queue, "promoted_ps")),
			  100 * real(queue, "waited_share"), client_int(queue, "migrated"),
			  table_number(text[7], real(queue, "cycles_ps")),
			  table_number(text[8], real(queue, "cycles_per_packet")));
	}
	table_done(&table, stdout);
	free(sorted);
}

static void print_rates(const json_t *rates)
{
	struct table table;
	const json_t *object;
	size_t i;

	table_init(&table, "PER SECOND|>SENT|>RECEIVED|>BITS OUT|>BITS IN|>DROPPED|>TRAPS|"
			   ">INTERRUPTS|>TRAPS/PACKET");
	json_array_foreach(json_object_get(rates, "devices"), i, object)
		endpoint_row(&table, object);
	json_array_foreach(json_object_get(rates, "ports"), i, object) endpoint_row(&table, object);
	table_done(&table, stdout);
	table_init(&table, "MACHINE|>PACKETS|>BYTES|>OF A CORE|>LIMITED|>PROMOTED");
	json_array_foreach(json_object_get(rates, "machines"), i, object)
	{
		char n[4][16];

		table_row(&table, "%s|%s|%s|%.1f %%|%s|%s", client_text(object, "name"),
			  table_number(n[0], real(object, "packets_ps")),
			  table_number(n[1], real(object, "bytes_ps")),
			  100 * real(object, "core_share"),
			  table_number(n[2], real(object, "limited_ps")),
			  table_number(n[3], real(object, "promoted_ps")));
	}
	table_done(&table, stdout);
	table_init(&table, "CORE|>BUSY|>IDLE|>ASLEEP|>TURNS/S|>QUEUES|>POLLED");
	json_array_foreach(json_object_get(rates, "cores"), i, object)
	{
		char turns[16];

		table_row(&table, "%s|%.1f %%|%.1f %%|%.1f %%|%s|%lld|%lld",
			  client_text(object, "name"), 100 * real(object, "busy_share"),
			  100 * real(object, "idle_share"), 100 * real(object, "sleep_share"),
			  table_number(turns, real(object, "turns_ps")),
			  client_int(object, "queues"), client_int(object, "polled"));
	}
	table_done(&table, stdout);
	print_queues(json_object_get(rates, "queues"));
	fflush(stdout);
}

static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number)
{
	interrupted = 1;
}

/* The texts may be NULL. */
static int read_top_options(const char *interval_text, const char *count_text, double *interval,
			    long *count)
{
	char *end = NULL;

	if (count_text) {
		*count = strtol(count_text, &end, 10);
		if (end == count_text || *end || *count < 0)
			return cli_usage("top", "\"%s\" is no number", count_text);
	}
	if (interval_text) {
		*interval = strtod(interval_text, &end);
		if (end == interval_text || *end)
			return cli_usage("top", "\"%s\" is no number", interval_text);
		if (!(*interval >= 0.05 && *interval <= 3600))
			return cli_usage("top", "an interval is 0.05 to 3600 seconds, not %s",
					 interval_text);
	}
	return 0;
}

/* Draws over the last picture on a terminal, writes one below the other elsewhere. */
static int top_loop(double interval, long count)
{
	json_t *before = NULL, *now, *rates;
	double at, then = 0; /* when an answer came; what is done with it may take long */
	bool live = isatty(STDOUT_FILENO) && !cli_json();
	int err = CLI_OK;

	for (long n = 0; !interrupted && !ferror(stdout) && (!count || n <= count); n++) {
		now = client_call("stats", NULL, &err);
		if (!now)
			break;
		at = now_s();
		if (before) {
			rates = all_rates(now, before, at - then);
			if (live)
				fputs("\033[H\033[J", stdout);
			if (cli_json()) {
				json_dumpf(rates, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
				puts("");
				fflush(stdout);
			} else {
				print_rates(rates);
			}
			json_decref(rates);
		}
		then = at;
		json_decref(before);
		before = now;
		if (!count || n < count)
			usleep((useconds_t)(interval * 1e6));
	}
	json_decref(before);
	return err;
}

int cmd_top(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = interrupt };
	const char *interval_text = NULL, *count_text = NULL;
	const struct cli_option options[] = {
		{ "--interval", .text = &interval_text },
		{ "--count", .text = &count_text },
	};
	double interval = 1;
	long count = 0; /* for ever */
	int err;

	argc = cli_take_options(argc, argv, options, 2);
	if (argc < 0)
		return CLI_USAGE;
	if (argc > 1)
		return cli_usage("top", "what is \"%s\"?", argv[1]);
	err = read_top_options(interval_text, count_text, &interval, &count);
	if (err)
		return err;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	return top_loop(interval, count);
}
