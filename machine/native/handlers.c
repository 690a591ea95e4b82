/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Handlers in Python. Most of them only look at the registers: then nothing else of a hit is Python's.
 *
 * Python is told when a handler has ended in which more happened: it has raised, has a result, has changed registers
 * (which is told apart only for a history), or something in it has asked about the hit (`core->handler` is NULL then, see
 * Dispatcher.leave_handler).
 */
#include <string.h>

#include "core.h"

enum { MOST = 1024 }; /* bytes of registers; Unicorn's have some 500 from x0 to PSTATE's parts */

enum handled handler_call(struct recorder *recorder, const struct action *action, const void *regs, size_t size)
{
    struct core *core = recorder->core;
    const struct action *outer = core->handler;
    bool compares = recorder->compares && size <= MOST;
    enum handled handled = HANDLED_ON;
    handler_ended_t *ended = action->handler_ended; /* the handler may have the action get another */
    uint8_t before[MOST];

    if (compares)
        memcpy(before, regs, size);
    core->handler = action;
    core->handler_idle = *core->idle;
    core->handling = core->called = true;
    if (action->handler() || core->handler != action || (compares && memcmp(before, regs, size)))
        handled = ended(compares ? before : NULL);
    core->handling = false;
    core->handler = outer;
    return handled;
}
