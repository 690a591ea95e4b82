/* SPDX-License-Identifier: GPL-2.0-or-later */
/* struct pt_regs: the layout of Linux 6.1 on arm64, 0x150 bytes, filled by entry.S. */
#ifndef DEMO_PTRACE_H
#define DEMO_PTRACE_H

#define S_LR		0xf0
#define S_SP		0xf8
#define S_PC		0x100
#define S_PSTATE	0x108
#define S_ORIG_X0	0x110
#define S_SYSCALLNO	0x118
#define S_STACKFRAME	0x130
#define PT_REGS_SIZE	0x150

#define NO_SYSCALL	(-1)

#define PSR_MODE_EL0t	0x0
#define PSR_F		0x040
#define PSR_I		0x080
#define PSR_D		0x200
#define PSR_DAIF	0x3c0

#ifndef __ASSEMBLER__
#include "types.h"

struct pt_regs {
	u64 regs[31];
	u64 sp;
	u64 pc;
	u64 pstate;
	u64 orig_x0;
	s32 syscallno;
	u32 unused2;
	u64 sdei_ttbr1;
	u64 pmr_save;
	u64 stackframe[2];
	u64 lockdep_hardirqs;
	u64 exit_rcu;
};

_Static_assert(offsetof(struct pt_regs, regs[30]) == S_LR, "pt_regs");
_Static_assert(offsetof(struct pt_regs, sp) == S_SP, "pt_regs");
_Static_assert(offsetof(struct pt_regs, pc) == S_PC, "pt_regs");
_Static_assert(offsetof(struct pt_regs, pstate) == S_PSTATE, "pt_regs");
_Static_assert(offsetof(struct pt_regs, orig_x0) == S_ORIG_X0, "pt_regs");
_Static_assert(offsetof(struct pt_regs, syscallno) == S_SYSCALLNO, "pt_regs");
_Static_assert(offsetof(struct pt_regs, stackframe) == S_STACKFRAME, "pt_regs");
_Static_assert(sizeof(struct pt_regs) == PT_REGS_SIZE, "pt_regs");
#endif

#endif
