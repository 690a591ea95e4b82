/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Types in BTF (Linux Documentation/bpf/btf.rst), and what DWARF entries are made of them. */
#ifndef ARMPROBE_BTF_H
#define ARMPROBE_BTF_H

#include <stdbool.h>
#include <stdint.h>

/* Types, by number; number 0 is void. `words` are those of the section of types, `at` is where each type begins in them.
 * Whoever makes this has checked that all members of a type are in `words`, and all names in `strings`, which end with a
 * NUL. `bare` is the number of each type without tags, 0 for void. `index` is an integer, which the index of arrays has.
 * `flags_signs` is whether enums say that they are signed, `partial_integers` whether some integers have the bits of bit
 * fields. */
#define ARMPROBE_BTF(FIELD, ARRAY) \
    FIELD(const uint32_t *, words) \
    FIELD(const uint32_t *, at) \
    FIELD(const uint32_t *, bare) \
    FIELD(const char *, strings) \
    FIELD(uint32_t, count) \
    FIELD(uint32_t, index) \
    FIELD(bool, flags_signs) \
    FIELD(bool, partial_integers)

#define ARMPROBE_BTF_STRUCTURES(STRUCTURE) STRUCTURE(btf, ARMPROBE_BTF)

enum btf_kind { /* include/uapi/linux/btf.h */
    BTF_INT = 1,
    BTF_POINTER,
    BTF_ARRAY,
    BTF_STRUCT,
    BTF_UNION,
    BTF_ENUM,
    BTF_FORWARD,
    BTF_TYPEDEF,
    BTF_VOLATILE,
    BTF_CONST,
    BTF_RESTRICT,
    BTF_PROTOTYPE = 13,
    BTF_FLOAT = 16,
    BTF_TYPE_TAG = 18,
    BTF_ENUM64,
};

/* Abbreviations, which kernel/btf_dwarf/forms.py describes. */
enum form {
    FORM_BASE = 2,
    FORM_POINTER,
    FORM_POINTER_TO_VOID,
    FORM_STRUCT,
    FORM_UNION,
    FORM_MEMBER,
    FORM_BIT_FIELD,
    FORM_ARRAY,
    FORM_COUNTED,
    FORM_UNCOUNTED,
    FORM_ENUM,
    FORM_ENUMERATOR,
    FORM_WIDE_ENUMERATOR,
    FORM_DECLARED_STRUCT,
    FORM_DECLARED_UNION,
    FORM_TYPEDEF,
    FORM_TYPEDEF_OF_VOID,
    FORM_VOLATILE,
    FORM_CONST,
    FORM_RESTRICT,
    FORM_VOLATILE_VOID,
    FORM_CONST_VOID,
    FORM_RESTRICT_VOID,
    FORM_PROTOTYPE,
    FORM_PROTOTYPE_OF_VOID,
    FORM_PARAMETER_TYPE,
    FORM_VARIADIC,
    FORM_FUNCTION,
    FORM_FUNCTION_OF_VOID,
    FORM_ARGUMENT,
    FORM_UNKNOWN_ARGUMENT,
    FORM_ANONYMOUS_STRUCT,
    FORM_ANONYMOUS_UNION,
    FORM_ANONYMOUS_MEMBER,
    FORM_ANONYMOUS_ENUM,
};

#endif
