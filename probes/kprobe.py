# SPDX-License-Identifier: GPL-2.0-or-later
"""`struct kprobe`, as its user fills it in (include/linux/kprobes.h)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from .probe import Condition, Note, Probe
from .pt_regs import PtRegs
from .record import Stage
from .recording import Record

if TYPE_CHECKING:
    from .aggregation import Aggregation
    from .site import Site

PreHandler = Callable[["Kprobe", PtRegs], int | None]
PostHandler = Callable[["Kprobe", PtRegs, int], object]
FaultHandler = Callable[["Kprobe", PtRegs, int], int | None]

GONE: Final = 1  # KPROBE_FLAG_GONE, include/linux/kprobes.h
DISABLED: Final = 2  # KPROBE_FLAG_DISABLED
OPTIMIZED: Final = 4  # KPROBE_FLAG_OPTIMIZED


class Kprobe(Probe):
    """A probe on one instruction.

    Give `symbol_name` (with `offset` bytes, or written "kfree+0x10") or `addr`, not both. All handlers are optional.
    `pre_handler(p, regs)` runs before the instruction. A non-zero result means that it has set the PC itself: the
    instruction and the post-handlers are skipped. `post_handler(p, regs, flags)` runs after the instruction; flags is
    always 0. `fault_handler(p, regs, syndrome)`, in eras that have it (to v5.10), runs when a guest function that one
    of the other two calls faults; `syndrome` is ESR_EL1's value. A non-zero result means that it has repaired `regs`,
    and the guest does not see the fault.

    Registration sets `addr` and `flags`. Of the earlier flags only DISABLED is kept. `nmissed` counts hits whose
    handlers could not run, `hits` the others. With `record` each stage is kept in `Kprobes.hits`, or what a `Record`
    chooses. At a stage in `stop` the machine stops, after the handlers. `condition(stage, regs)` is called once for
    each hit, at its first stage, before the handlers. If it is false, the hit is neither kept nor stopped for, but its
    handlers run, unless the probe has `conditional_handlers`. `met` counts the other hits. The condition may raise
    ConditionError. `note(stage, regs)`, called at the same time, returns a text to keep with the stage. Both may also
    be data, the condition and the note of an `armprobe.expressions.Program`. Such a note is kept with the stage that
    the kernel's trace line describes. With `aggregate` hits are counted by a key, and not kept.
    """

    kind = "kprobe"
    stages = (Stage.PRE, Stage.POST)
    callables = ("pre_handler", "post_handler", "fault_handler")

    # A kprobe has these itself, in slots that replace the properties of the base.
    __slots__ = ("addr", "flags", "offset", "symbol_name", "warnings")
    symbol_name: str | None
    addr: int | None
    offset: int
    flags: int
    warnings: list[str]

    def __init__(
        self,
        symbol_name: str | None = None,
        addr: int | None = None,
        offset: int = 0,
        pre_handler: PreHandler | None = None,
        post_handler: PostHandler | None = None,
        fault_handler: FaultHandler | None = None,
        *,
        disabled: bool = False,
        record: bool | Record = True,
        stop: Iterable[Stage] = (),
        condition: Condition | None = None,
        conditional_handlers: bool = False,
        note: Note | None = None,
        aggregate: Aggregation | None = None,
    ) -> None:
        super().__init__(record, stop, condition, note, aggregate)
        self.conditional_handlers = conditional_handlers
        self.symbol_name = symbol_name
        self.addr = addr
        self.offset = offset
        self.pre_handler = pre_handler
        self.post_handler = post_handler
        self.fault_handler = fault_handler
        self.break_handler: PreHandler | None = None  # set by the jprobe that has this kprobe
        self.flags = DISABLED if disabled else 0
        self.warnings = []
        self.site: Site | None = None
        self.kp = self
        self.owner: Probe = self  # or the kretprobe or jprobe that contains this kprobe
        self.internal = False  # whether its pre-handler is a part of the machine, and what it does no input

    @property
    def gone(self) -> bool:
        """Whether the guest has freed the text with its instruction."""
        return bool(self.flags & GONE)

    @property
    def disabled(self) -> bool:
        """Whether the probe cannot be hit: disabled, or gone (kprobe_disabled)."""
        return bool(self.flags & (DISABLED | GONE))

    @disabled.setter
    def disabled(self, disabled: bool) -> None:
        self.flags = self.flags & ~DISABLED | (DISABLED if disabled else 0)
