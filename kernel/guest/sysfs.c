// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/kernel/exitless/
 *
 *	enabled          1 or 0; written by enable and disable, or by itself
 *	enable, disable  any write
 *	registered       CPUs whose shadow IDT the host has taken
 *	cpuN/state       "direct", "stock WHY" (the host's number), or "off"
 *	cpuN/timer       1 while the LAPIC's timer is the guest's
 *	cpuN/interrupts  taken directly
 *	cpuN/ticks       taken directly
 */
#include <linux/cpu.h>
#include <linux/sysfs.h>

#include "../uapi/exitless_direct.h"
#include "guest.h"

static struct kobject *top;

static ssize_t enabled_show(struct kobject *k, struct kobj_attribute *a, char *to)
{
	return sysfs_emit(to, "%d\n", guest_enabled());
}

static ssize_t enabled_store(struct kobject *k, struct kobj_attribute *a, const char *from,
			     size_t n)
{
	bool on;
	int err = kstrtobool(from, &on);

	if (err)
		return err;
	if (on)
		guest_enable();
	else
		guest_disable();
	return n;
}

static ssize_t enable_store(struct kobject *k, struct kobj_attribute *a, const char *from, size_t n)
{
	guest_enable();
	return n;
}

static ssize_t disable_store(struct kobject *k, struct kobj_attribute *a, const char *from,
			     size_t n)
{
	guest_disable();
	return n;
}

static ssize_t registered_show(struct kobject *k, struct kobj_attribute *a, char *to)
{
	unsigned int cpu, n = 0;

	for_each_online_cpu(cpu) {
		guest_look(cpu);
		n += per_cpu(guest_cpu, cpu).registered;
	}
	return sysfs_emit(to, "%u\n", n);
}

static struct kobj_attribute enabled_attr = __ATTR_RW_MODE(enabled, 0600);
static struct kobj_attribute enable_attr = __ATTR_WO(enable);
static struct kobj_attribute disable_attr = __ATTR_WO(disable);
static struct kobj_attribute registered_attr = __ATTR_RO(registered);

static const struct attribute *top_attrs[] = {
	&enabled_attr.attr, &enable_attr.attr, &disable_attr.attr, &registered_attr.attr, NULL,
};

/* One that is brought up to date first. */
static struct guest_cpu *cpu_of(struct kobject *k)
{
	struct guest_cpu *c = container_of(k, struct guest_cpu, kobj);
	unsigned int cpu;

	for_each_online_cpu(cpu)
		if (per_cpu_ptr(&guest_cpu, cpu) == c)
			guest_look(cpu);
	return c;
}

static ssize_t state_show(struct kobject *k, struct kobj_attribute *a, char *to)
{
	struct guest_cpu *c = cpu_of(k);

	if (!c->registered)
		return sysfs_emit(to, "off\n");
	if (c->state & EX_STATE_DIRECT)
		return sysfs_emit(to, "direct\n");
	return sysfs_emit(to, "stock %u\n", (u32)c->state >> 8 & 0xff);
}

static ssize_t timer_show(struct kobject *k, struct kobj_attribute *a, char *to)
{
	return sysfs_emit(to, "%d\n", !!(cpu_of(k)->state & EX_STATE_TIMER));
}

static ssize_t interrupts_show(struct kobject *k, struct kobj_attribute *a, char *to)
{
	return sysfs_emit(to, "%llu\n", cpu_of(k)->interrupts);
}

static ssize_t ticks_show(struct kobject *k, struct kobj_attribute *a, char *to)
{
	return sysfs_emit(to, "%llu\n", cpu_of(k)->ticks);
}

static struct kobj_attribute state_attr = __ATTR_RO(state);
static struct kobj_attribute timer_attr = __ATTR_RO(timer);
static struct kobj_attribute interrupts_attr = __ATTR_RO(interrupts);
static struct kobj_attribute ticks_attr = __ATTR_RO(ticks);

static struct attribute *cpu_attrs[] = {
	&state_attr.attr, &timer_attr.attr, &interrupts_attr.attr, &ticks_attr.attr, NULL,
};
ATTRIBUTE_GROUPS(cpu);

/* Memory is the per-CPU variable. */
static void cpu_release(struct kobject *k)
{
}

static const struct kobj_type cpu_type = {
	.release = cpu_release,
	.sysfs_ops = &kobj_sysfs_ops,
	.default_groups = cpu_groups,
};

void guest_sysfs_done(void)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		struct guest_cpu *c = per_cpu_ptr(&guest_cpu, cpu);

		if (c->kobj_added) {
			kobject_del(&c->kobj);
			kobject_put(&c->kobj);
		}
		c->kobj_added = false;
	}
	sysfs_remove_files(top, top_attrs);
	kobject_put(top);
}

int guest_sysfs_init(void)
{
	unsigned int cpu;
	int err;

	top = kobject_create_and_add("exitless", kernel_kobj);
	if (!top)
		return -ENOMEM;
	err = sysfs_create_files(top, top_attrs);
	for_each_possible_cpu(cpu) {
		struct guest_cpu *c = per_cpu_ptr(&guest_cpu, cpu);

		if (err)
			break;
		c->kobj_added = true;
		err = kobject_init_and_add(&c->kobj, &cpu_type, top, "cpu%u", cpu);
	}
	if (err)
		guest_sysfs_done();
	return err;
}
