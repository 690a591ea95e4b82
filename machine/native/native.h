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
 * declares the fields that it uses, in a class that library.py fills in from the table:
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

_Static_assert(sizeof(void *) == 8, "armprobe takes a 64-bit host");

/* To be raised when a function that Python calls changes its arguments or its meaning; library.py has the same. */
#define ARMPROBE_ABI 1

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

/* Registers that a program reads: x0 to x30, sp and pc, and PSTATE. If they are the CPU's own, `live`, programs see x30
 * as it were without probes. */
#define ARMPROBE_VIEW(FIELD, ARRAY) \
    FIELD(const uint64_t *, x) \
    FIELD(uint64_t, pstate) \
    FIELD(bool, live)

#define MOST_TRAMPOLINES 2

/* How programs read memory and other registers of an engine. `cp_reg` is Unicorn's number for all system registers.
 *
 * They do not see what the machine has put into the guest's memory: breakpoints, all of them from `start` to `end`, and
 * the address of a trampoline (0 for none) where a return address was. */
#define ARMPROBE_READER(FIELD, ARRAY) \
    FIELD(void *, uc) \
    FIELD(vmem_read_t *, vmem_read) \
    FIELD(reg_read_t *, reg_read) \
    FIELD(uint32_t, cp_reg) \
    FIELD(uint64_t, start) \
    FIELD(uint64_t, end) \
    ARRAY(uint64_t, trampolines, MOST_TRAMPOLINES)

/* A value that a note prints. */
#define ARMPROBE_NOTE_VALUE(FIELD, ARRAY) \
    FIELD(struct program, program) \
    FIELD(bool, is_string)

/* `longest` is the number of bytes at which a string is cut. */
#define ARMPROBE_NOTE(FIELD, ARRAY) \
    FIELD(const struct note_value *, values) \
    FIELD(uint64_t, count) \
    FIELD(uint64_t, longest)

/* Room for what is appended at `at`, before `end`. */
#define ARMPROBE_WRITER(FIELD, ARRAY) \
    FIELD(uint8_t *, at) \
    FIELD(uint8_t *, end)

#define ARMPROBE_STRUCTURES(STRUCTURE) \
    STRUCTURE(row, ARMPROBE_ROW) \
    STRUCTURE(operation, ARMPROBE_OPERATION) \
    STRUCTURE(program, ARMPROBE_PROGRAM) \
    STRUCTURE(view, ARMPROBE_VIEW) \
    STRUCTURE(reader, ARMPROBE_READER) \
    STRUCTURE(note_value, ARMPROBE_NOTE_VALUE) \
    STRUCTURE(note, ARMPROBE_NOTE) \
    STRUCTURE(writer, ARMPROBE_WRITER)

/* Functions of Unicorn. */
typedef int vmem_read_t(void *uc, uint64_t address, int protection, void *bytes, size_t size);
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
    OPERATION_RUNS_OUT,
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
    OUTCOME_NO_ROOM,         /* in the writer */
};

/* The value on top of the stack at the end of `program`. */
enum outcome program_value(const struct reader *reader, const struct program *program, const struct view *view,
                           uint64_t *value);

/* Append what `note` prints; program.py makes the line of it. Without OUTCOME_VALUE nothing is appended. */
enum outcome program_note(const struct reader *reader, const struct note *note, const struct view *view,
                          struct writer *out);

#endif
