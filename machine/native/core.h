/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the C core know of a core: its registers and its count. */
#ifndef ARMPROBE_CORE_H
#define ARMPROBE_CORE_H

#include <string.h>

#include "native.h"

/* Unicorn's accesses to memory, and its hooks */
enum { UC_PROT_READ = 1, UC_PROT_WRITE = 2, UC_PROT_EXEC = 4 };
enum { UC_HOOK_INTR = 1, UC_HOOK_INSN = 2, UC_HOOK_CODE = 4, UC_HOOK_BLOCK = 8, UC_HOOK_EDGE_GENERATED = 1 << 15 };

/* Unicorn's controls, which set something */
#define UC_CTL_WRITE(type, arguments) ((type) | (arguments) << 26 | 1 << 30)
#define UC_CTL_REMOVE_CACHE UC_CTL_WRITE(9, 2)
#define UC_CTL_TLB_FLUSH UC_CTL_WRITE(11, 0)

struct block {
    uint64_t pc;
    uint16_t instructions;
    uint16_t size;
};

/* What ended a run of the engine. */
enum end { END_OTHER, END_LIMIT, END_EXIT, END_INTERRUPT, END_WAIT };

/* What follows an exception that Python has handled. AFTER_LOOK: the run ends if that was asked for. */
enum after { AFTER_LOOK, AFTER_END, AFTER_GO_ON };

/* What a word in the machine's own memory is: see `own_is_at`. */
enum role { ROLE_NONE, ROLE_STANDS, ROLE_EXTRA };

/* PSTATE, at its places in SPSR_EL1 (Arm ARM, SPSR_EL1), and SCTLR_EL1. */
enum {
    EL1H = 5,
    DAIF = 0x3C0,
    BTYPE = 3 << 10,
    PSTATE_F = 1 << 6,
    PSTATE_I = 1 << 7,
    PSTATE_SS = 1 << 21,
    PSTATE_PAN = 1 << 22,
    SCTLR_NTWI = 1 << 16,
    SCTLR_SPAN = 1 << 23,
};

/* Drop the code translated from `size` bytes. The engine translates the address, as the CPU would now. */
static inline void core_forget(const struct core *core, uint64_t address, uint64_t size)
{
    core->ctl(core->uc, UC_CTL_REMOVE_CACHE, address, address + size);
}

/* Before and after a hook uses registers: they are copied, if the CPU's own were not found. */
static inline void load(const struct core *core)
{
    if (core->copy)
        core->context_save(core->uc, core->copy);
}

static inline void store(const struct core *core)
{
    if (core->copy)
        core->context_restore(core->uc, core->copy);
}

static inline uint64_t *core_u64(const struct core *core, uint32_t offset)
{
    return (uint64_t *)(core->registers + offset);
}

static inline uint32_t *core_u32(const struct core *core, uint32_t offset)
{
    return (uint32_t *)(core->registers + offset);
}

/* The signed number in the lowest 1 to 64 `bits` */
static inline uint64_t sign_extended(uint64_t value, uint64_t bits)
{
    return (uint64_t)((int64_t)(value << (64 - bits)) >> (64 - bits));
}

/* The finalizer of MurmurHash3 by Austin Appleby, which is in the public domain. */
static inline uint64_t mix(uint64_t value)
{
    value = (value ^ value >> 33) * 0xff51afd7ed558ccd;
    value = (value ^ value >> 33) * 0xc4ceb9fe1a85ec53;
    return value ^ value >> 33;
}

/* The index of the first of `count` words in ascending order that is `least` or more; `count` if none is. */
static inline uint64_t first_from(const uint64_t *words, uint64_t count, uint64_t least)
{
    uint64_t first = 0, end = count;
    while (first < end) {
        uint64_t middle = (first + end) / 2;
        if (words[middle] < least)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

enum { GENERAL = 33 }; /* x0 to x30, sp and pc */

/* In pieces: gcc makes REP MOVS of the whole, which takes three times as long. */
static inline void copy_registers(uint64_t *to, const uint64_t *from)
{
#pragma GCC unroll 4
    for (size_t index = 0; index + 8 <= GENERAL; index += 8)
        memcpy(to + index, from + index, 8 * sizeof *to);
    to[GENERAL - 1] = from[GENERAL - 1];
}

static inline uint64_t *core_x(const struct core *core)
{
    return core_u64(core, core->layout.x);
}

/* PSTATE in the layout of SPSR_EL1 */
static inline uint32_t core_pstate(const struct core *core)
{
    const struct layout *at = &core->layout;
    return (*core_u32(core, at->pstate) & ~(0xF0000000u | DAIF | BTYPE)) | *core_u32(core, at->daif) |
           *core_u32(core, at->btype) << 10 | (*core_u32(core, at->nf) & 1u << 31) |
           (*core_u32(core, at->zf) ? 0 : 1u << 30) | *core_u32(core, at->cf) << 29 |
           (*core_u32(core, at->vf) >> 3 & 1u << 28);
}

/* PSTATE of a stage. It takes some 30 of the host's instructions, and not every hit is asked for it. */
static inline uint32_t stage_pstate(const struct core *core, const struct stage *at)
{
    return at->live ? core_pstate(core) : at->pstate;
}

/* Change PSTATE's flags, N, Z, C and V. */
static inline void core_set_flags(const struct core *core, uint32_t pstate)
{
    const struct layout *at = &core->layout;
    *core_u32(core, at->nf) = pstate & 1u << 31;
    *core_u32(core, at->zf) = !(pstate & 1u << 30);
    *core_u32(core, at->cf) = pstate >> 29 & 1;
    *core_u32(core, at->vf) = (pstate & 1u << 28) << 3;
}

/* Where the host has `size` bytes, in one page, of what EL1 can read, and EL0 only if `el0`. NULL: not known here. */
const char *core_page(const struct core *core, uint64_t address, uint64_t size, bool el0);

/* Where the host has that memory; NULL if it crosses a page or is not plainly the kernel's, and takes `core_read`. */
const char *core_in_kernel(const struct core *core, uint64_t address, uint64_t size);

/* Read virtual memory as the CPU itself would now. Returns whether it can be read. */
bool core_read(const struct core *core, uint64_t address, void *bytes, size_t size);

/* Pages of the kernel that have been read at one hit: while the guest does not run, each is looked for once. */
struct seen {
    unsigned count;
    struct {
        uint64_t page;
        const char *at;
    } pages[4];
};

/* The same, with those pages. */
bool core_read_again(const struct core *core, struct seen *seen, uint64_t address, void *bytes, size_t size);

/* The structure of the guest's task, whose address Linux has in SP_EL0 */
static inline uint64_t core_task(const struct core *core)
{
    return *core_u64(core, core->layout.sp_el0);
}

/* Read the bytes at an offset in it. Returns whether they can be read. */
static inline bool core_read_task(const struct core *core, uint64_t offset, void *bytes, size_t size)
{
    return core_read(core, core_task(core) + offset, bytes, size);
}

/* Make what is behind the first NUL of a task's name NULs too: it differs. */
static inline void end_name(char *name, size_t size)
{
    char *nul = memchr(name, 0, size);
    if (nul)
        memset(nul, 0, (size_t)(name + size - nul));
}

/* The generic timer's count after `executed` instructions */
static inline uint64_t core_ticks(const struct core *core, uint64_t executed)
{
    return executed + *core->idle;
}

/* Whether code that is executed beside the guest has got to one of its stops: interpret.c. */
static inline bool interpreter_stops(const struct interpreter *in)
{
    for (uint64_t i = 0; i < in->stop_count; i++)
        if (in->stops[i] == in->x[32])
            return true;
    return false;
}

/* Have the instruction of a slot executed next: slots.c. */
void slot_begin(struct core *core, const struct slot *slot);

/* At a BRK at `pc`. Returns whether that was behind the instruction: the CPU goes on at its pc. */
bool slot_end(struct core *core, uint64_t pc, uint32_t syndrome);

/* Something else comes before the end of an instruction in a slot, if there is one. Python sees to that now. */
void slot_leave(struct core *core);

/* In a hook: the guest's instructions, the one at `pc`, which is in the block under way, included */
static inline uint64_t core_executed(const struct core *core, uint64_t pc)
{
    uint64_t done = (pc - core->block) / 4 + 1;
    return core->base + (done < core->count ? done : core->count);
}

/* The newest record in the ring */
static inline struct record *record_last(const struct recorder *recorder)
{
    uint64_t at = recorder->at ? recorder->at : recorder->capacity;
    return (struct record *)(recorder->ring + (at - 1) * recorder->stride);
}

/* Whether the key or the value of a hit take anything but its time. */
static inline bool aggregate_asks(const struct aggregate *aggregate)
{
    return aggregate && (aggregate->by_task || aggregate->by_caller || aggregate->by_stack || aggregate->text ||
                         aggregate->key || aggregate->value);
}

/* Whether the programs that an action has for this stage have values, and the hit is not left to Python. The values are
 * kept with the action. */
static inline bool record_decide(const struct recorder *recorder, struct action *action, const struct stage *at)
{
    bool asks = action->condition && action->decides_second == at->stage;
    bool counts = action->follows == at->stage && (action->histograms || aggregate_asks(action->aggregate));
    if (asks || counts || action->note || action->memory)
        return record_decide_by_programs(recorder, action, at);
    action->selected |= !action->condition;
    return true;
}

enum { FUNCTIONS_AT_ONCE = 57 };

/* The bits of a set's map for up to that many words, from the word `index` on */
static inline uint64_t functions_bits(const struct functions *functions, uint64_t index)
{
    uint64_t bits;
    memcpy(&bits, functions->map + index / 8, sizeof bits);
    return bits >> index % 8;
}

/* Whether nothing that is watched happens in the block of `count` instructions at `pc`. This is asked of each block, so
 * only the simple cases are answered: there is one set, and no call of its graph is under way. */
static inline bool functions_are_quiet(const struct core *core, uint64_t pc, uint64_t count)
{
    const struct functions *functions = core->functions;
    uint64_t offset = pc - functions->start;
    if (functions->next)
        return false;
    if (functions->graph)
        return !functions->graph->active && pc != functions->graph->root;
    return offset >= functions->size || (count <= FUNCTIONS_AT_ONCE &&
                                         !(functions_bits(functions, offset / 4) & ((UINT64_C(1) << count) - 1)));
}

#endif
