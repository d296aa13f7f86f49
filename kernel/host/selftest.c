// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/kernel/debug/exitless_kvm/selftest: reading it tries on the running machine what cannot be
 * tried in user space, and tells by lines in KTAP (Documentation/dev-tools/ktap.rst).
 *
 *   btf        members are found in the kernel's BTF where the headers have them, too
 *   lapic      no CPU has a vector in service that nobody would end
 *   vector     on each CPU, an interrupt of our own comes through the host's IDT; one in service
 *              comes again if it is handed back, or another's, and is retired if it is the guest's
 *   timer      on each CPU, the LAPIC's timer obeys its mask
 *   idt        for each direct vCPU, at its next direct entry: a route that has changed is noticed;
 *              in the guest's IDT stands what is to stand there, and after that all is as it was,
 *              but for what the guest wrote
 *
 * Guests go on meanwhile. A CPU whose timer is a guest's keeps it.
 */
#include <linux/cpu.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "direct.h"
#include "lapic.h"

#define WAIT_MS 5000

struct tests {
	struct seq_file *m;
	unsigned int n, failed;
};

/* @error: NULL, or what is wrong; "skip ..." is not wrong. */
static void told(struct tests *t, const char *name, int cpu, const char *error)
{
	bool skipped = error && !strncmp(error, "skip", 4);
	bool failed = error && !skipped;

	t->n++;
	t->failed += failed;
	seq_printf(t->m, "%sok %u %s", failed ? "not " : "", t->n, name);
	if (cpu >= 0)
		seq_printf(t->m, " cpu%d", cpu);
	if (skipped)
		seq_printf(t->m, " # SKIP%s", error + 4);
	else if (failed)
		seq_printf(t->m, ": %s", error);
	seq_putc(t->m, '\n');
}

struct vector_test {
	int cpu;
	u8 vector;
	atomic_t calls;
	const char *error;
};

static void wrong(struct vector_test *v, bool is, const char *what)
{
	if (is && !v->error)
		v->error = what;
}

/* By the host's IDT, interrupts off, before the interrupt is acknowledged. */
static void vector_flow(struct irq_desc *desc)
{
	struct vector_test *v = irq_desc_get_handler_data(desc);
	u32 direct[8] = { 0 };
	unsigned int others = 0;

	wrong(v, raw_smp_processor_id() != v->cpu, "it came to another CPU");
	wrong(v, !ex_lapic_in_service(v->vector), "it came, and is not in service");
	switch (atomic_read(&v->calls) + 1) {
	case 1:
		wrong(v, ex_retire(direct, v->vector, &others) || others, "handed back as another");
		wrong(v, ex_lapic_in_service(v->vector), "handed back, and still in service");
		wrong(v, !ex_lapic_pending(v->vector), "handed back, and not pending");
		wrong(v, ex_retire(direct, v->vector, &others) || others, "handed back twice");
		break;
	case 2:
		memset(direct, 0xff, sizeof(direct));
		direct[v->vector / 32] &= ~BIT(v->vector % 32);
		wrong(v, ex_retire(direct, -1, &others) || others != 1, "retired as another's");
		wrong(v, ex_lapic_in_service(v->vector), "another's, and still in service");
		wrong(v, !ex_lapic_pending(v->vector), "another's, and not pending");
		break;
	case 3:
		direct[v->vector / 32] = BIT(v->vector % 32);
		wrong(v, ex_retire(direct, -1, &others) != 1 || others, "not retired");
		wrong(v, ex_lapic_in_service(v->vector), "retired, and still in service");
		wrong(v, ex_lapic_pending(v->vector), "retired, and pending");
		wrong(v, ex_retire(direct, -1, &others), "retired twice");
		break;
	default:
		desc->irq_data.chip->irq_ack(&desc->irq_data);
		wrong(v, ex_lapic_in_service(v->vector), "acknowledged, and still in service");
	}
	/* Only now: who waits for it may send the next. */
	atomic_inc_return(&v->calls);
}

static irqreturn_t vector_none(int irq, void *data)
{
	return IRQ_NONE;
}

/* On the CPU, interrupts off. */
static void vector_send(void *data)
{
	struct vector_test *v = data;

	wrong(v, ex_lapic_pending(v->vector), "pending before it is sent");
	ex_lapic_self(v->vector);
	wrong(v, !ex_lapic_pending(v->vector), "sent to itself, and not pending");
}

static void vector_end(void *data)
{
	struct vector_test *v = data;

	wrong(v, ex_lapic_pending(v->vector), "it stays pending");
	wrong(v, ex_lapic_in_service(v->vector), "it stays in service");
}

static void calls_await(struct vector_test *v, int n, const char *what)
{
	unsigned int waited;

	for (waited = 0; waited < WAIT_MS && atomic_read(&v->calls) < n; waited++)
		msleep(1);
	wrong(v, atomic_read(&v->calls) != n, what);
}

static const char *vector_test(int cpu)
{
	struct vector_test v = { .cpu = cpu };
	int irq = ex_irq_new(cpu, vector_flow, vector_none, &v);

	if (irq < 0)
		return "no interrupt to be had";
	v.vector = ex_irq_vector(irq, cpu);
	smp_call_function_single(cpu, vector_send, &v, 1);
	calls_await(&v, 3, "sent, handed back and another's, it did not come three times");
	local_irq_disable();
	ex_lapic_send(cpu, APIC_DM_FIXED | v.vector);
	local_irq_enable();
	calls_await(&v, 4, "from another CPU, it did not come");
	smp_call_function_single(cpu, vector_end, &v, 1);
	ex_irq_free(irq, &v);
	return v.error;
}

/* An interrupt handler that is called by IPI has ended its own. */
static void lapic_look(void *data)
{
	const char **error = data;
	unsigned int i;

	for (i = 0; i < 8; i++)
		if (ex_lapic_read(APIC_ISR + i * 16))
			*error = "a vector is in service, with nobody to end it";
	if (ex_lapic_read(APIC_TASKPRI) > 0x10)
		*error = "the task priority keeps interrupts off";
}

static const char *lapic_test(int cpu)
{
	const char *error = NULL;

	smp_call_function_single(cpu, lapic_look, &error, 1);
	return error;
}

static const char *trouble(void)
{
	return ex_trouble.lines ? "a vector was given up while still pending"
	       : ex_trouble.icr ? "the LAPIC was slow to send an interrupt"
	       : ex_trouble.isr ? "a vector was in service, with nobody to end it"
				: NULL;
}

struct ex_idt_test {
	const char *error;
	bool done;
	struct ex_map map;
	u8 before[EX_IDT_BYTES], now[EX_IDT_BYTES], want[EX_IDT_BYTES];
};

#define GATE(page, v) ((page) + (v)*EX_GATE_BYTES)

/* Another way than ex_gates_compose(): by what may stand at each vector. */
static void gates_want(const struct ex_vcpu *d, const struct ex_map *map, struct ex_idt_test *t)
{
	u32 v, i, bytes = d->idt.bytes;

	memcpy(t->want, t->before, EX_IDT_BYTES);
	for (v = EX_VECTORS_FROM; v * EX_GATE_BYTES < bytes; v++) {
		if (v == EX_SYSCALL)
			continue;
		memset(GATE(t->want, v), 0, EX_GATE_BYTES);
		for (i = 0; i < map->n; i++)
			if (map->route[i].host == v)
				memcpy(GATE(t->want, v), GATE(t->before, map->route[i].guest),
				       EX_GATE_BYTES);
		if (v == EX_TIMER_VECTOR && d->timer_own)
			memcpy(GATE(t->want, v), GATE(t->before, d->lvtt & 0xff), EX_GATE_BYTES);
	}
}

/* A vector whose gate is empty in a direct entry; 0: there is none. */
static u32 gate_free(const struct ex_idt_test *t)
{
	u32 v;

	for (v = EX_VECTORS_FROM; v < EX_TIMER_VECTOR; v++)
		if (!memchr_inv(GATE(t->want, v), 0, EX_GATE_BYTES))
			return v;
	return 0;
}

/* Any other vector than KVM has is to be noticed. */
static const char *routes_try(struct ex_vcpu *d, struct ex_map *map)
{
	unsigned int i;
	bool same;

	for (i = 0; i < map->n; i++) {
		if (map->route[i].ipi)
			continue;
		map->route[i].guest ^= 1;
		same = ex_routes_same(d, map);
		map->route[i].guest ^= 1;
		if (same)
			return "a route that KVM has not is taken for one";
	}
	return NULL;
}

static const char *idt_try(struct ex_vcpu *d, const struct ex_map *map, struct ex_idt_test *t)
{
	struct ex_idt idt;
	u8 gate[EX_GATE_BYTES];
	u32 v;

	/* As where its page is not there for a moment: this entry is stock. */
	if (ex_idt_put(d, map, &idt) != EX_DIRECT)
		return "skip: it cannot be built now";
	ex_idt_restore(d);
	if (copy_from_user_nofault(t->before, d->idt.where, EX_IDT_BYTES))
		return "it cannot be read";
	if (memcmp(t->before, d->idt.guest, EX_IDT_BYTES))
		return "it is not put back as it was";
	if (ex_idt_put(d, map, &idt) != EX_DIRECT)
		return "it cannot be built again";
	gates_want(d, map, t);
	if (copy_from_user_nofault(t->now, d->idt.where, EX_IDT_BYTES))
		return "it cannot be read again";
	if (idt.base) {
		ex_idt_restore(d);
		if (memcmp(t->now, t->before, EX_IDT_BYTES))
			return "the guest's own was written, though it has a shadow";
		return memcmp(d->shadow.left, t->want, d->idt.bytes) ? "the shadow is wrong" : NULL;
	}
	if (memcmp(t->now, t->want, EX_IDT_BYTES)) {
		ex_idt_restore(d);
		return "a gate is wrong";
	}
	/* As a guest writes a gate. */
	v = gate_free(t);
	memset(gate, 0xa5, sizeof(gate));
	if (v && copy_to_user_nofault(GATE(d->idt.where, v), gate, sizeof(gate)))
		v = 0;
	ex_idt_restore(d);
	if (copy_from_user_nofault(t->now, d->idt.where, EX_IDT_BYTES))
		return "it cannot be read after that";
	if (v) {
		if (memcmp(GATE(t->now, v), gate, sizeof(gate)))
			return "what the guest wrote is lost";
		memcpy(GATE(t->now, v), GATE(t->before, v), sizeof(gate));
		if (copy_to_user_nofault(GATE(d->idt.where, v), GATE(t->before, v), sizeof(gate)))
			return "it cannot be written";
	}
	return memcmp(t->now, t->before, EX_IDT_BYTES) ? "it is not put back" : NULL;
}

void ex_idt_test(struct ex_vcpu *d, const struct ex_map *map)
{
	struct ex_idt_test *t = d->test;

	t->map = *map;
	t->error = routes_try(d, &t->map) ?: idt_try(d, map, t);
	WRITE_ONCE(d->test, NULL);
	/* Who waits for it frees it. */
	smp_store_release(&t->done, true);
}

static void nothing(void *data)
{
}

/* On the CPU, interrupts off: an entry is after it, or was before. */
static void idt_cancel(void *data)
{
	struct ex_vcpu *d = data;

	WRITE_ONCE(d->test, NULL);
}

static void idt_test(struct ex_vcpu *d, void *data)
{
	struct tests *all = data;
	struct ex_idt_test *t = kvzalloc(sizeof(*t), GFP_KERNEL);
	unsigned int waited;

	if (!t) {
		told(all, "idt", d->cpu, "no memory");
		return;
	}
	WRITE_ONCE(d->test, t);
	for (waited = 0; waited < WAIT_MS; waited++) {
		/* ex_idt_test() is done with it. */
		if (smp_load_acquire(&t->done))
			break;
		/* One that runs enters anew. */
		smp_call_function_single(d->cpu, nothing, NULL, 1);
		msleep(1);
	}
	if (!t->done)
		smp_call_function_single(d->cpu, idt_cancel, d, 1);
	told(all, "idt", d->cpu, t->done ? t->error : "skip: no direct entry came");
	kvfree(t);
}

static void tests_run(void *data)
{
	struct tests *t = data;
	int cpu;

	told(t, "btf", -1, ex_btf_test(ex_ops->btf));
	for_each_online_cpu(cpu) {
		told(t, "lapic", cpu, lapic_test(cpu));
		told(t, "vector", cpu, vector_test(cpu));
		told(t, "timer", cpu, ex_timer_test(cpu));
		told(t, "lapic", cpu, lapic_test(cpu));
	}
	ex_all_locked(idt_test, t);
	told(t, "trouble", -1, trouble());
}

static int selftest_show(struct seq_file *m, void *data)
{
	struct tests t = { .m = m };
	int cpu;

	seq_puts(m, "KTAP version 1\n");
	for_each_online_cpu(cpu)
		ex_timer_find(cpu);
	cpus_read_lock();
	ex_locked(tests_run, &t);
	cpus_read_unlock();
	seq_printf(m, "1..%u\n# %u failed\n", t.n, t.failed);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(selftest);

void ex_selftest_init(struct dentry *dir)
{
	debugfs_create_file("selftest", 0400, dir, NULL, &selftest_fops);
}
