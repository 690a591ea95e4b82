/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Functions as DWARF's entries, with the registers that have their arguments at the entry (AAPCS64, 6.8.2). */
#include "entries.h"

enum { ARGUMENTS = 8 };                                           /* registers */
enum { REGISTER = 0x50, BASE = 0x70, PIECE = 0x93 };              /* DW_OP_reg0, DW_OP_breg0, DW_OP_piece */
enum { START_LENGTH = 8 };                                        /* DW_LLE_start_length; 0 ends a list */
enum { DEEPEST = 16 };                                            /* structs in structs */
enum { BY_ADDRESS = 100, PAIR_FROM_EVEN = 101, UNKNOWN = 102 };   /* instead of a number of registers */

/* A function: the offset of its name, the number of its prototype, its bytes. */
struct function {
    uint32_t name, prototype, size;
};

/* Whether a type of 16 bytes is aligned to as many: an integer of 128 bits, or what has nothing else in it. */
static bool is_aligned(struct entries *entries, uint32_t number)
{
    for (uint32_t depth = 0; depth < DEEPEST; depth++) {
        number = stripped(entries, number);
        uint32_t kind = kind_of(entries->btf, number);
        if ((kind != BTF_STRUCT && kind != BTF_UNION) || !(type_at(entries->btf, number)[1] & 0xFFFF))
            return kind == BTF_INT && type_at(entries->btf, number)[2] == 16;
        number = type_at(entries->btf, number)[4];
    }
    return false;
}

/* How many registers an argument of this type takes, or one of the constants above. */
static uint32_t registers_of(struct entries *entries, uint32_t number)
{
    number = stripped(entries, number);
    uint32_t kind = kind_of(entries->btf, number);
    if (kind == BTF_POINTER || kind == BTF_ARRAY || kind == BTF_PROTOTYPE)
        return 1;
    if (!number)
        return UNKNOWN;
    uint32_t size = type_at(entries->btf, number)[2];
    if (kind == BTF_STRUCT || kind == BTF_UNION) {
        if (size > 16)
            return BY_ADDRESS;
    } else if ((kind != BTF_INT && kind != BTF_ENUM && kind != BTF_ENUM64) || !size || size > 16)
        return UNKNOWN;
    return size == 16 && is_aligned(entries, number) ? PAIR_FROM_EVEN : (size + 7) / 8; /* GCC passes no empty struct */
}

/* Put the list of where an argument of this type is, if `next` is the next register, which it moves on. False if the
 * argument is in no register. `ends` are the offsets up to which the registers have the arguments. */
static bool put_location(
    struct entries *entries, uint32_t number, uint32_t *next, uint64_t address, const uint32_t *ends, struct output *list)
{
    uint32_t needed = registers_of(entries, number);
    bool by_address = needed == BY_ADDRESS;
    if (by_address && *next == ARGUMENTS)
        return false;
    if (needed == PAIR_FROM_EVEN) {
        *next += *next % 2;
        needed = 2;
    }
    if (by_address)
        needed = 1;
    if (!needed)
        return false;
    if (*next + needed > ARGUMENTS) {
        *next = ARGUMENTS;
        return false;
    }
    uint32_t first = *next, end = ends[first];
    *next += needed;
    if (needed == 2 && ends[first + 1] < end)
        end = ends[first + 1];
    put(list, START_LENGTH);
    put_number(list, address, 8);
    put_uleb128(list, end);
    put(list, by_address ? 2 : needed == 1 ? 1 : 6); /* bytes of the description */
    put(list, (by_address ? BASE : REGISTER) + first);
    if (by_address)
        put(list, 0);
    if (needed == 2) {
        put(list, PIECE);
        put(list, 8);
        put(list, REGISTER + first + 1);
        put(list, PIECE);
        put(list, 8);
    }
    put(list, 0);
    return true;
}

static void put_function(
    struct entries *entries, const struct function *function, uint64_t address, const uint32_t *ends, uint64_t lists_at,
    struct output *lists)
{
    const struct btf *btf = entries->btf;
    const uint32_t *type = type_at(btf, function->prototype);
    bool returns = !is_void(btf, type[2]);
    put(&entries->out, returns ? FORM_FUNCTION : FORM_FUNCTION_OF_VOID);
    put_word(entries, function->name);
    put_number(&entries->out, address, 8);
    put_word(entries, function->size);
    if (returns)
        put_place(entries, type[2]);
    uint32_t next = 0;
    const uint32_t *parameter = type + 3, *end = parameter + 2 * (type[1] & 0xFFFF);
    for (; parameter < end; parameter += 2) {
        if (!parameter[1]) {
            put(&entries->out, FORM_VARIADIC);
            continue;
        }
        uint64_t list = lists_at + lists->size;
        bool known = put_location(entries, parameter[1], &next, address, ends, lists);
        put(&entries->out, known ? FORM_ARGUMENT : FORM_UNKNOWN_ARGUMENT);
        put_word(entries, parameter[0]);
        put_place(entries, parameter[1]);
        if (known)
            put_word(entries, (uint32_t)list);
    }
    put(&entries->out, 0);
}

/* Write the entries of `count` functions to `bytes`, and the lists of where their arguments are, the first of which is at
 * `lists_at` of its section, to `lists`; there is `room` for each. `sizes` become the bytes of both. Whether what they
 * refer to is right. */
ARMPROBE_EXPORT bool armprobe_function_entries(
    const struct btf *btf, const uint32_t *places, const struct function *functions, const uint64_t *addresses,
    const uint32_t (*ends)[ARGUMENTS], uint64_t count, uint64_t lists_at, uint8_t *bytes, uint8_t *lists,
    const uint64_t *room, uint64_t *sizes)
{
    struct entries entries = {btf, places, {bytes, 0, room[0]}, false};
    struct output out = {lists, 0, room[1]};
    for (uint64_t f = 0; f < count; f++) {
        uint32_t prototype = functions[f].prototype;
        if (prototype >= btf->count || kind_of(btf, prototype) != BTF_PROTOTYPE)
            return false;
        put_function(&entries, &functions[f], addresses[f], ends[f], lists_at, &out);
    }
    sizes[0] = entries.out.size;
    sizes[1] = out.size;
    return !entries.damaged;
}
