/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Code of the machine's own, which the guest executes beside its own code: slots, trampolines.
 *
 * It does not count, except for an instruction that stands for one of the guest's, and no run ends for its limit or an
 * interrupt there: see `own_is_at`. The guest finds neither the entry that maps it nor what it leaves on the stack.
 */
#include "run.h"

#define TABLE 0xFFFFFFFFF000u /* TTBR1_EL1.BADDR */
/* Steps aside in a row, at one count. More of them count, so that every run ends; a trampoline takes some 100. */
enum { MOST_ASIDE = 1000 };

static const uint64_t *borrowed(const struct core *core, uint64_t pc)
{
    uint64_t first = first_from(core->borrowed, core->borrowed_count, pc);
    return first < core->borrowed_count && core->borrowed[first] == pc ? &core->borrowed[first] : NULL;
}

bool own_is_at(const struct core *core, uint64_t pc)
{
    if (pc - core->own < core->own_size)
        return core->roles[(pc - core->own) / 4] != ROLE_NONE;
    return borrowed(core, pc) != NULL;
}

bool own_free_step(struct core *core)
{
    if (core->base != core->aside_base) {
        core->aside_base = core->base;
        core->aside = 0;
    }
    return ++core->aside <= MOST_ASIDE;
}

/* Whether a run does not end at `pc`, after `now` instructions, because it is in the midst of the machine's own
 * code. */
ARMPROBE_EXPORT bool armprobe_is_aside(const struct core *core, uint64_t now, uint64_t pc)
{
    return own_is_at(core, pc) && (now != core->aside_base || core->aside <= MOST_ASIDE);
}

bool own_is_aside(const struct core *core, uint64_t pc)
{
    return armprobe_is_aside(core, core->base, pc);
}

uint64_t own_stands_for(const struct core *core, uint64_t pc)
{
    if (pc - core->own < core->own_size)
        return core->roles[(pc - core->own) / 4] == ROLE_STANDS;
    /* a copied instruction and the branch behind it */
    return !((borrowed(core, pc) - core->borrowed) & 1);
}

/* The machine's own memory is mapped by an entry of the guest's table that is there only while the engine walks the
 * tables: the guest, which may read them, never finds it. The engine keeps the translation in its TLB. Where it has
 * been dropped from there, an access faults, is made again with the entry in place, and the entry is taken away at the
 * start of a block. Returns whether the fault at `address` is such a one. `during` is the blocks begun meanwhile. */
bool own_show(struct core *core, uint64_t address, uint32_t during)
{
    uint64_t at = (*core_u64(core, core->layout.ttbr1_el1) & TABLE) + core->own_offset, there;

    if (!core->own_descriptor || core->shown || address - core->own >= core->own_size)
        return false;
    if (core->mem_read(core->uc, at, &there, sizeof there) || there)
        return false;
    core->mem_write(core->uc, at, &core->own_descriptor, sizeof there);
    core->shown = at;
    core->shows = during + 1;
    core_set_limit(core);
    return true;
}

void own_hide(struct core *core)
{
    const uint64_t none = 0;
    if (core->shown)
        core->mem_write(core->uc, core->shown, &none, sizeof none);
    core->shown = core->shows = 0;
    core_set_limit(core);
}

void own_forget(struct core *core, uint64_t first, uint64_t end)
{
    bool shown = own_show(core, first, 0);
    core_forget(core, first, end - first);
    if (shown)
        own_hide(core);
}

void own_keep_frame(struct core *core)
{
    load(core);
    core->frame_sp = core_x(core)[31] + core->frame_lowered;
    core->frame_base = core->base;
    uint64_t frame = core->frame_sp - core->frame_size;
    core->framed = !core->vmem_read(core->uc, frame, UC_PROT_READ, core->frame, core->frame_size);
    core_set_limit(core);
}

void own_put_back_frame(struct core *core)
{
    load(core);
    if (core->base == core->frame_base && core_x(core)[31] == core->frame_sp)
        core->vmem_write(core->uc, core->frame_sp - core->frame_size, UC_PROT_WRITE, core->frame, core->frame_size);
    core->framed = false;
    core_set_limit(core);
}
