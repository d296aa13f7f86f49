// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lines: what stands between an interrupt of the vCPU's and KVM.
 *
 *   a device's    A host interrupt that is a route (irqmap.c) comes to the guest without anybody's
 *                 help if it comes during a direct entry. Else the host takes it, and VFIO writes
 *                 its eventfd.
 *   an eventfd's  that has no device of the host's behind it, such as a device model's.
 *   an IPI's      from another vCPU by the vector; see abi.c.
 *
 * The latter two have a host interrupt of their own from the kernel's vector allocator, which no
 * device raises, but this module by an IPI: so they are routes, too, and during a direct entry the
 * guest's own gate stands at their vector, and no exit happens.
 *
 * On each eventfd a waiter in front of KVM's own is asked first. It takes the event if the vCPU is
 * in a direct entry, or out of one for a moment: by the IPI, or, where the host has taken an
 * interrupt on that CPU, by keeping its vector for the next entry (direct.c). Otherwise the event
 * is KVM's as ever.
 */
#include <linux/delay.h>
#include <linux/eventfd.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdomain.h>
#include <linux/kvm_irqfd.h>
#include <linux/poll.h>
#include <linux/rcuwait.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include <asm/apicdef.h>
#include <asm/hw_irq.h>
#include <asm/irq_vectors.h>
#include <asm/irqdomain.h>

#include "compat.h"
#include "direct.h"
#include "lapic.h"

#define DRAIN_MS 1000

struct ex_line {
	struct list_head link; /* in the vCPU's; ex_lock */
	struct ex_vcpu *d;
	int irq;
	bool own;	/* @irq is the line's, not a device's */
	u8 host, guest; /* vectors; may change while it is hooked, unless they are its own */
	int gsi;	/* the guest's; not of an IPI */
	bool used;	/* seen by the update that is under way */
	bool hooked;
	/* An eventfd's; NULL: an IPI's. */
	struct eventfd_ctx *eventfd; /* referenced */
	struct wait_queue_head *queue;
	wait_queue_entry_t wait, *kvm; /* ours; KVM's, which may be gone */
	wait_queue_func_t kvm_func;
};

/* KVM's end of the eventfd, if it is still there. The queue is locked: so it stays. */
static struct kvm_kernel_irqfd *line_irqfd(struct ex_line *l)
{
	wait_queue_entry_t *w;

	list_for_each_entry(w, &l->queue->head, entry)
		if (w == l->kvm && w->func == l->kvm_func)
			return container_of(w, struct kvm_kernel_irqfd, wait);
	return NULL;
}

/* Does the guest still have the interrupt at this vCPU and vector? */
static bool line_current(struct ex_line *l, struct kvm_kernel_irqfd *f)
{
	struct kvm_kernel_irq_routing_entry entry;
	unsigned int seq;

	do {
		seq = read_seqcount_begin(&f->irq_entry_sc);
		entry = f->irq_entry;
	} while (read_seqcount_retry(&f->irq_entry_sc, seq));
	return ex_route_vector(l->d, &entry) == READ_ONCE(l->guest);
}

/* The eventfd was written, by anybody; its queue is locked. Negative: nobody else is to know. */
static int line_wake(wait_queue_entry_t *wait, unsigned int mode, int flags, void *key)
{
	struct ex_line *l = container_of(wait, struct ex_line, wait);
	struct kvm_kernel_irqfd *f;
	u64 count;

	if (!(key_to_poll(key) & EPOLLIN) || !ex_near(l->d))
		return 0;
	f = line_irqfd(l);
	if (!f || !line_current(l, f))
		return 0;
	if (!l->own && !ex_keep(l->d, READ_ONCE(l->host), READ_ONCE(l->guest)))
		return 0;
	eventfd_ctx_do_read(l->eventfd, &count);
	if (l->own) {
		l->d->n_line_sent++;
		ex_lapic_send(l->d->cpu, APIC_DM_FIXED | l->host);
	}
	return -1;
}

/* The host took it. */
static irqreturn_t line_fell(int irq, void *data)
{
	struct ex_line *l = data;
	struct kvm_kernel_irqfd *f;
	unsigned long flags;

	l->d->n_line_fell++;
	if (ex_keep(l->d, l->host, READ_ONCE(l->guest)))
		return IRQ_HANDLED;
	if (!l->eventfd) {
		ex_inject(l->d, l->guest);
		return IRQ_HANDLED;
	}
	spin_lock_irqsave(&l->queue->lock, flags);
	f = line_irqfd(l);
	if (f)
		l->kvm_func(&f->wait, TASK_NORMAL, 0, poll_to_key(EPOLLIN));
	spin_unlock_irqrestore(&l->queue->lock, flags);
	/* Then it is for whoever else reads the eventfd. */
	if (!f)
		eventfd_signal_mask(l->eventfd, 0);
	return IRQ_HANDLED;
}

/* In front of all others; KVM, where it comes later, insists on being the first. */
static void line_hook(struct ex_line *l)
{
	spin_lock_irq(&l->queue->lock);
	if (l->hooked)
		list_del(&l->wait.entry);
	list_add(&l->wait.entry, &l->queue->head);
	l->hooked = true;
	spin_unlock_irq(&l->queue->lock);
}

static void line_unhook(struct ex_line *l)
{
	spin_lock_irq(&l->queue->lock);
	list_del(&l->wait.entry);
	l->hooked = false;
	spin_unlock_irq(&l->queue->lock);
}

struct pending {
	u8 vector;
	bool is;
};

static void pending_look(void *data)
{
	struct pending *p = data;

	p->is = ex_lapic_pending(p->vector);
}

/* What was sent has arrived, and is taken as soon as that CPU may. Where it never is, something is
 * wrong with the LAPIC: it is told, and the interrupt given up, which the kernel then finds without
 * a handler if it comes after all. */
static void line_drain(struct ex_line *l)
{
	struct pending p = { .vector = l->host };
	unsigned int waited;

	for (waited = 0; waited < DRAIN_MS; waited++) {
		p.is = false;
		smp_call_function_single(l->d->cpu, pending_look, &p, 1);
		if (!p.is)
			return;
		msleep(1);
	}
	ex_trouble.lines++;
	pr_err("vector %#x stays pending on CPU %d (see exitless_kvm/lapic in debugfs)\n", l->host,
	       l->d->cpu);
}

static void line_free(struct ex_line *l)
{
	if (l->hooked)
		line_unhook(l);
	if (l->own) {
		line_drain(l);
		ex_irq_free(l->irq, l);
	}
	if (l->eventfd)
		eventfd_ctx_put(l->eventfd);
	list_del(&l->link);
	kfree(l);
}

int ex_irq_new(int cpu, irq_flow_handler_t flow, irq_handler_t fn, void *data)
{
	const struct cpumask *mask = cpumask_of(cpu);
	struct irq_alloc_info info = { .mask = mask };
	int err, irq;
	u8 vector;

	irq = irq_domain_alloc_irqs(x86_vector_domain, 1, cpu_to_node(cpu), &info);
	if (irq < 0)
		return irq;
	irq_set_handler(irq, flow);
	irq_set_handler_data(irq, data);
	err = irq_set_affinity(irq, mask);
	if (!err)
		err = request_irq(irq, fn, IRQF_NO_THREAD | IRQF_NOBALANCING, "exitless", data);
	if (err)
		goto no_request;
	vector = ex_irq_vector(irq, cpu);
	if (vector >= 32 && vector < EX_TIMER_VECTOR)
		return irq;
	err = -ENOSPC;
	free_irq(irq, data);
no_request:
	irq_dispose_mapping(irq);
	return err;
}

void ex_irq_free(int irq, void *data)
{
	free_irq(irq, data);
	irq_dispose_mapping(irq);
}

static int irq_new(struct ex_line *l)
{
	l->irq = ex_irq_new(l->d->cpu, handle_edge_irq, line_fell, l);
	if (l->irq < 0)
		return l->irq;
	l->host = ex_irq_vector(l->irq, l->d->cpu);
	return 0;
}

/* NULL: no memory, or no vector is left. */
static struct ex_line *line_new(struct ex_vcpu *d, u8 guest, bool own)
{
	struct ex_line *l = kzalloc(sizeof(*l), GFP_KERNEL);

	if (!l)
		return NULL;
	l->d = d;
	l->guest = guest;
	l->own = own;
	if (own && irq_new(l)) {
		kfree(l);
		return NULL;
	}
	list_add_tail(&l->link, &d->lines);
	return l;
}

static struct ex_line *line_find(struct ex_vcpu *d, const struct ex_fd *fd)
{
	struct ex_line *l;

	list_for_each_entry(l, &d->lines, link)
		if (l->eventfd && l->eventfd == fd->eventfd && l->kvm == fd->wait)
			return l;
	return NULL;
}

struct eventfd_ctx *ex_eventfd_get(struct eventfd_ctx *eventfd)
{
	kref_get((struct kref *)((char *)eventfd + ex_off.eventfd_kref));
	return eventfd;
}

static void route_add(struct ex_map *map, struct ex_line *l)
{
	struct ex_route *r = &map->route[map->n++];

	r->irq = l->irq;
	r->gsi = l->gsi;
	r->host = l->host;
	r->guest = l->guest;
	r->ipi = !l->eventfd;
	l->used = true;
}

void ex_lines_begin(struct ex_vcpu *d)
{
	struct ex_line *l;

	list_for_each_entry(l, &d->lines, link)
		l->used = false;
}

void ex_lines_eventfd(struct ex_vcpu *d, struct ex_map *map, const struct ex_fd *fd)
{
	struct ex_line *l;
	u8 host = fd->irq < 0 ? 0 : ex_irq_vector(fd->irq, d->cpu);

	if (map->n == EX_MAPS_MAX || (fd->irq >= 0 && (host < 32 || host >= EX_TIMER_VECTOR)))
		return;
	l = line_find(d, fd);
	/* A device has come to the eventfd, or gone from it: ex_lines_end() frees the old one. */
	if (l && l->own != (fd->irq < 0))
		l = NULL;
	if (!l) {
		l = line_new(d, fd->guest, fd->irq < 0);
		if (!l)
			return;
		l->eventfd = ex_eventfd_get(fd->eventfd);
		l->queue = (void *)((char *)l->eventfd + ex_off.eventfd_wqh);
		l->kvm = fd->wait;
		l->kvm_func = fd->func;
		init_waitqueue_func_entry(&l->wait, line_wake);
	}
	WRITE_ONCE(l->guest, fd->guest);
	l->gsi = fd->gsi;
	if (!l->own) {
		l->irq = fd->irq;
		WRITE_ONCE(l->host, host);
	}
	line_hook(l);
	route_add(map, l);
}

void ex_lines_ipi(struct ex_vcpu *d, struct ex_map *map)
{
	struct ex_line *l;
	unsigned int vector, n = 0;

	list_for_each_entry(l, &d->lines, link) {
		if (l->eventfd)
			continue;
		clear_bit(l->guest, d->ipi_wanted);
		n++;
		/* Tables of the guest's may name its vector until the vCPU stops, so it stays its
		 * own even without a route, and KVM's if it comes. */
		l->used = true;
		if (map->n < EX_MAPS_MAX)
			route_add(map, l);
	}
	for_each_set_bit(vector, d->ipi_wanted, 256) {
		clear_bit(vector, d->ipi_wanted);
		if (n == EX_IPIS_MAX || map->n == EX_MAPS_MAX)
			continue;
		l = line_new(d, vector, true);
		if (!l)
			return;
		route_add(map, l);
		n++;
	}
}

bool ex_lines_own(const struct ex_vcpu *d, int irq)
{
	const struct ex_line *l;

	list_for_each_entry(l, &d->lines, link)
		if (l->own && l->irq == irq)
			return true;
	return false;
}

void ex_lines_end(struct ex_vcpu *d)
{
	struct ex_line *l, *next;

	list_for_each_entry_safe(l, next, &d->lines, link)
		if (!l->used)
			line_free(l);
}

void ex_lines_free(struct ex_vcpu *d)
{
	ex_lines_begin(d);
	ex_lines_end(d);
}
