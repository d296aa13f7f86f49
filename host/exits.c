/* SPDX-License-Identifier: BSD-2-Clause */
#include "host/exits.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TRACING	  "/sys/kernel/tracing"
#define INSTANCES TRACING "/instances"

struct exits {
	char *instance;
	struct timespec begin;
	sigset_t held, before; /* signals that are held back; the mask as it was */
	int signal;	       /* one that came; 0: none */
};

struct name {
	unsigned code;
	const char *name;
};

/* isa in the tracepoint; arch/x86/include/uapi/asm/{vmx,svm}.h. Those not here are numbers. */
enum { ISA_VMX = 1, ISA_SVM = 2 };

static const struct name vmx[] = {
	{ 0, "exception" },
	{ 1, "interrupt" },
	{ 2, "triple-fault" },
	{ 7, "interrupt-window" },
	{ 8, "nmi-window" },
	{ 9, "task-switch" },
	{ 10, "cpuid" },
	{ 12, "hlt" },
	{ 13, "invd" },
	{ 14, "invlpg" },
	{ 15, "rdpmc" },
	{ 16, "rdtsc" },
	{ 18, "hypercall" },
	{ 28, "cr-access" },
	{ 29, "dr-access" },
	{ 30, "io" },
	{ 31, "msr-read" },
	{ 32, "msr-write" },
	{ 36, "mwait" },
	{ 40, "pause" },
	{ 43, "tpr" },
	{ 44, "apic-access" },
	{ 45, "eoi-induced" },
	{ 46, "descriptor-table" },
	{ 48, "ept-violation" },
	{ 49, "mmio" },
	{ 52, "preemption-timer" },
	{ 54, "wbinvd" },
	{ 55, "xsetbv" },
	{ 56, "apic-write" },
};

static const struct name svm[] = {
	{ 0x60, "interrupt" },
	{ 0x61, "nmi" },
	{ 0x62, "smi" },
	{ 0x64, "interrupt-window" },
	{ 0x66, "descriptor-table" },
	{ 0x6a, "descriptor-table" },
	{ 0x6e, "rdtsc" },
	{ 0x6f, "rdpmc" },
	{ 0x72, "cpuid" },
	{ 0x74, "iret" },
	{ 0x76, "invd" },
	{ 0x77, "pause" },
	{ 0x78, "hlt" },
	{ 0x79, "invlpg" },
	{ 0x7b, "io" },
	{ 0x7c, "msr" },
	{ 0x7d, "task-switch" },
	{ 0x7f, "triple-fault" },
	{ 0x81, "hypercall" },
	{ 0x89, "wbinvd" },
	{ 0x8b, "mwait" },
	{ 0x8d, "xsetbv" },
	{ 0x400, "npf" },
	{ 0x401, "avic-ipi" },
	{ 0x402, "avic-unaccelerated" },
};

/* Registers whose accesses are counted apart: the x2APIC's, and the deadline. */
static const struct name msrs[] = {
	{ 0x6e0, "tsc-deadline" }, { 0x808, "tpr" },	       { 0x80b, "eoi" },
	{ 0x830, "icr" },	   { 0x832, "timer-vector" },  { 0x838, "timer-count" },
	{ 0x839, "timer-now" },	   { 0x83e, "timer-divider" }, { 0x83f, "self-ipi" },
};

static const char *const by_interrupts[] = {
	"interrupt",	       "interrupt-window",   "hlt",
	"preemption-timer",    "eoi-induced",	     "apic-write",
	"avic-unaccelerated",  "eoi-write",	     "tsc-deadline-write",
	"timer-vector-read",   "timer-vector-write", "timer-count-read",
	"timer-count-write",   "timer-now-read",     "timer-divider-read",
	"timer-divider-write",
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

bool exits_by_interrupts(const char *reason)
{
	for (unsigned i = 0; i < COUNT(by_interrupts); i++)
		if (!strcmp(by_interrupts[i], reason))
			return true;
	return false;
}

static const char *name_in(const struct name *names, size_t n, unsigned code)
{
	for (size_t i = 0; i < n; i++)
		if (names[i].code == code)
			return names[i].name;
	return NULL;
}

/* ---- parsing -----------------------------------------------------------------------------------
 */

/* Adds @n to @reason of thread @tid; at zero it goes. */
static void add(json_t *counts, unsigned tid, const char *reason, long long n)
{
	char key[16];
	json_t *thread;

	snprintf(key, sizeof(key), "%u", tid);
	thread = json_object_get(counts, key);
	if (!thread) {
		thread = json_object();
		json_object_set_new(counts, key, thread);
	}
	n += json_integer_value(json_object_get(thread, reason));
	if (n > 0)
		json_object_set_new(thread, reason, json_integer(n));
	else
		json_object_del(thread, reason);
}

static void add_exit(json_t *counts, unsigned tid, unsigned isa, unsigned code, long long n)
{
	const char *known = isa == ISA_VMX ? name_in(vmx, COUNT(vmx), code)
					   : name_in(svm, COUNT(svm), code);
	char other[32];

	if (isa == ISA_SVM && code >= 0x40 && code < 0x60)
		known = "exception";
	snprintf(other, sizeof(other), "%s-%#x", isa == ISA_VMX ? "vmx" : "svm", code);
	add(counts, tid, known ? known : other, n);
}

/* Takes the accesses of one register out of those of all. */
static void add_msr(json_t *counts, unsigned tid, unsigned write, unsigned msr, long long n)
{
	const char *known = name_in(msrs, COUNT(msrs), msr),
		   *all = write ? "msr-write" : "msr-read";
	char key[16], name[64];
	json_t *thread;
	long long have;

	snprintf(key, sizeof(key), "%u", tid);
	thread = json_object_get(counts, key);
	/* SVM has one reason for both */
	if (!json_object_get(thread, all))
		all = "msr";
	have = json_integer_value(json_object_get(thread, all));
	if (!known || !have)
		return;
	/* the exit may have been before the counting, or its access after */
	if (n > have)
		n = have;
	snprintf(name, sizeof(name), "%s-%s", known, write ? "write" : "read");
	add(counts, tid, name, n);
	add(counts, tid, all, -n);
}

json_t *exits_parse(const char *exit_text, const char *msr_text)
{
	json_t *counts = json_object();
	unsigned tid, a, b;
	long long n;

	for (const char *p = exit_text; (p = strstr(p, "{ common_pid:")); p++)
		if (sscanf(p, "{ common_pid: %u, isa: %u, exit_reason: %u } hitcount: %lld", &tid,
			   &a, &b, &n) == 4)
			add_exit(counts, tid, a, b, n);
	for (const char *p = msr_text; (p = strstr(p, "{ common_pid:")); p++)
		if (sscanf(p, "{ common_pid: %u, write: %u, ecx: %u } hitcount: %lld", &tid, &a, &b,
			   &n) == 4)
			add_msr(counts, tid, a, b, n);
	return counts;
}

/* ---- counting ----------------------------------------------------------------------------------
 */

#define EXIT_HIST "hist:keys=common_pid,isa,exit_reason:size=4096"
#define MSR_HIST  "hist:keys=common_pid,write,ecx:size=4096"

static int trigger(struct host *host, const char *instance, const char *event, const char *text)
{
	return host_write(host, text, "%s/events/kvm/%s/trigger", instance, event);
}

static void remove_instance(struct host *host, const char *instance)
{
	trigger(host, instance, "kvm_exit", "!" EXIT_HIST);
	trigger(host, instance, "kvm_msr", "!" MSR_HIST);
	host->ops->remove_dir(host, instance);
}

/* Those of processes that are gone: they were killed, and each exit still pays for them. */
static void remove_stale(struct host *host)
{
	struct host_names names = host_dir(host, INSTANCES);

	for (unsigned i = 0; i < names.n; i++) {
		int pid, end = 0;
		char *path;

		if (sscanf(names.name[i], "exitless-%d%n", &pid, &end) != 1 || names.name[i][end] ||
		    (pid != getpid() && host_exists(host, "/proc/%d", pid)))
			continue;
		path = host_printf(INSTANCES "/%s", names.name[i]);
		remove_instance(host, path);
		free(path);
	}
	host_names_done(&names);
}

/* A signal that is ignored would be kept for later while it is blocked; so it is left alone. */
static void hold_signals(struct exits *e)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction now;

	sigemptyset(&e->held);
	for (unsigned i = 0; i < COUNT(signals); i++)
		if (!sigaction(signals[i], NULL, &now) && now.sa_handler != SIG_IGN)
			sigaddset(&e->held, signals[i]);
	pthread_sigmask(SIG_BLOCK, &e->held, &e->before);
}

static void end(struct host *host, struct exits *e)
{
	int signal = e->signal;

	remove_instance(host, e->instance);
	pthread_sigmask(SIG_SETMASK, &e->before, NULL);
	free(e->instance);
	free(e);
	if (signal)
		raise(signal);
}

struct exits *exits_begin(struct host *host, struct host_error *error)
{
	struct exits *e = host_alloc(sizeof(*e));
	int err;

	remove_stale(host);
	e->instance = host_printf(INSTANCES "/exitless-%d", (int)getpid());
	hold_signals(e);
	err = host->ops->make_dir(host, e->instance);
	if (err) {
		host_fail(error, err, "%s: %s%s", e->instance, strerror(-err),
			  err == -ENOENT ? "; mount -t tracefs tracefs " TRACING : "");
		pthread_sigmask(SIG_SETMASK, &e->before, NULL);
		free(e->instance);
		free(e);
		return NULL;
	}
	err = trigger(host, e->instance, "kvm_exit", EXIT_HIST);
	if (!err)
		err = trigger(host, e->instance, "kvm_msr", MSR_HIST);
	if (err) {
		host_fail(error, err, "exits cannot be counted: %s%s", strerror(-err),
			  err == -ENOENT ? " (is kvm loaded?)" : "");
		end(host, e);
		return NULL;
	}
	clock_gettime(CLOCK_MONOTONIC, &e->begin);
	return e;
}

double exits_wait(struct exits *e, unsigned seconds)
{
	double passed = 0;

	do {
		double left = (double)seconds - passed;
		struct timespec now, wait = { .tv_sec = (time_t)left };
		int signal;

		wait.tv_nsec = (long)((left - (double)wait.tv_sec) * 1e9);
		signal = sigtimedwait(&e->held, NULL, &wait);
		if (signal > 0)
			e->signal = signal;
		clock_gettime(CLOCK_MONOTONIC, &now);
		passed = (double)(now.tv_sec - e->begin.tv_sec) +
			 1e-9 * (double)(now.tv_nsec - e->begin.tv_nsec);
		/* interrupted by another signal's handler: once more */
	} while (passed < seconds && !e->signal);
	return passed;
}

json_t *exits_end(struct host *host, struct exits *e, struct host_error *error)
{
	char *exit_text = host_read(host, "%s/events/kvm/kvm_exit/hist", e->instance);
	char *msr_text = host_read(host, "%s/events/kvm/kvm_msr/hist", e->instance);
	json_t *counts = NULL;

	if (exit_text && msr_text)
		counts = exits_parse(exit_text, msr_text);
	else
		host_fail(error, -errno, "exits cannot be read: %s", strerror(errno));
	free(exit_text);
	free(msr_text);
	end(host, e);
	return counts;
}
