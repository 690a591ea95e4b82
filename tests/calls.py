# SPDX-License-Identifier: GPL-2.0-or-later
"""How often a guest's functions are entered, counted by the CPU's engine itself and not by breakpoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import unicorn

from armprobe.machine import Machine


@contextmanager
def counted_calls(machine: Machine, functions: Collection[int]) -> Iterator[Counter[int]]:
    """How often execution reached each of the addresses, while this lasts.

    Slow: a hook on all blocks of code between them. A call begins a block.
    """
    calls: Counter[int] = Counter()

    def executed(engine: unicorn.Uc, address: int, size: int, data: object) -> None:
        if address in functions:
            calls[address] += 1

    engine = machine.core.engine
    hook = engine.hook_add(unicorn.UC_HOOK_BLOCK, executed, None, min(functions), max(functions))
    machine.core.forget_all()
    try:
        yield calls
    finally:
        engine.hook_del(hook)
        machine.core.forget_all()
