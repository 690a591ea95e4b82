/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instructions that depend on their address: branches, ADR and ADRP, literal loads (Arm ARM, C6.2). */
#include "core.h"
#include "instruction.h"

/* A signed number of instructions, in bytes */
static inline uint64_t offset(uint32_t word, unsigned low, unsigned width)
{
    return sign_extended(field(word, low, width), width) * 4;
}

bool condition_holds(unsigned condition, uint32_t pstate)
{
    bool n = pstate >> 31 & 1, z = pstate >> 30 & 1, c = pstate >> 29 & 1, v = pstate >> 28 & 1, result = true;
    switch (condition >> 1) {
    case 0: result = z; break;
    case 1: result = c; break;
    case 2: result = n; break;
    case 3: result = v; break;
    case 4: result = c && !z; break;
    case 5: result = n == v; break;
    case 6: result = n == v && !z; break;
    default: return true;
    }
    return result != (condition & 1);
}

static bool literal(const struct core *core, uint32_t word, uint64_t address, uint64_t *x)
{
    uint64_t value = 0;
    bool sign = word >> 31 & 1; /* LDRSW */
    size_t size = word >> 30 & 1 ? 8 : 4;
    if (!core_read(core, address + offset(word, 5, 19), &value, sign ? 4 : size))
        return false;
    set(x, word & 31, sign ? (uint64_t)(int64_t)(int32_t)value : value);
    return true;
}

ARMPROBE_EXPORT bool armprobe_simulate(const struct core *core, uint32_t word, uint64_t address, uint64_t *x,
                                       uint32_t *pstate)
{
    bool taken = true;
    if ((word & 0x7C000000) == 0x14000000) { /* B, BL */
        if (word >> 31)
            x[30] = address + 4;
        x[32] = address + offset(word, 0, 26);
    } else if ((word & 0xFF000000) == 0x54000000) { /* B.cond, BC.cond */
        taken = condition_holds(word & 15, *pstate);
        x[32] = address + (taken ? offset(word, 5, 19) : 4);
    } else if ((word & 0x7E000000) == 0x34000000) { /* CBZ, CBNZ */
        uint64_t value = get(x, word & 31);
        taken = ((word >> 31 ? value : (uint32_t)value) != 0) == field(word, 24, 1);
        x[32] = address + (taken ? offset(word, 5, 19) : 4);
    } else if ((word & 0x7E000000) == 0x36000000) { /* TBZ, TBNZ */
        unsigned bit = (unsigned)(field(word, 31, 1) << 5 | field(word, 19, 5));
        taken = (get(x, word & 31) >> bit & 1) == field(word, 24, 1);
        x[32] = address + (taken ? offset(word, 5, 14) : 4);
    } else if ((word & 0xFE000000) == 0xD6000000) { /* BR, BLR, RET */
        uint64_t target = get(x, field(word, 5, 5)); /* before x30 is written: BLR x30 */
        if (field(word, 21, 2) == 1)
            x[30] = address + 4;
        x[32] = target;
    } else if ((word & 0x1F000000) == 0x10000000) { /* ADR, ADRP */
        uint64_t immediate = sign_extended(field(word, 5, 19) << 2 | field(word, 29, 2), 21);
        set(x, word & 31, word >> 31 ? (address & ~(uint64_t)0xFFF) + (immediate << 12) : address + immediate);
        x[32] = address + 4;
    } else if ((word & 0x3F000000) == 0x18000000) { /* LDR, LDRSW (literal) */
        if (!literal(core, word, address, x))
            return false;
        x[32] = address + 4;
    } else { /* NOP: of these, the only one that clears PSTATE.BTYPE */
        *pstate &= ~(uint32_t)BTYPE;
        x[32] = address + 4;
    }
    return true;
}
