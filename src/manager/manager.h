/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The manager owns machines, devices, ports, switches and cores, and alone creates and destroys
 * them. Each function validates first, then builds, and on failure undoes what it built; it returns
 * 0 or -errno and says in @why, in a sentence, what is wrong. Nothing is half done.
 *
 * A device belongs to its machine and not to the VMM that is connected to it: its address,
 * socket and counters stay when that VMM goes away and another one comes.
 *
 * Control thread for everything here; it must not be an RCU reader.
 */
#ifndef EXITLESS_MANAGER_MANAGER_H
#define EXITLESS_MANAGER_MANAGER_H

#include "base/loop.h"
#include "manager/spec.h"
#include "net/switch.h"
#include "pci/reg.h"

struct manager;

/* A sentence for the user, without a full stop. */
struct why {
	char text[256];
};

/* Formats into @why (may be NULL) and returns @err. */
int why_set(struct why *why, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* @directory: where sockets lie whose path is not given; made when missing. NULL with errno set. */
struct manager *manager_new(struct loop *loop, const char *directory);
/* Removes everything. NULL is allowed. False: storage has kept something for longer than some
 * seconds (a line in the log says what); that stays, polled by its core, and can only go with the
 * process. */
bool manager_free(struct manager *m);

/* ---- adding and removing ----------------------------------------------------------------- */

/* -EEXIST: the name is taken. -ENOENT: something it refers to is missing. -EINVAL: the rest. */
int manager_core_add(struct manager *m, const struct core_spec *spec, struct why *why);
int manager_switch_add(struct manager *m, const struct switch_spec *spec, struct why *why);
int manager_port_add(struct manager *m, const struct port_spec *spec, struct why *why);
int manager_machine_add(struct manager *m, const struct machine_spec *spec, struct why *why);
int manager_device_add(struct manager *m, const char *machine, const struct device_spec *spec,
		       struct why *why);

/* -ENOENT: there is none. -EBUSY: something still uses it (core, switch). Packets may be on their
 * way: returns when nothing refers to the object any more, but for a disk whose storage still has
 * requests. That is gone for everybody, with its name and socket, and taken apart once they have
 * come back: see manager_each_leaving(). Nobody waits for that. */
int manager_core_remove(struct manager *m, const char *name, struct why *why);
int manager_switch_remove(struct manager *m, const char *name, struct why *why);
int manager_port_remove(struct manager *m, const char *name, struct why *why);
/* With its devices. */
int manager_machine_remove(struct manager *m, const char *name, struct why *why);
int manager_device_remove(struct manager *m, const char *machine, const char *name,
			  struct why *why);

/* ---- changing ---------------------------------------------------------------------------- */

/* What an object is now; NULL if there is none. Valid until the next change. */
const struct core_spec *manager_core(const struct manager *m, const char *name);
const struct switch_spec *manager_switch(const struct manager *m, const char *name);
const struct port_spec *manager_port(const struct manager *m, const char *name);
const struct machine_spec *manager_machine(const struct manager *m, const char *name);
const struct device_spec *manager_device(const struct manager *m, const char *machine,
					 const char *name);

/* The object with @spec's name becomes what @spec says. -EOPNOTSUPP when it differs in something
 * that cannot change while the object lives (the schema says which). -EEXIST: a device's MAC
 * address is in the switch already. */
int manager_core_set(struct manager *m, const struct core_spec *spec, struct why *why);
int manager_switch_set(struct manager *m, const struct switch_spec *spec, struct why *why);
int manager_port_set(struct manager *m, const struct port_spec *spec, struct why *why);
int manager_machine_set(struct manager *m, const struct machine_spec *spec, struct why *why);
int manager_device_set(struct manager *m, const char *machine, const struct device_spec *spec,
		       struct why *why);
int manager_device_link(struct manager *m, const char *machine, const char *name, bool up,
			struct why *why);
/* Takes the link of every network device down, as before a shutdown. Returns how many have a VMM
 * that could see it. */
unsigned manager_links_down(struct manager *m);
/* Drops the client; its socket goes on listening. */
int manager_device_disconnect(struct manager *m, const char *machine, const char *name,
			      struct why *why);
/* Forgets what a switch has learned. */
int manager_switch_flush(struct manager *m, const char *name, struct why *why);

/* ---- balance: moving by measured load ---------------------------------------------------- */

struct balance_stats {
	uint64_t rounds, wishes, moves, dry_moves, failed;
	char last[160]; /* move, in words */
};

/* Off until it is set. */
void manager_balance_set(struct manager *m, const struct balance_spec *spec);
const struct balance_spec *manager_balance(const struct manager *m);
void manager_balance_stats(const struct manager *m, struct balance_stats *stats);

/* ---- looking ----------------------------------------------------------------------------- */

/* The pointers in these are valid during the call only. */
struct core_info {
	const struct core_spec *spec;
	struct io_core_stats stats;
};
struct switch_info {
	const struct switch_spec *spec;
	struct net_switch *sw;
	unsigned ports;
};
struct machine_info {
	const struct machine_spec *spec;
	unsigned devices;
	struct io_group_stats stats;
};

/* A named counter; @group: "transport", "pci", "device"... */
typedef void manager_stat_fn(void *arg, const char *group, const char *name, uint64_t value);

/* What a device or host port has in common. */
struct endpoint_info {
	const char *core;	  /* NULL: has nothing to poll */
	struct switch_port *port; /* NULL: not of the network */
	struct io_queue *const *queues;
	unsigned n_queues;
};
struct port_info {
	const struct port_spec *spec;
	struct endpoint_info end;
	const char *ifname; /* "" if it has none */
	const void *object; /* for manager_port_stats() */
};
struct device_info {
	const struct device_spec *spec; /* with model, MAC and socket as they came out */
	const char *machine;
	const char *transport; /* "vfio-user" */
	struct endpoint_info end;
	bool connected;
	pid_t client_pid;	 /* 0: unknown */
	struct reg_bank *regs;	 /* NULL if it has none */
	uint64_t traps;		 /* accesses that left the guest */
	uint64_t interrupts;	 /* sent */
	const char *qemu_device; /* "vfio-user-pci" */
	bool express;		 /* wants a PCI Express port of its own */
	uint64_t memory_bytes, memory_regions;
	bool memory_failed; /* its VMM truncated its memory */
	/* NULL if it is none of virtio's */
	const struct virtio_device *virtio;
	const char *waits_for; /* "its image": another process has it. NULL: nothing */
	const void *object;    /* for manager_device_stats() */
};

void manager_each_core(struct manager *m, void (*fn)(void *arg, const struct core_info *info),
		       void *arg);
void manager_each_switch(struct manager *m, void (*fn)(void *arg, const struct switch_info *info),
			 void *arg);
void manager_each_port(struct manager *m, void (*fn)(void *arg, const struct port_info *info),
		       void *arg);
void manager_each_machine(struct manager *m, void (*fn)(void *arg, const struct machine_info *info),
			  void *arg);
/* Of one machine, or of all with NULL. */
void manager_each_device(struct manager *m, const char *machine,
			 void (*fn)(void *arg, const struct device_info *info), void *arg);
/* Devices ("vm1/disk0") that were removed, and have requests at their storage still: they keep
 * their core and their image until then. */
void manager_each_leaving(struct manager *m, void (*fn)(void *arg, const char *id), void *arg);
void manager_port_stats(const struct port_info *info, manager_stat_fn *stat, void *arg);
void manager_device_stats(const struct device_info *info, manager_stat_fn *stat, void *arg);

/* The kinds of device that can be added, and the models of a kind (NULL: unknown kind);
 * NULL-terminated. */
const char *const *manager_device_kinds(void);
const char *const *manager_device_models(const char *kind);
/* Where a device has its socket if its spec does not say: into @path. 0, or -ENAMETOOLONG. */
int manager_socket_path(const char *directory, const char *machine, const char *device,
			char path[SPEC_SOCKET_BYTES]);
/* Makes @directory for sockets if it is missing: everybody may go through it, whatever the umask.
 * One that is there stays as it is. 0 or -errno. */
int manager_directory_make(const char *directory);
/* What is wrong with @spec by itself, whatever else there is: 0, or -EINVAL with the *key of it and
 * *why. A key that no object of its kind has is for the schema to say. */
int manager_machine_check(const struct machine_spec *spec, const char **key, struct why *why);
int manager_port_check(const struct port_spec *spec, const char **key, struct why *why);
int manager_device_check(const struct device_spec *spec, const char **key, struct why *why);
/* Kinds of host port. */
const char *const *manager_port_kinds(void);

#endif
