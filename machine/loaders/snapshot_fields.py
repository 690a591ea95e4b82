# SPDX-License-Identifier: GPL-2.0-or-later
"""What the fields of a snapshot file can be. The file is not trusted: what is not said here is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from armprobe.machine.board import SCRATCH_SIZE
from armprobe.machine.core.register_access import Access
from armprobe.machine.devices.devices import MOST, MOST_STATE
from armprobe.machine.devices.gic import LINES
from armprobe.machine.devices.pmu import COUNTERS

Check = Callable[[Any], bool]
U8, U32, U63, U64 = 1 << 8, 1 << 32, 1 << 63, 1 << 64
_MOST_SITES: Final = 20_000  # accesses to registers in a guest's code; Debian's kernels have some 200
_MOST_TYPED: Final = 1 << 20  # bytes that the guest has not read yet
_MOST_PIECES: Final = SCRATCH_SIZE // 4  # of the machine's own memory


def integer(limit: int) -> Check:
    """A whole number from 0 up to, not including, `limit`."""
    return lambda value: type(value) is int and 0 <= value < limit


def boolean(value: Any) -> bool:
    """True or false."""
    return value is True or value is False


def optional(check: Check) -> Check:
    """Null, or what `check` takes."""
    return lambda value: value is None or check(value)


def text(most: int) -> Check:
    """A text of up to `most` characters."""
    return lambda value: isinstance(value, str) and len(value) <= most


def several(check: Check, most: int, least: int = 0) -> Check:
    """A list of `least` to `most` of what `check` takes."""
    return lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(check, value))


def row(*checks: Check) -> Check:
    """A list of one value for each check."""
    return lambda value: (
        isinstance(value, list)
        and len(value) == len(checks)
        and all(check(each) for check, each in zip(checks, value, strict=True))
    )


def record(fields: Mapping[str, Check]) -> Check:
    """An object of exactly these fields."""
    return lambda value: not misfit(value, fields)


def misfit(value: Any, fields: Mapping[str, Check]) -> str:
    """The first field of `value` that is not as `fields` has it; "" if all are."""
    if not isinstance(value, dict):
        return "all of it"
    for name, check in fields.items():
        if name not in value or not check(value[name]):
            return name
    return next((str(name) for name in value if name not in fields), "")


def _scratch(value: Any) -> bool:
    """The state of `Scratch`. In `free` are the addresses of pieces by their size, which JSON has as a text."""
    fields: dict[str, Check] = {
        "base": optional(integer(U64 - SCRATCH_SIZE)),
        "next": integer(SCRATCH_SIZE + 1),
        "free": lambda free: isinstance(free, dict) and all(size.isdecimal() and len(size) <= 7 for size in free),
        "adopted": several(integer(U64), _MOST_PIECES),
    }
    if misfit(value, fields):
        return False
    base, free = value["base"] or 0, value["free"]
    return all(
        isinstance(places, list)
        and all(type(at) is int and base <= at <= base + SCRATCH_SIZE - int(size) for at in places)
        for size, places in free.items()
    )


_TIMER: Final = {"control": integer(8), "compare": integer(U64)}
_ADDRESS, _COUNT = integer(U32), optional(integer(U63))
_LINE: Final = integer(1 << LINES)  # one bit an interrupt

PARTS: Final[dict[str, dict[str, Check]]] = {
    "clock": {"instructions": integer(U63), "idle": integer(U63)},
    "gic": {
        **dict.fromkeys(("enable", "latched", "level", "active", "group", "edge"), _LINE),
        "enabled": integer(4),
        "priority": several(integer(U8), LINES, LINES),
        "control": integer(1 << 10),
        "mask": integer(U8),
        "binary_points": several(integer(8), 2, 2),
        "active_priorities": several(integer(U32), 2, 2),
    },
    "uart": {
        **dict.fromkeys(("ibrd", "fbrd", "lcr_h", "cr", "ifls", "imsc", "dmacr", "raw"), integer(U64)),
        "received": several(integer(U8), _MOST_TYPED),
    },
    "counter_access": {"control": integer(U64)},
    "guest_debug": {"locked": boolean, "mdscr": integer(U64)},
    "pmu": {
        **dict.fromkeys(("control", "enabled", "overflow", "interrupts"), integer(U32)),
        "select": integer(32),
        "user": integer(16),
        "types": several(integer(U32), COUNTERS + 1, COUNTERS + 1),
        "counters": several(integer(U64), COUNTERS + 1, COUNTERS + 1),
        "fraction": integer(64),
        "base": integer(U63),
        "level": integer(2),
        "following": boolean,
    },
    "devices": {
        "kept": several(row(text(31), _ADDRESS, _ADDRESS, optional(integer(LINES)), text(MOST_STATE), _COUNT), MOST)
    },
    "run_loop": {"waiting": boolean, "met": several(integer(U64), 2)},
    "calls": {"return_address": optional(integer(U64))},
    "software_step": {"eret": optional(integer(U64)), "before": integer(U64)},
    "virtual-timer": _TIMER,
    "physical-timer": _TIMER,
    "semihosting": {"errno": integer(U32), "heap": integer(U64)},
}
"""The parts of a machine of which a file keeps the state, by the names that `snapshot` gives them."""

STATE: Final[dict[str, Check]] = {
    "scratch": _scratch,
    "register_sites": several(row(integer(U64), integer(len(Access))), _MOST_SITES),
}
"""What else is in the state."""


def state_fields(kind: str) -> dict[str, Check]:
    """The checks of the state of a guest of `kind`, "linux" or "elf"."""
    parts = {name: record(fields) for name, fields in PARTS.items() if name != "semihosting" or kind == "elf"}
    return parts | STATE
