/* SPDX-License-Identifier: BSD-2-Clause */
#include "stepped.h"

#include "base/sanitize.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#define PAGE	  4096ul
#define FLAG_TRAP 0x100 /* EFLAGS.TF: a trap after each instruction */

static struct {
	uintptr_t begin, end;
	unsigned left; /* accesses before the other side's turn */
	void (*turn)(void);
} run;

bool stepped_possible(void)
{
	return !SANITIZED_THREADS;
}

static void allow(bool on)
{
	mprotect((void *)run.begin, run.end - run.begin, on ? PROT_READ | PROT_WRITE : PROT_NONE);
}

static void on_access(int number, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	uintptr_t at = (uintptr_t)info->si_addr;

	if (at < run.begin || at >= run.end)
		abort();
	allow(true);
	uc->uc_mcontext.gregs[REG_EFL] |= FLAG_TRAP;
}

static void after_access(int number, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	uc->uc_mcontext.gregs[REG_EFL] &= ~FLAG_TRAP;
	if (--run.left)
		allow(false);
	else
		run.turn();
}

bool stepped_run(void *at, size_t bytes, unsigned n, void (*fn)(void), void (*turn)(void))
{
	struct sigaction access = { .sa_sigaction = on_access, .sa_flags = SA_SIGINFO },
			 after = { .sa_sigaction = after_access, .sa_flags = SA_SIGINFO }, old[2];

	run.begin = (uintptr_t)at & ~(PAGE - 1);
	run.end = ((uintptr_t)at + bytes + PAGE - 1) & ~(PAGE - 1);
	run.left = n;
	run.turn = turn;
	sigaction(SIGSEGV, &access, &old[0]);
	sigaction(SIGTRAP, &after, &old[1]);
	allow(false);
	fn();
	allow(true);
	sigaction(SIGSEGV, &old[0], NULL);
	sigaction(SIGTRAP, &old[1], NULL);
	return !run.left;
}
