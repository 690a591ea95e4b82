/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads virtual memory as the CPU itself would now. The kernel's own is found by a walk of its tables in RAM: Unicorn's
 * functions take ten times as long. All that is not as plain as that is left to them.
 */
#include <string.h>

#include "core.h"

/* Arm ARM, D8.3, "Translation table descriptor formats" */
enum { VALID = 1, TABLE = 2, AP_EL0 = 1 << 6, ACCESSED = 1 << 10 };
#define OUTPUT UINT64_C(0x0000FFFFFFFFF000)

enum { PAGE = 4096, LEVELS = sizeof(((struct walk *)0)->at) / sizeof(uint64_t) };

enum { SCTLR_M = 1 << 0, SCTLR_EE = 1 << 25 };

/* What TCR_EL1 says of each half of the address space: its size, its granule, and whether it has no tables. */
static const struct half {
    unsigned size, granule, four_kib, disabled; /* `four_kib` is a value, the others are bits */
} halves[] = {{0, 14, 0, 7}, {16, 30, 2, 23}};

static const char *ram_at(const struct core *core, uint64_t physical, uint64_t size)
{
    uint64_t at = physical - core->ram_base;
    return at < core->ram_size && core->ram_size - at >= size ? core->ram + at : NULL;
}

/* Walks the tables for `core_page`, and notes the descriptors in `walk`, if that is not NULL. */
static const char *find(const struct core *core, uint64_t address, uint64_t size, bool el0, struct walk *walk)
{
    const struct layout *at = &core->layout;
    bool upper = address >> 63;
    const struct half *half = &halves[upper];
    uint64_t tcr, sctlr, table, bits, within, entry;
    unsigned shift, level = 0;
    if (!core->ram_size || core->copy)
        return NULL;
    tcr = *core_u64(core, at->tcr_el1), sctlr = *core_u64(core, at->sctlr_el1);
    if (!(sctlr & SCTLR_M))
        return ram_at(core, address, size);
    table = *core_u64(core, upper ? at->ttbr1_el1 : at->ttbr0_el1) & OUTPUT, bits = 64 - (tcr >> half->size & 63);
    shift = bits > 39 ? 39 : 30;
    if (sctlr & SCTLR_EE || tcr >> half->disabled & 1 || (tcr >> half->granule & 3) != half->four_kib || bits <= 30 ||
        bits > 48 || (upper ? ~address : address) >> bits)
        return NULL;
    address &= (UINT64_C(1) << bits) - 1;
    for (;; shift -= 9) {
        const char *found = ram_at(core, table + (address >> shift & 511) * sizeof entry, sizeof entry);
        if (!found)
            return NULL;
        memcpy(&entry, found, sizeof entry);
        if (walk) /* if it is the last, it is that of all further levels */
            for (unsigned rest = level++; rest < LEVELS; rest++)
                walk->at[rest] = (uint64_t)(found - core->ram), walk->entries[rest] = entry;
        if (!(entry & VALID))
            return NULL;
        if (shift == 12 || !(entry & TABLE))
            break;
        table = entry & OUTPUT;
    }
    if (!(entry & ACCESSED) || (entry & AP_EL0 && !el0) || (shift == 12) != !!(entry & TABLE) || shift > 30)
        return NULL;
    within = (UINT64_C(1) << shift) - 1;
    return ram_at(core, (entry & OUTPUT & ~within) | (address & within), size);
}

const char *core_page(const struct core *core, uint64_t address, uint64_t size, bool el0)
{
    return find(core, address, size, el0, NULL);
}

/* Whether a walk of the tables finds the same descriptors again. */
static inline bool is_as_before(const struct core *core, const struct walk *walk)
{
    uint64_t entry, different = 0;
    for (unsigned level = 0; level < LEVELS; level++) {
        memcpy(&entry, core->ram + walk->at[level], sizeof entry);
        different |= entry ^ walk->entries[level];
    }
    return !different;
}

/* Where the host has a page of the kernel's: as the last walk for it has found, if nothing has changed. */
static const char *page_of(const struct core *core, uint64_t page)
{
    uint64_t table = *core_u64(core, core->layout.ttbr1_el1) & OUTPUT, tcr = *core_u64(core, core->layout.tcr_el1);
    struct walk *walk = &core->walks[page / PAGE % WALKS];
    const char *found;
    if (walk->page == page && walk->table == table && walk->tcr == tcr && is_as_before(core, walk))
        return core->ram + walk->found;
    walk->page = 0;
    found = find(core, page, PAGE, false, walk);
    if (found) {
        walk->page = page;
        walk->table = table;
        walk->tcr = tcr;
        walk->found = (uint64_t)(found - core->ram);
    }
    return found;
}

static inline const char *kernel_page(const struct core *core, uint64_t address, uint64_t size)
{
    uint64_t sctlr, within = address % PAGE;
    const char *found;
    if (!(address >> 63 && *core_u32(core, core->layout.pstate) & 0xC))
        return NULL;
    sctlr = *core_u64(core, core->layout.sctlr_el1);
    if (!(sctlr & SCTLR_M))
        return NULL;
    if (!core->walks || sctlr & SCTLR_EE || size > PAGE - within)
        return core_page(core, address, size, false);
    found = page_of(core, address - within);
    return found ? found + within : NULL;
}

/* Where the host has `size` bytes, in one page, of what EL1 can read and EL0 cannot. NULL: that takes the engine. */
ARMPROBE_EXPORT const char *armprobe_kernel_page(const struct core *core, uint64_t address, uint64_t size)
{
    return kernel_page(core, address, size);
}

const char *core_in_kernel(const struct core *core, uint64_t address, uint64_t size)
{
    return size <= PAGE - address % PAGE ? kernel_page(core, address, size) : NULL;
}

bool core_read(const struct core *core, uint64_t address, void *bytes, size_t size)
{
    const char *found = core_in_kernel(core, address, size);
    if (found) {
        if (size == sizeof(uint64_t)) /* most often: no call then */
            memcpy(bytes, found, sizeof(uint64_t));
        else
            memcpy(bytes, found, size);
        return true;
    }
    return !core->vmem_read(core->uc, address, UC_PROT_READ, bytes, size);
}

bool core_read_again(const struct core *core, struct seen *seen, uint64_t address, void *bytes, size_t size)
{
    uint64_t within = address % PAGE, page = address - within;
    const char *found;
    unsigned i = 0;
    if (size > PAGE - within)
        return core_read(core, address, bytes, size);
    while (i < seen->count && seen->pages[i].page != page)
        i++;
    found = i < seen->count ? seen->pages[i].at : core_in_kernel(core, page, PAGE);
    if (!found)
        return core_read(core, address, bytes, size);
    if (i == seen->count && i < sizeof seen->pages / sizeof seen->pages[0]) {
        seen->pages[i].page = page;
        seen->pages[i].at = found;
        seen->count++;
    }
    memcpy(bytes, found + within, size);
    return true;
}
