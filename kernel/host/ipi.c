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
 *
 * A table is of this host, so none is to be found where the guest's memory is taken elsewhere:
 * while it is logged there are no tables, and that they were cleared is in the log.
 */
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/workqueue.h>

#include "../uapi/exitless_direct.h"
#include "direct.h"
#include "lapic.h"

#define PAUSE_MS 100
/* Until a page is looked for again: that was not there, that could not be moved. */
#define MISS_MS 100
#define MOVE_MS 1000

/* Where the guest has its table, or 0: so it is after a reset, after which a vCPU may not enter for
 * long. */
static u64 wanted(const struct ex_vcpu *d)
{
	return READ_ONCE(d->vcpu->arch.apic_base) & X2APIC_ENABLE ? READ_ONCE(d->ipi.wanted) : 0;
}

/* Where that is in the VMM; 0: it is no memory, or goes elsewhere, where the table is another's. A
 * dirty ring takes only what a vCPU writes, so these machines have no table. */
static unsigned long table_at(const struct ex_vcpu *d, u64 gpa)
{
	struct kvm *kvm = d->vcpu->kvm;
	struct kvm_memory_slot *slot;
	unsigned long at = 0;
	int srcu;

	srcu = srcu_read_lock(&kvm->srcu);
	slot = __gfn_to_memslot(kvm_memslots(kvm), gpa >> PAGE_SHIFT);
	if (slot && !kvm->dirty_ring_size &&
	    !(slot->flags & (KVM_MEMSLOT_INVALID | KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES)))
		at = __gfn_to_hva_memslot(slot, gpa >> PAGE_SHIFT);
	srcu_read_unlock(&kvm->srcu, srcu);
	return at;
}

/* Is a page to be pinned for it? */
static bool pin_due(const struct ex_vcpu *d)
{
	u64 gpa = d->ipi.allowed && d->on && !d->ipi.page ? wanted(d) : 0;

	return gpa && gpa != d->ipi.refused && time_after_eq64(get_jiffies_64(), d->ipi.pin_after);
}

/*
 * Where a page must not be pinned, the kernel moves it first, and may wait until each CPU has let
 * go of it. So this is a work of its own, which holds no lock of the module's meanwhile. One that
 * is not there yet, or cannot be moved now, is looked for again.
 */
struct pin {
	const struct kvm_vcpu *vcpu;
	struct kvm *kvm; /* referenced; NULL: nothing is due */
	u64 gpa;
	unsigned long at;
	struct page *page; /* NULL: not pinned, or somebody's */
	int err;
};

static void pin_find(struct ex_vcpu *d, void *data)
{
	struct pin *p = data;

	if (p->kvm || !pin_due(d))
		return;
	p->gpa = wanted(d);
	p->at = p->gpa ? table_at(d, p->gpa) : 0;
	if (!p->at)
		return;
	p->vcpu = d->vcpu;
	p->kvm = d->vcpu->kvm;
	/* That of @d is there. */
	refcount_inc(&p->kvm->users_count);
}

/* Waits for no fault of the VMM's memory. */
static void pin_try(struct pin *p)
{
	struct mm_struct *mm = p->kvm->mm;
	long n = 0;

	if (!mmget_not_zero(mm))
		return;
	if (mmap_read_trylock(mm)) {
		n = pin_user_pages_remote(mm, p->at, 1, FOLL_WRITE | FOLL_LONGTERM | FOLL_NOWAIT,
					  &p->page, NULL);
		mmap_read_unlock(mm);
	}
	mmput_async(mm);
	if (n <= 0)
		p->page = NULL;
	p->err = n < 0 ? n : 0;
}

static void pin_done(struct ex_vcpu *d, void *data)
{
	struct pin *p = data;

	if (d->vcpu != p->vcpu)
		return;
	d->ipi.pin_after = get_jiffies_64() + msecs_to_jiffies(p->err ? MOVE_MS : MISS_MS);
	/* The guest and the VMM have gone on meanwhile. */
	if (!d->on || d->ipi.page || wanted(d) != p->gpa || table_at(d, p->gpa) != p->at)
		return;
	/* Until the guest names another page. */
	if (p->err && p->err != -ENOMEM && p->err != -EAGAIN && p->err != -EBUSY)
		d->ipi.refused = p->gpa;
	if (!p->page)
		return;
	d->ipi.page = p->page;
	p->page = NULL;
	/* The guest either sees this, or has not yet taken back what is looked at before each
	 * write. */
	smp_store_mb(d->ipi.pinned, p->gpa);
	ex_ipi_update(d);
}

static void pin_find_any(void *data)
{
	ex_all_locked(pin_find, data);
}

static void pin_done_any(void *data)
{
	ex_all_locked(pin_done, data);
}

static void pin_due_all(struct work_struct *work)
{
	for (;;) {
		struct pin p = {};

		ex_locked(pin_find_any, &p);
		if (!p.kvm)
			return;
		pin_try(&p);
		ex_locked(pin_done_any, &p);
		if (p.page)
			unpin_user_page(p.page);
		kvm_put_kvm(p.kvm);
	}
}

static DECLARE_WORK(pin_work, pin_due_all);

void ex_ipi_done(void)
{
	cancel_work_sync(&pin_work);
}

/* From here on the page is the guest's, which reads it in EX_MSR_IPI. */
static void page_unpin(struct ex_vcpu *d)
{
	unpin_user_pages_dirty_lock(&d->ipi.page, 1, true);
	d->ipi.page = NULL;
	/* Nothing is written to it after. */
	smp_store_release(&d->ipi.pinned, 0);
}

/* The log of KVM's, if there is one; it does this for its own writes. */
static void page_log(const struct ex_vcpu *d)
{
	gfn_t gfn = d->ipi.pinned >> PAGE_SHIFT;
	struct kvm *kvm = d->vcpu->kvm;
	struct kvm_memory_slot *slot;
	int srcu;

	srcu = srcu_read_lock(&kvm->srcu);
	slot = __gfn_to_memslot(kvm_memslots(kvm), gfn);
	if (slot && slot->dirty_bitmap)
		set_bit_le(gfn - slot->base_gfn, slot->dirty_bitmap);
	srcu_read_unlock(&kvm->srcu, srcu);
}

/* The guest reads while this writes. NULL: an empty table. What it has taken back is left alone. */
static void page_put(struct ex_vcpu *d, const u64 *table)
{
	unsigned int i;
	u64 *to;

	if (!d->ipi.page || wanted(d) != d->ipi.pinned)
		return;
	to = kmap_local_page(d->ipi.page);
	for (i = 0; i < EX_IPI_IDS * EX_IPI_SLOTS; i++)
		WRITE_ONCE(to[i], table ? table[i] : 0);
	kunmap_local(to);
	page_log(d);
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

void ex_ipi_update(struct ex_vcpu *d)
{
	unsigned long at;
	u64 gpa, *table;

	if (!d->ipi.allowed || !d->on)
		return;
	gpa = wanted(d);
	at = gpa ? table_at(d, gpa) : 0;
	if (d->ipi.page && (!at || gpa != d->ipi.pinned)) {
		WRITE_ONCE(d->ipi.ready, false);
		page_put(d, NULL);
		page_unpin(d);
	}
	if (gpa != d->ipi.refused)
		d->ipi.refused = 0;
	if (at && pin_due(d))
		schedule_work(&pin_work);
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

struct pause {
	const struct kvm *kvm;
	unsigned int n;
};

static void pause_one(struct ex_vcpu *d, void *data)
{
	struct pause *p = data;
	bool ready = d->ipi.ready;

	if (!d->ipi.allowed || d->vcpu->kvm != p->kvm)
		return;
	WRITE_ONCE(d->ipi.ready, false);
	page_put(d, NULL);
	/* A guest that runs exits, and comes back without. An entry that has begun before may still
	 * be about to say that it sends, and has said it then. */
	smp_call_function_single(d->cpu, nothing, NULL, 1);
	p->n += ready || READ_ONCE(d->ipi_own);
}

void ex_ipi_pause(const struct kvm *kvm)
{
	struct pause p = { .kvm = kvm };

	ex_all_locked(pause_one, &p);
	if (p.n)
		msleep(PAUSE_MS);
}

/* Not cleared any more: the pause did it, and where direct mode is off the guest is not told when
 * its page is its own again. */
void ex_ipi_end(struct ex_vcpu *d)
{
	if (d->ipi.page)
		page_unpin(d);
}
