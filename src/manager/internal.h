/* SPDX-License-Identifier: BSD-2-Clause */
/* The manager's objects; private to manager/. Control thread. */
#ifndef EXITLESS_MANAGER_INTERNAL_H
#define EXITLESS_MANAGER_INTERNAL_H

#include "base/list.h"
#include "manager/manager.h"
#include "memory/space.h"

#define DEVICE_ID_BYTES (2 * SPEC_NAME_BYTES)

struct core {
	struct list node;
	struct core_spec spec;
	struct io_core *io;
	unsigned endpoints;	   /* that it polls */
	unsigned queues;	   /* of those */
	struct io_core_stats seen; /* at the balance's last look */
};

struct bridge {
	struct list node;
	struct switch_spec spec;
	struct net_switch *sw;
	unsigned ports; /* plugged in */
};

/* What is polled by a core and plugged into a switch: the common half of a device and a host port.
 * The owner fills the first part. */
struct endpoint {
	struct io_queue *const *queues;
	unsigned n_queues;
	struct io_timer *const *timers;
	unsigned n_timers;
	struct switch_port *port; /* NULL: not of the network */

	struct core *core;     /* NULL while stopped */
	struct bridge *bridge; /* NULL while unplugged */
	/* the balance's */
	uint64_t cycles_seen, moved_ns;
};

struct port {
	struct list node;
	struct port_spec spec;
	struct host_port *host;
	struct endpoint end;
};

struct machine {
	struct list node;
	struct machine_spec spec;
	struct io_group *group;
	struct list devices;
	unsigned leaving; /* devices that are removed and not gone */
	bool removed;	  /* it goes with the last of them */
};

struct device {
	struct list node;
	struct manager *m;
	struct machine *machine;
	struct device_spec spec;  /* model, MAC and socket filled in */
	char id[DEVICE_ID_BYTES]; /* "vm1/net0" */
	const struct device_kind *kind;
	struct memory_space *space;
	struct endpoint end;
	struct io_group *own; /* its maximum rates */
	/* the kind's: one of them */
	struct nic *nic;
	struct disk *disk;
	/* what the transport serves: one of them */
	struct pci_function *pci;
	struct virtio_device *virtio;
	void *server; /* the transport's; NULL until it is served */
};

/* How VMMs come to a device. */
struct device_transport {
	const char *name; /* "vfio-user" */
	/* Opens the socket; from now on a VMM may come. */
	int (*serve)(struct device *dev, struct why *why);
	/* Drops the VMM, removes the socket. Does not wait: false when something that the VMM asked
	 * for is still under way, and it is to be called again. */
	bool (*close)(struct device *dev);
	void (*disconnect)(struct device *dev);
	/* The VMM truncated its memory: drops it. */
	void (*check)(struct device *dev);
	/* Fills connected, client_pid, traps, interrupts, express. */
	void (*look)(const struct device *dev, struct device_info *info);
	void (*stats)(const struct device *dev, manager_stat_fn *stat, void *arg);
};

extern const struct device_transport vfio_user_transport;
extern const struct device_transport vhost_user_transport;

/*
 * A kind of device. To add one: write these functions and name it in the table in device.c. What
 * differs between kinds is the model; the memory space, cores, switches, names and sockets' names
 * are dealt with in device.c, VMMs by the transport.
 */
struct device_kind {
	const char *name;	 /* "nic" */
	const char *qemu_device; /* what its VMM calls it */
	const struct device_transport *transport;
	bool network; /* dev->nic: has a MAC address and a link, and may be plugged in */
	const char *const *(*models)(void);
	/* As manager_device_check(), for what this kind has; the model is filled in. May be NULL.
	 */
	int (*check)(const struct device_spec *spec, const char **key, struct why *why);
	/* 0, or -EEXIST: @dev cannot be beside @other, of the same kind. May be NULL. */
	int (*clash)(const struct device_spec *spec, const struct device_spec *other,
		     struct why *why);
	/* Makes the device and fills dev->nic or ->disk, dev->pci or ->virtio, and the first part
	 * of dev->end. Nothing can reach it yet. */
	int (*build)(struct device *dev, struct why *why);
	/* Nothing polls it, gives to it or is connected to it any more. */
	void (*destroy)(struct device *dev);
	/* 0, or why @dev cannot become what @spec says while it lives; changes nothing. May be
	 * NULL. */
	int (*set_check)(const struct device *dev, const struct device_spec *spec, struct why *why);
	/* Applies what the kind alone knows of (its limits, size...), once all else is as @spec
	 * says; dev->spec is still the old. Leaves @dev as it was when it fails. May be NULL. */
	int (*set)(struct device *dev, const struct device_spec *spec, struct why *why);
	/* What it waits for before it can serve ("its image"), or NULL. May be NULL: never. */
	const char *(*waits_for)(const struct device *dev);
	/* The model's counters, by name. */
	void (*stats)(const struct device *dev, void (*stat)(void *, const char *, uint64_t),
		      void *arg);
};

extern const struct device_kind nic_device_kind;
extern const struct device_kind virtio_net_device_kind;
extern const struct device_kind virtio_blk_device_kind;

struct manager {
	struct loop *loop;
	char directory[SPEC_SOCKET_BYTES];
	struct list cores, bridges, ports, machines;
	struct list leaving; /* devices that are removed, with requests under way */
	struct loop_timer check_timer, leave_timer;
	struct balance_spec balance;
	struct balance_stats balance_stats;
	struct loop_timer balance_timer;
	/* what the last round would have liked; compared, never followed */
	const struct endpoint *balance_wish;
	const struct core *balance_wish_core;
};

struct core *find_core(const struct manager *m, const char *name);
struct bridge *find_bridge(const struct manager *m, const char *name);
struct port *find_port(const struct manager *m, const char *name);
struct machine *find_machine(const struct manager *m, const char *name);
struct device *find_device(const struct machine *machine, const char *name);
/* 0, or -EINVAL when @name is none that an object can have. */
int name_check(const char *what, const char *name, struct why *why);

/* endpoint.c */

/* The core called @name, or the least loaded for "". NULL with *why and errno set. */
struct core *core_choose(struct manager *m, const char *name, struct why *why);
/* Has @core poll the endpoint's queues for @group. */
int endpoint_start(struct endpoint *end, struct core *core, struct io_group *group,
		   struct why *why);
void endpoint_stop(struct endpoint *end);
int endpoint_move(struct endpoint *end, struct core *to, struct why *why);
/* The rates of its queues changed. */
void endpoint_retry(const struct endpoint *end);
/* Plugs in as @plug says (nothing for no switch). @mac: of the device, or NULL. */
int endpoint_plug(struct manager *m, struct endpoint *end, const struct plug_spec *plug,
		  const uint8_t *mac, struct why *why);
void endpoint_unplug(struct endpoint *end);
/* From @old, which is in effect, to @plug; keeps @old when that fails. */
int endpoint_replug(struct manager *m, struct endpoint *end, const struct plug_spec *old,
		    const struct plug_spec *plug, const uint8_t *mac, struct why *why);
void endpoint_look(const struct endpoint *end, struct endpoint_info *info);
/* 0, or -ENOENT/-EINVAL when @plug cannot be. */
int plug_check(struct manager *m, const struct plug_spec *plug, struct why *why);

/* balance.c: one look, and perhaps one move */
void balance_round(struct manager *m);

/* device.c */
void device_remove(struct device *dev);
/* Waits until those that were removed are gone, for a few seconds at most: with storage that is
 * stuck it would be for ever. False: some are not. */
bool devices_leave(struct manager *m);
/* Frees a machine that was removed if no device of it is left. */
void machine_release(struct machine *machine);
/* Says why its socket could not be opened, and returns @err. */
int socket_failed(const struct device *dev, int err, struct why *why);
/* One of the counters that the model lists; 0 if there is none of that name. */
uint64_t device_count(const struct device *dev, const char *name);
/* Looks for VMMs whose memory failed, and does so again in a while. */
void devices_check(struct manager *m);

#endif
