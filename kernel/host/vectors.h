/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which gate goes where, and which interrupt is whose: pure functions over the caller's memory,
 * which compile in the kernel and in user space, where they are tested.
 */
#ifndef EXITLESS_VECTORS_H
#define EXITLESS_VECTORS_H

#ifdef __KERNEL__
#include <linux/string.h>
#include <linux/types.h>
#else
#include <linux/types.h>
#include <stdbool.h>
#include <string.h>
typedef __u64 u64;
typedef __u32 u32;
typedef __u8 u8;
typedef __s64 s64;
#endif

#define EX_TIMER_VECTOR 0xec /* the host's LAPIC timer vector, and the guest's while it owns it */
#define EX_IDT_BYTES	4096
#define EX_GATE_BYTES	16
#define EX_VECTORS_FROM 32 /* below are exceptions */
#define EX_SYSCALL	0x80

/* A host interrupt that is one of the guest's. */
struct ex_route {
	int irq;
	int gsi;	/* the guest's, as KVM's table has it; not of an IPI */
	u8 host, guest; /* vectors */
	bool ipi;	/* a line's that stands for an IPI */
};

/*
 * Composes the gates of a direct entry in @to, EX_IDT_BYTES long, from those of @guest: at the host
 * vector of each route the gate of the guest's, at EX_TIMER_VECTOR that of @timer unless it is 0,
 * at EX_SYSCALL the guest's own, and nothing elsewhere from EX_VECTORS_FROM on. What is below is
 * left alone. @direct is a bit for each vector that the guest can so have in service.
 */
void ex_gates_compose(u8 *to, const u8 *guest, const struct ex_route *route, u32 n, u8 timer,
		      u32 direct[8]);

/* The vector of a message-signalled interrupt (SDM volume 3, 11.11) if it is edge-triggered, fixed
 * or of lowest priority, and goes to the vCPU with that APIC ID, alone or by physical destination;
 * else 0. */
u8 ex_msi_vector(u32 address_lo, u32 address_hi, u32 data, u32 id, bool only_vcpu);

/* The vector of an x2APIC interrupt command (SDM volume 3, 11.12.9) if it is a fixed interrupt to
 * one physical ID, which is then in *id; else 0. */
u8 ex_command_vector(u64 command, u32 *id);

/* Is it an address that IDTR takes? */
bool ex_canonical(u64 address, bool la57);

#endif
