// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which host interrupt is which of the guest's: KVM's irqfds tell the guest's vector for an
 * eventfd, VFIO's bypass producer tells the host's interrupt for the same eventfd, and the vector
 * domain tells that interrupt's vector. Registering a bypass consumer for a moment is how the
 * producer is met; where KVM has one registered itself (posted interrupts), ours is refused and
 * that interrupt stays KVM's.
 */
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

/* The vector of @irq on @cpu; 0 if it does not arrive there. */
static u8 vector_on(int irq, int cpu)
{
	struct irq_data *data = irq_get_irq_data(irq);

	if (!data || !irqd_is_started(data) ||
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

static bool ours(const struct ex_map *map, int irq)
{
	unsigned int i;

	for (i = 0; i < map->n; i++)
		if (map->route[i].irq == irq)
			return true;
	return false;
}

static void find_foreign(struct ex_vcpu *d, struct ex_map *map)
{
	unsigned int irq;

	for (irq = 1; irq < ex_nr_irqs(); irq++) {
		u8 vector = vector_on(irq, d->cpu);

		if (vector >= 32 && vector < EX_TIMER_VECTOR && !ours(map, irq)) {
			map->foreign_irq = irq;
			map->n_foreign++;
		}
	}
}

static bool for_vcpu(struct ex_vcpu *d, const struct kvm_kernel_irq_routing_entry *e)
{
	u32 id = (e->msi.address_lo >> 12 & 0xff) | (e->msi.address_hi & 0xffffff00);

	/* Fixed or lowest priority only, physical destination or the only vCPU. */
	if (e->type != KVM_IRQ_ROUTING_MSI || (e->msi.data >> 8 & 7) > 1 ||
	    (e->msi.data & 0xff) < 32)
		return false;
	return atomic_read(&d->vcpu->kvm->online_vcpus) == 1 ||
	       (id == d->vcpu->vcpu_id && !(e->msi.address_lo & 4));
}

int ex_map_update(struct ex_vcpu *d)
{
	struct kvm *kvm = d->vcpu->kvm;
	struct eventfd_ctx *token[EX_MAPS_MAX];
	struct kvm_kernel_irqfd *f;
	struct ex_map *map, *old;
	unsigned int i, n = 0;
	unsigned long flags;
	u8 guest[EX_MAPS_MAX];

	map = kzalloc(sizeof(*map), GFP_KERNEL);
	if (!map)
		return -ENOMEM;
	map->routing = rcu_access_pointer(kvm->irq_routing);
	spin_lock_irqsave(&kvm->irqfds.lock, flags);
	list_for_each_entry(f, &kvm->irqfds.items, list)
	{
		if (n == EX_MAPS_MAX || !for_vcpu(d, &f->irq_entry))
			continue;
		token[n] = f->eventfd;
		guest[n++] = f->irq_entry.msi.data & 0xff;
	}
	spin_unlock_irqrestore(&kvm->irqfds.lock, flags);
	for (i = 0; i < n; i++) {
		struct ex_route *r = &map->route[map->n];

		r->irq = irq_of(token[i]);
		r->guest = guest[i];
		r->host = r->irq < 0 ? 0 : vector_on(r->irq, d->cpu);
		if (r->host >= 32 && r->host < EX_TIMER_VECTOR)
			map->n++;
	}
	find_foreign(d, map);
	old = rcu_dereference_protected(d->map, true);
	if (old && !memcmp(&old->routing, &map->routing,
			   sizeof(*map) - offsetof(struct ex_map, routing))) {
		kfree(map);
		return 0;
	}
	rcu_assign_pointer(d->map, map);
	if (old)
		kfree_rcu(old, rcu);
	return 0;
}
