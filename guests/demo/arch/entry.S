/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The exception vectors. Each saves a struct pt_regs on the kernel stack, calls a C handler
 * with its address, restores from it and returns; a handler may change any of it.
 */
#include "asm.h"
#include "memory.h"
#include "ptrace.h"

	.macro	kernel_entry, el
	stp	x0, x1, [sp, #16 * 0]
	stp	x2, x3, [sp, #16 * 1]
	stp	x4, x5, [sp, #16 * 2]
	stp	x6, x7, [sp, #16 * 3]
	stp	x8, x9, [sp, #16 * 4]
	stp	x10, x11, [sp, #16 * 5]
	stp	x12, x13, [sp, #16 * 6]
	stp	x14, x15, [sp, #16 * 7]
	stp	x16, x17, [sp, #16 * 8]
	stp	x18, x19, [sp, #16 * 9]
	stp	x20, x21, [sp, #16 * 10]
	stp	x22, x23, [sp, #16 * 11]
	stp	x24, x25, [sp, #16 * 12]
	stp	x26, x27, [sp, #16 * 13]
	stp	x28, x29, [sp, #16 * 14]
	mrs	x22, elr_el1
	mrs	x23, spsr_el1
	.if	\el == 0
	mrs	x21, sp_el0
	adrp	x24, __entry_task
	ldr	x24, [x24, :lo12:__entry_task]
	msr	sp_el0, x24
	stp	xzr, xzr, [sp, #S_STACKFRAME]	/* ends the chain of frame records */
	.else
	add	x21, sp, #PT_REGS_SIZE
	stp	x29, x22, [sp, #S_STACKFRAME]
	.endif
	add	x29, sp, #S_STACKFRAME
	stp	x30, x21, [sp, #S_LR]
	stp	x22, x23, [sp, #S_PC]
	mov	w21, #NO_SYSCALL
	str	w21, [sp, #S_SYSCALLNO]
	/*
	 * To a debugger the caller is the interrupted instruction. It takes a caller's PC from x30,
	 * so that is given as the saved PC; the true x30 of the interrupted code is in pt_regs.
	 */
	.cfi_def_cfa sp, PT_REGS_SIZE
	.cfi_offset x30, S_PC - PT_REGS_SIZE
	.cfi_offset x29, 16 * 14 + 8 - PT_REGS_SIZE
	.cfi_offset sp, S_SP - PT_REGS_SIZE
	.endm

	.macro	kernel_exit, el
	msr	daifset, #0xf
	ldp	x21, x22, [sp, #S_PC]
	msr	elr_el1, x21
	msr	spsr_el1, x22
	.if	\el == 0
	ldr	x23, [sp, #S_SP]
	msr	sp_el0, x23
	.endif
	ldp	x0, x1, [sp, #16 * 0]
	ldp	x2, x3, [sp, #16 * 1]
	ldp	x4, x5, [sp, #16 * 2]
	ldp	x6, x7, [sp, #16 * 3]
	ldp	x8, x9, [sp, #16 * 4]
	ldp	x10, x11, [sp, #16 * 5]
	ldp	x12, x13, [sp, #16 * 6]
	ldp	x14, x15, [sp, #16 * 7]
	ldp	x16, x17, [sp, #16 * 8]
	ldp	x18, x19, [sp, #16 * 9]
	ldp	x20, x21, [sp, #16 * 10]
	ldp	x22, x23, [sp, #16 * 11]
	ldp	x24, x25, [sp, #16 * 12]
	ldp	x26, x27, [sp, #16 * 13]
	ldp	x28, x29, [sp, #16 * 14]
	ldr	x30, [sp, #S_LR]
	add	sp, sp, #PT_REGS_SIZE
	eret
	.endm

	.macro	ventry, name
	.balign	128
	sub	sp, sp, #PT_REGS_SIZE
	b	\name
	.endm

	.section .entry.text, "ax"
	.balign	2048
	.global	vectors
	.type	vectors, %function
vectors:
	ventry	el1t_64_sync
	ventry	el1t_64_irq
	ventry	el1t_64_fiq
	ventry	el1t_64_error

	ventry	el1h_64_sync
	ventry	el1h_64_irq
	ventry	el1h_64_fiq
	ventry	el1h_64_error

	ventry	el0t_64_sync
	ventry	el0t_64_irq
	ventry	el0t_64_fiq
	ventry	el0t_64_error

	ventry	el0t_32_sync
	ventry	el0t_32_irq
	ventry	el0t_32_fiq
	ventry	el0t_32_error
	.balign	128
	.size	vectors, . - vectors

	.macro	handler, el, name
func	\name
	kernel_entry \el
	mov	x0, sp
	bl	\name\()_handler
	.if	\el == 0
	b	ret_to_user
	.else
	b	ret_to_kernel
	.endif
endfunc	\name
	.endm

	handler	1, el1t_64_sync
	handler	1, el1t_64_irq
	handler	1, el1t_64_fiq
	handler	1, el1t_64_error
	handler	1, el1h_64_sync
	handler	1, el1h_64_irq
	handler	1, el1h_64_fiq
	handler	1, el1h_64_error
	handler	0, el0t_64_sync
	handler	0, el0t_64_irq
	handler	0, el0t_64_fiq
	handler	0, el0t_64_error
	handler	0, el0t_32_sync
	handler	0, el0t_32_irq
	handler	0, el0t_32_fiq
	handler	0, el0t_32_error

func	ret_to_kernel
	kernel_exit 1
endfunc	ret_to_kernel

func	ret_to_user
	kernel_exit 0
endfunc	ret_to_user

/* struct task_struct *cpu_switch_to(struct task_struct *prev, struct task_struct *next) */
func	cpu_switch_to
	stp	x19, x20, [x0, #16 * 0]
	stp	x21, x22, [x0, #16 * 1]
	stp	x23, x24, [x0, #16 * 2]
	stp	x25, x26, [x0, #16 * 3]
	stp	x27, x28, [x0, #16 * 4]
	mov	x9, sp
	stp	x29, x9, [x0, #16 * 5]
	str	x30, [x0, #16 * 6]
	ldp	x19, x20, [x1, #16 * 0]
	ldp	x21, x22, [x1, #16 * 1]
	ldp	x23, x24, [x1, #16 * 2]
	ldp	x25, x26, [x1, #16 * 3]
	ldp	x27, x28, [x1, #16 * 4]
	ldp	x29, x9, [x1, #16 * 5]
	ldr	x30, [x1, #16 * 6]
	mov	sp, x9
	msr	sp_el0, x1
	ret
endfunc	cpu_switch_to

/* Where a new task comes out of cpu_switch_to: sp is its struct pt_regs. */
func	ret_from_fork
	bl	schedule_tail
	b	ret_to_user
endfunc	ret_from_fork
