/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the manager needs of an emulated NIC, whichever chip it is. The NIC is created with its
 * queues on a core and its switch port ready to be attached; a transport serves its PCI function.
 * Control thread for everything here.
 */
#ifndef EXITLESS_NIC_NIC_H
#define EXITLESS_NIC_NIC_H

#include "core/core.h"
#include "memory/space.h"
#include "net/switch.h"
#include "pci/function.h"
#include "pci/reg.h"

struct nic;

struct nic_config {
	const char *name;  /* "vm1/net0", copied */
	const char *model; /* "82540EM", "82574L" */
	uint8_t mac[6];
	bool link_up;
	bool trap_doorbells;   /* no shared pages: diagnosis */
	uint64_t max_rate_bps; /* 0: none */
};

/* A named number; @name is valid during the call only. */
typedef void nic_stat_fn(void *arg, const char *name, uint64_t value);

struct nic_ops {
	void (*free)(struct nic *nic);
	void (*link_set)(struct nic *nic, bool up);
	/* What the guest may send from now on; 0: all it wants. NULL: no such limit. */
	void (*rate_set)(struct nic *nic, uint64_t bps);
	/* Device counters: packets, bytes, drops by reason, malformed descriptors, interrupts. */
	void (*stats)(struct nic *nic, nic_stat_fn *stat, void *arg);
};

#define NIC_QUEUES_MAX 64

struct nic {
	const struct nic_ops *ops;
	const char *model;
	char *name;
	struct pci_function *pci;   /* NULL for vhost-user devices */
	struct reg_bank *regs;	    /* for dumps; NULL if none */
	struct memory_space *space; /* borrowed */
	struct switch_port port;
	struct io_queue *queues[NIC_QUEUES_MAX]; /* that a core polls */
	unsigned n_queues;
	struct io_timer *timers[NIC_QUEUES_MAX];
	unsigned n_timers;
	bool link_up;
};

/* Returns NULL with errno set: EINVAL for an unknown model. @space outlives it. The caller adds
 * queues and timers to a core, attaches the port, and undoes both before nic->ops->free(). */
struct nic *nic_new(const struct nic_config *config, struct memory_space *space);
/* The models that nic_new() knows, NULL-terminated. */
const char *const *nic_models(void);

#endif
