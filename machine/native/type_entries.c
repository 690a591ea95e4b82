/* SPDX-License-Identifier: GPL-2.0-or-later */
/* BTF's types as DWARF's entries. */
#include "entries.h"

#include <string.h>

enum { LEAST_NEGATIVE = 0xFFFF0000 }; /* as a word: the least of the small negative numbers */
enum {                                /* DW_ATE_* */
    IS_BOOLEAN = 2,
    IS_FLOAT = 4,
    IS_SIGNED = 5,
    IS_SIGNED_CHAR = 6,
    IS_UNSIGNED = 7,
    IS_UNSIGNED_CHAR = 8,
};

static void put_form(struct entries *entries, enum form form)
{
    put(&entries->out, form);
}

static void put_name(struct entries *entries, enum form form, const uint32_t *type)
{
    put_form(entries, form);
    put_word(entries, type[0]);
}

/* The size of an integer or enum, and how it is encoded. */
static void put_size(struct entries *entries, const uint32_t *type, uint32_t encoding)
{
    entries->damaged |= type[2] > 0xFF;
    put(&entries->out, type[2]);
    put(&entries->out, encoding);
}

static uint32_t encoding_of(const struct btf *btf, const uint32_t *type)
{
    const char *name = btf->strings + type[0];
    uint32_t flags = type[3] >> 24;
    if (flags & 4)
        return IS_BOOLEAN;
    if (!strcmp(name, "char") || !strcmp(name, "unsigned char"))
        return IS_UNSIGNED_CHAR;
    if (!strcmp(name, "signed char"))
        return IS_SIGNED_CHAR;
    return flags & 1 ? IS_SIGNED : IS_UNSIGNED;
}

/* The width, or 0, of a member whose width is not in the struct, but in the type of the integer. Moves `offset` to where
 * that begins. */
static uint32_t old_bit_field(struct entries *entries, uint32_t number, uint32_t *offset)
{
    if (*offset % 8 == 0 && !entries->btf->partial_integers)
        return 0;
    number = stripped(entries, number);
    if (kind_of(entries->btf, number) != BTF_INT)
        return 0;
    const uint32_t *type = type_at(entries->btf, number);
    uint32_t inner = type[3] >> 16 & 0xFF, width = type[3] & 0xFF;
    if (width == 8 * type[2] && !inner && *offset % 8 == 0)
        return 0;
    *offset += inner;
    return width;
}

static void put_struct(struct entries *entries, const uint32_t *type)
{
    bool is_struct = (type[1] >> 24 & 31) == BTF_STRUCT;
    if (type[0])
        put_name(entries, is_struct ? FORM_STRUCT : FORM_UNION, type);
    else
        put_form(entries, is_struct ? FORM_ANONYMOUS_STRUCT : FORM_ANONYMOUS_UNION);
    put_word(entries, type[2]);
    const uint32_t *member = type + 3, *end = member + 3 * (type[1] & 0xFFFF);
    for (; member < end; member += 3) {
        uint32_t offset = member[2], width;
        if (type[1] >> 31) { /* the upper 8 bits are the width of a bit field, 0 for other members */
            width = offset >> 24;
            offset &= 0xFFFFFF;
        } else
            width = old_bit_field(entries, member[1], &offset);
        if (width)
            put_name(entries, FORM_BIT_FIELD, member);
        else if (member[0])
            put_name(entries, FORM_MEMBER, member);
        else
            put_form(entries, FORM_ANONYMOUS_MEMBER);
        put_place(entries, member[1]);
        put_word(entries, width ? offset : offset >> 3);
        if (width)
            put(&entries->out, width);
    }
    put(&entries->out, 0);
}

/* Whether an enum has negative values.
 *
 * It has a flag for that in kernels from v6.0 on (Linux 6089fb325cf7). In a kernel whose BTF has no such flag, a value
 * that is a small negative number is taken for one. */
static bool is_signed(const struct btf *btf, const uint32_t *type)
{
    if (type[1] >> 31 || (type[1] >> 24 & 31) == BTF_ENUM64 || btf->flags_signs)
        return type[1] >> 31;
    for (uint32_t member = 0; member < (type[1] & 0xFFFF); member++)
        if (type[4 + 2 * member] >= (uint32_t)LEAST_NEGATIVE)
            return true;
    return false;
}

static void put_enum(struct entries *entries, const uint32_t *type)
{
    bool wide = (type[1] >> 24 & 31) == BTF_ENUM64, with_sign = is_signed(entries->btf, type);
    if (type[0])
        put_name(entries, FORM_ENUM, type);
    else
        put_form(entries, FORM_ANONYMOUS_ENUM);
    put_size(entries, type, with_sign ? IS_SIGNED : IS_UNSIGNED);
    const uint32_t *member = type + 3, *end = member + (wide ? 3 : 2) * (type[1] & 0xFFFF);
    for (; member < end; member += wide ? 3 : 2) {
        put_name(entries, wide || with_sign ? FORM_WIDE_ENUMERATOR : FORM_ENUMERATOR, member);
        put_word(entries, member[1]);
        if (wide)
            put_word(entries, member[2]);
        else if (with_sign) /* gdb extends the four bytes of DW_FORM_data4 with zeros */
            put_word(entries, member[1] >> 31 ? UINT32_MAX : 0);
    }
    put(&entries->out, 0);
}

static void put_prototype(struct entries *entries, const uint32_t *type)
{
    bool returns = !is_void(entries->btf, type[2]);
    put_form(entries, returns ? FORM_PROTOTYPE : FORM_PROTOTYPE_OF_VOID);
    if (returns)
        put_place(entries, type[2]);
    const uint32_t *parameter = type + 3, *end = parameter + 2 * (type[1] & 0xFFFF);
    for (; parameter < end; parameter += 2) {
        put_form(entries, parameter[1] ? FORM_PARAMETER_TYPE : FORM_VARIADIC);
        if (parameter[1])
            put_place(entries, parameter[1]);
    }
    put(&entries->out, 0);
}

static void put_array(struct entries *entries, const uint32_t *type)
{
    put_form(entries, FORM_ARRAY);
    put_place(entries, type[3]);
    put_form(entries, type[5] ? FORM_COUNTED : FORM_UNCOUNTED);
    if (type[5])
        put_word(entries, type[5]);
    put_place(entries, entries->btf->index);
    put(&entries->out, 0);
}

static void put_qualified(struct entries *entries, enum form some, enum form of_void, uint32_t target)
{
    bool is_some = !is_void(entries->btf, target);
    put_form(entries, is_some ? some : of_void);
    if (is_some)
        put_place(entries, target);
}

/* A struct or union of which only the name is said. */
static void put_declaration(struct entries *entries, const uint32_t *type)
{
    uint32_t kind = type[1] >> 24 & 31;
    bool is_union = kind == BTF_UNION || (kind == BTF_FORWARD && type[1] >> 31);
    put_name(entries, is_union ? FORM_DECLARED_UNION : FORM_DECLARED_STRUCT, type);
}

/* A type's entry and those in it; nothing for what has none. */
static void put_type(struct entries *entries, const uint32_t *type)
{
    bool of_void = is_void(entries->btf, type[2]);
    switch (type[1] >> 24 & 31) {
    case BTF_INT:
        put_name(entries, FORM_BASE, type);
        put_size(entries, type, encoding_of(entries->btf, type));
        break;
    case BTF_FLOAT:
        put_name(entries, FORM_BASE, type);
        put_size(entries, type, IS_FLOAT);
        break;
    case BTF_POINTER:
        put_form(entries, of_void ? FORM_POINTER_TO_VOID : FORM_POINTER);
        put(&entries->out, 8);
        if (!of_void)
            put_place(entries, type[2]);
        break;
    case BTF_ARRAY:
        put_array(entries, type);
        break;
    case BTF_STRUCT:
    case BTF_UNION:
        put_struct(entries, type);
        break;
    case BTF_ENUM:
    case BTF_ENUM64:
        put_enum(entries, type);
        break;
    case BTF_FORWARD:
        put_declaration(entries, type);
        break;
    case BTF_TYPEDEF:
        put_name(entries, of_void ? FORM_TYPEDEF_OF_VOID : FORM_TYPEDEF, type);
        if (!of_void)
            put_place(entries, type[2]);
        break;
    case BTF_VOLATILE:
        put_qualified(entries, FORM_VOLATILE, FORM_VOLATILE_VOID, type[2]);
        break;
    case BTF_CONST:
        put_qualified(entries, FORM_CONST, FORM_CONST_VOID, type[2]);
        break;
    case BTF_RESTRICT:
        put_qualified(entries, FORM_RESTRICT, FORM_RESTRICT_VOID, type[2]);
        break;
    case BTF_PROTOTYPE:
        put_prototype(entries, type);
        break;
    default: /* functions, variables and tags */
        break;
    }
}

/* The bytes of each type's entry and those in it, `sizes`; 0 for what has none. */
ARMPROBE_EXPORT void armprobe_type_sizes(const struct btf *btf, uint32_t *places, uint32_t *sizes)
{
    struct entries entries = {.btf = btf, .places = places};
    for (uint32_t number = 1; number < btf->count; number++) {
        entries.out.size = 0;
        put_type(&entries, type_at(btf, number));
        sizes[number] = (uint32_t)entries.out.size;
    }
}

/* Write the entries of `count` types to `bytes`, `room` of them. Of ~number there is only a declaration. Whether their
 * numbers and those that they refer to are right. */
ARMPROBE_EXPORT bool armprobe_type_entries(
    const struct btf *btf, const uint32_t *places, const int64_t *numbers, uint64_t count, uint8_t *bytes, uint64_t room)
{
    struct entries entries = {btf, places, {bytes, 0, room}, false};
    for (uint64_t n = 0; n < count; n++) {
        bool declared = numbers[n] < 0;
        uint64_t number = (uint64_t)(declared ? ~numbers[n] : numbers[n]);
        if (!number || number >= btf->count)
            return false;
        if (declared)
            put_declaration(&entries, type_at(btf, (uint32_t)number));
        else
            put_type(&entries, type_at(btf, (uint32_t)number));
    }
    return !entries.damaged && entries.out.size == room;
}
