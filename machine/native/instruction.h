/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fields of instructions, and the registers that they name: 31 is the zero register (Arm ARM, C1.2.5). */
#ifndef ARMPROBE_INSTRUCTION_H
#define ARMPROBE_INSTRUCTION_H

#include <stdint.h>

static inline uint64_t field(uint32_t word, unsigned low, unsigned width)
{
    return word >> low & ((1u << width) - 1);
}

static inline uint64_t get(const uint64_t *x, uint64_t number)
{
    return number < 31 ? x[number] : 0;
}

static inline void set(uint64_t *x, uint64_t number, uint64_t value)
{
    if (number < 31)
        x[number] = value;
}

#endif
