# SPDX-License-Identifier: GPL-2.0-or-later
"""Why the machine stopped. The code that stops it states the reason, which is never inferred from the CPU's state."""

from __future__ import annotations

import enum
from typing import Any

from armprobe.machine.lazy_dataclass import lazy_dataclass


class StopReason(enum.Enum):
    """The reasons for which `Machine.run` returns."""

    UNTIL = "reached the address asked for"
    INSTRUCTIONS = "stopped as asked"
    BREAKPOINT = "breakpoint"
    WATCHPOINT = "watchpoint"
    PROBE = "probe"
    INTERRUPTED = "interrupted"
    IDLE = "the guest waits for an interrupt that nothing will raise"
    POWER_OFF = "the guest powered the machine off"
    RESET = "the guest asked for a reset"
    LOCKUP = "the guest's exception vectors cannot be executed"
    EXIT = "the guest exited"
    HOST_CALL = "the guest asks the debugger for a file"
    MODULES = "the guest has loaded or unloaded a module"
    CRASH = "the guest's kernel reports an error"
    RETURNED = "the called function returned"
    HISTORY_START = "the history begins here"
    UNFINISHED = "the beginning of the run has been made"

    def __init__(self, _: str) -> None:
        self.final = self._name_ in ("POWER_OFF", "RESET", "EXIT", "LOCKUP")
        """Whether the guest cannot go on after this stop."""


@lazy_dataclass
class Stop:
    """One stop of the machine.

    `address` is the PC (for a watchpoint, of the instruction about to make the access). `detail` is an object from the
    code that stopped the machine, such as a `probes.Hit`. `text` describes the stop in a few words.
    """

    reason: StopReason
    address: int
    text: str = ""
    detail: Any = None

    @property
    def is_armprobes(self) -> bool:
        """Whether the guest is where armprobe's own work in it has ended, and at nothing that a user asked for."""
        return self.reason is StopReason.RETURNED

    def __str__(self) -> str:
        return f"{self.text or self.reason.value} at {self.address:#x}"


@lazy_dataclass
class WatchHit:
    """The access that a watchpoint stopped before.

    It has the kind of the watchpoint, the virtual address as watched, the size in bytes, the value to be written, and
    for a write the old value (None for a read).
    """

    kind: str
    address: int
    size: int
    value: int
    before: int | None

    def __str__(self) -> str:
        if self.before is None:
            return f"read of {self.size} bytes at {self.address:#x}"
        return f"write of {self.size} bytes at {self.address:#x}, {self.before:#x} before, {self.value:#x} after it"
