/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Texts in the guest's memory, and what filters of events compare them with (kernel/trace/trace_events_filter.c). */
#include <string.h>

#include "core.h"

enum match { MATCH_FULL, MATCH_FRONT, MATCH_MIDDLE, MATCH_END, MATCH_GLOB };

enum outcome text_read(const struct reader *reader, const struct text *text, const struct view *view, uint8_t *bytes,
                       uint64_t *size)
{
    uint64_t address, length;
    enum outcome outcome = program_value(reader, &text->address, view, &address);

    *size = 0;
    if (outcome || !address)
        return outcome;
    if (text->most > MOST_TEXT || text->array > MOST_TEXT)
        return OUTCOME_NO_ROOM;
    if ((outcome = program_string(reader, address, text->most, bytes, text->most, &length)))
        return outcome;
    *size = length + 1 > text->array ? length + 1 : text->array;
    memset(bytes + length, 0, *size - length);
    return OUTCOME_VALUE;
}

/* What a character class makes of a character: it has no end, or whether the character is in it, and its end. */
struct class {
    bool ends;
    bool has;
    uint64_t end;
};

static struct class in_class(const uint8_t *pattern, uint64_t at, uint8_t byte)
{
    struct class class = {false, false, 0};
    bool inverted = pattern[at] == '!', match = false;
    uint8_t first;

    at += inverted;
    first = pattern[at++];
    do {
        uint8_t last = first;

        if (!first)
            return class;
        if (pattern[at] == '-' && pattern[at + 1] != ']') {
            last = pattern[at + 1];
            if (!last)
                return class;
            at += 2;
        }
        match |= first <= byte && byte <= last;
        first = pattern[at++];
    } while (first != ']');
    return (struct class){true, match != inverted, at};
}

/* glob_match() of lib/glob.c, which gives up at a character that is none of the string's. */
static bool glob(const uint8_t *pattern, const uint8_t *string, uint64_t length)
{
    uint64_t at = 0, position = 0, back_at = 0, back_position = 0;
    bool goes_back = false;

    for (;;) {
        uint8_t byte = position <= length ? string[position] : 0; /* [!a] takes the NUL too */
        uint8_t token = pattern[at++];
        struct class class = {false, false, 0};

        position++;
        if (token == '?') {
            if (!byte)
                return false;
            continue;
        }
        if (token == '*') {
            if (!pattern[at])
                return true;
            position--;
            back_at = at;
            back_position = position;
            goes_back = true;
            continue;
        }
        if (token == '[')
            class = in_class(pattern, at, byte);
        else if (token == '\\')
            token = pattern[at++];
        if (class.ends && class.has) {
            at = class.end;
            continue;
        }
        if (!class.ends && byte == token) {
            if (!token)
                return true;
            continue;
        }
        if (!byte || !goes_back)
            return false;
        at = back_at;
        position = ++back_position;
    }
}

static bool contains(const uint8_t *bytes, uint64_t size, const uint8_t *part, uint64_t length)
{
    for (uint64_t at = 0; at + length <= size; at++)
        if (!memcmp(bytes + at, part, length))
            return true;
    return false;
}

static bool is_like(const struct pattern *pattern, const uint8_t *bytes, uint64_t size)
{
    const uint8_t *nul = memchr(bytes, 0, size);
    uint64_t length = nul ? (uint64_t)(nul - bytes) : size;

    switch (pattern->match) {
    case MATCH_FULL: return length == pattern->length && !memcmp(bytes, pattern->bytes, length);
    case MATCH_FRONT: return length >= pattern->length && !memcmp(bytes, pattern->bytes, pattern->length);
    case MATCH_MIDDLE: return contains(bytes, size, pattern->bytes, pattern->length); /* strnstr() reads over NULs */
    case MATCH_END: /* of the array, not of the text in it */
        return size > pattern->length && !memcmp(bytes + size - 1 - pattern->length, pattern->bytes, pattern->length);
    default: return glob(pattern->bytes, bytes, length);
    }
}

enum outcome pattern_matches(const struct reader *reader, const struct pattern *pattern, const struct view *view,
                             uint64_t *value)
{
    uint8_t bytes[MOST_TEXT + 1];
    uint64_t size;
    enum outcome outcome;

    bytes[0] = 0;
    if ((outcome = text_read(reader, &pattern->text, view, bytes, &size)))
        return outcome;
    *value = is_like(pattern, bytes, size) != pattern->inverted;
    return OUTCOME_VALUE;
}
