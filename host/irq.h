/* SPDX-License-Identifier: BSD-2-Clause */
/* The host's interrupts (/proc/irq, /proc/interrupts). */
#ifndef EXITLESS_HOST_IRQ_H
#define EXITLESS_HOST_IRQ_H

#include "host/host.h"

struct irq {
	unsigned number;
	char *what; /* chip and actions, as /proc/interrupts says; "" if it is not there */
	struct cpus affinity;
	char device[16]; /* PCI address of the device that VFIO serves with it, else "" */
	unsigned vector; /* that device's MSI or MSI-X number */
};

struct irqs {
	struct irq *irq;
	unsigned n;
};

/* Empty where the machine does not tell. */
void irqs_read(const struct host *host, struct irqs *irqs);
/* Those alone that VFIO serves a device with. */
void irqs_read_vfio(const struct host *host, struct irqs *irqs);
void irqs_done(struct irqs *irqs);

#endif
