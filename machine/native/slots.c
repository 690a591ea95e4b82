/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Slots: an instruction is executed out of line, with a BRK behind it, on behalf of Python or of a place. */
#include "run.h"

void slot_begin(struct core *core, const struct slot *slot)
{
    uint32_t *daif = core_u32(core, core->layout.daif);
    core->slot_running = slot;
    core->slot_daif = *daif;
    *daif = (*daif | slot->sets) & ~slot->clears;
    core_x(core)[32] = slot->start;
}

bool slot_end(struct core *core, uint64_t pc, uint32_t syndrome)
{
    const struct slot *slot = core->slot_running;
    if (!slot || pc != slot->start + 4 || syndrome != slot->brk)
        return false;
    uint32_t *daif = core_u32(core, core->layout.daif);
    core->slot_running = NULL;
    *daif = (*daif & ~slot->restores) | (core->slot_daif & slot->restores);
    core_x(core)[32] = slot->next;
    if (slot->place)
        place_executed(slot->place);
    return true;
}

void slot_leave(struct core *core)
{
    if (core->slot_running) {
        core->slot_left = core->slot_running;
        core->slot_running = NULL;
    }
}
