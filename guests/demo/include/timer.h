/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_TIMER_H
#define DEMO_TIMER_H

#include "types.h"

#define HZ	250

/* Ticks since start-up. */
extern volatile u64 jiffies;

void timer_init(void);
void timer_stop(void);
void arch_timer_handler_virt(unsigned int irq, void *dev_id);
void tick_periodic(void);

#endif
