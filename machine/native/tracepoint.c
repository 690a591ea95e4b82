/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Events of the guest's kernel: records that its own code makes, beside the guest (interpret.c), for the probes on them.
 *
 * kernel/trace_code.py does the same in Python, where it is explained, for hits that C leaves to it.
 */
#include <string.h>

#include "core.h"

enum {
    IRQS_OFF = 0x01,
    NEED_RESCHED = 0x04,
    HARDIRQ = 0x08,
    SOFTIRQ = 0x10,
    PREEMPT_RESCHED = 0x20,
    NMI = 0x40,
    BH_OFF = 0x80,
}; /* enum trace_flag_type (include/linux/trace_events.h) */
enum { HEADER = 8, TIF_NEED_RESCHED = 1 << 1, COMPAT = 1 << 4, LEFT = 200000 };

/* struct trace_entry, as tracing_gen_ctx_irq_test() and tracing_generic_entry_update() fill it in. */
static bool write_header(const struct tracepoint *tracepoint, struct seen *seen, uint32_t pstate, uint8_t *to)
{
    const struct core *core = tracepoint->recorder->core;
    uint64_t task = core_task(core), count = 0, flags = 0;
    uint16_t id = (uint16_t)tracepoint->id, migration = 0;
    int32_t pid = 0;
    if (!core_read_again(core, seen, task + tracepoint->preempt_count, &count, sizeof count) ||
        !core_read_again(core, seen, task + tracepoint->flags, &flags, sizeof flags) ||
        !core_read_again(core, seen, task + tracepoint->pid, &pid, sizeof pid) ||
        (tracepoint->migration &&
         !core_read_again(core, seen, task + tracepoint->migration, &migration, sizeof migration)))
        return false;
    to[2] = (uint8_t)((pstate & PSTATE_I ? IRQS_OFF : 0) | (count & 0xF00000 ? NMI : 0) |
                      (count & 0xF0000 ? HARDIRQ : 0) | (count & 0x100 ? SOFTIRQ : 0) |
                      (count >> 9 & 0x7F ? BH_OFF : 0) | (flags & TIF_NEED_RESCHED ? NEED_RESCHED : 0) |
                      (count >> 32 ? 0 : PREEMPT_RESCHED));
    to[3] = (uint8_t)(((count & 0xFF) < 15 ? count & 0xFF : 15) | (uint64_t)(migration < 15 ? migration : 15) << 4);
    memcpy(to, &id, sizeof id);
    memcpy(to + 4, &pid, sizeof pid);
    return true;
}

/* Execute code up to one of the stops. */
static bool run(struct interpreter *in, const uint64_t *stops, uint64_t count, uint64_t ticks)
{
    in->stops = stops;
    in->stop_count = count;
    for (;;) {
        enum interpreted why = armprobe_interpret(in);
        if (why == INTERPRETED_STOPPED)
            return true;
        if (why != INTERPRETED_SYSTEM || ((in->word & ~31u) != 0xD53BE020 && (in->word & ~31u) != 0xD53BE040))
            return false;
        if ((in->word & 31) != 31)
            in->x[in->word & 31] = ticks; /* MRS of CNTPCT_EL0 or CNTVCT_EL0 */
        in->x[32] += 4;
        if (interpreter_stops(in))
            return true;
    }
}

static uint8_t *room(const struct tracepoint *tracepoint, uint64_t address)
{
    return tracepoint->interpreter->bytes + (address - tracepoint->interpreter->room);
}

/* What became of a record. */
enum made { MADE, MADE_NONE, MADE_NOT };

/* What all tracepoints at an address have of one hit. */
struct hit {
    struct seen seen;
    bool is_call;   /* the system call under way has been looked for: */
    int32_t number; /* its number */
    uint64_t regs;  /* the address of its struct pt_regs */
};

/* The function of the event makes the record, with its arguments in x1 to x7. */
static enum made make_by_code(struct tracepoint *tracepoint, const struct stage *at, uint64_t ticks, struct hit *hit)
{
    struct interpreter *in = tracepoint->interpreter;
    uint8_t *record = room(tracepoint, tracepoint->record_at);
    uint64_t stops[2] = {tracepoint->returns, tracepoint->reserve};
    memset(room(tracepoint, tracepoint->file), 0, 256);
    in->x[0] = tracepoint->file;
    in->x[30] = tracepoint->returns;
    in->x[31] = (in->x[31] - 512) & ~(uint64_t)15;
    in->x[32] = tracepoint->make;
    if (!run(in, stops, 2, ticks) || in->x[32] != tracepoint->reserve)
        return MADE_NOT;
    tracepoint->size = in->x[2];
    if (tracepoint->size > tracepoint->most || tracepoint->size < HEADER)
        return MADE_NOT;
    memset(record, 0, tracepoint->size);
    if (!write_header(tracepoint, &hit->seen, at->pstate, record))
        return MADE_NOT;
    in->x[0] = tracepoint->record_at;
    in->x[32] = in->x[30];
    if (!run(in, &tracepoint->commit, 1, ticks))
        return MADE_NOT;
    memcpy(tracepoint->data, record, tracepoint->size);
    return MADE;
}

static void begin(const struct tracepoint *tracepoint, const struct stage *at)
{
    const struct core *core = tracepoint->recorder->core;
    struct interpreter *in = tracepoint->interpreter;
    copy_registers(in->x, at->x);
    in->pstate = at->pstate;
    in->sp_el0 = *core_u64(core, core->layout.sp_el0);
    in->left = LEFT;
    core->reg_read(core->uc, (int)tracepoint->tpidr_el1, &in->tpidr_el1);
    armprobe_interpreter_clear(in);
}

static enum made make_by_branch(struct tracepoint *tracepoint, const struct stage *at, uint64_t ticks, struct hit *hit)
{
    struct interpreter *in = tracepoint->interpreter;
    uint64_t functions[6] = {tracepoint->probe, tracepoint->file};
    begin(tracepoint, at);
    memcpy(room(tracepoint, tracepoint->functions), functions, sizeof functions);
    if (!armprobe_interpreter_store(in, tracepoint->list, tracepoint->functions))
        return MADE_NOT;
    in->x[32] = tracepoint->target;
    while (run(in, tracepoint->stops, tracepoint->stop_count, ticks)) {
        uint64_t i;
        if (in->x[32] == tracepoint->stops[0]) /* the one who traces */
            return make_by_code(tracepoint, at, ticks, hit);
        for (i = 2; i < tracepoint->stop_count && tracepoint->stops[i] != in->x[32]; i++)
            ;
        if (i == tracepoint->stop_count) /* behind the branch */
            return MADE_NONE;
        in->x[32] = tracepoint->targets[i];
    }
    return MADE_NOT;
}

static bool find_call(const struct tracepoint *tracepoint, struct hit *hit)
{
    const struct core *core = tracepoint->recorder->core;
    uint64_t stack;
    if (hit->is_call)
        return true;
    if (!core_read_again(core, &hit->seen, core_task(core) + tracepoint->stack, &stack, sizeof stack))
        return false;
    hit->regs = stack + tracepoint->regs;
    hit->is_call =
        core_read_again(core, &hit->seen, hit->regs + tracepoint->syscallno, &hit->number, sizeof hit->number);
    return hit->is_call;
}

static enum made make_of_syscall(struct tracepoint *tracepoint, const struct stage *at, uint64_t ticks,
                                 struct hit *hit)
{
    const struct core *core = tracepoint->recorder->core;
    uint64_t regs, saved[6], result, user_pstate = 0;
    int32_t number;
    if (!find_call(tracepoint, hit))
        return MADE_NOT;
    regs = hit->regs;
    number = hit->number;
    if (tracepoint->number >= 0 && number != tracepoint->number)
        return MADE_NONE;
    if (!core_read_again(core, &hit->seen, regs + tracepoint->user_pstate, &user_pstate, sizeof user_pstate) ||
        !core_read_again(core, &hit->seen, regs + tracepoint->general, saved, sizeof saved))
        return MADE_NOT;
    if (tracepoint->number >= 0 && user_pstate & COMPAT)
        return MADE_NONE;
    result = tracepoint->in_x0 ? at->x[0] : saved[0];
    if (tracepoint->make) {
        begin(tracepoint, at);
        tracepoint->interpreter->x[1] = regs;
        tracepoint->interpreter->x[2] = tracepoint->enters ? (uint64_t)(int64_t)number : result;
        return make_by_code(tracepoint, at, ticks, hit);
    }
    if (!core_read_again(core, &hit->seen, regs + tracepoint->orig_x0, saved, sizeof *saved))
        return MADE_NOT;
    memset(tracepoint->data, 0, tracepoint->size);
    if (!write_header(tracepoint, &hit->seen, at->pstate, tracepoint->data))
        return MADE_NOT;
    for (uint64_t i = 0; i < tracepoint->field_count; i++) {
        uint64_t value = !i ? (uint64_t)(int64_t)number : tracepoint->enters ? saved[i - 1] : result;
        memcpy(tracepoint->data + tracepoint->offsets[i], &value, tracepoint->sizes[i]);
    }
    return MADE;
}

static enum made make(struct tracepoint *tracepoint, const struct stage *at, struct hit *hit)
{
    uint64_t ticks = core_ticks(tracepoint->recorder->core, at->executed);
    if (!(at->pstate & 0xC)) /* at EL0 */
        return MADE_NOT;
    return tracepoint->target ? make_by_branch(tracepoint, at, ticks, hit)
                              : make_of_syscall(tracepoint, at, ticks, hit);
}

static bool decide(struct tracepoint *tracepoint, const struct stage *at)
{
    for (struct action *action = tracepoint->actions; action; action = action->next)
        if (action->enabled && !record_decide(tracepoint->recorder, action, at))
            return false;
    return true;
}

static void act(struct tracepoint *tracepoint, const struct stage *at)
{
    struct recorder *recorder = tracepoint->recorder;
    for (struct action *action = tracepoint->actions; action; action = action->next) {
        if (!action->enabled)
            continue;
        action->hits++;
        if (action->histograms)
            histograms_hit(recorder, action->histograms);
        if (!action->selected)
            continue;
        if (action->condition)
            action->met++;
        if (action->aggregate)
            aggregate_hit(action->aggregate, 0, 0);
        action->memory_data = tracepoint->data;
        action->memory_length = (uint32_t)tracepoint->size;
        if (action->records_first)
            record_append(recorder, action, action->hits, at);
    }
}

static bool any_enabled(const struct tracepoint *tracepoint)
{
    for (const struct action *action = tracepoint->actions; action; action = action->next)
        if (action->enabled)
            return true;
    return false;
}

/* Whether the hit is handled. If not, nothing has been done. */
static bool handle(struct tracepoint *tracepoint, struct stage *at, struct hit *hit)
{
    struct reader *reader = tracepoint->recorder->reader;
    enum made made = make(tracepoint, at, hit);
    bool decided;
    if (made != MADE)
        return made == MADE_NONE;
    reader->record = tracepoint->data;
    reader->record_size = tracepoint->size;
    at->framed = tracepoint->framed;
    decided = decide(tracepoint, at);
    reader->record_size = 0;
    if (decided)
        act(tracepoint, at);
    return decided;
}

/* UC_HOOK_CODE at one address, with its tracepoints as user data */
ARMPROBE_EXPORT void armprobe_on_tracepoint(void *uc, uint64_t address, uint32_t size, void *user)
{
    struct tracepoint *tracepoint = ((struct tracepoints *)user)->first;
    struct core *core = tracepoint->recorder->core;
    struct stage at = {.live = true, .executed = core_executed(core, address) - 1, .x = core_x(core), .event = address};
    struct hit hit;
    hit.seen.count = 0;
    hit.is_call = false;
    load(core);
    at.pstate = core_pstate(core);
    places_settle(tracepoint->recorder, address, at.executed);
    for (; tracepoint; tracepoint = tracepoint->next) {
        if (at.executed == tracepoint->reached || !any_enabled(tracepoint))
            continue; /* an instruction may be begun twice */
        tracepoint->reached = at.executed;
        if (handle(tracepoint, &at, &hit))
            continue;
        core->called = true; /* the instruction is begun again for those that follow */
        tracepoint->ask(uc, address, size, user);
        return;
    }
}
