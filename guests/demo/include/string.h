/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_STRING_H
#define DEMO_STRING_H

#include "types.h"

size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
ssize_t strscpy(char *dst, const char *src, size_t size);
void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *p, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);

#endif
