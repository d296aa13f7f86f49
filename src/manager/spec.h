/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What can be asked of the manager, as plain data without pointers: copied by assignment, compared
 * field by field. The configuration file and the control socket decode into these
 * (control/objects.c has the defaults, ranges and documentation of each field).
 */
#ifndef EXITLESS_MANAGER_SPEC_H
#define EXITLESS_MANAGER_SPEC_H

#include "core/core.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SPEC_NAME_BYTES	   32 /* a name and its NUL: [A-Za-z0-9][A-Za-z0-9_.-]* */
#define SPEC_KIND_BYTES	   16
#define SPEC_SOCKET_BYTES  108 /* as in struct sockaddr_un */
#define SPEC_FILE_BYTES	   256
#define SPEC_FORWARDS_MAX  16
#define SPEC_FORWARD_BYTES 96
#define SPEC_VIDS_MAX	   128
#define SPEC_NET6_BYTES	   48
#define SPEC_BOOT_BYTES	   128 /* as in BOOTP (RFC 951) */

#define CORE_AUTO "auto" /* as a core's name: the least loaded, and the balance may move it */

enum balance_mode { BALANCE_OFF, BALANCE_DRY_RUN, BALANCE_ON };

/* When devices and ports move between cores by themselves. */
struct balance_spec {
	enum balance_mode mode;
	uint64_t interval_ns;  /* between two looks */
	unsigned high_percent; /* a core that is less busy gives nothing away */
	unsigned gain_percent; /* of a core, that a move must gain */
	uint64_t hold_ns;      /* who was moved stays for this long */
};

struct core_spec {
	char name[SPEC_NAME_BYTES];
	struct io_core_params params;
};

struct switch_spec {
	char name[SPEC_NAME_BYTES];
	bool vlan_aware;
	unsigned addresses_max;	     /* learned in all */
	unsigned port_addresses_max; /* learned on one port */
	uint64_t age_ns;
};

/* How a device or host port is plugged into a switch. */
struct plug_spec {
	char sw[SPEC_NAME_BYTES]; /* "": not plugged in */
	bool isolated;
	bool check_source;
	bool trunk;
	uint16_t pvid;
	uint16_t vids[SPEC_VIDS_MAX]; /* trunk: allowed; none: all */
	unsigned n_vids;
};

struct port_spec {
	char name[SPEC_NAME_BYTES];
	char kind[SPEC_KIND_BYTES]; /* tap, user, pcap, null */
	char core[SPEC_NAME_BYTES]; /* "": the least loaded */
	struct plug_spec plug;
	/* tap */
	char ifname[16];
	char netns[SPEC_FILE_BYTES];
	unsigned queues;
	/* pcap */
	char capture_file[SPEC_FILE_BYTES], replay_file[SPEC_FILE_BYTES];
	double replay_speed;
	unsigned replay_loops;
	/* user */
	char ipv4_net[SPEC_NAME_BYTES];
	char ipv6_net[SPEC_NET6_BYTES]; /* "": none */
	bool restrict_outside;
	char forwards[SPEC_FORWARDS_MAX][SPEC_FORWARD_BYTES];
	unsigned n_forwards;
	char tftp_directory[SPEC_FILE_BYTES]; /* "": none */
	char boot_file[SPEC_BOOT_BYTES];
};

struct machine_spec {
	char name[SPEC_NAME_BYTES];
	struct io_group_params share;
};

struct device_spec {
	char name[SPEC_NAME_BYTES];
	char kind[SPEC_KIND_BYTES];
	char model[SPEC_KIND_BYTES]; /* "": the kind's first */
	char core[SPEC_NAME_BYTES];  /* "": the least loaded */
	/* its socket */
	char socket[SPEC_SOCKET_BYTES]; /* "": DIRECTORY/MACHINE-DEVICE.sock */
	uid_t socket_owner;		/* -1: leave */
	gid_t socket_group;
	mode_t socket_mode;
	/* network devices */
	struct plug_spec plug;
	uint8_t mac[6]; /* all zero: made of the device's and its machine's name */
	bool link_up;
	uint64_t max_packets_per_s, max_bytes_per_s; /* that it sends, or operations; 0: none */
	uint64_t max_rate_bps;
	bool trap_doorbells;
	/* virtio devices */
	unsigned queues;  /* pairs, for network devices; 0: 1 */
	bool vmm_listens; /* the daemon connects to the socket */
	/* disks */
	char file[SPEC_FILE_BYTES];
	uint64_t size_bytes; /* 0: the file's */
	unsigned block_bytes;
	bool read_only, cached, shared, pin_memory;
	char serial[24];
};

#endif
