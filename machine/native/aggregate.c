/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Aggregates: hits that are counted by a key, instead of being recorded. See places.h.
 *
 * The table has open addressing, at most half of its rows in use, and a seed that the guest cannot know: it chooses the
 * keys, and could make all of them collide otherwise.
 */
#include <string.h>

#include "core.h"

/* The row of a key, which is used from now on. NULL if the table is full. */
static struct aggregate_row *row_of(struct aggregate *aggregate, const uint64_t *key)
{
    uint64_t at = mix(mix(key[0] ^ aggregate->seed) ^ key[1]);
    struct aggregate_row *row;
    for (;; at++) {
        row = (struct aggregate_row *)(aggregate->rows + (at & aggregate->mask) * aggregate->stride);
        if (!row->count)
            break;
        if (row->key[0] == key[0] && row->key[1] == key[1])
            return row;
    }
    if (aggregate->used == aggregate->capacity)
        return NULL;
    aggregate->used++;
    row->key[0] = key[0];
    row->key[1] = key[1];
    return row;
}

static uint64_t bucket_of(const struct aggregate *aggregate, int64_t value)
{
    uint64_t last = aggregate->buckets - 1, above;
    if (!aggregate->step)
        return value < 0 ? 0 : value == 0 ? 1 : 65 - (uint64_t)__builtin_clzll((uint64_t)value);
    if (value < aggregate->start)
        return 0;
    above = ((uint64_t)value - (uint64_t)aggregate->start) / aggregate->step;
    return above < last ? above + 1 : last;
}

/* Count a value of a key, and the guest's instructions during a call. */
ARMPROBE_EXPORT void armprobe_aggregate_add(struct aggregate *aggregate, const uint64_t *key, uint64_t value,
                                            uint64_t executed)
{
    struct aggregate_row *row = row_of(aggregate, key);
    if (!row) {
        aggregate->lost++;
        return;
    }
    row->count++;
    row->sum += value;
    row->executed += executed;
    if (aggregate->buckets)
        ((uint64_t *)(row + 1))[bucket_of(aggregate, (int64_t)value)]++;
}

/* Copy the items of a table that are in use, those whose word at `used` is not 0, each behind its index. */
ARMPROBE_EXPORT void armprobe_aggregate_save(const char *items, uint64_t length, uint64_t size, uint64_t used, char *copy)
{
    for (uint64_t i = 0; i < length; i++, items += size) {
        if (!*(const uint64_t *)(items + used))
            continue;
        memcpy(copy, &i, sizeof i);
        memcpy(copy + sizeof i, items, size);
        copy += sizeof i + size;
    }
}

static void read_task(const struct recorder *recorder, const struct aggregate *aggregate, uint64_t *key)
{
    const struct core *core = recorder->core;
    char comm[sizeof aggregate->hit_key] = "";
    if (!core_read_task(core, aggregate->comm, comm, sizeof comm))
        memset(comm, 0, sizeof comm);
    end_name(comm, sizeof comm);
    memcpy(key, comm, sizeof comm);
}

/* Stacks and texts, each of which is kept once. */

/* The index of a long key of up to STACK_DEPTH words, plus 1; 0 if there are as many as there are keys. */
ARMPROBE_EXPORT uint64_t armprobe_aggregate_long(struct aggregate *aggregate, const uint64_t *words, uint64_t length)
{
    uint64_t at = aggregate->seed;
    for (uint64_t i = 0; i < length; i++)
        at = mix(at ^ words[i]);
    for (;; at++) {
        struct long_key *key = &aggregate->long_keys[at & aggregate->mask];
        if (key->length == length && !memcmp(key->words, words, length * sizeof *words))
            return (at & aggregate->mask) + 1;
        if (key->length)
            continue;
        if (aggregate->long_used == aggregate->capacity)
            return 0;
        aggregate->long_used++;
        key->length = length;
        memcpy(key->words, words, length * sizeof *words);
        return (at & aggregate->mask) + 1;
    }
}

#define FRAME_META_TYPE_PT_REGS 2 /* asm/stacktrace/frame.h */
#define STACKFRAME 0x128 /* of the frame record in struct pt_regs, where it has a kind (BTF of v7.2) */

/* Frame records of the stack, read by pieces: a translation takes longer than a copy. */
struct piece {
    uint64_t start;
    uint64_t size;
    uint64_t words[256];
};

/* The frame record at `address`: the next one's address, and a return address (AAPCS64, 6.4.6). */
static bool read_record(const struct core *core, struct piece *piece, uint64_t address, uint64_t *record)
{
    if (address & 7)
        return false;
    if (address - piece->start >= piece->size || piece->size - (address - piece->start) < 16) {
        uint64_t in_page = 4096 - address % 4096;
        piece->start = address;
        piece->size = in_page < 16 ? 16 : in_page < sizeof piece->words ? in_page : sizeof piece->words;
        if (!core_read(core, address, piece->words, piece->size)) {
            piece->size = 0;
            return false;
        }
    }
    memcpy(record, (char *)piece->words + (address - piece->start), 16);
    return true;
}

/* What the frame record in the struct pt_regs of an exception leads to: the interrupted code and its frame. False for
 * another record. The kernel marks them since v6.13 (commit c2c6b27b5aa1, struct frame_record_meta): both words are 0,
 * and the kind is behind them. Before it, they are what is wanted. */
static bool read_interrupted(const struct core *core, struct piece *piece, uint64_t fp, uint64_t *record)
{
    uint64_t kind[2], x29[2], pc[2]; /* each with the word behind it */
    if (record[0] || record[1] || !read_record(core, piece, fp + 16, kind) || kind[0] != FRAME_META_TYPE_PT_REGS ||
        !read_record(core, piece, fp - STACKFRAME + 29 * 8, x29) || !read_record(core, piece, fp - STACKFRAME + 32 * 8, pc))
        return false;
    record[0] = x29[0];
    record[1] = pc[0];
    return true;
}

uint64_t stack_read(const struct recorder *recorder, uint64_t fp, uint64_t *addresses, uint64_t length, uint64_t most)
{
    uint64_t record[2];
    struct piece piece;
    piece.start = piece.size = 0;
    while (length < most && fp && read_record(recorder->core, &piece, fp, record)) {
        if (record[1] && record[1] == recorder->trampoline)
            record[1] = call_caller(recorder, fp + 16);
        else if (!record[1] && !read_interrupted(recorder->core, &piece, fp, record))
            break;
        addresses[length++] = record[1];
        fp = record[0];
    }
    return length;
}

uint64_t stack_of_event(const struct recorder *recorder, const struct stage *at, const struct view *view,
                        uint64_t *addresses, uint64_t most)
{
    addresses[0] = at->event;
    addresses[1] = view->x[30];
    return stack_read(recorder, view->x[29], addresses, at->framed ? 1 : 2, most);
}

/* The number of the stack of an event, or of a function that was called from `caller`, at its entry or its return: x29
 * is then the caller's. */
static uint64_t read_stack(const struct recorder *recorder, struct aggregate *aggregate, uint64_t caller,
                           const struct stage *at, const struct view *view)
{
    uint64_t addresses[STACK_DEPTH], length;
    addresses[0] = caller;
    length = at->event ? stack_of_event(recorder, at, view, addresses, STACK_DEPTH)
                       : stack_read(recorder, view->x[29], addresses, 1, STACK_DEPTH);
    return armprobe_aggregate_long(aggregate, addresses, length);
}

/* The number of the text that is the key. False if it cannot be read. */
static bool read_text(const struct recorder *recorder, struct aggregate *aggregate, const struct view *view,
                      uint64_t *number)
{
    uint64_t words[STACK_DEPTH], size;
    if (text_read(recorder->reader, aggregate->text, view, (uint8_t *)words, &size) != OUTCOME_VALUE || !size)
        return false;
    memset((char *)words + size, 0, sizeof words - size);
    *number = armprobe_aggregate_long(aggregate, words, (size + sizeof *words - 1) / sizeof *words);
    aggregate->hit_lost = !*number;
    return true;
}

bool aggregate_decide(const struct recorder *recorder, struct aggregate *aggregate, const struct stage *at,
                      const struct view *view)
{
    uint64_t *key = aggregate->hit_key;
    key[0] = key[1] = 0;
    if (aggregate->by_task)
        read_task(recorder, aggregate, key);
    if (aggregate->by_caller || aggregate->by_stack) {
        key[0] = at->stage ? at->caller : view->x[30];
        if (!at->stage && !at->framed && key[0] == recorder->trampoline)
            return false; /* it is the trampoline of a call that is not followed here */
    }
    if (aggregate->by_stack) {
        key[0] = read_stack(recorder, aggregate, key[0], at, view);
        aggregate->hit_lost = !key[0];
    }
    if (aggregate->text && !read_text(recorder, aggregate, view, key))
        return false;
    if (aggregate->key && program_value(recorder->reader, aggregate->key, view, key) != OUTCOME_VALUE)
        return false;
    return !aggregate->value ||
           program_value(recorder->reader, aggregate->value, view, &aggregate->hit_value) == OUTCOME_VALUE;
}

void aggregate_hit(struct aggregate *aggregate, uint64_t elapsed, uint64_t executed)
{
    uint64_t value = aggregate->value ? aggregate->hit_value : 0;
    if (aggregate->hit_lost) {
        aggregate->lost++;
        return;
    }
    armprobe_aggregate_add(aggregate, aggregate->hit_key, aggregate->elapsed ? elapsed : value, executed);
}
