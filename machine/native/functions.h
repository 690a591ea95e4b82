/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Functions that are watched without a hook or a breakpoint at each: the core looks at the start of every block.
 *
 * A set of functions is a map with a bit for each word of the guest's text, from the first function to the last. A
 * block that begins at a function, or runs into one, enters it. So thousands of functions cost a few nanoseconds a
 * block, and nothing is written to the guest.
 *
 * The entries of a set are counted by function, or written down with the returns, as a graph of calls. A condition can
 * choose the tasks whose entries these are.
 */
#ifndef ARMPROBE_FUNCTIONS_H
#define ARMPROBE_FUNCTIONS_H

/* The entry or the return of a call. */
#define ARMPROBE_GRAPH_EVENT(FIELD, ARRAY) \
    FIELD(uint64_t, address) /* of the function */ \
    FIELD(uint64_t, ticks) /* the time, by the generic timer's count */ \
    FIELD(uint64_t, executed) /* the guest's instructions before it */ \
    FIELD(uint64_t, task) \
    FIELD(uint32_t, depth) /* calls around it, from 0 */ \
    FIELD(int32_t, pid) \
    FIELD(bool, returns) \
    FIELD(bool, task_known) /* `pid` and `comm` are those of the task */ \
    ARRAY(uint8_t, comm, 16)

/* A call under way. */
#define ARMPROBE_GRAPH_CALL(FIELD, ARRAY) \
    FIELD(uint64_t, address) \
    FIELD(uint64_t, ret) /* where it returns to, with the stack pointer `sp` */ \
    FIELD(uint64_t, sp)

#define GRAPH_DEPTH 64
#define GRAPH_TASKS 64

/* The calls of one task, from the root on. */
#define ARMPROBE_GRAPH_STACK(FIELD, ARRAY) \
    FIELD(uint64_t, task) /* SP_EL0 */ \
    FIELD(uint32_t, depth) /* 0: it is in no call */ \
    FIELD(int32_t, pid) \
    FIELD(bool, task_known) \
    ARRAY(uint8_t, comm, 16) \
    ARRAY(struct graph_call, calls, GRAPH_DEPTH)

#define ARMPROBE_GRAPH(FIELD, ARRAY) \
    FIELD(uint64_t, root) /* the function whose calls are followed */ \
    FIELD(uint64_t, depth) /* the most calls within each other, GRAPH_DEPTH at most */ \
    FIELD(bool, reads_task) \
    FIELD(uint64_t, comm) /* offsets in the task's structure, to which SP_EL0 points */ \
    FIELD(uint64_t, pid) \
    FIELD(struct graph_event *, events) \
    FIELD(uint64_t, capacity) \
    FIELD(uint64_t, written) \
    FIELD(uint64_t, lost) /* events that did not fit */ \
    FIELD(uint64_t, begun) /* calls of the root */ \
    FIELD(uint64_t, ended) /* and those of them that have returned */ \
    FIELD(uint64_t, refused) /* and those in more tasks at once than there are stacks */ \
    FIELD(uint64_t, most) /* the calls of the root that are followed, 0 for no bound */ \
    FIELD(uint64_t, active) /* stacks with calls */ \
    ARRAY(struct graph_stack, stacks, GRAPH_TASKS)

#define ARMPROBE_FUNCTIONS(FIELD, ARRAY) \
    FIELD(struct functions *, next) \
    FIELD(uint64_t, start) /* the address that the map's first bit is about */ \
    FIELD(uint64_t, size) /* the bytes of text that it covers */ \
    FIELD(const uint8_t *, map) /* followed by 8 bytes of 0 */ \
    FIELD(const uint32_t *, before) /* for each 64 bits of the map with functions, the number of those before them */ \
    FIELD(uint64_t *, calls) /* of each function, by address */ \
    FIELD(uint64_t, entered) /* the function entered last */ \
    FIELD(uint64_t, entered_at) /* and the guest's instructions before it: a block may be begun twice */ \
    FIELD(struct graph *, graph) /* NULL: entries are counted */ \
    FIELD(const struct reader *, reader) \
    FIELD(const struct program *, condition) /* of the task, at an entry that is counted or begins a graph; NULL: any */

#define ARMPROBE_FUNCTIONS_STRUCTURES(STRUCTURE) \
    STRUCTURE(graph_event, ARMPROBE_GRAPH_EVENT) \
    STRUCTURE(graph_call, ARMPROBE_GRAPH_CALL) \
    STRUCTURE(graph_stack, ARMPROBE_GRAPH_STACK) \
    STRUCTURE(graph, ARMPROBE_GRAPH) \
    STRUCTURE(functions, ARMPROBE_FUNCTIONS)

struct core;
struct functions;
struct graph;
struct graph_event;
struct program;
struct reader;

/* A block of `count` instructions at `pc` is about to be executed. */
void functions_in_block(struct core *core, uint64_t pc, uint64_t count);

#endif
