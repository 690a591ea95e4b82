/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sorting by a comparison function: heap sort for anything, recursive quick sort for u32. */
#include "sort.h"

noinline int cmp_u32(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return (x > y) - (x < y);
}

noinline int cmp_u32_reverse(const void *a, const void *b)
{
	return cmp_u32(b, a);
}

noinline void swap_u32(void *a, void *b, int size)
{
	u32 t = *(u32 *)a;

	(void)size;
	*(u32 *)a = *(u32 *)b;
	*(u32 *)b = t;
}

/* Let element i of the heap of num elements sink to where both its children are less. */
static void sift_down(char *base, size_t i, size_t num, size_t size, cmp_func_t cmp_func, swap_func_t swap_func)
{
	size_t child;

	while ((child = 2 * i + 1) < num) {
		if (child + 1 < num && cmp_func(base + child * size, base + (child + 1) * size) < 0)
			child++;
		if (cmp_func(base + i * size, base + child * size) >= 0)
			return;
		swap_func(base + i * size, base + child * size, size);
		i = child;
	}
}

noinline void sort(void *base, size_t num, size_t size, cmp_func_t cmp_func, swap_func_t swap_func)
{
	size_t i;

	for (i = num / 2; i-- > 0;)
		sift_down(base, i, num, size, cmp_func, swap_func);
	for (i = num; i-- > 1;) {
		swap_func(base, (char *)base + i * size, size);
		sift_down(base, 0, i, size, cmp_func, swap_func);
	}
}

/* base[first] to base[last], both included. */
noinline void quick_sort(u32 *base, long first, long last, cmp_func_t cmp_func)
{
	long i = first, j = last;
	u32 pivot;

	if (first >= last)
		return;
	pivot = base[(first + last) / 2];
	while (i <= j) {
		while (cmp_func(&base[i], &pivot) < 0)
			i++;
		while (cmp_func(&base[j], &pivot) > 0)
			j--;
		if (i <= j)
			swap_u32(&base[i++], &base[j--], sizeof(u32));
	}
	quick_sort(base, first, j, cmp_func);
	quick_sort(base, i, last, cmp_func);
}
