/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Functions that begin with an instruction whose effect depends on its own address, or that
 * only branches. Copied elsewhere as it is, it would do something else; each result tells.
 */
#include "asm.h"

	.text

	.balign	8
.Lbehind:
	.quad	0x0123456789abcdef
.Lbehind_w:
	.word	0x89abcdef

/* u64 pcrel_adr(void): 0x0123456789abcdef */
func	pcrel_adr
	adr	x0, .Lbehind
	ldr	x0, [x0]
	ret
endfunc	pcrel_adr

/* u64 pcrel_adrp(void): 0xfedcba9876543210 */
func	pcrel_adrp
	adrp	x0, pcrel_page
	ldr	x0, [x0, :lo12:pcrel_page]
	ret
endfunc	pcrel_adrp

/* u64 pcrel_ldr_literal(void): 0x1122334455667788 */
func	pcrel_ldr_literal
	ldr	x0, 1f
	ret
	.balign	8
1:	.quad	0x1122334455667788
endfunc	pcrel_ldr_literal

/* u64 pcrel_ldr_literal_w(void): 0x89abcdef; the literal is behind it */
func	pcrel_ldr_literal_w
	ldr	w0, .Lbehind_w
	ret
endfunc	pcrel_ldr_literal_w

/* s64 pcrel_ldrsw_literal(void): -0x76543211 */
func	pcrel_ldrsw_literal
	ldrsw	x0, .Lbehind_w
	ret
endfunc	pcrel_ldrsw_literal

/* u64 pcrel_b(u64 x): x + 1 */
func	pcrel_b
	b	1f
	mov	x0, xzr
	ret
1:	add	x0, x0, #1
	ret
endfunc	pcrel_b

/* u64 pcrel_leaf(u64 x): 3 * x */
func	pcrel_leaf
	add	x0, x0, x0, lsl #1
	ret
endfunc	pcrel_leaf

/* u64 pcrel_bl(u64 x): 3 * x + 1. It cannot save x30 first, so call_pcrel_bl leaves a copy in x9. */
func	pcrel_bl
	bl	pcrel_leaf
	add	x0, x0, #1
	ret	x9
endfunc	pcrel_bl

func	call_pcrel_bl
	stp	x29, x30, [sp, #-16]!
	.cfi_def_cfa_offset 16
	.cfi_offset x29, -16
	.cfi_offset x30, -8
	mov	x29, sp
	adr	x9, 1f
	bl	pcrel_bl
1:	ldp	x29, x30, [sp], #16
	.cfi_def_cfa_offset 0
	.cfi_restore x29
	.cfi_restore x30
	ret
endfunc	call_pcrel_bl

/* u64 pcrel_bcond(u64 a, u64 b): the greater, unsigned. The flags are those of a - b. */
func	pcrel_bcond
	b.hs	1f
	mov	x0, x1
1:	ret
endfunc	pcrel_bcond

func	call_pcrel_bcond
	cmp	x0, x1
	b	pcrel_bcond
endfunc	call_pcrel_bcond

/* u64 pcrel_cbz(u64 x): x ? 1 : 2 */
func	pcrel_cbz
	cbz	x0, 1f
	mov	x0, #1
	ret
1:	mov	x0, #2
	ret
endfunc	pcrel_cbz

/* u64 pcrel_cbnz(u64 x): x ? 4 : 3 */
func	pcrel_cbnz
	cbnz	x0, 1f
	mov	x0, #3
	ret
1:	mov	x0, #4
	ret
endfunc	pcrel_cbnz

/* u64 pcrel_tbz(u64 x): bit 33 ? 5 : 6 */
func	pcrel_tbz
	tbz	x0, #33, 1f
	mov	x0, #5
	ret
1:	mov	x0, #6
	ret
endfunc	pcrel_tbz

/* u64 pcrel_tbnz(u64 x): bit 3 ? 8 : 7 */
func	pcrel_tbnz
	tbnz	x0, #3, 1f
	mov	x0, #7
	ret
1:	mov	x0, #8
	ret
endfunc	pcrel_tbnz

/* u64 pcrel_ret(u64 x): x */
func	pcrel_ret
	ret
endfunc	pcrel_ret

/* u64 pcrel_br(u64 x, u64 (*target)(u64)): target(x), which returns to the caller */
func	pcrel_br
	br	x1
endfunc	pcrel_br

/* u64 pcrel_blr(u64 x, u64 (*target)(u64)): target(x) + 2; x30 as for pcrel_bl */
func	pcrel_blr
	blr	x1
	add	x0, x0, #2
	ret	x9
endfunc	pcrel_blr

func	call_pcrel_blr
	stp	x29, x30, [sp, #-16]!
	.cfi_def_cfa_offset 16
	.cfi_offset x29, -16
	.cfi_offset x30, -8
	mov	x29, sp
	adr	x9, 1f
	bl	pcrel_blr
1:	ldp	x29, x30, [sp], #16
	.cfi_def_cfa_offset 0
	.cfi_restore x29
	.cfi_restore x30
	ret
endfunc	call_pcrel_blr

/*
 * u64 pcrel_blr_x30(void): back to the caller at once, with x30 after the BLR: the target is
 * read before x30 is written (Arm ARM C6.2, BLR).
 */
func	pcrel_blr_x30
	blr	x30
	brk	#0x800
endfunc	pcrel_blr_x30

/* u64 call_pcrel_blr_x30(void): how far after pcrel_blr_x30 x30 was: 4 */
func	call_pcrel_blr_x30
	stp	x29, x30, [sp, #-16]!
	.cfi_def_cfa_offset 16
	.cfi_offset x29, -16
	.cfi_offset x30, -8
	mov	x29, sp
	bl	pcrel_blr_x30
	adr	x0, pcrel_blr_x30
	sub	x0, x30, x0
	ldp	x29, x30, [sp], #16
	.cfi_def_cfa_offset 0
	.cfi_restore x29
	.cfi_restore x30
	ret
endfunc	call_pcrel_blr_x30

	.section .rodata
	.balign	8
	.type	pcrel_page, %object
pcrel_page:
	.quad	0xfedcba9876543210
	.size	pcrel_page, . - pcrel_page
