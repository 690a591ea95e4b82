/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_UART_H
#define DEMO_UART_H

void uart_init(void);
void uart_enable_receive(void);
void uart_putc(char c);
void pl011_interrupt(unsigned int irq, void *dev_id);
void console_input(char c);

#endif
