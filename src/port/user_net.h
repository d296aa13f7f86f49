/* SPDX-License-Identifier: BSD-2-Clause */
/* The user-mode network's configuration in words; private to port/. */
#ifndef EXITLESS_PORT_USER_NET_H
#define EXITLESS_PORT_USER_NET_H

#include <netinet/in.h>
#include <stdbool.h>

struct user_net {
	struct in_addr network, mask, gateway, dns, dhcp_start;
};

struct user_net6 {
	struct in6_addr prefix, gateway, dns; /* of 64 bits */
};

struct user_forward {
	bool udp;
	struct in_addr host, guest; /* guest 0.0.0.0: the first that DHCP gives */
	int host_port, guest_port;
};

/*
 * "10.0.2.0/24" (NULL: that). The gateway is number 2 of it, the name server 3, DHCP gives from 15
 * on. 0 or -EINVAL with *why set.
 */
int user_net_parse(const char *text, struct user_net *net, const char **why);

/* "fd00:1:2:3::/64": guests make their addresses of it (RFC 4862), which takes 64 bits. Gateway and
 * name server as above. 0 or -EINVAL with *why set. */
int user_net6_parse(const char *text, struct user_net6 *net, const char **why);

/* "tcp:127.0.0.1:2222-10.0.2.15:22"; no host address: 127.0.0.1; no guest address: the first that
 * DHCP gives. 0 or -EINVAL with *why set. */
int user_forward_parse(const char *text, struct user_forward *forward, const char **why);

#endif
