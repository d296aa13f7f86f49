/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A tap in another namespace is opened by a thread that enters that namespace and ends: the
 * descriptors stay with the interface, and the control thread never has to find its way back.
 */
#include "port/tap_if.h"

#include "base/util.h"
#include "port/private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Linux 6.2; Debian 12's headers are older */
#define F_USO4 0x20
#define F_USO6 0x40

#define VNET_HDR_LEN 10

struct request {
	const char *ifname, *netns;
	unsigned queues;
	int *fds;
	char *name;
	const char **why;
	bool no_netns;
	int err;
};

static int queue_offloads(int fd)
{
	unsigned all = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
	int len = VNET_HDR_LEN;

	if (ioctl(fd, TUNSETVNETHDRSZ, &len) < 0)
		return -errno;
	if (ioctl(fd, TUNSETOFFLOAD, all | F_USO4 | F_USO6) < 0 &&
	    ioctl(fd, TUNSETOFFLOAD, all) < 0)
		return -errno;
	return 0;
}

static int queue_open(const char *name, int flags, char out_name[IFNAMSIZ])
{
	struct ifreq ifr = { .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | flags) };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	err = queue_offloads(fd);
	if (err) {
		close(fd);
		return err;
	}
	memcpy(out_name, ifr.ifr_name, IFNAMSIZ);
	return fd;
}

/* Without the privilege an interface that somebody prepared is taken as it is. */
static void set_up(const char *name)
{
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { 0 };

	if (sock < 0)
		return;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(sock, SIOCGIFFLAGS, &ifr) == 0) {
		ifr.ifr_flags |= IFF_UP;
		if (ioctl(sock, SIOCSIFFLAGS, &ifr) < 0)
			errno = 0;
	}
	close(sock);
}

static int open_here(struct request *r)
{
	int flags = r->queues > 1 ? IFF_MULTI_QUEUE : 0, fd;
	unsigned n = 0;

	snprintf(r->name, IFNAMSIZ, "%s", r->ifname ? r->ifname : "");
	fd = queue_open(r->name, flags, r->name);
	/* one that was made with many queues is opened as one of them */
	if (fd == -EINVAL && !flags)
		fd = queue_open(r->name, flags = IFF_MULTI_QUEUE, r->name);
	for (;;) {
		if (fd < 0)
			break;
		r->fds[n++] = fd;
		if (n == r->queues) {
			set_up(r->name);
			return 0;
		}
		fd = queue_open(r->name, flags, r->name);
	}
	while (n)
		close(r->fds[--n]);
	switch (fd) {
	case -EPERM: *r->why = "no privilege to open or make a tap (CAP_NET_ADMIN)"; break;
	case -EBUSY: *r->why = "the tap is in use"; break;
	case -EINVAL:
		*r->why = "not a tap, or made with other queues or flags (want vnet_hdr)";
		break;
	default: *r->why = NULL;
	}
	return fd;
}

static void *open_there(void *arg)
{
	struct request *r = arg;
	int ns = open(r->netns, O_RDONLY | O_CLOEXEC);

	if (ns < 0 || setns(ns, CLONE_NEWNET) < 0) {
		r->err = -errno;
		r->no_netns = true;
	} else {
		r->err = open_here(r);
	}
	if (ns >= 0)
		close(ns);
	return NULL;
}

int tap_open(const char *ifname, const char *netns, unsigned queues, int *fds, char name[IFNAMSIZ],
	     const char **why)
{
	struct request r = { .ifname = ifname,
			     .netns = netns,
			     .queues = queues,
			     .fds = fds,
			     .name = name,
			     .why = why };
	pthread_t thread;
	int err;

	if (!netns)
		return open_here(&r);
	err = pthread_create(&thread, NULL, open_there, &r);
	if (err)
		return -err;
	pthread_join(thread, NULL);
	if (r.no_netns)
		*why = port_why("cannot enter the network namespace", netns, r.err);
	return r.err;
}
