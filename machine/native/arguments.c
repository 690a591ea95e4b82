/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How far from a function's entry its argument registers still have the arguments.
 *
 * Instructions are read in order from the entry. An instruction that is not understood is taken to write all registers
 * that its fields name (Arm ARM, C4.1, "A64 instruction set encoding"), so an argument may end too early, but never too
 * late. All ends at the first instruction that a branch from further on, or from another function, leads to. */
#include "core.h"

enum { ARGUMENTS = 8 };

/* Whether an instruction is a direct branch, with or without a link. `distance` is that to its target, in
 * instructions. */
static bool is_direct_branch(uint32_t word, int64_t *distance)
{
    if ((word & 0x7C000000) == 0x14000000) /* B, BL */
        *distance = (int64_t)sign_extended(word, 26);
    else if ((word & 0xFF000000) == 0x54000000 || (word & 0x7E000000) == 0x34000000) /* B.cond, CBZ, CBNZ */
        *distance = (int64_t)sign_extended(word >> 5, 19);
    else if ((word & 0x7E000000) == 0x36000000) /* TBZ, TBNZ */
        *distance = (int64_t)sign_extended(word >> 5, 14);
    else
        return false;
    return true;
}

/* BR, as jump tables and indirect tail calls have it, with its authenticating forms. */
static bool is_computed_jump(uint32_t word)
{
    return (word & 0xFEFFF000) == 0xD61F0000;
}

/* BL, BLR, BR, or an exception: what follows is not known. */
static bool is_call(uint32_t word)
{
    bool returns = (word & 0xFFFFF000) == 0xD65F0000; /* RET, RETAA, RETAB */
    return word >> 26 == 0x25 || ((word & 0xFE000000) == 0xD6000000 && !returns) || word >> 24 == 0xD4;
}

static uint32_t bit(uint32_t field)
{
    return 1u << (field & 31);
}

/* The general registers that an instruction may write, other than by a call, as bits. */
static uint32_t written(uint32_t word)
{
    int64_t distance;
    uint32_t rt = bit(word), base = bit(word >> 5), rt2 = bit(word >> 10), rs = bit(word >> 16);
    bool load = (word >> 22 & 3) && !(word >> 26 & 1); /* PRFM counts as a load */

    if (is_direct_branch(word, &distance) || (word & 0xFFFFF000) == 0xD65F0000)
        return 0;
    if (word >> 22 == 0x354) /* hints, barriers, MSR; MRS and SYSL read */
        return word >> 21 & 1 ? rt : 0;
    if ((word & 0x3FE00000) == 0x3A400000) /* CCMN, CCMP */
        return 0;
    if (!(word >> 27 & 1) || word >> 25 & 1) /* no load or store */
        return rt;
    switch (word >> 27 & 7) {
    case 3:
        return word >> 24 & 1 ? rt | base | rs : rt; /* among others MOPS; a literal */
    case 5: /* a pair */
        return (word >> 22 & 1 && !(word >> 26 & 1) ? rt | rt2 : 0) | (word >> 23 & 1 ? base : 0);
    case 7:
        if (word >> 24 & 1) /* an unsigned offset */
            return load ? rt : 0;
        if (!(word >> 21 & 1)) /* a signed offset, which may be written back */
            return (load ? rt : 0) | (word >> 10 & 1 ? base : 0);
        if ((word >> 10 & 3) == 2) /* a register as offset */
            return load ? rt : 0;
        break;
    default:
        break;
    }
    return rt | base | rt2 | rs; /* exclusives and atomics */
}

/* The last function that begins at or before instruction `at`; `count` if there is none. */
static uint64_t function_at(const uint64_t *starts, uint64_t count, uint64_t at)
{
    uint64_t behind = first_from(starts, count, at + 1);
    return behind ? behind - 1 : count;
}

static uint32_t least(uint32_t one, uint64_t other)
{
    return other < one ? (uint32_t)other : one;
}

/* For each of `count` functions, which begin at the instructions `starts` of `words`, in ascending order, and extend to
 * the next one: the bytes from its entry up to which x0 to x7 have their values at the entry. */
ARMPROBE_EXPORT void armprobe_argument_ends(
    const uint32_t *words, uint64_t size, const uint64_t *starts, uint64_t count, uint32_t (*ends)[ARGUMENTS])
{
    for (uint64_t f = 0; f < count; f++)
        ends[f][0] = (uint32_t)((f + 1 < count ? starts[f + 1] : size) - starts[f]);
    uint64_t own = count; /* the function that `at` is in */
    uint64_t branch = 0;  /* the instruction behind its first branch; 0 before that */
    for (uint64_t at = 0; at < size; at++) {
        int64_t distance = 0;
        bool direct = is_direct_branch(words[at], &distance), computed = is_computed_jump(words[at]);
        if (own == count ? count && starts[0] <= at : own + 1 < count && starts[own + 1] <= at) {
            own = own == count ? 0 : own + 1;
            branch = 0;
        }
        if (own < count && (direct || computed) && !branch)
            branch = at + 1;
        if (own < count && computed) /* it may lead to behind any branch */
            ends[own][0] = least(ends[own][0], branch - starts[own]);
        if (direct) {
            uint64_t target = at + (uint64_t)distance;
            uint64_t f = target < size ? function_at(starts, count, target) : count;
            if (f < count && target > starts[f] && (f != own || target <= at))
                ends[f][0] = least(ends[f][0], target - starts[f]);
        }
    }
    for (uint64_t f = 0; f < count; f++) {
        uint32_t limit = ends[f][0], alive = (1 << ARGUMENTS) - 1;
        for (uint32_t r = 0; r < ARGUMENTS; r++)
            ends[f][r] = limit * 4;
        for (uint32_t at = 0; at < limit && alive; at++) {
            uint32_t word = words[starts[f] + at];
            /* At a call, but not in the frame that made it, which debuggers look up by the byte before the return
             * address. */
            bool call = is_call(word);
            uint32_t lost = call ? alive : alive & written(word);
            for (uint32_t r = 0; r < ARGUMENTS; r++)
                if (lost >> r & 1)
                    ends[f][r] = call ? at * 4 + 1 : at * 4 + 4;
            alive &= ~lost;
        }
    }
}
