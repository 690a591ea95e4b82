/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The start of a test program on the bare machine: EL1, MMU off, one CPU. Ends in PSCI's SYSTEM_OFF. */

	.section .text.start, "ax"
	.globl	_start
	.type	_start, %function
_start:
	.cfi_startproc
	.cfi_undefined x30		/* nothing called this: a backtrace ends here */
	ldr	x0, =vectors
	msr	vbar_el1, x0
	mov	x0, #3 << 20		/* CPACR_EL1.FPEN: floating point is not trapped (Arm ARM, D19.2.30) */
	msr	cpacr_el1, x0
	mov	x0, #1 << 37		/* TCR_EL1.TBI0: the top byte of addresses is a tag, as in Linux (D19.2.139) */
	msr	tcr_el1, x0
	isb
	ldr	x0, =__tls_start	/* behind a thread's control block of 16 bytes (Arm, "ELF for the Arm 64-bit Architecture") */
	sub	x0, x0, #16
	msr	tpidr_el0, x0
	ldr	x0, =__stack
	mov	sp, x0
	mov	x29, xzr
	mov	x30, xzr
	mov	w0, #1			/* argc */
	ldr	x1, =arguments
	ldr	x2, =arguments + 8
	bl	main
	bl	exit
	.cfi_endproc
	.size	_start, . - _start

	.globl	_exit
	.type	_exit, %function
_exit:
	.cfi_startproc
	movz	w0, #0x8400, lsl #16	/* SYSTEM_OFF (Arm DEN0022, 5.9) */
	movk	w0, #0x0008
	hvc	#0
0:	b	0b
	.cfi_endproc
	.size	_exit, . - _exit

	.balign	2048
	.type	vectors, %function
vectors:
	.rept	16
	b	.
	.balign	128
	.endr
	.size	vectors, . - vectors

	.section .rodata
	.balign	8
arguments:
	.quad	name, 0, 0
name:	.asciz	"test"
