// SPDX-License-Identifier: GPL-2.0-only
/*
 * exitless_guest: gives exitless_kvm, in the host, a shadow IDT for each CPU of this guest, which
 * then takes its devices' interrupts and its timer without exits. Without it only a guest with one
 * CPU does. uapi/exitless_direct.h is what the two say to each other.
 *
 * A shadow is a page of the kernel's, which is mapped while user space runs too; page table
 * isolation would unmap it, so the module refuses to load with that on.
 *
 * The host forgets registrations when it switches direct mode off, and takes one back when it finds
 * the page written to. So each CPU looks every two seconds, at the cost of an exit, whether its
 * registration stands, and registers again. That is also how a guest that was there before the
 * host asked for direct mode comes to it.
 */
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/kernel_stat.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/suspend.h>
#include <linux/version.h>

#include <asm/cpufeature.h>
#include <asm/hardirq.h>
#include <asm/msr.h>

#include "../uapi/exitless_direct.h"
#include "guest.h"

#define LOOK_JIFFIES (2 * HZ)
#define AWAIT_MS     1000

DEFINE_PER_CPU(struct guest_cpu, guest_cpu);
static DEFINE_MUTEX(lock); /* who enables and disables */
static bool enabled;
static enum cpuhp_state hotplug;

static bool ipi;
module_param(ipi, bool, 0444);
MODULE_PARM_DESC(ipi, "send IPIs without exits, where the host allows it");

static int get(u32 msr, u64 *value)
{
	u32 low, high;
	int err = rdmsr_safe(msr, &low, &high);

	if (!err)
		*value = (u64)high << 32 | low;
	return err;
}

static int put(u32 msr, u64 value)
{
	return wrmsr_safe(msr, (u32)value, value >> 32);
}

/* That this CPU took. */
static unsigned int ticks_taken(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
	return this_cpu_read(irq_stat.counts[IRQ_COUNT_APIC_TIMER]);
#else
	return this_cpu_read(irq_stat.apic_timer_irqs);
#endif
}

/* Interrupts taken so far, by this kernel and by injection; false: there is no host. */
static bool count(struct guest_cpu *c, bool since)
{
	u64 irqs = kstat_this_cpu->irqs_sum, ticks = ticks_taken();
	u64 inject_irqs, inject_ticks;

	if (get(EX_MSR_INJECTED, &inject_irqs) || get(EX_MSR_TICKS, &inject_ticks))
		return false;
	if (since) {
		u64 irqs_now = irqs - c->taken_irqs, irqs_host = inject_irqs - c->inject_irqs;
		u64 ticks_now = ticks - c->taken_ticks, ticks_host = inject_ticks - c->inject_ticks;

		c->interrupts += irqs_now > irqs_host ? irqs_now - irqs_host : 0;
		c->ticks += ticks_now > ticks_host ? ticks_now - ticks_host : 0;
	}
	c->taken_irqs = irqs;
	c->taken_ticks = ticks;
	c->inject_irqs = inject_irqs;
	c->inject_ticks = inject_ticks;
	return true;
}

static void register_here(struct guest_cpu *c)
{
	u64 id, magic = EX_SHADOW_MAGIC;

	c->features = 0;
	/* The one before goes in any case: where this CPU's thread has been moved away that is all
	 * that there is, and back there everything is registered anew. */
	if (!c->page || put(EX_MSR_SHADOW, 0) || get(EX_MSR_ID, &id) || id >> 32 != EX_ID_MAGIC ||
	    (id >> 16 & 0xffff) != EX_ID_VERSION || !(id & EX_FEATURE_SHADOW_IDT))
		return;
	c->features = id & 0xffff;
	if (!count(c, false))
		return;
	memset(c->page, 0, PAGE_SIZE);
	memcpy(c->page, &magic, sizeof(magic));
	c->registered = !put(EX_MSR_SHADOW, (unsigned long)c->page) &&
			!put(EX_MSR_WISH, EX_WISH_DEFAULT);
	if (c->registered && c->ipi_page && c->features & EX_FEATURE_IPI) {
		memset(c->ipi_page, 0, PAGE_SIZE);
		c->ipi = !put(EX_MSR_IPI, __pa(c->ipi_page));
		if (c->ipi)
			put(EX_MSR_WISH, EX_WISH_DEFAULT | EX_WISH_IPI);
	}
}

/* The interrupt command register is the virtual LAPIC's again. */
static void ipi_end(struct guest_cpu *c)
{
	if (!c->ipi)
		return;
	put(EX_MSR_WISH, EX_WISH_DEFAULT);
	put(EX_MSR_IPI, 0);
	c->ipi = false;
}

/* The three below run on the CPU with interrupts off. */
static void look_here(void *full)
{
	struct guest_cpu *c = this_cpu_ptr(&guest_cpu);
	bool had = c->registered;
	u64 shadow = 0;

	if (!READ_ONCE(enabled) || !c->here)
		return;
	c->registered = !get(EX_MSR_SHADOW, &shadow) && shadow == (unsigned long)c->page;
	if (!c->registered) {
		ipi_end(c);
		c->state = 0;
		register_here(c);
	} else if (had && full) {
		count(c, true);
		get(EX_MSR_STATE, &c->state);
	}
}

static void unregister_here(void *unused)
{
	struct guest_cpu *c = this_cpu_ptr(&guest_cpu);

	if (c->registered)
		count(c, true);
	ipi_end(c);
	put(EX_MSR_SHADOW, 0);
	c->registered = false;
	c->state = 0;
}

/* Without a shadow, a guest with one CPU would still be direct. */
static void refuse_here(void *unused)
{
	unregister_here(NULL);
	put(EX_MSR_WISH, 0);
}

static void table_look_here(void *data)
{
	bool *held = data;
	u64 at;

	if (!get(EX_MSR_IPI, &at) && at)
		WRITE_ONCE(*held, true);
}

/* Process context, after the tables were taken back: the host may write to them until it says that
 * it has let go, which it does by its next look. */
static void tables_await(void)
{
	unsigned int waited;
	bool held;

	if (!ipi)
		return;
	for (waited = 0; waited < AWAIT_MS; waited += 10) {
		held = false;
		on_each_cpu(table_look_here, &held, 1);
		if (!held)
			return;
		msleep(10);
	}
	pr_warn("the host keeps a table for IPIs\n");
}

static void accept_here(void *unused)
{
	put(EX_MSR_WISH, EX_WISH_DEFAULT);
}

static void look_work(struct work_struct *work)
{
	struct guest_cpu *c = container_of(work, struct guest_cpu, look.work);
	unsigned long flags;

	local_irq_save(flags);
	look_here(NULL);
	local_irq_restore(flags);
	schedule_delayed_work_on(raw_smp_processor_id(), &c->look, LOOK_JIFFIES);
}

void guest_look(unsigned int cpu)
{
	smp_call_function_single(cpu, look_here, (void *)1, 1);
}

bool guest_enabled(void)
{
	return READ_ONCE(enabled);
}

unsigned int guest_enable(void)
{
	unsigned int cpu, n = 0;

	mutex_lock(&lock);
	WRITE_ONCE(enabled, true);
	on_each_cpu(look_here, NULL, 1);
	for_each_online_cpu(cpu)
		n += per_cpu(guest_cpu, cpu).registered;
	mutex_unlock(&lock);
	return n;
}

void guest_disable(void)
{
	mutex_lock(&lock);
	WRITE_ONCE(enabled, false);
	on_each_cpu(refuse_here, NULL, 1);
	tables_await();
	mutex_unlock(&lock);
}

/* On the CPU. */
static int cpu_online_here(unsigned int cpu)
{
	struct guest_cpu *c = per_cpu_ptr(&guest_cpu, cpu);

	if (!c->page)
		c->page = (void *)get_zeroed_page(GFP_KERNEL);
	if (!c->page)
		return -ENOMEM;
	if (ipi && !c->ipi_page)
		c->ipi_page = (void *)get_zeroed_page(GFP_KERNEL);
	WRITE_ONCE(c->here, true);
	schedule_delayed_work_on(cpu, &c->look, 1);
	return 0;
}

static int cpu_offline_here(unsigned int cpu)
{
	struct guest_cpu *c = per_cpu_ptr(&guest_cpu, cpu);
	unsigned long flags;

	cancel_delayed_work_sync(&c->look);
	local_irq_save(flags);
	/* It is online for a while yet, and may be asked to look. */
	c->here = false;
	unregister_here(NULL);
	local_irq_restore(flags);
	return 0;
}

/* The next kernel has other uses for these pages. */
static int on_reboot(struct notifier_block *block, unsigned long what, void *data)
{
	guest_disable();
	return NOTIFY_DONE;
}

static struct notifier_block reboot_block = { .notifier_call = on_reboot };

static int on_sleep(struct notifier_block *block, unsigned long what, void *data)
{
	static bool was;

	switch (what) {
	case PM_SUSPEND_PREPARE:
	case PM_HIBERNATION_PREPARE:
	/* An image takes this kernel's place, with other pages where ours are. */
	case PM_RESTORE_PREPARE:
		was = guest_enabled();
		guest_disable();
		break;
	case PM_POST_SUSPEND:
	case PM_POST_HIBERNATION:
	case PM_POST_RESTORE:
		if (was)
			guest_enable();
		break;
	}
	return NOTIFY_DONE;
}

static struct notifier_block sleep_block = { .notifier_call = on_sleep };

static void pages_free(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		free_page((unsigned long)per_cpu(guest_cpu, cpu).page);
		free_page((unsigned long)per_cpu(guest_cpu, cpu).ipi_page);
	}
}

static int __init guest_init(void)
{
	unsigned int cpu;
	int err;

	if (boot_cpu_has(X86_FEATURE_PTI)) {
		pr_err("page table isolation is on, which hides shadow IDTs from user space\n");
		return -EOPNOTSUPP;
	}
	for_each_possible_cpu(cpu)
		INIT_DEFERRABLE_WORK(&per_cpu(guest_cpu, cpu).look, look_work);
	enabled = true;
	err = ipi ? guest_ipi_init() : 0;
	if (err)
		return err;
	err = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "exitless_guest:online", cpu_online_here,
				cpu_offline_here);
	if (err < 0)
		goto no_cpus;
	hotplug = err;
	err = guest_sysfs_init();
	if (err)
		goto no_sysfs;
	err = register_reboot_notifier(&reboot_block);
	if (err)
		goto no_reboot;
	err = register_pm_notifier(&sleep_block);
	if (err)
		goto no_sleep;
	return 0;

no_sleep:
	unregister_reboot_notifier(&reboot_block);
no_reboot:
	guest_sysfs_done();
no_sysfs:
	cpuhp_remove_state(hotplug);
	tables_await();
no_cpus:
	if (ipi)
		guest_ipi_done();
	pages_free();
	return err;
}

static void __exit guest_done(void)
{
	unregister_pm_notifier(&sleep_block);
	unregister_reboot_notifier(&reboot_block);
	guest_sysfs_done();
	cpuhp_remove_state(hotplug);
	/* As without this module. */
	on_each_cpu(accept_here, NULL, 1);
	tables_await();
	if (ipi)
		guest_ipi_done();
	pages_free();
}

module_init(guest_init);
module_exit(guest_done);
MODULE_DESCRIPTION("Shadow IDTs for direct interrupts under exitless_kvm");
MODULE_LICENSE("GPL");
