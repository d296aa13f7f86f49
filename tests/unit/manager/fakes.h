/* SPDX-License-Identifier: BSD-2-Clause */
/* Stand-ins for what the manager creates, so that its tests see in which order it does so, and can
 * make any step fail. */
#ifndef EXITLESS_TESTS_MANAGER_FAKES_H
#define EXITLESS_TESTS_MANAGER_FAKES_H

#include <stdbool.h>
#include <stdint.h>

struct fakes {
	int fail_nic, fail_port, fail_attach, fail_server; /* errno, or 0 */
	int nics, host_ports, switches, attached, servers; /* that exist now */
	int disks;					   /* that exist now */
	int disk_wake_fd;				   /* of new disks' queue; 0: none */
	int fail_resize;				   /* errno, or 0 */
	bool stuck;					   /* disks have requests under way */
	bool connected;					   /* what servers say */
	uint64_t rate_bps;				   /* as the last NIC was told */
	bool link_up;					   /* as the last NIC was told */
	unsigned taken;					   /* that the next poll takes; atomic */
	unsigned polls;					   /* that took something; atomic */
	const char *busy;				   /* NICs that always have work; atomic */
	bool replugged;					   /* net_switch_port_set() was called */
	char journal[4096];				   /* "nic+ attach+ server+ ..." */
};

extern struct fakes fakes;

#endif
