/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Functions whose first instruction is the one in their name. Those it reads the PC from are
 * the ones a kprobe must simulate; those of insn.S it must refuse.
 */
#ifndef DEMO_PCREL_H
#define DEMO_PCREL_H

#include "types.h"

u64 pcrel_adr(void);
u64 pcrel_adrp(void);
u64 pcrel_ldr_literal(void);
u64 pcrel_ldr_literal_w(void);
s64 pcrel_ldrsw_literal(void);
u64 pcrel_b(u64 x);
u64 pcrel_bl(u64 x);
u64 pcrel_bcond(u64 a, u64 b);
u64 pcrel_cbz(u64 x);
u64 pcrel_cbnz(u64 x);
u64 pcrel_tbz(u64 x);
u64 pcrel_tbnz(u64 x);
u64 pcrel_ret(u64 x);
u64 pcrel_br(u64 x, u64 (*target)(u64));
u64 pcrel_blr(u64 x, u64 (*target)(u64));
u64 pcrel_blr_x30(void);
u64 pcrel_leaf(u64 x);

/* Set up what the function of that name expects, and call it. */
u64 call_pcrel_bl(u64 x);
u64 call_pcrel_bcond(u64 a, u64 b);
u64 call_pcrel_blr(u64 x, u64 (*target)(u64));
u64 call_pcrel_blr_x30(void);

u64 insn_mrs_daif(void);
u64 insn_msr_daifclr(u64 x);
u64 insn_yield(u64 x);
u64 insn_prfm_literal(u64 x);
u64 insn_ldxr(u64 *p);
u64 insn_nop(u64 x);

#endif
