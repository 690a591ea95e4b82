/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which pages of a memory have changed, and what is done with each of them: see machine/memory/dirty_pages.py.
 *
 * Pages are given by their numbers in the memory, in ascending order. */
#define _DEFAULT_SOURCE /* madvise, pread, pwrite, MAP_ANONYMOUS */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core.h"

enum { PAGE = 4096, ENTRIES = 4096 };

/* Linux, Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_FILE (1ull << 61) /* a page of a file, or of shared memory */
#define PAGEMAP_THERE (3ull << 62) /* in memory or swapped out */

/* The pages of a private mapping that differ from the file's, as written to: in memory, but not the file's. The host's
 * pages have the size PAGE. Returns their number, or -1 if `pagemap` (the file of that name) cannot be read. */
ARMPROBE_EXPORT int64_t armprobe_pages_written(int pagemap, const uint8_t *memory, uint32_t count, uint32_t *pages)
{
    uint64_t entries[ENTRIES], place = (uintptr_t)memory / PAGE;
    int64_t found = 0;

    for (uint32_t first = 0; first < count; first += ENTRIES) {
        uint32_t some = count - first < ENTRIES ? count - first : ENTRIES;
        size_t size = some * sizeof *entries;
        if (pread(pagemap, entries, size, (off_t)((place + first) * sizeof *entries)) != (ssize_t)size)
            return -1;
        for (uint32_t index = 0; index < some; index++)
            if (entries[index] & PAGEMAP_THERE && !(entries[index] & PAGEMAP_FILE))
                pages[found++] = first + index;
    }
    return found;
}

/* Those of the pages in which two memories differ, and the others. Returns the number of the first. */
ARMPROBE_EXPORT uint32_t armprobe_pages_differing(const uint8_t *memory, const uint8_t *base, const uint32_t *pages,
                                                  uint32_t count, uint32_t *differing, uint32_t *others)
{
    uint32_t found = 0;

    for (uint32_t index = 0; index < count; index++) {
        size_t at = (size_t)pages[index] * PAGE;
        if (memcmp(memory + at, base + at, PAGE))
            differing[found++] = pages[index];
        else
            others[index - found] = pages[index];
    }
    return found;
}

/* Write pages of the memory to a file, each at the next of the free `places` there, which are counted in pages. One
 * that is full of zeros takes none. Sets where each is, -1 for such a one. Returns the number of places taken, or -1 if
 * the file cannot be written. */
ARMPROBE_EXPORT int64_t armprobe_pages_store(int file, const uint8_t *memory, const uint32_t *pages, uint32_t count,
                                             const int32_t *places, int32_t *at)
{
    int64_t taken = 0;

    for (uint32_t index = 0; index < count; index++) {
        const uint8_t *page = memory + (size_t)pages[index] * PAGE;
        at[index] = -1;
        if (!page[0] && !memcmp(page, page + 1, PAGE - 1))
            continue;
        at[index] = places[taken++];
        if (pwrite(file, page, PAGE, (off_t)at[index] * PAGE) != PAGE)
            return -1;
    }
    return taken;
}

ARMPROBE_EXPORT void armprobe_pages_copy(uint8_t *to, const uint8_t *from, const uint32_t *pages, uint32_t count)
{
    for (uint32_t index = 0; index < count; index++) {
        size_t at = (size_t)pages[index] * PAGE;
        memcpy(to + at, from + at, PAGE);
    }
}

/* Make pages of a private mapping those of its file again. Returns whether that succeeded. */
ARMPROBE_EXPORT bool armprobe_pages_discard(uint8_t *memory, const uint32_t *pages, uint32_t count)
{
    for (uint32_t index = 0, end; index < count; index = end) {
        for (end = index + 1; end < count && pages[end] == pages[index] + (end - index);)
            end++;
        if (madvise(memory + (size_t)pages[index] * PAGE, (size_t)(end - index) * PAGE, MADV_DONTNEED))
            return false;
    }
    return true;
}

/* Put a private mapping of `file` in the place of the memory. Returns whether that succeeded. */
ARMPROBE_EXPORT bool armprobe_pages_map(uint8_t *memory, uint64_t size, int file)
{
    return mmap(memory, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file, 0) == memory;
}

/* Drop the code translated from pages of the memory at physical address `base`, while the guest's MMU is off. */
ARMPROBE_EXPORT void armprobe_pages_forget(struct core *core, uint64_t base, const uint32_t *pages, uint32_t count)
{
    for (uint32_t index = 0; index < count; index++)
        core_forget(core, base + (uint64_t)pages[index] * PAGE, PAGE);
}
