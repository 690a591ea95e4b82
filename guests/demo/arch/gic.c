/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The interrupt controller: GICv2 (Arm IHI 0048B), one CPU. */
#include "gic.h"
#include "memory.h"
#include "printk.h"
#include "sysreg.h"

#define GICD_CTLR		0x000
#define GICD_ISENABLER(irq)	(0x100 + (irq) / 32 * 4)
#define GICD_ICENABLER(irq)	(0x180 + (irq) / 32 * 4)
#define GICD_IPRIORITYR(irq)	(0x400 + (irq) / 4 * 4)
#define GICD_ITARGETSR(irq)	(0x800 + (irq) / 4 * 4)

#define GICC_CTLR		0x00
#define GICC_PMR		0x04
#define GICC_IAR		0x0c
#define GICC_EOIR		0x10

#define GIC_SPI_FIRST		32
#define GIC_SPURIOUS		1020

struct irq_desc irq_desc[NR_IRQS];

static unsigned long gicd(unsigned int offset)
{
	return device_virt(GICD_PHYS) + offset;
}

static unsigned long gicc(unsigned int offset)
{
	return device_virt(GICC_PHYS) + offset;
}

void gic_init(void)
{
	unsigned int irq;

	writel(0, gicd(GICD_CTLR));
	for (irq = 0; irq < NR_IRQS; irq += 32)
		writel(0xffffffff, gicd(GICD_ICENABLER(irq)));
	for (irq = 0; irq < NR_IRQS; irq += 4)
		writel(0xa0a0a0a0, gicd(GICD_IPRIORITYR(irq)));
	for (irq = GIC_SPI_FIRST; irq < NR_IRQS; irq += 4)
		writel(0x01010101, gicd(GICD_ITARGETSR(irq)));
	writel(1, gicd(GICD_CTLR));
	writel(0xf0, gicc(GICC_PMR));
	writel(1, gicc(GICC_CTLR));
	printk("gic: GICv2, distributor %x, CPU interface %x\n", GICD_PHYS, GICC_PHYS);
}

int request_irq(unsigned int irq, irq_handler_t handler, const char *name, void *dev_id)
{
	if (irq >= NR_IRQS || irq_desc[irq].handler)
		return -EINVAL;
	irq_desc[irq].dev_id = dev_id;
	irq_desc[irq].name = name;
	irq_desc[irq].handler = handler;
	writel(1u << (irq % 32), gicd(GICD_ISENABLER(irq)));
	return 0;
}

noinline void generic_handle_irq(unsigned int irq)
{
	struct irq_desc *desc = &irq_desc[irq];

	desc->count++;
	desc->handler(irq, desc->dev_id);
}

void __irq_entry gic_handle_irq(struct pt_regs *regs)
{
	u32 iar;

	(void)regs;
	while (((iar = readl(gicc(GICC_IAR))) & 0x3ff) < GIC_SPURIOUS) {
		unsigned int irq = iar & 0x3ff;

		if (irq < NR_IRQS && irq_desc[irq].handler)
			generic_handle_irq(irq);
		writel(iar, gicc(GICC_EOIR));
	}
}
