/* SPDX-License-Identifier: BSD-2-Clause */
/* A port that takes everything and sends nothing: a place for floods to end, and for benchmarks. */
#include "base/util.h"
#include "port/private.h"

#include <errno.h>
#include <stdlib.h>

struct null_port {
	struct host_port host;
	uint64_t packets, bytes;
};

static unsigned null_give(struct switch_port *port, struct packet *const *packets, unsigned n,
			  struct io_turn *turn)
{
	struct null_port *null = container_of(port, struct null_port, host.port);
	uint64_t bytes = 0;

	for (unsigned i = 0; i < n; i++)
		bytes += packets[i]->len;
	PORT_ADD(null->packets, n);
	PORT_ADD(null->bytes, bytes);
	return n;
}

static void null_free(struct host_port *host)
{
	free(host->name);
	free(container_of(host, struct null_port, host));
}

static void null_stats(struct host_port *host, host_port_stat_fn *stat, void *arg)
{
	struct null_port *null = container_of(host, struct null_port, host);

	stat(arg, "tx_packets", READ_ONCE(null->packets));
	stat(arg, "tx_bytes", READ_ONCE(null->bytes));
}

static const struct net_sink_ops null_sink = { .give = null_give };
static const struct host_port_ops null_ops = { .free = null_free, .stats = null_stats };

int null_port_new(const struct host_port_config *config, struct host_port **out, const char **why)
{
	struct null_port *null = calloc(1, sizeof(*null));

	if (!null)
		return -ENOMEM;
	null->host.ops = &null_ops;
	null->host.port.ops = &null_sink;
	*out = &null->host;
	return 0;
}
