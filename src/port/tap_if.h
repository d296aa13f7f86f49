/* SPDX-License-Identifier: BSD-2-Clause */
/* Making or finding a tap interface; private to port/. */
#ifndef EXITLESS_PORT_TAP_IF_H
#define EXITLESS_PORT_TAP_IF_H

#include <net/if.h>

/*
 * Opens @queues queues of @ifname (NULL or "": the kernel chooses; created if it is not there) in
 * the namespace at path @netns (NULL: ours), with vnet_hdr of 10 bytes, all offloads that the
 * kernel can leave open, and not blocking; sets it up. Returns 0 with @fds and @name filled, or
 * -errno with *why set. Control thread.
 */
int tap_open(const char *ifname, const char *netns, unsigned queues, int *fds, char name[IFNAMSIZ],
	     const char **why);

#endif
