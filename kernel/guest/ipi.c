// SPDX-License-Identifier: GPL-2.0-only
/*
 * With the parameter ipi=1, and a host that allows it: this guest's IPIs go from vCPU to vCPU
 * without an exit (uapi/exitless_direct.h). All functions of the kernel that write the interrupt
 * command register are replaced; they are those that the APIC's driver names. Most can be by way of
 * ftrace, as live patching does. What starts CPUs is an inline function, which ftrace does not
 * know: that by a kprobe.
 */
#include <linux/cpumask.h>
#include <linux/ftrace.h>
#include <linux/irqflags.h>
#include <linux/kprobes.h>
#include <linux/smp.h>

#include <asm/apic.h>
#include <asm/barrier.h>
#include <asm/irq_vectors.h>
#include <asm/msr.h>

#include "../uapi/exitless_direct.h"
#include "guest.h"

#define MSR_ICR (APIC_BASE_MSR + (APIC_ICR >> 4))

static u64 entry_of(const u64 *table, u32 id, u8 vector)
{
	unsigned int i;
	u64 entry;

	if (id >= EX_IPI_IDS)
		return 0;
	for (i = 0; i < EX_IPI_SLOTS; i++) {
		entry = READ_ONCE(table[id * EX_IPI_SLOTS + i]);
		if (entry && (u8)(entry >> EX_IPI_GUEST_SHIFT) == vector)
			return entry & ~(u64)EX_IPI_GUEST_MASK;
	}
	return 0;
}

/* Not 0: there is no host that takes it. RCX comes back changed, as from any call that is not
 * inlined, and here nothing needs it after that. */
static noinline int host_send(u64 command)
{
	return wrmsr_safe(EX_MSR_ICR, (u32)command, command >> 32);
}

/* Interrupts off. */
static notrace void stock_send(const struct guest_cpu *c, u64 command)
{
	if (!c->ipi || host_send(command))
		native_wrmsr(MSR_ICR, (u32)command, command >> 32);
}

static void command_send(u64 command)
{
	const struct guest_cpu *c;
	unsigned long flags;

	local_irq_save(flags);
	c = this_cpu_ptr(&guest_cpu);
	stock_send(c, command);
	local_irq_restore(flags);
}

static void send(unsigned int cpu, int vector)
{
	u32 id = per_cpu(x86_cpu_to_apicid, cpu);
	const struct guest_cpu *c;
	unsigned long flags;
	u64 entry, command;

	command = (u64)id << 32 | (vector == NMI_VECTOR ? APIC_DM_NMI : (u32)vector);
	/* What the other is to see is written before (x2APIC writes do not wait for
	 * it). */
	weak_wrmsr_fence();
	local_irq_save(flags);
	c = this_cpu_ptr(&guest_cpu);
	entry = c->ipi && vector != NMI_VECTOR ? entry_of(c->ipi_page, id, vector) : 0;
	if (entry) {
		register u64 magic asm("r8") = EX_IPI_MAGIC;
		u32 low = entry, high = entry >> 32;

		asm volatile("wrmsr"
			     : "+a"(low), "+d"(high)
			     : "c"(MSR_ICR), "b"(command), "r"(magic)
			     : "memory");
	} else {
		stock_send(c, command);
	}
	local_irq_restore(flags);
}

static void one(int cpu, int vector)
{
	send(cpu, vector);
}

static void mask(const struct cpumask *cpus, int vector)
{
	unsigned int cpu;

	for_each_cpu(cpu, cpus)
		send(cpu, vector);
}

static void mask_but_self(const struct cpumask *cpus, int vector)
{
	unsigned int cpu, self = raw_smp_processor_id();

	for_each_cpu(cpu, cpus)
		if (cpu != self)
			send(cpu, vector);
}

static void all_but_self(int vector)
{
	mask_but_self(cpu_online_mask, vector);
}

static void all(int vector)
{
	mask(cpu_online_mask, vector);
}

static void icr_write(u32 low, u32 id)
{
	weak_wrmsr_fence();
	command_send((u64)id << 32 | low);
}

static struct hook {
	struct ftrace_ops ops;
	void *to;
	bool on;
} hooks[5];

static notrace void redirect(unsigned long ip, unsigned long parent, struct ftrace_ops *ops,
			     struct ftrace_regs *regs)
{
	ftrace_regs_set_instruction_pointer(regs,
					    (unsigned long)container_of(ops, struct hook, ops)->to);
}

static int icr_write_redirect(struct kprobe *probe, struct pt_regs *regs)
{
	regs->ip = (unsigned long)icr_write;
	return 1;
}

/* With one of these the probe is not turned into a jump, which would go on where it is. */
static void icr_write_after(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
}

static struct kprobe icr_write_probe = {
	.pre_handler = icr_write_redirect,
	.post_handler = icr_write_after,
};
static bool icr_write_probed;

static int hook_set(struct hook *h, void *from, void *to)
{
	int err;

	h->to = to;
	h->ops.func = redirect;
	h->ops.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT;
	err = ftrace_set_filter_ip(&h->ops, (unsigned long)from, 0, 0);
	if (!err)
		err = register_ftrace_function(&h->ops);
	h->on = !err;
	return err;
}

void guest_ipi_done(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(hooks); i++)
		if (hooks[i].on)
			unregister_ftrace_function(&hooks[i].ops);
	if (icr_write_probed)
		unregister_kprobe(&icr_write_probe);
}

int guest_ipi_init(void)
{
	int err;

	if (!x2apic_enabled())
		return -EOPNOTSUPP;
	err = hook_set(&hooks[0], apic->send_IPI, one);
	if (!err)
		err = hook_set(&hooks[1], apic->send_IPI_mask, mask);
	if (!err)
		err = hook_set(&hooks[2], apic->send_IPI_mask_allbutself, mask_but_self);
	if (!err)
		err = hook_set(&hooks[3], apic->send_IPI_allbutself, all_but_self);
	if (!err)
		err = hook_set(&hooks[4], apic->send_IPI_all, all);
	if (!err) {
		icr_write_probe.addr = (kprobe_opcode_t *)apic->icr_write;
		err = register_kprobe(&icr_write_probe);
		icr_write_probed = !err;
	}
	if (err) {
		pr_err("this kernel's IPIs cannot be replaced (%d)\n", err);
		guest_ipi_done();
	}
	return err;
}
