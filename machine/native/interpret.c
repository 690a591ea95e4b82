/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Executes the guest's code beside the guest: on a copy of its registers, with its memory as it is, and what the code
 * stores kept apart. So nothing of the guest changes, neither its time nor what the engine has translated.
 *
 * This is for short pieces of a kernel's own code that only look, such as what computes the fields of a trace event.
 * The instructions are those that compilers make of such code: integers only. Interrupts and system registers stay as
 * they are, and exclusives always succeed, as there is nobody else. References are to the Arm ARM, C4.1 and C6.2. */
#include <string.h>

#include "core.h"
#include "instruction.h"

enum { N = 1u << 31, Z = 1u << 30, C = 1u << 29, V = 1u << 28, LINE = 64 };

static inline uint64_t sized(uint64_t value, bool wide)
{
    return wide ? value : (uint32_t)value;
}

/* Memory: the room, or the guest's with what was stored over it, in words of 8 bytes */

static struct stored *stored_at(struct interpreter *in, uint64_t word, bool add)
{
    uint32_t at = (uint32_t)(word >> 3) * 2654435761u % INTERPRETER_STORED;

    for (uint32_t tried = 0; tried < INTERPRETER_STORED; tried++, at = (at + 1) % INTERPRETER_STORED) {
        struct stored *stored = &in->stored[at];

        bool used = stored->mask && stored->round == in->round;

        if (used && stored->address == word)
            return stored;
        if (!used) {
            if (!add || in->stored_count == INTERPRETER_STORED / 2)
                return NULL;
            in->stored_count++;
            stored->address = word;
            stored->mask = 0;
            stored->round = in->round;
            return stored;
        }
    }
    return NULL;
}

static bool in_room(const struct interpreter *in, uint64_t address, uint64_t size)
{
    return address - in->room < in->room_size && in->room_size - (address - in->room) >= size;
}

static bool load_bytes(struct interpreter *in, uint64_t address, uint8_t *bytes, uint64_t size)
{
    if (in_room(in, address, size)) {
        memcpy(bytes, in->bytes + (address - in->room), size);
        return true;
    }
    if (!core_read(in->core, address, bytes, size)) {
        in->fault = address;
        return false;
    }
    if (in->stored_count)
        for (uint64_t word = address & ~(uint64_t)7; word < address + size; word += 8) {
            const struct stored *stored = stored_at(in, word, false);

            if (stored)
                for (unsigned i = 0; i < 8; i++)
                    if (stored->mask >> i & 1 && word + i - address < size)
                        bytes[word + i - address] = (uint8_t)(stored->value >> 8 * i);
        }
    return true;
}

static enum interpreted load_value(struct interpreter *in, uint64_t address, unsigned size, uint64_t *value)
{
    *value = 0;
    return load_bytes(in, address, (uint8_t *)value, size) ? INTERPRETED_ON : INTERPRETED_FAULT;
}

static enum interpreted store_value(struct interpreter *in, uint64_t address, unsigned size, uint64_t value)
{
    if (in_room(in, address, size)) {
        memcpy(in->bytes + (address - in->room), &value, size);
        return INTERPRETED_ON;
    }
    for (unsigned i = 0; i < size; i++) {
        struct stored *stored = stored_at(in, (address + i) & ~(uint64_t)7, true);
        unsigned byte = (address + i) & 7;
        uint8_t there;

        if (stored && !stored->mask && !core_read(in->core, address + i, &there, 1)) {
            in->fault = address + i;
            return INTERPRETED_FAULT;
        }
        if (!stored)
            return INTERPRETED_FULL;
        stored->mask |= 1u << byte;
        stored->value &= ~((uint64_t)0xFF << 8 * byte);
        stored->value |= (value >> 8 * i & 0xFF) << 8 * byte;
    }
    return INTERPRETED_ON;
}

/* Data processing */

static uint64_t add_with_carry(struct interpreter *in, uint64_t left, uint64_t right, bool carry, bool wide, bool flags)
{
    uint64_t result = sized(left + right + carry, wide), sign = wide ? (uint64_t)1 << 63 : (uint64_t)1 << 31;

    if (flags) {
        left = sized(left, wide), right = sized(right, wide);
        in->pstate &= ~(N | Z | C | V);
        in->pstate |= (result & sign ? N : 0) | (result ? 0 : Z);
        in->pstate |= (wide ? (carry ? result <= left : result < left) : left + right + carry > UINT32_MAX) ? C : 0;
        in->pstate |= ~(left ^ right) & (left ^ result) & sign ? V : 0;
    }
    return result;
}

static uint64_t logical(struct interpreter *in, uint64_t left, uint64_t right, unsigned op, bool wide)
{
    uint64_t result = op == 1 ? left | right : op == 2 ? left ^ right : left & right;

    result = sized(result, wide);
    if (op == 3) {
        in->pstate &= ~(N | Z | C | V);
        in->pstate |= (result >> (wide ? 63 : 31) & 1 ? N : 0) | (result ? 0 : Z);
    }
    return result;
}

static uint64_t shifted(uint64_t value, unsigned kind, unsigned by, bool wide)
{
    unsigned bits = wide ? 64 : 32;

    value = sized(value, wide);
    switch (kind) {
    case 0: return sized(value << by, wide);
    case 1: return value >> by;
    case 2: return sized((uint64_t)((int64_t)sign_extended(value, bits) >> by), wide);
    default: return by ? sized(value >> by | value << (bits - by), wide) : value;
    }
}

static uint64_t extended(uint64_t value, unsigned kind, unsigned by)
{
    unsigned bits = 8u << (kind & 3);

    if (bits < 64)
        value = kind & 4 ? sign_extended(value, bits) : value & (((uint64_t)1 << bits) - 1);
    return value << by;
}

/* DecodeBitMasks: the mask of an element of `size` bits, repeated. False for a reserved encoding. */
static bool bit_masks(unsigned n, unsigned imms, unsigned immr, bool immediate, uint64_t *wmask, uint64_t *tmask)
{
    unsigned value = n << 6 | (~imms & 63), length = 0, levels, s, r, diff, size;
    uint64_t welem, telem, element;

    if (value < 2)
        return false;
    while (value >> (length + 1))
        length++;
    size = 1u << length, levels = size - 1;
    if (immediate && (imms & levels) == levels)
        return false;
    s = imms & levels, r = immr & levels, diff = (s - r) & levels;
    element = size == 64 ? UINT64_MAX : ((uint64_t)1 << size) - 1;
    welem = s == 63 ? UINT64_MAX : ((uint64_t)1 << (s + 1)) - 1;
    telem = diff == 63 ? UINT64_MAX : ((uint64_t)1 << (diff + 1)) - 1;
    if (r)
        welem = (welem >> r | welem << (size - r)) & element;
    for (unsigned at = size; at < 64; at *= 2)
        welem |= welem << at, telem |= telem << at;
    *wmask = welem, *tmask = telem;
    return true;
}

static uint64_t reversed(uint64_t value, unsigned container, bool wide)
{
    uint64_t result = 0;

    for (unsigned i = 0; i < (wide ? 8u : 4u); i++)
        result |= (value >> 8 * i & 0xFF) << 8 * (i ^ (container - 1));
    return result;
}

static enum interpreted one_source(uint32_t word, uint64_t *x, bool wide)
{
    uint64_t value = sized(get(x, field(word, 5, 5)), wide), result = 0, sign;
    unsigned bits = wide ? 64 : 32;

    switch (field(word, 10, 6)) {
    case 0:
        for (unsigned i = 0; i < bits; i++)
            result |= (value >> i & 1) << (bits - 1 - i);
        break;
    case 1: result = reversed(value, 2, wide); break;
    case 2: result = reversed(value, 4, wide); break;
    case 3:
        if (!wide)
            return INTERPRETED_UNKNOWN;
        result = reversed(value, 8, wide);
        break;
    case 4: result = value ? (uint64_t)__builtin_clzll(value) - (64 - bits) : bits; break;
    case 5:
        sign = (value ^ value >> 1) & ~((uint64_t)1 << (bits - 1));
        result = sign ? (uint64_t)__builtin_clzll(sign) - (64 - bits) - 1 : bits - 1;
        break;
    default: return INTERPRETED_UNKNOWN;
    }
    set(x, field(word, 0, 5), result);
    return INTERPRETED_ON;
}

static enum interpreted two_sources(uint32_t word, uint64_t *x, bool wide)
{
    uint64_t left = sized(get(x, field(word, 5, 5)), wide), right = sized(get(x, field(word, 16, 5)), wide);
    unsigned opcode = (unsigned)field(word, 10, 6), bits = wide ? 64 : 32;
    int64_t n = (int64_t)sign_extended(left, bits), m = (int64_t)sign_extended(right, bits);

    switch (opcode) {
    case 2: left = right ? left / right : 0; break;
    case 3: left = !m ? 0 : m == -1 ? (uint64_t)0 - left : (uint64_t)(n / m); break;
    case 8: case 9: case 10: case 11: left = shifted(left, opcode - 8, (unsigned)(right % bits), wide); break;
    default: return INTERPRETED_UNKNOWN;
    }
    set(x, field(word, 0, 5), sized(left, wide));
    return INTERPRETED_ON;
}

static enum interpreted three_sources(uint32_t word, uint64_t *x, bool wide)
{
    uint64_t n = get(x, field(word, 5, 5)), m = get(x, field(word, 16, 5)), a = get(x, field(word, 10, 5)), result;
    bool subtract = field(word, 15, 1);

    switch (field(word, 21, 3)) {
    case 0: break;
    case 1: n = sign_extended(n, 32), m = sign_extended(m, 32); break;
    case 5: n = (uint32_t)n, m = (uint32_t)m; break;
    case 2:
        set(x, word & 31, (uint64_t)((__int128)(int64_t)n * (int64_t)m >> 64));
        return wide && !subtract ? INTERPRETED_ON : INTERPRETED_UNKNOWN;
    case 6:
        set(x, word & 31, (uint64_t)((unsigned __int128)n * m >> 64));
        return wide && !subtract ? INTERPRETED_ON : INTERPRETED_UNKNOWN;
    default: return INTERPRETED_UNKNOWN;
    }
    if (field(word, 21, 3) && !wide)
        return INTERPRETED_UNKNOWN;
    result = subtract ? a - n * m : a + n * m;
    set(x, word & 31, sized(result, wide));
    return INTERPRETED_ON;
}

static enum interpreted immediate(struct interpreter *in, uint32_t word, bool wide)
{
    uint64_t *x = in->x, rd = field(word, 0, 5), rn = field(word, 5, 5), value, wmask, tmask, result;
    unsigned op = (unsigned)field(word, 29, 2), bits = wide ? 64 : 32, immr = (unsigned)field(word, 16, 6),
             imms = (unsigned)field(word, 10, 6);

    switch (field(word, 23, 3)) {
    case 2: /* ADD, SUB */
        value = field(word, 10, 12) << (field(word, 22, 1) ? 12 : 0);
        value = op & 2 ? ~value : value;
        result = add_with_carry(in, x[rn], value, op & 2, wide, op & 1);
        if (op & 1)
            set(x, rd, result);
        else
            x[rd] = result;
        return INTERPRETED_ON;
    case 4: /* AND, ORR, EOR, ANDS */
        if ((!wide && field(word, 22, 1)) || !bit_masks((unsigned)field(word, 22, 1), imms, immr, true, &wmask, &tmask))
            return INTERPRETED_UNKNOWN;
        result = logical(in, get(x, rn), wmask, op, wide);
        if (op == 3)
            set(x, rd, result);
        else
            x[rd] = result;
        return INTERPRETED_ON;
    case 5: { /* MOVN, MOVZ, MOVK */
        unsigned by = (unsigned)field(word, 21, 2) * 16;

        if (op == 1 || by >= bits)
            return INTERPRETED_UNKNOWN;
        value = field(word, 5, 16) << by;
        result = op == 0 ? ~value : op == 2 ? value : (get(x, rd) & ~((uint64_t)0xFFFF << by)) | value;
        set(x, rd, sized(result, wide));
        return INTERPRETED_ON;
    }
    case 6: /* SBFM, BFM, UBFM */
        if (op == 3 || field(word, 22, 1) != wide || (!wide && (immr | imms) & 32) ||
            !bit_masks((unsigned)wide, imms, immr, false, &wmask, &tmask))
            return INTERPRETED_UNKNOWN;
        value = sized(get(x, rn), wide);
        result = op == 1 ? get(x, rd) : 0;
        value = (result & ~wmask) | (shifted(value, 3, immr, wide) & wmask);
        if (op == 0)
            result = get(x, rn) >> imms & 1 ? UINT64_MAX : 0;
        set(x, rd, sized((result & ~tmask) | (value & tmask), wide));
        return INTERPRETED_ON;
    case 7: /* EXTR */
        if (op || field(word, 21, 1) || field(word, 22, 1) != wide || imms >= bits)
            return INTERPRETED_UNKNOWN;
        result = sized(get(x, field(word, 16, 5)), wide) >> imms;
        if (imms)
            result |= sized(get(x, rn), wide) << (bits - imms);
        set(x, rd, sized(result, wide));
        return INTERPRETED_ON;
    }
    return INTERPRETED_UNKNOWN;
}

static enum interpreted of_registers(struct interpreter *in, uint32_t word, bool wide)
{
    uint64_t *x = in->x, rd = field(word, 0, 5), rn = field(word, 5, 5), n = get(x, rn), m = get(x, field(word, 16, 5));
    unsigned op = (unsigned)field(word, 29, 2), by = (unsigned)field(word, 10, 6), kind = (unsigned)field(word, 22, 2);
    uint64_t result;

    if ((word & 0x1F000000) == 0x0A000000) { /* AND, BIC, ORR, ... (shifted register) */
        if (!wide && by & 32)
            return INTERPRETED_UNKNOWN;
        m = shifted(m, kind, by, wide);
        set(x, rd, logical(in, n, field(word, 21, 1) ? ~m : m, op, wide));
    } else if ((word & 0x1F200000) == 0x0B000000) { /* ADD, SUB (shifted register) */
        if (kind == 3 || (!wide && by & 32))
            return INTERPRETED_UNKNOWN;
        m = shifted(m, kind, by, wide);
        set(x, rd, add_with_carry(in, n, op & 2 ? ~m : m, op & 2, wide, op & 1));
    } else if ((word & 0x1FE00000) == 0x0B200000) { /* ADD, SUB (extended register) */
        if ((by & 7) > 4)
            return INTERPRETED_UNKNOWN;
        m = extended(m, by >> 3, by & 7);
        result = add_with_carry(in, x[rn], op & 2 ? ~m : m, op & 2, wide, op & 1);
        if (op & 1)
            set(x, rd, result);
        else
            x[rd] = result;
    } else if ((word & 0x1FE0FC00) == 0x1A000000) { /* ADC, SBC */
        set(x, rd, add_with_carry(in, n, op & 2 ? ~m : m, in->pstate & C, wide, op & 1));
    } else if ((word & 0x3FE00410) == 0x3A400000) { /* CCMN, CCMP */
        if (field(word, 11, 1))
            m = field(word, 16, 5);
        if (condition_holds((unsigned)field(word, 12, 4), in->pstate))
            add_with_carry(in, n, op & 2 ? ~m : m, op & 2, wide, true);
        else
            in->pstate = (in->pstate & ~(N | Z | C | V)) | word << 28;
    } else if ((word & 0x3FE00800) == 0x1A800000) { /* CSEL, CSINC, CSINV, CSNEG */
        if (!condition_holds((unsigned)field(word, 12, 4), in->pstate)) {
            n = op & 2 ? ~m : m;
            n += field(word, 10, 1);
        }
        set(x, rd, sized(n, wide));
    } else if ((word & 0x7FFF0000) == 0x5AC00000) {
        return one_source(word, x, wide);
    } else if ((word & 0x7FE00000) == 0x1AC00000) {
        return two_sources(word, x, wide);
    } else if ((word & 0x7F000000) == 0x1B000000) {
        return three_sources(word, x, wide);
    } else {
        return INTERPRETED_UNKNOWN;
    }
    return INTERPRETED_ON;
}

/* Loads and stores. `opc` is as in LDR and STR: 0 stores, 1 loads, 2 and 3 load signed numbers into 64 and 32 bits. */
static enum interpreted access(struct interpreter *in, uint64_t address, unsigned size, unsigned opc, uint64_t rt)
{
    uint64_t value;
    enum interpreted done;

    if (opc == 0)
        return store_value(in, address, size, get(in->x, rt));
    if ((done = load_value(in, address, size, &value)))
        return done;
    if (opc > 1)
        value = sized(sign_extended(value, 8 * size), opc == 2);
    set(in->x, rt, value);
    return INTERPRETED_ON;
}

static enum interpreted pair(struct interpreter *in, uint32_t word)
{
    unsigned opc = (unsigned)field(word, 30, 2), mode = (unsigned)field(word, 23, 2), size = opc & 2 ? 8 : 4;
    bool load = field(word, 22, 1);
    uint64_t rn = field(word, 5, 5), rt = field(word, 0, 5), rt2 = field(word, 10, 5), address = in->x[rn];
    uint64_t moved = address + sign_extended(field(word, 15, 7), 7) * size;
    uint64_t first, second;
    enum interpreted done;

    if (opc == 3 || (opc == 1 && (!load || !mode)))
        return INTERPRETED_UNKNOWN;
    if (mode != 1)
        address = moved;
    if (load) {
        if ((done = load_value(in, address, size, &first)) || (done = load_value(in, address + size, size, &second)))
            return done;
        set(in->x, rt, opc == 1 ? sign_extended(first, 32) : first);
        set(in->x, rt2, opc == 1 ? sign_extended(second, 32) : second);
    } else if ((done = store_value(in, address, size, get(in->x, rt))) ||
               (done = store_value(in, address + size, size, get(in->x, rt2)))) {
        return done;
    }
    if (mode & 1)
        in->x[rn] = moved;
    return INTERPRETED_ON;
}

static enum interpreted atomic(struct interpreter *in, uint32_t word, unsigned size)
{
    uint64_t address = in->x[field(word, 5, 5)], operand = get(in->x, field(word, 16, 5)), old, now;
    unsigned bits = 8 * size, op = (unsigned)field(word, 12, 4);
    int64_t left, right;
    enum interpreted done;

    if ((done = load_value(in, address, size, &old)))
        return done;
    if (size < 8)
        operand &= ((uint64_t)1 << bits) - 1;
    left = (int64_t)sign_extended(old, bits), right = (int64_t)sign_extended(operand, bits);
    switch (op) {
    case 0: now = old + operand; break;
    case 1: now = old & ~operand; break;
    case 2: now = old ^ operand; break;
    case 3: now = old | operand; break;
    case 4: now = left > right ? old : operand; break;
    case 5: now = left < right ? old : operand; break;
    case 6: now = old > operand ? old : operand; break;
    case 7: now = old < operand ? old : operand; break;
    case 8: now = operand; break;
    case 12: now = old; break; /* LDAPR */
    default: return INTERPRETED_UNKNOWN;
    }
    if (op != 12 && (done = store_value(in, address, size, now)))
        return done;
    set(in->x, word & 31, old);
    return INTERPRETED_ON;
}

static enum interpreted one(struct interpreter *in, uint32_t word)
{
    unsigned size = 1u << field(word, 30, 2), opc = (unsigned)field(word, 22, 2), mode = (unsigned)field(word, 10, 2);
    uint64_t rn = field(word, 5, 5), rt = field(word, 0, 5), address = in->x[rn], moved = address;
    enum interpreted done;

    bool prefetches = size == 8 && opc == 2; /* PRFM */

    if (prefetches && (field(word, 24, 1) || (!field(word, 21, 1) && mode == 0)))
        return INTERPRETED_ON;
    if (size >= 4 && opc > 1 && !(size == 4 && opc == 2) && !(prefetches && field(word, 21, 1)))
        return INTERPRETED_UNKNOWN;
    if (field(word, 24, 1)) {
        address += field(word, 10, 12) * size;
        return access(in, address, size, opc, rt);
    }
    if (field(word, 21, 1)) {
        unsigned kind = (unsigned)field(word, 13, 3);

        if (mode == 0)
            return atomic(in, word, size);
        if (mode != 2 || !(kind & 2))
            return INTERPRETED_UNKNOWN;
        if (prefetches)
            return INTERPRETED_ON;
        address += extended(get(in->x, field(word, 16, 5)), kind, field(word, 12, 1) ? (unsigned)field(word, 30, 2) : 0);
        return access(in, address, size, opc, rt);
    }
    moved += sign_extended(field(word, 12, 9), 9);
    done = access(in, mode == 1 ? address : moved, size, opc, rt);
    if (!done && mode & 1)
        in->x[rn] = moved;
    return done;
}

/* Exclusives, load-acquire, store-release, compare and swap */
static enum interpreted exclusive(struct interpreter *in, uint32_t word)
{
    unsigned size = 1u << field(word, 30, 2);
    bool ordered = field(word, 23, 1), load = field(word, 22, 1);
    uint64_t rs = field(word, 16, 5), rt = field(word, 0, 5), address = in->x[field(word, 5, 5)], old, expected;
    enum interpreted done;

    if (field(word, 21, 1)) {
        if (!ordered || field(word, 10, 5) != 31)
            return INTERPRETED_UNKNOWN; /* pairs */
        if ((done = load_value(in, address, size, &old)))
            return done;
        expected = get(in->x, rs);
        if (size < 8)
            expected &= ((uint64_t)1 << 8 * size) - 1;
        if (old == expected && (done = store_value(in, address, size, get(in->x, rt))))
            return done;
        set(in->x, rs, old);
        return INTERPRETED_ON;
    }
    done = access(in, address, size, load, rt);
    if (!done && !ordered && !load)
        set(in->x, rs, 0);
    return done;
}

static enum interpreted system_instruction(struct interpreter *in, uint32_t word)
{
    if ((word & 0xFFFFF01F) == 0xD503201F || (word & 0xFFFFF01F) == 0xD503301F || (word & 0xFFF8F01F) == 0xD500401F)
        return INTERPRETED_ON; /* hints, barriers, MSR (immediate) */
    switch (word & ~31u) {
    case 0xD5384100: set(in->x, word & 31, in->sp_el0); return INTERPRETED_ON;
    case 0xD538D080: set(in->x, word & 31, in->tpidr_el1); return INTERPRETED_ON;
    case 0xD53B00E0: set(in->x, word & 31, 1 << 4); return INTERPRETED_ON; /* DCZID_EL0: DC ZVA is prohibited */
    case 0xD53B4200: set(in->x, word & 31, in->pstate & (N | Z | C | V)); return INTERPRETED_ON; /* NZCV */
    case 0xD53B4220: set(in->x, word & 31, in->pstate & 0x3C0); return INTERPRETED_ON; /* DAIF */
    case 0xD51B4220: return INTERPRETED_ON;
    default: return INTERPRETED_SYSTEM;
    }
}

static bool branches(uint32_t word)
{
    return (word & 0x7C000000) == 0x14000000 || (word & 0xFF000010) == 0x54000000 || (word & 0x7C000000) == 0x34000000 ||
           (word & 0xFFFFFC1F) == 0xD61F0000 || (word & 0xFFFFFC1F) == 0xD63F0000 || (word & 0xFFFFFC1F) == 0xD65F0000;
}

static enum interpreted execute(struct interpreter *in, uint32_t word)
{
    bool wide = word >> 31;

    if (branches(word) || (word & 0x1F000000) == 0x10000000 || ((word & 0x3F000000) == 0x18000000 && word >> 30 != 3))
        return armprobe_simulate(in->core, word, in->x[32], in->x, &in->pstate) ? INTERPRETED_JUMPED
                                                                                : INTERPRETED_FAULT;
    if ((word & 0xFF000000) == 0xD8000000)
        return INTERPRETED_ON; /* PRFM (literal) */
    if ((word & 0x1C000000) == 0x10000000)
        return immediate(in, word, wide);
    if ((word & 0x0E000000) == 0x0A000000)
        return of_registers(in, word, wide);
    if ((word & 0x3E000000) == 0x28000000)
        return pair(in, word);
    if ((word & 0x3E000000) == 0x38000000)
        return one(in, word);
    if ((word & 0x3F000000) == 0x08000000)
        return exclusive(in, word);
    if ((word & 0xFFC00000) == 0xD5000000)
        return system_instruction(in, word);
    return INTERPRETED_UNKNOWN;
}

/* Forget what was stored. */
ARMPROBE_EXPORT void armprobe_interpreter_clear(struct interpreter *in)
{
    in->round++;
    in->stored_count = 0;
}

/* Have the code find a doubleword in memory. */
ARMPROBE_EXPORT bool armprobe_interpreter_store(struct interpreter *in, uint64_t address, uint64_t value)
{
    return store_value(in, address, sizeof(value), value) == INTERPRETED_ON;
}

/* Bytes of memory as the code that was executed would find them. */
ARMPROBE_EXPORT bool armprobe_interpreter_read(struct interpreter *in, uint64_t address, uint8_t *bytes, uint64_t size)
{
    return load_bytes(in, address, bytes, size);
}

/* Execute from the PC to one of the `stops`; the first instruction is executed even there. `instead`, if it is not 0,
 * is the first instruction in place of that in memory. */
ARMPROBE_EXPORT uint32_t armprobe_interpret(struct interpreter *in)
{
    uint32_t line[LINE / 4];
    uint64_t from = 1; /* the address of that line; 1 for none */
    bool first = true;

    for (; in->left; in->left--) {
        uint64_t pc = in->x[32];
        enum interpreted done;

        if (!first && interpreter_stops(in))
            return INTERPRETED_STOPPED;
        if ((pc & ~(uint64_t)(LINE - 1)) != from) {
            from = pc & ~(uint64_t)(LINE - 1);
            if (pc & 3 || !core_read(in->core, from, line, LINE)) {
                in->fault = pc;
                return INTERPRETED_FAULT;
            }
        }
        in->word = first && in->instead ? in->instead : line[pc % LINE / 4];
        first = false;
        in->instead = 0;
        done = execute(in, in->word);
        if (done == INTERPRETED_ON)
            in->x[32] = pc + 4;
        else if (done != INTERPRETED_JUMPED)
            return done;
    }
    return INTERPRETED_LIMIT;
}
