/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a BIOS boots from the first sector of a disk: reads the eight sectors from 2048 on, writes
 * them to 4096 on, and prints the text in them, up to a 0, on the first serial port.
 */
	.code16
	.globl	_start
_start:
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	$0x7c00, %sp
	/* INT 13h: dl is the drive that we are from */
	movb	$0x42, %ah
	movw	$from, %si
	int	$0x13
	jc	halt
	movw	$0x4300, %ax
	movw	$to, %si
	int	$0x13
	jc	halt
	movw	$0x8000, %si
next:
	movw	$0x3fd, %dx
busy:
	inb	%dx, %al
	testb	$0x20, %al
	jz	busy
	lodsb
	testb	%al, %al
	jz	halt
	movw	$0x3f8, %dx
	outb	%al, %dx
	jmp	next
halt:
	hlt
	jmp	halt

	.balign	4
from:
	.byte	16, 0, 8, 0
	.word	0x8000, 0
	.quad	2048
to:
	.byte	16, 0, 8, 0
	.word	0x8000, 0
	.quad	4096

	.org	510
	.word	0xaa55
