/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_RECURSION_H
#define DEMO_RECURSION_H

#include "types.h"

unsigned long fib(unsigned int n);
unsigned long hanoi(unsigned int disks, int from, int to, int spare);
unsigned long ackermann(unsigned long m, unsigned long n);

#endif
