# SPDX-License-Identifier: GPL-2.0-or-later
"""The pending timers of a Linux guest's CPU that count jiffies, in its timer wheels (kernel/time/timer.c).

A wheel is a struct timer_base: an array of lists of timers, by when they expire, and a bitmap of those with entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from armprobe.machine.errors import MachineError

from .code_references import formed_by
from .structs import Structs, explained

if TYPE_CHECKING:
    from armprobe.machine import Machine

_USER: Final = "run_timer_softirq"  # begins with this_cpu_ptr(&timer_bases[BASE_STD])
OLD_WHEELS: Final = 2
"""Wheels of a CPU before 6.9: NR_BASES, with CONFIG_NO_HZ_COMMON."""


class WheelTimer(NamedTuple):
    """A pending timer, which expires at `expires`, in jiffies.

    `wheel` is the number of its wheel, and `clock` the jiffies up to which that wheel was looked through. `function` is
    the address of the function that is called. `flags` are those of its struct timer_list, which is at `address`.
    """

    wheel: int
    clock: int
    function: int
    flags: int
    expires: int
    address: int


def wheel_timers(
    machine: Machine, structs: Structs, wheels: int | None, count: int, cpu_offset: int
) -> list[WheelTimer]:
    """The timers by wheel and time. `wheels` is the CPU's variable timer_bases, None if it is to be found by code.

    `count` is the number of wheels. Raises MachineError, saying why.
    """
    with explained("the guest's timers"):
        if wheels is None:
            formed = formed_by(machine, _USER)
            if not formed:
                raise MachineError(f"the wheels of them are not found by the code of {_USER}()")
            wheels = formed[0] + cpu_offset & (1 << 64) - 1
        size = structs.size("timer_base")
        found = (_of_wheel(structs, wheels + each * size, each) for each in range(count))
        return [timer for wheel in found for timer in sorted(wheel, key=lambda timer: timer.expires)]


def _of_wheel(structs: Structs, wheel: int, number: int) -> Iterator[WheelTimer]:
    """The timers in its lists, those that its bitmap says have entries."""
    clock = structs.number(wheel, "timer_base", "clk")
    lists = wheel + structs.offset("timer_base", "vectors")
    pending = wheel + structs.offset("timer_base", "pending_map")
    link, seen = structs.offset("timer_list", "entry"), set[int]()
    for word in range(0, lists - pending, 8):
        bits = structs.u64(pending + word)
        for bit in (bit for bit in range(64) if bits >> bit & 1):
            entry = structs.u64(lists + 8 * (8 * word + bit))
            while entry:
                if entry in seen:
                    raise MachineError(f"a list of them leads in a circle at {entry:#x}")
                seen.add(entry)
                timer = entry - link
                function, flags, expires = (
                    structs.number(timer, "timer_list", name) for name in ("function", "flags", "expires")
                )
                yield WheelTimer(number, clock, function, flags, expires, timer)
                entry = structs.u64(entry)
