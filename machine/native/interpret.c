/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Executes the guest's code beside the guest: on a copy of its registers, with its memory as it is, and what the code
 * stores kept apart. So nothing of the guest changes, neither its time nor what the engine has translated.
 *
 * This is for short pieces of a kernel's own code that only look, such as what computes the fields of a trace event.
 * The instructions are those that compilers make of such code: integers only. Interrupts and system registers stay as
 * they are, and exclusives always succeed, as there is nobody else. References are to the Arm ARM, C4.1 and C6.2. */
#include <string.h>

#include "core.h"
#include "interpret.h"

enum { LINE = 64 };

/* Memory: the room, or the guest's with what was stored over it, in words of 8 bytes */

static struct stored *stored_at(struct interpreter *in, uint64_t word, bool add)
{
    uint32_t at = (uint32_t)(word >> 3) * 2654435761u % INTERPRETER_STORED;

    for (uint32_t tried = 0; tried < INTERPRETER_STORED; tried++, at = (at + 1) % INTERPRETER_STORED) {
        struct stored *stored = &in->stored[at];

        bool used = stored->mask && stored->round == in->round;

        if (used && stored->address == word)
            return stored;
        if (!used) {
            if (!add || in->stored_count == INTERPRETER_STORED / 2)
                return NULL;
            in->stored_count++;
            stored->address = word;
            stored->mask = 0;
            stored->round = in->round;
            return stored;
        }
    }
    return NULL;
}

static bool in_room(const struct interpreter *in, uint64_t address, uint64_t size)
{
    return address - in->room < in->room_size && in->room_size - (address - in->room) >= size;
}

static bool load_bytes(struct interpreter *in, uint64_t address, uint8_t *bytes, uint64_t size)
{
    if (in_room(in, address, size)) {
        memcpy(bytes, in->bytes + (address - in->room), size);
        return true;
    }
    if (!core_read(in->core, address, bytes, size)) {
        in->fault = address;
        return false;
    }
    if (in->stored_count)
        for (uint64_t word = address & ~(uint64_t)7; word < address + size; word += 8) {
            const struct stored *stored = stored_at(in, word, false);

            if (stored)
                for (unsigned i = 0; i < 8; i++)
                    if (stored->mask >> i & 1 && word + i - address < size)
                        bytes[word + i - address] = (uint8_t)(stored->value >> 8 * i);
        }
    return true;
}

static enum interpreted load_value(struct interpreter *in, uint64_t address, unsigned size, uint64_t *value)
{
    *value = 0;
    return load_bytes(in, address, (uint8_t *)value, size) ? INTERPRETED_ON : INTERPRETED_FAULT;
}

static enum interpreted store_value(struct interpreter *in, uint64_t address, unsigned size, uint64_t value)
{
    if (in_room(in, address, size)) {
        memcpy(in->bytes + (address - in->room), &value, size);
        return INTERPRETED_ON;
    }
    for (unsigned i = 0; i < size; i++) {
        struct stored *stored = stored_at(in, (address + i) & ~(uint64_t)7, true);
        unsigned byte = (address + i) & 7;
        uint8_t there;

        if (stored && !stored->mask && !core_read(in->core, address + i, &there, 1)) {
            in->fault = address + i;
            return INTERPRETED_FAULT;
        }
        if (!stored)
            return INTERPRETED_FULL;
        stored->mask |= 1u << byte;
        stored->value &= ~((uint64_t)0xFF << 8 * byte);
        stored->value |= (value >> 8 * i & 0xFF) << 8 * byte;
    }
    return INTERPRETED_ON;
}

/* Loads and stores. `opc` is as in LDR and STR: 0 stores, 1 loads, 2 and 3 load signed numbers into 64 and 32 bits. */
static enum interpreted access(struct interpreter *in, uint64_t address, unsigned size, unsigned opc, uint64_t rt)
{
    uint64_t value;
    enum interpreted done;

    if (opc == 0)
        return store_value(in, address, size, get(in->x, rt));
    if ((done = load_value(in, address, size, &value)))
        return done;
    if (opc > 1)
        value = sized(sign_extended(value, 8 * size), opc == 2);
    set(in->x, rt, value);
    return INTERPRETED_ON;
}

static enum interpreted pair(struct interpreter *in, uint32_t word)
{
    unsigned opc = (unsigned)field(word, 30, 2), mode = (unsigned)field(word, 23, 2), size = opc & 2 ? 8 : 4;
    bool load = field(word, 22, 1);
    uint64_t rn = field(word, 5, 5), rt = field(word, 0, 5), rt2 = field(word, 10, 5), address = in->x[rn];
    uint64_t moved = address + sign_extended(field(word, 15, 7), 7) * size;
    uint64_t first, second;
    enum interpreted done;

    if (opc == 3 || (opc == 1 && (!load || !mode)))
        return INTERPRETED_UNKNOWN;
    if (mode != 1)
        address = moved;
    if (load) {
        if ((done = load_value(in, address, size, &first)) || (done = load_value(in, address + size, size, &second)))
            return done;
        set(in->x, rt, opc == 1 ? sign_extended(first, 32) : first);
        set(in->x, rt2, opc == 1 ? sign_extended(second, 32) : second);
    } else if ((done = store_value(in, address, size, get(in->x, rt))) ||
               (done = store_value(in, address + size, size, get(in->x, rt2)))) {
        return done;
    }
    if (mode & 1)
        in->x[rn] = moved;
    return INTERPRETED_ON;
}

static enum interpreted atomic(struct interpreter *in, uint32_t word, unsigned size)
{
    uint64_t address = in->x[field(word, 5, 5)], operand = get(in->x, field(word, 16, 5)), old, now;
    unsigned bits = 8 * size, op = (unsigned)field(word, 12, 4);
    int64_t left, right;
    enum interpreted done;

    if ((done = load_value(in, address, size, &old)))
        return done;
    if (size < 8)
        operand &= ((uint64_t)1 << bits) - 1;
    left = (int64_t)sign_extended(old, bits), right = (int64_t)sign_extended(operand, bits);
    switch (op) {
    case 0: now = old + operand; break;
    case 1: now = old & ~operand; break;
    case 2: now = old ^ operand; break;
    case 3: now = old | operand; break;
    case 4: now = left > right ? old : operand; break;
    case 5: now = left < right ? old : operand; break;
    case 6: now = old > operand ? old : operand; break;
    case 7: now = old < operand ? old : operand; break;
    case 8: now = operand; break;
    case 12: now = old; break; /* LDAPR */
    default: return INTERPRETED_UNKNOWN;
    }
    if (op != 12 && (done = store_value(in, address, size, now)))
        return done;
    set(in->x, word & 31, old);
    return INTERPRETED_ON;
}

static enum interpreted one(struct interpreter *in, uint32_t word)
{
    unsigned size = 1u << field(word, 30, 2), opc = (unsigned)field(word, 22, 2), mode = (unsigned)field(word, 10, 2);
    uint64_t rn = field(word, 5, 5), rt = field(word, 0, 5), address = in->x[rn], moved = address;
    enum interpreted done;

    bool prefetches = size == 8 && opc == 2; /* PRFM */

    if (prefetches && (field(word, 24, 1) || (!field(word, 21, 1) && mode == 0)))
        return INTERPRETED_ON;
    if (size >= 4 && opc > 1 && !(size == 4 && opc == 2) && !(prefetches && field(word, 21, 1)))
        return INTERPRETED_UNKNOWN;
    if (field(word, 24, 1)) {
        address += field(word, 10, 12) * size;
        return access(in, address, size, opc, rt);
    }
    if (field(word, 21, 1)) {
        unsigned kind = (unsigned)field(word, 13, 3);

        if (mode == 0)
            return atomic(in, word, size);
        if (mode != 2 || !(kind & 2))
            return INTERPRETED_UNKNOWN;
        if (prefetches)
            return INTERPRETED_ON;
        address += extended(get(in->x, field(word, 16, 5)), kind, field(word, 12, 1) ? (unsigned)field(word, 30, 2) : 0);
        return access(in, address, size, opc, rt);
    }
    moved += sign_extended(field(word, 12, 9), 9);
    done = access(in, mode == 1 ? address : moved, size, opc, rt);
    if (!done && mode & 1)
        in->x[rn] = moved;
    return done;
}

/* Exclusives, load-acquire, store-release, compare and swap */
static enum interpreted exclusive(struct interpreter *in, uint32_t word)
{
    unsigned size = 1u << field(word, 30, 2);
    bool ordered = field(word, 23, 1), load = field(word, 22, 1);
    uint64_t rs = field(word, 16, 5), rt = field(word, 0, 5), address = in->x[field(word, 5, 5)], old, expected;
    enum interpreted done;

    if (field(word, 21, 1)) {
        if (!ordered || field(word, 10, 5) != 31)
            return INTERPRETED_UNKNOWN; /* pairs */
        if ((done = load_value(in, address, size, &old)))
            return done;
        expected = get(in->x, rs);
        if (size < 8)
            expected &= ((uint64_t)1 << 8 * size) - 1;
        if (old == expected && (done = store_value(in, address, size, get(in->x, rt))))
            return done;
        set(in->x, rs, old);
        return INTERPRETED_ON;
    }
    done = access(in, address, size, load, rt);
    if (!done && !ordered && !load)
        set(in->x, rs, 0);
    return done;
}

static enum interpreted system_instruction(struct interpreter *in, uint32_t word)
{
    if ((word & 0xFFFFF01F) == 0xD503201F || (word & 0xFFFFF01F) == 0xD503301F || (word & 0xFFF8F01F) == 0xD500401F)
        return INTERPRETED_ON; /* hints, barriers, MSR (immediate) */
    switch (word & ~31u) {
    case 0xD5384100: set(in->x, word & 31, in->sp_el0); return INTERPRETED_ON;
    case 0xD538D080: set(in->x, word & 31, in->tpidr_el1); return INTERPRETED_ON;
    case 0xD53B00E0: set(in->x, word & 31, 1 << 4); return INTERPRETED_ON; /* DCZID_EL0: DC ZVA is prohibited */
    case 0xD53B4200: set(in->x, word & 31, in->pstate & (N | Z | C | V)); return INTERPRETED_ON; /* NZCV */
    case 0xD53B4220: set(in->x, word & 31, in->pstate & 0x3C0); return INTERPRETED_ON; /* DAIF */
    case 0xD51B4220: return INTERPRETED_ON;
    default: return INTERPRETED_SYSTEM;
    }
}

static bool branches(uint32_t word)
{
    return (word & 0x7C000000) == 0x14000000 || (word & 0xFF000010) == 0x54000000 || (word & 0x7C000000) == 0x34000000 ||
           (word & 0xFFFFFC1F) == 0xD61F0000 || (word & 0xFFFFFC1F) == 0xD63F0000 || (word & 0xFFFFFC1F) == 0xD65F0000;
}

static enum interpreted execute(struct interpreter *in, uint32_t word)
{
    bool wide = word >> 31;

    if (branches(word) || (word & 0x1F000000) == 0x10000000 || ((word & 0x3F000000) == 0x18000000 && word >> 30 != 3))
        return armprobe_simulate(in->core, word, in->x[32], in->x, &in->pstate) ? INTERPRETED_JUMPED
                                                                                : INTERPRETED_FAULT;
    if ((word & 0xFF000000) == 0xD8000000)
        return INTERPRETED_ON; /* PRFM (literal) */
    if ((word & 0x1C000000) == 0x10000000)
        return data_immediate(in, word, wide);
    if ((word & 0x0E000000) == 0x0A000000)
        return data_of_registers(in, word, wide);
    if ((word & 0x3E000000) == 0x28000000)
        return pair(in, word);
    if ((word & 0x3E000000) == 0x38000000)
        return one(in, word);
    if ((word & 0x3F000000) == 0x08000000)
        return exclusive(in, word);
    if ((word & 0xFFC00000) == 0xD5000000)
        return system_instruction(in, word);
    return INTERPRETED_UNKNOWN;
}

/* Forget what was stored. */
ARMPROBE_EXPORT void armprobe_interpreter_clear(struct interpreter *in)
{
    in->round++;
    in->stored_count = 0;
}

/* Have the code find a doubleword in memory. */
ARMPROBE_EXPORT bool armprobe_interpreter_store(struct interpreter *in, uint64_t address, uint64_t value)
{
    return store_value(in, address, sizeof(value), value) == INTERPRETED_ON;
}

/* Bytes of memory as the code that was executed would find them. */
ARMPROBE_EXPORT bool armprobe_interpreter_read(struct interpreter *in, uint64_t address, uint8_t *bytes, uint64_t size)
{
    return load_bytes(in, address, bytes, size);
}

/* Execute from the PC to one of the `stops`; the first instruction is executed even there. `instead`, if it is not 0,
 * is the first instruction in place of that in memory. */
ARMPROBE_EXPORT uint32_t armprobe_interpret(struct interpreter *in)
{
    uint32_t line[LINE / 4];
    uint64_t from = 1; /* the address of that line; 1 for none */
    bool first = true;

    for (; in->left; in->left--) {
        uint64_t pc = in->x[32];
        enum interpreted done;

        if (!first && interpreter_stops(in))
            return INTERPRETED_STOPPED;
        if ((pc & ~(uint64_t)(LINE - 1)) != from) {
            from = pc & ~(uint64_t)(LINE - 1);
            if (pc & 3 || !core_read(in->core, from, line, LINE)) {
                in->fault = pc;
                return INTERPRETED_FAULT;
            }
        }
        in->word = first && in->instead ? in->instead : line[pc % LINE / 4];
        first = false;
        in->instead = 0;
        done = execute(in, in->word);
        if (done == INTERPRETED_ON)
            in->x[32] = pc + 4;
        else if (done != INTERPRETED_JUMPED)
            return done;
    }
    return INTERPRETED_LIMIT;
}
