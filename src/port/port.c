/* SPDX-License-Identifier: BSD-2-Clause */
#include "port/port.h"

#include "base/util.h"
#include "port/private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
	const char *kind;
	int (*make)(const struct host_port_config *config, struct host_port **out,
		    const char **why);
	/* may be NULL */
	int (*check)(const struct host_port_config *config, const char **key, const char **why);
} kinds[] = {
	{ "null", null_port_new, NULL },
	{ "pcap", pcap_port_new, pcap_port_check },
	{ "tap", tap_port_new, tap_port_check },
	{ "user", user_port_new, user_port_check },
};

const char *port_why(const char *text, const char *path, int err)
{
	static __thread char sentence[200];

	snprintf(sentence, sizeof(sentence), "%s %.120s: %s", text, path, strerror(-err));
	return sentence;
}

int host_port_check(const struct host_port_config *config, const char **key, const char **why)
{
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (config->kind && !strcmp(config->kind, kinds[i].kind))
			return kinds[i].check ? kinds[i].check(config, key, why) : 0;
	*key = "kind";
	*why = "no such kind of port";
	return -EINVAL;
}

struct host_port *host_port_new(const struct host_port_config *config, const char **why)
{
	struct host_port *port = NULL;
	const char *ignored, *key;
	char *name;
	int err;

	if (!why)
		why = &ignored;
	*why = NULL;
	err = host_port_check(config, &key, why);
	if (err) {
		errno = -err;
		return NULL;
	}
	name = strdup(config->name ? config->name : "");
	if (!name) {
		errno = ENOMEM;
		return NULL;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!config->kind || strcmp(config->kind, kinds[i].kind))
			continue;
		err = kinds[i].make(config, &port, why);
		if (err)
			break;
		port->kind = kinds[i].kind;
		port->name = name;
		port->port.name = name;
		for (unsigned q = 0; q < port->n_queues; q++)
			port->queues[q]->name = name;
		return port;
	}
	free(name);
	errno = -err;
	return NULL;
}
