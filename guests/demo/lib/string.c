/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Strings and blocks of memory. The compiler also calls memcpy, memmove, memset and memcmp of its own accord. */
#include "string.h"

noinline size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

noinline int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return (u8)*a - (u8)*b;
}

noinline int strncmp(const char *a, const char *b, size_t n)
{
	for (; n; n--, a++, b++) {
		if (*a != *b)
			return (u8)*a - (u8)*b;
		if (!*a)
			break;
	}
	return 0;
}

noinline char *strchr(const char *s, int c)
{
	for (; *s != (char)c; s++)
		if (!*s)
			return NULL;
	return (char *)s;
}

/* The length copied, or -E2BIG if src had to be cut; dst is terminated unless size is 0. */
noinline ssize_t strscpy(char *dst, const char *src, size_t size)
{
	size_t n;

	if (!size)
		return -E2BIG;
	for (n = 0; n < size; n++) {
		dst[n] = src[n];
		if (!src[n])
			return n;
	}
	dst[size - 1] = '\0';
	return -E2BIG;
}

static bool word_aligned(const void *a, const void *b)
{
	return !(((unsigned long)a | (unsigned long)b) & 7);
}

noinline void *memcpy(void *dst, const void *src, size_t n)
{
	u8 *d = dst;
	const u8 *s = src;

	if (word_aligned(d, s))
		for (; n >= 8; n -= 8, d += 8, s += 8)
			*(u64 *)d = *(const u64 *)s;
	while (n--)
		*d++ = *s++;
	return dst;
}

noinline void *memmove(void *dst, const void *src, size_t n)
{
	u8 *d = dst;
	const u8 *s = src;

	if (d <= s || d >= s + n)
		return memcpy(dst, src, n);
	while (n--)
		d[n] = s[n];
	return dst;
}

noinline void *memset(void *p, int c, size_t n)
{
	u8 *d = p;

	if (word_aligned(d, d))
		for (; n >= 8; n -= 8, d += 8)
			*(u64 *)d = (u8)c * 0x0101010101010101UL;
	while (n--)
		*d++ = c;
	return p;
}

noinline int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *p = a, *q = b;

	for (; n; n--, p++, q++)
		if (*p != *q)
			return *p - *q;
	return 0;
}
