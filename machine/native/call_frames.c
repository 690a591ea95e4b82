/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DWARF call frame information for debuggers: where functions keep their callers' registers, found in their code.
 *
 * Without it gdb analyses the start of a function, and gives up at an instruction that it does not expect, such as the
 * NOPs for ftrace in every function of a distribution's kernel (13.1, aarch64_analyze_prologue). The code understood
 * here keeps frame records (AAPCS64, "The Frame Pointer"), as the kernel does: a function stores x29 and x30 as a pair,
 * sets x29 to its address, and loads both again before it returns. Other functions are left to gdb. If a frame is so
 * large that no immediate has its size, which no kernel's is, the record is found and only the caller's sp is wrong. */
#include "core.h"
#include "output.h"

#include <string.h>

enum { FP = 29, LR = 30, SP = 31 }; /* DWARF for the Arm 64-bit Architecture, "DWARF register names" */
enum { RECORD_SIZE = 16 };          /* bytes of a frame record */
enum { WINDOW = 64 };               /* instructions: the most in which a function sets up its frame, or removes it */

static bool sets_fp(uint32_t word)
{
    return (word & 0xFFC003FF) == 0x910003FD; /* add x29, sp, #imm, which for 0 is mov x29, sp */
}

static bool loads_record(uint32_t word)
{
    return (word & 0xFFE07FFF) == 0xA9407BFD || /* ldp x29, x30, [sp, #imm] */
        (word & 0xFFE07FFF) == 0xA8C07BFD;      /* ldp x29, x30, [sp], #imm */
}

/* Whether the next instruction never follows: B, or BR, RET, ERET and their authenticating forms. */
static bool leaves(uint32_t word)
{
    return word >> 26 == 0x05 || (word & 0xFE200000) == 0xD6000000;
}

/* The distance of a B.cond, CBZ, CBNZ, TBZ or TBNZ in instructions; 0 for other instructions. */
static int64_t distance(uint32_t word)
{
    if ((word & 0xFF000010) == 0x54000000 || (word & 0x7E000000) == 0x34000000)
        return (int64_t)sign_extended(word >> 5, 19);
    return (word & 0x7E000000) == 0x36000000 ? (int64_t)sign_extended(word >> 5, 14) : 0;
}

/* The bytes that an instruction adds to sp: ADD and SUB (immediate), and loads and stores with writeback. */
static int64_t sp_change(uint32_t word)
{
    if ((word & 0x3E0) != 0x3E0) /* another base register */
        return 0;
    if ((word & 0xBF80001F) == 0x9100001F) {
        int64_t size = (int64_t)(word >> 10 & 0xFFF) << (word >> 22 & 1 ? 12 : 0);
        return word >> 30 & 1 ? -size : size;
    }
    if ((word & 0x3A800000) == 0x28800000) { /* a pair; the size of a register is in bits 31 and 30 */
        uint32_t shift = 2 + (word >> 26 & 1 ? word >> 30 : word >> 31);
        return (int64_t)sign_extended(word >> 15, 7) * (1 << shift);
    }
    return (word & 0x3B200400) == 0x38000400 ? (int64_t)sign_extended(word >> 12, 9) : 0;
}

static int64_t at_least(int64_t least, int64_t number)
{
    return number < least ? least : number;
}

static void set(struct frame_row *row, uint32_t base, int64_t depth)
{
    row->base = base;
    row->depth = (uint32_t)depth;
}

static void set_if_none(struct frame_row *row, uint32_t base, int64_t depth)
{
    if (!row->base)
        set(row, base, depth);
}

/* What the instructions up to that at `at`, which sets x29, say of the state before it, and of the new frame record.
 * Nothing if they begin in the middle of the function and this is not the `first` one. */
static void enter(const uint32_t *words, uint64_t at, bool first, struct frame_row *rows)
{
    uint64_t begin = at < WINDOW ? 0 : at - WINDOW, start = begin;
    bool entered = begin == 0;
    for (uint64_t i = begin; i < at; i++)
        if (leaves(words[i])) { /* what follows is reached by jumps from before a frame record */
            start = i + 1;
            entered = true;
        }
    if (!entered && !first)
        return;
    if (start > begin)
        set(&rows[start], SP, 0);
    int64_t depth = 0;
    for (uint64_t i = start; i < at; i++) {
        int64_t change = sp_change(words[i]);
        if (change) {
            depth = at_least(0, depth - change);
            set(&rows[i + 1], SP, depth);
        }
    }
    int64_t size = depth - (words[at] >> 10 & 0xFFF);
    rows[at].frame = size >= RECORD_SIZE && size % 8 == 0 ? (uint32_t)size : RECORD_SIZE;
    set(&rows[at + 1], FP, rows[at].frame);
}

/* Parts without a frame record, which are reached by jumps from before `at`, where the first one is set up. */
static void skip(const uint32_t *words, uint64_t size, uint64_t at, struct frame_row *rows)
{
    uint64_t targets[WINDOW];
    uint32_t count = 0;
    for (uint64_t i = at < WINDOW ? 0 : at - WINDOW; i < at; i++) {
        uint64_t target = i + (uint64_t)distance(words[i]);
        if (target > at && target < size) {
            set(&rows[target], SP, 0);
            targets[count++] = target;
        }
    }
    for (uint32_t t = 0; t < count; t++) {
        uint64_t end = targets[t], most = end + WINDOW < size ? end + WINDOW : size;
        while (end < most && !leaves(words[end]))
            end++;
        set_if_none(&rows[end < most ? end + 1 : size], FP, rows[at].frame);
    }
}

/* What the instructions behind that at `at`, which loads a frame record, say of the state up to the return. `frame` is
 * the depth of that record. */
static void leave(const uint32_t *words, uint64_t size, uint64_t at, uint32_t frame, struct frame_row *rows)
{
    int64_t offset = (words[at] >> 15 & 0x3F) * 8, depth = frame;
    /* The record is at sp + offset, or at sp and sp is raised by the offset. */
    depth = sp_change(words[at]) ? at_least(0, depth - offset) : depth + offset;
    set(&rows[at + 1], SP, depth);
    for (uint64_t i = at + 1; i < size && i < at + WINDOW; i++) {
        if (leaves(words[i])) {
            set_if_none(&rows[i + 1], FP, frame);
            return;
        }
        int64_t change = sp_change(words[i]);
        if (change) {
            depth = at_least(0, depth - change);
            set(&rows[i + 1], SP, depth);
        }
    }
}

/* Fill in the `rows` of a function, size + 1, from its instructions, of which that at `first` is the first that sets
 * x29. */
static void fill(const uint32_t *words, uint64_t size, uint64_t first, struct frame_row *rows)
{
    memset(rows, 0, (size + 1) * sizeof *rows);
    for (uint64_t at = first; at < size; at++)
        if (sets_fp(words[at]))
            enter(words, at, at == first, rows);
    skip(words, size, first, rows);
    uint32_t frame = 0;
    for (uint64_t at = first; at < size; at++) {
        if (rows[at].frame)
            frame = rows[at].frame;
        if (loads_record(words[at]))
            leave(words, size, at, frame, rows);
    }
}

/* The first instruction that sets x29 from sp; `size` if none does. */
static uint64_t first_frame(const uint32_t *words, uint64_t size)
{
    uint64_t at = 0;
    while (at < size && !sets_fp(words[at]))
        at++;
    return at;
}

static bool names_lr(uint32_t word)
{
    return (word & 31) == LR || (word >> 10 & 31) == LR || (word >> 16 & 31) == LR; /* the fields that name registers */
}

/* Whether a function has no caller: its frame record is zeros, or it makes calls and keeps x30 nowhere. */
static bool is_outermost(const uint32_t *words, uint64_t size, uint64_t first)
{
    bool calls = false;
    if (first < size) {
        uint32_t zeros = 0xA9007FFF | (words[first] >> 13 & 0x7F) << 15; /* stp xzr, xzr, [sp, #imm] */
        for (uint64_t at = first < WINDOW ? 0 : first - WINDOW; at < first; at++)
            if (words[at] == zeros)
                return true;
        return false;
    }
    for (uint64_t at = 0; at < size; at++) {
        uint32_t word = words[at];
        if (word >> 26 == 0x25 || (word & 0xFFFFFC1F) == 0xD63F0000) /* BL, BLR */
            calls = true;
        else if (word >> 26 != 0x05 && word != 0xAA1F03FE && names_lr(word)) /* but B, and mov x30, xzr */
            return false;
    }
    return calls;
}

/* DWARF 4, 6.4.2; offsets are in units of -8 bytes, advances in units of 4. */
enum {
    ADVANCE = 0x40, /* with its operand in the low 6 bits, as the next */
    OFFSET = 0x80,
    ADVANCE2 = 0x03,
    ADVANCE4 = 0x04,
    UNDEFINED = 0x07,
    SAME_VALUE = 0x08,
    DEF_CFA = 0x0C,
    DEF_CFA_OFFSET = 0x0E,
};

/* End the entry that began at `begin` with room for its length: padded to a multiple of 8 bytes with DW_CFA_nop. */
static void end_entry(struct output *out, uint64_t begin)
{
    while (out->size % 8)
        put(out, 0);
    struct output length = {out->bytes, begin, out->room};
    put_number(&length, out->size - begin - 4, 4);
}

static void put_common(struct output *out)
{
    uint64_t begin = out->size;
    put_number(out, 0, 4);
    put_number(out, 0xFFFFFFFF, 4);
    /* the version, no augmentation, units of 4 and -8 */
    static const uint8_t fields[] = {1, 0, 4, 0x78, LR, DEF_CFA, SP, 0};
    for (uint32_t i = 0; i < sizeof fields; i++)
        put(out, fields[i]);
    /* x0 to x17 are not a caller's any more (AAPCS64, 6.1.1); without a rule gdb shows those of the innermost frame. */
    for (uint8_t lost = 0; lost < 18; lost++) {
        put(out, UNDEFINED);
        put(out, lost);
    }
    end_entry(out, begin);
}

/* The instructions for the `rows` of a function, after those for the state at its entry. */
static void put_rows(struct output *out, const struct frame_row *rows, uint64_t size)
{
    struct frame_row before = {.base = SP};
    uint64_t place = 0;
    for (uint64_t at = 0; at < size; at++) {
        const struct frame_row *row = &rows[at];
        if (!row->base || (row->base == before.base && row->depth == before.depth))
            continue;
        uint64_t advance = at - place;
        if (advance >= 1 << 16) {
            put(out, ADVANCE4);
            put_number(out, advance, 4);
        } else if (advance >= 1 << 6) {
            put(out, ADVANCE2);
            put_number(out, advance, 2);
        } else if (advance)
            put(out, ADVANCE | advance);
        if (row->base != before.base) {
            put(out, DEF_CFA);
            put(out, row->base);
        } else
            put(out, DEF_CFA_OFFSET);
        put_uleb128(out, row->depth);
        if (row->base == FP) {
            put(out, OFFSET | FP);
            put_uleb128(out, row->depth / 8);
            put(out, OFFSET | LR);
            put_uleb128(out, row->depth / 8 - 1);
        } else if (before.base == FP) {
            put(out, SAME_VALUE);
            put(out, FP);
            put(out, SAME_VALUE);
            put(out, LR);
        }
        before = *row;
        place = at;
    }
}

struct span {
    uint64_t start, end;
};

/* The contents of a .debug_frame section for `size` instructions at virtual `address`, as far as there is `room` for
 * them; returns all bytes that they have. `functions` are `count` addresses where functions begin and end, from
 * `address` on. `rows` has room for those of the longest function, and one more. */
ARMPROBE_EXPORT uint64_t armprobe_debug_frame(
    const uint32_t *words, uint64_t size, uint64_t address, const struct span *functions, uint64_t count,
    struct frame_row *rows, uint8_t *bytes, uint64_t room)
{
    struct output out = {bytes, 0, room};
    put_common(&out);
    for (uint64_t f = 0; f < count; f++) {
        uint64_t start = functions[f].start, end = functions[f].end;
        uint64_t begin = (start - address) / 4, last = (end - address) / 4;
        if (last > size)
            last = size;
        if (begin >= last)
            continue;
        const uint32_t *own = words + begin;
        uint64_t length = last - begin, first = first_frame(own, length), entry = out.size;
        bool outermost = is_outermost(own, length, first);
        if (!outermost && first == length)
            continue;
        put_number(&out, 0, 4);
        put_number(&out, 0, 4); /* the entry that they have in common */
        put_number(&out, start, 8);
        put_number(&out, end - start, 8);
        if (outermost) {
            put(&out, UNDEFINED);
            put(&out, LR);
        } else {
            fill(own, length, first, rows);
            put_rows(&out, rows, length);
        }
        end_entry(&out, entry);
    }
    return out.size;
}

/* Whether a function has its frame record, at x29, when it is at instruction `at`. `rows` has room for those of the
 * function, and one more. A negative number for a function that keeps no frame record. */
ARMPROBE_EXPORT int32_t armprobe_has_record(const uint32_t *words, uint64_t size, uint64_t at, struct frame_row *rows)
{
    uint64_t first = first_frame(words, size);
    if (first == size)
        return -1;
    fill(words, size, first, rows);
    uint64_t row = at < size ? at : size;
    while (row && !rows[row].base)
        row--;
    return rows[row].base == FP;
}
