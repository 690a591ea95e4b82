# SPDX-License-Identifier: GPL-2.0-or-later
"""The high-resolution timers of a Linux guest's CPU that are pending, as /proc/timer_list has them.

Each CPU has a base for each clock, and each of these a tree of timers by the time at which they expire
(include/linux/hrtimer_defs.h, kernel/time/timer_list.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine.errors import MachineError

from .code_references import formed_by
from .structs import Structs, explained
from .trees import rb_tree

if TYPE_CHECKING:
    from armprobe.machine import Machine

_USER: Final = "hrtimer_interrupt"  # begins with this_cpu_ptr(&hrtimer_bases)
_BASES: Final = 8  # HRTIMER_MAX_CLOCK_BASES


class Timer(NamedTuple):
    """A pending timer. It expires between `soft_expires` and `expires`, in ns of its clock.

    `clock` is the number of the clock base, `clock_name` the function that reads its clock, and `offset` what is added
    to the monotonic time there. `function` is the address of the function that is called. `state` is 1 for a timer that
    waits. `address` is that of its struct hrtimer.
    """

    clock: int
    clock_name: str
    offset: int
    function: int
    state: int
    soft_expires: int
    expires: int
    address: int


def timers(machine: Machine, structs: Structs, bases: int | None, cpu_offset: int) -> list[Timer]:
    """The timers by clock and time. `bases` is the CPU's variable hrtimer_bases, None if it is to be found by code.

    Raises MachineError, saying why.
    """
    with explained("the guest's timers"):
        if bases is None:
            formed = formed_by(machine, _USER)
            if not formed:
                raise MachineError(f"they are not found by the code of {_USER}()")
            bases = formed[0] + cpu_offset & (1 << 64) - 1
        first, each = bases + structs.offset("hrtimer_cpu_base", "clock_base"), structs.size("hrtimer_clock_base")
        if not 0 < each <= 4096:
            raise MachineError(
                "this kernel's type information describes a struct hrtimer_clock_base that cannot be right"
            )
        found: list[Timer] = []
        for clock in range(_BASES):
            base = first + clock * each
            if structs.number(base, "hrtimer_clock_base", "cpu_base") != bases:
                raise MachineError(f"there is no clock base at {base:#x}")
            found += _of_base(machine, structs, base, clock)
        return found


def _of_base(machine: Machine, structs: Structs, base: int, clock: int) -> list[Timer]:
    reading = (
        structs.number(base, "hrtimer_clock_base", "get_time") if structs.has("hrtimer_clock_base", "get_time") else 0
    )
    named = machine.symbols.at(reading) if reading else None
    offset = structs.number(base, "hrtimer_clock_base", "offset")
    state = "state" if structs.has("hrtimer", "state") else "is_queued"  # since 7.1
    root = structs.number(base, "hrtimer_clock_base", "active.rb_root.rb_root.rb_node")
    return [
        Timer(
            clock,
            named[0].name if named is not None else "",
            offset,
            structs.number(timer, "hrtimer", "function"),
            structs.number(timer, "hrtimer", state),
            structs.number(timer, "hrtimer", "_softexpires"),
            structs.number(timer, "hrtimer", "node.expires"),
            timer,
        )
        for timer in rb_tree(structs, root)
    ]
