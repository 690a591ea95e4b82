/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Programs: GDB's agent expressions (GDB manual, "Bytecode Descriptions") on live registers and memory.
 *
 * program.py makes them of decoded bytecode. An operation has the manual's number, but registers and variables have the
 * operation by which they are read, and a jump has the index of its target. Programs change nothing but variables, and
 * that can be undone: bytecode that collects or prints is not compiled. A caller that gets no value evaluates the
 * bytecode again with expressions/evaluate.py, and gets the value or the sentence for the error from there.
 */
#include <string.h>

#include "core.h"

/* GDB manual, "Bytecode Descriptions". */
enum {
    ADD = 0x02,
    SUB = 0x03,
    MUL = 0x04,
    DIV_SIGNED = 0x05,
    DIV_UNSIGNED = 0x06,
    REM_SIGNED = 0x07,
    REM_UNSIGNED = 0x08,
    LSH = 0x09,
    RSH_SIGNED = 0x0a,
    RSH_UNSIGNED = 0x0b,
    LOG_NOT = 0x0e,
    BIT_AND = 0x0f,
    BIT_OR = 0x10,
    BIT_XOR = 0x11,
    BIT_NOT = 0x12,
    EQUAL = 0x13,
    LESS_SIGNED = 0x14,
    LESS_UNSIGNED = 0x15,
    EXT = 0x16,
    REF8 = 0x17,
    REF16 = 0x18,
    REF32 = 0x19,
    REF64 = 0x1a,
    IF_GOTO = 0x20,
    GOTO = 0x21,
    CONST8 = 0x22,
    CONST16 = 0x23,
    CONST32 = 0x24,
    CONST64 = 0x25,
    END = 0x27,
    DUP = 0x28,
    POP = 0x29,
    ZERO_EXT = 0x2a,
    SWAP = 0x2b,
    PICK = 0x32,
    ROT = 0x33,
};

#define MOST_STEPS 0x10000 /* as in expressions/evaluate.py */
#define MOST_VALUES 512    /* on the stack; our language has 30 levels of parentheses, each with 10 of precedence */
#define PIECE 64           /* bytes of a string that are read at once; a piece lies in one page */

/* Whether one of the doublewords at `address` holds the address of a trampoline. `bytes` is what was read there, and
 * `size` bytes: only the rest of a doubleword that may be one is read too. Unicorn reads nothing from devices here. */
static bool has_trampoline(const struct reader *reader, uint64_t address, const uint8_t *bytes, size_t size)
{
    if (size == 8 && address % 8 == 0) { /* the most frequent case */
        uint64_t word;
        memcpy(&word, bytes, sizeof(word));
        return word && (word == reader->trampolines[0] || word == reader->trampolines[1]);
    }
    for (size_t at = 0, length; at < size; at += length) {
        size_t offset = (address + at) % 8;

        length = size - at < 8 - offset ? size - at : 8 - offset;
        for (size_t i = 0; i < MOST_TRAMPOLINES; i++) {
            uint64_t trampoline = reader->trampolines[i], word = trampoline;

            if (!trampoline || memcmp(bytes + at, (const uint8_t *)&trampoline + offset, length))
                continue;
            if (length < 8)
                core_read(reader->core, address + at - offset, &word, sizeof(word));
            if (word == trampoline)
                return true;
        }
    }
    return false;
}

/* Virtual memory as the CPU itself would read it now; no value if it may differ from what it were without probes. */
enum outcome program_read(const struct reader *reader, uint64_t address, void *bytes, size_t size)
{
    uint64_t at = address - RECORD;

    if (at < UINT64_C(1) << 48) {
        if (at > reader->record_size || reader->record_size - at < size)
            return OUTCOME_UNREADABLE;
        memcpy(bytes, reader->record + at, size);
        return OUTCOME_VALUE;
    }
    if (!core_read(reader->core, address, bytes, size))
        return OUTCOME_UNREADABLE;
    if (address < reader->end && (address >= reader->start || reader->start - address < size))
        return OUTCOME_PATCHED;
    if (has_trampoline(reader, address, bytes, size))
        return OUTCOME_PATCHED;
    return OUTCOME_VALUE;
}

static enum outcome read_x30(const struct reader *reader, const struct view *view, uint64_t *value)
{
    *value = view->x[30];
    if (view->live)
        for (size_t i = 0; i < MOST_TRAMPOLINES; i++)
            if (reader->trampolines[i] && *value == reader->trampolines[i])
                return OUTCOME_PATCHED;
    return OUTCOME_VALUE;
}

/* The low 64 bits of a register that has 128 at most, by Unicorn's number. */
static enum outcome read_register(const struct reader *reader, int number, uint64_t *value)
{
    uint64_t words[2] = {0};
    int failed = reader->core->reg_read(reader->core->uc, number, words);

    *value = words[0];
    return failed ? OUTCOME_UNREADABLE : OUTCOME_VALUE;
}

/* `encoding` has a byte for each of op0, op1, CRn, CRm and op2, the last in the lowest. */
static enum outcome read_system(const struct reader *reader, uint64_t encoding, uint64_t *value)
{
    /* uc_arm64_cp_reg of unicorn/arm64.h */
    struct { uint32_t crn, crm, op0, op1, op2; uint64_t value; } system = {
        .op0 = encoding >> 32 & 0xff,
        .op1 = encoding >> 24 & 0xff,
        .crn = encoding >> 16 & 0xff,
        .crm = encoding >> 8 & 0xff,
        .op2 = encoding & 0xff,
    };
    int failed = reader->core->reg_read(reader->core->uc, (int)reader->core->cp_reg, &system);

    *value = system.value;
    return failed ? OUTCOME_UNREADABLE : OUTCOME_VALUE;
}

static uint64_t pstate_of(const struct reader *reader, const struct view *view)
{
    return view->live ? core_pstate(reader->core) : view->pstate;
}

/* SP_EL0 or SP_EL1. The one that PSTATE selects is in SP itself (Arm ARM, SPSel). */
static enum outcome read_stack_pointer(const struct reader *reader, const struct view *view, uint64_t encoding,
                                       uint64_t *value)
{
    bool is_el1 = encoding >> 24 & 0xff; /* op1 is 0 or 4 */

    if ((pstate_of(reader, view) & 1) != is_el1)
        return read_system(reader, encoding, value);
    *value = view->x[31];
    return OUTCOME_VALUE;
}

static enum outcome set_variable(struct changes *changes, struct variable *variable, uint64_t value)
{
    if (!changes || changes->count == MOST_CHANGES)
        return OUTCOME_NO_ROOM;
    changes->made[changes->count].variable = variable;
    changes->made[changes->count].value = variable->value;
    changes->made[changes->count++].known = variable->known;
    variable->value = value;
    variable->known = true;
    return OUTCOME_VALUE;
}

void changes_undo(struct changes *changes)
{
    while (changes->count) {
        struct variable *variable = changes->made[--changes->count].variable;

        variable->value = changes->made[changes->count].value;
        variable->known = changes->made[changes->count].known;
    }
}

static uint64_t signed_quotient(uint64_t left, uint64_t right)
{
    return right == UINT64_MAX ? -left : (uint64_t)((int64_t)left / (int64_t)right);
}

static uint64_t signed_remainder(uint64_t left, uint64_t right)
{
    return right == UINT64_MAX ? 0 : (uint64_t)((int64_t)left % (int64_t)right);
}

enum outcome program_value(const struct reader *reader, const struct program *program, const struct view *view,
                           uint64_t *value)
{
    uint64_t below[MOST_VALUES + 1]; /* the stack without its top, from the second on */
    uint64_t depth = 0, top = 0, right, read; /* the value of an empty stack is 0 */
    const struct operation *operation = program->operations, *from = operation;
    uint64_t left = MOST_STEPS;
    enum outcome outcome;

#define TAKES(n) \
    if (depth < (n)) \
        return OUTCOME_UNDERFLOW
#define PUSHES() \
    if (depth == MOST_VALUES) \
        return OUTCOME_DEEP; \
    below[depth++] = top
#define BINARY(number, result) \
    case number: \
        TAKES(2); \
        right = top; \
        top = below[--depth]; \
        top = (result); \
        break
#define DIVISION(number, result) \
    case number: \
        TAKES(2); \
        right = top; \
        if (!right) \
            return OUTCOME_DIVIDES_BY_ZERO; \
        top = below[--depth]; \
        top = (result); \
        break
#define UNARY(number, result) \
    case number: \
        TAKES(1); \
        top = (result); \
        break
#define REFERENCE(number, type) \
    case number: { \
        type there; \
        TAKES(1); \
        if ((outcome = program_read(reader, top, &there, sizeof(there)))) \
            return outcome; \
        top = there; \
        break; \
    }
#define VALUE(number, value) \
    case number: \
        PUSHES(); \
        top = (value); \
        break
#define REGISTER(number, reading) \
    case number: \
        PUSHES(); \
        if ((outcome = (reading))) \
            return outcome; \
        top = read; \
        break

    for (;;) {
        uint64_t operand = operation->operand;

        switch (operation++->number) {
        BINARY(ADD, top + right);
        BINARY(SUB, top - right);
        BINARY(MUL, top * right);
        DIVISION(DIV_SIGNED, signed_quotient(top, right));
        DIVISION(DIV_UNSIGNED, top / right);
        DIVISION(REM_SIGNED, signed_remainder(top, right));
        DIVISION(REM_UNSIGNED, top % right);
        BINARY(LSH, right < 64 ? top << right : 0);
        BINARY(RSH_SIGNED, (uint64_t)((int64_t)top >> (right < 64 ? right : 63)));
        BINARY(RSH_UNSIGNED, right < 64 ? top >> right : 0);
        UNARY(LOG_NOT, !top);
        BINARY(BIT_AND, top & right);
        BINARY(BIT_OR, top | right);
        BINARY(BIT_XOR, top ^ right);
        UNARY(BIT_NOT, ~top);
        BINARY(EQUAL, top == right);
        UNARY(OPERATION_EQUALS, top == operand);
        BINARY(LESS_SIGNED, (int64_t)top < (int64_t)right);
        BINARY(LESS_UNSIGNED, top < right);
        UNARY(EXT, sign_extended(top, operand));
        UNARY(ZERO_EXT, top << (64 - operand) >> (64 - operand));
        REFERENCE(REF8, uint8_t)
        REFERENCE(REF16, uint16_t)
        REFERENCE(REF32, uint32_t)
        REFERENCE(REF64, uint64_t)
        case OPERATION_UNLESS:
            TAKES(1);
            top = !top;
            /* fallthrough */
        case IF_GOTO:
            TAKES(1);
            right = top;
            top = below[--depth];
            if (!right)
                break;
            /* fallthrough */
        case GOTO:
            if (left <= (uint64_t)(operation - from)) /* no step would be left for the target */
                return OUTCOME_ENDLESS;
            left -= (uint64_t)(operation - from);
            operation = from = program->operations + operand;
            break;
        case CONST8:
        case CONST16:
        case CONST32:
        VALUE(CONST64, operand);
        case END:
            if (left < (uint64_t)(operation - from))
                return OUTCOME_ENDLESS;
            *value = top;
            return OUTCOME_VALUE;
        case DUP:
            TAKES(1);
            PUSHES();
            break;
        case POP:
            TAKES(1);
            top = below[--depth];
            break;
        case SWAP:
            TAKES(2);
            right = top;
            top = below[depth - 1];
            below[depth - 1] = right;
            break;
        case PICK:
            TAKES(operand + 1);
            PUSHES();
            top = below[depth - 1 - operand];
            break;
        case ROT: /* a b c, with c on top, become c a b */
            TAKES(3);
            right = top;
            top = below[depth - 1];
            below[depth - 1] = below[depth - 2];
            below[depth - 2] = right;
            break;
        VALUE(OPERATION_GENERAL, view->x[operand]);
        REGISTER(OPERATION_X30, read_x30(reader, view, &read));
        VALUE(OPERATION_PSTATE, pstate_of(reader, view));
        REGISTER(OPERATION_REGISTER, read_register(reader, (int)operand, &read));
        REGISTER(OPERATION_SYSTEM, read_system(reader, operand, &read));
        REGISTER(OPERATION_STACK_POINTER, read_stack_pointer(reader, view, operand, &read));
        VALUE(OPERATION_GET, ((const struct variable *)(uintptr_t)operand)->value);
        case OPERATION_SET:
            TAKES(1);
            if ((outcome = set_variable(view->changes, (struct variable *)(uintptr_t)operand, top)))
                return outcome;
            break;
        VALUE(OPERATION_ELAPSED, view->elapsed);
        VALUE(OPERATION_CALLER, view->caller);
        VALUE(OPERATION_TIME, view->ticks * TICK);
        VALUE(OPERATION_TASK, view->task);
        REGISTER(OPERATION_VALUE, program_value(reader, (const struct program *)(uintptr_t)operand, view, &read));
        REGISTER(OPERATION_MATCH, pattern_matches(reader, (const struct pattern *)(uintptr_t)operand, view, &read));
        UNARY(OPERATION_ORDER, top > 1 ? 64 - (uint64_t)__builtin_clzll(top - 1) : 0);
        case OPERATION_RUNS_OUT:
            return OUTCOME_RUNS_OUT;
        default: /* OPERATION_NO_REGISTER */
            return OUTCOME_NO_REGISTER;
        }
    }
}

#undef TAKES
#undef PUSHES
#undef BINARY
#undef DIVISION
#undef UNARY
#undef REFERENCE
#undef VALUE
#undef REGISTER

enum outcome program_string(const struct reader *reader, uint64_t address, uint64_t most, uint8_t *bytes, uint64_t room,
                            uint64_t *length)
{
    uint64_t done = 0, at = address - RECORD;

    if (at < reader->record_size && most > reader->record_size - at)
        most = reader->record_size - at; /* a piece ends with the record */
    while (done < most) {
        uint64_t size = PIECE - (address + done) % PIECE;
        const uint8_t *nul;
        enum outcome outcome;

        if (size > most - done)
            size = most - done;
        if (room - done < size)
            return OUTCOME_NO_ROOM;
        if ((outcome = program_read(reader, address + done, bytes + done, size)))
            return outcome;
        nul = memchr(bytes + done, 0, size);
        if (nul) {
            *length = (uint64_t)(nul - bytes);
            return OUTCOME_VALUE;
        }
        done += size;
    }
    *length = done;
    return OUTCOME_VALUE;
}

/* Append the bytes of a string and their number before them (16 bits), up to and with a NUL, `most` at most. */
static enum outcome write_string(const struct reader *reader, uint64_t address, uint64_t most, struct writer *out)
{
    uint64_t length;
    uint16_t size;
    enum outcome outcome;

    if (out->end - out->at < (ptrdiff_t)sizeof(size))
        return OUTCOME_NO_ROOM;
    outcome = program_string(reader, address, most, out->at + sizeof(size),
                             (uint64_t)(out->end - out->at) - sizeof(size), &length);
    if (outcome)
        return outcome;
    size = (uint16_t)(length < most ? length + 1 : most);
    memcpy(out->at, &size, sizeof(size));
    out->at += sizeof(size) + size;
    return OUTCOME_VALUE;
}

/* Append bytes of memory, `most` at most, and their number before them (16 bits). */
static enum outcome write_memory(const struct reader *reader, uint64_t address, uint64_t size, uint64_t most,
                                 struct writer *out)
{
    uint16_t length = (uint16_t)((int64_t)size < 0 ? 0 : size < most ? size : most);
    enum outcome outcome;

    if (out->end - out->at < (ptrdiff_t)(sizeof(length) + length))
        return OUTCOME_NO_ROOM;
    memcpy(out->at, &length, sizeof(length));
    out->at += sizeof(length);
    if (length && (outcome = program_read(reader, address, out->at, length)))
        return outcome;
    out->at += length;
    return OUTCOME_VALUE;
}

/* Append the memory that a value of a note points to. */
static enum outcome write_pointed(const struct reader *reader, const struct note_value *of, const struct view *view,
                                  uint64_t address, struct writer *out)
{
    uint64_t size;
    enum outcome outcome;

    if (!of->size.operations)
        return write_string(reader, address, of->most, out);
    outcome = program_value(reader, &of->size, view, &size);
    return outcome ? outcome : write_memory(reader, address, size, of->most, out);
}

/* Append the values of a note, 64 bits each, and then the memory that some of them point to. */
enum outcome program_note(const struct reader *reader, const struct note *note, const struct view *view,
                          struct writer *out)
{
    uint8_t *start = out->at;
    enum outcome outcome = OUTCOME_VALUE;

    if (out->end - out->at < (ptrdiff_t)(note->count * sizeof(uint64_t)))
        return OUTCOME_NO_ROOM;
    out->at += note->count * sizeof(uint64_t);
    for (uint64_t i = 0; i < note->count && !outcome; i++) {
        uint64_t value = 0;

        outcome = program_value(reader, &note->values[i].program, view, &value);
        memcpy(start + i * sizeof(value), &value, sizeof(value));
        if (!outcome && note->values[i].most && value) /* a null pointer is printed as (null) */
            outcome = write_pointed(reader, &note->values[i], view, value, out);
    }
    if (outcome)
        out->at = start;
    return outcome;
}

/* The same, for Python. */
ARMPROBE_EXPORT uint32_t armprobe_program_note(const struct reader *reader, const struct note *note,
                                               const struct view *view, struct writer *out)
{
    return program_note(reader, note, view, out);
}

/* The values of `count` programs, each at its own view; `values` is written for those with OUTCOME_VALUE. The others
 * leave variables as they were. */
ARMPROBE_EXPORT void armprobe_program_values(const struct reader *reader, const struct program *programs,
                                             const struct view *views, uint64_t count, uint64_t *values,
                                             uint32_t *outcomes)
{
    for (uint64_t i = 0; i < count; i++) {
        struct changes changes;
        struct view view = views[i];

        changes.count = 0;
        view.changes = &changes;
        outcomes[i] = program_value(reader, &programs[i], &view, &values[i]);
        if (outcomes[i])
            changes_undo(&changes);
    }
}
