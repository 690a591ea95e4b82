/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What happens between the first instruction in the kernel's half and the workload. */
#include "gic.h"
#include "memory.h"
#include "mmu.h"
#include "printk.h"
#include "sched.h"
#include "sections.h"
#include "sysreg.h"
#include "timer.h"
#include "uart.h"
#include "workload.h"

void start_kernel(void) __noreturn;

void start_kernel(void)
{
	uart_init();
	printk("demo kernel: AArch64 at EL1, MIDR %08lx\n", read_sysreg(midr_el1));
	switch_to_user_mm();
	printk("mmu: 48-bit addresses, 4 KiB pages, RAM %x at %016lx, SCTLR %08lx\n",
	       PHYS_OFFSET, PAGE_OFFSET, read_sysreg(sctlr_el1));
	printk("mmu: text %016lx r-x, rodata %016lx r--, data %016lx rw-\n",
	       (unsigned long)_text, (unsigned long)__start_rodata, (unsigned long)_sdata);
	printk("vectors: %016lx\n", read_sysreg(vbar_el1));
	gic_init();
	timer_init();
	uart_enable_receive();
	local_irq_enable();
	start_user_task();
	workload_run();
}
