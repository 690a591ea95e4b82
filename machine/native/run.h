/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files share that run a core. */
#ifndef ARMPROBE_RUN_H
#define ARMPROBE_RUN_H

#include "core.h"

/* Kinds of exceptions, as offsets in each of the vectors' four groups (D1.3.1). */
enum kind { SYNCHRONOUS = 0, IRQ = 0x80, FIQ = 0x100 };

static inline void core_stop(struct core *core, enum end why)
{
    core->why = why;
    core->emu_stop(core->uc);
}

/* After an exception that was handled here: end the run if that was asked for. */
static inline void core_stop_if_asked(struct core *core)
{
    if (core->ends || core->interrupting)
        core->emu_stop(core->uc);
}

/* Whether the interrupt that the GIC signals would be taken now. */
static inline bool core_interrupted(struct core *core)
{
    return core->irq && !(*core_u32(core, core->layout.daif) & core->mask);
}

static inline void core_set_limit(struct core *core)
{
    core->masked_limit = core->copy || core->framed || core->shows ? 0 : core->hard;
    core->limit = core->irq || core->framed || core->shows ? 0 : core->hard;
}

/* core.c */

/* The count is that before the block under way, and of `instructions` of it. The block is over. */
void core_settle(struct core *core, uint64_t instructions);

/* Settle with all instructions before `pc` executed, and with the whole block if `pc` is not in it. */
void core_settle_before(struct core *core, uint64_t pc);

void core_set_exits(struct core *core, bool with_own);

/* Whether there is an exit at a breakpoint. */
bool core_is_exit(const struct core *core, uint64_t pc);

/* Let the run under way go on for `count` instructions at most. Only for hooks. */
void armprobe_limit(struct core *core, uint64_t count);

void armprobe_refresh(struct core *core);

/* own_code.c */

/* Whether the instruction at `pc` is code of the machine's own, which the guest executes in place of or beside its
 * own. */
bool own_is_at(const struct core *core, uint64_t pc);

/* Whether the run under way does not end at `pc`, because it is in the midst of the machine's own code. */
bool own_is_aside(const struct core *core, uint64_t pc);

/* One more step aside: a block of the machine's own code, or a breakpoint. False if there were too many to be free. */
bool own_free_step(struct core *core);

/* The instructions of the guest's that a block of the machine's own code stands for: 1 or 0. */
uint64_t own_stands_for(const struct core *core, uint64_t pc);

/* Put the entry in place that maps the machine's own memory, if the fault at `address` is for want of it. Returns
 * whether it is. `during` is the blocks begun meanwhile. */
bool own_show(struct core *core, uint64_t address, uint32_t during);
void own_hide(struct core *core);

/* Drop the code translated from [first, end). */
void own_forget(struct core *core, uint64_t first, uint64_t end);

/* The guest enters code of the machine's own that uses its stack: keep what is there. */
void own_keep_frame(struct core *core);

/* The guest is back: put back what was on its stack, unless it has executed something meanwhile, as in a call. */
void own_put_back_frame(struct core *core);

/* exceptions.c */

/* The address in EL1's vectors for the kind of exception at offset `kind` in each of their four groups. */
uint64_t exception_vector(const struct core *core, uint32_t kind);

/* Enter EL1's vector for an exception (Arm ARM, D1.3, AArch64.TakeException); as `exceptions.enter` does. */
void exception_enter(struct core *core, uint32_t kind);

/* UC_HOOK_INTR */
void exception_raised(void *uc, uint32_t number, void *user);

/* slices.c */

/* Follow what the GIC signals. */
void slice_follow_signal(struct core *core);

/* Between two slices, do what Python would do there (`Scheduler._look_up`, `RunLoop.slice`). If it may have more to do,
 * such as after a call, return false: it goes on from any of these states as from the end of a slice. */
bool slice_next(struct core *core);

/* translated.c */

/* Note that code may be translated there. */
void translated_mark(struct core *core, uint64_t pc, uint64_t size);

/* Whether code of the page at `address` may have been translated since this was asked last. */
bool translated_take(struct core *core, uint64_t address);

/* followed.c */

/* UC_HOOK_EDGE_GENERATED: a block has been translated, and is not executed yet. `found` is called if it has an
 * instruction to follow. */
void code_translated(void *uc, const struct block *block, const struct block *previous, void *user);

#endif
