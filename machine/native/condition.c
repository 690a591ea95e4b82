/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Breakpoints with conditions, and the search for where a condition was true last: Python is asked only where the C core
 * does not know. */
#include "run.h"

static bool may_be_true(const struct condition *condition)
{
    struct core *core = condition->core;
    struct changes changes;
    struct view view = {.x = core_x(core), .live = true, .changes = &changes};

    changes.count = 0;
    load(core);
    for (uint64_t i = 0; i < condition->count; i++) {
        uint64_t value;

        if (program_value(condition->reader, &condition->programs[i], &view, &value) || value) {
            changes_undo(&changes); /* Python evaluates all of them again */
            return true;
        }
    }
    return false;
}

/* UC_HOOK_CODE at one address, with a condition as user data */
ARMPROBE_EXPORT void armprobe_on_condition(void *uc, uint64_t address, uint32_t size, void *user)
{
    const struct condition *condition = user;

    if (condition->core->exact) /* it was looked at before the instruction was executed the first time */
        return;
    if (condition->always || may_be_true(condition)) {
        condition->core->called = true;
        condition->ask(uc, address, size, user);
    }
}

/* UC_HOOK_CODE at all addresses, with a search as user data */
ARMPROBE_EXPORT void armprobe_on_search(void *uc, uint64_t address, uint32_t size, void *user)
{
    struct search *search = user;
    struct core *core = search->core;
    struct changes changes;
    struct view view = {.x = core_x(core), .live = true, .changes = &changes};
    uint64_t value;

    if (core->exact || own_is_at(core, address)) /* it was looked at before, or at the instruction that it stands for */
        return;
    changes.count = 0;
    load(core);
    if (core_executed(core, address) <= search->first)
        return;
    if (!search->program || program_value(search->reader, search->program, &view, &value)) {
        changes_undo(&changes);
        core->called = true;
        search->ask(uc, address, size, user);
    } else if (value) {
        search->found = true;
        search->position = core_executed(core, address) - 1;
    }
}
