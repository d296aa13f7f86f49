/* SPDX-License-Identifier: BSD-2-Clause */
/* The kinds of host ports, and what they share; private to port/. */
#ifndef EXITLESS_PORT_PRIVATE_H
#define EXITLESS_PORT_PRIVATE_H

#include "net/offload.h"
#include "port/port.h"

/*
 * One constructor per kind. Each embeds a struct host_port, fills it but for kind and name (@name
 * is already a copy, owned by host_port_new() until success), and returns 0; or -errno with *why
 * set to a sentence, or left alone when the errno says it all.
 */
int null_port_new(const struct host_port_config *config, struct host_port **out, const char **why);
int user_port_new(const struct host_port_config *config, struct host_port **out, const char **why);
int tap_port_new(const struct host_port_config *config, struct host_port **out, const char **why);
int pcap_port_new(const struct host_port_config *config, struct host_port **out, const char **why);

/* host_port_check() of a kind. */
int user_port_check(const struct host_port_config *config, const char **key, const char **why);
int tap_port_check(const struct host_port_config *config, const char **key, const char **why);
int pcap_port_check(const struct host_port_config *config, const char **key, const char **why);

/* A sentence that is made, for *why: "TEXT PATH: what errno @err (negative) says". Valid until the
 * thread's next call. */
const char *port_why(const char *text, const char *path, int err);

/* A counter of a port that several cores may add to. */
#define PORT_ADD(c, n) __atomic_fetch_add(&(c), (n), __ATOMIC_RELAXED)

#endif
