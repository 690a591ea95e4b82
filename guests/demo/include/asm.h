/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every assembly file needs: symbols with a type and a size, and exception-table entries. */
#ifndef DEMO_ASM_H
#define DEMO_ASM_H

	.cfi_sections .debug_frame

	.macro	func, name
	.balign	16
	.global	\name
	.type	\name, %function
\name:
	.cfi_startproc
	.endm

	.macro	endfunc, name
	.cfi_endproc
	.size	\name, . - \name
	.endm

	/*
	 * struct exception_table_entry as of Linux 5.19: int insn, fixup (each relative to itself);
	 * short type, data. data: error register in bits 4-0, zeroed register in bits 9-5; 31 = none.
	 */
	.macro	extable, insn, fixup, type, err=31, zero=31
	.pushsection __ex_table, "a"
	.balign	4
	.long	\insn - .
	.long	\fixup - .
	.short	\type
	.short	(\zero << 5) | \err
	.popsection
	.endm

#endif
