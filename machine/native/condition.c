/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Breakpoints with conditions: Python is asked only where one of the conditions is true or has no value here. */
#include "core.h"

static bool may_be_true(const struct condition *condition)
{
    struct core *core = condition->core;
    struct changes changes;
    struct view view = {.x = core_x(core), .live = true, .changes = &changes};

    changes.count = 0;
    load(core);
    view.pstate = core_pstate(core);
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
