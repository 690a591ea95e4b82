/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The EL0 task's first page: its entry, and the one instruction it calls the kernel by. */
#include "asm.h"

	.text
func	_user_start
	.cfi_undefined x30			/* nobody called it */
	mov	x29, xzr
	mov	x30, xzr
	bl	user_main
	brk	#1				/* it does not return */
endfunc	_user_start

/* long user_syscall(long a0, long a1, long a2, long number) */
func	user_syscall
	stp	x29, x30, [sp, #-16]!
	.cfi_def_cfa_offset 16
	.cfi_offset x29, -16
	.cfi_offset x30, -8
	mov	x29, sp
	mov	x8, x3
	svc	#0
	ldp	x29, x30, [sp], #16
	.cfi_def_cfa_offset 0
	.cfi_restore x29
	.cfi_restore x30
	ret
endfunc	user_syscall
