/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Places: addresses in the guest's code at which something is recorded, counted or followed to its return, in C alone.
 *
 * A place has actions, which are done in order each time the guest gets there. A recorder holds what the places of one
 * core share: the ring of records, and the pairs, which are calls that have been entered and not returned from.
 *
 * A record has a stage: 0 before the instruction at a place, 1 after it, or after the return of the function there.
 */
#ifndef ARMPROBE_PLACES_H
#define ARMPROBE_PLACES_H

#define ARMPROBE_RECORD(FIELD, ARRAY) \
    FIELD(uint64_t, action) /* its `id` */ \
    FIELD(uint64_t, number) /* of the hit, from 1 */ \
    FIELD(uint64_t, executed) /* the guest's instructions before it */ \
    FIELD(uint64_t, idle) /* ticks to add for the time */ \
    FIELD(uint64_t, caller) /* after a return: the address returned to */ \
    FIELD(uint32_t, pstate) \
    FIELD(uint32_t, word) /* an instruction from which stage 1 follows: see behind.c; 0 for none */ \
    FIELD(int32_t, pid) \
    FIELD(uint8_t, stage) \
    FIELD(bool, task_known) /* `pid` and `comm` are those of the task */ \
    ARRAY(uint64_t, x, 33) /* x0 to x30, sp and pc */ \
    ARRAY(uint8_t, comm, 16) \
    FIELD(uint32_t, note) /* bytes of `program_note` that follow this structure */ \
    FIELD(uint32_t, memory) /* and the bytes of another note, which follow those */

/* What is counted of one key. A row has `stride` bytes: its buckets, 64 bits each, follow this structure. */
#define ARMPROBE_AGGREGATE_ROW(FIELD, ARRAY) \
    ARRAY(uint64_t, key, 2) \
    FIELD(uint64_t, count) /* 0: the row is free */ \
    FIELD(uint64_t, sum) /* of the values, modulo 2^64 */ \
    FIELD(uint64_t, executed) /* the guest's instructions during the calls, if the value is their time */

#define STACK_DEPTH 64

/* A key that a row has no room for. A stack: where a function was called, innermost first, and where each of those was.
 * Or a text, with NULs behind it. */
#define ARMPROBE_LONG_KEY(FIELD, ARRAY) \
    FIELD(uint64_t, length) /* of `words`; 0: it is free */ \
    ARRAY(uint64_t, words, STACK_DEPTH)

/* A table that counts hits by a key, and their values by size. The key is the value of a program, the return address
 * (at stage 0: x30) or the number of a long key, and 0, or the name of the task; without all of these it is 0. Values
 * are signed. Without a program they are 0.
 *
 * A histogram is linear if there is a `step`: its first bucket has the values below `start`, its last those that are in
 * no other. Otherwise its buckets are the negative values, 0, 1, 2 to 3, 4 to 7, and so on. */
#define ARMPROBE_AGGREGATE(FIELD, ARRAY) \
    FIELD(const struct program *, key) /* NULL for none */ \
    FIELD(const struct program *, value) /* NULL for none */ \
    FIELD(bool, by_task) \
    FIELD(bool, by_caller) \
    FIELD(bool, by_stack) \
    FIELD(const struct text *, text) /* which is the key; NULL for none. It fits into a long key with its NUL */ \
    FIELD(bool, elapsed) /* the value is the time from entry to return, in ns */ \
    FIELD(uint64_t, comm) /* the offset of the name in the task's structure, to which SP_EL0 points */ \
    FIELD(uint64_t, buckets) /* 0 for none */ \
    FIELD(int64_t, start) \
    FIELD(uint64_t, step) \
    FIELD(char *, rows) \
    FIELD(uint64_t, stride) \
    FIELD(uint64_t, mask) /* the number of rows, a power of two, less one */ \
    FIELD(uint64_t, seed) \
    FIELD(uint64_t, capacity) /* the most keys, fewer than there are rows */ \
    FIELD(uint64_t, used) \
    FIELD(uint64_t, lost) /* hits whose key did not fit */ \
    FIELD(struct long_key *, long_keys) /* as many as `rows`, in a hash table by content; NULL for none */ \
    FIELD(uint64_t, long_used) \
    FIELD(bool, hit_lost) /* the long key of the hit that is being handled does not fit */ \
    ARRAY(uint64_t, hit_key, 2) /* of the hit that is being handled */ \
    FIELD(uint64_t, hit_value)

/* A histogram of the guest's kernel (kernel/trace/tracing_map.c). The rows in use are the first ones. A row has the key,
 * a sum of each value, modulo 2^64, and the name of the task that was first: `key_size`, 8 * `values` and COMM bytes. */
#define ARMPROBE_HISTOGRAM(FIELD, ARRAY) \
    FIELD(uint8_t *, rows) \
    FIELD(uint64_t, stride) \
    FIELD(uint64_t, key_size) /* a multiple of 8 */ \
    FIELD(uint64_t, values) \
    FIELD(uint64_t, capacity) \
    FIELD(uint64_t, used) \
    FIELD(uint64_t, hits) \
    FIELD(uint64_t, drops) /* hits whose key did not fit */ \
    FIELD(uint32_t *, index) /* numbers of rows, plus 1, in a hash table by their keys; 0 for none */ \
    FIELD(uint64_t, mask) /* its size, a power of two, less one */ \
    FIELD(uint64_t, seed)

/* A part of a key. A text is cut to `size` - 1 bytes. A stack begins with `function`, if it is not
 * 0, and goes on with where that returns to. */
#define ARMPROBE_HISTOGRAM_KEY(FIELD, ARRAY) \
    FIELD(bool, stack) \
    FIELD(uint64_t, function) \
    FIELD(struct program, number) /* no operations for a text */ \
    FIELD(struct text, text) \
    FIELD(uint64_t, size) /* a multiple of 8 */

/* A trigger that counts hits in a histogram, which it may share with others. */
#define ARMPROBE_HISTOGRAM_TRIGGER(FIELD, ARRAY) \
    FIELD(struct histogram_trigger *, next) \
    FIELD(struct histogram *, histogram) \
    FIELD(const struct program *, filter) /* NULL for none; hits at which it is 0 are not counted */ \
    FIELD(bool, paused) \
    FIELD(const struct histogram_key *, keys) \
    FIELD(uint64_t, key_count) \
    FIELD(const struct program *, values) /* as many as the histogram has */ \
    FIELD(bool, fires) /* at the hit that is being handled, with this key and these values: */ \
    FIELD(uint8_t *, hit_key) \
    FIELD(uint64_t *, hit_values)

#define ARMPROBE_ACTION(FIELD, ARRAY) \
    FIELD(struct action *, next) \
    FIELD(uint64_t, id) \
    FIELD(bool, enabled) \
    FIELD(bool, follows) /* the calls of the function here, to their returns */ \
    FIELD(bool, records_first) /* a record at stage 0 */ \
    FIELD(bool, records_second) /* a record at stage 1 */ \
    FIELD(bool, decides_second) /* the condition is asked at stage 1 */ \
    FIELD(bool, notes_second) /* the note is of stage 1 */ \
    FIELD(bool, leaves) /* hits at which the condition is not 0 are left to Python */ \
    FIELD(handler_t *, handler) /* Python's, called before the instruction, or at a return if `follows`; or NULL */ \
    FIELD(handler_ended_t *, handler_ended) /* Python's, when that has done more than look: handlers.c */ \
    FIELD(bool, conditional) /* but only at hits at which the condition is not 0 */ \
    FIELD(bool, selected) /* the last hit, by the condition */ \
    FIELD(const struct program *, condition) /* NULL for none; hits at which it is 0 are not recorded */ \
    FIELD(const struct note *, note) /* NULL for none */ \
    FIELD(uint8_t *, note_data) /* what the note gave at the last hit */ \
    FIELD(uint32_t, note_size) /* of that, at most */ \
    FIELD(uint32_t, note_length) \
    FIELD(uint64_t, registers) /* a bit for each of `x` that is recorded; the others are 0 */ \
    FIELD(const struct note *, memory) /* another note, with memory; NULL for none */ \
    FIELD(bool, memory_second) /* it is of stage 1 */ \
    FIELD(uint8_t *, memory_data) \
    FIELD(uint32_t, memory_size) \
    FIELD(uint32_t, memory_length) \
    FIELD(bool, event) /* it is a tracepoint's, and the memory is the record of its event */ \
    FIELD(struct aggregate *, aggregate) /* NULL for none; of stage 1 if `follows`, else of stage 0 */ \
    FIELD(struct histogram_trigger *, histograms) /* NULL for none; of the same stage, whether or not it is selected */ \
    FIELD(uint64_t, hits) \
    FIELD(uint64_t, met) /* hits at which the condition was not 0 */ \
    FIELD(uint64_t, missed) /* hits while `busy` */ \
    FIELD(uint64_t, calls) /* followed */ \
    FIELD(uint64_t, refused) /* calls beyond the capacity */ \
    FIELD(uint64_t, leaked) /* calls that ended without returning */ \
    FIELD(uint32_t, capacity) /* the calls that may be outstanding at once */ \
    FIELD(uint32_t, outstanding)

#define ARMPROBE_PLACE(FIELD, ARRAY) \
    FIELD(struct recorder *, recorder) \
    FIELD(uint64_t, address) \
    FIELD(struct action *, actions) \
    FIELD(uint64_t, reached) /* `executed` at the last hit, ~0 before the first */ \
    FIELD(uint64_t, next) /* the address after the instruction, where stage 1 is seen; see `simulated` */ \
    FIELD(uint32_t, word) /* the instruction */ \
    FIELD(bool, simulated) /* stage 1 is computed from `word`, at once */ \
    FIELD(bool, follows) /* it is computed from `word` when the record is taken; there is one action */ \
    FIELD(bool, changed) /* the guest has another instruction there */ \
    FIELD(uint64_t, looked) /* the recorder's `translated` when that was looked for */ \
    FIELD(bool, records_second) /* one of the actions does */ \
    FIELD(struct slot, slot) /* with BRK #4 in its place: where the instruction is executed */

/* A call that has been entered and not returned from. */
#define ARMPROBE_PAIR(FIELD, ARRAY) \
    FIELD(struct action *, action) \
    FIELD(uint64_t, sp) /* at the entry */ \
    FIELD(uint64_t, ret) /* the return address that was in x30 */ \
    FIELD(uint64_t, fp) /* x29 */ \
    FIELD(uint64_t, task) /* SP_EL0 */ \
    FIELD(uint64_t, number) \
    FIELD(uint64_t, entered) /* the time, in ticks */ \
    FIELD(uint64_t, executed) /* the guest's instructions before it */ \
    FIELD(bool, leaked) /* it has been found to have ended otherwise */ \
    FIELD(bool, selected) /* by the condition, at the entry */ \
    FIELD(bool, holds) /* the record of stage 0 is in `held`, until the condition is asked */ \
    FIELD(uint32_t, held) /* its index there */

#define ARMPROBE_RECORDER(FIELD, ARRAY) \
    FIELD(struct core *, core) \
    FIELD(struct reader *, reader) /* for programs */ \
    FIELD(char *, ring) \
    FIELD(uint64_t, stride) /* bytes from a record in the ring to the next */ \
    FIELD(uint64_t, capacity) /* of the ring, in records */ \
    FIELD(uint64_t, at) /* the record to be written next; a full ring loses the oldest */ \
    FIELD(uint64_t, written) \
    FIELD(uint64_t, stages) /* in the records that were written */ \
    FIELD(struct place *, pending) /* its instruction is being executed, and stage 1 is recorded after it */ \
    FIELD(uint64_t, pending_executed) \
    FIELD(struct record *, following) /* from which its stage 1 follows; NULL if none has been made */ \
    FIELD(uint64_t, translated) /* blocks of code */ \
    FIELD(bool, busy) /* hits are counted as missed */ \
    FIELD(bool, reads_task) \
    FIELD(uint64_t, comm) /* offsets in the task's structure, to which SP_EL0 points */ \
    FIELD(uint64_t, pid) \
    FIELD(struct pair *, pairs) /* oldest first */ \
    FIELD(uint64_t, outstanding) /* their number */ \
    FIELD(uint64_t, room) /* for so many */ \
    FIELD(char *, held) /* for as many, with the ring's `stride` */ \
    FIELD(uint32_t *, free_held) /* a stack of the free indices there */ \
    FIELD(uint64_t, free_count) \
    FIELD(uint64_t, trampoline) /* the address that followed calls return to: a BRK #7, or the RET `core.ret` */ \
    FIELD(uint64_t, spare) /* a BRK #7 that takes the place of that RET if a call is not C's alone; as `core.ret` for none */ \
    FIELD(uint32_t, frame) /* bytes: SUB SP, SP, #frame is under the trampoline; 0 for none */ \
    FIELD(uint32_t, kept) /* the bits of PSTATE in records after a return */ \
    FIELD(bool, sets_pc) /* records after a return have the caller's address as pc, otherwise 0 */ \
    FIELD(bool, sets_x30) /* x30 is the caller's address after a return */ \
    FIELD(bool, compares) /* whether handlers in Python have changed registers */ \
    FIELD(uint64_t, registers_size) /* bytes of the CPU's registers, from x0 on, that they can change */ \
    FIELD(struct pair, returning) /* the call whose return handler is running */ \
    ARRAY(uint64_t, frame_regs, 34) /* for return handlers: struct pt_regs as the code under that BRK stores it */ \
    FIELD(uint64_t, frame_at) /* the address at which it does */ \
    FIELD(uint64_t, frame_pc) /* and where it calls them */ \
    FIELD(uint32_t, frame_record) /* the offset of the frame record in the frame, to which x29 points; 0 for none */ \
    FIELD(mixed_t *, mixed) /* Python's: a call returns that has to be left to Python, with all pairs */ \
    FIELD(undecided_t *, undecided) /* Python's: a program has no value at the place, which is left to Python */ \
    FIELD(struct place **, places) /* those with BRK #4: a hash table by address, NULL for none */ \
    FIELD(uint64_t, mask) /* its size, a power of two, less one */

#define ARMPROBE_PLACES_STRUCTURES(STRUCTURE) \
    STRUCTURE(record, ARMPROBE_RECORD) \
    STRUCTURE(aggregate_row, ARMPROBE_AGGREGATE_ROW) \
    STRUCTURE(long_key, ARMPROBE_LONG_KEY) \
    STRUCTURE(aggregate, ARMPROBE_AGGREGATE) \
    STRUCTURE(histogram, ARMPROBE_HISTOGRAM) \
    STRUCTURE(histogram_key, ARMPROBE_HISTOGRAM_KEY) \
    STRUCTURE(histogram_trigger, ARMPROBE_HISTOGRAM_TRIGGER) \
    STRUCTURE(action, ARMPROBE_ACTION) \
    STRUCTURE(place, ARMPROBE_PLACE) \
    STRUCTURE(pair, ARMPROBE_PAIR) \
    STRUCTURE(recorder, ARMPROBE_RECORDER)

struct core;
struct action;
struct aggregate;
struct histogram_trigger;
struct place;
struct recorder;
struct record;
struct view;
typedef void mixed_t(void);
typedef void undecided_t(uint64_t address);
typedef bool handler_t(void);
typedef uint32_t handler_ended_t(const void *before); /* one of `enum handled` */

/* What became of a BRK. */
enum handled {
    HANDLED_ON,  /* of a handler: nothing, the hit goes on */
    HANDLED,     /* the CPU goes on at its pc, or in the slot that Python has named */
    HANDLED_END, /* likewise, and the run ends */
    NOT_HANDLED, /* of a return handler: an exception has ended it, and the run; the call has yet to return */
};

/* A stage of a hit, with the registers there: x0 to x30, sp and pc. */
struct stage {
    unsigned stage;
    bool live;       /* the registers are the CPU's own */
    uint32_t pstate; /* if they are not: see `stage_pstate` */
    uint64_t executed;
    uint64_t caller;
    const uint64_t *x;
    uint64_t elapsed; /* the time of the call that returns, in ns */
    uint64_t event;   /* the address at which an event of the guest's kernel happens, 0 for another place */
    bool framed;      /* there, the function has its frame record at x29, and x30 is not what it returns to */
};

/* The return address of the call under way that has taken it from x30, 0 if it is not known. */
uint64_t call_caller(const struct recorder *recorder, uint64_t sp);

/* `record_decide` of core.h, where there are programs to evaluate. */
bool record_decide_by_programs(const struct recorder *recorder, struct action *action, const struct stage *at);

/* Records the stage in the ring. */
struct record *record_append(struct recorder *recorder, const struct action *action, uint64_t number,
                             const struct stage *at);
void record_append_held(struct recorder *recorder, const struct record *held);

/* Makes a record, with `stride` bytes of room. */
void record_make(const struct recorder *recorder, struct record *record, const struct action *action, uint64_t number,
                 const struct stage *at);

/* A record that is kept until a condition is asked. */
struct record *record_held(const struct recorder *recorder, uint32_t index);

#define TICK 16 /* ns: the counter has 62.5 MHz, machine/time/clock.py */

/* Whether the key and the value of a hit are known. They are kept for `aggregate_hit`. */
bool aggregate_decide(const struct recorder *recorder, struct aggregate *aggregate, const struct stage *at,
                      const struct view *view);

/* Count that hit. `elapsed` is the time of a call in ns, `executed` the guest's instructions during it. */
void aggregate_hit(struct aggregate *aggregate, uint64_t elapsed, uint64_t executed);

/* Append the return addresses in the frame records from `fp`, an x29, on, to `length` addresses of a stack. Returns the
 * number of them all, `most` at most. A kretprobe's trampoline is shown as what the call returns to. */
uint64_t stack_read(const struct recorder *recorder, uint64_t fp, uint64_t *addresses, uint64_t length, uint64_t most);

/* The same for the stack of an event, which begins with its place. */
uint64_t stack_of_event(const struct recorder *recorder, const struct stage *at, const struct view *view,
                        uint64_t *addresses, uint64_t most);

/* An exception is raised at `pc`, after `executed` instructions: if it is the pending one's, that has no stage 1. */
void places_raised(struct recorder *recorder, uint64_t pc, uint64_t executed);

/* The guest is at `pc`, after `executed` instructions: record stage 1 of a place whose instruction was the last one. */
void places_settle(struct recorder *recorder, uint64_t pc, uint64_t executed);

#define COMM 16 /* bytes of a task's name */

/* Whether the filters, keys and values of a hit are known, for all triggers from `first` on. They are kept for
 * `histograms_hit`. */
bool histograms_decide(const struct recorder *recorder, struct histogram_trigger *first, const struct stage *at,
                       const struct view *view);

/* Count that hit. */
void histograms_hit(const struct recorder *recorder, struct histogram_trigger *first);

/* Call the action's handler in Python, whose registers are `size` bytes at `regs`. */
enum handled handler_call(struct recorder *recorder, const struct action *action, const void *regs, size_t size);

/* The function here is entered: follow the call. */
void call_entered(struct recorder *recorder, struct action *action, const struct stage *at);

/* A call returns to the trampoline. HANDLED if the CPU has been sent on, NOT_HANDLED if it is none of the pairs'. */
uint32_t armprobe_returned(struct recorder *recorder, uint64_t executed);

/* The RET of the trampoline is about to be executed: it goes to the caller, or to `spare`. */
void call_returns(struct recorder *recorder);

/* A call that was left to the spare BRK, if the CPU is there, is at the trampoline. */
void call_leave_spare(struct recorder *recorder);

/* The BRK of the trampoline is executed, or the spare one. */
enum handled call_at_trampoline(struct recorder *recorder);

/* Executes an instruction whose result follows from it, its address and the registers (x0 to x30, sp and pc), as Linux
 * simulates it (arch/arm64/kernel/probes/simulate-insn.c). False if it cannot be done: the literal cannot be read. */
bool armprobe_simulate(const struct core *core, uint32_t word, uint64_t address, uint64_t *x, uint32_t *pstate);

/* Whether a condition code holds (Arm ARM, ConditionHolds). */
bool condition_holds(unsigned condition, uint32_t pstate);

/* The core is at rest, after `executed` instructions: record stage 1 of the last one. */
void armprobe_places_settle(struct recorder *recorder, uint64_t executed);

/* The instruction of a place has been executed in its slot: record stage 1. */
void place_executed(const struct place *place);

/* A BRK #`immediate` is executed at `pc`. */
enum handled core_brk(struct core *core, uint64_t pc, uint32_t immediate);

#endif
