/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages to the console. */
#include "printk.h"
#include "sysreg.h"
#include "timer.h"
#include "uart.h"

#define LINE_MAX	256

/* With IRQs masked, so that the echo of what is typed does not come between. */
noinline void console_write(const char *s, size_t count)
{
	unsigned long flags = local_irq_save();
	size_t i;

	for (i = 0; i < count; i++) {
		if (s[i] == '\n')
			uart_putc('\r');
		uart_putc(s[i]);
	}
	local_irq_restore(flags);
}

static int vprintk(const char *fmt, va_list args)
{
	char line[LINE_MAX];
	int len = vsnprintf(line, sizeof(line), fmt, args);

	console_write(line, len < LINE_MAX ? len : LINE_MAX - 1);
	return len;
}

noinline int printk(const char *fmt, ...)
{
	va_list args;
	int len;

	va_start(args, fmt);
	len = vprintk(fmt, args);
	va_end(args);
	return len;
}

/* Says why and stops for good: every exception masked and no tick to wake it. */
noinline void panic(const char *fmt, ...)
{
	va_list args;

	asm volatile("msr daifset, #0xf" : : : "memory");
	timer_stop();
	printk("Kernel panic - not syncing: ");
	va_start(args, fmt);
	vprintk(fmt, args);
	va_end(args);
	printk("\n");
	for (;;)
		asm volatile("wfi");
}
