/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the makers of DWARF's entries share. */
#ifndef ARMPROBE_ENTRIES_H
#define ARMPROBE_ENTRIES_H

#include "core.h"
#include "output.h"

enum { LONGEST_CHAIN = 100 }; /* typedefs and qualifiers; a circle of them would be endless */

/* Entries of a unit that are made. `places` are those of the types' entries in it, by number, 0 for types that have none
 * there. They are `damaged` if they refer to such a type, or have a number that is too large. */
struct entries {
    const struct btf *btf;
    const uint32_t *places;
    struct output out;
    bool damaged;
};

static inline void put_word(struct entries *entries, uint32_t word)
{
    put_number(&entries->out, word, 4);
}

static inline bool is_void(const struct btf *btf, uint32_t number)
{
    return number < btf->count && !btf->bare[number];
}

/* The place of a type's entry. */
static inline void put_place(struct entries *entries, uint32_t number)
{
    const struct btf *btf = entries->btf;
    uint32_t place = number < btf->count ? entries->places[btf->bare[number]] : 0;
    entries->damaged |= !place;
    put_word(entries, place);
}

static inline const uint32_t *type_at(const struct btf *btf, uint32_t number)
{
    return btf->words + btf->at[number];
}

/* The kind of a type; 0 for void. */
static inline uint32_t kind_of(const struct btf *btf, uint32_t number)
{
    return number ? type_at(btf, number)[1] >> 24 & 31 : 0;
}

/* The type that `number` is without typedefs and qualifiers; 0, and damaged, if that has no end. */
static inline uint32_t stripped(struct entries *entries, uint32_t number)
{
    const struct btf *btf = entries->btf;
    for (uint32_t chain = 0; chain < LONGEST_CHAIN && number < btf->count; chain++) {
        uint32_t kind = kind_of(btf, number);
        if ((kind < BTF_TYPEDEF || kind > BTF_RESTRICT) && kind != BTF_TYPE_TAG)
            return number;
        number = type_at(btf, number)[2];
    }
    entries->damaged = true;
    return 0;
}

#endif
