/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copies between the kernel and the task, and from kernel addresses that may be bad. */
#include "uaccess.h"

noinline unsigned long copy_from_user(void *to, const void *from, unsigned long n)
{
	return __arch_copy_from_user(to, from, n);
}

noinline unsigned long copy_to_user(void *to, const void *from, unsigned long n)
{
	return __arch_copy_to_user(to, from, n);
}

noinline long copy_from_kernel_nofault(void *dst, const void *src, size_t size)
{
	return probe_read(dst, src, size);
}
