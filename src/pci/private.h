/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside of a PCI function, shared by config.c, irq.c and function.c. */
#ifndef EXITLESS_PCI_PRIVATE_H
#define EXITLESS_PCI_PRIVATE_H

#include "pci/function.h"

#include <pthread.h>

/* PCI Local Bus 3.0, section 6.1, and PCI Express Base 4.0, section 7.5 */
enum {
	PCI_COMMAND = 0x04,
	PCI_COMMAND_IO = 1 << 0,
	PCI_COMMAND_MEMORY = 1 << 1,
	PCI_COMMAND_MASTER = 1 << 2,
	PCI_COMMAND_INTX_OFF = 1 << 10,
	PCI_STATUS = 0x06,
	PCI_STATUS_INTX = 1 << 3,
	PCI_STATUS_CAPS = 1 << 4,
	PCI_BAR0 = 0x10,
	PCI_ROM_BAR = 0x30,
	PCI_CAP_PTR = 0x34,
	PCI_INT_LINE = 0x3c,
	PCI_INT_PIN = 0x3d,
	PCI_CAP_ID_PM = 0x01,
	PCI_CAP_ID_MSI = 0x05,
	PCI_CAP_ID_EXP = 0x10,
	PCI_CAP_ID_MSIX = 0x11,
	PCI_PM_CTRL = 4,    /* in its capability */
	PCI_EXP_DEVCTL = 8, /* likewise */
	PCI_EXP_FLR = 1 << 15,
};

/* One interrupt index: the client's eventfds, by vector; -1 where there is none. Entries are read
 * by I/O cores and written by the control thread; an old descriptor is closed after a grace period.
 */
struct pci_vectors {
	unsigned n;
	bool enabled;
	int *fds;
	bool *masked;
};

struct pci_function {
	char *name;
	const struct pci_function_ops *ops;
	void *dev;
	struct pci_bar bars[PCI_BARS];

	/* configuration space: value, bits a guest may write, bits it clears by writing 1 */
	unsigned config_size;
	uint8_t config[PCIE_CONFIG_BYTES];
	uint8_t writable[PCIE_CONFIG_BYTES];
	uint8_t w1c[PCIE_CONFIG_BYTES];
	unsigned cap_last, cap_next;	 /* offset of the last capability; next free byte */
	unsigned ext_last;		 /* of the last extended capability; 0: none */
	unsigned pm, msi, msix, express; /* capability offsets; 0: none */

	/* copies for other threads, made after each configuration write */
	bool bus_master, memory, io, intx_off;
	int mode;

	struct pci_vectors irqs[PCI_IRQS];
	pthread_mutex_t intx_lock;
	bool intx_high;	  /* the device's line */
	bool intx_sent;	  /* triggered, and not yet acknowledged by unmask or resample */
	bool intx_masked; /* by MASK */

	struct pci_function_stats stats;
};

/* config.c */
void config_init(struct pci_function *f, const struct pci_ids *ids, bool express);
void config_bar(struct pci_function *f, unsigned bar);
/* COMMAND, BARs, capabilities' controls to what a reset leaves. */
void config_reset(struct pci_function *f);
/* Copies what other threads look at. */
void config_refresh(struct pci_function *f);

/* irq.c */
int irq_init(struct pci_function *f);
int irq_resize(struct pci_function *f, enum pci_irq_index index, unsigned n);
void irq_done(struct pci_function *f);
/* INTx as the STATUS register shows it, and after COMMAND.INTxDisable changed. */
void irq_intx_reconsider(struct pci_function *f);
/* The line drops, and what was sent is forgotten. */
void irq_reset(struct pci_function *f);

#endif
