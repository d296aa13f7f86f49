// SPDX-License-Identifier: BSD-2-Clause
/*
 * A guest of a few instructions and the VMM for it: for machines too slow for Linux as L2, and for
 * a guest that does what no honest one would.
 *
 *	tiny [bus=NS] CPU [CPU]
 *	tiny noapic CPU [CPU]
 *
 * A vCPU for each CPU, with its thread pinned there; its LAPIC's timer counts by NS nanoseconds, 1
 * by default; "noapic": it has none in the kernel, and no interrupts. "pid N" tells that the guest
 *runs. Commands come on standard input, one per line; each is answered by one line. VCPU is 0 if it
 *is not given:
 *
 *	mode NAME [VCPU]  what that vCPU does from now on
 *	kick N [VCPU]     N times: an eventfd is written, and the vCPU's interrupt awaited
 *	poke [VCPU]       an eventfd is written, and nothing awaited
 *	show [VCPU]       counters: name=value...; vN=count for vectors
 *	regs [VCPU]       where it is in the guest, which it leaves for a moment
 *	timer [VCPU]      the VMM has it for a while, and reads the LAPIC's timer from KVM
 *	out [VCPU]        the VMM has it until it is asked for the timer
 *	drop N [VCPU]     N times: a tick that waits as the guest changes the timer's mode, by mode
 *	                  "drop", and is awaited
 *	tsc N [VCPU]      the guest's time-stamp counter is the host's plus N
 *	ones [VCPU]       its table for IPIs is overwritten with ones
 *	table [VCPU]      ones=1: so it still is; logged=1: it is in KVM's log of what is written
 *	log N             the guest's memory is logged from now on (1), or is not (0)
 *	away [VCPU]       the VMM has it for a while, in xAPIC mode as after a reset and with the
 *	                  table overwritten with ones
 *	take [VCPU]       the page of its shadow IDT is not there, and who touches it waits
 *	give              ends that: the page is there, and empty
 *	move N            N times: the guest's memory goes to the other of two NUMA nodes and
 *	                  back, and each vCPU's interrupt is awaited; idt=N: so often its IDT
 *	                  went, too
 *	end               the guest ends, and the VMM
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tiny.h"

#ifndef KVM_CAP_X86_APIC_BUS_CYCLES_NS
#define KVM_CAP_X86_APIC_BUS_CYCLES_NS 237
#endif

#define VECTOR	0x51
#define GSI	24
#define LATE_NS 20000000000ull /* far more than a busy machine needs */
#define PAGE	4096
#define OUT_US	100000

extern const uint8_t tiny_code[], tiny_code_end[], tiny_stubs[], tiny_stubs_end[];

static const char *const modes[] = {
	[TINY_SPIN] = "spin",	[TINY_LIDT] = "lidt",	      [TINY_GP] = "gp",
	[TINY_CLI] = "cli",	[TINY_LOST_IDT] = "lost-idt", [TINY_MSRS] = "msrs",
	[TINY_GATES] = "gates", [TINY_HALT] = "halt",	      [TINY_END] = "end",
	[TINY_LIAR] = "liar",	[TINY_SHADOW_IDT] = "shadow", [TINY_TICK] = "tick",
	[TINY_COUNT] = "count", [TINY_LDTR] = "ldtr",	      [TINY_IPIS] = "ipis",
	[TINY_STEAL] = "steal", [TINY_RAISED] = "raised",     [TINY_DROP] = "drop",
	[TINY_INT] = "int",
};

/* Not aligned; not canonical; not memory; not mapped; in use for something else. */
static const uint64_t lies[TINY_N_LIES] = {
	TINY_SHADOW + 8, 1ull << 63, 0x3ff00000, 0x40000000, TINY_PML4, TINY_IDT, TINY_CODE, ~0ull,
};

static uint8_t *memory;
static struct kvm_userspace_memory_region region = { .memory_size = TINY_MEMORY };
static int kvm, vm, n_vcpus, uffd = -1;
static struct vcpu {
	int fd, cpu, kick_fd;
	uint32_t apart; /* its own data, from the first one's */
	struct kvm_run *run;
	pthread_t thread;
	/* Answered by the thread. */
	volatile int regs_wanted, timer_wanted, tsc_wanted, away_wanted, out_wanted;
	uint64_t tsc_offset;
} vcpus[TINY_VCPUS];

static void die(const char *what)
{
	fprintf(stderr, "tiny: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int call(int fd, unsigned long request, void *arg, const char *what)
{
	int result = ioctl(fd, request, arg);

	if (result < 0)
		die(what);
	return result;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void put64(uint32_t at, uint64_t value)
{
	memcpy(memory + at, &value, 8);
}

static volatile uint64_t *counter(uint32_t at)
{
	return (volatile uint64_t *)(memory + at);
}

static volatile uint32_t *word(uint32_t at)
{
	return (volatile uint32_t *)(memory + at);
}

static void descriptor(uint32_t at, uint64_t base)
{
	uint16_t limit = 4095;

	memcpy(memory + at, &limit, 2);
	memcpy(memory + at + 2, &base, 8);
}

static void memory_fill(void)
{
	memory = mmap(NULL, TINY_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("memory");
	put64(TINY_PML4, TINY_PDPT | 3);
	put64(TINY_PDPT, TINY_PD | 3);
	for (uint64_t i = 0; i < 512; i++)
		put64((uint32_t)(TINY_PD + i * 8), i << 21 | 0x83);
	put64(TINY_GDT + 8, 0x00af9b000000ffffull);
	put64(TINY_GDT + 16, 0x00cf93000000ffffull);
	memcpy(memory + TINY_CODE, tiny_code, (size_t)(tiny_code_end - tiny_code));
	memcpy(memory + TINY_STUBS, tiny_stubs, (size_t)(tiny_stubs_end - tiny_stubs));
	for (uint32_t v = 0; v < 256; v++) {
		uint64_t to = TINY_STUBS + v * TINY_STUB;

		put64(TINY_IDT + v * 16,
		      (to & 0xffff) | 8 << 16 | 0x8e00ull << 32 | to >> 16 << 48);
		put64(TINY_IDT + v * 16 + 8, 0);
	}
	for (uint32_t i = 0; i < TINY_N_LIES; i++)
		put64(TINY_LIES + i * 8, lies[i]);
	descriptor(TINY_IDTR, TINY_IDT);
	descriptor(TINY_LOST_IDTR, 0x3ff00000);
}

static void cpuid_set(const struct vcpu *v)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));

	if (!cpuid)
		die("cpuid");
	cpuid->nent = 256;
	call(kvm, KVM_GET_SUPPORTED_CPUID, cpuid, "KVM_GET_SUPPORTED_CPUID");
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 1)
			cpuid->entries[i].ecx |= 1u << 21 | 1u << 24; /* x2APIC, TSC deadline */
	call(v->fd, KVM_SET_CPUID2, cpuid, "KVM_SET_CPUID2");
	free(cpuid);
}

static void registers_set(const struct vcpu *v)
{
	struct kvm_segment code = {
		.limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	struct kvm_segment data = {
		.limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1
	};
	struct kvm_regs regs = {
		.rip = TINY_CODE, .rsp = TINY_STACK + v->apart, .r15 = v->apart, .rflags = 2
	};
	struct kvm_mp_state state = { KVM_MP_STATE_RUNNABLE };
	struct kvm_sregs sregs;

	call(v->fd, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.gdt.base = TINY_GDT;
	sregs.gdt.limit = 23;
	sregs.idt.base = TINY_IDT;
	sregs.idt.limit = 4095;
	sregs.cr3 = TINY_PML4;
	sregs.cr4 |= 1 << 5;		      /* PAE */
	sregs.cr0 = 0x80010033;		      /* PG, WP, NE, ET, MP, PE */
	sregs.efer = 0x500;		      /* LMA, LME */
	sregs.apic_base |= 1 << 11 | 1 << 10; /* enabled, x2APIC */
	call(v->fd, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
	call(v->fd, KVM_SET_REGS, &regs, "KVM_SET_REGS");
	call(v->fd, KVM_SET_MP_STATE, &state, "KVM_SET_MP_STATE");
}

/* Each vCPU has an interrupt, by its APIC ID. */
static void interrupts_set(void)
{
	struct {
		struct kvm_irq_routing routing;
		struct kvm_irq_routing_entry entry[TINY_VCPUS];
	} table = { .routing.nr = (uint32_t)n_vcpus };

	for (int i = 0; i < n_vcpus; i++) {
		table.entry[i].gsi = GSI + (uint32_t)i;
		table.entry[i].type = KVM_IRQ_ROUTING_MSI;
		table.entry[i].u.msi.address_lo = 0xfee00000 | (uint32_t)i << 12;
		table.entry[i].u.msi.data = VECTOR;
	}
	call(vm, KVM_SET_GSI_ROUTING, &table, "KVM_SET_GSI_ROUTING");
	for (int i = 0; i < n_vcpus; i++) {
		struct kvm_irqfd irqfd = { .gsi = GSI + (uint32_t)i };

		vcpus[i].kick_fd = eventfd(0, EFD_CLOEXEC);
		if (vcpus[i].kick_fd < 0)
			die("eventfd");
		irqfd.fd = (uint32_t)vcpus[i].kick_fd;
		call(vm, KVM_IRQFD, &irqfd, "KVM_IRQFD");
	}
}

static void regs_show(const struct vcpu *v)
{
	struct kvm_vcpu_events events;
	struct kvm_regs regs;

	call(v->fd, KVM_GET_REGS, &regs, "KVM_GET_REGS");
	call(v->fd, KVM_GET_VCPU_EVENTS, &events, "KVM_GET_VCPU_EVENTS");
	printf("rip=%#llx rflags=%#llx rsp=%#llx shadow=%u injected=%u nmi_masked=%u\n",
	       (unsigned long long)regs.rip, (unsigned long long)regs.rflags,
	       (unsigned long long)regs.rsp, events.interrupt.shadow, events.interrupt.injected,
	       events.nmi.masked);
}

static uint32_t lapic_reg(const struct kvm_lapic_state *lapic, uint32_t at)
{
	uint32_t value;

	memcpy(&value, lapic->regs + at, sizeof(value));
	return value;
}

/* As a VMM that stops the machine to save it. */
static void timer_show(const struct vcpu *v)
{
	struct kvm_lapic_state lapic;

	usleep(OUT_US);
	call(v->fd, KVM_GET_LAPIC, &lapic, "KVM_GET_LAPIC");
	printf("lvtt=%#x tmict=%u tmcct=%u\n", lapic_reg(&lapic, 0x320), lapic_reg(&lapic, 0x380),
	       lapic_reg(&lapic, 0x390));
}

static void tsc_set(const struct vcpu *v)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uint64_t)(uintptr_t)&v->tsc_offset,
	};

	call(v->fd, KVM_SET_DEVICE_ATTR, &attr, "KVM_VCPU_TSC_OFFSET");
	printf("tsc %llu\n", (unsigned long long)v->tsc_offset);
}

static void ones(const struct vcpu *v)
{
	memset(memory + TINY_TABLE + v->apart, 0xff, PAGE);
}

static bool are_ones(const struct vcpu *v)
{
	const uint8_t *page = memory + TINY_TABLE + v->apart;

	return page[0] == 0xff && !memcmp(page, page + 1, PAGE - 1);
}

static void apic_base_set(const struct vcpu *v, uint64_t bits)
{
	struct kvm_sregs sregs;

	call(v->fd, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
	sregs.apic_base = (sregs.apic_base & ~(3ull << 10)) | bits;
	call(v->fd, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
}

/* As a VMM that resets the machine, and whose guest has not started this vCPU again. */
static void away_show(const struct vcpu *v)
{
	apic_base_set(v, 2 << 10);
	ones(v);
	usleep(5 * OUT_US);
	printf("ones=%d\n", are_ones(v));
	apic_base_set(v, 3 << 10);
}

static void on_signal(int number)
{
	(void)number;
}

static void *vcpu_run(void *arg)
{
	struct vcpu *v = arg;
	const struct kvm_run *run = v->run;
	char name[16];
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)v->cpu, &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
		die("affinity");
	snprintf(name, sizeof(name), "CPU %d/KVM", (int)(v - vcpus));
	pthread_setname_np(pthread_self(), name);
	for (;;) {
		if (ioctl(v->fd, KVM_RUN, NULL) < 0 && errno != EINTR && errno != EAGAIN)
			die("KVM_RUN");
		if (v->regs_wanted) {
			regs_show(v);
			v->regs_wanted = 0;
		}
		if (v->out_wanted) {
			printf("out\n");
			v->out_wanted = 0;
			while (!v->timer_wanted)
				usleep(1000);
		}
		if (v->timer_wanted) {
			timer_show(v);
			v->timer_wanted = 0;
		}
		if (v->tsc_wanted) {
			tsc_set(v);
			v->tsc_wanted = 0;
		}
		if (v->away_wanted) {
			away_show(v);
			v->away_wanted = 0;
		}
		if (run->exit_reason == KVM_EXIT_IO && *word(TINY_MODE + v->apart) == TINY_END)
			return NULL;
		if (run->exit_reason != KVM_EXIT_IO && run->exit_reason != KVM_EXIT_INTR) {
			printf("guest ended: exit reason %u\n", run->exit_reason);
			fflush(stdout);
			return NULL;
		}
	}
}

static void kick_write(const struct vcpu *v)
{
	uint64_t one = 1;

	if (write(v->kick_fd, &one, sizeof(one)) != sizeof(one))
		die("kick");
}

static void poke(const struct vcpu *v)
{
	kick_write(v);
	printf("poked\n");
}

/* False: it was not taken. */
static bool kick_once(const struct vcpu *v)
{
	volatile uint64_t *count = counter(TINY_COUNTS + v->apart + VECTOR * 8);
	uint64_t before = *count, begin = now_ns();

	kick_write(v);
	while (*count == before)
		if (now_ns() - begin > LATE_NS)
			return false;
	return true;
}

static void kick(const struct vcpu *v, unsigned long n)
{
	unsigned long i;

	for (i = 0; i < n; i++)
		if (!kick_once(v)) {
			printf("late after %lu\n", i);
			return;
		}
	printf("taken %lu\n", i);
}

/* All pages to a node, the IDT's before all others. Is that one there now? */
static bool pages_move(int node)
{
	static void *page[TINY_MEMORY / PAGE];
	static int to[TINY_MEMORY / PAGE], status[TINY_MEMORY / PAGE];

	for (int i = 0; i < TINY_MEMORY / PAGE; i++) {
		int of = i == 0 ? TINY_IDT / PAGE : i == TINY_IDT / PAGE ? 0 : i;

		page[i] = memory + of * PAGE;
		to[i] = node;
		status[i] = -1;
	}
	if (syscall(SYS_move_pages, 0, TINY_MEMORY / PAGE, page, to, status, MPOL_MF_MOVE) < 0)
		die("move_pages");
	return status[0] == node;
}

/* Each vCPU goes some times around its loop. */
static void beats_await(void)
{
	for (int i = 0; i < n_vcpus; i++) {
		volatile uint64_t *beats = counter(TINY_BEATS + vcpus[i].apart);
		uint64_t begin = now_ns(), before = *beats;

		while (*beats < before + 1000 && now_ns() - begin < LATE_NS)
			sched_yield();
	}
}

/* After the first move of two the guest runs, but KVM has its IDT not mapped, as no interrupt has
 * come: so the second takes that away without a look of KVM's at the guest, and the other pages,
 * which it uses, make it exit while it is away. */
static void move(unsigned long n)
{
	unsigned long i, idt = 0;
	bool taken = true;

	for (i = 0; i < n && taken; i++) {
		idt += pages_move(1);
		beats_await();
		idt += pages_move(0);
		for (int v = 0; v < n_vcpus && taken; v++)
			taken = kick_once(&vcpus[v]);
	}
	printf("%s %lu idt=%lu\n", taken ? "taken" : "late after", i, idt);
}

static bool mode_await(const struct vcpu *v, uint32_t mode)
{
	volatile uint32_t *seen = word(TINY_MODE_SEEN + v->apart);
	uint64_t begin = now_ns();

	*word(TINY_MODE + v->apart) = mode;
	while (*seen != mode && now_ns() - begin < LATE_NS)
		sched_yield();
	return *seen == mode;
}

static void mode_set(const struct vcpu *v, const char *name)
{
	uint32_t i;

	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcmp(name, modes[i]))
			break;
	if (i == sizeof(modes) / sizeof(modes[0])) {
		printf("no such mode\n");
		return;
	}
	printf("%s %s\n", mode_await(v, i) ? "mode" : "late", name);
}

static bool counted(volatile uint64_t *count, uint64_t to)
{
	uint64_t begin = now_ns();

	while (*count < to && now_ns() - begin < LATE_NS)
		sched_yield();
	return *count >= to;
}

/* The guest's timer has expired by the clock as it says so. All timers of an emulated machine are
 * run by one thread, in their order, and by two of this CPU's it has come to those of before. */
static void drop(const struct vcpu *v, unsigned long n)
{
	volatile uint64_t *armed = counter(TINY_ARMED + v->apart);
	volatile uint64_t *go = counter(TINY_GO + v->apart);
	volatile uint64_t *done = counter(TINY_DONE + v->apart);
	bool ok = mode_await(v, TINY_DROP);
	unsigned long i;

	for (i = 0; i < n && ok; i += ok) {
		uint64_t before = *done;

		ok = counted(armed, *go + 1);
		usleep(1000);
		usleep(1000);
		*go = *armed;
		ok = ok && counted(done, before + 1);
	}
	mode_await(v, TINY_SPIN);
	*go = *armed;
	printf("%s %lu\n", ok ? "dropped" : "late after", i);
}

static void show(const struct vcpu *v)
{
	printf("beats=%llu done=%llu twice=%llu late=%llu",
	       (unsigned long long)*counter(TINY_BEATS + v->apart),
	       (unsigned long long)*counter(TINY_DONE + v->apart),
	       (unsigned long long)*counter(TINY_TWICE + v->apart),
	       (unsigned long long)*counter(TINY_LATE + v->apart));
	for (uint32_t i = 0; i < 256; i++) {
		unsigned long long n = *counter(TINY_COUNTS + v->apart + i * 8);

		if (n)
			printf(" v%u=%llu", i, n);
	}
	printf("\n");
}

/* Its thread is to do what @wanted asks for. */
static void have_done(const struct vcpu *v, volatile int *wanted)
{
	*wanted = 1;
	pthread_kill(v->thread, SIGUSR1);
	while (*wanted)
		sched_yield();
}

static void tsc(struct vcpu *v, uint64_t offset)
{
	v->tsc_offset = offset;
	have_done(v, &v->tsc_wanted);
}

static void table_show(const struct vcpu *v)
{
	uint64_t bits[TINY_MEMORY / PAGE / 64] = { 0 };
	struct kvm_dirty_log log = { .slot = region.slot, .dirty_bitmap = bits };
	uint32_t page = (TINY_TABLE + v->apart) / PAGE;

	if (region.flags)
		call(vm, KVM_GET_DIRTY_LOG, &log, "KVM_GET_DIRTY_LOG");
	printf("ones=%d logged=%d\n", are_ones(v), (int)(bits[page / 64] >> page % 64 & 1));
}

static void log_set(bool on)
{
	region.flags = on ? KVM_MEM_LOG_DIRTY_PAGES : 0;
	call(vm, KVM_SET_USER_MEMORY_REGION, &region, "memory region");
	printf("log %d\n", on);
}

/* As a VMM that gets its guest's memory over a network, of which nothing comes. */
static void shadow_take(const struct vcpu *v)
{
	uint8_t *page = memory + TINY_SHADOW + v->apart;
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register missing = {
		.range = { .start = (uintptr_t)page, .len = PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0)
		die("userfaultfd");
	call(uffd, UFFDIO_API, &api, "UFFDIO_API");
	call(uffd, UFFDIO_REGISTER, &missing, "UFFDIO_REGISTER");
	if (madvise(page, PAGE, MADV_REMOVE))
		die("MADV_REMOVE");
	printf("take\n");
}

static void shadow_give(void)
{
	close(uffd);
	printf("give\n");
}

static void vcpu_new(int i)
{
	struct vcpu *v = &vcpus[i];

	v->apart = (uint32_t)i * TINY_APART;
	v->fd = call(vm, KVM_CREATE_VCPU, (void *)(long)i, "KVM_CREATE_VCPU");
	v->run = mmap(NULL,
		      (size_t)call(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL, "KVM_GET_VCPU_MMAP_SIZE"),
		      PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED)
		die("kvm_run");
	cpuid_set(v);
	registers_set(v);
}

static void vcpu_start(struct vcpu *v)
{
	if (pthread_create(&v->thread, NULL, vcpu_run, v))
		die("thread");
	while (!*counter(TINY_BEATS + v->apart))
		sched_yield();
}

/* One command, answered. False: the end. */
static bool obey(char *line)
{
	char *verb = strtok(line, " "), *word[2] = { strtok(NULL, " "), strtok(NULL, " ") };
	bool two = verb && (!strcmp(verb, "mode") || !strcmp(verb, "kick") ||
			    !strcmp(verb, "tsc") || !strcmp(verb, "log") || !strcmp(verb, "drop"));
	const char *which = two ? word[1] : word[0];
	int i = which && strcmp(verb, "move") != 0 ? atoi(which) : 0;

	if (!verb || (two && !word[0]) || i < 0 || i >= n_vcpus)
		printf("what?\n");
	else if (!strcmp(verb, "mode"))
		mode_set(&vcpus[i], word[0]);
	else if (!strcmp(verb, "tsc"))
		tsc(&vcpus[i], strtoull(word[0], NULL, 0));
	else if (!strcmp(verb, "kick"))
		kick(&vcpus[i], strtoul(word[0], NULL, 0));
	else if (word[0] && !strcmp(verb, "move"))
		move(strtoul(word[0], NULL, 0));
	else if (!strcmp(verb, "drop"))
		drop(&vcpus[i], strtoul(word[0], NULL, 0));
	else if (!strcmp(verb, "poke"))
		poke(&vcpus[i]);
	else if (!strcmp(verb, "show"))
		show(&vcpus[i]);
	else if (!strcmp(verb, "regs"))
		have_done(&vcpus[i], &vcpus[i].regs_wanted);
	else if (!strcmp(verb, "timer"))
		have_done(&vcpus[i], &vcpus[i].timer_wanted);
	else if (!strcmp(verb, "out"))
		have_done(&vcpus[i], &vcpus[i].out_wanted);
	else if (!strcmp(verb, "away"))
		have_done(&vcpus[i], &vcpus[i].away_wanted);
	else if (!strcmp(verb, "table"))
		table_show(&vcpus[i]);
	else if (!strcmp(verb, "take"))
		shadow_take(&vcpus[i]);
	else if (!strcmp(verb, "give"))
		shadow_give();
	else if (!strcmp(verb, "log"))
		log_set(*word[0] == '1');
	else if (!strcmp(verb, "ones")) {
		ones(&vcpus[i]);
		printf("ones\n");
	} else if (!strcmp(verb, "end"))
		return false;
	else
		printf("what?\n");
	fflush(stdout);
	return true;
}

int main(int argc, char **argv)
{
	struct kvm_enable_cap bus = { .cap = KVM_CAP_X86_APIC_BUS_CYCLES_NS };
	bool apic = argc < 2 || strcmp(argv[1], "noapic") != 0;
	char line[64];

	if (!apic || (argc > 1 && !strncmp(argv[1], "bus=", 4))) {
		if (apic)
			bus.args[0] = strtoul(argv[1] + 4, NULL, 0);
		argc--;
		argv++;
	}
	n_vcpus = argc - 1;
	if (n_vcpus < 1 || n_vcpus > TINY_VCPUS) {
		fprintf(stderr, "usage: tiny [bus=NS | noapic] CPU [CPU]\n");
		return 2;
	}
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		die("/dev/kvm");
	vm = call(kvm, KVM_CREATE_VM, NULL, "KVM_CREATE_VM");
	call(vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000, "KVM_SET_TSS_ADDR");
	if (apic)
		call(vm, KVM_CREATE_IRQCHIP, NULL, "KVM_CREATE_IRQCHIP");
	if (bus.args[0])
		call(vm, KVM_ENABLE_CAP, &bus, "KVM_CAP_X86_APIC_BUS_CYCLES_NS");
	memory_fill();
	region.userspace_addr = (uint64_t)memory;
	call(vm, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
	signal(SIGUSR1, on_signal);
	for (int i = 0; i < n_vcpus; i++) {
		vcpus[i].cpu = atoi(argv[1 + i]);
		vcpu_new(i);
	}
	if (apic)
		interrupts_set();
	for (int i = 0; i < n_vcpus; i++)
		vcpu_start(&vcpus[i]);
	printf("pid %d\n", getpid());
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		if (!obey(line))
			break;
	}
	for (int i = 0; i < n_vcpus; i++)
		*word(TINY_MODE + vcpus[i].apart) = TINY_END;
	for (int i = 0; i < n_vcpus; i++)
		pthread_join(vcpus[i].thread, NULL);
	printf("end\n");
	return 0;
}
