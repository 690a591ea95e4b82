/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What happens at a place: see places.h. */
#include <string.h>

#include "core.h"

enum { REACHED = 4, RETURNED = 7 }; /* KPROBES_BRK_IMM, KRETPROBES_BRK_IMM */

static void record_second(struct recorder *recorder, const struct place *place, const struct stage *at)
{
    for (const struct action *action = place->actions; action; action = action->next)
        if (action->enabled && action->records_second && action->selected && !action->follows)
            record_append(recorder, action, action->hits, at);
}

/* The guest is at `pc`, after `executed` instructions. If that is behind a place's instruction, record stage 1. */
static void settle(struct recorder *recorder, uint64_t pc, uint64_t executed)
{
    const struct core *core = recorder->core;
    const struct place *place = recorder->pending;
    if (pc == place->address && executed == recorder->pending_executed)
        return; /* the run ended in the instruction, which is begun again */
    recorder->pending = NULL;
    recorder->following = NULL;
    if (place->follows)
        return; /* it is recorded already */
    if (pc == place->next && executed == recorder->pending_executed + 1) {
        struct stage at = {.stage = 1, .live = true, .executed = executed, .x = core_x(core)};
        record_second(recorder, place, &at);
    }
}

void places_settle(struct recorder *recorder, uint64_t pc, uint64_t executed)
{
    if (recorder->pending)
        settle(recorder, pc, executed);
}

/* Whether the instruction is still that of the place. Other code is translated before it is executed. */
static bool is_unchanged(const struct recorder *recorder, struct place *place)
{
    uint32_t word;
    if (place->looked != recorder->translated) {
        place->looked = recorder->translated;
        place->changed = !core_read(recorder->core, place->address, &word, sizeof word) || word != place->word;
    }
    return !place->changed;
}

/* Stage 1 follows from `record`, which has the registers before the instruction of the place, and maybe stage 0. */
static void follow(struct recorder *recorder, const struct place *place, struct record *record)
{
    record->word = place->word;
    recorder->stages += !record->stage;
    recorder->following = record;
}

/* Record stage 1 by itself. */
static void follow_alone(struct recorder *recorder, const struct place *place, struct stage at)
{
    const struct action *action = place->actions;
    at.stage = 1;
    follow(recorder, place, record_append(recorder, action, action->hits, &at));
}

/* The pending instruction has not been executed. */
static void undo_following(struct recorder *recorder)
{
    struct record *record = recorder->following;
    if (!record)
        return;
    recorder->following = NULL;
    recorder->stages--;
    if (record->stage)
        record->action = 0;
    record->word = 0;
}

void places_raised(struct recorder *recorder, uint64_t pc, uint64_t executed)
{
    if (recorder->following && pc == recorder->pending->address && executed == recorder->pending_executed + 1) {
        undo_following(recorder);
        recorder->pending = NULL;
    }
}

static void miss(struct place *place)
{
    for (struct action *action = place->actions; action; action = action->next)
        action->missed++;
}

/* Whether all programs have a value. If not, nothing has been done. */
static inline bool decide(const struct recorder *recorder, struct place *place, const struct stage *at)
{
    for (struct action *action = place->actions; action; action = action->next)
        if (action->enabled && !record_decide(recorder, action, at))
            return false;
    return true;
}

/* Returns whether an action records stage 1, too. */
static inline bool act(struct recorder *recorder, struct place *place, const struct stage *at)
{
    bool second = false;
    for (struct action *action = place->actions; action; action = action->next) {
        if (!action->enabled)
            continue;
        action->hits++;
        if (action->condition && !action->decides_second && action->selected)
            action->met++;
        if (action->follows)
            call_entered(recorder, action, at);
        else if (action->records_first && action->selected)
            record_append(recorder, action, action->hits, at);
        if (action->aggregate && action->selected && !action->follows)
            aggregate_hit(action->aggregate, 0, 0);
        if (action->histograms && !action->follows)
            histograms_hit(recorder, action->histograms);
        second |= action->records_second && action->selected && !action->follows;
    }
    return second;
}

/* Executes a simulated instruction on copies of the registers, and records stage 1. */
static void foresee(struct recorder *recorder, struct place *place, uint64_t executed)
{
    const struct core *core = recorder->core;
    uint64_t x[33];
    struct stage at = {.stage = 1, .pstate = core_pstate(core), .executed = executed + 1, .x = x};
    copy_registers(x, core_x(core));
    if (armprobe_simulate(core, place->word, place->address, x, &at.pstate))
        record_second(recorder, place, &at);
}

static bool is_stepped(const struct core *core)
{
    return *core_u32(core, core->layout.pstate) & PSTATE_SS;
}

/* UC_HOOK_CODE at one address, with a place as user data */
ARMPROBE_EXPORT void armprobe_place(void *uc, uint64_t address, uint32_t size, void *user)
{
    struct place *place = user;
    struct recorder *recorder = place->recorder;
    const struct core *core = recorder->core;
    (void)uc;
    (void)size;
    if (!place->actions && !recorder->pending)
        return;
    load(core);
    struct stage at = {.live = true, .executed = core_executed(core, address) - 1, .x = core_x(core)};
    if (recorder->pending && recorder->pending != place)
        settle(recorder, address, at.executed);
    /* An instruction may be begun twice: for a breakpoint, a watchpoint or a device that ended the run there. */
    if (!place->actions)
        return;
    if (at.executed == place->reached) {
        if (recorder->pending == place && place->follows && !recorder->following)
            follow_alone(recorder, place, at);
        return;
    }
    place->reached = at.executed;
    if (recorder->busy) {
        miss(place);
        return;
    }
    if (!is_unchanged(recorder, place) || !decide(recorder, place, &at)) {
        recorder->core->called = true;
        recorder->undecided(address);
        return;
    }
    bool second = act(recorder, place, &at);
    store(core);
    if (!second)
        return;
    if (place->simulated) {
        foresee(recorder, place, at.executed);
        return;
    }
    recorder->pending = place;
    recorder->pending_executed = at.executed;
    if (!place->follows || is_stepped(core)) /* by the guest itself */
        return;
    if (place->actions->records_first)
        follow(recorder, place, record_last(recorder));
    else
        follow_alone(recorder, place, at);
}

/* The core is at rest, after `executed` instructions: record stage 1 of the last one. */
ARMPROBE_EXPORT void armprobe_places_settle(struct recorder *recorder, uint64_t executed)
{
    if (recorder->pending) {
        load(recorder->core);
        settle(recorder, core_x(recorder->core)[32], executed);
        if (recorder->pending)
            undo_following(recorder);
    }
}

/* Places with a breakpoint. What is not handled here, Python handles. */

static struct place *place_at(const struct recorder *recorder, uint64_t address)
{
    struct place *place;
    for (uint64_t at = address / 4;; at++) {
        place = recorder->places[at & recorder->mask];
        if (!place || place->address == address)
            return place;
    }
}

/* Call the handler in Python of the hit, if there is one. */
static enum handled call_handler(struct recorder *recorder, const struct place *place)
{
    const struct action *action = place->actions;
    while (action && !(action->enabled && action->handler && !action->follows))
        action = action->next;
    if (!action || (action->conditional && !action->selected))
        return HANDLED_ON;
    return handler_call(recorder, action, core_x(recorder->core), recorder->registers_size);
}

static enum handled reached(struct recorder *recorder, uint64_t address)
{
    struct core *core = recorder->core;
    uint64_t *x = core_x(core), after[33];
    struct stage at = {.live = true, .executed = core->base, .x = x};
    struct place *place = recorder->places ? place_at(recorder, address) : NULL;
    uint32_t pstate = core_pstate(core);
    if (!place || recorder->busy || core->slot_running)
        return NOT_HANDLED;
    if (place->simulated) {
        copy_registers(after, x);
        if (!armprobe_simulate(core, place->word, address, after, &pstate))
            return NOT_HANDLED;
    }
    if (!decide(recorder, place, &at))
        return NOT_HANDLED;
    act(recorder, place, &at);
    enum handled handled = call_handler(recorder, place);
    if (handled != HANDLED_ON)
        return handled;
    if (place->simulated) {
        pstate = core_pstate(core);
        core->base++;
        armprobe_simulate(core, place->word, address, x, &pstate);
        *core_u32(core, core->layout.btype) = (pstate & BTYPE) >> 10;
        at.stage = 1;
        at.executed++;
        record_second(recorder, place, &at);
        return HANDLED;
    }
    slot_begin(core, &place->slot);
    return HANDLED;
}

void place_executed(const struct place *place)
{
    struct recorder *recorder = place->recorder;
    const struct core *core = recorder->core;
    struct stage at = {.stage = 1, .live = true, .executed = core->base, .x = core_x(core)};
    record_second(recorder, place, &at);
}

enum handled core_brk(struct core *core, uint64_t pc, uint32_t immediate)
{
    struct recorder *recorder = core->recorder;
    if (recorder && immediate == REACHED)
        return reached(recorder, pc);
    if (recorder && immediate == RETURNED && recorder->trampoline &&
        (pc == recorder->trampoline || pc == recorder->spare))
        return call_at_trampoline(recorder);
    return NOT_HANDLED;
}
