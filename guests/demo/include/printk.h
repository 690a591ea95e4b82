/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_PRINTK_H
#define DEMO_PRINTK_H

#include "types.h"

int vsnprintf(char *buf, size_t size, const char *fmt, va_list args);
int snprintf(char *buf, size_t size, const char *fmt, ...) __printf(3, 4);
int printk(const char *fmt, ...) __printf(1, 2);
void console_write(const char *s, size_t count);
void panic(const char *fmt, ...) __printf(1, 2) __noreturn;

#endif
