/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A PCI function as a device model presents it and a transport serves it: configuration space with
 * capabilities, BARs (trapped, with pages of shared memory where the model wants them), and
 * interrupts as eventfds that the client gave.
 *
 * The transport calls the functions marked T, the device model those marked D. T runs on the
 * control thread. Interrupts are raised from I/O cores too, so their descriptors are published by
 * RCU: one is closed only after every core has passed a quiescent point.
 */
#ifndef EXITLESS_PCI_FUNCTION_H
#define EXITLESS_PCI_FUNCTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pci_function;

#define PCI_BARS	  6
#define PCI_SHARED_AREAS  8
#define PCI_VECTORS_MAX	  2048
#define PCI_CONFIG_BYTES  256
#define PCIE_CONFIG_BYTES 4096

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_bar {
	enum pci_bar_kind kind;
	bool prefetch;
	uint64_t size; /* power of two; >= 16 (memory), >= 4 (I/O) */
	/* Pages that the client may map: one memory file per BAR, area at the same offset in the
	 * file as in the BAR; sorted, multiples of 4096. fd is owned by the function, sealed. */
	int fd;
	unsigned n_shared;
	struct {
		uint64_t offset, size;
		void *mem; /* our mapping of the area */
	} shared[PCI_SHARED_AREAS];
};

/* vfio's interrupt indexes, in its order (linux/vfio.h) */
enum pci_irq_index { PCI_IRQ_INTX, PCI_IRQ_MSI, PCI_IRQ_MSIX, PCI_IRQ_ERR, PCI_IRQ_REQ, PCI_IRQS };

enum pci_reset {
	PCI_RESET_FUNCTION, /* function-level reset, D3hot to D0, VM reset: everything */
};

struct pci_function_ops {
	/* Control thread; 1..n bytes anywhere in the BAR (the caller checked the range). */
	void (*bar_read)(struct pci_function *f, unsigned bar, uint64_t offset, void *buf,
			 size_t len);
	void (*bar_write)(struct pci_function *f, unsigned bar, uint64_t offset, const void *buf,
			  size_t len);
	/* Control thread. Returns with the device quiet: no DMA, no interrupt after it. */
	void (*reset)(struct pci_function *f, enum pci_reset kind);
	/* Control thread, after a configuration write changed it: bus master, memory enable, INTx
	 * disable, power state, or the interrupt mode in use. May be NULL. */
	void (*state_changed)(struct pci_function *f);
	/* Control thread: the client mapped or unmapped memory; it is visible. May be NULL. */
	void (*memory_changed)(struct pci_function *f);
};

struct pci_ids {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class_code; /* 24 bits: base, sub, interface */
	uint8_t revision;
};

struct pci_function_stats {
	uint64_t bar_reads, bar_writes, config_reads, config_writes; /* trapped accesses */
	uint64_t interrupts;					     /* eventfd writes */
	uint64_t interrupts_lost;				     /* no descriptor */
	uint64_t resamples, resets;
};

/* ---- building (D) ------------------------------------------------------------------------ */

/* @express: 4096 bytes of configuration space instead of 256. NULL with errno set. */
struct pci_function *pci_function_new(const char *name, const struct pci_ids *ids, bool express,
				      const struct pci_function_ops *ops, void *dev);
void pci_function_free(struct pci_function *f);
void *pci_function_dev(const struct pci_function *f);
const char *pci_function_name(const struct pci_function *f);

/* 0 or -EINVAL. */
int pci_bar_add(struct pci_function *f, unsigned bar, enum pci_bar_kind kind, uint64_t size);
/* Makes [@offset, @offset + @size) of the BAR shared memory; *mem is our mapping of it, zeroed.
 * Multiples of 4096. 0 or -errno. */
int pci_bar_share(struct pci_function *f, unsigned bar, uint64_t offset, uint64_t size, void **mem);

/* Capabilities at @offset (0: next free one). Each returns the offset, or -EINVAL/-ENOSPC. */
int pci_cap_pm(struct pci_function *f, uint8_t offset);
int pci_cap_msi(struct pci_function *f, uint8_t offset, unsigned vectors, bool maskable);
/* Table and PBA as BAR offsets. */
int pci_cap_msix(struct pci_function *f, uint8_t offset, unsigned vectors, unsigned bar,
		 uint32_t table, uint32_t pba);
/* PCI Express endpoint capability, 2.5 GT/s x1; version 2, or 1 where @offset leaves no room. */
int pci_cap_express(struct pci_function *f, uint8_t offset);
/* Extended capability with @len bytes (header included) zeroed and read-only. */
int pci_ext_cap(struct pci_function *f, uint16_t offset, uint16_t id, uint8_t version,
		uint16_t len);
/* Plain bytes for anything else: initial value and the bits a guest may write. */
void pci_config_set(struct pci_function *f, unsigned offset, unsigned len, uint32_t value,
		    uint32_t writable);
/* Interrupt pin A: the function has INTx. */
void pci_intx_add(struct pci_function *f);

/* ---- state (any thread) ------------------------------------------------------------------ */

bool pci_bus_master(const struct pci_function *f); /* COMMAND.BME, and in D0 */
bool pci_memory_enabled(const struct pci_function *f);
/* Which interrupts the client has set up now: INTX, MSI, MSIX; -1: none. Atomic. */
int pci_irq_mode(const struct pci_function *f);

/* ---- raising (D, any thread that is an online RCU reader, or the control thread) ---------- */

/* Sends message @vector (MSI or MSI-X, whichever is on; MSI folds vectors that it has not). Never
 * blocks. Out of range or without a descriptor: counted, ignored. */
void pci_irq_message(struct pci_function *f, unsigned vector);
/* Sets INTx. Level semantics are kept here: trigger on a rising edge, again after the client's
 * unmask or resample while still high. Thread safe. */
void pci_intx_set(struct pci_function *f, bool high);
bool pci_intx_get(const struct pci_function *f);

/* ---- serving (T) ------------------------------------------------------------------------- */

unsigned pci_config_size(const struct pci_function *f);
/* Configuration space, any width; -EINVAL when out of range. Writes call ops->state_changed. */
int pci_config_read(struct pci_function *f, uint64_t offset, void *buf, size_t len);
int pci_config_write(struct pci_function *f, uint64_t offset, const void *buf, size_t len);
const struct pci_bar *pci_bar_get(const struct pci_function *f, unsigned bar);
/* -EINVAL when out of the BAR's range, or COMMAND or the power state has it off. Counts the trap;
 * shared areas work too. */
int pci_bar_read(struct pci_function *f, unsigned bar, uint64_t offset, void *buf, size_t len);
int pci_bar_write(struct pci_function *f, unsigned bar, uint64_t offset, const void *buf,
		  size_t len);
/* COMMAND to 0, MSI/MSI-X off, ops->reset. */
void pci_function_reset(struct pci_function *f, enum pci_reset kind);

/* How many interrupts @index has (0: none). */
unsigned pci_irq_count(const struct pci_function *f, enum pci_irq_index index);
/*
 * Descriptors for vectors [@start, @start + @n) of @index; taken over unless it fails. @fds NULL or
 * an entry of -1 takes the old one away. Each is checked to be an eventfd (-EINVAL). For MSI and
 * MSI-X, setting any turns that mode on.
 */
int pci_irq_set(struct pci_function *f, enum pci_irq_index index, unsigned start, unsigned n,
		const int *fds);
/* "Enabled without vectors" (SET_IRQS count 1, no descriptor), and off (count 0). */
int pci_irq_enable(struct pci_function *f, enum pci_irq_index index);
int pci_irq_disable(struct pci_function *f, enum pci_irq_index index);
int pci_irq_mask(struct pci_function *f, enum pci_irq_index index, unsigned start, unsigned n,
		 bool masked);
/* Tests of the client: fire as the device would. */
int pci_irq_fire(struct pci_function *f, enum pci_irq_index index, unsigned start, unsigned n);
/* INTx: the client's EOI. The transport watches the resample eventfd and calls this; also on
 * UNMASK. Triggers again if the line is still high. */
void pci_intx_unmask(struct pci_function *f);
/* All descriptors away: the client has gone. */
void pci_irq_release(struct pci_function *f);

void pci_function_stats(const struct pci_function *f, struct pci_function_stats *stats);
/* The client mapped or unmapped memory. */
void pci_memory_changed(struct pci_function *f);

#endif
