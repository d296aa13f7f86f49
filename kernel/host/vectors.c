// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* See vectors.h. */
#include "vectors.h"

#define MSI_LOGICAL	(1u << 2)  /* of the address's low half */
#define MSI_LEVEL	(1u << 15) /* of the data */
#define COMMAND_ASSERT	(1u << 14)
#define LOWEST_PRIORITY 1

static void gate_copy(u8 *to, const u8 *guest, u32 at, u32 from, u32 direct[8])
{
	memcpy(to + at * EX_GATE_BYTES, guest + from * EX_GATE_BYTES, EX_GATE_BYTES);
	direct[at / 32] |= 1u << at % 32;
}

void ex_gates_compose(u8 *to, const u8 *guest, const struct ex_route *route, u32 n, u8 timer,
		      u32 direct[8])
{
	const u32 from = EX_VECTORS_FROM * EX_GATE_BYTES;
	u32 i;

	memset(to + from, 0, EX_IDT_BYTES - from);
	memcpy(to + EX_SYSCALL * EX_GATE_BYTES, guest + EX_SYSCALL * EX_GATE_BYTES, EX_GATE_BYTES);
	memset(direct, 0, 8 * sizeof(*direct));
	for (i = 0; i < n; i++)
		gate_copy(to, guest, route[i].host, route[i].guest, direct);
	if (timer)
		gate_copy(to, guest, EX_TIMER_VECTOR, timer, direct);
}

u8 ex_msi_vector(u32 address_lo, u32 address_hi, u32 data, u32 id, bool only_vcpu)
{
	u32 to = (address_lo >> 12 & 0xff) | (address_hi & 0xffffff00);
	u8 vector = data & 0xff;

	if ((data >> 8 & 7) > LOWEST_PRIORITY || data & MSI_LEVEL || vector < EX_VECTORS_FROM)
		return 0;
	if (!only_vcpu && (to != id || address_lo & MSI_LOGICAL))
		return 0;
	return vector;
}

u8 ex_command_vector(u64 command, u32 *id)
{
	u32 low = (u32)command & ~COMMAND_ASSERT;

	if (low < EX_VECTORS_FROM || low > 0xff)
		return 0;
	*id = (u32)(command >> 32);
	return (u8)low;
}

bool ex_canonical(u64 address, bool la57)
{
	u32 unused = la57 ? 64 - 57 : 64 - 48;

	return (u64)((s64)(address << unused) >> unused) == address;
}
