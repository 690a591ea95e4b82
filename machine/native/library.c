/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What binding.py compares with before anything else of the library is used: its sources and its structures. */
#include "native.h"

/* compile.py defines it: a digest of the sources. */
ARMPROBE_EXPORT const char armprobe_sources[] = ARMPROBE_SOURCES;

/* armprobe_rows_NAME(): the table of `struct NAME`. `self` is that structure, in its function. */
#define FIELD_ROW(type, name) {#name, #type, 0, offsetof(self, name), sizeof(((self *)0)->name)},
#define ARRAY_ROW(type, name, count) {#name, #type, count, offsetof(self, name), sizeof(((self *)0)->name)},
#define ROWS(name, FIELDS) \
    ARMPROBE_EXPORT const struct row *armprobe_rows_##name(void) \
    { \
        typedef struct name self; \
        static const struct row rows[] = {FIELDS(FIELD_ROW, ARRAY_ROW) {NULL, NULL, 0, sizeof(self), 0}}; \
        return rows; \
    }

ARMPROBE_STRUCTURES(ROWS)
