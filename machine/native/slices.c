/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between two slices of a run, time passes and interrupts are taken, without Python where it has nothing to do. */
#include "run.h"

/* The ends of slices in a run, and the length of a run in slices, after which Python looks for signals and input. */
enum { MOST_SLICES = 1000, MOST_IN_A_ROW = 4 };

void slice_follow_signal(struct core *core)
{
    uint32_t signal = armprobe_gic_signal(core->interface);
    core->irq = signal != GIC_NONE;
    core->mask = signal == GIC_FIQ ? PSTATE_F : PSTATE_I;
    core_set_limit(core);
}

/* Drive the timers' interrupt lines to their states at the count `now`. */
ARMPROBE_EXPORT void armprobe_update_timers(const struct core *core, uint64_t now)
{
    for (int i = 0; i < 2; i++)
        armprobe_timer_update(core->timers[i], now);
}

/* The generic timer's count at which a timer or a device acts next, after `now`; TIMER_NEVER for none. */
static uint64_t next_deadline(const struct core *core, uint64_t now)
{
    uint64_t next = core->deadline;
    for (int i = 0; i < 2; i++) {
        uint64_t deadline = armprobe_timer_deadline(core->timers[i]);
        if (deadline > now && deadline < next)
            next = deadline;
    }
    return next;
}

/* Drive the timers' lines. A guest that waits is given the time until the next interrupt is pending. False if Python
 * has to see to something: a device, or a guest that waits for good. */
static bool update_time(struct core *core)
{
    for (;;) {
        uint64_t now = core_ticks(core, core->base);
        if (core->deadline <= now || ++core->slices > MOST_SLICES)
            return false;
        armprobe_update_timers(core, now);
        slice_follow_signal(core);
        if (!core->waiting || core->irq)
            break;
        uint64_t next = next_deadline(core, now);
        if (next == TIMER_NEVER)
            return false;
        *core->idle += next - now;
    }
    core->waiting = false;
    return true;
}

bool slice_next(struct core *core)
{
    if (!core->slice || core->called || core->ends || core->interrupting || core->watching || core->slot_running ||
        core->base >= core->end || core->base - core->begin >= MOST_IN_A_ROW * core->slice)
        return false;
    uint64_t pc = core_x(core)[32];
    if (core->framed && !own_is_at(core, pc))
        own_put_back_frame(core);
    own_hide(core);
    if (core->recorder && core->running == 1)
        armprobe_places_settle(core->recorder, core->base);
    if (!update_time(core))
        return false;
    bool taken = core_interrupted(core) && !own_is_aside(core, pc);
    uint32_t kind = core->mask == PSTATE_F ? FIQ : IRQ;
    if (core->exit_count && core_is_exit(core, taken ? exception_vector(core, kind) : pc))
        return false;
    if (taken) {
        exception_enter(core, kind);
        core->irq = 0; /* until the guest has acknowledged it: an access to the GIC follows the signal again */
    }
    core->hard = core->base + core->slice < core->end ? core->base + core->slice : core->end;
    uint64_t next = next_deadline(core, core_ticks(core, core->base));
    if (next - *core->idle < core->hard)
        core->hard = next - *core->idle;
    core_set_limit(core);
    return true;
}
