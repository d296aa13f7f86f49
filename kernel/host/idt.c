// SPDX-License-Identifier: GPL-2.0-only
/*
 * The IDT of a direct entry: the guest's exceptions as they are, at the host vector of each of its
 * interrupts the gate of the guest's own vector, at the timer's vector the gate of the guest's
 * timer, and nothing at all others. It is the guest's memory, be it
 *
 *   in place   the IDT of a uniprocessor guest is overwritten, and put back at the exit. The VMM
 *              may lose the page in between (it is migrated, swapped out, unmapped), so both are
 *              done to the page itself, which is referenced until it is put back; or
 *   shadow     the guest has registered a page for this vCPU (uapi/exitless_direct.h), to which
 *              IDTR points for the entry. Vectors differ between vCPUs, so those of an SMP
 *              guest, which share an IDT, must have one each.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>

#include <asm/apicdef.h>

#include "../uapi/exitless_direct.h"
#include "direct.h"

#define GATES_FROM (EX_VECTORS_FROM * EX_GATE_BYTES)

/* A page of the guest's by its physical address, as this process sees it; NULL if it is none. */
static u8 __user *guest_page(struct ex_vcpu *d, u64 gpa, enum ex_why *why)
{
	struct kvm_memory_slot *slot;

	slot = __gfn_to_memslot(kvm_vcpu_memslots(d->vcpu), gpa >> PAGE_SHIFT);
	if (!slot || slot->flags & (KVM_MEMSLOT_INVALID | KVM_MEM_READONLY))
		return NULL;
	if (slot->flags & KVM_MEM_LOG_DIRTY_PAGES) {
		*why = EX_DIRTY_LOG;
		return NULL;
	}
	return (u8 __user *)__gfn_to_hva_memslot(slot, gpa >> PAGE_SHIFT);
}

/* Where a page of the guest's kernel is, through its page tables (long mode only). */
static u8 __user *guest_virtual_page(struct ex_vcpu *d, u64 address, u64 cr3, bool la57,
				     enum ex_why *why)
{
	u64 table = cr3 & GENMASK_ULL(51, 12), entry, mask;
	int level;

	for (level = la57 ? 5 : 4; level; level--) {
		int shift = 12 + 9 * (level - 1);
		u8 __user *page = guest_page(d, table, why);

		if (!page || copy_from_user_nofault(&entry, page + (address >> shift & 511) * 8, 8))
			return NULL;
		if (!(entry & _PAGE_PRESENT))
			return NULL;
		table = entry & GENMASK_ULL(51, 12);
		if (level == 1 || (level <= 3 && entry & _PAGE_PSE)) {
			mask = (1ull << shift) - 1;
			return guest_page(d, (table & ~mask) | (address & mask & PAGE_MASK), why);
		}
	}
	return NULL;
}

void ex_shadow_drop(struct ex_vcpu *d)
{
	d->n_shadow_dropped += !!d->shadow.base;
	d->shadow.base = 0;
}

static enum ex_why shadow_put(struct ex_vcpu *d, u64 cr3, bool la57, const struct ex_map *map)
{
	enum ex_why why = EX_IDT;
	u8 __user *where = guest_virtual_page(d, d->shadow.base, cr3, la57, &why);

	if (!where)
		return why;
	d->shadow.fault = (unsigned long)where;
	if (copy_from_user_nofault(d->shadow.seen, where, EX_IDT_BYTES))
		return EX_IDT;
	if (memcmp(d->shadow.seen, d->shadow.left, EX_IDT_BYTES)) {
		ex_shadow_drop(d);
		return EX_IDT;
	}
	memcpy(d->idt.direct, d->idt.guest, GATES_FROM);
	if (copy_to_user_nofault(where, d->idt.direct, EX_IDT_BYTES)) {
		/* It may have been written in part: then it is given up. */
		if (copy_from_user_nofault(d->shadow.seen, where, EX_IDT_BYTES) ||
		    memcmp(d->shadow.seen, d->shadow.left, EX_IDT_BYTES))
			ex_shadow_drop(d);
		return EX_IDT;
	}
	d->shadow.fault = 0;
	memcpy(d->shadow.left, d->idt.direct, EX_IDT_BYTES);
	return EX_DIRECT;
}

/*
 * References the page of the guest's own IDT, and maps it. One that is not there, or may not be
 * written now, is made present later. That of a file on a disk could be written back while it has
 * our gates, and nobody would know that it has to be again, so it is not taken.
 */
static bool own_hold(struct ex_vcpu *d)
{
	unsigned long at = (unsigned long)d->idt.where;
	struct folio *folio;

	if (get_user_pages_fast_only(at, 1, FOLL_WRITE, &d->idt.page) != 1) {
		d->shadow.fault = at;
		return false;
	}
	folio = page_folio(d->idt.page);
	if (!folio_test_swapbacked(folio) && !folio_test_hugetlb(folio)) {
		put_page(d->idt.page);
		return false;
	}
	d->idt.own = page_address(d->idt.page);
	return true;
}

static void own_put(struct ex_vcpu *d)
{
	folio_mark_dirty(page_folio(d->idt.page));
	put_page(d->idt.page);
	d->idt.own = NULL;
}

static enum ex_why idt_put(struct ex_vcpu *d, const struct ex_map *map, struct ex_idt *idt)
{
	enum ex_why why = EX_IDT;
	u32 guest_limit;
	u64 base, cr3;
	bool la57;

	idt->base = 0;
	idt->limit = (EX_TIMER_VECTOR + d->timer_own) * EX_GATE_BYTES - 1;
	ex_ops->idt_get(d, &base, &guest_limit, &cr3, &la57);
	if (base & ~PAGE_MASK || guest_limit < EX_IDT_BYTES - 1)
		return EX_IDT;
	d->idt.where = guest_virtual_page(d, base, cr3, la57, &why);
	d->idt.bytes = idt->limit + 1;
	if (!d->idt.where)
		return why;
	if (!d->shadow.base) {
		if (!own_hold(d))
			return EX_IDT;
		memcpy(d->idt.guest, d->idt.own, EX_IDT_BYTES);
	} else if (copy_from_user_nofault(d->idt.guest, d->idt.where, EX_IDT_BYTES)) {
		d->shadow.fault = (unsigned long)d->idt.where;
		return EX_IDT;
	}
	ex_gates_compose(d->idt.direct, d->idt.guest, map->route, map->n,
			 d->timer_own ? d->lvtt & APIC_VECTOR_MASK : 0, d->direct_vectors);
	if (!d->shadow.base) {
		/* Only the part that differs: exceptions stay, and what is past the limit is out
		 * of reach. */
		memcpy(d->idt.own + GATES_FROM, d->idt.direct + GATES_FROM,
		       d->idt.bytes - GATES_FROM);
		return EX_DIRECT;
	}
	/* The guest has it loaded itself, or other page tables. */
	if (base == d->shadow.base || !ex_canonical(d->shadow.base, la57)) {
		ex_shadow_drop(d);
		return EX_IDT;
	}
	idt->base = d->shadow.base;
	return shadow_put(d, cr3, la57, map);
}

enum ex_why ex_idt_put(struct ex_vcpu *d, const struct ex_map *map, struct ex_idt *idt)
{
	struct kvm *kvm = d->vcpu->kvm;
	enum ex_why why;
	int srcu;

	if (!d->shadow.base && atomic_read(&kvm->online_vcpus) > 1)
		return EX_SMP;
	srcu = srcu_read_lock(&kvm->srcu);
	why = idt_put(d, map, idt);
	srcu_read_unlock(&kvm->srcu, srcu);
	return why;
}

/* Gates that the guest wrote meanwhile stay as it wrote them. */
void ex_idt_restore(struct ex_vcpu *d)
{
	u32 at;

	if (!d->idt.own)
		return;
	for (at = GATES_FROM; at < d->idt.bytes; at += EX_GATE_BYTES)
		if (!memcmp(d->idt.own + at, d->idt.direct + at, EX_GATE_BYTES))
			memcpy(d->idt.own + at, d->idt.guest + at, EX_GATE_BYTES);
	own_put(d);
}

bool ex_shadow_set(struct ex_vcpu *d, u64 base)
{
	u64 magic = EX_SHADOW_MAGIC, of_guest, cr3;
	u32 limit;
	bool la57;

	ex_ops->idt_get(d, &of_guest, &limit, &cr3, &la57);
	if (base & ~PAGE_MASK || !ex_canonical(base, la57))
		return false;
	memset(d->shadow.left, 0, EX_IDT_BYTES);
	memcpy(d->shadow.left, &magic, sizeof(magic));
	d->shadow.base = base;
	return true;
}

void ex_idt_fault_in(struct ex_vcpu *d)
{
	unsigned long at = READ_ONCE(d->shadow.fault);
	struct mm_struct *mm = d->vcpu->kvm->mm;
	struct page *page;

	if (!at || !mmget_not_zero(mm))
		return;
	WRITE_ONCE(d->shadow.fault, 0);
	if (mmap_read_trylock(mm)) {
		if (get_user_pages_remote(mm, at, 1, FOLL_WRITE | FOLL_NOWAIT, &page, NULL) == 1)
			put_page(page);
		mmap_read_unlock(mm);
	}
	mmput_async(mm);
}
