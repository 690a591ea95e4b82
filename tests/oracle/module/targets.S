/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Functions to probe. SYM_FUNC_START would begin each with a BTI. */
#include <linux/linkage.h>
#include <linux/version.h>
#if LINUX_VERSION_CODE < KERNEL_VERSION(5, 17, 0)
#include <asm/assembler.h>
#define _asm_extable_uaccess _asm_extable
#else
#include <asm/asm-extable.h>
#endif

/* x0 + x1, and the flags of their difference */
SYM_CODE_START(oracle_add)
	add	x2, x0, x1
	subs	x3, x0, x1
	mov	x0, x2
	ret
SYM_CODE_END(oracle_add)

/* three times x0; called from handlers, so that its probes are hit while others are */
SYM_CODE_START(oracle_inner)
	add	x1, x0, x0
	add	x0, x1, x0
	ret
SYM_CODE_END(oracle_inner)

/* as oracle_inner, but its first instruction is simulated */
SYM_CODE_START(oracle_inner_simulated)
	cbz	x0, 1f
	add	x1, x0, x0
	add	x0, x1, x0
1:	ret
SYM_CODE_END(oracle_inner_simulated)

/* the exceptions that are masked */
SYM_CODE_START(oracle_daif)
	mrs	x0, daif
	ret
SYM_CODE_END(oracle_daif)

/* calls itself x0 times */
SYM_CODE_START(oracle_recurse)
	stp	x29, x30, [sp, #-16]!
	mov	x29, sp
	cbz	x0, 1f
	sub	x0, x0, #1
	bl	oracle_recurse
	add	x0, x0, #1
1:	ldp	x29, x30, [sp], #16
	ret
SYM_CODE_END(oracle_recurse)

/* leaves its return address in place, and goes on in another function */
SYM_CODE_START(oracle_tail)
	add	x0, x0, #7
	b	oracle_add
SYM_CODE_END(oracle_tail)

/* changes the registers that it may, and the flags */
SYM_CODE_START(oracle_spoil)
	.irp	n, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17
	movz	x\n, #0x1100 + \n, lsl #16
	.endr
	cmp	x0, x0
	ret
SYM_CODE_END(oracle_spoil)

/* where a handler makes oracle_add return to, instead of its caller */
SYM_CODE_START(oracle_elsewhere)
	add	x0, x0, #100
	adr	x30, oracle_elsewhere_back
	ldr	x30, [x30]
	ret
SYM_CODE_END(oracle_elsewhere)
oracle_elsewhere_back:
	.quad	oracle_called

/* a live load and store exclusive */
SYM_CODE_START(oracle_exclusive)
	sub	x9, sp, #16
	stp	x0, xzr, [sp, #-16]!
1:	ldxr	x2, [sp]
	add	x2, x2, #1
	stxr	w3, x2, [sp]
	cbnz	w3, 1b
	ldp	x0, x4, [sp], #16
	ret
SYM_CODE_END(oracle_exclusive)

/* never called: instructions that are refused */
SYM_CODE_START(oracle_refused)
	mrs	x0, daif
	msr	daifclr, #2
	msr	tpidr_el0, x0
	hint	#1
	hint	#0x14
	prfm	pldl1keep, oracle_refused
	svc	#0
	eret
	ldxr	x0, [x1]
	add	x0, x0, #1
	stxr	w2, x0, [x1]
	ret
SYM_CODE_END(oracle_refused)

/* loads from the address in x0, and leaves that in x2 */
SYM_CODE_START(oracle_load)
	ldr	x1, [x0]
	mov	x2, x0
	mov	x0, x1
	ret
SYM_CODE_END(oracle_load)

/* the same, expected to fault */
SYM_CODE_START(oracle_load_guarded)
1:	ldr	x1, [x0]
	mov	x0, x1
2:	ret
	_asm_extable_uaccess 1b, 2b
SYM_CODE_END(oracle_load_guarded)

/* one of each kind of instruction that is simulated, and some of those that are not */
SYM_CODE_START(oracle_each)
	mov	x15, x30
	add	x2, x0, x1
	subs	x3, x0, x1
	csinc	x4, x2, x3, ne
	madd	x5, x2, x3, x4
	extr	x6, x5, x4, #13
	stp	x0, x1, [sp, #-32]!
	str	w5, [sp, #16]
	ldr	w7, [sp, #16]
	ldp	x8, x9, [sp], #32
	mrs	x10, nzcv
	nop
	hint	#0x22
	dmb	ish
	isb
	adr	x11, oracle_each
	adr	x12, .Lliteral
	adrp	x13, oracle_add
	ldr	x14, .Lliteral
	ldr	w16, .Lliteral
	ldrsw	x17, .Lliteral
	b	1f
	.inst	0
1:	b.eq	2f
	b.ne	3f
2:	b	4f
3:	b.al	4f
4:	cbz	xzr, 5f
	.inst	0
5:	cbz	x15, 6f
	cbnz	w15, 6f
6:	cbnz	xzr, 7f
	tbz	x15, #63, 7f
7:	tbnz	x15, #63, 8f
	tbz	w15, #0, 8f
8:	tbnz	w15, #0, 9f
9:	bl	.Lleaf
	adr	x18, .Lleaf
	blr	x18
	adr	x30, .Lleaf
	blr	x30
	adr	x18, 10f
	br	x18
	.inst	0
10:	msr	nzcv, x10
	ret	x15
.Lleaf:	add	x1, x1, #1
	ret
	.p2align 3
.Lliteral:
	.quad	0x89abcdef87654321
SYM_CODE_END(oracle_each)
