/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The records of hits, in a ring that loses the oldest when it is full. */
#include <string.h>

#include "core.h"

#define ALL ((UINT64_C(1) << GENERAL) - 1)

static void choose(uint64_t *to, const uint64_t *from, uint64_t chosen)
{
    for (size_t index = 0; index + 8 <= GENERAL; index += 8)
        memset(to + index, 0, 8 * sizeof *to);
    to[GENERAL - 1] = 0;
    for (; chosen; chosen &= chosen - 1) {
        unsigned index = (unsigned)__builtin_ctzll(chosen);
        to[index] = from[index];
    }
}

static void find_task(const struct recorder *recorder, struct record *record)
{
    const struct core *core = recorder->core;
    uint64_t comm = recorder->comm, pid = recorder->pid, first = comm < pid ? comm : pid;
    uint64_t size = comm < pid ? pid + sizeof record->pid - first : comm + sizeof record->comm - first;
    const char *task = core_in_kernel(core, core_task(core) + first, size);
    if (task) { /* one walk of the tables for both */
        memcpy(record->comm, task + (comm - first), sizeof record->comm);
        memcpy(&record->pid, task + (pid - first), sizeof record->pid);
        record->task_known = true;
        return;
    }
    record->task_known = core_read_task(core, recorder->comm, record->comm, sizeof record->comm) &&
                         core_read_task(core, recorder->pid, &record->pid, sizeof record->pid);
}

/* What few records have: the task, a note, memory. */
static __attribute__((noinline)) void make_rest(const struct recorder *recorder, struct record *record,
                                                const struct action *action, const struct stage *at)
{
    if (recorder->reads_task)
        find_task(recorder, record);
    if (action->note && action->notes_second == at->stage) {
        record->note = action->note_length;
        memcpy(record + 1, action->note_data, action->note_length);
    }
    if (action->event || (action->memory && action->memory_second == at->stage)) {
        record->memory = action->memory_length;
        memcpy((char *)(record + 1) + record->note, action->memory_data, action->memory_length);
    }
}

static inline void make(const struct recorder *recorder, struct record *record, const struct action *action,
                        uint64_t number, const struct stage *at)
{
    record->action = action->id;
    record->number = number;
    record->executed = at->executed;
    record->idle = *recorder->core->idle;
    record->caller = at->caller;
    record->pstate = stage_pstate(recorder->core, at);
    record->stage = (uint8_t)at->stage;
    record->task_known = false;
    record->word = 0;
    record->note = record->memory = 0;
    if (action->registers == ALL)
        copy_registers(record->x, at->x);
    else
        choose(record->x, at->x, action->registers);
    if (recorder->reads_task || action->note || action->event || action->memory)
        make_rest(recorder, record, action, at);
}

void record_make(const struct recorder *recorder, struct record *record, const struct action *action, uint64_t number,
                 const struct stage *at)
{
    make(recorder, record, action, number, at);
}

struct record *record_held(const struct recorder *recorder, uint32_t index)
{
    return (struct record *)(recorder->held + index * recorder->stride);
}

static struct record *next(struct recorder *recorder)
{
    struct record *record = (struct record *)(recorder->ring + recorder->at * recorder->stride);
    recorder->at = recorder->at + 1 < recorder->capacity ? recorder->at + 1 : 0;
    recorder->written++;
    recorder->stages++;
    return record;
}

struct record *record_append(struct recorder *recorder, const struct action *action, uint64_t number,
                             const struct stage *at)
{
    struct record *record = next(recorder);
    make(recorder, record, action, number, at);
    return record;
}

void record_append_held(struct recorder *recorder, const struct record *held)
{
    memcpy(next(recorder), held, sizeof *held + held->note + held->memory);
}

bool record_decide_by_programs(const struct recorder *recorder, struct action *action, const struct stage *at)
{
    const struct core *core = recorder->core;
    uint64_t x[33], caller;
    struct view view = {.x = at->x, .pstate = at->pstate, .live = at->live, .elapsed = at->elapsed,
                        .caller = at->caller, .ticks = core_ticks(core, at->executed),
                        .task = core_task(core)};
    if (at->live && at->x[30] == recorder->trampoline &&
        (caller = call_caller(recorder, at->x[31])) != 0) {
        copy_registers(x, at->x); /* programs see x30 as it were without probes */
        x[30] = caller;
        view.x = x;
        view.live = false;
        view.pstate = core_pstate(core);
    }
    bool records = at->stage ? action->records_second : action->records_first;
    if (action->condition && action->decides_second == at->stage) {
        uint64_t value;
        if (program_value(recorder->reader, action->condition, &view, &value) != OUTCOME_VALUE)
            return false;
        action->selected = value != 0;
        if (action->selected ? action->leaves : !action->histograms)
            return !action->selected;
    } else if (!action->condition) {
        action->selected = true;
    }
    if (action->aggregate && action->follows == at->stage && action->selected &&
        !aggregate_decide(recorder, action->aggregate, at, &view))
        return false;
    if (action->histograms && action->follows == at->stage &&
        !histograms_decide(recorder, action->histograms, at, &view))
        return false;
    if (action->note && action->notes_second == at->stage && action->selected && records) {
        struct writer out = {action->note_data, action->note_data + action->note_size};
        if (program_note(recorder->reader, action->note, &view, &out) != OUTCOME_VALUE)
            return false;
        action->note_length = (uint32_t)(out.at - action->note_data);
    }
    /* A record of a call that is selected at its return is made at the entry already. */
    bool may_record = action->selected || (action->condition && action->decides_second);
    if (action->memory && action->memory_second == at->stage && may_record && records) {
        struct writer out = {action->memory_data, action->memory_data + action->memory_size};
        if (program_note(recorder->reader, action->memory, &view, &out) != OUTCOME_VALUE)
            return false;
        action->memory_length = (uint32_t)(out.at - action->memory_data);
    }
    return true;
}
