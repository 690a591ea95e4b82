# SPDX-License-Identifier: GPL-2.0-or-later
"""`struct kretprobe` and its instances, one for each outstanding call (include/linux/kprobes.h)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import Any, Final

from .aggregation import Aggregation
from .eras import Era
from .errors import ProbeError
from .kprobe import Kprobe
from .probe import Condition, Note, Probe
from .pt_regs import PtRegs
from .record import TICK, Hit, Stage
from .recording import Record

KMALLOC_MAX: Final = 4 << 20  # bytes, KMALLOC_MAX_SIZE with pages of 4 KiB
MAX_INSTANCES: Final = 1 << 16  # our own limit: the kernel calls kmalloc() for each


class KretprobeInstance:
    """One call of the function that has not returned yet.

    `ret_addr` is its return address. `following` is where the trampoline goes on: the return address, or the trampoline
    of a kretprobe that the guest has on the same call. `fp` is the era's value that identifies the frame: x29 at entry,
    in v5.10 sp, and before that nothing (0). `data` are `data_size` bytes for the handlers (any object may be put there
    instead). `rp` is the kretprobe, None once that is unregistered.
    """

    __slots__ = (
        "data",
        "entered",
        "entry",
        "executed",
        "following",
        "fp",
        "leaked",
        "memory",
        "number",
        "order",
        "place",
        "ret_addr",
        "rp",
        "selected",
        "sp",
        "task",
    )

    def __init__(self, rp: Kretprobe | None) -> None:
        self.rp = rp
        self.ret_addr = self.following = 0
        self.fp = 0
        self.sp = 0
        self.number = 0
        self.memory = 0  # address of its guest memory, 0 for none
        self.place = -1  # its place in the journal
        self.order = 0  # its number in the order of all calls
        self.leaked = False  # the call has ended without returning
        self.task = 0  # SP_EL0, which holds Linux's current task
        self.entered: int | None = None  # the time, in ticks, None if it is not known
        self.executed = 0  # the guest's instructions before it, if the time is known
        self.entry: Hit | None = None  # held back until the condition is evaluated at the return
        self.selected = True  # by the condition, at the entry
        self.data: Any = bytearray(0 if rp is None else rp.data_size)

    @property
    def entry_time(self) -> int | None:
        """Guest time at the entry in ns, as the kernel's ktime_get(); None if it is not known."""
        return None if self.entered is None else self.entered * TICK

    @property
    def elapsed(self) -> int | None:
        """Guest time since the entry in ns; None if it is not known."""
        registry = None if self.rp is None else self.rp.registry
        if self.entered is None or registry is None:
            return None
        return (registry.machine.clock.now - self.entered) * TICK

    def __repr__(self) -> str:
        name = "a kretprobe that is gone" if self.rp is None else self.rp.name
        return f"<call {self.number} of {name} ret_addr={self.ret_addr:#x}>"


ReturnHandler = Callable[[KretprobeInstance, PtRegs], object]
EntryHandler = Callable[[KretprobeInstance, PtRegs], int | None]


class Kretprobe(Probe):
    """A probe on the return of a function.

    `handler(ri, regs)` runs after the return: `regs.regs[0]` is the result and `regs.pc` the address returned to.
    `entry_handler(ri, regs)` runs at the first instruction. If its result is non-zero, this call's return is not
    handled. At most `maxactive` calls can be outstanding (0 or less: the era's default; limit 65536). `nmissed` counts
    the calls beyond them, `kp.nmissed` those entered while another probe was being handled, and `leaked` those found to
    have ended without returning. `condition(stage, regs)` is evaluated at the stage `condition_at`. If that is RETURN,
    the stage entry is also kept only after the return, if at all. The other arguments are those of `Kprobe`.
    """

    kind = "kretprobe"
    stages = (Stage.ENTRY, Stage.RETURN)
    callables = ("handler", "entry_handler")

    def __init__(
        self,
        symbol_name: str | None = None,
        addr: int | None = None,
        offset: int = 0,
        handler: ReturnHandler | None = None,
        entry_handler: EntryHandler | None = None,
        maxactive: int = 0,
        data_size: int = 0,
        *,
        disabled: bool = False,
        record: bool | Record = True,
        stop: Iterable[Stage] = (),
        condition: Condition | None = None,
        condition_at: Stage = Stage.RETURN,
        note: Note | None = None,
        aggregate: Aggregation | None = None,
    ) -> None:
        super().__init__(record, stop, condition, note, aggregate)
        self.kp = Kprobe(symbol_name, addr, offset, disabled=disabled, record=False)
        self.kp.owner, self.kp.internal = self, True
        self.handler = handler
        self.entry_handler = entry_handler
        self.maxactive = maxactive
        self.data_size = data_size
        self.condition_at = condition_at
        self.free: list[KretprobeInstance] = []
        self.serial = 0  # the serial number of its registration

    @property
    def leaked(self) -> int:
        """Calls found to have ended without returning."""
        return self.counts.leaked

    @leaked.setter
    def leaked(self, value: int) -> None:
        self.counts.leaked = value

    def give_back(self, instance: KretprobeInstance) -> None:
        """Put an instance back into the pool."""
        self.free.append(instance)
        if self.kp.site is not None and self.kp.site.optimized:
            self.review()

    def validate(self) -> None:
        """See `Probe.validate`. Also checks `condition_at` and its combination with `stop`."""
        if self.condition_at not in self.stages:
            reason = f"condition_at is {self.condition_at!r}: give Stage.ENTRY or Stage.RETURN"
            raise ProbeError(errno.EINVAL, reason)
        super().validate()
        if Stage.ENTRY in self.stop and self.condition is not None and self.condition_at is Stage.RETURN:
            reason = "stop has Stage.ENTRY, where its condition is not known yet: stop at return, or ask it at entry"
            raise ProbeError(errno.EINVAL, reason)

    def prepare(self, era: Era, memory: int) -> None:
        """Check and complete the fields that only a kretprobe has, as register_kretprobe does.

        `memory` is the guest's memory in bytes. Raises ProbeError.
        """
        for name in ("maxactive", "data_size"):
            if not isinstance(getattr(self, name), int):
                raise ProbeError(errno.EINVAL, f"{name} is {getattr(self, name)!r}: give a whole number")
        if era.max_data_size is not None and not 0 <= self.data_size <= era.max_data_size:
            reason = f"data_size is {self.data_size} bytes: an instance has {era.max_data_size} at most"
            raise ProbeError(errno.E2BIG, reason)
        if self.maxactive > MAX_INSTANCES:
            reason = f"maxactive is {self.maxactive}: there is memory for {MAX_INSTANCES} instances of a kretprobe"
            raise ProbeError(errno.ENOMEM, reason)
        if self.maxactive <= 0:
            self.maxactive = era.maxactive
        if not 0 <= self.data_size < KMALLOC_MAX or self.maxactive * self.data_size >= memory:
            reason = f"the guest has no memory for {self.maxactive} instances with {self.data_size} bytes of data each"
            raise ProbeError(errno.ENOMEM, reason)
        self.nmissed = self.leaked = 0

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name} hits={self.hits} nmissed={self.nmissed} kp.nmissed={self.kp.nmissed}>"
