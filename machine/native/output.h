/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bytes of sections for debuggers, little-endian. */
#ifndef ARMPROBE_OUTPUT_H
#define ARMPROBE_OUTPUT_H

#include <stdint.h>

/* Bytes that are written as far as there is room for them, and counted in any case. */
struct output {
    uint8_t *bytes;
    uint64_t size, room;
};

static inline void put(struct output *out, uint64_t byte)
{
    if (out->size < out->room)
        out->bytes[out->size] = (uint8_t)byte;
    out->size++;
}

static inline void put_number(struct output *out, uint64_t number, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        put(out, number >> 8 * i);
}

static inline void put_uleb128(struct output *out, uint64_t number)
{
    for (; number >= 0x80; number >>= 7)
        put(out, number | 0x80);
    put(out, number);
}

#endif
