/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/irq.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "NUMBER: COUNT... what" in /proc/interrupts, which has as many counts as its head has CPUs; other
 * lines (NMI:, LOC:) have no number. */
static char *what_of(const char *table, unsigned number)
{
	unsigned columns = 0;
	const char *p = table;

	for (; *p && *p != '\n'; p++)
		columns += !strncmp(p, "CPU", 3);
	while (*p) {
		size_t n = strcspn(++p, "\n");
		char *end;

		if (strtoul(p, &end, 10) == number && *end == ':' && end < p + n) {
			unsigned i;

			end++;
			for (i = 0; i < columns && end < p + n; i++) {
				end += strspn(end, " ");
				end += strspn(end, "0123456789");
			}
			end += strspn(end, " ");
			return host_printf("%.*s", end < p + n ? (int)(p + n - end) : 0, end);
		}
		p += n;
	}
	return host_text_copy("");
}

/* "vfio-msix[3](0000:01:00.0)" */
static void find_device(struct irq *irq)
{
	static const char *const forms[] = { "vfio-msix[%u](%15[0-9a-f:.])",
					     "vfio-msi[%u](%15[0-9a-f:.])" };
	const char *at = strstr(irq->what, "vfio-");

	for (unsigned i = 0; at && i < 2; i++)
		if (sscanf(at, forms[i], &irq->vector, irq->device) == 2)
			return;
	if (!at || sscanf(at, "vfio-intx(%15[0-9a-f:.])", irq->device) != 1)
		irq->device[0] = '\0';
	irq->vector = 0;
}

void irqs_read(const struct host *host, struct irqs *irqs)
{
	struct host_names names = host_dir(host, "/proc/irq");
	char *table = host_read(host, "/proc/interrupts");

	irqs->n = 0;
	irqs->irq = host_alloc((names.n + 1) * sizeof(struct irq));
	for (unsigned i = 0; i < names.n; i++) {
		struct irq *irq = &irqs->irq[irqs->n];

		if (!isdigit((unsigned char)names.name[i][0]))
			continue;
		irq->number = (unsigned)strtoul(names.name[i], NULL, 10);
		if (!host_cpus(host, &irq->affinity, "/proc/irq/%u/smp_affinity_list", irq->number))
			continue;
		host_cpus(host, &irq->effective, "/proc/irq/%u/effective_affinity_list",
			  irq->number);
		irq->what = what_of(table ? table : "", irq->number);
		find_device(irq);
		irqs->n++;
	}
	free(table);
	host_names_done(&names);
}

void irqs_done(struct irqs *irqs)
{
	for (unsigned i = 0; i < irqs->n; i++)
		free(irqs->irq[i].what);
	free(irqs->irq);
	*irqs = (struct irqs){ 0 };
}
