/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_TRAPS_H
#define DEMO_TRAPS_H

#include "ptrace.h"
#include "types.h"

/* An entry of __ex_table; insn and fixup are relative to themselves. */
struct exception_table_entry {
	int insn, fixup;
	short type, data;
};

#define EX_TYPE_UACCESS_ERR_ZERO	2
#define EX_TYPE_KACCESS_ERR_ZERO	3

bool fixup_exception(struct pt_regs *regs);
void do_mem_abort(unsigned long far, unsigned long esr, struct pt_regs *regs);
void brk_handler(unsigned long esr, struct pt_regs *regs);
void show_regs(const struct pt_regs *regs);
void die(const char *what, unsigned long esr, struct pt_regs *regs) __noreturn;

/* Called by entry.S, one for each vector. */
void el1t_64_sync_handler(struct pt_regs *regs);
void el1t_64_irq_handler(struct pt_regs *regs);
void el1t_64_fiq_handler(struct pt_regs *regs);
void el1t_64_error_handler(struct pt_regs *regs);
void el1h_64_sync_handler(struct pt_regs *regs);
void el1h_64_irq_handler(struct pt_regs *regs);
void el1h_64_fiq_handler(struct pt_regs *regs);
void el1h_64_error_handler(struct pt_regs *regs);
void el0t_64_sync_handler(struct pt_regs *regs);
void el0t_64_irq_handler(struct pt_regs *regs);
void el0t_64_fiq_handler(struct pt_regs *regs);
void el0t_64_error_handler(struct pt_regs *regs);
void el0t_32_sync_handler(struct pt_regs *regs);
void el0t_32_irq_handler(struct pt_regs *regs);
void el0t_32_fiq_handler(struct pt_regs *regs);
void el0t_32_error_handler(struct pt_regs *regs);

#endif
