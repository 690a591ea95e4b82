/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tick: the virtual generic timer (Arm ARM D12), HZ times a second. */
#include "timer.h"
#include "gic.h"
#include "printk.h"
#include "sysreg.h"

#define TIMER_VIRT_PPI	27
#define CNTV_CTL_ENABLE	1

volatile u64 jiffies;

static struct clock_event {
	u64 frequency;		/* Hz */
	u64 interval;		/* counter ticks from one interrupt to the next */
	u64 next;		/* the counter's value at the next one */
} clock_event;

noinline void tick_periodic(void)
{
	jiffies++;
}

/* The next tick is counted from the last one due, not from now, so no time is lost. */
noinline void arch_timer_handler_virt(unsigned int irq, void *dev_id)
{
	struct clock_event *event = dev_id;

	(void)irq;
	event->next += event->interval;
	write_sysreg(event->next, cntv_cval_el0);
	tick_periodic();
}

void timer_init(void)
{
	clock_event.frequency = read_sysreg(cntfrq_el0);
	clock_event.interval = clock_event.frequency / HZ;
	isb();
	clock_event.next = read_sysreg(cntvct_el0) + clock_event.interval;
	write_sysreg(clock_event.next, cntv_cval_el0);
	write_sysreg(CNTV_CTL_ENABLE, cntv_ctl_el0);
	isb();
	request_irq(TIMER_VIRT_PPI, arch_timer_handler_virt, "arch_timer", &clock_event);
	printk("timer: virtual timer at %lu Hz, interrupt %d, %d ticks a second\n",
	       clock_event.frequency, TIMER_VIRT_PPI, HZ);
}

void timer_stop(void)
{
	write_sysreg(0, cntv_ctl_el0);
	isb();
}
