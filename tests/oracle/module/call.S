/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <linux/linkage.h>

#include "oracle.h"

/*
 * void oracle_call(struct call *call): call a function with all registers as call says, and write down those that it
 * left. What it sees is the same whoever has called this; no two registers have the same value, the frame pointer and
 * the stack pointer among them.
 */
SYM_FUNC_START(oracle_call)
	sub	sp, sp, #112
	stp	x29, x30, [sp, #16]
	add	x29, sp, #16
	stp	x19, x20, [sp, #32]
	stp	x21, x22, [sp, #48]
	stp	x23, x24, [sp, #64]
	stp	x25, x26, [sp, #80]
	stp	x27, x28, [sp, #96]
	str	x0, [sp]
	ldr	x1, [x0, #29 * 8]
	msr	nzcv, x1
	ldr	x30, [x0, #CALL_FUNCTION]
	.irp	n, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26
	ldr	x\n, [x0, #CALL_INPUT + \n * 8]
	.endr
	.irp	n, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 28
	ldr	x\n, [x0, #CALL_INPUT + \n * 8]
	.endr
	ldp	x0, x1, [x0, #CALL_INPUT]
	blr	x30
SYM_INNER_LABEL(oracle_called, SYM_L_GLOBAL)
	str	x30, [sp, #8]
	ldr	x30, [sp]
	add	x30, x30, #CALL_OUTPUT
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29
	str	x\n, [x30, #\n * 8]
	.endr
	ldr	x0, [sp, #8]
	mov	x1, sp
	stp	x0, x1, [x30, #30 * 8]
	adr	x0, oracle_called
	mrs	x1, nzcv
	stp	x0, x1, [x30, #32 * 8]
	ldp	x19, x20, [sp, #32]
	ldp	x21, x22, [sp, #48]
	ldp	x23, x24, [sp, #64]
	ldp	x25, x26, [sp, #80]
	ldp	x27, x28, [sp, #96]
	ldp	x29, x30, [sp, #16]
	add	sp, sp, #112
	ret
SYM_FUNC_END(oracle_call)
