// SPDX-License-Identifier: GPL-2.0-or-later
// Calls one of the kernel's functions for a whole array of arguments, so that the host enters the guest once for all of
// them. An entry of the array (cold_kernel.py, ENTRY):
//
//      0  x0, x1, x2   arguments
//     24  offset       of the address asked about from its symbol's start, in bytes; -1 for no symbol
//     32  result       x0 as the function returned it

	.text

// call_each(x0 = function, x1 = the first entry, x2 = the end of the array); there is at least one
	.global call_each
call_each:
	stp	x29, x30, [sp, #-48]!
	mov	x29, sp
	stp	x19, x20, [sp, #16]
	str	x21, [sp, #32]
	mov	x21, x0
	mov	x19, x1
	mov	x20, x2
1:	msr	tpidr_el0, x19		// for known_symbol; the kernel's functions do not touch it
	ldp	x0, x1, [x19]
	ldr	x2, [x19, #16]
	blr	x21
	str	x0, [x19, #32]
	add	x19, x19, #40
	cmp	x19, x20
	b.ne	1b
	ldr	x21, [sp, #32]
	ldp	x19, x20, [sp, #16]
	ldp	x29, x30, [sp], #48
	ret

// In place of kallsyms_lookup_size_offset(address, *size, *offset): the answer is in the entry. Its one caller here,
// arm_kprobe_decode_insn, makes no use of the size.
	.global known_symbol
known_symbol:
	mrs	x3, tpidr_el0
	ldr	x4, [x3, #24]
	cmn	x4, #1
	b.eq	2f
	str	x4, [x2]
2:	cset	w0, ne
	ret

// In place of a function of two arguments: appends them to the array at TPIDR_EL0, whose first word is its size in bytes
	.global record
record:
	mrs	x2, tpidr_el0
	ldr	x3, [x2]
	add	x4, x2, x3
	stp	x0, x1, [x4]
	add	x3, x3, #16
	str	x3, [x2]
	mov	w0, #0
	ret
