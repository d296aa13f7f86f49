// SPDX-License-Identifier: GPL-2.0-only
/*
 * exitless_kvm: a vCPU that has a CPU of its own takes its device's interrupts and its timer
 * without leaving the guest. Loading, the control device, and who is direct.
 *
 * /dev/exitless_kvm takes one command per write and shows the state when read (docs/direct.md):
 *
 *	on pid=PID vcpu=N cpu=N [timer=1] [ipi=1]
 *	off pid=PID [vcpu=N]
 */
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/suspend.h>
#include <linux/tracepoint.h>
#include <linux/uaccess.h>

#include <asm/apic.h>

#include "../uapi/exitless_direct.h"
#include "direct.h"
#include "lapic.h"

#define EX_ABI	1
#define LOOK_MS 100
#define SEEN_MS 5000

extern struct tracepoint __tracepoint_kvm_entry, __tracepoint_kvm_exit;

static DEFINE_MUTEX(ex_lock); /* taken in a callback of CPU hotplug, so inside of its lock */
static LIST_HEAD(vcpus);      /* written under ex_lock, read under RCU too */
static enum cpuhp_state hotplug;
static bool ending; /* the machine; under ex_lock */

static const char *const whys[EX_WHYS] = {
	[EX_DIRECT] = "direct",
	[EX_OFF] = "off",
	[EX_IMMEDIATE] = "immediate-exit",
	[EX_INJECTING] = "injecting",
	[EX_IN_SERVICE] = "in-service",
	[EX_NESTED] = "nested-guest",
	[EX_AVIC] = "avic",
	[EX_NO_X2APIC] = "no-x2apic",
	[EX_PV_EOI] = "pv-eoi",
	[EX_ROUTES] = "routes-changed",
	[EX_FOREIGN] = "foreign-interrupt",
	[EX_SMP] = "shared-idt",
	[EX_IDT] = "unusable-idt",
	[EX_AGAIN] = "run-again",
	[EX_DIRTY_LOG] = "dirty-log",
	[EX_GUEST] = "guest-off",
	[EX_TPR] = "task-priority",
};

void ex_for_each(void (*fn)(struct ex_vcpu *d, u64 now), u64 now)
{
	struct ex_vcpu *d;

	rcu_read_lock();
	list_for_each_entry_rcu(d, &vcpus, link)
		fn(d, now);
	rcu_read_unlock();
}

struct ex_vcpu *ex_find(const struct kvm *kvm, u32 id)
{
	struct ex_vcpu *d;
	struct kvm_vcpu *vcpu;

	list_for_each_entry_rcu(d, &vcpus, link, irqs_disabled()) {
		/* ex_entry() publishes it. */
		vcpu = smp_load_acquire(&d->vcpu);
		if (vcpu && vcpu->kvm == kvm && vcpu->vcpu_id == id)
			return d;
	}
	return NULL;
}

void ex_locked(void (*fn)(void *data), void *data)
{
	mutex_lock(&ex_lock);
	fn(data);
	mutex_unlock(&ex_lock);
}

void ex_all_locked(void (*fn)(struct ex_vcpu *d, void *data), void *data)
{
	struct ex_vcpu *d;

	list_for_each_entry(d, &vcpus, link)
		fn(d, data);
}

static void here_set(void *data)
{
	struct ex_vcpu *d = data;

	this_cpu_write(ex_here, d);
}

static void go(void *data)
{
	struct ex_vcpu *d = data;

	d->timer_on = d->timer_wanted;
	d->on = true;
}

/* KVM's last reference of a machine takes its locks, in which that of CPU hotplug is taken; and
 * that one's callback takes ex_lock. So it is given up outside of that. */
static LLIST_HEAD(gone);

static void gone_free(struct work_struct *work)
{
	struct ex_vcpu *d, *next;

	llist_for_each_entry_safe(d, next, llist_del_all(&gone), gone) {
		kvm_put_kvm(d->vcpu->kvm);
		kvfree(d);
	}
}

static DECLARE_WORK(gone_work, gone_free);

static void vcpu_free(struct ex_vcpu *d)
{
	if (d->vcpu)
		ex_ipi_pause(d->vcpu->kvm);
	ex_vcpu_stop(d);
	list_del_rcu(&d->link);
	if (list_empty(&vcpus))
		ex_watch(false);
	synchronize_rcu();
	/* d->poke may have been on its way as it stopped. */
	ex_calls_end(d->cpu);
	ex_lines_free(d);
	ex_ipi_end(d);
	kfree(rcu_dereference_protected(d->map, true));
	put_task_struct(d->leader);
	if (!d->vcpu) {
		kvfree(d);
		return;
	}
	llist_add(&d->gone, &gone);
	schedule_work(&gone_work);
}

/* That of the VMM, still alive. */
static struct task_struct *leader_get(int pid)
{
	struct task_struct *task, *leader = NULL;

	rcu_read_lock();
	task = pid_task(find_vpid(pid), PIDTYPE_TGID);
	if (task && !task->exit_state) {
		leader = task->group_leader;
		get_task_struct(leader);
	}
	rcu_read_unlock();
	return leader;
}

static int vcpu_on(int pid, int index, int cpu, bool timer, bool ipi)
{
	struct ex_vcpu *d;
	int err, waited;

	if (ending)
		return -ESHUTDOWN;
	/* It is inactive before cpu_gone() gets ex_lock, but online for some time after that. */
	if (cpu < 0 || cpu >= nr_cpu_ids || !cpu_active(cpu) || index < 0)
		return -EINVAL;
	/* The watchdog's CPU is the host's. */
	if (cpu == cpumask_first(cpu_online_mask))
		return -EINVAL;
	/* The guest writes an x2APIC's interrupt command register. */
	if (ipi && !x2apic_mode)
		return -EOPNOTSUPP;
	if (per_cpu(ex_here, cpu))
		return -EBUSY;
	d = kvzalloc(sizeof(*d), GFP_KERNEL);
	if (!d)
		return -ENOMEM;
	d->leader = leader_get(pid);
	if (!d->leader) {
		kvfree(d);
		return -ESRCH;
	}
	d->index = index;
	d->cpu = cpu;
	d->timer_wanted = timer;
	d->wish = EX_WISH_DEFAULT;
	d->ipi.allowed = ipi;
	INIT_LIST_HEAD(&d->lines);
	INIT_CSD(&d->poke, ex_poke, d);
	list_add_tail_rcu(&d->link, &vcpus);
	err = smp_call_function_single(cpu, here_set, d, 1);
	/* The first entry on that CPU makes it known; the IPI has made a running guest exit. */
	for (waited = 0; !err && !smp_load_acquire(&d->vcpu); waited += 10) {
		if (READ_ONCE(d->unfit))
			err = -EOPNOTSUPP;
		else if (waited >= SEEN_MS || fatal_signal_pending(current))
			err = -ETIME;
		msleep(10);
	}
	if (!err)
		ex_watch(true);
	if (!err)
		err = ex_map_update(d);
	if (!err && timer)
		err = ex_proxy_start(d);
	if (!err)
		err = smp_call_function_single(cpu, go, d, 1);
	if (err)
		vcpu_free(d);
	return err;
}

static int vcpu_off(int pid, int index)
{
	struct ex_vcpu *d, *next;
	int err = -ENOENT;

	list_for_each_entry_safe(d, next, &vcpus, link) {
		if (task_tgid_vnr(d->leader) != pid || (index >= 0 && d->index != index))
			continue;
		vcpu_free(d);
		err = 0;
	}
	return err;
}

static void all_off(int cpu)
{
	struct ex_vcpu *d, *next;

	mutex_lock(&ex_lock);
	list_for_each_entry_safe(d, next, &vcpus, link)
		if (cpu < 0 || d->cpu == cpu)
			vcpu_free(d);
	mutex_unlock(&ex_lock);
}

/* Follows changes of interrupts, and lets go of machines that have ended. */
static void look_work(struct work_struct *work);
static DECLARE_DELAYED_WORK(look, look_work);

static void look_work(struct work_struct *work)
{
	struct ex_vcpu *d, *next;

	mutex_lock(&ex_lock);
	list_for_each_entry_safe(d, next, &vcpus, link) {
		if (d->leader->exit_state || d->leader->flags & PF_EXITING)
			vcpu_free(d);
		else
			ex_map_update(d);
	}
	list_for_each_entry(d, &vcpus, link)
		ex_ipi_update(d);
	mutex_unlock(&ex_lock);
	schedule_delayed_work(&look, msecs_to_jiffies(LOOK_MS));
}

static ssize_t ctl_write(struct file *file, const char __user *from, size_t n, loff_t *pos)
{
	char text[128], *rest = text, *verb, *word;
	int pid = -1, vcpu = -1, cpu = -1, timer = 0, ipi = 0, err = 0;

	if (n >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, from, n))
		return -EFAULT;
	text[n] = 0;
	verb = strsep(&rest, "\n ");
	while (!err && (word = strsep(&rest, "\n "))) {
		if (str_has_prefix(word, "pid="))
			err = kstrtoint(word + 4, 10, &pid);
		else if (str_has_prefix(word, "vcpu="))
			err = kstrtoint(word + 5, 10, &vcpu);
		else if (str_has_prefix(word, "cpu="))
			err = kstrtoint(word + 4, 10, &cpu);
		else if (str_has_prefix(word, "timer="))
			err = kstrtoint(word + 6, 10, &timer);
		else if (str_has_prefix(word, "ipi="))
			err = kstrtoint(word + 4, 10, &ipi);
		else if (*word)
			err = -EINVAL;
	}
	if (err)
		return err;
	if (timer && cpu >= 0 && cpu < nr_cpu_ids && cpu_online(cpu))
		ex_timer_find(cpu);
	mutex_lock(&ex_lock);
	if (!strcmp(verb, "on"))
		err = vcpu_on(pid, vcpu, cpu, timer, ipi);
	else if (!strcmp(verb, "off"))
		err = vcpu_off(pid, vcpu);
	else
		err = -EINVAL;
	mutex_unlock(&ex_lock);
	return err ?: n;
}

static void vcpu_show(struct seq_file *m, struct ex_vcpu *d)
{
	const struct ex_map *map;
	unsigned int i;

	seq_printf(m, "vcpu pid=%d index=%d cpu=%d on=%d timer=%d ipi=%d why=%s",
		   task_tgid_vnr(d->leader), d->index, d->cpu, d->on, d->timer_own, d->ipi_own,
		   whys[d->why]);
	seq_printf(m, " handed_back=%llu ticks_raised=%llu ticks_injected=%llu", d->n_handed_back,
		   d->n_ticks_raised, d->n_ticks_injected);
	seq_printf(m, " nmi=%llu eoi_retired=%llu stolen=%llu", d->n_nmi, d->n_eoi_retired,
		   d->n_stolen);
	seq_printf(m, " shadow=%d shadow_dropped=%llu abi=%llu injected=%llu ticks=%llu",
		   !!d->shadow.base, d->n_shadow_dropped, d->n_abi, d->n_injected, d->n_ticks);
	seq_printf(m, " line_sent=%llu line_fell=%llu kept=%llu ipi_sent=%llu", d->n_line_sent,
		   d->n_line_fell, d->n_kept, d->n_ipi_sent);
	seq_printf(m, " deadlines_taken=%llu deadlines_given=%llu", d->n_pulled, d->n_given);
	for (i = 0; i < EX_WHYS; i++)
		seq_printf(m, " entries_%s=%llu", whys[i], d->n_why[i]);
	for (i = 0; i < ARRAY_SIZE(d->n_vector); i++)
		if (d->n_vector[i])
			seq_printf(m, " vector_%#x=%u", i, d->n_vector[i]);
	seq_putc(m, '\n');
	map = rcu_dereference_protected(d->map, true);
	for (i = 0; map && i < map->n; i++)
		seq_printf(m, "route pid=%d index=%d irq=%d host=%#x guest=%#x ipi=%d\n",
			   task_tgid_vnr(d->leader), d->index, map->route[i].irq,
			   map->route[i].host, map->route[i].guest, map->route[i].ipi);
	if (map && map->n_foreign)
		seq_printf(m, "foreign pid=%d index=%d irq=%d count=%u\n", task_tgid_vnr(d->leader),
			   d->index, map->foreign_irq, map->n_foreign);
}

static int ctl_show(struct seq_file *m, void *data)
{
	struct ex_vcpu *d;

	seq_printf(m, "exitless_kvm abi=%d hardware=%s", EX_ABI, ex_ops->name);
	seq_printf(m, " trouble_lines=%u trouble_icr=%u trouble_isr=%u\n", ex_trouble.lines,
		   ex_trouble.icr, ex_trouble.isr);
	mutex_lock(&ex_lock);
	list_for_each_entry(d, &vcpus, link)
		vcpu_show(m, d);
	mutex_unlock(&ex_lock);
	return 0;
}

static int ctl_open(struct inode *inode, struct file *file)
{
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	/* misc_open() has left the device there, where a seq_file belongs. */
	file->private_data = NULL;
	return single_open(file, ctl_show, NULL);
}

static const struct file_operations ctl_ops = {
	.owner = THIS_MODULE,
	.open = ctl_open,
	.read = seq_read,
	.write = ctl_write,
	.llseek = seq_lseek,
	.release = single_release,
};

static struct miscdevice ctl = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "exitless_kvm",
	.fops = &ctl_ops,
	.mode = 0600,
};

static int cpu_gone(unsigned int cpu)
{
	all_off(cpu);
	return 0;
}

static int sleep_notify(struct notifier_block *nb, unsigned long what, void *data)
{
	if (what == PM_SUSPEND_PREPARE || what == PM_HIBERNATION_PREPARE)
		all_off(-1);
	return NOTIFY_DONE;
}

static struct notifier_block sleep_block = { .notifier_call = sleep_notify };

/* KVM switches virtualization off under guests that run, and is prepared for the faults that this
 * makes. The hooks are not. */
static int end_notify(struct notifier_block *nb, unsigned long what, void *data)
{
	mutex_lock(&ex_lock);
	ending = true;
	mutex_unlock(&ex_lock);
	all_off(-1);
	return NOTIFY_DONE;
}

static struct notifier_block end_block = { .notifier_call = end_notify };

static int __init ex_init(void)
{
	int err;

	/* Hooks and handlers of interrupts take locks that sleep there. */
	if (IS_ENABLED(CONFIG_PREEMPT_RT)) {
		pr_err("a kernel with PREEMPT_RT is not supported\n");
		return -EOPNOTSUPP;
	}
	ex_ops = boot_cpu_has(X86_FEATURE_SVM) ? &ex_svm : &ex_vmx;
	err = ex_ops->init();
	if (err) {
		pr_err("this CPU has no %s, or not what is needed of it\n", ex_ops->name);
		return err;
	}
	err = ex_btf_load(ex_ops->btf);
	if (err)
		return err;
	err = ex_timer_init();
	if (err)
		return err;
	err = tracepoint_probe_register(&__tracepoint_kvm_entry, ex_entry, NULL);
	if (err)
		goto no_entry;
	err = tracepoint_probe_register(&__tracepoint_kvm_exit, ex_exit, NULL);
	if (err)
		goto no_exit;
	err = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "exitless:online", NULL, cpu_gone);
	if (err < 0)
		goto no_hotplug;
	hotplug = err;
	err = register_pm_notifier(&sleep_block);
	if (err)
		goto no_sleep;
	err = register_reboot_notifier(&end_block);
	if (err)
		goto no_end;
	err = misc_register(&ctl);
	if (err)
		goto no_ctl;
	ex_debug_init();
	schedule_delayed_work(&look, msecs_to_jiffies(LOOK_MS));
	return 0;

no_ctl:
	unregister_reboot_notifier(&end_block);
no_end:
	unregister_pm_notifier(&sleep_block);
no_sleep:
	cpuhp_remove_state(hotplug);
no_hotplug:
	tracepoint_probe_unregister(&__tracepoint_kvm_exit, ex_exit, NULL);
no_exit:
	tracepoint_probe_unregister(&__tracepoint_kvm_entry, ex_entry, NULL);
	tracepoint_synchronize_unregister();
no_entry:
	ex_timer_done();
	return err;
}

static void __exit ex_done(void)
{
	misc_deregister(&ctl);
	ex_debug_done();
	cancel_delayed_work_sync(&look);
	all_off(-1);
	ex_ipi_done();
	unregister_reboot_notifier(&end_block);
	unregister_pm_notifier(&sleep_block);
	cpuhp_remove_state_nocalls(hotplug);
	tracepoint_probe_unregister(&__tracepoint_kvm_exit, ex_exit, NULL);
	tracepoint_probe_unregister(&__tracepoint_kvm_entry, ex_entry, NULL);
	tracepoint_synchronize_unregister();
	ex_timer_done();
	flush_work(&gone_work);
}

module_init(ex_init);
module_exit(ex_done);
MODULE_DESCRIPTION("Direct interrupts and timer for vCPUs with a CPU of their own");
MODULE_LICENSE("GPL");
