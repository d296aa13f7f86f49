/* SPDX-License-Identifier: BSD-2-Clause */
/* kernel/host/vectors.c: the gates of a direct entry, and whose an interrupt is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "host/vectors.h"

/* Each gate says its own vector in all its bytes, and in the last whose IDT it is. */
static void idt_fill(u8 *idt)
{
	for (u32 v = 0; v < 256; v++)
		memset(idt + v * EX_GATE_BYTES, (int)v, EX_GATE_BYTES);
}

static u8 gate(const u8 *idt, u32 vector)
{
	for (u32 i = 1; i < EX_GATE_BYTES; i++)
		assert_int_equal(idt[vector * EX_GATE_BYTES], idt[vector * EX_GATE_BYTES + i]);
	return idt[vector * EX_GATE_BYTES];
}

static bool bit(const u32 *bits, u32 at)
{
	return bits[at / 32] >> at % 32 & 1;
}

static void test_gates(void **state)
{
	static const struct ex_route routes[] = {
		{ .irq = 30, .host = 0x21, .guest = 0x45 },
		{ .irq = 31, .host = 0x45, .guest = 0x21 },
		{ .irq = 32, .host = 0xeb, .guest = 0xfd, .ipi = true },
	};
	u8 guest[EX_IDT_BYTES], to[EX_IDT_BYTES];
	u32 direct[8];

	(void)state;
	idt_fill(guest);
	memset(to, 0xaa, sizeof(to));
	memset(direct, 0xff, sizeof(direct));
	ex_gates_compose(to, guest, routes, 3, 0xf0, direct);
	for (u32 v = 0; v < 256; v++) {
		u8 expected = v < 32 ? 0xaa : 0;
		bool served = true;

		switch (v) {
		case 0x21: expected = 0x45; break;
		case 0x45: expected = 0x21; break;
		case 0xeb: expected = 0xfd; break;
		case EX_TIMER_VECTOR: expected = 0xf0; break;
		case EX_SYSCALL:
			expected = EX_SYSCALL;
			served = false;
			break;
		default: served = false;
		}
		assert_int_equal(gate(to, v), expected);
		assert_int_equal(bit(direct, v), served);
	}
}

/* Without routes and timer nothing is left of what was there before. */
static void test_gates_none(void **state)
{
	u8 guest[EX_IDT_BYTES], to[EX_IDT_BYTES];
	u32 direct[8];

	(void)state;
	idt_fill(guest);
	idt_fill(to);
	ex_gates_compose(to, guest, NULL, 0, 0, direct);
	for (u32 v = 32; v < 256; v++) {
		assert_int_equal(gate(to, v), v == EX_SYSCALL ? EX_SYSCALL : 0);
		assert_false(bit(direct, v));
	}
}

static void test_msi(void **state)
{
	(void)state;
	/* Fixed and lowest priority, to ID 3 or 0x103. */
	assert_int_equal(ex_msi_vector(0xfee03000, 0, 0x41, 3, false), 0x41);
	assert_int_equal(ex_msi_vector(0xfee03000, 0, 0x141, 3, false), 0x41);
	assert_int_equal(ex_msi_vector(0xfee03000, 0x100, 0x41, 0x103, false), 0x41);
	/* Somebody else's, unless there is nobody else. */
	assert_int_equal(ex_msi_vector(0xfee03000, 0, 0x41, 2, false), 0);
	assert_int_equal(ex_msi_vector(0xfee03000, 0x100, 0x41, 3, false), 0);
	assert_int_equal(ex_msi_vector(0xfee03000, 0, 0x41, 2, true), 0x41);
	/* A logical destination. */
	assert_int_equal(ex_msi_vector(0xfee03004, 0, 0x41, 3, false), 0);
	assert_int_equal(ex_msi_vector(0xfee03004, 0, 0x41, 0, true), 0x41);
	/* SMI, NMI, INIT, ExtINT; level-triggered; an exception's vector. */
	for (u32 mode = 2; mode < 8; mode++)
		assert_int_equal(ex_msi_vector(0xfee03000, 0, mode << 8 | 0x41, 3, true), 0);
	assert_int_equal(ex_msi_vector(0xfee03000, 0, 0x8041, 3, true), 0);
	assert_int_equal(ex_msi_vector(0xfee03000, 0, 0x1f, 3, true), 0);
	assert_int_equal(ex_msi_vector(0xfee03000, 0, 0x20, 3, true), 0x20);
}

static void test_command(void **state)
{
	u32 id = 77;

	(void)state;
	assert_int_equal(ex_command_vector(0x3000000fdull, &id), 0xfd);
	assert_int_equal(id, 3);
	assert_int_equal(ex_command_vector(0x104000040fbull, &id), 0xfb);
	assert_int_equal(id, 0x104);
	id = 77;
	/* Modes from lowest priority to start-up, logical, level, shorthands, an exception's
	 * vector. */
	for (u64 mode = 1; mode < 8; mode++)
		assert_int_equal(ex_command_vector(3ull << 32 | mode << 8 | 0xfd, &id), 0);
	assert_int_equal(ex_command_vector(3ull << 32 | 1 << 11 | 0xfd, &id), 0);
	assert_int_equal(ex_command_vector(3ull << 32 | 1 << 15 | 0xfd, &id), 0);
	for (u64 shorthand = 1; shorthand < 4; shorthand++)
		assert_int_equal(ex_command_vector(shorthand << 18 | 0xfd, &id), 0);
	assert_int_equal(ex_command_vector(3ull << 32 | 0x1f, &id), 0);
	assert_int_equal(ex_command_vector(3ull << 32 | 0x80000041, &id), 0);
	assert_int_equal(id, 77);
}

static void test_canonical(void **state)
{
	(void)state;
	for (int la57 = 0; la57 < 2; la57++) {
		assert_true(ex_canonical(0, la57));
		assert_true(ex_canonical(0x00007ffffffff000ull, la57));
		assert_true(ex_canonical(0xffff888012345000ull, la57));
		assert_false(ex_canonical(0x8000000000000000ull, la57));
	}
	assert_false(ex_canonical(0xff11000012345000ull, false));
	assert_true(ex_canonical(0xff11000012345000ull, true));
	assert_false(ex_canonical(0x0000800000000000ull, false));
	assert_true(ex_canonical(0x0000800000000000ull, true));
	assert_false(ex_canonical(0x0100000000000000ull, true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gates),	  cmocka_unit_test(test_gates_none),
		cmocka_unit_test(test_msi),	  cmocka_unit_test(test_command),
		cmocka_unit_test(test_canonical),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
