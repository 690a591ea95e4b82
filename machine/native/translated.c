/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which pages have code that may have been translated. Linux patches its text in thousands of places, mostly before it is
 * executed: what is not translated need not be dropped. */
#include "run.h"

static uint8_t *mark_of(const struct core *core, uint64_t address)
{
    const char *found = core_page(core, address, 1, true);
    return found ? &core->translated[(found - core->ram) / 4096] : NULL;
}

static void mark(struct core *core, uint64_t address)
{
    uint8_t *translated = mark_of(core, address);
    if (translated)
        *translated = true;
    else
        core->translated_elsewhere = true;
}

void translated_mark(struct core *core, uint64_t pc, uint64_t size)
{
    if (pc - core->own < core->own_size) /* the machine's own code, which the guest does not change */
        return;
    mark(core, pc);
    if (pc / 4096 != (pc + size - 1) / 4096)
        mark(core, pc + size - 1);
}

bool translated_take(struct core *core, uint64_t address)
{
    uint8_t *translated = mark_of(core, address);
    if (!translated || core->translated_elsewhere)
        return true;
    bool was = *translated;
    *translated = false;
    return was;
}
