/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Accesses that may fault. Each such instruction has an entry in the exception table, and
 * therefore may not be probed; its neighbours may.
 */
#include "asm.h"

#define EX_TYPE_UACCESS_ERR_ZERO	2
#define EX_TYPE_KACCESS_ERR_ZERO	3

	.text
/*
 * unsigned long __arch_copy_from_user(void *to, const void *from, unsigned long n)
 * Loads with the task's own rights (LDTR), so a kernel address faults as well.
 */
func	__arch_copy_from_user
	cbz	x2, 2f
1:	ldtrb	w3, [x1]
	add	x1, x1, #1
	strb	w3, [x0], #1
	subs	x2, x2, #1
	b.ne	1b
2:	mov	x0, x2
	ret
	extable	1b, 2b, EX_TYPE_UACCESS_ERR_ZERO
endfunc	__arch_copy_from_user

/* unsigned long __arch_copy_to_user(void *to, const void *from, unsigned long n) */
func	__arch_copy_to_user
	cbz	x2, 2f
1:	ldrb	w3, [x1], #1
3:	sttrb	w3, [x0]
	add	x0, x0, #1
	subs	x2, x2, #1
	b.ne	1b
2:	mov	x0, x2
	ret
	extable	3b, 2b, EX_TYPE_UACCESS_ERR_ZERO
endfunc	__arch_copy_to_user

/*
 * long probe_read(void *dst, const void *src, size_t size)
 * From any address; the fault handler itself puts -EFAULT in w4 and 0 in w3.
 */
func	probe_read
	mov	w4, wzr
	cbz	x2, 2f
1:	ldrb	w3, [x1]
	add	x1, x1, #1
	strb	w3, [x0], #1
	subs	x2, x2, #1
	b.ne	1b
2:	sxtw	x0, w4
	ret
	extable	1b, 2b, EX_TYPE_KACCESS_ERR_ZERO, 4, 3
endfunc	probe_read
