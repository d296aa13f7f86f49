/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Counters as JSON and as metrics. A device's counters come in groups ("pci", "transport",
 * "switch"...); on top stand what they amount to: traps per packet and per interrupt.
 */
#include "base/util.h"
#include "control/report.h"
#include "control/visit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_stat(void *arg, const char *group, const char *name, uint64_t value)
{
	json_t *counters = arg, *of_group = json_object_get(counters, group);

	if (!of_group) {
		of_group = json_object();
		json_object_set_new(counters, group, of_group);
	}
	set_uint(of_group, name, value);
}

/* ---- what endpoints have in common ------------------------------------------------------- */

static json_t *queue_stats(const struct io_queue *queue)
{
	static const char *const states[] = {
		[IO_QUEUE_OFF] = "off",
		[IO_QUEUE_POLLED] = "polled",
		[IO_QUEUE_PARKED] = "parked",
	};
	const struct io_queue_stats *stats = &queue->stats;
	json_t *json = json_object();

	json_object_set_new(json, "name", json_string(queue->name));
	json_object_set_new(json, "state", json_string(states[READ_ONCE(queue->state)]));
	set_uint(json, "polls", READ_ONCE(stats->polls));
	set_uint(json, "empty_polls", READ_ONCE(stats->empty_polls));
	set_uint(json, "packets", READ_ONCE(stats->packets));
	set_uint(json, "bytes", READ_ONCE(stats->bytes));
	set_uint(json, "cycles", READ_ONCE(stats->cycles));
	set_uint(json, "limited", READ_ONCE(stats->limited));
	set_uint(json, "kicks", READ_ONCE(stats->kicks));
	set_uint(json, "wakes", READ_ONCE(stats->wakes));
	set_uint(json, "looks", READ_ONCE(stats->looks));
	set_uint(json, "parked", READ_ONCE(stats->parked));
	set_uint(json, "promoted", READ_ONCE(stats->promoted));
	set_uint(json, "waited_ns", READ_ONCE(stats->waited_ns));
	set_uint(json, "migrated", READ_ONCE(stats->migrated));
	return json;
}

/* Switch counters from the outside: sent is what the endpoint sent. */
static void plug_stats(const struct switch_port *port, json_t *counters)
{
	struct switch_port_stats stats = { .rx_packets = 0 };

	net_switch_port_stats(port, &stats);
	add_stat(counters, "switch", "sent_packets", stats.rx_packets);
	add_stat(counters, "switch", "sent_bytes", stats.rx_bytes);
	add_stat(counters, "switch", "received_packets", stats.tx_packets);
	add_stat(counters, "switch", "received_bytes", stats.tx_bytes);
	add_stat(counters, "switch", "receive_dropped", stats.tx_dropped);
	add_stat(counters, "switch", "spoofed", stats.spoofed);
	add_stat(counters, "switch", "vlan_dropped", stats.vlan_dropped);
	add_stat(counters, "switch", "isolated_dropped", stats.isolated_dropped);
	add_stat(counters, "switch", "no_destination", stats.no_destination);
	add_stat(counters, "switch", "flooded", stats.flooded);
	add_stat(counters, "switch", "multicast", stats.multicast);
	add_stat(counters, "switch", "learned", stats.learned);
	add_stat(counters, "switch", "learn_refused", stats.learn_refused);
	add_stat(counters, "switch", "moved", stats.moved);
}

/* Returns the packets (or other operations) both ways. */
static uint64_t endpoint_stats(const struct endpoint_info *end, json_t *json, json_t *counters)
{
	json_t *queues = json_array();
	uint64_t operations = 0;

	for (unsigned i = 0; i < end->n_queues; i++) {
		json_array_append_new(queues, queue_stats(end->queues[i]));
		operations += READ_ONCE(end->queues[i]->stats.packets);
	}
	if (end->port) {
		struct switch_port_stats stats = { .rx_packets = 0 };

		plug_stats(end->port, counters);
		net_switch_port_stats(end->port, &stats);
		operations = stats.rx_packets + stats.tx_packets;
	}
	json_object_set_new(json, "counters", counters);
	json_object_set_new(json, "queues", queues);
	return operations;
}

/* ---- objects ----------------------------------------------------------------------------- */

static void add_core(void *arg, const struct core_info *info)
{
	struct visit *visit = arg;
	json_t *json = json_object();

	json_object_set_new(json, "name", json_string(info->spec->name));
	set_uint(json, "turns", info->stats.turns);
	set_uint(json, "sleeps", info->stats.sleeps);
	set_uint(json, "messages", info->stats.messages);
	set_uint(json, "timers", info->stats.timers);
	set_uint(json, "busy_ns", info->stats.busy_ns);
	set_uint(json, "idle_ns", info->stats.idle_ns);
	set_uint(json, "sleep_ns", info->stats.sleep_ns);
	set_uint(json, "queues", info->stats.queues);
	set_uint(json, "polled", info->stats.polled);
	set_uint(json, "parked", info->stats.parked);
	json_array_append_new(visit->list, json);
}

static void add_machine(void *arg, const struct machine_info *info)
{
	struct visit *visit = arg;
	json_t *json = json_object();

	json_object_set_new(json, "name", json_string(info->spec->name));
	set_uint(json, "packets", info->stats.packets);
	set_uint(json, "bytes", info->stats.bytes);
	set_uint(json, "busy_ns", info->stats.busy_ns);
	set_uint(json, "limited", info->stats.limited);
	set_uint(json, "promoted", info->stats.promoted);
	json_array_append_new(visit->list, json);
}

static void add_port(void *arg, const struct port_info *info)
{
	struct visit *visit = arg;
	json_t *json = json_object(), *counters = json_object();

	json_object_set_new(json, "name", json_string(info->spec->name));
	json_object_set_new(json, "kind", json_string(info->spec->kind));
	manager_port_stats(info, add_stat, counters);
	set_uint(json, "packets", endpoint_stats(&info->end, json, counters));
	json_array_append_new(visit->list, json);
}

static json_t *ratio(uint64_t a, uint64_t b)
{
	return b ? json_real((double)a / (double)b) : json_null();
}

/* Frames as the guest's driver counts them: a large segment is as many as it becomes. What the
 * model does not count, the switch does. */
static uint64_t frames(const json_t *counters, uint64_t packets)
{
	const json_t *device = json_object_get(counters, "device");
	const json_t *rx = json_object_get(device, "rx_packets");
	const json_t *tx = json_object_get(device, "tx_packets");

	return rx && tx ? (uint64_t)(json_integer_value(rx) + json_integer_value(tx)) : packets;
}

static void add_device(void *arg, const struct device_info *info)
{
	struct visit *visit = arg;
	json_t *json, *counters;
	uint64_t packets;

	if (!visit_wanted(visit, info->spec->name))
		return;
	json = json_object();
	counters = json_object();
	json_object_set_new(json, "machine", json_string(info->machine));
	json_object_set_new(json, "name", json_string(info->spec->name));
	json_object_set_new(json, "kind", json_string(info->spec->kind));
	json_object_set_new(json, "model", json_string(info->spec->model));
	json_object_set_new(json, "connected", json_boolean(info->connected));
	manager_device_stats(info, add_stat, counters);
	packets = frames(counters, endpoint_stats(&info->end, json, counters));
	set_uint(json, "packets", packets);
	set_uint(json, "traps", info->traps);
	set_uint(json, "interrupts", info->interrupts);
	json_object_set_new(json, "traps_per_packet", ratio(info->traps, packets));
	json_object_set_new(json, "traps_per_interrupt", ratio(info->traps, info->interrupts));
	json_array_append_new(visit->list, json);
}

json_t *report_stats(struct manager *m, const char *machine, const char *name)
{
	static const struct visit_lists lists = {
		.core = add_core,
		.port = add_port,
		.machine = add_machine,
	};
	struct visit visit = { .name = name, .list = json_array() };
	json_t *json = machine ? json_object() : visit_all(m, &lists);

	manager_each_device(m, machine, add_device, &visit);
	json_object_set_new(json, "devices", visit.list);
	return json;
}

/* ---- metrics ----------------------------------------------------------------------------- */

/* The text format wants all samples of a metric together: "name" -> its lines. */
static void add_sample(json_t *metrics, const char *metric, const char *labels, json_t *value)
{
	json_t *lines = json_object_get(metrics, metric);
	char line[512];

	if (!lines) {
		lines = json_array();
		json_object_set_new(metrics, metric, lines);
	}
	snprintf(line, sizeof(line), "%s{%s} %lld\n", metric, labels,
		 (long long)json_integer_value(value));
	json_array_append_new(lines, json_string(line));
}

static void add_numbers(json_t *metrics, const char *prefix, const char *labels, json_t *object)
{
	const char *key;
	json_t *value;
	char metric[128];

	json_object_foreach(object, key, value)
	{
		if (!json_is_integer(value))
			continue;
		snprintf(metric, sizeof(metric), "exitless_%s_%s", prefix, key);
		add_sample(metrics, metric, labels, value);
	}
}

static void add_endpoint(json_t *metrics, const char *prefix, const char *labels, json_t *object)
{
	json_t *group, *queue;
	const char *key;
	char more[256];
	size_t i;

	add_numbers(metrics, prefix, labels, object);
	json_object_foreach(json_object_get(object, "counters"), key, group)
	{
		snprintf(more, sizeof(more), "%s_%s", prefix, key);
		add_numbers(metrics, more, labels, group);
	}
	json_array_foreach(json_object_get(object, "queues"), i, queue)
	{
		snprintf(more, sizeof(more), "queue=\"%s\"",
			 json_string_value(json_object_get(queue, "name")));
		add_numbers(metrics, "queue", more, queue);
	}
}

/* What is told of the objects in one of the lists of report_stats(). */
static void add_objects(json_t *metrics, json_t *stats, const char *list, const char *prefix,
			bool endpoints)
{
	const char *machine;
	json_t *object;
	char labels[128];
	size_t i;

	json_array_foreach(json_object_get(stats, list), i, object)
	{
		machine = json_string_value(json_object_get(object, "machine"));
		snprintf(labels, sizeof(labels), "%s%s%s%s=\"%s\"", machine ? "machine=\"" : "",
			 machine ? machine : "", machine ? "\"," : "", prefix,
			 json_string_value(json_object_get(object, "name")));
		if (endpoints)
			add_endpoint(metrics, prefix, labels, object);
		else
			add_numbers(metrics, prefix, labels, object);
	}
}

char *report_metrics(struct manager *m)
{
	json_t *stats = report_stats(m, NULL, NULL), *metrics = json_object(), *line, *lines;
	const char *metric;
	char *text = NULL;
	size_t i, size = 0;
	FILE *out;

	add_objects(metrics, stats, "cores", "core", false);
	add_objects(metrics, stats, "machines", "machine", false);
	add_objects(metrics, stats, "ports", "port", true);
	add_objects(metrics, stats, "devices", "device", true);
	out = open_memstream(&text, &size);
	if (out) {
		json_object_foreach(metrics, metric, lines)
		{
			fprintf(out, "# TYPE %s untyped\n", metric);
			json_array_foreach(lines, i, line) fputs(json_string_value(line), out);
		}
		fclose(out);
	}
	json_decref(metrics);
	json_decref(stats);
	return text;
}
