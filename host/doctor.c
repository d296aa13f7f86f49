/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/doctor.h"

#include "host/doctor_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void doctor_add(struct doctor *d, const char *id, const char *what, enum doctor_state state,
		char *found, const char *means, const char *todo)
{
	static const char *const states[] = { "good", "note", "better", "bad", "unknown" };
	json_t *json = json_pack("{ssssssssss}", "id", id, "for", what, "state", states[state],
				 "found", found, "means", means);

	if (todo)
		json_object_set_new(json, "do", json_string(todo));
	json_array_append_new(d->checks, json);
	free(found);
}

bool doctor_flag(const struct doctor *d, const char *key, const char *flag)
{
	size_t len = strlen(key);
	bool found = false;

	for (const char *p = d->cpuinfo; p && !found; p = strchr(p, '\n')) {
		char *line, *word;

		p += *p == '\n';
		/* "vmx flags" is not "flags" */
		if (strncmp(p, key, len) != 0 || (p[len] != '\t' && p[len] != ' ' && p[len] != ':'))
			continue;
		line = host_printf("%.*s", (int)strcspn(p, "\n"), p);
		word = host_word(line, flag);
		found = word != NULL;
		free(word);
		free(line);
	}
	return found;
}

char *doctor_parameter(const struct doctor *d, const char *module, const char *name)
{
	char *text = host_read(d->host, "/sys/module/%s/parameters/%s", module, name);

	return text ? text : host_text_copy("");
}

char *doctor_config(const struct doctor *d, const char *name)
{
	char *key = host_printf("CONFIG_%s", name), *value = host_word(d->config, key);

	free(key);
	return value ? value : host_text_copy("");
}

char *doctor_boot(const struct doctor *d, const char *key)
{
	return host_word(d->cmdline, key);
}

static char *or_empty(char *text)
{
	return text ? text : host_text_copy("");
}

/* The kernel's configuration, where distributions leave it. */
static char *read_config(const struct doctor *d)
{
	char *text = host_read(d->host, "/boot/config-%s", d->release);
	size_t room = 0;
	FILE *unpack;

	if (!text)
		text = host_read(d->host, "/usr/lib/modules/%s/config", d->release);
	if (!text)
		text = host_read(d->host, "/lib/modules/%s/config", d->release);
	if (text || !host_live(d->host) || !host_exists(d->host, "/proc/config.gz"))
		return text;
	unpack = popen("gzip -dc </proc/config.gz 2>/dev/null", "re");
	if (unpack && getdelim(&text, &room, '\0', unpack) < 0) {
		free(text);
		text = NULL;
	}
	if (unpack)
		pclose(unpack);
	return text;
}

static bool is_bad_for_direct(const json_t *check)
{
	const char *what = json_string_value(json_object_get(check, "for"));
	const char *state = json_string_value(json_object_get(check, "state"));

	return !strcmp(state, "bad") && strcmp(what, "daemon") != 0;
}

/* Direct mode serves devices that come by VFIO. */
/* Would it do on this host, and do any good? */
static json_t *verdict(const struct doctor *d)
{
	json_t *way = json_array(), *check, *json;
	const char *word, *why;
	size_t i;

	json_array_foreach(d->checks, i, check) if (is_bad_for_direct(check))
		json_array_append(way, json_object_get(check, "id"));
	if (d->posted) {
		word = "has-better";
		why = "the hardware delivers device interrupts and takes their acknowledgements "
		      "without exits already, and direct mode would have to switch that off; all "
		      "that it could save is the timer's exits";
	} else if (json_array_size(way)) {
		word = "impossible";
		why = "what is listed as in the way must be changed first; then it would take away "
		      "the exits for device interrupts, acknowledgements and the timer";
	} else {
		word = "helps";
		why = "device interrupts, acknowledgements and the timer cost exits on this host, and "
		      "direct mode takes them away for a vCPU with a CPU of its own";
	}
	json = json_pack("{sbsbssss}", "possible", !json_array_size(way), "helps", !d->posted,
			 "verdict", word, "why", why);
	json_object_set_new(json, "in_the_way", way);
	return json;
}

json_t *doctor_examine(const struct host *host)
{
	struct doctor d = { .host = host, .checks = json_array() };
	char *end;
	json_t *json;

	d.cpuinfo = or_empty(host_read(host, "/proc/cpuinfo"));
	end = strstr(d.cpuinfo, "\n\n");
	if (end)
		*end = '\0';
	d.cmdline = or_empty(host_read(host, "/proc/cmdline"));
	d.dmesg = or_empty(host_dmesg(host));
	d.release = or_empty(host_read(host, "/proc/sys/kernel/osrelease"));
	d.config = read_config(&d);
	d.topology = topology_read(host, NULL);
	d.intel = strstr(d.cpuinfo, "GenuineIntel") != NULL;
	d.amd = strstr(d.cpuinfo, "AuthenticAMD") || strstr(d.cpuinfo, "HygonGenuine");
	doctor_cpu(&d);
	doctor_iommu(&d);
	doctor_kernel(&d);
	doctor_memory(&d);
	json = json_pack("{sOso}", "checks", d.checks, "direct", verdict(&d));
	json_decref(d.checks);
	topology_free(d.topology);
	free(d.cpuinfo);
	free(d.cmdline);
	free(d.dmesg);
	free(d.release);
	free(d.config);
	return json;
}
