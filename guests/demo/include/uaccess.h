/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_UACCESS_H
#define DEMO_UACCESS_H

#include "types.h"

/* These two return the number of bytes that could not be copied. */
unsigned long copy_from_user(void *to, const void *from, unsigned long n);
unsigned long copy_to_user(void *to, const void *from, unsigned long n);

/* This one returns 0 or -EFAULT. */
long copy_from_kernel_nofault(void *dst, const void *src, size_t size);

/* uaccess.S */
unsigned long __arch_copy_from_user(void *to, const void *from, unsigned long n);
unsigned long __arch_copy_to_user(void *to, const void *from, unsigned long n);
long probe_read(void *dst, const void *src, size_t size);

#endif
