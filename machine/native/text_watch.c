/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Functions of the guest that read or patch its text: Python is asked only about places where there is a probe. */
#include "core.h"

/* Whether one of the addresses is in [first, last]. */
static bool has_any(const struct text_watch *watch, uint64_t first, uint64_t last)
{
    uint64_t at = first_from(watch->addresses, watch->count, first);
    return at < watch->count && watch->addresses[at] <= last;
}

/* UC_HOOK_CODE at the function's entry */
ARMPROBE_EXPORT void armprobe_on_text(void *uc, uint64_t address, uint32_t size, void *user)
{
    const struct text_watch *watch = user;
    struct core *core = watch->core;

    if (core->exact) /* it was looked at before the instruction was executed the first time */
        return;
    load(core);
    uint64_t last = core_x(core)[0];
    if (watch->indirect && !core_read(core, last + watch->member, &last, sizeof last))
        return; /* the guest is about to fault itself */
    if (has_any(watch, last < watch->before ? 0 : last - watch->before, last)) {
        core->called = true;
        watch->ask(uc, address, size, user);
    }
}
