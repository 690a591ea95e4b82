# SPDX-License-Identifier: GPL-2.0-or-later
"""An instruction that has a breakpoint of ours on it, and the probes that share it (the kernel's aggregated kprobe)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from .decode import Decoded
from .instructions import Verdict
from .kprobe import Kprobe
from .simulate import SIMULATORS, Simulator

KPROBES_BRK_IMM: Final = 4
KPROBES_BRK_SS_IMM: Final = 6


def brk(immediate: int) -> int:
    """The word of BRK #immediate."""
    return 0xD420_0000 | immediate << 5


KPROBES_BRK: Final = brk(KPROBES_BRK_IMM).to_bytes(4, "little")


def is_brk(word: int) -> bool:
    """Whether `word` is a BRK with any immediate."""
    return word & 0xFFE0_001F == 0xD420_0000


@dataclass(eq=False, slots=True)
class Site:
    """`word` is what the guest takes to be at `addr`, `original` the instruction that is executed instead of our
    breakpoint.

    The two differ while the guest has a breakpoint of its own there. `slot` is where the instruction is executed out
    of line, 0 if it is not; `probes` are all, newest first, and `active` those of them that are enabled.
    """

    addr: int
    word: int
    original: int
    decoded: Decoded
    slot: int = 0
    armed: bool = False
    probes: list[Kprobe] = field(default_factory=list)
    active: tuple[Kprobe, ...] = ()
    simulator: Simulator | None = None

    def __post_init__(self) -> None:
        self.simulator = SIMULATORS.get(self.decoded.simulator)

    @property
    def steps_in_slot(self) -> bool:
        """Whether `original` is executed in a slot."""
        return self.decoded.verdict is Verdict.GOOD and not is_brk(self.original)

    def refresh(self) -> None:
        """Work out `active` after a change."""
        self.active = tuple(probe for probe in self.probes if not probe.disabled)
