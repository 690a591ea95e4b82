/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Functions that call themselves: what a kretprobe's pool of instances is for. */
#include "recursion.h"

noinline unsigned long fib(unsigned int n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

/* The moves it takes: 2^disks - 1. */
noinline unsigned long hanoi(unsigned int disks, int from, int to, int spare)
{
	if (!disks)
		return 0;
	return hanoi(disks - 1, from, spare, to) + 1 + hanoi(disks - 1, spare, to, from);
}

noinline unsigned long ackermann(unsigned long m, unsigned long n)
{
	if (!m)
		return n + 1;
	if (!n)
		return ackermann(m - 1, 1);
	return ackermann(m - 1, ackermann(m, n - 1));
}
