// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's LAPIC timer, and who has it.
 *
 * Each deadline of the guest's is in one place: in KVM's hrtimer, or in the LAPIC's timer of the
 * CPU. The timer is the guest's own (timer_own) from a direct entry on in which it may be, and that
 * entry takes what KVM has of it (ex_timer_pull()). An entry that is stock in between leaves it in
 * the LAPIC; what the guest programs then is KVM's, and the LAPIC's is stopped at that exit, until
 * the next direct entry takes it again. When the timer is KVM's again what is left goes there
 * (timer_give()), as if the guest had programmed KVM, so that KVM_GET_LAPIC finds it, too. A tick
 * that has come, and was not delivered, is injected by KVM.
 *
 * KVM's half is touched on the vCPU's CPU with interrupts off: in the hook before an entry, by the
 * vCPU's thread, or in an IPI which found the vCPU there and not in the middle of KVM's handling of
 * a timer register (timer_written). Elsewhere the vCPU gets a tick that is too early instead, and
 * programs its timer anew.
 */
#include <linux/hrtimer.h>
#include <linux/rcuwait.h>
#include <linux/timekeeping.h>

#include <asm/apicdef.h>
#include <asm/tsc.h>

#include "../uapi/exitless_direct.h"
#include "compat.h"
#include "count.h"
#include "direct.h"
#include "lapic.h"

#define TIMER_MODE (3u << 17) /* of the LVT */
#define TAKEN_NS   5000000ull /* from a tick taken to the next deadline programmed, at most */

static u32 lvtt_of(struct ex_vcpu *d)
{
	return *(u32 *)(ex_lapic_regs(d) + APIC_LVTT);
}

/* A member of KVM's struct kvm_timer. */
static void *kvm_has(const struct ex_vcpu *d, u32 offset)
{
	return (char *)d->vcpu->arch.apic + ex_off.lapic_timer + offset;
}

void ex_tick_inject(struct ex_vcpu *d)
{
	u32 lvtt = lvtt_of(d), vector = lvtt & APIC_VECTOR_MASK;

	d->tick_pending = false;
	if (lvtt & APIC_LVT_MASKED || vector < 32)
		return;
	ex_inject(d, vector);
	d->n_ticks_injected++;
}

bool ex_deadline_may(const struct ex_vcpu *d)
{
	const struct kvm_vcpu_arch *arch = &d->vcpu->arch;

	return boot_cpu_has(X86_FEATURE_TSC_DEADLINE_TIMER) && !arch->tsc_offset &&
	       arch->virtual_tsc_khz == tsc_khz && !arch->tsc_catchup && !arch->tsc_always_catchup;
}

static void disarm(const struct ex_vcpu *d)
{
	if (d->deadline)
		wrmsrq_(MSR_IA32_TSC_DEADLINE, 0);
	else
		ex_lapic_write(APIC_TMICT, 0);
}

/* Or it was, and has expired. */
static bool armed(const struct ex_vcpu *d)
{
	u64 deadline;

	if (!d->deadline)
		return ex_lapic_read(APIC_TMICT);
	rdmsrq_(MSR_IA32_TSC_DEADLINE, deadline);
	return deadline;
}

static u64 count_ns(const struct ex_vcpu *d)
{
	return ex_count_ns(d->vcpu->kvm->arch.apic_bus_cycle_ns, d->tdcr);
}

void ex_timer_pull(struct ex_vcpu *d)
{
	struct hrtimer *t = kvm_has(d, ex_off.timer_hrtimer);
	bool *hardware = kvm_has(d, ex_off.timer_hv_in_use);
	s64 left;

	if (*hardware && ex_ops->timer_cancel) {
		ex_ops->timer_cancel(d);
		*hardware = false;
	} else if (!hrtimer_is_queued(t) || hrtimer_try_to_cancel(t) <= 0) {
		/* Nothing, or it expires right now, elsewhere: that tick is KVM's. */
		return;
	}
	d->n_pulled++;
	if (d->deadline) {
		wrmsrq_(MSR_IA32_TSC_DEADLINE, *(u64 *)kvm_has(d, ex_off.timer_deadline));
		return;
	}
	left = *(s64 *)kvm_has(d, ex_off.timer_target) - ktime_get();
	if (left > 0)
		ex_lapic_write(APIC_TMICT, ex_ns_count(left, count_ns(d)));
	else
		d->tick_pending = true;
}

/* What is left of the deadline, in ns; 0: there is none. It is KVM's to know from now on. */
static u64 left_of_deadline(struct ex_vcpu *d)
{
	u64 deadline, now;

	rdmsrq_(MSR_IA32_TSC_DEADLINE, deadline);
	if (!deadline)
		return 0;
	*(u64 *)kvm_has(d, ex_off.timer_deadline) = deadline;
	now = rdtsc_ordered();
	return deadline > now ? ex_cycles_ns(deadline - now, tsc_khz) + 1 : 1;
}

/* *@zero: it has run out. */
static u64 left_of_count(struct ex_vcpu *d, bool *zero)
{
	u32 initial = ex_lapic_read(APIC_TMICT), count = ex_lapic_read(APIC_TMCCT);

	if (!initial)
		return 0;
	*(u32 *)(ex_lapic_regs(d) + APIC_TMICT) = initial;
	*(u64 *)kvm_has(d, ex_off.timer_period) = initial * count_ns(d);
	*zero = !count;
	return count ? count * count_ns(d) : TAKEN_NS;
}

/*
 * The timer is KVM's, as it would be if the guest had programmed it there.
 *
 * Of a count that has run out the tick is here still, or the guest has taken it; or the LAPIC is an
 * emulated one, and late. A guest that has taken it is about to program the next, most likely, so
 * it gets one from KVM only if it has not in TAKEN_NS.
 */
static void timer_give(struct ex_vcpu *d)
{
	bool zero = false, came;
	u64 left = 0;

	d->timer_own = false;
	if (READ_ONCE(d->vcpu->cpu) == d->cpu && !d->timer_written)
		left = d->deadline ? left_of_deadline(d) : left_of_count(d, &zero);
	else if (armed(d))
		d->tick_pending = true;
	disarm(d);
	came = d->tick_pending || ex_lapic_pending(EX_TIMER_VECTOR);
	if (left && !(zero && came)) {
		ktime_t target = ktime_add_ns(ktime_get(), left);

		*(s64 *)kvm_has(d, ex_off.timer_target) = target;
		hrtimer_start(kvm_has(d, ex_off.timer_hrtimer), target, HRTIMER_MODE_ABS_HARD);
		d->n_given++;
		/* If it has gone to another CPU meanwhile, it may have programmed KVM there, and
		 * that was overwritten. Both sides write first. */
		smp_mb();
		if (READ_ONCE(d->vcpu->cpu) != d->cpu)
			came = true;
	}
	if (came)
		ex_tick_inject(d);
}

/* The guest has stopped it. */
static void timer_drop(struct ex_vcpu *d, bool reset)
{
	disarm(d);
	d->timer_own = false;
	if (reset)
		d->tick_pending = false;
	else if (d->tick_pending || ex_lapic_pending(EX_TIMER_VECTOR))
		ex_tick_inject(d);
}

void ex_timer_stop(struct ex_vcpu *d)
{
	if (d->timer_own)
		timer_give(d);
}

/* The mode must be one-shot (the divider is taken as it is) or by TSC deadlines. The vector stays
 * the host's. */
void ex_timer_follow(struct ex_vcpu *d, enum ex_why why)
{
	u32 lvtt = lvtt_of(d), tdcr = *(u32 *)(ex_lapic_regs(d) + APIC_TDCR);
	u32 mode = lvtt & TIMER_MODE;
	bool deadline = mode == APIC_LVT_TIMER_TSCDEADLINE;
	u64 injected = d->n_ticks_injected;
	bool may = d->timer_on && d->wish & EX_WISH_TIMER && (lvtt & APIC_VECTOR_MASK) >= 32 &&
		   why != EX_NO_X2APIC && d->why != EX_DIRTY_LOG;

	may = may && (deadline ? ex_deadline_may(d) : !mode && d->count_may);
	d->timer_written = false;
	if (d->timer_own) {
		/* To deadlines, from them, and a reset stop the timer (SDM volume 3, 12.5.4.1). */
		if (why == EX_NO_X2APIC || deadline != d->deadline)
			timer_drop(d, why == EX_NO_X2APIC);
		else if (!may)
			timer_give(d);
		/* KVM has looked for interrupts already: it does again after the exit that this IPI
		 * is. */
		if (d->n_ticks_injected != injected)
			ex_lapic_self(RESCHEDULE_VECTOR);
	}
	if (!may || (!d->timer_own && why != EX_DIRECT))
		return;
	if (d->timer_own && lvtt == d->lvtt && tdcr == d->tdcr)
		return;
	d->deadline = deadline;
	ex_lapic_write(APIC_TDCR, tdcr & 0xb);
	ex_lapic_write(APIC_LVTT, (lvtt & APIC_LVT_MASKED) | mode | EX_TIMER_VECTOR);
	/* Before any deadline (SDM volume 3, 12.5.4.1). */
	mb();
	if (!d->timer_own)
		disarm(d);
	d->timer_own = true;
	d->lvtt = lvtt;
	d->tdcr = tdcr;
}

bool ex_timer_msr(struct ex_vcpu *d, struct ex_msr *m)
{
	u64 deadline;

	if (!d->timer_own)
		return false;
	if (m->write) {
		if (m->index == (d->deadline ? MSR_IA32_TSC_DEADLINE : EX_X2APIC(APIC_TMICT))) {
			disarm(d);
			d->timer_written = true;
		} else if (m->index == EX_X2APIC(APIC_LVTT) || m->index == EX_X2APIC(APIC_TDCR)) {
			d->timer_written = true;
		}
		return false;
	}
	/* What the LAPIC has not, KVM has. */
	if (d->deadline) {
		if (m->index != MSR_IA32_TSC_DEADLINE)
			return false;
		rdmsrq_(MSR_IA32_TSC_DEADLINE, deadline);
		m->value = deadline;
		return deadline;
	}
	if ((m->index != EX_X2APIC(APIC_TMICT) && m->index != EX_X2APIC(APIC_TMCCT)) ||
	    !ex_lapic_read(APIC_TMICT))
		return false;
	m->value = ex_lapic_read(m->index == EX_X2APIC(APIC_TMICT) ? APIC_TMICT : APIC_TMCCT);
	return true;
}
