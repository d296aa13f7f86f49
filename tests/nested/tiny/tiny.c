// SPDX-License-Identifier: BSD-2-Clause
/*
 * A guest of a few instructions and the VMM for it: for machines too slow for Linux as L2, and for
 * a guest that does what no honest one would.
 *
 *	tiny CPU
 *
 * The vCPU's thread is pinned to CPU. "pid N" tells that the guest runs. Commands come on standard
 * input, one per line; each is answered by one line:
 *
 *	mode NAME      what the guest does from now on
 *	kick N         N times: an eventfd is written, and the guest's interrupt awaited
 *	show           counters: name=value...; vN=count for vectors
 *	end            the guest ends, and the VMM
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tiny.h"

#define VECTOR	0x51
#define GSI	24
#define LATE_NS 2000000000ull

extern const uint8_t tiny_code[], tiny_code_end[], tiny_stubs[], tiny_stubs_end[];

static const char *const modes[] = {
	[TINY_SPIN] = "spin",	[TINY_LIDT] = "lidt",	      [TINY_GP] = "gp",
	[TINY_CLI] = "cli",	[TINY_LOST_IDT] = "lost-idt", [TINY_MSRS] = "msrs",
	[TINY_GATES] = "gates", [TINY_HALT] = "halt",	      [TINY_END] = "end",
	[TINY_LIAR] = "liar",
};

/* Not aligned; not canonical; not memory; not mapped; in use for something else. */
static const uint64_t lies[TINY_N_LIES] = {
	TINY_SHADOW + 8, 1ull << 63, 0x3ff00000, 0x40000000, TINY_PML4, TINY_IDT, TINY_CODE, ~0ull,
};

static uint8_t *memory;
static int kvm, vm, vcpu, kick_fd, cpu;

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

static void cpuid_set(void)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));

	if (!cpuid)
		die("cpuid");
	cpuid->nent = 256;
	call(kvm, KVM_GET_SUPPORTED_CPUID, cpuid, "KVM_GET_SUPPORTED_CPUID");
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 1)
			cpuid->entries[i].ecx |= 1u << 21; /* x2APIC */
	call(vcpu, KVM_SET_CPUID2, cpuid, "KVM_SET_CPUID2");
	free(cpuid);
}

static void registers_set(void)
{
	struct kvm_segment code = {
		.limit = ~0u, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	struct kvm_segment data = {
		.limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1
	};
	struct kvm_regs regs = { .rip = TINY_CODE, .rsp = TINY_STACK, .rflags = 2 };
	struct kvm_sregs sregs;

	call(vcpu, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS");
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
	call(vcpu, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
	call(vcpu, KVM_SET_REGS, &regs, "KVM_SET_REGS");
}

static void interrupt_set(void)
{
	struct {
		struct kvm_irq_routing routing;
		struct kvm_irq_routing_entry entry;
	} table = { .routing.nr = 1 };
	struct kvm_irqfd irqfd = { .gsi = GSI };

	table.entry.gsi = GSI;
	table.entry.type = KVM_IRQ_ROUTING_MSI;
	table.entry.u.msi.address_lo = 0xfee00000;
	table.entry.u.msi.data = VECTOR;
	call(vm, KVM_SET_GSI_ROUTING, &table, "KVM_SET_GSI_ROUTING");
	kick_fd = eventfd(0, EFD_CLOEXEC);
	if (kick_fd < 0)
		die("eventfd");
	irqfd.fd = (uint32_t)kick_fd;
	call(vm, KVM_IRQFD, &irqfd, "KVM_IRQFD");
}

static void *vcpu_run(void *arg)
{
	struct kvm_run *run = arg;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
		die("affinity");
	pthread_setname_np(pthread_self(), "CPU 0/KVM");
	for (;;) {
		if (ioctl(vcpu, KVM_RUN, NULL) < 0 && errno != EINTR && errno != EAGAIN)
			die("KVM_RUN");
		if (run->exit_reason == KVM_EXIT_IO && *word(TINY_MODE) == TINY_END)
			return NULL;
		if (run->exit_reason != KVM_EXIT_IO && run->exit_reason != KVM_EXIT_INTR) {
			printf("guest ended: exit reason %u\n", run->exit_reason);
			fflush(stdout);
			return NULL;
		}
	}
}

static void kick(unsigned long n)
{
	volatile uint64_t *count = counter(TINY_COUNTS + VECTOR * 8);
	uint64_t one = 1, before, begin;
	unsigned long i;

	for (i = 0; i < n; i++) {
		before = *count;
		begin = now_ns();
		if (write(kick_fd, &one, sizeof(one)) != sizeof(one))
			die("kick");
		while (*count == before)
			if (now_ns() - begin > LATE_NS) {
				printf("late after %lu\n", i);
				return;
			}
	}
	printf("taken %lu\n", i);
}

static void mode_set(const char *name)
{
	uint64_t begin = now_ns();
	uint32_t i;

	for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcmp(name, modes[i]))
			break;
	if (i == sizeof(modes) / sizeof(modes[0])) {
		printf("no such mode\n");
		return;
	}
	*word(TINY_MODE) = i;
	while (*word(TINY_MODE_SEEN) != i && now_ns() - begin < LATE_NS)
		sched_yield();
	printf("%s %s\n", *word(TINY_MODE_SEEN) == i ? "mode" : "late", name);
}

static void show(void)
{
	printf("beats=%llu done=%llu", (unsigned long long)*counter(TINY_BEATS),
	       (unsigned long long)*counter(TINY_DONE));
	for (uint32_t v = 0; v < 256; v++)
		if (*counter(TINY_COUNTS + v * 8))
			printf(" v%u=%llu", v, (unsigned long long)*counter(TINY_COUNTS + v * 8));
	printf("\n");
}

int main(int argc, char **argv)
{
	struct kvm_userspace_memory_region region = { .memory_size = TINY_MEMORY };
	char line[64];
	pthread_t thread;
	void *run;

	if (argc != 2) {
		fprintf(stderr, "usage: tiny CPU\n");
		return 2;
	}
	cpu = atoi(argv[1]);
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		die("/dev/kvm");
	vm = call(kvm, KVM_CREATE_VM, NULL, "KVM_CREATE_VM");
	call(vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000, "KVM_SET_TSS_ADDR");
	call(vm, KVM_CREATE_IRQCHIP, NULL, "KVM_CREATE_IRQCHIP");
	memory_fill();
	region.userspace_addr = (uint64_t)memory;
	call(vm, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
	vcpu = call(vm, KVM_CREATE_VCPU, NULL, "KVM_CREATE_VCPU");
	run = mmap(NULL, (size_t)call(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL, "KVM_GET_VCPU_MMAP_SIZE"),
		   PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		die("kvm_run");
	cpuid_set();
	registers_set();
	interrupt_set();
	if (pthread_create(&thread, NULL, vcpu_run, run))
		die("thread");
	while (!*counter(TINY_BEATS))
		sched_yield();
	printf("pid %d\n", getpid());
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		if (!strncmp(line, "mode ", 5))
			mode_set(line + 5);
		else if (!strncmp(line, "kick ", 5))
			kick(strtoul(line + 5, NULL, 0));
		else if (!strcmp(line, "show"))
			show();
		else if (!strcmp(line, "end"))
			break;
		else
			printf("what?\n");
		fflush(stdout);
	}
	*word(TINY_MODE) = TINY_END;
	pthread_join(thread, NULL);
	printf("end\n");
	return 0;
}
