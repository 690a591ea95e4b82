/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the C core share: its structures, each declared once for C and for Python.
 *
 * A structure that Python reads is declared as a list of its fields, and named in ARMPROBE_STRUCTURES:
 *
 *     #define PLACE(FIELD, ARRAY) \
 *         FIELD(uint64_t, address) \
 *         FIELD(void *, next) \
 *         ARRAY(uint32_t, words, 4)
 *
 *     #define ARMPROBE_STRUCTURES(STRUCTURE) \
 *         ... \
 *         STRUCTURE(place, PLACE)
 *
 * That declares `struct place` for C, after those named before it, and library.c exports its layout as a table. Python
 * declares the fields that it uses, in a class that library.py fills in from the table:
 *
 *     @structure("place")
 *     class Place(ctypes.Structure):
 *         address: int
 *         words: ctypes.Array[ctypes.c_uint32]
 *
 * A type is one of <stdint.h>, bool, a pointer (an int in Python), or `struct NAME` of a structure named before.
 */
#ifndef ARMPROBE_NATIVE_H
#define ARMPROBE_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

_Static_assert(sizeof(void *) == 8, "armprobe takes a 64-bit host");

/* To be raised when a function that Python calls changes its arguments or its meaning; library.py has the same. */
#define ARMPROBE_ABI 1

/* What Python sees of the library; its name begins with armprobe_. The library hides all else. */
#define ARMPROBE_EXPORT __attribute__((visibility("default")))

/* A row of the table: a field of a structure. `count` is 0 but for an array. The last row has no name, and the size of
 * the whole structure as its offset. */
#define ARMPROBE_ROW(FIELD, ARRAY) \
    FIELD(const char *, name) \
    FIELD(const char *, type) \
    FIELD(uint32_t, count) \
    FIELD(uint32_t, offset) \
    FIELD(uint32_t, size)

#define ARMPROBE_STRUCTURES(STRUCTURE) \
    STRUCTURE(row, ARMPROBE_ROW)

#define ARMPROBE_DECLARE_FIELD(type, name) type name;
#define ARMPROBE_DECLARE_ARRAY(type, name, count) type name[count];
#define ARMPROBE_DECLARE(name, FIELDS) struct name { FIELDS(ARMPROBE_DECLARE_FIELD, ARMPROBE_DECLARE_ARRAY) };

ARMPROBE_STRUCTURES(ARMPROBE_DECLARE)

#endif
