/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The C half of the vectors: tell exceptions apart by ESR_EL1.EC (Arm ARM, ESR_EL1). */
#include "gic.h"
#include "printk.h"
#include "syscall.h"
#include "sysreg.h"
#include "traps.h"

#define ESR_EC(esr)	((esr) >> 26)
#define EC_UNKNOWN	0x00
#define EC_SVC64	0x15
#define EC_IABT_CUR	0x21
#define EC_DABT_CUR	0x25
#define EC_SOFTSTP_CUR	0x33
#define EC_BRK64	0x3c

noinline void show_regs(const struct pt_regs *regs)
{
	int i;

	printk("pc %016lx lr %016lx sp %016lx pstate %08lx\n", regs->pc, regs->regs[30], regs->sp, regs->pstate);
	for (i = 0; i < 30; i += 3)
		printk("x%d %016lx x%d %016lx x%d %016lx\n", i, regs->regs[i],
		       i + 1, regs->regs[i + 1], i + 2, regs->regs[i + 2]);
}

noinline void die(const char *what, unsigned long esr, struct pt_regs *regs)
{
	printk("%s: ESR %lx FAR %016lx\n", what, esr, read_sysreg(far_el1));
	show_regs(regs);
	panic("%s", what);
}

noinline void do_mem_abort(unsigned long far, unsigned long esr, struct pt_regs *regs)
{
	if (fixup_exception(regs))
		return;
	printk("Unable to handle kernel access at virtual address %016lx\n", far);
	die("Oops", esr, regs);
}

/* A BRK nobody outside the kernel claimed. It is not a place for a kprobe, as in Linux. */
void __kprobes brk_handler(unsigned long esr, struct pt_regs *regs)
{
	printk("Unexpected kernel BRK exception at EL1, immediate %lx\n", esr & 0xffff);
	die("BRK", esr, regs);
}

/*
 * An exception masks everything; run its handler with what the interrupted code had unmasked. Where no
 * debug exception is being handled these are unmasked in any case: Linux's enable_dbg, v4.8 to v5.4.
 */
void noinstr el1h_64_sync_handler(struct pt_regs *regs)
{
	unsigned long esr = read_sysreg(esr_el1);
	unsigned long far = read_sysreg(far_el1);

	switch (ESR_EC(esr)) {
	case EC_BRK64:
	case EC_SOFTSTP_CUR:
		local_irq_restore(regs->pstate & PSR_DAIF);
		break;
	default:
		local_irq_restore(regs->pstate & PSR_DAIF & ~PSR_D);
	}
	switch (ESR_EC(esr)) {
	case EC_UNKNOWN:
		die("Oops - undefined instruction", esr, regs);
	case EC_DABT_CUR:
	case EC_IABT_CUR:
		do_mem_abort(far, esr, regs);
		break;
	case EC_BRK64:
		brk_handler(esr, regs);
		break;
	case EC_SOFTSTP_CUR:
		die("Unexpected kernel single-step exception at EL1", esr, regs);
	default:
		die("Unhandled exception at EL1", esr, regs);
	}
}

void noinstr el1h_64_irq_handler(struct pt_regs *regs)
{
	local_irq_restore(PSR_I | PSR_F);
	gic_handle_irq(regs);
}

void noinstr el0t_64_sync_handler(struct pt_regs *regs)
{
	unsigned long esr = read_sysreg(esr_el1);

	if (ESR_EC(esr) != EC_SVC64)
		die("Unhandled exception at EL0", esr, regs);
	local_irq_restore(0);
	do_el0_svc(regs);
}

void noinstr el0t_64_irq_handler(struct pt_regs *regs)
{
	local_irq_restore(PSR_I | PSR_F);
	gic_handle_irq(regs);
}

/* The other vectors: nothing on this machine should use them. */
#define BAD_VECTOR(name)						\
	void noinstr name##_handler(struct pt_regs *regs)		\
	{								\
		die("Bad mode: " #name, read_sysreg(esr_el1), regs);	\
	}

BAD_VECTOR(el1t_64_sync)
BAD_VECTOR(el1t_64_irq)
BAD_VECTOR(el1t_64_fiq)
BAD_VECTOR(el1t_64_error)
BAD_VECTOR(el1h_64_fiq)
BAD_VECTOR(el1h_64_error)
BAD_VECTOR(el0t_64_fiq)
BAD_VECTOR(el0t_64_error)
BAD_VECTOR(el0t_32_sync)
BAD_VECTOR(el0t_32_irq)
BAD_VECTOR(el0t_32_fiq)
BAD_VECTOR(el0t_32_error)
