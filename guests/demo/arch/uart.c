/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The console: PL011 (Arm DDI 0183). */
#include "uart.h"
#include "gic.h"
#include "memory.h"
#include "printk.h"
#include "psci.h"
#include "sysreg.h"

#define UARTDR		0x00
#define UARTFR		0x18
#define UARTLCR_H	0x2c
#define UARTCR		0x30
#define UARTIMSC	0x38
#define UARTICR		0x44

#define FR_RXFE		(1 << 4)
#define FR_TXFF		(1 << 5)
#define LCR_H_FEN	(1 << 4)
#define LCR_H_WLEN_8	(3 << 5)
#define CR_UARTEN	(1 << 0)
#define CR_TXE		(1 << 8)
#define CR_RXE		(1 << 9)
#define INT_RX		(1 << 4)
#define INT_RT		(1 << 6)

#define UART_IRQ	33

static unsigned long uart(unsigned int offset)
{
	return device_virt(UART_PHYS) + offset;
}

void uart_init(void)
{
	writel(0, uart(UARTCR));
	writel(0, uart(UARTIMSC));
	writel(0x7ff, uart(UARTICR));
	writel(LCR_H_WLEN_8 | LCR_H_FEN, uart(UARTLCR_H));
	writel(CR_UARTEN | CR_TXE | CR_RXE, uart(UARTCR));
}

void uart_enable_receive(void)
{
	request_irq(UART_IRQ, pl011_interrupt, "uart-pl011", NULL);
	writel(INT_RX | INT_RT, uart(UARTIMSC));
}

noinline void uart_putc(char c)
{
	while (readl(uart(UARTFR)) & FR_TXFF)
		;
	writel((u8)c, uart(UARTDR));
}

/* One byte from the line: q ends the machine, anything else is echoed. */
noinline void console_input(char c)
{
	if (c == 'q') {
		printk("console: q received, powering off\n");
		machine_power_off();
	}
	uart_putc(c);
	if (c == '\r')
		uart_putc('\n');
}

noinline void pl011_interrupt(unsigned int irq, void *dev_id)
{
	(void)irq;
	(void)dev_id;
	writel(INT_RX | INT_RT, uart(UARTICR));
	while (!(readl(uart(UARTFR)) & FR_RXFE))
		console_input(readl(uart(UARTDR)) & 0xff);
}
