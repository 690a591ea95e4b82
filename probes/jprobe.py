# SPDX-License-Identifier: GPL-2.0-or-later
"""`struct jprobe`: the user's function is called with the arguments of the probed one (v4.8; removed in v4.19)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .kprobe import Kprobe
from .probe import Condition, Note, Probe
from .record import Stage

Entry = Callable[..., object]


class Jprobe(Probe):
    """A function that is called with the arguments of the probed function, before that is executed.

    `entry(...)` gets as many of x0 to x7 as it has positional parameters. It runs on the probed function's stack, with
    its interrupts. When it returns (the kernel's has to call `jprobe_return`), all registers are restored and the
    function is executed. Probes that it hits are missed. The other arguments are those of `Kprobe`. The recorded stage
    is `entry`.
    """

    kind = "jprobe"
    stages = (Stage.ENTRY,)
    callables = ("entry",)

    def __init__(
        self,
        symbol_name: str | None = None,
        addr: int | None = None,
        entry: Entry | None = None,
        *,
        disabled: bool = False,
        record: bool = True,
        stop: Iterable[Stage] = (),
        condition: Condition | None = None,
        note: Note | None = None,
    ) -> None:
        super().__init__(record, stop, condition, note)
        self.kp = Kprobe(symbol_name, addr, disabled=disabled, record=False)
        self.kp.owner, self.kp.internal = self, True
        self.entry = entry

    @property
    def nmissed(self) -> int:
        """Hits whose handlers could not run, which its kprobe counts."""
        return self.kp.nmissed

    @nmissed.setter
    def nmissed(self, value: int) -> None:
        self.kp.nmissed = value
