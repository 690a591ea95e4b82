/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_SPINLOCK_H
#define DEMO_SPINLOCK_H

#include "types.h"

typedef struct spinlock {
	volatile u32 locked;
} spinlock_t;

typedef struct atomic {
	volatile s32 counter;
} atomic_t;

void spin_lock(spinlock_t *lock);
void spin_unlock(spinlock_t *lock);
int atomic_add_return(int i, atomic_t *v);

#endif
