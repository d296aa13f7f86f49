/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupts as eventfds of the client.
 *
 * Messages: one relaxed load of the descriptor and one signal (base/event.h) by whoever raises it.
 * The control thread exchanges descriptors while cores raise: it stores the new one, and closes the
 * old one after a grace period, so no core signals a number that has become another file.
 *
 * INTx is a level. The client learns of a rising edge by the trigger eventfd, and masks the line on
 * its side (automask, as vfio-pci does for INTx). It says when the guest is done: by an UNMASK
 * message, or by the resample eventfd (KVM irqfd at end of interrupt). If the line is still high
 * then, it is triggered again.
 */
#include "base/event.h"
#include "base/rcu.h"
#include "base/util.h"
#include "pci/private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int irq_init(struct pci_function *f)
{
	f->mode = -1;
	pthread_mutex_init(&f->intx_lock, NULL);
	if (irq_resize(f, PCI_IRQ_ERR, 1))
		return -ENOMEM;
	return irq_resize(f, PCI_IRQ_REQ, 1);
}

int irq_resize(struct pci_function *f, enum pci_irq_index index, unsigned n)
{
	struct pci_vectors *v = &f->irqs[index];

	v->fds = malloc(n * sizeof(v->fds[0]));
	v->masked = calloc(n, sizeof(v->masked[0]));
	if (!v->fds || !v->masked)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		v->fds[i] = -1;
	v->n = n;
	return 0;
}

void irq_done(struct pci_function *f)
{
	pci_irq_release(f);
	for (unsigned i = 0; i < PCI_IRQS; i++) {
		free(f->irqs[i].fds);
		free(f->irqs[i].masked);
	}
	pthread_mutex_destroy(&f->intx_lock);
}

int pci_irq_mode(const struct pci_function *f)
{
	return READ_ONCE(f->mode);
}

unsigned pci_irq_count(const struct pci_function *f, enum pci_irq_index index)
{
	return index < PCI_IRQS ? f->irqs[index].n : 0;
}

static void signal_fd(struct pci_function *f, int fd)
{
	if (!event_fd_signal(fd))
		__atomic_add_fetch(&f->stats.interrupts_lost, 1, __ATOMIC_RELAXED);
	else
		__atomic_add_fetch(&f->stats.interrupts, 1, __ATOMIC_RELAXED);
}

static int vector_fd(const struct pci_vectors *v, unsigned vector)
{
	if (!READ_ONCE(v->enabled) || vector >= v->n || READ_ONCE(v->masked[vector]))
		return -1;
	return __atomic_load_n(&v->fds[vector], __ATOMIC_ACQUIRE);
}

void pci_irq_message(struct pci_function *f, unsigned vector)
{
	int mode = READ_ONCE(f->mode);

	/* a message is a write of the bus master */
	if ((mode != PCI_IRQ_MSI && mode != PCI_IRQ_MSIX) || !READ_ONCE(f->bus_master)) {
		__atomic_add_fetch(&f->stats.interrupts_lost, 1, __ATOMIC_RELAXED);
		return;
	}
	if (mode == PCI_IRQ_MSI) {
		const struct pci_vectors *v = &f->irqs[PCI_IRQ_MSI];

		/* fewer enabled than asked for: the low bits count (PCI 3.0, section 6.8.1.3) */
		vector &= (1u << (f->config[f->msi + 2] >> 4 & 7)) - 1;
		if (vector < v->n && READ_ONCE(v->fds[vector]) < 0)
			vector = 0;
	}
	signal_fd(f, vector_fd(&f->irqs[mode], vector));
}

/* intx_lock held */
static void intx_trigger(struct pci_function *f)
{
	if (!f->intx_high || f->intx_sent || f->intx_masked || READ_ONCE(f->intx_off) ||
	    !READ_ONCE(f->irqs[PCI_IRQ_INTX].enabled) || f->irqs[PCI_IRQ_INTX].fds[0] < 0)
		return;
	f->intx_sent = true;
	signal_fd(f, f->irqs[PCI_IRQ_INTX].fds[0]);
}

void pci_intx_set(struct pci_function *f, bool high)
{
	if (!f->irqs[PCI_IRQ_INTX].n)
		return;
	pthread_mutex_lock(&f->intx_lock);
	if (f->intx_high != high) {
		WRITE_ONCE(f->intx_high, high);
		intx_trigger(f);
	}
	pthread_mutex_unlock(&f->intx_lock);
}

bool pci_intx_get(const struct pci_function *f)
{
	return READ_ONCE(f->intx_high);
}

void pci_intx_unmask(struct pci_function *f)
{
	if (!f->irqs[PCI_IRQ_INTX].n)
		return;
	pthread_mutex_lock(&f->intx_lock);
	f->stats.resamples++;
	f->intx_sent = false;
	f->intx_masked = false;
	intx_trigger(f);
	pthread_mutex_unlock(&f->intx_lock);
}

void irq_intx_reconsider(struct pci_function *f)
{
	if (!f->irqs[PCI_IRQ_INTX].n)
		return;
	pthread_mutex_lock(&f->intx_lock);
	intx_trigger(f);
	pthread_mutex_unlock(&f->intx_lock);
}

void irq_reset(struct pci_function *f)
{
	pthread_mutex_lock(&f->intx_lock);
	WRITE_ONCE(f->intx_high, false);
	f->intx_sent = false;
	pthread_mutex_unlock(&f->intx_lock);
}

/* Which mode is on follows from what the client has set up; MSI-X before MSI before INTx. */
static void update_mode(struct pci_function *f)
{
	static const enum pci_irq_index order[] = { PCI_IRQ_MSIX, PCI_IRQ_MSI, PCI_IRQ_INTX };
	int mode = -1;

	for (unsigned i = 0; i < ARRAY_SIZE(order) && mode < 0; i++)
		if (f->irqs[order[i]].enabled)
			mode = (int)order[i];
	if (mode == f->mode)
		return;
	WRITE_ONCE(f->mode, mode);
	if (f->ops->state_changed)
		f->ops->state_changed(f);
}

int pci_irq_set(struct pci_function *f, enum pci_irq_index index, unsigned start, unsigned n,
		const int *fds)
{
	struct pci_vectors *v = index < PCI_IRQS ? &f->irqs[index] : NULL;
	int *old = NULL, err = 0;
	unsigned n_old = 0;
	bool any = false;

	if (!v || start > v->n || n > v->n - start)
		err = -EINVAL;
	for (unsigned i = 0; fds && !err && i < n; i++)
		if (fds[i] >= 0 && !event_fd_is(fds[i]))
			err = -EINVAL;
	if (!err) {
		old = malloc((n ? n : 1) * sizeof(*old));
		err = old ? 0 : -ENOMEM;
	}
	if (err)
		return err;
	pthread_mutex_lock(&f->intx_lock); /* INTx's descriptor is used under it */
	for (unsigned i = 0; i < n; i++) {
		int fd = fds ? fds[i] : -1;

		if (v->fds[start + i] >= 0)
			old[n_old++] = v->fds[start + i];
		__atomic_store_n(&v->fds[start + i], fd, __ATOMIC_RELEASE);
		any |= fd >= 0;
	}
	if (any)
		WRITE_ONCE(v->enabled, true);
	if (index == PCI_IRQ_INTX) {
		f->intx_sent = false;
		intx_trigger(f);
	}
	pthread_mutex_unlock(&f->intx_lock);
	if (n_old)
		rcu_wait();
	while (n_old)
		close(old[--n_old]);
	free(old);
	update_mode(f);
	return 0;
}

int pci_irq_enable(struct pci_function *f, enum pci_irq_index index)
{
	if (index >= PCI_IRQS || !f->irqs[index].n)
		return -EINVAL;
	WRITE_ONCE(f->irqs[index].enabled, true);
	update_mode(f);
	return 0;
}

int pci_irq_disable(struct pci_function *f, enum pci_irq_index index)
{
	struct pci_vectors *v = index < PCI_IRQS ? &f->irqs[index] : NULL;

	if (!v)
		return -EINVAL;
	if (!v->n)
		return 0;
	WRITE_ONCE(v->enabled, false);
	for (unsigned i = 0; i < v->n; i++)
		WRITE_ONCE(v->masked[i], false);
	if (index == PCI_IRQ_INTX) {
		pthread_mutex_lock(&f->intx_lock);
		f->intx_masked = false;
		f->intx_sent = false;
		pthread_mutex_unlock(&f->intx_lock);
	}
	return pci_irq_set(f, index, 0, v->n, NULL);
}

int pci_irq_mask(struct pci_function *f, enum pci_irq_index index, unsigned start, unsigned n,
		 bool masked)
{
	struct pci_vectors *v = index < PCI_IRQS ? &f->irqs[index] : NULL;

	if (!v || start > v->n || n > v->n - start)
		return -EINVAL;
	if (index == PCI_IRQ_INTX && n) {
		if (!masked) {
			pci_intx_unmask(f);
			return 0;
		}
		pthread_mutex_lock(&f->intx_lock);
		f->intx_masked = true;
		pthread_mutex_unlock(&f->intx_lock);
		return 0;
	}
	for (unsigned i = 0; i < n; i++)
		WRITE_ONCE(v->masked[start + i], masked);
	return 0;
}

int pci_irq_fire(struct pci_function *f, enum pci_irq_index index, unsigned start, unsigned n)
{
	struct pci_vectors *v = index < PCI_IRQS ? &f->irqs[index] : NULL;

	if (!v || start > v->n || n > v->n - start)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++)
		if (vector_fd(v, start + i) >= 0)
			signal_fd(f, vector_fd(v, start + i));
	return 0;
}

void pci_irq_release(struct pci_function *f)
{
	for (unsigned i = 0; i < PCI_IRQS; i++)
		pci_irq_disable(f, i);
}
