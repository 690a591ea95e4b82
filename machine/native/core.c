/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs one engine by blocks of code, and counts instructions exactly.
 *
 * Unicorn calls `on_block` at the start of each block of straight-line code, with its size. So the count is that of
 * the blocks that have ended, and the place in the block under way. A run ends before a block that would pass its
 * limit. The rest of the run ends at an exit: an address at which Unicorn ends a translated block (see
 * `breakpoints.py`).
 *
 * The count is of the guest's own instructions: see own_code.c.
 */
#include <string.h>

#include "run.h"

#define UC_CTL_EXITS UC_CTL_WRITE(6, 2)

enum { UC_ERR_FETCH_UNMAPPED = 8, UC_ERR_FETCH_PROT = 14 };

/* Have the engine compute again what it derives from PSTATE and the system registers. */
ARMPROBE_EXPORT void armprobe_refresh(struct core *core)
{
    if (core->rebuild)
        core->rebuild(core->cpu);
    else /* writing a system register does that, too */
        core->reg_write(core->uc, core->cp_reg, &core->refreshed);
}

/* The block under way may be one of the machine's `own` code, or pass the limit, which is 0 while an interrupt is
 * pending. Returns whether it is executed. */
static bool look(struct core *core, bool own)
{
    uint64_t pc = core->block, count = core->count;
    core->count = 0;
    if (own) {
        if (core->base <= core->hard && own_free_step(core)) {
            core->count = own_stands_for(core, pc);
            if (core->frame_size && pc == core->frame_entry)
                own_keep_frame(core);
            return true;
        }
    } else if (core->framed) {
        own_put_back_frame(core);
    }
    if (core->irq && !core->exact) { /* an access that has been made already completes first */
        load(core);
        if (core_interrupted(core)) {
            core_stop(core, END_INTERRUPT);
            return false;
        }
    }
    if (core->base + count > core->hard) {
        core_stop(core, END_LIMIT);
        return false;
    }
    if (own)
        core->aside_base = core->base + count; /* what follows is no more free than this */
    core->count = count;
    return true;
}

/* The block under way has been noted, and there may be more to do. */
static __attribute__((noinline)) void inspect(struct core *core)
{
    uint64_t pc = core->block, count = core->count;
    if (core->shows && !--core->shows)
        own_hide(core);
    core->returning = pc == core->ret && count; /* no instruction is executed at a breakpoint */
    if (core->returning) {
        core->count = 0;
        if (core->functions) /* a call may return here: one that was made in place of a return */
            functions_in_block(core, pc, count);
        call_returns(core->recorder);
        return;
    }
    bool own = own_is_at(core, pc);
    if ((own || core->base + count > core->limit) && !look(core, own))
        return;
    if (core->functions)
        functions_in_block(core, pc, count);
}

/* Whether a block ends beyond the limit. It does while an interrupt is pending. The guest may mask that for long, as when
 * it does all its work so: then the block is like any other. */
static inline bool is_beyond(const struct core *core, uint64_t end)
{
    return end > core->limit && (end > core->masked_limit || !(*core_u32(core, core->layout.daif) & core->mask));
}

/* Whether something is to be done at a block in the range that is looked at. */
static inline bool is_looked_at(const struct core *core, uint64_t pc, uint64_t count)
{
    return pc - core->own < core->own_size || core->borrowed_count || !functions_are_quiet(core, pc, count);
}

static void on_block(void *uc, uint64_t pc, uint32_t size, void *user)
{
    (void)uc;
    struct core *core = user;
    uint64_t base = core->base + core->count, count = size / 4;
    core->base = base;
    core->block = pc;
    core->count = count;
    if (__builtin_expect(is_beyond(core, base + count), 0) ||
        (__builtin_expect(pc - core->looked < core->looked_size, 0) && is_looked_at(core, pc, count)))
        inspect(core);
}

void core_settle(struct core *core, uint64_t instructions)
{
    core->base += instructions < core->count ? instructions : core->count;
    core->count = 0;
}

void core_settle_before(struct core *core, uint64_t pc)
{
    core_settle(core, pc - core->block < 4 * core->count ? (pc - core->block) / 4 : core->count);
}

/* Drop the code translated from the instructions from a virtual address up to `end`. */
ARMPROBE_EXPORT int armprobe_forget(const struct core *core, uint64_t address, uint64_t end)
{
    return core->ctl(core->uc, UC_CTL_REMOVE_CACHE, address, end);
}

/* Have translated blocks end at `core->exits`. */
ARMPROBE_EXPORT void armprobe_set_exits(struct core *core)
{
    core_set_exits(core, false);
}

void core_set_exits(struct core *core, bool with_own)
{
    uint64_t exits[core->exit_count + 1];
    for (uint64_t i = 0; i < core->exit_count; i++)
        exits[i] = core->exits[i];
    exits[core->exit_count] = core->exit_at;
    core->ctl(core->uc, UC_CTL_EXITS, exits, (size_t)(core->exit_count + with_own));
}

bool core_is_exit(const struct core *core, uint64_t pc)
{
    for (uint64_t i = 0; i < core->exit_count; i++)
        if (core->exits[i] == pc)
            return true;
    return false;
}

ARMPROBE_EXPORT uint64_t armprobe_executed(struct core *core)
{
    if (!core->count)
        return core->base;
    load(core);
    return core_executed(core, core_x(core)[32]);
}

/* In a hook of an instruction that is not to be executed: end the run before it. */
ARMPROBE_EXPORT void armprobe_stop_before(struct core *core)
{
    load(core);
    core_settle_before(core, core_x(core)[32]);
    core->emu_stop(core->uc);
}

/* Does nothing. With any hook there, the engine looks for a request to stop before the instruction. */
ARMPROBE_EXPORT void armprobe_on_check(void *uc, uint64_t pc, uint32_t size, void *user)
{
    (void)uc, (void)pc, (void)size, (void)user;
}

/* Before a DC ZVA, which the engine tells memory hooks of only if its TLB does not have the page as written to: the page
 * has to be looked up again then (qemu/target/arm/helper-a64.c, HELPER(dc_zva)). `user` is the `struct core`. */
ARMPROBE_EXPORT void armprobe_on_zeroing(void *uc, uint64_t pc, uint32_t size, void *user)
{
    (void)pc, (void)size;
    ((struct core *)user)->ctl(uc, UC_CTL_TLB_FLUSH);
}

/* Call `callback` with `user` before each instruction from `first` to `last`; at all addresses if `last` is below it. */
ARMPROBE_EXPORT int armprobe_hook_code(const struct core *core, size_t *hook, void *callback, void *user,
                                       uint64_t first, uint64_t last)
{
    return core->hook_add(core->uc, hook, UC_HOOK_CODE, callback, user, first, last);
}

ARMPROBE_EXPORT void armprobe_limit(struct core *core, uint64_t count)
{
    if (core->accessing && !core->exact) { /* the place in the block is not known */
        core->ends_after_access = true;
        return;
    }
    uint64_t end = armprobe_executed(core) + count;
    if (end < core->hard)
        core->hard = end;
    core_set_limit(core);
}

/* At rest. A run may end before the RET of a call that has returned: that is executed here. */
static void end_return(struct core *core)
{
    uint64_t *x = core_x(core);
    if (core->returning && core->block == core->ret && x[32] == core->ret)
        x[32] = x[30];
    if (core->recorder)
        call_leave_spare(core->recorder);
    store(core);
}

/* Run from `pc`, until `exit` if `exiting`. The count is settled afterwards. Returns Unicorn's error.
 *
 * The block that ends at an exit of the core's own stays translated (`at_exit` sees to it where it is executed
 * without the exit), because a step is often followed by the same step: `stepped` are the addresses of blocks of one
 * instruction.
 */
static int go(struct core *core, uint64_t pc, bool exiting, uint64_t exit)
{
    core->why = END_OTHER;
    core->whole = false;
    core->exiting = exiting;
    core->exit_at = exit;
    if (exiting) {
        uint64_t *stepped = &core->stepped[pc / 4 % STEPPED];
        core_set_exits(core, true);
        if (exit != pc + 4 || *stepped != pc)
            own_forget(core, pc, exit);
        *stepped = exit == pc + 4 ? pc : 0;
        core->any_stepped = true;
    } else if (core->any_stepped) {
        memset(core->stepped, 0, sizeof core->stepped);
        core->any_stepped = false;
    }
    translated_mark(core, pc, 4); /* the engine does not say so of the first block of a run */
    int error = core->emu_start(core->uc, pc, 0, 0, 0);
    if (core->exiting) {
        core->exiting = false;
        core_set_exits(core, false);
    }
    load(core);
    end_return(core);
    pc = core_x(core)[32];
    if (error == UC_ERR_FETCH_UNMAPPED || error == UC_ERR_FETCH_PROT || core->whole)
        core_settle(core, core->count);
    else if (error) /* the instruction counts, as one that faults does */
        core_settle(core, (pc - core->block) / 4 + 1);
    else
        core_settle_before(core, pc);
    return error;
}

/* Run up to `count` instructions from `pc`, after `now` instructions, and further slices up to the count `end` while
 * Python has nothing to do between them. Returns Unicorn's error.
 *
 * A hook may call this: for the run that is under way then, the instructions of the inner run count before its
 * block. */
ARMPROBE_EXPORT int armprobe_run(struct core *core, uint64_t now, uint64_t pc, uint64_t count)
{
    own_hide(core);
    const struct core outer = *core;

    core->running++;
    core->begin = core->base = now;
    core->count = core->slices = 0;
    core->called = false;
    core->hard = core->base + count;
    core_set_limit(core);
    core->redo = core->exact = core->ends_after_access = core->handling = core->accessing = false;
    int error = go(core, pc, count == 1 && !own_is_aside(core, pc), pc + 4);
    while (!error) {
        load(core);
        uint64_t *x = core_x(core);
        if (core->redo) {
            /* An access to a device that ends the run, or that takes place at an exact time: Unicorn has gone back to
             * its instruction, which is executed again, alone. */
            core->redo = false;
            memcpy(x, core->saved, sizeof core->saved);
            store(core);
            core->exact = true;
            error = go(core, x[32], true, x[32] + 4);
            core->exact = core->replay = false;
            if (core->why != END_EXIT || core->ends_after_access)
                break;
        }
        if (core->why == END_OTHER)
            break;
        bool over = core->base > core->hard || (core->base == core->hard && !own_is_aside(core, x[32]));
        if (over || core->why == END_INTERRUPT || core->why == END_WAIT) {
            if (!slice_next(core))
                break;
            error = go(core, x[32], false, 0);
        } else if (core->why == END_LIMIT) {
            error = go(core, x[32], true, x[32] + 4 * (core->hard - core->base));
        } else {
            error = go(core, x[32], false, 0);
        }
    }
    if (core->framed && !own_is_at(core, core_x(core)[32]))
        own_put_back_frame(core);
    own_hide(core);
    core->running--;
    slot_leave(core);
    core->ended = core->base;
    core->executed = core->base - core->begin;
    core->base = outer.base + core->executed;
    core->begin = outer.begin, core->hard = outer.hard, core->block = outer.block, core->count = outer.count;
    core_set_limit(core);
    core->called = outer.called, core->slices = outer.slices;
    core->why = outer.why, core->whole = outer.whole, core->exiting = outer.exiting, core->exit_at = outer.exit_at;
    core->handling = outer.handling, core->accessing = outer.accessing, core->exact = outer.exact;
    core->redo = outer.redo, core->replay = outer.replay, core->ends_after_access = outer.ends_after_access;
    return error;
}

/* Between two runs: execute only code that is translated, or was, under this number. */
ARMPROBE_EXPORT void armprobe_use_generation(struct core *core, uint64_t generation)
{
    *core->generation = generation;
    memset(core->stepped, 0, sizeof core->stepped);
}

ARMPROBE_EXPORT int armprobe_start(struct core *core)
{
    size_t hook;
    const struct {
        int type;
        void *callback;
    } hooks[] = {{UC_HOOK_BLOCK, (void *)on_block}, {UC_HOOK_INTR, (void *)exception_raised},
                 {UC_HOOK_EDGE_GENERATED, (void *)code_translated}};
    int error = 0;
    for (int i = 0; i < 3 && !error; i++) /* an empty range means all addresses */
        error = core->hook_add(core->uc, &hook, hooks[i].type, hooks[i].callback, core, (uint64_t)1, (uint64_t)0);
    return error;
}
