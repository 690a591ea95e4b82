/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_SORT_H
#define DEMO_SORT_H

#include "types.h"

typedef int (*cmp_func_t)(const void *a, const void *b);
typedef void (*swap_func_t)(void *a, void *b, int size);

void sort(void *base, size_t num, size_t size, cmp_func_t cmp_func, swap_func_t swap_func);
void quick_sort(u32 *base, long first, long last, cmp_func_t cmp_func);
int cmp_u32(const void *a, const void *b);
int cmp_u32_reverse(const void *a, const void *b);
void swap_u32(void *a, void *b, int size);

#endif
