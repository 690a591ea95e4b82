/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Functions that are watched by the blocks that are executed: see functions.h. */
#include "core.h"

/* Whether the task that runs is one of those that are watched. */
static bool is_watched(const struct core *core, const struct functions *functions)
{
    struct changes changes;
    struct view view = {.x = core_x(core), .live = true, .changes = &changes};
    uint64_t value;

    if (!functions->condition)
        return true;
    changes.count = 0;
    load(core);
    view.pstate = core_pstate(core);
    return program_value(functions->reader, functions->condition, &view, &value) == OUTCOME_VALUE && value;
}

/* The calls of the task that runs, NULL if it is in none. */
static struct graph_stack *stack_of(struct graph *graph, uint64_t task)
{
    uint64_t left = graph->active;
    for (struct graph_stack *stack = graph->stacks; left; stack++)
        if (stack->depth) {
            if (stack->task == task)
                return stack;
            left--;
        }
    return NULL;
}

static struct graph_stack *new_stack(const struct core *core, struct graph *graph, uint64_t task)
{
    struct graph_stack *stack = NULL;
    for (size_t i = 0; i < GRAPH_TASKS && !stack; i++)
        if (!graph->stacks[i].depth)
            stack = &graph->stacks[i];
    if (!stack)
        return NULL;
    stack->task = task;
    stack->task_known =
        graph->reads_task &&
        core_read(core, task + graph->comm, stack->comm, sizeof stack->comm) &&
        core_read(core, task + graph->pid, &stack->pid, sizeof stack->pid);
    graph->active++;
    return stack;
}

static void add_event(const struct core *core, struct graph *graph, const struct graph_stack *stack, uint64_t address,
                      bool returns)
{
    struct graph_event *event;
    if (graph->written == graph->capacity) {
        graph->lost++;
        return;
    }
    event = &graph->events[graph->written++];
    *event = (struct graph_event){.address = address, .executed = core->base, .task = stack->task};
    event->ticks = core_ticks(core, core->base);
    event->depth = stack->depth;
    event->returns = returns;
    event->task_known = stack->task_known;
    event->pid = stack->pid;
    memcpy(event->comm, stack->comm, sizeof event->comm);
}

/* The guest is at `pc`: the calls that return there have returned. Those of functions that a function has called last,
 * by a branch, return with it. */
static void graph_returns(const struct core *core, struct graph *graph, uint64_t pc)
{
    const uint64_t *x = core_x(core);
    struct graph_stack *stack = stack_of(graph, core_task(core));
    while (stack && stack->depth) {
        const struct graph_call *call = &stack->calls[stack->depth - 1];
        if (call->ret != pc || call->sp != x[31])
            return;
        stack->depth--;
        add_event(core, graph, stack, call->address, true);
        if (!stack->depth) {
            graph->ended++;
            graph->active--;
        }
    }
}

/* The calls whose stack frames are gone: the task has left them without returning. */
static void graph_leaks(const struct core *core, struct graph *graph, struct graph_stack *stack, uint64_t sp)
{
    enum { STACK = 16 << 10 }; /* bytes (THREAD_SIZE): an address farther away is on another stack */
    while (stack->depth > 1 && sp > stack->calls[stack->depth - 1].sp && sp - stack->calls[stack->depth - 1].sp < STACK) {
        stack->depth--;
        add_event(core, graph, stack, stack->calls[stack->depth].address, true);
    }
}

static void graph_enters(const struct core *core, const struct functions *functions, uint64_t pc)
{
    struct graph *graph = functions->graph;
    const uint64_t *x = core_x(core);
    uint64_t task = core_task(core);
    struct graph_stack *stack = stack_of(graph, task);
    if (!stack) {
        if (pc != graph->root || (graph->most && graph->begun >= graph->most) || !is_watched(core, functions))
            return;
        stack = new_stack(core, graph, task);
        if (!stack) {
            graph->refused++;
            return;
        }
        graph->begun++;
    }
    graph_leaks(core, graph, stack, x[31]);
    if (stack->depth >= graph->depth)
        return;
    add_event(core, graph, stack, pc, false);
    stack->calls[stack->depth++] = (struct graph_call){pc, x[30], x[31]};
}

/* The calls of the function at a word of the text, which is in the set. */
static uint64_t *calls_of(const struct functions *functions, uint64_t word)
{
    uint64_t bits;
    memcpy(&bits, functions->map + word / 64 * sizeof bits, sizeof bits);
    bits &= (UINT64_C(1) << word % 64) - 1;
    return &functions->calls[functions->before[word / 64] + (unsigned)__builtin_popcountll(bits)];
}

/* The function at a word of the text is entered, after `executed` instructions. */
static void enter(const struct core *core, struct functions *functions, uint64_t word, uint64_t executed)
{
    uint64_t address = functions->start + 4 * word;
    if (functions->entered == address && functions->entered_at == executed)
        return;
    functions->entered = address;
    functions->entered_at = executed;
    if (!functions->graph)
        *calls_of(functions, word) += is_watched(core, functions);
    else if (executed == core->base) /* the registers are those at the start of the block */
        graph_enters(core, functions, address);
}

static inline void look(const struct core *core, struct functions *functions, uint64_t pc, uint64_t count)
{
    uint64_t offset = pc - functions->start;
    if (offset >= functions->size)
        return;
    uint64_t index = offset / 4, words = functions->size / 4 - index;
    if (count > words)
        count = words;
    for (uint64_t done = 0; done < count; done += FUNCTIONS_AT_ONCE) {
        uint64_t left = count - done < FUNCTIONS_AT_ONCE ? count - done : FUNCTIONS_AT_ONCE;
        uint64_t bits = functions_bits(functions, index + done) & ((UINT64_C(1) << left) - 1);
        for (; bits; bits &= bits - 1) {
            uint64_t within = done + (uint64_t)__builtin_ctzll(bits);
            enter(core, functions, index + within, core->base + within);
        }
    }
}

void functions_in_block(struct core *core, uint64_t pc, uint64_t count)
{
    for (struct functions *functions = core->functions; functions; functions = functions->next) {
        if (functions->graph) {
            load(core);
            if (functions->graph->active)
                graph_returns(core, functions->graph, pc);
            else if (pc != functions->graph->root)
                continue;
        }
        look(core, functions, pc, count);
    }
}
