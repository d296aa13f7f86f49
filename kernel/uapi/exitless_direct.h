/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a guest and exitless_kvm say to each other: model-specific registers, which a guest reads
 * and writes with RDMSR and WRMSR at CPL 0. Each access costs an exit. All are of the vCPU that
 * accesses them. They exist while the host has asked for direct mode on that vCPU; else, and for
 * any other register or value than described here, the access faults (#GP). docs/direct-abi.md.
 */
#ifndef EXITLESS_DIRECT_ABI_H
#define EXITLESS_DIRECT_ABI_H

#define EX_MSR_BASE  0x45580000u
#define EX_MSR_COUNT 0x10u

/* Read only. Bits 63-32: EX_ID_MAGIC, 31-16: EX_ID_VERSION, 15-0: EX_FEATURE_*. */
#define EX_MSR_ID     (EX_MSR_BASE + 0)
#define EX_ID_MAGIC   0x54495845u /* "EXIT" */
#define EX_ID_VERSION 1u

#define EX_FEATURE_SHADOW_IDT 0x0001u /* EX_MSR_SHADOW */
#define EX_FEATURE_TIMER      0x0002u /* the host passes the LAPIC's timer to this vCPU */
#define EX_FEATURE_IPI	      0x0004u /* EX_MSR_ICR and EX_MSR_IPI: it may send IPIs itself */

/*
 * Read and write. Linear address of this vCPU's shadow IDT, or 0. It must be page-aligned and
 * canonical, and the page mapped writable in memory in every address space of the guest's, for as
 * long as it is registered. As registered, the page is all zero but for EX_SHADOW_MAGIC in its
 * first 8 bytes, and from then on nobody but the host writes to it: where it finds anything else
 * in the page than it left, it takes the registration back. It also does so when the guest has the
 * page itself in IDTR, resets, or leaves x2APIC mode. So look at it from time to time.
 */
#define EX_MSR_SHADOW	(EX_MSR_BASE + 1)
#define EX_SHADOW_MAGIC 0x3130545449445845ull

/* Read and write. What the guest wants of what the host gives; after reset, the default. */
#define EX_MSR_WISH	(EX_MSR_BASE + 2)
#define EX_WISH_DIRECT	0x1u
#define EX_WISH_TIMER	0x2u
#define EX_WISH_IPI	0x4u /* only with EX_FEATURE_IPI */
#define EX_WISH_DEFAULT 0x3u

/* Read only. Bit 0: the last entry was direct; bit 1: the timer is the guest's; bits 15-8: why the
 * last entry was not direct, as a number that the host's /dev/exitless_kvm tells in words. */
#define EX_MSR_STATE	(EX_MSR_BASE + 3)
#define EX_STATE_DIRECT 0x1u
#define EX_STATE_TIMER	0x2u

/* Read only. What KVM has injected since direct mode was asked for: interrupts of vectors below
 * 0xec, which Linux has for devices, but the timer's; the timer's. A guest that counts what it
 * takes knows by these what came directly. */
#define EX_MSR_INJECTED (EX_MSR_BASE + 4)
#define EX_MSR_TICKS	(EX_MSR_BASE + 5)

/* Write only. Takes what the x2APIC's interrupt command register (0x830) takes, for the virtual
 * LAPIC. The value of RCX is lost. */
#define EX_MSR_ICR (EX_MSR_BASE + 6)

/*
 * Read and write. Guest-physical address of a page, or 0. Once this vCPU wishes EX_WISH_IPI, all
 * that it writes to the interrupt command register itself may reach the physical LAPIC. So it must
 * be an entry of the table that the host keeps in the page, EX_IPI_SLOTS entries for each of the
 * vCPUs with APIC ID 0 to EX_IPI_IDS - 1: one whose bits 15-8 are the vector to be sent. It is to
 * be written with these bits zero, by WRMSR with the virtual LAPIC's command in RBX and
 * EX_IPI_MAGIC in R8, with interrupts off since it was read. RAX and RDX are lost. Where there is
 * no such entry, and for anything but a fixed interrupt to one vCPU, there is EX_MSR_ICR. The host
 * may write to a page that was here until reads tell another value.
 */
#define EX_MSR_IPI	   (EX_MSR_BASE + 7)
#define EX_IPI_IDS	   64
#define EX_IPI_SLOTS	   8
#define EX_IPI_GUEST_SHIFT 8
#define EX_IPI_GUEST_MASK  0xff00u
#define EX_IPI_MAGIC	   0x4950495353454c54ull

#endif
