/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registers of one EL1 timer, virtual or physical (Arm ARM, D11.2). `count` is the counter that it compares with.
 * A register's number is op2 of the system register's encoding: 0 is TVAL, 1 CTL, 2 CVAL. */
#include "native.h"

enum { ENABLE = 1, IMASK = 2, ISTATUS = 4 };

/* Whether the timer is enabled and not masked. */
static bool armed(const struct timer *timer)
{
    return (timer->control & (ENABLE | IMASK)) == ENABLE;
}

/* The count at which the timer will assert its interrupt, or TIMER_NEVER. */
ARMPROBE_EXPORT uint64_t armprobe_timer_deadline(const struct timer *timer)
{
    return armed(timer) ? timer->compare : TIMER_NEVER;
}

/* Drive the interrupt line to its state at `count`. */
ARMPROBE_EXPORT void armprobe_timer_update(const struct timer *timer, uint64_t count)
{
    armprobe_gic_set_line(timer->gic, timer->intid, armed(timer) && count >= timer->compare);
}

ARMPROBE_EXPORT uint64_t armprobe_timer_read(const struct timer *timer, uint64_t count, uint32_t number)
{
    switch (number) {
    case 0:
        return (timer->compare - count) & 0xFFFFFFFF;
    case 1: /* ISTATUS takes no account of IMASK (D19.12.17) */
        return timer->control | (timer->control & ENABLE && count >= timer->compare ? ISTATUS : 0);
    }
    return timer->compare;
}

ARMPROBE_EXPORT void armprobe_timer_write(struct timer *timer, uint64_t count, uint32_t number, uint64_t value)
{
    switch (number) {
    case 0:
        timer->compare = count + (uint64_t)(int64_t)(int32_t)value;
        break;
    case 1:
        timer->control = value & (ENABLE | IMASK);
        break;
    default:
        timer->compare = value;
    }
    armprobe_timer_update(timer, count);
}
