/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Locks by load-exclusive and store-exclusive. A kprobe between the two would break the
 * pair for ever, so it must be refused there, and only there.
 */
#include "asm.h"

	.text
/* void spin_lock(spinlock_t *lock) */
func	spin_lock
	mov	w2, #1
1:	ldaxr	w1, [x0]
	cbnz	w1, 1b
	stxr	w1, w2, [x0]
	cbnz	w1, 1b
	ret
endfunc	spin_lock

/* void spin_unlock(spinlock_t *lock) */
func	spin_unlock
	stlr	wzr, [x0]
	ret
endfunc	spin_unlock

/* int atomic_add_return(int i, atomic_t *v) */
func	atomic_add_return
1:	ldxr	w2, [x1]
	add	w2, w2, w0
	stxr	w3, w2, [x1]
	cbnz	w3, 1b
	mov	w0, w2
	ret
endfunc	atomic_add_return
