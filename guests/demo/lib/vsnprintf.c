/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * %d %u %x %c %s %%, with l, a width and a leading 0. Returns the length the whole text has,
 * as the C library's does; what does not fit is left out, and the result is terminated.
 */
#include "printk.h"

struct printf_buf {
	char *buf;
	size_t size;
	size_t len;
};

static void put(struct printf_buf *out, char c)
{
	if (out->len + 1 < out->size)
		out->buf[out->len] = c;
	out->len++;
}

static noinline void put_number(struct printf_buf *out, u64 value, unsigned int base, int width, char pad)
{
	char digits[20];
	int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	for (; width > n; width--)
		put(out, pad);
	while (n)
		put(out, digits[--n]);
}

noinline int vsnprintf(char *buf, size_t size, const char *fmt, va_list args)
{
	struct printf_buf out = { buf, size, 0 };

	for (; *fmt; fmt++) {
		bool is_long = false;
		char pad = ' ';
		int width = 0;

		if (*fmt != '%') {
			put(&out, *fmt);
			continue;
		}
		if (*++fmt == '0') {
			pad = '0';
			fmt++;
		}
		for (; *fmt >= '0' && *fmt <= '9'; fmt++)
			width = width * 10 + *fmt - '0';
		if (*fmt == 'l') {
			is_long = true;
			fmt++;
		}
		switch (*fmt) {
		case 'd': {
			s64 value = is_long ? va_arg(args, long) : va_arg(args, int);

			if (value < 0)
				put(&out, '-');
			put_number(&out, value < 0 ? -(u64)value : (u64)value, 10, width, pad);
			break;
		}
		case 'u':
			put_number(&out, is_long ? va_arg(args, u64) : va_arg(args, u32), 10, width, pad);
			break;
		case 'x':
			put_number(&out, is_long ? va_arg(args, u64) : va_arg(args, u32), 16, width, pad);
			break;
		case 'c':
			put(&out, va_arg(args, int));
			break;
		case 's': {
			const char *s = va_arg(args, const char *);

			while (*s)
				put(&out, *s++);
			break;
		}
		default:
			put(&out, *fmt);
		}
	}
	if (size)
		buf[out.len < size ? out.len : size - 1] = '\0';
	return out.len;
}

noinline int snprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(buf, size, fmt, args);
	va_end(args);
	return len;
}
