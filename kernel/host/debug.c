// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/kernel/debug/exitless_kvm/lapic: the LAPIC of each CPU, as it is when read: the task
 * priority, and the vectors in service (isr) and pending (irr). To read it takes a guest out for a
 * moment.
 */
#include <linux/cpu.h>
#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "direct.h"
#include "lapic.h"

static struct dentry *dir;

struct lapic {
	u32 tpr, ppr;
	u32 isr[8], irr[8];
};

static void lapic_look(void *data)
{
	struct lapic *l = data;
	unsigned int i;

	l->tpr = ex_lapic_read(APIC_TASKPRI);
	l->ppr = ex_lapic_read(APIC_PROCPRI);
	for (i = 0; i < 8; i++) {
		l->isr[i] = ex_lapic_read(APIC_ISR + i * 16);
		l->irr[i] = ex_lapic_read(APIC_IRR + i * 16);
	}
}

static void vectors_show(struct seq_file *m, const char *name, const u32 *bits)
{
	const char *before = "";
	unsigned int v;

	seq_printf(m, " %s=", name);
	for (v = 0; v < 256; v++) {
		if (!(bits[v / 32] >> v % 32 & 1))
			continue;
		seq_printf(m, "%s%#x", before, v);
		before = ",";
	}
}

static int lapic_show(struct seq_file *m, void *data)
{
	struct lapic l;
	int cpu;

	cpus_read_lock();
	for_each_online_cpu(cpu) {
		if (smp_call_function_single(cpu, lapic_look, &l, 1))
			continue;
		seq_printf(m, "cpu=%d tpr=%#x ppr=%#x", cpu, l.tpr, l.ppr);
		vectors_show(m, "isr", l.isr);
		vectors_show(m, "irr", l.irr);
		seq_putc(m, '\n');
	}
	cpus_read_unlock();
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(lapic);

void ex_debug_init(void)
{
	dir = debugfs_create_dir("exitless_kvm", NULL);
	debugfs_create_file("lapic", 0400, dir, NULL, &lapic_fops);
	ex_selftest_init(dir);
}

void ex_debug_done(void)
{
	debugfs_remove(dir);
}
