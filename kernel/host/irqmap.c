// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which host interrupt is which of the guest's: KVM's irqfds tell the guest's vector for an
 * eventfd, VFIO's bypass producer tells the host's interrupt for the same eventfd, and the vector
 * domain tells that interrupt's vector. Registering a bypass consumer for a moment is how the
 * producer is met; where KVM has one registered itself (posted interrupts), ours is refused and
 * that interrupt stays KVM's.
 */
#include <linux/eventfd.h>
#include <linux/irq.h>
#include <linux/irqdomain.h>
#include <linux/kvm_irqfd.h>
#include <linux/slab.h>

#include <asm/hw_irq.h>

#include "compat.h"
#include "direct.h"

struct match {
	struct irq_bypass_consumer consumer;
	int irq;
};

static int match_add(struct irq_bypass_consumer *c, struct irq_bypass_producer *p)
{
	container_of(c, struct match, consumer)->irq = p->irq;
	return 0;
}

static void match_del(struct irq_bypass_consumer *c, struct irq_bypass_producer *p)
{
}

static int irq_of(struct eventfd_ctx *token)
{
	struct match m = { .irq = -1 };

	m.consumer.add_producer = match_add;
	m.consumer.del_producer = match_del;
	if (ex_consumer_add(&m.consumer, token))
		return -1;
	irq_bypass_unregister_consumer(&m.consumer);
	return m.irq;
}

/* Its descriptor is locked: while it is started nobody frees the chain below it. */
static u8 vector_of(struct irq_data *data, int cpu)
{
	if (!irqd_is_started(data) ||
	    !cpumask_test_cpu(cpu, irq_data_get_effective_affinity_mask(data)))
		return 0;
	while (data->parent_data)
		data = data->parent_data;
	/* Not every interrupt has a vector; the legacy ones without a domain are CPU 0's. */
	if (!data->domain || !data->domain->name || strcmp(data->domain->name, "VECTOR") ||
	    !data->chip_data)
		return 0;
	return ((struct irq_cfg *)data->chip_data)->vector;
}

u8 ex_irq_vector(int irq, int cpu)
{
	struct irq_data *data;
	struct irq_desc *desc;
	unsigned long flags;
	u8 vector = 0;

	/* Another driver's may end any time; its descriptor is freed by RCU. */
	rcu_read_lock();
	data = irq_get_irq_data(irq);
	if (data) {
		desc = irq_data_to_desc(data);
		raw_spin_lock_irqsave(&desc->lock, flags);
		vector = vector_of(data, cpu);
		raw_spin_unlock_irqrestore(&desc->lock, flags);
	}
	rcu_read_unlock();
	return vector;
}

/* With a route; or a line's without one, which is KVM's when it comes. */
static bool ours(const struct ex_vcpu *d, const struct ex_map *map, int irq)
{
	unsigned int i;

	for (i = 0; i < map->n; i++)
		if (map->route[i].irq == irq)
			return true;
	return ex_lines_own(d, irq);
}

static void find_foreign(struct ex_vcpu *d, struct ex_map *map)
{
	unsigned int irq;

	for (irq = 1; irq < ex_nr_irqs(); irq++) {
		u8 vector = ex_irq_vector(irq, d->cpu);

		if (vector >= 32 && vector < EX_TIMER_VECTOR && !ours(d, map, irq)) {
			map->foreign_irq = irq;
			map->n_foreign++;
		}
	}
}

u8 ex_route_vector(struct ex_vcpu *d, const struct kvm_kernel_irq_routing_entry *e)
{
	if (e->type != KVM_IRQ_ROUTING_MSI)
		return 0;
	return ex_msi_vector(e->msi.address_lo, e->msi.address_hi, e->msi.data, d->vcpu->vcpu_id,
			     atomic_read(&d->vcpu->kvm->online_vcpus) == 1);
}

/* As KVM has an irqfd's: an interrupt that goes to one place alone. */
static u8 gsi_vector(struct ex_vcpu *d, const struct kvm_irq_routing_table *table, u32 gsi)
{
	const struct hlist_node *first;

	if (gsi >= table->nr_rt_entries)
		return 0;
	first = table->map[gsi].first;
	if (!first || first->next)
		return 0;
	return ex_route_vector(d, hlist_entry(first, struct kvm_kernel_irq_routing_entry, link));
}

/* The table's address would tell nothing: KVM_SET_GSI_ROUTING frees the old one, and the next to be
 * made tends to be where that was. */
bool ex_routes_same(struct ex_vcpu *d, const struct ex_map *map)
{
	struct kvm *kvm = d->vcpu->kvm;
	const struct kvm_irq_routing_table *table;
	bool same = true;
	unsigned int i;
	int srcu;

	srcu = srcu_read_lock(&kvm->irq_srcu);
	table = srcu_dereference(kvm->irq_routing, &kvm->irq_srcu);
	for (i = 0; i < map->n && same; i++) {
		const struct ex_route *r = &map->route[i];

		same = r->ipi || gsi_vector(d, table, r->gsi) == r->guest;
	}
	srcu_read_unlock(&kvm->irq_srcu, srcu);
	return same;
}

/* All eventfds by which this vCPU is interrupted. */
static unsigned int fds_get(struct ex_vcpu *d, struct ex_fd *fd)
{
	struct kvm *kvm = d->vcpu->kvm;
	struct kvm_kernel_irqfd *f;
	unsigned int n = 0;
	unsigned long flags;

	spin_lock_irqsave(&kvm->irqfds.lock, flags);
	list_for_each_entry(f, &kvm->irqfds.items, list) {
		u8 guest = ex_route_vector(d, &f->irq_entry);

		if (!guest || f->resampler || n == EX_MAPS_MAX)
			continue;
		fd[n].eventfd = ex_eventfd_get(f->eventfd);
		fd[n].wait = &f->wait;
		fd[n].func = f->wait.func;
		fd[n].gsi = f->gsi;
		fd[n++].guest = guest;
	}
	spin_unlock_irqrestore(&kvm->irqfds.lock, flags);
	return n;
}

static void nothing(void *data)
{
}

int ex_map_update(struct ex_vcpu *d)
{
	struct ex_fd fd[EX_MAPS_MAX];
	struct ex_map *map, *old;
	unsigned int i, n;

	map = kzalloc(sizeof(*map), GFP_KERNEL);
	if (!map)
		return -ENOMEM;
	ex_idt_fault_in(d);
	n = fds_get(d, fd);
	ex_lines_begin(d);
	for (i = 0; i < n; i++) {
		fd[i].irq = irq_of(fd[i].eventfd);
		ex_lines_eventfd(d, map, &fd[i]);
		eventfd_ctx_put(fd[i].eventfd);
	}
	ex_lines_ipi(d, map);
	memset(map->route + map->n, 0, sizeof(map->route) - map->n * sizeof(map->route[0]));
	find_foreign(d, map);
	old = rcu_dereference_protected(d->map, true);
	if (old && !memcmp(&old->n, &map->n, sizeof(*map) - offsetof(struct ex_map, n))) {
		kfree(map);
		/* An eventfd that was assigned again has another line, with the same route of its
		 * device's. */
		ex_lines_end(d);
		return 0;
	}
	rcu_assign_pointer(d->map, map);
	/* A guest that runs has an IDT of the old one: it exits, and no more. */
	smp_call_function_single(d->cpu, nothing, NULL, 1);
	if (old)
		kfree_rcu(old, rcu);
	ex_lines_end(d);
	return 0;
}
