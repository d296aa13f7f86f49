/* SPDX-License-Identifier: BSD-2-Clause */
#include "port/user_net.h"

#include "port/private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int number(const char *text, unsigned long min, unsigned long max)
{
	char *end;
	unsigned long n;

	if (*text < '0' || *text > '9')
		return -1;
	n = strtoul(text, &end, 10);
	return *end || n < min || n > max ? -1 : (int)n;
}

/* "ADDRESS/BITS": the bits, or -1. */
static int prefix_parse(int family, const char *text, void *address)
{
	char copy[INET6_ADDRSTRLEN + 4];
	char *slash;

	if (strlen(text) >= sizeof(copy))
		return -1;
	strcpy(copy, text);
	slash = strchr(copy, '/');
	if (!slash)
		return -1;
	*slash = '\0';
	if (inet_pton(family, copy, address) != 1)
		return -1;
	return number(slash + 1, 0, family == AF_INET ? 32 : 128);
}

int user_net_parse(const char *text, struct user_net *net, const char **why)
{
	struct in_addr network;
	uint32_t base, mask;
	int bits;

	if (!text)
		text = "10.0.2.0/24";
	*why = "ipv4_net is written as \"10.0.2.0/24\"";
	bits = prefix_parse(AF_INET, text, &network);
	if (bits < 0)
		return -EINVAL;
	*why = "ipv4_net is to have 8 to 27 bits";
	if (bits < 8 || bits > 27)
		return -EINVAL;
	mask = ~0u << (32 - bits);
	base = ntohl(network.s_addr);
	*why = "ipv4_net has bits beyond its length";
	if (base & ~mask)
		return -EINVAL;
	*why = NULL;
	net->network = network;
	net->mask.s_addr = htonl(mask);
	net->gateway.s_addr = htonl(base + 2);
	net->dns.s_addr = htonl(base + 3);
	net->dhcp_start.s_addr = htonl(base + 15);
	return 0;
}

int user_net6_parse(const char *text, struct user_net6 *net, const char **why)
{
	static const uint8_t none[8];
	struct in6_addr prefix;

	*why = "ipv6_net is written as \"fd00:1:2:3::/64\", and has 64 bits";
	if (prefix_parse(AF_INET6, text, &prefix) != 64)
		return -EINVAL;
	*why = "ipv6_net has bits beyond its length";
	if (memcmp(&prefix.s6_addr[8], none, 8))
		return -EINVAL;
	*why = "ipv6_net is for multicast";
	if (IN6_IS_ADDR_MULTICAST(&prefix))
		return -EINVAL;
	*why = NULL;
	net->prefix = net->gateway = net->dns = prefix;
	net->gateway.s6_addr[15] = 2;
	net->dns.s6_addr[15] = 3;
	return 0;
}

/* "ADDRESS:PORT" or ":PORT". */
static int end_parse(char *text, struct in_addr *address, int *port)
{
	char *colon = strrchr(text, ':');

	if (!colon)
		return -EINVAL;
	*colon = '\0';
	if (*text && inet_pton(AF_INET, text, address) != 1)
		return -EINVAL;
	*port = number(colon + 1, 1, 65535);
	return *port < 0 ? -EINVAL : 0;
}

int user_forward_parse(const char *text, struct user_forward *forward, const char **why)
{
	struct user_forward f = { .host.s_addr = htonl(INADDR_LOOPBACK) };
	char copy[80];
	char *dash;

	*why = "a forward is written as \"tcp:127.0.0.1:2222-10.0.2.15:22\"";
	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	strcpy(copy, text);
	f.udp = !strncmp(copy, "udp:", 4);
	if (!f.udp && strncmp(copy, "tcp:", 4))
		return -EINVAL;
	dash = strchr(copy, '-');
	if (!dash)
		return -EINVAL;
	*dash = '\0';
	if (end_parse(copy + 4, &f.host, &f.host_port) ||
	    end_parse(dash + 1, &f.guest, &f.guest_port))
		return -EINVAL;
	*why = NULL;
	*forward = f;
	return 0;
}

int user_port_check(const struct host_port_config *config, const char **key, const char **why)
{
	struct user_forward forward;
	struct user_net6 net6;
	struct user_net net;
	int err;

	*key = "ipv4_net";
	err = user_net_parse(config->ipv4_net, &net, why);
	if (!err && config->ipv6_net) {
		*key = "ipv6_net";
		err = user_net6_parse(config->ipv6_net, &net6, why);
	}
	for (const char *const *f = config->forwards; !err && f && *f; f++) {
		*key = "forwards";
		err = user_forward_parse(*f, &forward, why);
	}
	return err;
}
