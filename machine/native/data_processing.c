/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Executes data-processing instructions beside the guest: see interpret.c (Arm ARM, C4.1.92 and C4.1.95). */
#include "interpret.h"

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

enum interpreted data_immediate(struct interpreter *in, uint32_t word, bool wide)
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

enum interpreted data_of_registers(struct interpreter *in, uint32_t word, bool wide)
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
