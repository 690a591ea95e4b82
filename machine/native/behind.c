/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is behind an instruction, in the general registers and in PSTATE, if that follows from what is in them before it,
 * without memory: data processing, stores, and NOP, with which most functions of a kernel begin. So stage 1 of a hit need
 * not be recorded: it is computed of the record of stage 0, when that is taken.
 */
#include "interpret.h"

#define NOP 0xD503201Fu

/* Stores of general registers (Arm ARM, C4.1.94). They change their base, or nothing. False for other instructions, and
 * where the base is stored and changed at once (CONSTRAINED UNPREDICTABLE). */
static bool store_behind(uint32_t word, uint64_t *x)
{
    uint64_t rn = field(word, 5, 5), rt = field(word, 0, 5), rt2 = rt, moves;
    bool changes;

    if ((word & 0x7E400000) == 0x28000000) { /* STNP, STP */
        moves = sign_extended(field(word, 15, 7), 7) * (word >> 31 ? 8 : 4);
        changes = field(word, 23, 1);
        rt2 = field(word, 10, 5);
    } else if ((word & 0x3FE00000) == 0x38000000 && field(word, 10, 2) != 2) { /* STUR, STR with a changing base */
        moves = sign_extended(field(word, 12, 9), 9);
        changes = field(word, 10, 1);
    } else if ((word & 0x3FC00000) == 0x39000000) { /* STR with an unsigned offset */
        return true;
    } else {
        return false;
    }
    if (changes && rn != 31 && (rn == rt || rn == rt2))
        return false;
    if (changes)
        x[rn] += moves;
    return true;
}

/* False for other instructions, whatever is in the registers: x0 to x30, sp and pc. */
ARMPROBE_EXPORT bool armprobe_behind(uint32_t word, uint64_t *x, uint32_t *pstate)
{
    struct interpreter in;
    bool wide = word >> 31;

    copy_registers(in.x, x);
    in.pstate = *pstate;
    if ((word & 0x1C000000) == 0x10000000 ? data_immediate(&in, word, wide) != INTERPRETED_ON
        : (word & 0x0E000000) == 0x0A000000 ? data_of_registers(&in, word, wide) != INTERPRETED_ON
                                            : word != NOP && !store_behind(word, in.x))
        return false;
    copy_registers(x, in.x);
    x[32] += 4;
    *pstate = in.pstate & ~(uint32_t)BTYPE;
    return true;
}
