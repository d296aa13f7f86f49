// SPDX-License-Identifier: GPL-2.0-only
/*
 * IPIs that a guest's vCPUs send each other without an exit, for guests that are trusted with it
 * (the word ipi=1; docs/direct.md says what such a guest could do).
 *
 * The sender writes the physical LAPIC's interrupt command register. Where to, and by which vector,
 * tells it a table in a page of its own memory, which the host fills: for each vCPU of the machine
 * that is direct, and each vector that has a line there, the value to write. What is not in the
 * table the guest asks for by EX_MSR_ICR, and so does the virtual LAPIC get it.
 *
 * A guest may be between reading the table and writing the register as an entry of the table
 * ends, or its entry into the guest is stock. So it leaves the virtual LAPIC's command in RBX, and
 * EX_IPI_MAGIC in R8, which count if the write exits. Before a line ends, the register is closed
 * to all the machine's vCPUs, and a pause lets those writes come.
 */
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>

#include "../uapi/exitless_direct.h"
#include "direct.h"
#include "lapic.h"

#define PAUSE_MS 100

static struct page *page_pin(struct ex_vcpu *d, u64 gpa)
{
	struct kvm *kvm = d->vcpu->kvm;
	struct mm_struct *mm = kvm->mm;
	struct kvm_memory_slot *slot;
	struct page *page = NULL;
	unsigned long at = 0;
	int locked = 1, srcu;

	srcu = srcu_read_lock(&kvm->srcu);
	slot = __gfn_to_memslot(kvm_vcpu_memslots(d->vcpu), gpa >> PAGE_SHIFT);
	if (slot && !(slot->flags & (KVM_MEMSLOT_INVALID | KVM_MEM_READONLY)))
		at = __gfn_to_hva_memslot(slot, gpa >> PAGE_SHIFT);
	srcu_read_unlock(&kvm->srcu, srcu);
	if (!at || !mmget_not_zero(mm))
		return NULL;
	mmap_read_lock(mm);
	if (pin_user_pages_remote(mm, at, 1, FOLL_WRITE | FOLL_LONGTERM, &page, &locked) != 1)
		page = NULL;
	if (locked)
		mmap_read_unlock(mm);
	mmput(mm);
	return page;
}

/* The guest reads while this writes. NULL: an empty table. */
static void page_put(struct ex_vcpu *d, const u64 *table)
{
	u64 *to = kmap_local_page(d->ipi.page);
	unsigned int i;

	for (i = 0; i < EX_IPI_IDS * EX_IPI_SLOTS; i++)
		WRITE_ONCE(to[i], table ? table[i] : 0);
	kunmap_local(to);
}

static void fill(struct ex_vcpu *d, u64 *table)
{
	const struct ex_map *map;
	struct ex_vcpu *to;
	unsigned int id, slot, i;

	for (id = 0; id < EX_IPI_IDS; id++) {
		to = ex_find(d->vcpu->kvm, id);
		map = to && to != d && to->on ? rcu_dereference(to->map) : NULL;
		slot = 0;
		for (i = 0; map && i < map->n && slot < EX_IPI_SLOTS; i++)
			if (map->route[i].ipi)
				table[id * EX_IPI_SLOTS + slot++] =
					(u64)per_cpu(x86_cpu_to_apicid, to->cpu) << 32 |
					(u32)map->route[i].guest << EX_IPI_GUEST_SHIFT |
					map->route[i].host;
	}
}

static void unpin(struct ex_vcpu *d)
{
	if (!d->ipi.page)
		return;
	page_put(d, NULL);
	unpin_user_pages_dirty_lock(&d->ipi.page, 1, true);
	d->ipi.page = NULL;
}

void ex_ipi_update(struct ex_vcpu *d)
{
	u64 gpa = READ_ONCE(d->ipi.wanted), *table;

	if (!d->ipi.allowed || !d->on)
		return;
	if (gpa != d->ipi.pinned) {
		WRITE_ONCE(d->ipi.ready, false);
		unpin(d);
		d->ipi.pinned = gpa;
		if (gpa)
			d->ipi.page = page_pin(d, gpa);
	}
	table = d->ipi.page ? kzalloc(PAGE_SIZE, GFP_KERNEL) : NULL;
	if (!table)
		return;
	WRITE_ONCE(d->ipi.ready, true);
	rcu_read_lock();
	fill(d, table);
	rcu_read_unlock();
	page_put(d, table);
	kfree(table);
}

static void nothing(void *data)
{
}

void ex_ipi_pause(const struct kvm *kvm)
{
	struct ex_vcpu *d;
	unsigned int id, n = 0;

	for (id = 0; id < EX_IPI_IDS; id++) {
		rcu_read_lock();
		d = ex_find(kvm, id);
		rcu_read_unlock();
		if (!d || !d->ipi.ready)
			continue;
		WRITE_ONCE(d->ipi.ready, false);
		page_put(d, NULL);
		/* A guest that runs exits, and comes back without. */
		smp_call_function_single(d->cpu, nothing, NULL, 1);
		n++;
	}
	if (n)
		msleep(PAUSE_MS);
}

void ex_ipi_end(struct ex_vcpu *d)
{
	unpin(d);
}
