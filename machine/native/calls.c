/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pairs of entry and return: see places.h.
 *
 * The stack pointer identifies a call: on return it has the value that it had at entry (AAPCS64, 6.4.5.2), and no other
 * task has that value. Several pairs with one stack pointer are the calls of several actions at one place, or of a
 * function and of another that it has tail-called: all but the oldest have the trampoline as return address.
 */
#include <string.h>

#include "core.h"

enum { STACK = 16 << 10 }; /* bytes (THREAD_SIZE): an address farther away is on another stack */

static void forget(struct recorder *recorder, uint64_t index)
{
    if (recorder->pairs[index].holds)
        recorder->free_held[recorder->free_count++] = recorder->pairs[index].held;
    if (index < --recorder->outstanding)
        memmove(recorder->pairs + index, recorder->pairs + index + 1,
                (recorder->outstanding - index) * sizeof *recorder->pairs);
}

/* Room for one more: there is some, unless calls have leaked whose stacks nobody has returned from since. */
static void make_room(struct recorder *recorder)
{
    uint64_t index = 0;
    while (index + 1 < recorder->outstanding && !recorder->pairs[index].leaked)
        index++;
    forget(recorder, index);
}

/* The record of the entry is kept, if a condition is asked at the return, until then. */
static void hold(struct recorder *recorder, struct pair *pair, const struct stage *at)
{
    pair->held = recorder->free_held[--recorder->free_count];
    record_make(recorder, record_held(recorder, pair->held), pair->action, pair->number, at);
}

void call_entered(struct recorder *recorder, struct action *action, const struct stage *at)
{
    const struct core *core = recorder->core;
    uint64_t *x = core_x(core);
    bool later = action->condition && action->decides_second;
    struct pair *pair;
    if (action->outstanding >= action->capacity) {
        action->refused++;
        return;
    }
    action->outstanding++;
    action->calls++;
    if (recorder->outstanding == recorder->room)
        make_room(recorder);
    pair = recorder->pairs + recorder->outstanding++;
    *pair = (struct pair){.action = action, .sp = x[31], .ret = x[30], .fp = x[29], .number = action->calls};
    pair->task = core_task(core);
    pair->entered = core_ticks(core, at->executed);
    pair->executed = at->executed;
    pair->selected = later || action->selected;
    pair->holds = later && action->records_first;
    if (pair->holds)
        hold(recorder, pair, at);
    else if (action->records_first && pair->selected)
        record_append(recorder, action, pair->number, at);
    x[30] = recorder->trampoline;
}

/* The call entered with the lowest stack pointer not below `sp`, on the same stack */
uint64_t call_caller(const struct recorder *recorder, uint64_t sp)
{
    uint64_t lowest = UINT64_MAX, ret = 0;
    for (uint64_t index = 0; index < recorder->outstanding; index++) {
        const struct pair *pair = recorder->pairs + index;
        if (!pair->leaked && pair->sp >= sp && pair->sp - sp < STACK && pair->sp <= lowest &&
            pair->ret != recorder->trampoline) {
            lowest = pair->sp;
            ret = pair->ret;
        }
    }
    return ret;
}

/* The calls of `task` within a call that has returned, those from `index` on: each counts as leaked the first time, and
 * is forgotten the second time. In between it may return after all. */
static void look_for_leaks(struct recorder *recorder, uint64_t index, uint64_t sp, uint64_t task)
{
    while (index < recorder->outstanding) {
        struct pair *pair = recorder->pairs + index;
        if (pair->task != task || pair->sp >= sp || sp - pair->sp >= STACK) {
            index++;
        } else if (pair->leaked) {
            forget(recorder, index);
        } else {
            pair->leaked = true;
            pair->action->leaked++;
            pair->action->outstanding--;
            index++;
        }
    }
}

/* The pairs of a call that returns with a stack pointer, from the `newest` to the `oldest`. */
struct chain {
    uint64_t sp;
    struct pair *newest;
    struct pair *oldest;
};

/* False if there are none. */
static bool find(const struct recorder *recorder, struct chain *chain)
{
    chain->newest = NULL;
    for (struct pair *pair = recorder->pairs + recorder->outstanding; pair-- > recorder->pairs;) {
        if (pair->sp != chain->sp)
            continue;
        if (!chain->newest)
            chain->newest = pair;
        chain->oldest = pair;
        if (pair->ret != recorder->trampoline)
            break;
    }
    return chain->newest;
}

static bool in_chain(const struct chain *chain, const struct pair *pair)
{
    return pair->sp == chain->sp && !pair->leaked;
}

static uint64_t elapsed(const struct recorder *recorder, const struct pair *pair, const struct stage *at)
{
    return (core_ticks(recorder->core, at->executed) - pair->entered) * TICK;
}

/* Whether C can do all of it: all programs have a value, and a return handler in Python, which Python calls itself if it
 * is one of several, or within a hit, can be called. If not, nothing has been done. */
static inline bool decide(struct recorder *recorder, const struct chain *chain, struct stage *at)
{
    for (struct pair *pair = chain->newest; pair >= chain->oldest; pair--) {
        struct action *action = pair->action;
        if (!in_chain(chain, pair))
            continue;
        if (action->handler && (recorder->busy || chain->newest != chain->oldest))
            return false;
        at->elapsed = elapsed(recorder, pair, at);
        if (!(action->condition && action->decides_second))
            action->selected = pair->selected;
        if (!record_decide(recorder, action, at))
            return false;
        pair->selected = action->selected;
    }
    return true;
}

static void record_return(struct recorder *recorder, const struct pair *pair, const struct stage *at)
{
    struct action *action = pair->action;
    action->outstanding--;
    if (action->histograms)
        histograms_hit(recorder, action->histograms);
    if (!pair->selected)
        return;
    if (action->condition && action->decides_second)
        action->met++;
    if (pair->holds)
        record_append_held(recorder, record_held(recorder, pair->held));
    if (action->records_second)
        record_append(recorder, action, pair->number, at);
    if (action->aggregate)
        aggregate_hit(action->aggregate, elapsed(recorder, pair, at), at->executed - pair->executed);
}

/* Follow the call on: it is about to return once more. The record of its entry is in the ring already. */
static void put_back(struct recorder *recorder, struct pair pair)
{
    pair.holds = false;
    if (recorder->outstanding == recorder->room)
        make_room(recorder);
    recorder->pairs[recorder->outstanding++] = pair;
    pair.action->outstanding++;
}

/* The handler has the registers that the caller gets: the CPU's, or those that the code under the trampoline's BRK would
 * store. Then the CPU is as that code leaves it (probes/trampoline.py), and x0 to x29 and the flags can be changed. They
 * are on the stack too while the handler runs, unless it executes something there. */
static __attribute__((noinline)) enum handled call_handler(struct recorder *recorder, const struct stage *at)
{
    const struct pair pair = recorder->returning;
    struct core *core = recorder->core;
    uint64_t *x = core_x(core), *regs = recorder->frame_regs, base = core->base;
    uint8_t below[FRAME_MOST];
    bool stored = false;
    if (recorder->frame) {
        copy_registers(regs, x);
        regs[GENERAL] = at->pstate;
        recorder->frame_at = x[0] = x[31] -= recorder->frame;
        x[1] = at->pstate & 1; /* SPSel */
        if (recorder->frame_record)
            x[29] = x[31] + recorder->frame_record;
        x[32] = recorder->frame_pc;
        stored = !core->vmem_read(core->uc, recorder->frame_at, UC_PROT_READ, below, recorder->frame) &&
                 !core->vmem_write(core->uc, recorder->frame_at, UC_PROT_WRITE, regs, sizeof recorder->frame_regs);
    }
    enum handled handled = recorder->frame ? handler_call(recorder, pair.action, regs, sizeof recorder->frame_regs)
                                           : handler_call(recorder, pair.action, x, recorder->registers_size);
    if (recorder->frame) {
        memcpy(x, regs, 30 * sizeof *x);
        core_set_flags(core, (uint32_t)regs[GENERAL]);
        x[31] += recorder->frame;
        if (stored && core->base == base)
            core->vmem_write(core->uc, recorder->frame_at, UC_PROT_WRITE, below, recorder->frame);
    }
    if (handled == NOT_HANDLED)
        put_back(recorder, pair);
    return handled == HANDLED_ON ? HANDLED : handled;
}

/* A call returns to the trampoline. HANDLED if the CPU has been sent on. Otherwise it is none of the pairs', or not C's
 * alone. A return that is `plain` calls nothing of Python's. */
static inline enum handled returned(struct recorder *recorder, uint64_t executed, bool plain)
{
    struct core *core = recorder->core;
    uint64_t *x = core_x(core), pc = x[32];
    struct chain chain = {.sp = x[31]};
    if (!find(recorder, &chain))
        return NOT_HANDLED;
    const struct pair *oldest = chain.oldest;
    const uint64_t caller = oldest->ret, task = oldest->task;
    const bool calls = oldest->action->handler && !oldest->leaked;
    struct stage at = {.stage = 1, .pstate = core_pstate(core) & recorder->kept, .executed = executed, .caller = caller, .x = x};
    if (plain && oldest->action->handler)
        return NOT_HANDLED;
    x[32] = recorder->sets_pc ? caller : 0; /* as the stage has it */
    /* The rest of the call is Python's, or a program has no value. */
    if (caller == recorder->trampoline || !decide(recorder, &chain, &at)) {
        x[32] = pc;
        if (!plain) {
            core->called = true;
            recorder->mixed();
        }
        return NOT_HANDLED;
    }
    if (calls)
        recorder->returning = *oldest;
    look_for_leaks(recorder, (uint64_t)(chain.newest + 1 - recorder->pairs), chain.sp, task);
    for (const struct pair *pair = chain.newest; pair >= chain.oldest; pair--) {
        if (pair->sp != chain.sp)
            continue;
        if (!pair->leaked)
            record_return(recorder, pair, &at);
        forget(recorder, (uint64_t)(pair - recorder->pairs));
    }
    enum handled handled = HANDLED;
    if (calls && (handled = call_handler(recorder, &at)) == NOT_HANDLED) {
        x[32] = pc;
        return HANDLED_END;
    }
    x[32] = caller;
    if (recorder->sets_x30)
        x[30] = caller;
    return handled;
}

ARMPROBE_EXPORT uint32_t armprobe_returned(struct recorder *recorder, uint64_t executed)
{
    return returned(recorder, executed, false);
}

void call_leave_spare(struct recorder *recorder)
{
    uint64_t *x = core_x(recorder->core);
    if (x[32] == recorder->spare)
        x[30] = x[32] = recorder->trampoline;
}

void call_returns(struct recorder *recorder)
{
    const struct core *core = recorder->core;
    load(core);
    uint64_t *x = core_x(core);
    if (returned(recorder, core->base, true) == NOT_HANDLED)
        x[30] = recorder->spare;
    x[32] = recorder->trampoline;
    store(core);
}

enum handled call_at_trampoline(struct recorder *recorder)
{
    uint64_t *x = core_x(recorder->core);
    call_leave_spare(recorder);
    enum handled handled = armprobe_returned(recorder, recorder->core->base);
    if (handled != NOT_HANDLED || !recorder->frame)
        return handled;
    x[31] -= recorder->frame; /* and the code behind calls Python */
    x[32] += 4;
    return HANDLED;
}
