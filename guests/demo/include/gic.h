/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DEMO_GIC_H
#define DEMO_GIC_H

#include "ptrace.h"
#include "types.h"

#define NR_IRQS		64

typedef void (*irq_handler_t)(unsigned int irq, void *dev_id);

struct irq_desc {
	irq_handler_t handler;
	void *dev_id;
	const char *name;
	u64 count;
};

extern struct irq_desc irq_desc[NR_IRQS];

void gic_init(void);
int request_irq(unsigned int irq, irq_handler_t handler, const char *name, void *dev_id);
void generic_handle_irq(unsigned int irq);
void gic_handle_irq(struct pt_regs *regs);

#endif
