/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files share that execute code beside the guest: interpret.c, data_processing.c. */
#ifndef ARMPROBE_INTERPRET_H
#define ARMPROBE_INTERPRET_H

#include "core.h"
#include "instruction.h"

enum { N = 1u << 31, Z = 1u << 30, C = 1u << 29, V = 1u << 28 }; /* flags, in PSTATE */

static inline uint64_t sized(uint64_t value, bool wide)
{
    return wide ? value : (uint32_t)value;
}

/* ExtendReg (Arm ARM, C6.2): UXTB to UXTX, SXTB to SXTX, and a shift */
static inline uint64_t extended(uint64_t value, unsigned kind, unsigned by)
{
    unsigned bits = 8u << (kind & 3);

    if (bits < 64)
        value = kind & 4 ? sign_extended(value, bits) : value & (((uint64_t)1 << bits) - 1);
    return value << by;
}

/* Data processing with an immediate, and of registers. `wide` instructions have 64 bits. */
enum interpreted data_immediate(struct interpreter *in, uint32_t word, bool wide);
enum interpreted data_of_registers(struct interpreter *in, uint32_t word, bool wide);

#endif
