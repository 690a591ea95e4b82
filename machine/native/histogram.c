/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hist triggers: hits of events that are counted by keys, with sums of values (kernel/trace/trace_events_hist.c).
 *
 * The index has open addressing, at most half of it in use, and a seed that the guest cannot know: it chooses the keys,
 * and could make all of them collide otherwise.
 */
#include <string.h>

#include "core.h"

static uint64_t hash(const struct histogram *histogram, const uint8_t *key)
{
    uint64_t value = histogram->seed, word;
    for (uint64_t at = 0; at < histogram->key_size; at += sizeof word) {
        memcpy(&word, key + at, sizeof word);
        value = mix(value ^ word);
    }
    return value;
}

/* Where the index has the row of a key, or could have it. */
static uint32_t *find(const struct histogram *histogram, const uint8_t *key)
{
    for (uint64_t at = hash(histogram, key);; at++) {
        uint32_t *number = &histogram->index[at & histogram->mask];
        if (!*number || !memcmp(histogram->rows + (*number - 1) * histogram->stride, key, histogram->key_size))
            return number;
    }
}

/* The sums of a row. */
static uint8_t *sums(const struct histogram *histogram, uint8_t *row)
{
    return row + histogram->key_size;
}

static void read_task(const struct recorder *recorder, char *comm)
{
    const struct core *core = recorder->core;
    int32_t pid = 0;
    if (!recorder->reads_task || !core_read_task(core, recorder->pid, &pid, sizeof pid) ||
        !core_read_task(core, recorder->comm, comm, COMM))
        pid = 0;
    if (!pid)
        memcpy(comm, "<idle>", sizeof "<idle>"); /* save_comm() */
    end_name(comm, COMM);
}

/* Count values of a key. `comm` is for a new row; NULL: that of the task. */
static void add(struct histogram *histogram, const uint8_t *key, const uint64_t *values, const char *comm,
                const struct recorder *recorder)
{
    uint32_t *number = find(histogram, key);
    uint8_t *row, *sum;
    if (!*number) {
        if (histogram->used == histogram->capacity) {
            histogram->drops++;
            return;
        }
        row = histogram->rows + histogram->used * histogram->stride;
        *number = (uint32_t)++histogram->used;
        memcpy(row, key, histogram->key_size);
        memset(sums(histogram, row), 0, histogram->values * sizeof *values);
        if (comm)
            memcpy(row + histogram->stride - COMM, comm, COMM);
        else
            read_task(recorder, (char *)row + histogram->stride - COMM);
    }
    row = histogram->rows + (*number - 1) * histogram->stride;
    sum = sums(histogram, row);
    for (uint64_t i = 0; i < histogram->values; i++) {
        uint64_t value;
        memcpy(&value, sum + i * sizeof value, sizeof value);
        value += values[i];
        memcpy(sum + i * sizeof value, &value, sizeof value);
    }
    histogram->hits++;
}

/* The same for Python. */
ARMPROBE_EXPORT void armprobe_histogram_add(struct histogram *histogram, const uint8_t *key, const uint64_t *values,
                                            const char *comm)
{
    add(histogram, key, values, comm, NULL);
}

/* Make the index of the rows that are in use. It is empty. */
ARMPROBE_EXPORT void armprobe_histogram_index(struct histogram *histogram)
{
    for (uint64_t i = 0; i < histogram->used; i++)
        *find(histogram, histogram->rows + i * histogram->stride) = (uint32_t)i + 1;
}

static bool decide_stack(const struct recorder *recorder, const struct histogram_key *key, const struct stage *at,
                         const struct view *view, uint8_t *out)
{
    uint64_t addresses[STACK_DEPTH], caller = view->caller ? view->caller : view->x[30];
    uint64_t length = 0;
    if (caller == recorder->trampoline && !at->framed)
        return false; /* it is the trampoline of a call that is not followed here */
    if (at->event) {
        length = stack_of_event(recorder, at, view, addresses, STACK_DEPTH);
    } else {
        if (key->function)
            addresses[length++] = key->function;
        addresses[length++] = caller;
        length = stack_read(recorder, view->x[29], addresses, length, STACK_DEPTH);
    }
    length *= sizeof *addresses;
    memcpy(out, addresses, length < key->size ? length : key->size);
    return true;
}

static bool decide_key(const struct recorder *recorder, const struct histogram_key *key, const struct stage *at,
                       const struct view *view, uint8_t *out)
{
    const struct reader *reader = recorder->reader;
    uint8_t bytes[MOST_TEXT + 1], *nul;
    uint64_t value, size;
    memset(out, 0, key->size);
    if (key->stack)
        return decide_stack(recorder, key, at, view, out);
    if (key->number.operations) {
        if (program_value(reader, &key->number, view, &value) != OUTCOME_VALUE)
            return false;
        memcpy(out, &value, sizeof value);
        return true;
    }
    if (text_read(reader, &key->text, view, bytes, &size) != OUTCOME_VALUE)
        return false;
    nul = memchr(bytes, 0, size);
    size = nul ? (uint64_t)(nul - bytes) : size;
    memcpy(out, bytes, size < key->size ? size : key->size - 1);
    return true;
}

static bool decide(const struct recorder *recorder, struct histogram_trigger *trigger, const struct stage *at,
                   const struct view *view)
{
    const struct reader *reader = recorder->reader;
    uint8_t *key = trigger->hit_key;
    uint64_t passes = 1;
    if (trigger->filter && program_value(reader, trigger->filter, view, &passes) != OUTCOME_VALUE)
        return false;
    trigger->fires = passes;
    if (!passes)
        return true;
    for (uint64_t i = 0; i < trigger->key_count; key += trigger->keys[i++].size)
        if (!decide_key(recorder, &trigger->keys[i], at, view, key))
            return false;
    for (uint64_t i = 0; i < trigger->histogram->values; i++)
        if (program_value(reader, &trigger->values[i], view, &trigger->hit_values[i]) != OUTCOME_VALUE)
            return false;
    return true;
}

bool histograms_decide(const struct recorder *recorder, struct histogram_trigger *first, const struct stage *at,
                       const struct view *view)
{
    for (struct histogram_trigger *trigger = first; trigger; trigger = trigger->next) {
        trigger->fires = false;
        if (!trigger->paused && !decide(recorder, trigger, at, view))
            return false;
    }
    return true;
}

void histograms_hit(const struct recorder *recorder, struct histogram_trigger *first)
{
    for (struct histogram_trigger *trigger = first; trigger; trigger = trigger->next)
        if (trigger->fires)
            add(trigger->histogram, trigger->hit_key, trigger->hit_values, NULL, recorder);
}
