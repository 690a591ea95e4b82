/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The guest's accesses to devices, counters and timers. */
#include <string.h>

#include "run.h"

/* In a callback of a device: have the instruction executed again, alone, with its own count. */
static void again(struct core *core)
{
    load(core);
    memcpy(core->saved, core_x(core), sizeof core->saved);
    core->redo = true;
    core->emu_stop(core->uc);
}

/* The timer whose register that is, or NULL. */
static struct timer *timer_of(const struct core *core, const struct cp_reg *which)
{
    bool is_timer = which->op0 == 3 && which->op1 == 3 && which->crn == 14 && which->crm >> 1 == 1 && which->op2 <= 2;
    return is_timer ? core->timers[which->crm & 1] : NULL;
}

static bool is_counter(const struct cp_reg *which)
{
    return which->op0 == 3 && which->op1 == 3 && which->crn == 14 && which->crm == 0 && 1 << which->op2 & 0x66;
}

/* An MRS. `user` is a `struct site`; `destination` is Unicorn's number. EL0's accesses are trapped by the CPU
 * itself. */
static uint32_t on_mrs(void *uc, int destination, const struct cp_reg *which, void *user)
{
    const struct site *site = user;
    struct core *core = site->core;
    load(core);
    if (!(core_pstate(core) & 0xC))
        return 0;
    uint64_t value = core_ticks(core, core_executed(core, site->address));
    const struct timer *timer = timer_of(core, which);
    if (timer) {
        value = armprobe_timer_read(timer, value, which->op2);
    } else if (!is_counter(which)) { /* CNTPCT or CNTVCT */
        core->called = true;
        return core->read_register(uc, destination, which, NULL);
    }
    if ((uint32_t)destination != core->xzr)
        core->reg_write(uc, destination, &value);
    return 1;
}

/* An MSR, likewise. */
static uint32_t on_msr(void *uc, int source, const struct cp_reg *which, void *user)
{
    const struct site *site = user;
    struct core *core = site->core;
    load(core);
    if (!(core_pstate(core) & 0xC))
        return 0;
    struct timer *timer = timer_of(core, which);
    if (!timer) {
        core->called = true;
        return core->write_register(uc, source, which, NULL);
    }
    uint64_t value = 0, count = core_ticks(core, core_executed(core, site->address));
    if ((uint32_t)source != core->xzr)
        core->reg_read(uc, source, &value);
    armprobe_timer_write(timer, count, which->op2, value);
    slice_follow_signal(core);
    uint64_t deadline = armprobe_timer_deadline(timer);
    if (deadline != TIMER_NEVER) /* the run was to end at an earlier one */
        armprobe_limit(core, deadline > count ? deadline - count : 0);
    return 1;
}

/* An IC, which does nothing in the CPU itself. */
static uint32_t on_ic(void *uc, int source, const struct cp_reg *which, void *user)
{
    const struct site *site = user;
    struct core *core = site->core;
    uint64_t address = 0;
    load(core);
    if (!(core_pstate(core) & 0xC))
        return 0;
    if ((uint32_t)source != core->xzr)
        core->reg_read(uc, source, &address);
    if (which->op1 && !translated_take(core, address)) /* IC IVAU */
        return 0;
    core->called = true;
    return core->write_register(uc, source, which, NULL);
}

/* Whether the instruction is executed again and has made this access already; `value` is what it gave then. The last
 * access made is the instruction's, too, and those of one instruction are at different places. */
static bool replayed(struct core *core, const struct window *window, uint64_t offset, uint64_t *value)
{
    if (!core->replay)
        return false;
    for (uint64_t i = core->access_count; i-- && i + CORE_ACCESSES >= core->access_count;) {
        const struct access *access = &core->accesses[i % CORE_ACCESSES];
        if (access->window == window && access->offset == offset) {
            core->replay = i + 1 < core->access_count;
            *value = access->value;
            return true;
        }
    }
    return false;
}

/* After an access of a device's function: it may have raised an interrupt, or the guest has enabled one. */
static void accessed(const struct window *window, uint64_t offset, uint64_t value)
{
    struct core *core = window->core;
    core->accesses[core->access_count++ % CORE_ACCESSES] = (struct access){window, offset, value};
    if (core->running) {
        slice_follow_signal(core);
        if (core->ends || core->interrupting)
            armprobe_limit(core, 0);
    }
    core->accessing = false;
    load(core);
    if (core->running && !core->exact && !core->handling && (core->ends_after_access || core_interrupted(core))) {
        core->replay = true;
        again(core);
    }
}

/* Whether an access of the guest has to be made at the count of its instruction, which is not known yet. */
static bool timed(const struct window *window)
{
    const struct core *core = window->core;
    return window->timed && core->running && !core->exact && !core->handling;
}

static uint64_t on_read(void *uc, uint64_t offset, unsigned size, void *user)
{
    (void)uc;
    struct window *window = user;
    struct core *core = window->core;
    if (core->redo)
        return 0;
    uint64_t value;
    if (replayed(core, window, offset, &value))
        return value;
    if (timed(window)) {
        again(core);
        return 0;
    }
    core->accessing = true;
    core->called |= !window->device;
    value = window->read(window->device, offset, size);
    accessed(window, offset, value);
    return value;
}

static void on_write(void *uc, uint64_t offset, unsigned size, uint64_t value, void *user)
{
    (void)uc;
    struct window *window = user;
    struct core *core = window->core;
    if (core->redo)
        return;
    uint64_t before;
    if (replayed(core, window, offset, &before))
        return;
    if (timed(window)) {
        again(core);
        return;
    }
    core->accessing = true;
    core->called |= !window->device;
    window->write(window->device, offset, size, value);
    accessed(window, offset, 0);
}

/* `instruction` is Unicorn's number of that at `site`. */
ARMPROBE_EXPORT int armprobe_hook_register(struct site *site, int instruction)
{
    enum { MRS = 1, MSR, SYS };
    size_t hook;
    struct core *core = site->core;
    void *callback = instruction == MRS ? (void *)on_mrs : instruction == MSR ? (void *)on_msr : (void *)on_ic;
    return core->hook_add(core->uc, &hook, UC_HOOK_INSN, callback, site, site->address, site->address, instruction);
}

ARMPROBE_EXPORT int armprobe_attach(struct window *window, uint64_t base, uint64_t size)
{
    struct core *core = window->core;
    return core->mmio_map(core->uc, base, size, (void *)on_read, window, (void *)on_write, window);
}
