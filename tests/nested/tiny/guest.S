/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest of tiny.c: 64-bit mode, interrupts on, a counter for each vector, and a loop that does
 * what the word MODE says. Linked into the VMM and copied to CODE; see tiny.h for the addresses.
 * R15 is the distance of this vCPU's own data from that of the first.
 */
#include "tiny.h"

#define GATE 0x8e0000080000 /* an interrupt gate to code below 64 KB */

	.section .rodata
	.code64
	.globl tiny_code, tiny_code_end
	.balign 16
tiny_code:
	movl	$0x80f, %ecx		/* SVR: LAPIC on */
	movl	$0x1ff, %eax
	xorl	%edx, %edx
	wrmsr
	sti
loop:
	incq	TINY_BEATS(%r15)
	movl	TINY_MODE(%r15), %eax
	movl	%eax, TINY_MODE_SEEN(%r15)
	cmpl	$TINY_SPIN, %eax
	je	loop
	cmpl	$TINY_LIDT, %eax
	je	do_lidt
	cmpl	$TINY_GP, %eax
	je	do_gp
	cmpl	$TINY_CLI, %eax
	je	do_cli
	cmpl	$TINY_LOST_IDT, %eax
	je	do_lost_idt
	cmpl	$TINY_MSRS, %eax
	je	do_msrs
	cmpl	$TINY_GATES, %eax
	je	do_gates
	cmpl	$TINY_HALT, %eax
	je	do_halt
	cmpl	$TINY_LIAR, %eax
	je	do_liar
	cmpl	$TINY_SHADOW_IDT, %eax
	je	do_shadow
	cmpl	$TINY_TICK, %eax
	je	do_tick
	cmpl	$TINY_COUNT, %eax
	je	do_count
	cmpl	$TINY_LDTR, %eax
	je	do_ldtr
	cmpl	$TINY_IPIS, %eax
	je	do_ipis
	cmpl	$TINY_STEAL, %eax
	je	do_steal
	cmpl	$TINY_RAISED, %eax
	je	do_raised
	cmpl	$TINY_DROP, %eax
	je	do_drop
	cmpl	$TINY_INT, %eax
	je	do_int
	outb	%al, $TINY_PORT		/* TINY_END, and anything else */
	jmp	loop

do_lidt:
	lidt	TINY_IDTR
	incq	TINY_DONE(%r15)
	jmp	loop

/* Not privileged, either. */
do_ldtr:
	sldt	%eax
	str	%eax
	incq	TINY_DONE(%r15)
	jmp	loop

/* A non-canonical address; the handler skips the three bytes. */
do_gp:
	movabsq	$0x8000000000000000, %rbx
	incq	TINY_DONE(%r15)
	.byte	0xc6, 0x03, 0x00	/* movb $0, (%rbx) */
	jmp	loop

/* Interrupts off until the word changes. */
do_cli:
	cli
1:	incq	TINY_BEATS(%r15)
	cmpl	$TINY_CLI, TINY_MODE(%r15)
	je	1b
	sti
	jmp	loop

/* The same with an IDT where there is no memory. */
do_lost_idt:
	cli
	lidt	TINY_LOST_IDTR
1:	incq	TINY_BEATS(%r15)
	cmpl	$TINY_LOST_IDT, TINY_MODE(%r15)
	je	1b
	lidt	TINY_IDTR
	sti
	jmp	loop

/* All the registers of an x2APIC with all ones and with zero, but for the SVR. KVM may refuse some
 * with #GP, whose handler skips a WRMSR too. The handlers use ECX, so it is kept in EBX. */
do_msrs:
	movl	$0x800, %ebx
1:	cmpl	$0x80f, %ebx
	je	2f
	movl	%ebx, %ecx
	movl	$0xffffffff, %eax
	xorl	%edx, %edx
	wrmsr
	movl	%ebx, %ecx
	xorl	%eax, %eax
	xorl	%edx, %edx
	wrmsr
	incq	TINY_DONE(%r15)
2:	incl	%ebx
	cmpl	$0x840, %ebx
	jne	1b
	jmp	loop

/* Writes the gates of its IDT all the time: what it finds there, back. */
do_gates:
	movl	$TINY_IDT, %ebx
1:	movq	(%rbx), %rax
	movq	%rax, (%rbx)
	addl	$8, %ebx
	cmpl	$(TINY_IDT + 4096), %ebx
	jne	1b
	incq	TINY_DONE(%r15)
	jmp	loop

/* All that a guest can say to exitless_kvm, and most of it false. */
do_liar:
	xorl	%esi, %esi
1:	movl	$TINY_MSR_SHADOW, %ecx
	movl	TINY_LIES(,%rsi,8), %eax
	movl	TINY_LIES+4(,%rsi,8), %edx
	wrmsr
	incl	%esi
	cmpl	$TINY_N_LIES, %esi
	jne	1b
	call	shadow_register		/* a good one, used for a while, and then written to */
	movl	$1000000, %ebx
2:	decl	%ebx
	jne	2b
	incq	TINY_SHADOW+0x300(%r15)
	movl	$TINY_MSRS_AT, %esi	/* all ones into all the registers, and reads */
3:	movl	%esi, %ecx
	movl	$-1, %eax
	movl	%eax, %edx
	wrmsr
	rdmsr
	incl	%esi
	cmpl	$TINY_MSRS_END, %esi
	jne	3b
	movl	$TINY_MSR_WISH, %ecx	/* off, and on */
	xorl	%eax, %eax
	xorl	%edx, %edx
	wrmsr
	movl	$3, %eax
	wrmsr
	incq	TINY_DONE(%r15)
	jmp	loop

/* As an honest guest with several vCPUs. */
do_shadow:
	call	shadow_register
	incq	TINY_DONE(%r15)
1:	movl	TINY_MODE(%r15), %eax
	cmpl	$TINY_SHADOW_IDT, %eax
	jne	loop
	movl	%eax, TINY_MODE_SEEN(%r15)
	incq	TINY_BEATS(%r15)
	jmp	1b

shadow_register:
	movl	$TINY_MSR_SHADOW, %ecx	/* the one before is no more */
	xorl	%eax, %eax
	xorl	%edx, %edx
	wrmsr
	leaq	TINY_SHADOW(%r15), %rdi
	movl	$512, %ecx
	xorl	%eax, %eax
	rep stosq
	movabsq	$TINY_MAGIC, %rax
	movq	%rax, TINY_SHADOW(%r15)
	movl	$TINY_MSR_SHADOW, %ecx
	leaq	TINY_SHADOW(%r15), %rax
	xorl	%edx, %edx
	wrmsr
	ret

/* A table for IPIs, until the word changes and the host has let go of it. */
do_ipis:
	movl	$TINY_MSR_IPI, %ecx
	leaq	TINY_TABLE(%r15), %rax
	xorl	%edx, %edx
	wrmsr
	incq	TINY_DONE(%r15)
1:	movl	TINY_MODE(%r15), %eax
	cmpl	$TINY_IPIS, %eax
	jne	2f
	movl	%eax, TINY_MODE_SEEN(%r15)
	incq	TINY_BEATS(%r15)
	jmp	1b
2:	xorl	%eax, %eax
	wrmsr
3:	xorl	%eax, %eax
	rdmsr
	testl	%eax, %eax
	jnz	3b
	jmp	loop

/* The LAPIC's timer by TSC deadlines, one after the other. */
do_tick:
	movl	$0x832, %ecx
	movl	$(2 << 17 | TINY_TICK_VECTOR), %eax
	xorl	%edx, %edx
	wrmsr
	mfence
1:	movq	TINY_COUNTS+TINY_TICK_VECTOR*8(%r15), %rbx
	rdtsc
	shlq	$32, %rdx
	leaq	TINY_TICK_CYCLES(%rax,%rdx), %rax
	movq	%rax, %rdx
	shrq	$32, %rdx
	movl	$0x6e0, %ecx
	wrmsr
2:	incq	TINY_BEATS(%r15)
	cmpl	$TINY_TICK, TINY_MODE(%r15)
	jne	3f
	cmpq	%rbx, TINY_COUNTS+TINY_TICK_VECTOR*8(%r15)
	je	2b
	incq	TINY_DONE(%r15)
	jmp	1b
3:	movl	$0x832, %ecx
	movl	$(1 << 16 | TINY_TICK_VECTOR), %eax
	xorl	%edx, %edx
	wrmsr
	jmp	loop

/* The LAPIC's timer once, by a long count. */
do_count:
	xorl	%edx, %edx
	movl	$0x832, %ecx
	movl	$TINY_TICK_VECTOR, %eax
	wrmsr
	movl	$0x83e, %ecx		/* divided by 1 */
	movl	$0xb, %eax
	wrmsr
	movl	$0x838, %ecx
	movl	$TINY_COUNT_INIT, %eax
	wrmsr
	incq	TINY_DONE(%r15)
1:	incq	TINY_BEATS(%r15)
	cmpl	$TINY_COUNT, TINY_MODE(%r15)
	je	1b
	jmp	loop

/* A tick by the count that comes with interrupts off, and is there still as the timer goes by
 * deadlines: it is taken as soon as they are on. */
do_drop:
	cli
	movq	TINY_COUNTS+TINY_TICK_VECTOR*8(%r15), %rbx
	xorl	%edx, %edx
	movl	$0x832, %ecx
	movl	$TINY_TICK_VECTOR, %eax
	wrmsr
	movl	$0x83e, %ecx		/* divided by 1 */
	movl	$0xb, %eax
	wrmsr
	movl	$0x838, %ecx
	movl	$1000, %eax
	wrmsr
	movl	$0x839, %ecx
1:	rdmsr
	testl	%eax, %eax
	jnz	1b
	incq	TINY_ARMED(%r15)
2:	cmpl	$TINY_DROP, TINY_MODE(%r15)
	jne	4f
	movq	TINY_GO(%r15), %rax	/* an emulated one may be late */
	cmpq	TINY_ARMED(%r15), %rax
	jne	2b
	xorl	%edx, %edx
	movl	$0x832, %ecx
	movl	$(2 << 17 | TINY_TICK_VECTOR), %eax
	wrmsr
	xorl	%edi, %edi
	sti
3:	cmpl	$TINY_DROP, TINY_MODE(%r15)
	jne	5f
	incl	%edi
	cmpq	%rbx, TINY_COUNTS+TINY_TICK_VECTOR*8(%r15)
	je	3b
	incq	TINY_DONE(%r15)
	cmpl	$TINY_LATE_LOOPS, %edi
	jb	do_drop
	incq	TINY_LATE(%r15)
	jmp	do_drop
4:	sti
5:	xorl	%edx, %edx
	movl	$0x832, %ecx
	movl	$(1 << 16 | TINY_TICK_VECTOR), %eax
	wrmsr
	jmp	loop

do_halt:
	hlt
	jmp	loop

/* By a gate, which a direct entry may have empty; a fault here is none of the guest's. */
do_int:
	int	$TINY_INT_VECTOR
	incq	TINY_DONE(%r15)
	jmp	loop

/* The task priority keeps all interrupts off. */
do_raised:
	movl	$15, %eax
	movq	%rax, %cr8
	incq	TINY_DONE(%r15)
1:	incq	TINY_BEATS(%r15)
	cmpl	$TINY_RAISED, TINY_MODE(%r15)
	je	1b
	xorl	%eax, %eax
	movq	%rax, %cr8
	jmp	loop

/* Fills the gates that a direct entry has empty, and takes what comes there without an EOI. */
do_steal:
	movl	$(TINY_IDT + 32 * 16), %edi
	movabsq	$(GATE | (TINY_CODE + stolen - tiny_code)), %rax
1:	cmpq	$0, (%rdi)
	jne	2f
	movq	%rax, (%rdi)
2:	addl	$16, %edi
	cmpl	$(TINY_IDT + 0xec * 16), %edi
	jne	1b
	movl	$100000, %edi
3:	decl	%edi
	jne	3b
	xorl	%eax, %eax		/* leaves the guest */
	cpuid
	cmpl	$TINY_STEAL, TINY_MODE(%r15)
	je	do_steal
	cli				/* its own again, and a new entry before any is used */
	movl	$(TINY_IDT + 32 * 16), %edi
	movl	$(TINY_STUBS + 32 * TINY_STUB), %esi
	movabsq	$GATE, %rdx
	movabsq	$(GATE | (TINY_CODE + stolen - tiny_code)), %rax
4:	cmpq	$0, (%rdi)		/* so the host has it now; what is written stays */
	je	6f
	cmpq	%rax, (%rdi)
	jne	5f
6:	leaq	(%rdx,%rsi), %rcx
	movq	%rcx, (%rdi)
5:	addl	$TINY_STUB, %esi
	addl	$16, %edi
	cmpl	$(TINY_IDT + 4096), %edi
	jne	4b
	xorl	%eax, %eax
	cpuid
	sti
	jmp	loop
stolen:
	incq	TINY_DONE(%r15)
	iretq
tiny_code_end:

/* Handlers, TINY_STUB bytes each: the vector, then to the common part. */
	.globl tiny_stubs, tiny_stubs_end
	.balign 16
tiny_stubs:
	vector = 0
	.rept 256
	.balign TINY_STUB
	.if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17)
	.byte	0x66, 0x90		/* an error code is there */
	.else
	pushq	$0
	.endif
	pushq	$vector
	jmp	handler
	vector = vector + 1
	.endr
	.balign TINY_STUB
handler:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	movq	24(%rsp), %rax
	lock incq TINY_COUNTS(%r15,%rax,8)
	cmpq	$13, %rax
	je	1f
	cmpq	$32, %rax
	jb	2f
	movl	$0x80b, %ecx		/* EOI */
	xorl	%eax, %eax
	xorl	%edx, %edx
	wrmsr
	jmp	2f
1:	testb	$2, 57(%rsp)		/* IF is on wherever this guest makes a #GP */
	jne	4f
	incq	TINY_TWICE(%r15)	/* see tiny.h: on with what was interrupted the first time */
	movq	64(%rsp), %rcx
	movq	24(%rcx), %rax
	movq	%rax, 56(%rsp)
	movq	32(%rcx), %rax
	movq	%rax, 64(%rsp)
4:	movq	40(%rsp), %rcx		/* where it happened */
	cmpb	$0xc6, (%rcx)
	jne	3f
	incq	%rcx
3:	addq	$2, %rcx
	movq	%rcx, 40(%rsp)
2:	popq	%rdx
	popq	%rcx
	popq	%rax
	addq	$16, %rsp
	iretq
tiny_stubs_end:

	.section .note.GNU-stack, "", @progbits
