/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A host port: the switch's way out to what the host has. Kinds: tap (multi-queue, vnet_hdr),
 * pcap (capture to a file, replay from one), user (user-mode network on libslirp), null.
 * Control thread for everything here; packets move on the I/O core that polls its queues.
 */
#ifndef EXITLESS_PORT_PORT_H
#define EXITLESS_PORT_PORT_H

#include "core/core.h"
#include "net/switch.h"

struct host_port;

struct host_port_config {
	const char *name; /* copied */
	const char *kind; /* "tap", "pcap", "user", "null" */
	/* tap */
	const char *ifname; /* created if missing; NULL: the kernel chooses */
	const char *netns;  /* path of the network namespace to create or find it in; NULL: ours */
	unsigned queues;    /* 1..16 */
	/* pcap */
	const char *capture_file; /* written; NULL: none */
	const char *replay_file;  /* read; NULL: none */
	double replay_speed;	  /* 1: as recorded, 0: as fast as it goes */
	unsigned replay_loops;	  /* 0: once */
	/* user */
	const char *ipv4_net;	     /* "10.0.2.0/24"; NULL: that */
	const char *ipv6_net;	     /* "fd00:1:2:3::/64"; NULL: no IPv6 */
	bool restrict_outside;	     /* nothing but the built-in services */
	const char *const *forwards; /* "tcp:127.0.0.1:2222-10.0.2.15:22", NULL-terminated */
	const char *tftp_directory;  /* NULL: no TFTP */
	const char *boot_file;	     /* up to 127 characters; NULL: none */
};

typedef void host_port_stat_fn(void *arg, const char *name, uint64_t value);

/* What is wrong with @config by itself, before anything is made of it: 0, or -EINVAL with the *key
 * and *why. */
int host_port_check(const struct host_port_config *config, const char **key, const char **why);

struct host_port_ops {
	void (*free)(struct host_port *port);
	void (*stats)(struct host_port *port, host_port_stat_fn *stat, void *arg);
};

#define HOST_PORT_QUEUES_MAX 16

struct host_port {
	const struct host_port_ops *ops;
	const char *kind;
	char *name;
	char ifname[16]; /* tap: as the kernel named it */
	struct switch_port port;
	struct io_queue *queues[HOST_PORT_QUEUES_MAX];
	unsigned n_queues;
	struct io_timer *timers[HOST_PORT_QUEUES_MAX];
	unsigned n_timers;
};

/*
 * Returns NULL with errno set, and in *why (if not NULL; static or valid until the next call) what
 * is wrong in words. The caller adds queues and timers to a core, attaches the port, and
 * undoes both before free.
 */
struct host_port *host_port_new(const struct host_port_config *config, const char **why);

#endif
