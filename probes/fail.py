# SPDX-License-Identifier: GPL-2.0-or-later
"""Fault injection: a function returns at once with a value of the user's choice.

The kernel does so for functions on its list (kernel/fail_function.c, Documentation/fault-injection). Here any function
will do whose callers take the value for a failure.
"""

from __future__ import annotations

import errno
from typing import Any

from .errors import ProbeError
from .kprobe import Kprobe
from .pt_regs import PtRegs


class Fail(Kprobe):
    """Makes calls of a function return `returns` without executing it.

    The first call that fails is number `nth`, from 1, and `times` calls fail from then on, all of them if it is None.
    With `comm` only the calls of tasks of that name count. `calls` counts these, and `failed` those that failed. The
    other arguments are those of `Kprobe`. Raises ProbeError (EINVAL) for numbers below 1.
    """

    def __init__(
        self,
        symbol_name: str | None = None,
        addr: int | None = None,
        *,
        nth: int = 1,
        times: int | None = 1,
        returns: int = 0,
        comm: str | None = None,
        **options: Any,
    ) -> None:
        for name, value in (("nth", nth), ("times", 1 if times is None else times)):
            if value < 1:
                raise ProbeError(errno.EINVAL, f"{name} is {value}: give a number from 1 on")
        super().__init__(symbol_name, addr, pre_handler=self._hit, **options)
        self.nth, self.times, self.returns, self.comm = nth, times, returns, comm
        self.calls = self.failed = 0

    def _hit(self, probe: Kprobe, regs: PtRegs) -> int:
        assert self.registry is not None
        if self.comm is not None:
            kernel = self.registry.machine.kernel
            if kernel is None or kernel.tasks is None:
                raise ProbeError(errno.EINVAL, "comm is given, and this guest has no tasks whose names are known")
            task = kernel.tasks.current()
            if task is None or task[0] != self.comm:
                return 0
        self.calls += 1
        if self.calls < self.nth or (self.times is not None and self.failed >= self.times):
            return 0
        self.failed += 1
        regs.return_value, regs.pc = self.returns, regs.x30
        self.registry.reset_current_kprobe()  # which v4.8 leaves to the handler
        return 1
