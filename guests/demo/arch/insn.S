/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Functions that begin with an instruction a kprobe must refuse; and one NOP, which it takes. */
#include "asm.h"

	.text
/* u64 insn_mrs_daif(void): the mask of exceptions; 0 when called with none masked */
func	insn_mrs_daif
	mrs	x0, daif
	ret
endfunc	insn_mrs_daif

/* u64 insn_msr_daifclr(u64 x): x; unmasks IRQs */
func	insn_msr_daifclr
	msr	daifclr, #2
	ret
endfunc	insn_msr_daifclr

/* u64 insn_yield(u64 x): x */
func	insn_yield
	yield
	ret
endfunc	insn_yield

/* u64 insn_prfm_literal(u64 x): x */
func	insn_prfm_literal
	prfm	pldl1keep, insn_prfm_literal
	ret
endfunc	insn_prfm_literal

/* u64 insn_ldxr(u64 *p): what was at p, which it increments */
func	insn_ldxr
	ldxr	x1, [x0]
	add	x2, x1, #1
	stxr	w3, x2, [x0]
	cbnz	w3, insn_ldxr
	mov	x0, x1
	ret
endfunc	insn_ldxr

/* u64 insn_nop(u64 x): x */
func	insn_nop
	nop
	ret
endfunc	insn_nop
