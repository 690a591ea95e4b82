/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What becomes of a fault at an instruction that has an entry in the exception table. */
#include "traps.h"

extern const struct exception_table_entry __start___ex_table[], __stop___ex_table[];

static noinline const struct exception_table_entry *search_exception_tables(unsigned long pc)
{
	const struct exception_table_entry *ex;

	for (ex = __start___ex_table; ex < __stop___ex_table; ex++)
		if ((unsigned long)&ex->insn + ex->insn == pc)
			return ex;
	return NULL;
}

static void set_reg(struct pt_regs *regs, int reg, u64 value)
{
	if (reg != 31)
		regs->regs[reg] = value;
}

/* If regs->pc has an entry: set its error register to -EFAULT, zero the other, go to the fixup. */
bool fixup_exception(struct pt_regs *regs)
{
	const struct exception_table_entry *ex = search_exception_tables(regs->pc);

	if (!ex)
		return false;
	set_reg(regs, ex->data & 31, -EFAULT);
	set_reg(regs, (ex->data >> 5) & 31, 0);
	regs->pc = (unsigned long)&ex->fixup + ex->fixup;
	return true;
}
