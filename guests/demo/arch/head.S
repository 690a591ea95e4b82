/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entry: at the physical address, EL1h, MMU off. Build the page tables, turn the MMU on,
 * go to the kernel's own half. Everything up to __primary_switched is position-independent.
 */
#include "asm.h"
#include "memory.h"

/* MAIR_EL1: attribute 0 normal write-back, 1 Device-nGnRE (Arm ARM, MAIR_EL1). */
#define MAIR		0x04ff
/*
 * TCR_EL1: T0SZ = T1SZ = 16 (48 bits), 4 KiB granules (TG1 = 2), walks inner shareable and
 * write-back cacheable, IPS = 2 (40 bits).
 */
#define TCR_WALK	((3 << 12) | (1 << 10) | (1 << 8))
#define TCR		((16 << 0) | (16 << 16) | TCR_WALK | (TCR_WALK << 16) | (2 << 30) | (2 << 32))
/* SCTLR_EL1: the bits that are RES1 in ARMv8.0 (SPAN among them), M, C, I, SA, SA0. */
#define SCTLR		(0x30d00800 | (1 << 0) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 12))
/* MDSCR_EL1.TDCC, as Linux sets it: the task may not use the debug communications channel. */
#define MDSCR		(1 << 12)

	.section .head.text, "ax"
func	_start
	msr	daifset, #0xf
	mrs	x0, CurrentEL
	cmp	x0, #(1 << 2)
	b.ne	.Lpark
	adrp	x0, __bss_start
	add	x0, x0, :lo12:__bss_start
	adrp	x1, __bss_stop
	add	x1, x1, :lo12:__bss_stop
.Lclear:
	stp	xzr, xzr, [x0], #16
	cmp	x0, x1
	b.lo	.Lclear
	adrp	x0, init_stack + THREAD_SIZE
	mov	sp, x0
	mov	x29, xzr
	bl	create_page_tables
	bl	cpu_setup
	adrp	x0, idmap_pg_dir
	adrp	x1, swapper_pg_dir
	ldr	x2, =__primary_switched
	b	__enable_mmu
.Lpark:
	wfi
	b	.Lpark
	.ltorg
endfunc	_start

func	cpu_setup
	mov	x0, #MAIR
	msr	mair_el1, x0
	ldr	x0, =TCR
	msr	tcr_el1, x0
	msr	cpacr_el1, xzr			/* floating point and SIMD trap, at both levels */
	msr	cntkctl_el1, xzr		/* the task may not read the counters */
	msr	oslar_el1, xzr
	mov	x0, #MDSCR
	msr	mdscr_el1, x0
	isb
	ret
	.ltorg
endfunc	cpu_setup

/* Runs at the physical address before and after the MMU comes on. x0: TTBR0, x1: TTBR1, x2: where to go. */
	.section .idmap.text, "ax"
func	__enable_mmu
	msr	ttbr0_el1, x0
	msr	ttbr1_el1, x1
	isb
	tlbi	vmalle1
	dsb	nsh
	isb
	ldr	x3, =SCTLR
	msr	sctlr_el1, x3
	isb
	br	x2
	.ltorg
endfunc	__enable_mmu

	.text
func	__primary_switched
	.cfi_undefined x30			/* nobody called it */
	adrp	x0, vectors
	add	x0, x0, :lo12:vectors
	msr	vbar_el1, x0
	adrp	x0, init_task
	add	x0, x0, :lo12:init_task
	msr	sp_el0, x0			/* SP_EL0 holds current while in the kernel, as in Linux */
	adrp	x0, init_stack + THREAD_SIZE
	mov	sp, x0
	isb
	msr	daifclr, #0xd			/* debug exceptions, SError, FIQ; IRQs wait for the GIC */
	mov	x29, xzr
	mov	x30, xzr
	bl	start_kernel
	brk	#0x800				/* it does not return */
endfunc	__primary_switched
