/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the C core share: its structures, each declared once for C and for Python.
 *
 * A structure that Python reads is declared as a list of its fields, and named in ARMPROBE_STRUCTURES:
 *
 *     #define PLACE(FIELD, ARRAY) \
 *         FIELD(uint64_t, address) \
 *         FIELD(void *, next) \
 *         ARRAY(uint32_t, words, 4)
 *
 *     #define ARMPROBE_STRUCTURES(STRUCTURE) \
 *         ... \
 *         STRUCTURE(place, PLACE)
 *
 * That declares `struct place` for C, after those named before it, and library.c exports its layout as a table. Python
 * declares the fields that it uses, in a class that binding.py fills in from the table:
 *
 *     @structure("place")
 *     class Place(ctypes.Structure):
 *         address: int
 *         words: ctypes.Array[ctypes.c_uint32]
 *
 * A type is one of <stdint.h>, bool, a pointer (an int in Python), or `struct NAME` of a structure named before.
 */
#ifndef ARMPROBE_NATIVE_H
#define ARMPROBE_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "btf.h"
#include "devices.h"
#include "functions.h"
#include "places.h"

_Static_assert(sizeof(void *) == 8, "armprobe takes a 64-bit host");

/* What Python sees of the library; its name begins with armprobe_. The library hides all else. */
#define ARMPROBE_EXPORT __attribute__((visibility("default")))

/* A row of the table: a field of a structure. `count` is 0 but for an array. The last row has no name, and the size of
 * the whole structure as its offset. */
#define ARMPROBE_ROW(FIELD, ARRAY) \
    FIELD(const char *, name) \
    FIELD(const char *, type) \
    FIELD(uint32_t, count) \
    FIELD(uint32_t, offset) \
    FIELD(uint32_t, size)

/* Programs, which program.py makes and program.c evaluates. */

/* `number` is GDB's, or one of enum operation_number. */
#define ARMPROBE_OPERATION(FIELD, ARRAY) \
    FIELD(uint64_t, number) \
    FIELD(uint64_t, operand)

/* The last operation is OPERATION_RUNS_OUT, and jumps have the index of an operation. */
#define ARMPROBE_PROGRAM(FIELD, ARRAY) \
    FIELD(const struct operation *, operations)

/* A variable of programs, and whether it was ever set. */
#define ARMPROBE_VARIABLE(FIELD, ARRAY) \
    FIELD(uint64_t, value) \
    FIELD(bool, known)

/* Registers that a program reads: x0 to x30, sp and pc, and PSTATE. If they are the CPU's own, `live`, programs see x30
 * as it were without probes, and PSTATE is the CPU's, too. `changes` are those that programs have made to variables;
 * without it they make none. `elapsed` is the time of a call that returns, in ns, `caller` the address that it returns
 * to. `ticks` is the time, and `task` the structure of the guest's task. */
#define ARMPROBE_VIEW(FIELD, ARRAY) \
    FIELD(const uint64_t *, x) \
    FIELD(uint64_t, pstate) \
    FIELD(bool, live) \
    FIELD(struct changes *, changes) \
    FIELD(uint64_t, elapsed) \
    FIELD(uint64_t, caller) \
    FIELD(uint64_t, ticks) \
    FIELD(uint64_t, task)

#define MOST_TRAMPOLINES 2

/* How programs read the memory and other registers of a core.
 *
 * They do not see what the machine has put into the guest's memory: breakpoints, all of them from `start` to `end`, and
 * the address of a trampoline (0 for none) where a return address was. At the address RECORD, which is none of the
 * guest's, they see the record of an event, if one is handled. */
#define RECORD UINT64_C(0x00EE000000000000) /* as in probes/guest_view.py */
#define ARMPROBE_READER(FIELD, ARRAY) \
    FIELD(const struct core *, core) \
    FIELD(uint64_t, start) \
    FIELD(uint64_t, end) \
    ARRAY(uint64_t, trampolines, MOST_TRAMPOLINES) \
    FIELD(const uint8_t *, record) \
    FIELD(uint64_t, record_size)

/* A value that a note has. If it is the address of memory, that follows: a string, or as many bytes as `size` says. */
#define ARMPROBE_NOTE_VALUE(FIELD, ARRAY) \
    FIELD(struct program, program) \
    FIELD(struct program, size) /* no operations for a string or a number */ \
    FIELD(uint32_t, most) /* bytes of that memory; 0 for a number */

#define ARMPROBE_NOTE(FIELD, ARRAY) \
    FIELD(const struct note_value *, values) \
    FIELD(uint64_t, count)

/* Room for what is appended at `at`, before `end`. */
#define ARMPROBE_WRITER(FIELD, ARRAY) \
    FIELD(uint8_t *, at) \
    FIELD(uint8_t *, end)

/* A text in memory: a string, which ends at its NUL, or an array of characters, which has NULs behind it. */
#define ARMPROBE_TEXT(FIELD, ARRAY) \
    FIELD(struct program, address) /* 0: it cannot be read, and is empty */ \
    FIELD(uint64_t, most) /* bytes that are read */ \
    FIELD(uint64_t, array) /* bytes of the array, more than `most`; 0 for a string */

/* What a text is compared with, see pattern.c. `bytes` ends with a NUL. */
#define ARMPROBE_PATTERN(FIELD, ARRAY) \
    FIELD(struct text, text) \
    FIELD(uint32_t, match) /* an `enum match` */ \
    FIELD(bool, inverted) \
    FIELD(const uint8_t *, bytes) \
    FIELD(uint64_t, length) /* without the NUL */

/* The conditions of a breakpoint. Python's `ask` is called if one may be true, or `always`. */
#define ARMPROBE_CONDITION(FIELD, ARRAY) \
    FIELD(struct core *, core) \
    FIELD(const struct reader *, reader) \
    FIELD(const struct program *, programs) \
    FIELD(uint64_t, count) \
    FIELD(bool, always) \
    FIELD(hook_code_t *, ask)

/* A search for the last instruction before which a program is true: see condition.c. */
#define ARMPROBE_SEARCH(FIELD, ARRAY) \
    FIELD(struct core *, core) \
    FIELD(const struct reader *, reader) \
    FIELD(const struct program *, program) /* NULL: `ask` decides, as where it has no value */ \
    FIELD(hook_code_t *, ask) \
    FIELD(uint64_t, first) /* instructions before this position are not looked at */ \
    FIELD(bool, found) \
    FIELD(uint64_t, position) /* the guest's instructions before it */

/* A function that reads or patches text: see text_watch.c. */
#define ARMPROBE_TEXT_WATCH(FIELD, ARRAY) \
    FIELD(struct core *, core) \
    FIELD(const uint64_t *, addresses) /* in ascending order */ \
    FIELD(uint64_t, count) \
    FIELD(uint64_t, before) /* the bytes before the address that it reads, too */ \
    FIELD(uint64_t, member) /* the offset of the address in what x0 points to */ \
    FIELD(bool, indirect) /* x0 points to a structure, instead of being the address */ \
    FIELD(hook_code_t *, ask)

/* Code of the guest's that is executed beside it: see interpret.c. */

/* 8 bytes that the code has stored: a bit of `mask` for each that it has, and their value. Of another `round` than the
 * interpreter's it is free. */
#define ARMPROBE_STORED(FIELD, ARRAY) \
    FIELD(uint64_t, round) \
    FIELD(uint64_t, address) \
    FIELD(uint64_t, value) \
    FIELD(uint32_t, mask)

#define INTERPRETER_STORED 2048 /* a power of two; half of them are used at most */

/* `x` has x0 to x30, sp and pc. The room is memory at addresses that the guest has not, for what it is to find there.
 */
#define ARMPROBE_INTERPRETER(FIELD, ARRAY) \
    FIELD(const struct core *, core) \
    ARRAY(uint64_t, x, 33) \
    FIELD(uint32_t, pstate) \
    FIELD(uint64_t, sp_el0) \
    FIELD(uint64_t, tpidr_el1) \
    FIELD(const uint64_t *, stops) \
    FIELD(uint64_t, stop_count) \
    FIELD(uint64_t, left) /* instructions that may be executed */ \
    FIELD(uint64_t, room) \
    FIELD(uint64_t, room_size) \
    FIELD(uint8_t *, bytes) /* of the room */ \
    FIELD(uint64_t, fault) /* the address of an access that failed */ \
    FIELD(uint32_t, word) /* the last instruction */ \
    FIELD(uint32_t, instead) \
    FIELD(uint32_t, stored_count) \
    FIELD(uint64_t, round) /* how often it was forgotten what was stored */ \
    ARRAY(struct stored, stored, INTERPRETER_STORED)

/* A place at which an event of the guest's kernel happens: see tracepoint.c. */
#define TRACEPOINT_FIELDS 8
#define ARMPROBE_TRACEPOINT(FIELD, ARRAY) \
    FIELD(struct tracepoint *, next) /* at the same address */ \
    FIELD(struct recorder *, recorder) \
    FIELD(struct interpreter *, interpreter) \
    FIELD(struct action *, actions) \
    FIELD(hook_code_t *, ask) /* Python's, for hits that are left to it */ \
    FIELD(uint64_t, reached) /* the count of instructions at the last hit */ \
    FIELD(uint64_t, target) /* of the branch; 0 for a system call */ \
    FIELD(const uint64_t *, stops) /* the one who traces, what is behind the branch, and branches within its code */ \
    FIELD(const uint64_t *, targets) /* of those branches, at the same numbers */ \
    FIELD(uint64_t, stop_count) \
    FIELD(bool, framed) /* as in `struct stage` */ \
    FIELD(uint64_t, list) /* where the tracepoint has the list of those who trace */ \
    FIELD(uint64_t, make) /* the function that makes the record, and where it gets room and is done: */ \
    FIELD(uint64_t, reserve) \
    FIELD(uint64_t, commit) \
    FIELD(uint64_t, file) /* addresses in the interpreter's room */ \
    FIELD(uint64_t, returns) \
    FIELD(uint64_t, probe) \
    FIELD(uint64_t, functions) \
    FIELD(uint64_t, record_at) \
    FIELD(uint64_t, id) \
    FIELD(uint64_t, preempt_count) /* offsets in struct task_struct */ \
    FIELD(uint64_t, flags) \
    FIELD(uint64_t, pid) \
    FIELD(uint64_t, migration) /* 0: it has none */ \
    FIELD(uint64_t, stack) \
    FIELD(uint64_t, tpidr_el1) /* Unicorn's number */ \
    FIELD(int64_t, number) /* of the system call, -1 for all */ \
    FIELD(bool, enters) \
    FIELD(bool, in_x0) /* the result is in x0 */ \
    FIELD(uint64_t, regs) /* the offset of struct pt_regs on the task's stack, and offsets in that: */ \
    FIELD(uint64_t, syscallno) \
    FIELD(uint64_t, user_pstate) \
    FIELD(uint64_t, general) \
    FIELD(uint64_t, orig_x0) \
    FIELD(uint64_t, field_count) /* of a system call: where its values are in the record */ \
    ARRAY(uint32_t, offsets, TRACEPOINT_FIELDS) \
    ARRAY(uint32_t, sizes, TRACEPOINT_FIELDS) \
    FIELD(uint64_t, size) /* of the record */ \
    FIELD(uint64_t, most) /* bytes that C keeps */ \
    FIELD(uint8_t *, data)

/* Those at one address. */
#define ARMPROBE_TRACEPOINTS(FIELD, ARRAY) \
    FIELD(struct tracepoint *, first)

/* Cores. */

/* Byte offsets of registers from the start of a saved context; see machine/core/calibration.py. x0 to x30, sp and pc
 * are contiguous. */
#define ARMPROBE_LAYOUT(FIELD, ARRAY) \
    FIELD(uint32_t, x) \
    FIELD(uint32_t, pstate) \
    FIELD(uint32_t, nf) \
    FIELD(uint32_t, zf) \
    FIELD(uint32_t, cf) \
    FIELD(uint32_t, vf) \
    FIELD(uint32_t, daif) \
    FIELD(uint32_t, btype) \
    FIELD(uint32_t, syndrome) \
    FIELD(uint32_t, fault_address) \
    FIELD(uint32_t, sp_el0) \
    FIELD(uint32_t, sp_el1) \
    FIELD(uint32_t, elr_el1) \
    FIELD(uint32_t, spsr_el1) \
    FIELD(uint32_t, esr_el1) \
    FIELD(uint32_t, far_el1) \
    FIELD(uint32_t, vbar_el1) \
    FIELD(uint32_t, sctlr_el1) \
    FIELD(uint32_t, ttbr0_el1) \
    FIELD(uint32_t, ttbr1_el1) \
    FIELD(uint32_t, tcr_el1)

/* Unicorn's uc_arm64_cp_reg: a system register. */
#define ARMPROBE_CP_REG(FIELD, ARRAY) \
    FIELD(uint32_t, crn) \
    FIELD(uint32_t, crm) \
    FIELD(uint32_t, op0) \
    FIELD(uint32_t, op1) \
    FIELD(uint32_t, op2) \
    FIELD(uint64_t, value)

#define STEPPED 256
#define FRAME_MOST 512 /* bytes: struct pt_regs takes some 340 */

/* An access to a device that has been made. */
#define ARMPROBE_ACCESS(FIELD, ARRAY) \
    FIELD(const struct window *, window) \
    FIELD(uint64_t, offset) \
    FIELD(uint64_t, value)

#define CORE_ACCESSES 64 /* the most that one instruction makes: LD4 of bytes */

/* An instruction that is executed out of line, and the BRK behind it. */
#define ARMPROBE_SLOT(FIELD, ARRAY) \
    FIELD(uint64_t, start) /* the address of the instruction */ \
    FIELD(uint64_t, next) /* where the guest goes on behind it */ \
    FIELD(uint32_t, brk) /* the syndrome of the BRK */ \
    FIELD(uint32_t, sets) /* bits of PSTATE.DAIF that are set while it is executed */ \
    FIELD(uint32_t, clears) /* bits that are cleared */ \
    FIELD(uint32_t, restores) /* bits that are restored afterwards */ \
    FIELD(const struct place *, place) /* whose instruction it is; NULL if Python had it executed */

/* The last walk of the tables for a page of the kernel's: kernel_memory.c. It holds as long as the descriptors are the
 * same. */
#define WALKS 16
#define ARMPROBE_WALK(FIELD, ARRAY) \
    FIELD(uint64_t, page) /* its address, 0 for none */ \
    FIELD(uint64_t, table) /* TTBR1_EL1.BADDR */ \
    FIELD(uint64_t, tcr) /* TCR_EL1 */ \
    FIELD(uint64_t, found) /* where the page is in the core's `ram` */ \
    ARRAY(uint64_t, at, 4) /* and where the descriptors are, of each level */ \
    ARRAY(uint64_t, entries, 4)

/* One CPU and its engine: the user data of the engine's hooks. */
#define ARMPROBE_CORE(FIELD, ARRAY) \
    FIELD(void *, uc) \
    FIELD(char *, registers) /* of the CPU, or of `copy`: the layout's offsets are from here */ \
    FIELD(void *, copy) /* a context that hooks load and store, where the CPU's own registers were not found */ \
    FIELD(void *, cpu) /* the argument of `rebuild` */ \
    FIELD(uint64_t *, generation) /* code is executed only while this is as it was at its translation; NULL: not known */ \
    FIELD(const char *, ram) /* where the host has the machine's memory, and where that is in the guest: */ \
    FIELD(uint64_t, ram_base) \
    FIELD(uint64_t, ram_size) /* in bytes, 0 for none */ \
    FIELD(struct walk *, walks) /* WALKS of them, by their page; NULL for none */ \
    FIELD(uint8_t *, translated) /* for each page of it, whether code there may have been translated: translated.c */ \
    FIELD(struct recorder *, recorder) /* of its places, NULL for none */ \
    FIELD(struct gic_interface *, interface) /* which signals interrupts to the CPU */ \
    ARRAY(struct timer *, timers, 2) /* physical and virtual: CRm 2 and 3 of their registers */ \
    FIELD(uint64_t, base) /* the guest's instructions before the block under way */ \
    FIELD(uint64_t, block) /* the address of that block */ \
    FIELD(uint64_t, count) /* its instructions; 0 when `base` is all there is */ \
    FIELD(uint64_t, limit) /* the count that no block may pass unseen; 0 while an interrupt is pending */ \
    FIELD(uint64_t, masked_limit) /* that count while PSTATE masks interrupts */ \
    FIELD(uint64_t, hard) /* the count at which the run ends */ \
    FIELD(uint64_t, begin) /* the count at which the run began */ \
    FIELD(uint64_t, executed) /* the instructions of the last run */ \
    FIELD(uint64_t, ended) /* the count at which it ended */ \
    FIELD(uint64_t *, idle) /* ticks that were skipped while waiting for interrupts: the clock's */ \
    FIELD(uint64_t, slice) /* the instructions of each further slice of the run, 0 if Python begins it */ \
    FIELD(uint64_t, end) /* the count at which Python ends the run */ \
    FIELD(uint64_t, deadline) /* the generic timer's count at which a device in Python acts, or TIMER_NEVER */ \
    FIELD(uint64_t, own) /* the address of the machine's own memory, see `own_is_at` */ \
    FIELD(uint64_t, own_size) /* in bytes, 0 for none */ \
    FIELD(const uint8_t *, roles) /* an `enum role` per word of it */ \
    FIELD(uint64_t, own_descriptor) /* which maps that memory, 0 if it needs none; see `own_show` */ \
    FIELD(uint64_t, own_offset) /* where that is in the table that TTBR1_EL1 points to, in bytes */ \
    FIELD(uint64_t, shown) /* the physical address at which it is for now, 0 for none */ \
    FIELD(uint32_t, shows) /* the block before which it is taken away: 1 for the next one, 0 for none */ \
    FIELD(const uint64_t *, borrowed) /* words of the guest's own text that are used likewise, in ascending order */ \
    FIELD(uint64_t, borrowed_count) \
    FIELD(struct functions *, functions) /* sets of functions that are watched, NULL for none */ \
    FIELD(uint64_t, looked) /* blocks that begin here are looked at: in `own`, with `borrowed` or `functions` all */ \
    FIELD(uint64_t, looked_size) /* in bytes */ \
    FIELD(uint64_t, ret) /* the address of a RET there, to which followed calls return; no address of code for none */ \
    FIELD(bool, returning) /* the last time that it was begun, a call returned */ \
    FIELD(uint64_t, frame_entry) /* of the machine's own code that uses the guest's stack; see `own_keep_frame` */ \
    FIELD(uint64_t, frame_size) /* the bytes below the stack pointer that it uses, 0 for none */ \
    FIELD(uint64_t, frame_lowered) /* by which the stack pointer is lower already */ \
    FIELD(uint64_t, frame_sp) \
    FIELD(uint64_t, frame_base) \
    FIELD(uint64_t, aside_base) /* the count at the last step aside */ \
    FIELD(uint64_t, aside) /* steps aside since that count */ \
    FIELD(uint64_t, exit_at) /* an exit of the core's own, while `exiting` */ \
    FIELD(uint32_t, slices) /* the slices that have ended in this run */ \
    FIELD(uint64_t *, exits) /* the exits at breakpoints */ \
    FIELD(uint64_t, exit_count) \
    FIELD(uint64_t, access_count) /* of accesses to devices; the last are in `accesses` */ \
    ARRAY(struct access, accesses, CORE_ACCESSES) \
    ARRAY(uint64_t, saved, 32) /* x0 to x30 and sp before the instruction that is to be executed again */ \
    ARRAY(uint64_t, stepped, STEPPED) /* addresses of blocks of one instruction, by address */ \
    FIELD(bool, any_stepped) \
    FIELD(uint32_t, why) /* an `enum end` */ \
    FIELD(uint32_t, uncounted) /* the syndrome of a breakpoint that stands in front of an instruction */ \
    FIELD(uint32_t, irq) /* `interface` signals an interrupt */ \
    FIELD(uint32_t, mask) /* the bit of PSTATE that masks it */ \
    FIELD(uint32_t, running) /* runs under way, one within the other */ \
    FIELD(uint32_t, xzr) /* Unicorn's number of that register */ \
    FIELD(uint32_t, cp_reg) /* Unicorn's number for all system registers */ \
    FIELD(const struct slot *, slot) /* whose instruction is executed after the exception that Python handles */ \
    FIELD(const struct slot *, slot_running) /* whose instruction is being executed, NULL for none */ \
    FIELD(uint32_t, slot_daif) /* PSTATE.DAIF before it */ \
    FIELD(const struct slot *, slot_left) /* something else came before its end, and Python does not know it yet */ \
    FIELD(bool, framed) /* `frame` is to be put back */ \
    ARRAY(uint8_t, frame, FRAME_MOST) \
    FIELD(bool, pan) /* the CPU has FEAT_PAN */ \
    FIELD(bool, ends) /* the run is to end at the next exception */ \
    FIELD(bool, interrupting) /* the run is to end soon */ \
    FIELD(bool, faults_claimed) /* Python is asked about faults at EL1 */ \
    FIELD(bool, translated_elsewhere) /* code may have been translated in pages that are not known */ \
    FIELD(bool, following) /* accesses to system registers are looked for in new code */ \
    FIELD(bool, watching) /* accesses to memory are watched: see `armprobe_is_unchecked` */ \
    FIELD(bool, waiting) /* the guest has executed WFI and still waits */ \
    FIELD(bool, called) /* Python has been called in this run, and may have something to do between slices */ \
    FIELD(bool, handling) /* Python is handling an exception */ \
    FIELD(const struct action *, handler) /* whose handler is running, while Python knows nothing of the hit */ \
    FIELD(uint64_t, handler_idle) /* `idle` when it began */ \
    FIELD(bool, accessing) /* a device's function is doing an access */ \
    FIELD(bool, exiting) \
    FIELD(bool, whole) /* the run ended behind the block under way */ \
    FIELD(bool, redo) /* the run ended at an instruction that is to be executed again, alone */ \
    FIELD(bool, exact) /* that instruction is being executed */ \
    FIELD(bool, replay) /* the accesses of the instruction have been made already, up to the last of `accesses` */ \
    FIELD(bool, ends_after_access) /* the run is to end behind the instruction that accesses a device */ \
    FIELD(struct layout, layout) \
    FIELD(struct cp_reg, refreshed) /* an unused system register: see `armprobe_refresh` */ \
    FIELD(emu_start_t *, emu_start) \
    FIELD(emu_stop_t *, emu_stop) \
    FIELD(ctl_t *, ctl) \
    FIELD(hook_add_t *, hook_add) \
    FIELD(mmio_map_t *, mmio_map) \
    FIELD(reg_read_t *, reg_read) \
    FIELD(reg_write_t *, reg_write) \
    FIELD(context_t *, context_save) \
    FIELD(context_t *, context_restore) \
    FIELD(vmem_read_t *, vmem_read) \
    FIELD(vmem_write_t *, vmem_write) \
    FIELD(mem_read_t *, mem_read) \
    FIELD(mem_write_t *, mem_write) \
    FIELD(rebuild_t *, rebuild) \
    FIELD(raised_t *, raised) /* Python's, for exceptions that are not taken here */ \
    FIELD(found_t *, found) /* Python's, for blocks with an instruction to follow */ \
    FIELD(access_register_t *, read_register) /* Python's, for MRS of other registers */ \
    FIELD(access_register_t *, write_register) /* Python's, for MSR of other registers */

/* An MRS or MSR. */
#define ARMPROBE_SITE(FIELD, ARRAY) \
    FIELD(struct core *, core) \
    FIELD(uint64_t, address)

/* Where a device is. The accesses to one that is `timed` take place at the exact count of their instruction. */
#define ARMPROBE_WINDOW(FIELD, ARRAY) \
    FIELD(struct core *, core) \
    FIELD(void *, device) \
    FIELD(device_read_t *, read) \
    FIELD(device_write_t *, write) \
    FIELD(bool, timed)

/* What holds from an instruction on: the canonical frame address (the caller's sp) is `depth` bytes above register
 * `base`. That is x29 where the function has a frame record, which is at x29, and sp where x29 and x30 still have, or
 * have again, their values at the function's entry. It is 0 where the same holds as before. `frame` is the depth of the
 * frame record that the instruction sets x29 to, 0 if it does not. */
#define ARMPROBE_FRAME_ROW(FIELD, ARRAY) \
    FIELD(uint32_t, base) \
    FIELD(uint32_t, depth) \
    FIELD(uint32_t, frame)

#define ARMPROBE_STRUCTURES(STRUCTURE) \
    STRUCTURE(row, ARMPROBE_ROW) \
    STRUCTURE(operation, ARMPROBE_OPERATION) \
    STRUCTURE(program, ARMPROBE_PROGRAM) \
    STRUCTURE(variable, ARMPROBE_VARIABLE) \
    STRUCTURE(view, ARMPROBE_VIEW) \
    STRUCTURE(reader, ARMPROBE_READER) \
    STRUCTURE(note_value, ARMPROBE_NOTE_VALUE) \
    STRUCTURE(note, ARMPROBE_NOTE) \
    STRUCTURE(writer, ARMPROBE_WRITER) \
    STRUCTURE(text, ARMPROBE_TEXT) \
    STRUCTURE(pattern, ARMPROBE_PATTERN) \
    STRUCTURE(condition, ARMPROBE_CONDITION) \
    STRUCTURE(search, ARMPROBE_SEARCH) \
    STRUCTURE(text_watch, ARMPROBE_TEXT_WATCH) \
    ARMPROBE_DEVICES_STRUCTURES(STRUCTURE) \
    STRUCTURE(layout, ARMPROBE_LAYOUT) \
    STRUCTURE(cp_reg, ARMPROBE_CP_REG) \
    STRUCTURE(access, ARMPROBE_ACCESS) \
    STRUCTURE(slot, ARMPROBE_SLOT) \
    STRUCTURE(walk, ARMPROBE_WALK) \
    STRUCTURE(core, ARMPROBE_CORE) \
    STRUCTURE(site, ARMPROBE_SITE) \
    STRUCTURE(window, ARMPROBE_WINDOW) \
    STRUCTURE(frame_row, ARMPROBE_FRAME_ROW) \
    ARMPROBE_BTF_STRUCTURES(STRUCTURE) \
    ARMPROBE_FUNCTIONS_STRUCTURES(STRUCTURE) \
    STRUCTURE(stored, ARMPROBE_STORED) \
    STRUCTURE(interpreter, ARMPROBE_INTERPRETER) \
    ARMPROBE_PLACES_STRUCTURES(STRUCTURE) \
    STRUCTURE(tracepoint, ARMPROBE_TRACEPOINT) \
    STRUCTURE(tracepoints, ARMPROBE_TRACEPOINTS)

struct changes;
struct tracepoint;

/* Functions of Unicorn, and of Python. */
struct core;
struct cp_reg;
typedef int emu_start_t(void *uc, uint64_t begin, uint64_t until, uint64_t timeout, size_t count);
typedef int emu_stop_t(void *uc);
typedef int ctl_t(void *uc, int control, ...);
typedef int hook_add_t(void *uc, size_t *hook, int type, void *callback, void *user, uint64_t begin, uint64_t end, ...);
typedef int mmio_map_t(void *uc, uint64_t address, size_t size, void *read, void *user_read, void *write,
                       void *user_write);
typedef int reg_write_t(void *uc, int number, const void *value);
typedef int context_t(void *uc, void *context);
typedef int vmem_read_t(void *uc, uint64_t address, int protection, void *bytes, size_t size);
typedef int vmem_write_t(void *uc, uint64_t address, int protection, const void *bytes, size_t size);
typedef int mem_read_t(void *uc, uint64_t address, void *bytes, uint64_t size);
typedef int mem_write_t(void *uc, uint64_t address, const void *bytes, uint64_t size);
typedef void rebuild_t(void *cpu);
typedef uint32_t raised_t(uint32_t number, uint32_t syndrome); /* one of `enum after` */
typedef bool found_t(uint64_t pc, uint64_t size);
typedef uint32_t access_register_t(void *uc, int general, const struct cp_reg *which, void *user);
typedef void hook_code_t(void *uc, uint64_t address, uint32_t size, void *user);
typedef int reg_read_t(void *uc, int number, void *value);

#define ARMPROBE_DECLARE_FIELD(type, name) type name;
#define ARMPROBE_DECLARE_ARRAY(type, name, count) type name[count];
#define ARMPROBE_DECLARE(name, FIELDS) struct name { FIELDS(ARMPROBE_DECLARE_FIELD, ARMPROBE_DECLARE_ARRAY) };

ARMPROBE_STRUCTURES(ARMPROBE_DECLARE)

/* The operations beside GDB's. */
enum operation_number {
    OPERATION_GENERAL = 0x100, /* operand: 0 to 32 for x0 to x30, sp and pc */
    OPERATION_X30,
    OPERATION_PSTATE,
    OPERATION_REGISTER,      /* operand: Unicorn's number */
    OPERATION_SYSTEM,        /* operand: op0, op1, CRn, CRm and op2, a byte each, op2 the lowest */
    OPERATION_STACK_POINTER, /* likewise, of SP_EL0 or SP_EL1 */
    OPERATION_NO_REGISTER,
    OPERATION_GET,           /* operand: the address of a variable */
    OPERATION_SET,           /* likewise */
    OPERATION_RUNS_OUT,
    OPERATION_ELAPSED,       /* the time of a call that returns, in ns */
    OPERATION_CALLER,        /* the address that it returns to */
    OPERATION_TIME,          /* in ns */
    OPERATION_TASK,
    OPERATION_VALUE,         /* operand: the address of a program, whose value this is */
    OPERATION_MATCH,         /* operand: the address of a pattern; whether its text is like it */
    OPERATION_ORDER,         /* the logarithm to base 2, rounded up */
    OPERATION_EQUALS,        /* whether it is the operand: 0 or 1 */
    OPERATION_UNLESS,        /* a jump, as GDB's if_goto, but if it is 0 */
};

/* What became of a program: it has a value, or why not. */
enum outcome {
    OUTCOME_VALUE,
    OUTCOME_UNDERFLOW,       /* it takes more from the stack than there is */
    OUTCOME_RUNS_OUT,        /* it runs past its last operation */
    OUTCOME_ENDLESS,         /* it does not end within the steps allowed */
    OUTCOME_DIVIDES_BY_ZERO,
    OUTCOME_NO_REGISTER,
    OUTCOME_UNREADABLE,      /* memory that the CPU itself cannot read now; a debugger may, through the page tables */
    OUTCOME_PATCHED,         /* memory, or x30, that is not as it were without probes */
    OUTCOME_DEEP,            /* its stack is deeper than the one here */
    OUTCOME_NO_ROOM,         /* in the writer, or for changes to variables */
};

/* Why the code of an interpreter is not executed further. The first two are between its instructions only. */
enum interpreted {
    INTERPRETED_ON,
    INTERPRETED_JUMPED,
    INTERPRETED_STOPPED,
    INTERPRETED_LIMIT,   /* after as many instructions as were allowed */
    INTERPRETED_FAULT,   /* memory that the CPU cannot read now */
    INTERPRETED_UNKNOWN, /* an instruction that is not executed here */
    INTERPRETED_SYSTEM,  /* an access to a system register, or another instruction of the system */
    INTERPRETED_FULL,    /* too much is stored */
};

#define MOST_CHANGES 32

/* The variables that were changed, in order, with what they were before. */
struct changes {
    uint64_t count;
    struct {
        struct variable *variable;
        uint64_t value;
        bool known;
    } made[MOST_CHANGES];
};

/* Undo the changes, so that programs can be evaluated again. */
void changes_undo(struct changes *changes);

/* The value on top of the stack at the end of `program`. */
enum outcome program_value(const struct reader *reader, const struct program *program, const struct view *view,
                           uint64_t *value);

/* Read memory as programs see it. */
enum outcome program_read(const struct reader *reader, uint64_t address, void *bytes, size_t size);

/* Read a string, up to and with its NUL, `most` bytes at most, into `bytes`, which has `room`. `length` is what it takes
 * without the NUL: `most` if there is none. */
enum outcome program_string(const struct reader *reader, uint64_t address, uint64_t most, uint8_t *bytes, uint64_t room,
                            uint64_t *length);

/* Execute code beside the guest: an `enum interpreted`. */
uint32_t armprobe_interpret(struct interpreter *in);
void armprobe_interpreter_clear(struct interpreter *in);
bool armprobe_interpreter_store(struct interpreter *in, uint64_t address, uint64_t value);

#define MOST_TEXT 4096

/* Read a text into `bytes`, which has room for MOST_TEXT + 1. `size` is what it takes with its NUL; 0: it cannot be
 * read. */
enum outcome text_read(const struct reader *reader, const struct text *text, const struct view *view, uint8_t *bytes,
                       uint64_t *size);

/* Whether the text of a pattern is like it: 0 or 1. */
enum outcome pattern_matches(const struct reader *reader, const struct pattern *pattern, const struct view *view,
                             uint64_t *value);

/* Append what `note` prints; program.py makes the line of it. Without OUTCOME_VALUE nothing is appended. */
enum outcome program_note(const struct reader *reader, const struct note *note, const struct view *view,
                          struct writer *out);

#endif
