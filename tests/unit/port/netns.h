/* SPDX-License-Identifier: BSD-2-Clause */
/* Network namespaces for tests that use real interfaces. They need root; netns_new() says -1
 * without. */
#ifndef EXITLESS_TESTS_PORT_NETNS_H
#define EXITLESS_TESTS_PORT_NETNS_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static inline void *netns_thread(void *arg)
{
	int *fd = arg;

	*fd = -1;
	if (unshare(CLONE_NEWNET) == 0 && access("/dev/net/tun", R_OK | W_OK) == 0)
		*fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	return NULL;
}

/* A new namespace; its descriptor, or -1. */
static inline int netns_new(void)
{
	pthread_t thread;
	int fd;

	pthread_create(&thread, NULL, netns_thread, &fd);
	pthread_join(thread, NULL);
	return fd;
}

struct netns_call {
	int ns, domain, type, protocol, fd;
};

static inline void *netns_socket_thread(void *arg)
{
	struct netns_call *call = arg;

	call->fd = setns(call->ns, CLONE_NEWNET) < 0
			   ? -1
			   : socket(call->domain, call->type, call->protocol);
	return NULL;
}

/* A socket of namespace @ns. */
static inline int netns_socket(int ns, int domain, int type, int protocol)
{
	struct netns_call call = { ns, domain, type, protocol, -1 };
	pthread_t thread;

	pthread_create(&thread, NULL, netns_socket_thread, &call);
	pthread_join(thread, NULL);
	return call.fd;
}

/* Gives an interface an address of a /24; 0 or -1. */
static inline int netns_address(int ns, const char *ifname, const char *address)
{
	int sock = netns_socket(ns, AF_INET, SOCK_DGRAM, 0), err;
	struct sockaddr_in *in;
	struct ifreq ifr = { 0 };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	in = (struct sockaddr_in *)&ifr.ifr_addr;
	in->sin_family = AF_INET;
	inet_pton(AF_INET, address, &in->sin_addr);
	err = ioctl(sock, SIOCSIFADDR, &ifr);
	inet_pton(AF_INET, "255.255.255.0", &in->sin_addr);
	err |= ioctl(sock, SIOCSIFNETMASK, &ifr);
	close(sock);
	return err;
}

/* A raw socket that sees ethertype @type at interface @ifname. */
static inline int netns_packet_socket(int ns, const char *ifname, unsigned type)
{
	int fd = netns_socket(ns, AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);
	struct sockaddr_ll ll = { .sll_family = AF_PACKET,
				  .sll_protocol = htons((unsigned short)type) };
	struct ifreq ifr = { 0 };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	if (fd < 0 || ioctl(fd, SIOCGIFINDEX, &ifr) < 0)
		return -1;
	ll.sll_ifindex = ifr.ifr_ifindex;
	return bind(fd, (struct sockaddr *)&ll, sizeof(ll)) < 0 ? -1 : fd;
}

#endif
