/* SPDX-License-Identifier: GPL-2.0-or-later */
/* System registers, barriers and the interrupt mask. */
#ifndef DEMO_SYSREG_H
#define DEMO_SYSREG_H

#include "types.h"

#define read_sysreg(reg) ({						\
	u64 __v;							\
	asm volatile("mrs %0, " #reg : "=r" (__v));			\
	__v; })
#define write_sysreg(value, reg)					\
	asm volatile("msr " #reg ", %x0" : : "rZ" ((u64)(value)) : "memory")

#define isb()		asm volatile("isb" : : : "memory")
#define dsb()		asm volatile("dsb sy" : : : "memory")

static inline void local_irq_enable(void)
{
	asm volatile("msr daifclr, #2" : : : "memory");
}

static inline void local_irq_disable(void)
{
	asm volatile("msr daifset, #2" : : : "memory");
}

static inline unsigned long local_irq_save(void)
{
	unsigned long flags = read_sysreg(daif);

	local_irq_disable();
	return flags;
}

static inline void local_irq_restore(unsigned long flags)
{
	write_sysreg(flags, daif);
}

static inline u32 readl(unsigned long address)
{
	return *(volatile u32 *)address;
}

static inline void writel(u32 value, unsigned long address)
{
	*(volatile u32 *)address = value;
}

#endif
