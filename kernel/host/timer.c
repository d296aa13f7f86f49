// SPDX-License-Identifier: GPL-2.0-only
/*
 * The LAPIC timer of a dedicated CPU goes to the guest, and the host's own time-keeping there goes
 * on: a per-CPU clock event device of a higher rating makes Linux let go of the LAPIC's timer. It
 * has no hardware of its own. A housekeeping CPU looks every millisecond whether its deadline has
 * passed, and then calls its handler by IPI. With nohz_full the host sets few such deadlines.
 *
 * The same look is the watchdog. A guest with its interrupts off does not take the host's IPIs
 * either, so one that is late is followed by an NMI, which always makes the guest exit.
 */
#include <linux/delay.h>
#include <linux/kprobes.h>
#include <linux/rcuwait.h>
#include <linux/slab.h>
#include <linux/tracepoint.h>

#include <asm/apicdef.h>
#include <asm/irq_regs.h>
#include <asm/nmi.h>
#include <asm/smp.h>

#include "compat.h"
#include "direct.h"
#include "lapic.h"

#define LOOK_NS	      1000000ull
#define KEPT_LOOKS    3
#define IPI_LATE_NS   2000000ull
#define GUEST_LONG_NS 1000000000ull
#define MEASURE_MS    100
#define MEASURE_TRIES 5

struct ex_proxy {
	struct clock_event_device device;
	struct clock_event_device *lapic; /* that it stands in for; used while registering */
	call_single_data_t call;
	u64 deadline; /* ktime; U64_MAX: none */
	int cpu;
};

static struct hrtimer look;
static int look_cpu;
static struct tracepoint *tp_timer, *tp_ipi, *tp_ipi_mask;
static DEFINE_PER_CPU(bool, nmi_sent);

static struct ex_proxy *proxy_of(struct clock_event_device *device)
{
	return container_of(device, struct ex_proxy, device);
}

static int proxy_next(unsigned long delta, struct clock_event_device *device)
{
	WRITE_ONCE(proxy_of(device)->deadline, ktime_get_mono_fast_ns() + delta);
	return 0;
}

static int proxy_shutdown(struct clock_event_device *device)
{
	WRITE_ONCE(proxy_of(device)->deadline, U64_MAX);
	return 0;
}

static int proxy_oneshot(struct clock_event_device *device)
{
	return 0;
}

/* On the CPU, in an IPI. Without registers to look at, the tick does no accounting and no RCU. */
static void proxy_fire(void *data)
{
	static struct pt_regs in_kernel = { .cs = __KERNEL_CS, .flags = X86_EFLAGS_FIXED };
	struct ex_proxy *p = data;
	struct pt_regs *old = set_irq_regs(&in_kernel);

	if (p->device.event_handler)
		p->device.event_handler(&p->device);
	set_irq_regs(old);
}

static void proxy_register(void *data)
{
	struct ex_proxy *p = data;
	unsigned int features = p->lapic->features;

	p->lapic->features |= CLOCK_EVT_FEAT_C3STOP;
	clockevents_config_and_register(&p->device, NSEC_PER_SEC, 1000, 0x7fffffff);
	p->lapic->features = features;
}

/*
 * Once released, the LAPIC's own device would be taken for the system's broadcast device (or, with
 * the feature PERCPU, for a wake-up device), which never lets go of one: then the CPU could not
 * have it back. The feature C3STOP, for as long as it is offered, prevents both. The device is
 * private to the kernel, so it is caught as it is programmed.
 */
struct lapic_hunt {
	struct hrtimer timer;
	struct clock_event_device *found;
	int cpu;
};
static struct lapic_hunt hunt;
static DEFINE_MUTEX(hunt_lock);

static int lapic_programmed(struct kprobe *probe, struct pt_regs *regs)
{
	if (raw_smp_processor_id() == READ_ONCE(hunt.cpu))
		WRITE_ONCE(hunt.found, (struct clock_event_device *)regs->si);
	return 0;
}

static enum hrtimer_restart hunt_ends(struct hrtimer *t)
{
	return HRTIMER_NORESTART;
}

static void hunt_timer(void *data)
{
	hrtimer_start(&hunt.timer, ns_to_ktime(200 * NSEC_PER_USEC), HRTIMER_MODE_REL_PINNED);
}

/* It stays what it is, however often the CPU comes and goes; NULL: not known. */
static DEFINE_PER_CPU(struct clock_event_device *, lapic_device);

/* It stays unknown if the CPU does not use it, or this kernel programs it by other functions. */
static void lapic_find(int cpu)
{
	static const char *const by[] = { "lapic_next_event", "lapic_next_deadline" };
	struct clock_event_device *found;
	unsigned int i, tries;

	hunt.found = NULL;
	hunt.cpu = cpu;
	ex_hrtimer_init(&hunt.timer, hunt_ends);
	for (i = 0; i < ARRAY_SIZE(by) && !hunt.found; i++) {
		struct kprobe probe = { .symbol_name = by[i], .pre_handler = lapic_programmed };

		if (register_kprobe(&probe))
			continue;
		for (tries = 0; tries < 5 && !READ_ONCE(hunt.found); tries++) {
			smp_call_function_single(cpu, hunt_timer, NULL, 1);
			msleep(10);
		}
		unregister_kprobe(&probe);
	}
	hrtimer_cancel(&hunt.timer);
	found = hunt.found;
	if (!found || strncmp(found->name, "lapic", 5) ||
	    !cpumask_equal(found->cpumask, cpumask_of(cpu)))
		return;
	WRITE_ONCE(per_cpu(lapic_device, cpu), found);
}

void ex_timer_find(int cpu)
{
	mutex_lock(&hunt_lock);
	if (!per_cpu(lapic_device, cpu))
		lapic_find(cpu);
	mutex_unlock(&hunt_lock);
}

static void nothing(void *data)
{
}

/* Of all calls that a CPU finds, those that somebody waits for come first. So the first one here
 * ends when the calls before it have begun, and the second when they have ended. */
void ex_calls_end(int cpu)
{
	smp_call_function_single(cpu, nothing, NULL, 1);
	smp_call_function_single(cpu, nothing, NULL, 1);
}

struct mask_test {
	bool periodic, before, masked, open;
};

#define MASK_TRIES    1000
#define EXPIRE_COUNT  1000
#define EXPIRE_NS     2000000000ull /* an emulated one may be late; interrupts are off meanwhile */
#define EXPIRE_NOT_NS 1000000ull

/* Lets the count run out: does the vector arrive? */
static bool expires(u64 patience_ns)
{
	u64 end = ktime_get_mono_fast_ns() + patience_ns;

	ex_lapic_write(APIC_TMICT, EXPIRE_COUNT);
	while (!ex_lapic_pending(EX_TIMER_VECTOR) && ktime_get_mono_fast_ns() < end)
		cpu_relax();
	return ex_lapic_pending(EX_TIMER_VECTOR);
}

/* Whatever the timer was at is lost. The tick that comes after this has the host look what is due,
 * and program the timer anew. */
static void mask_test(void *data)
{
	struct mask_test *m = data;
	u32 lvtt = ex_lapic_read(APIC_LVTT), tdcr = ex_lapic_read(APIC_TDCR);

	m->periodic = lvtt & APIC_LVT_TIMER_PERIODIC;
	if (m->periodic)
		return;
	ex_lapic_write(APIC_LVTT, APIC_LVT_MASKED | EX_TIMER_VECTOR);
	ex_lapic_write(APIC_TMICT, 0);
	/* Only now: until then the host's own could come. */
	m->before = ex_lapic_pending(EX_TIMER_VECTOR);
	if (m->before) {
		ex_lapic_write(APIC_LVTT, lvtt);
		return;
	}
	ex_lapic_write(APIC_TDCR, APIC_TDR_DIV_1);
	m->masked = expires(EXPIRE_NOT_NS);
	ex_lapic_write(APIC_LVTT, EX_TIMER_VECTOR);
	m->open = expires(EXPIRE_NS);
	ex_lapic_write(APIC_TDCR, tdcr);
	ex_lapic_write(APIC_LVTT, lvtt);
	/* A write of the mode is to come before one of the deadline (SDM volume 3, 12.5.4.1). */
	mb();
	if (!m->open)
		ex_lapic_self(EX_TIMER_VECTOR);
}

static void proxied(struct ex_vcpu *d, void *cpu)
{
	if (d->proxy && d->cpu == *(int *)cpu)
		*(int *)cpu = -1;
}

const char *ex_timer_test(int cpu)
{
	struct mask_test m;
	int i, own = cpu;

	ex_all_locked(proxied, &own);
	if (own < 0)
		return "skip: a guest has it";
	if (!READ_ONCE(per_cpu(lapic_device, cpu)))
		return "skip: the host does not keep time by it";
	for (i = 0; i < MASK_TRIES; i++) {
		if (smp_call_function_single(cpu, mask_test, &m, 1))
			return "skip: the CPU is offline";
		if (m.periodic)
			return "skip: it is periodic";
		if (!m.before)
			return m.masked	 ? "it comes though it is masked"
			       : !m.open ? "it does not come"
					 : NULL;
		msleep(1);
	}
	/* A CPU that is emulated on a busy machine. */
	return "skip: it is never without a tick of the host's";
}

struct measure {
	u64 ns;
	u32 count;
};

static void measure_begin(void *data)
{
	struct measure *m = data;

	ex_lapic_write(APIC_LVTT, APIC_LVT_MASKED | EX_TIMER_VECTOR);
	ex_lapic_write(APIC_TDCR, APIC_TDR_DIV_1);
	m->ns = ktime_get_mono_fast_ns();
	ex_lapic_write(APIC_TMICT, ~0u);
}

static void measure_end(void *data)
{
	struct measure *m = data;
	u32 count;

	count = ex_lapic_read(APIC_TMCCT);
	m->ns = ktime_get_mono_fast_ns() - m->ns;
	m->count = ~0u - count;
	ex_lapic_write(APIC_TMICT, 0);
}

/* The bus cycle that a CPU's timer was found to count by. */
static DEFINE_PER_CPU(u64, lapic_bus_ns);

/* The guest has calibrated its timer against KVM's, or knows that one's frequency. */
static int frequency_check(struct ex_vcpu *d)
{
	u64 bus_ns = d->vcpu->kvm->arch.apic_bus_cycle_ns, guest_ns;
	struct measure m;
	int i;

	if (per_cpu(lapic_bus_ns, d->cpu) == bus_ns)
		return 0;
	for (i = 0; i < MEASURE_TRIES; i++) {
		if (smp_call_function_single(d->cpu, measure_begin, &m, 1))
			return -ENODEV;
		msleep(MEASURE_MS);
		if (smp_call_function_single(d->cpu, measure_end, &m, 1))
			return -ENODEV;
		guest_ns = m.count * bus_ns;
		if (abs_diff(guest_ns, m.ns) < m.ns / 100) {
			per_cpu(lapic_bus_ns, d->cpu) = bus_ns;
			return 0;
		}
	}
	pr_warn("the LAPIC timer counts %u in %llu ns, but a guest takes %llu ns for a count%s\n",
		m.count, m.ns, bus_ns, ex_deadline_may(d) ? "; deadlines are good" : "");
	return -ERANGE;
}

int ex_proxy_start(struct ex_vcpu *d)
{
	struct ex_proxy *p;
	int err;

	/* Without x2APIC a guest cannot be given some of the LAPIC's registers, and not others. The
	 * deadline is another register. */
	if (!x2apic_mode && !ex_deadline_may(d))
		return -EOPNOTSUPP;
	p = kzalloc(sizeof(*p), GFP_KERNEL);
	if (!p)
		return -ENOMEM;
	p->cpu = d->cpu;
	p->deadline = U64_MAX;
	INIT_CSD(&p->call, proxy_fire, p);
	p->device.name = "exitless";
	p->device.features = CLOCK_EVT_FEAT_ONESHOT;
	p->device.rating = 500;
	p->device.cpumask = cpumask_of(d->cpu);
	p->device.set_next_event = proxy_next;
	p->device.set_state_shutdown = proxy_shutdown;
	p->device.set_state_oneshot = proxy_oneshot;
	p->device.set_state_oneshot_stopped = proxy_shutdown;
	p->lapic = READ_ONCE(per_cpu(lapic_device, d->cpu));
	if (!p->lapic) {
		pr_warn("CPU %d does not keep time by its LAPIC\n", d->cpu);
		kfree(p);
		return -EOPNOTSUPP;
	}
	/* look_at() finds it whole. */
	smp_store_release(&d->proxy, p);
	err = smp_call_function_single(d->cpu, proxy_register, p, 1);
	if (err) {
		d->proxy = NULL;
		synchronize_rcu();
		kfree(p);
		return err;
	}
	if (x2apic_mode)
		err = frequency_check(d);
	d->count_may = x2apic_mode && !err;
	if (!err || ex_deadline_may(d))
		return 0;
	ex_proxy_stop(d);
	return err;
}

void ex_proxy_stop(struct ex_vcpu *d)
{
	struct ex_proxy *p = d->proxy;
	int err;

	if (!p)
		return;
	err = clockevents_unbind_device(&p->device, p->cpu);
	WRITE_ONCE(d->proxy, NULL);
	synchronize_rcu();
	ex_calls_end(p->cpu);
	if (err)
		pr_err("the clock event device of CPU %d stays (%d)\n", p->cpu, err);
	else
		kfree(p);
}

/* A timer interrupt that the host took while the timer was the guest's. */
static void timer_entry(void *data, int vector)
{
	struct ex_vcpu *d = this_cpu_read(ex_here);

	if (!d || !d->timer_own)
		return;
	d->tick_pending = true;
	if (rcuwait_active(kvm_arch_vcpu_get_wait(d->vcpu)))
		ex_tick_inject(d);
}

static void ipi_note(unsigned int cpu)
{
	struct ex_vcpu *d = READ_ONCE(per_cpu(ex_here, cpu));

	if (d && READ_ONCE(d->active) && !READ_ONCE(d->ipi_ns))
		WRITE_ONCE(d->ipi_ns, ktime_get_mono_fast_ns());
}

static void ipi_sent(void *data, const unsigned int cpu, unsigned long site, void *callback)
{
	ipi_note(cpu);
}

static void ipi_sent_mask(void *data, const struct cpumask *mask, unsigned long site,
			  void *callback)
{
	unsigned int cpu;

	for_each_cpu(cpu, mask)
		ipi_note(cpu);
}

static int nmi_take(unsigned int type, struct pt_regs *regs)
{
	if (!this_cpu_read(nmi_sent))
		return NMI_DONE;
	this_cpu_write(nmi_sent, false);
	return NMI_HANDLED;
}

static void look_at(struct ex_vcpu *d, u64 now)
{
	struct ex_proxy *p = smp_load_acquire(&d->proxy); /* ex_proxy_start() published it */
	/* ex_entry() has set the times before it. */
	bool active = smp_load_acquire(&d->active), waiting, halted;
	u64 ipi = READ_ONCE(d->ipi_ns), entered = READ_ONCE(d->entered_ns);

	if (p && READ_ONCE(p->deadline) <= now) {
		WRITE_ONCE(p->deadline, U64_MAX);
		smp_call_function_single_async(p->cpu, &p->call);
	}
	/* ex_entry() publishes it. */
	if (!smp_load_acquire(&d->vcpu))
		return;
	if (active && ((ipi && now > ipi + IPI_LATE_NS) || now > entered + GUEST_LONG_NS)) {
		if (!READ_ONCE(per_cpu(nmi_sent, d->cpu))) {
			WRITE_ONCE(per_cpu(nmi_sent, d->cpu), true);
			d->n_nmi++;
			ex_lapic_send(d->cpu, APIC_DM_NMI);
		}
	}
	/* For an entry that does not come: the vCPU halts, or its VMM has it. */
	waiting = READ_ONCE(d->tick_pending) || !bitmap_empty(d->kept, 256);
	halted = rcuwait_active(kvm_arch_vcpu_get_wait(d->vcpu));
	d->looks = waiting && !active ? d->looks + 1 : 0;
	/* A VMM that has it for long may have stopped the machine, to read or save its state. */
	WRITE_ONCE(d->out, active || halted || entered != d->out_since ? 0 : d->out + 1);
	d->out_since = entered;
	if (d->looks >= KEPT_LOOKS || (waiting && halted) ||
	    (READ_ONCE(d->timer_own) &&
	     (READ_ONCE(d->vcpu->cpu) != d->cpu || d->out >= EX_OUT_LOOKS)))
		smp_call_function_single_async(d->cpu, &d->poke);
}

static enum hrtimer_restart look_now(struct hrtimer *t)
{
	ex_for_each(look_at, ktime_get_mono_fast_ns());
	hrtimer_forward_now(t, ns_to_ktime(LOOK_NS));
	return HRTIMER_RESTART;
}

static void look_start(void *data)
{
	hrtimer_start(&look, ns_to_ktime(LOOK_NS), HRTIMER_MODE_REL_PINNED);
}

void ex_watch(bool on)
{
	if (!on)
		hrtimer_cancel(&look);
	else if (!hrtimer_active(&look))
		smp_call_function_single(look_cpu, look_start, NULL, 1);
}

static void tracepoint_find(struct tracepoint *tp, void *data)
{
	if (!strcmp(tp->name, "local_timer_entry"))
		tp_timer = tp;
	else if (!strcmp(tp->name, "ipi_send_cpu"))
		tp_ipi = tp;
	else if (!strcmp(tp->name, "ipi_send_cpumask"))
		tp_ipi_mask = tp;
}

int ex_timer_init(void)
{
	int err;

	for_each_kernel_tracepoint(tracepoint_find, NULL);
	if (!tp_timer || !tp_ipi || !tp_ipi_mask) {
		pr_err("the kernel has no tracepoint %s\n", !tp_timer ? "local_timer_entry"
							    : !tp_ipi ? "ipi_send_cpu"
								      : "ipi_send_cpumask");
		return -ENXIO;
	}
	ex_hrtimer_init(&look, look_now);
	look_cpu = cpumask_first(cpu_online_mask);
	err = register_nmi_handler(NMI_LOCAL, nmi_take, 0, "exitless");
	if (err)
		return err;
	err = tracepoint_probe_register(tp_timer, timer_entry, NULL);
	if (err)
		goto no_timer;
	err = tracepoint_probe_register(tp_ipi, ipi_sent, NULL);
	if (err)
		goto no_ipi;
	err = tracepoint_probe_register(tp_ipi_mask, ipi_sent_mask, NULL);
	if (!err)
		return 0;
	tracepoint_probe_unregister(tp_ipi, ipi_sent, NULL);
no_ipi:
	tracepoint_probe_unregister(tp_timer, timer_entry, NULL);
no_timer:
	unregister_nmi_handler(NMI_LOCAL, "exitless");
	return err;
}

void ex_timer_done(void)
{
	hrtimer_cancel(&look);
	tracepoint_probe_unregister(tp_ipi_mask, ipi_sent_mask, NULL);
	tracepoint_probe_unregister(tp_ipi, ipi_sent, NULL);
	tracepoint_probe_unregister(tp_timer, timer_entry, NULL);
	tracepoint_synchronize_unregister();
	unregister_nmi_handler(NMI_LOCAL, "exitless");
}
