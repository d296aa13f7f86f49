/* SPDX-License-Identifier: BSD-2-Clause */
/* Where things are in the guest's memory, and what it can be told to do. C and assembler. */
#ifndef TINY_H
#define TINY_H

#define TINY_MEMORY 0x200000
#define TINY_PML4   0x1000
#define TINY_PDPT   0x2000
#define TINY_PD	    0x3000
#define TINY_GDT    0x4000
#define TINY_IDT    0x5000
/* The first vCPU's own, from here to CODE, and SHADOW; the others' at multiples of TINY_APART. */
#define TINY_COUNTS    0x6000 /* 256 counters: interrupts by vector */
#define TINY_BEATS     0x7000 /* times around the loop */
#define TINY_DONE      0x7008 /* what MODE says, done so many times */
#define TINY_MODE      0x7010
#define TINY_MODE_SEEN 0x7014
#define TINY_IDTR      0x7020
#define TINY_LOST_IDTR 0x7030
#define TINY_LIES      0x7040 /* addresses for a shadow IDT that are none */
#define TINY_N_LIES    8
/*
 * #GPs that came while another was delivered. Bochs 3.0 with several processors makes such: where
 * an interrupt makes the guest exit right after an exception was delivered, the VMCS gets the RIP
 * of the instruction that faulted, but RSP and RFLAGS as they are then, so the instruction faults
 * again. (Its loop over the processors, after an exception or exit, does not set prev_rip, as the
 * loop of a single one does; VMexit() takes RIP from there.)
 */
#define TINY_TWICE 0x7018
/* Of what DROP does: ticks that came only after LATE_LOOPS times around a loop. */
#define TINY_LATE  0x7080
#define TINY_ARMED 0x7088 /* ticks it has waiting */
#define TINY_GO	   0x7090 /* of these it may take so many */
#define TINY_CODE  0x8000
#define TINY_STUBS 0xa000
#define TINY_STUB  16	   /* bytes */
#define TINY_STACK 0x20000 /* each vCPU's own, too */

#define TINY_SHADOW 0x30000 /* a good one */
#define TINY_TABLE  0x31000 /* for IPIs */
#define TINY_APART  0x40000
#define TINY_VCPUS  2

#define TINY_PORT 0x10

/* kernel/uapi/exitless_direct.h */
#define TINY_MSRS_AT	0x45580000
#define TINY_MSR_SHADOW 0x45580001
#define TINY_MSR_WISH	0x45580002
#define TINY_MSR_IPI	0x45580007
#define TINY_MSRS_END	0x45580010
#define TINY_MAGIC	0x3130545449445845

#define TINY_SPIN	0
#define TINY_LIDT	1
#define TINY_GP		2
#define TINY_CLI	3
#define TINY_LOST_IDT	4
#define TINY_MSRS	5
#define TINY_GATES	6
#define TINY_HALT	7
#define TINY_END	8
#define TINY_LIAR	9
#define TINY_SHADOW_IDT 10
#define TINY_TICK	11
#define TINY_COUNT	12
#define TINY_STEAL	13
#define TINY_RAISED	14
#define TINY_LDTR	15
#define TINY_IPIS	16
#define TINY_DROP	17
#define TINY_INT	18

#define TINY_INT_VECTOR 0x2d /* by INT */

#define TINY_TICK_VECTOR 0x61
#define TINY_TICK_CYCLES 200000
#define TINY_LATE_LOOPS	 100000
#define TINY_COUNT_INIT	 0xf0000000 /* 4.03 s, a count being a nanosecond */

#endif
