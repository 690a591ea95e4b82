# SPDX-License-Identifier: GPL-2.0-or-later
"""An instruction with a breakpoint of ours, and the probes that share it (the kernel's aggregated kprobe)."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable

from armprobe.machine.native.structures import NativeSlot

from .decoder import Decoded
from .eras.decoder_rows import Verdict
from .errors import ProbeError
from .kprobe import Kprobe
from .simulation import SIMULATORS
from .stepping import KPROBES_BRK_WORD, Stepping


class Site:
    """`word` is the guest's word at `addr`, `original` the instruction proper.

    The two differ while the guest has a breakpoint of its own there. Then hits are passed on to the guest, which
    executes the instruction. Otherwise we execute it: in `slot` (its address, 0 for none) by `stepping`, or by
    `simulator`. `probes` are all probes, newest first except that a jprobe is last. `active` are the enabled ones.
    `optimized` says whether C records the hits (`optimizer`), `hooked` whether it does so without a breakpoint.
    `reviewer` is called with the site
    when what a hit does may have changed.
    `mirror` is a site for the same instruction in a copy of its code, with the same probes. `offset` of a mirror is the
    distance in bytes from the original, whose address the probes see.
    """

    __slots__ = (
        "_native_slot",
        "active",
        "addr",
        "armed",
        "decoded",
        "hooked",
        "mirror",
        "offset",
        "optimized",
        "original",
        "probes",
        "reviewer",
        "simulator",
        "slot",
        "stepping",
        "word",
    )

    def __init__(self, addr: int, word: int, original: int, decoded: Decoded, stepping: Stepping) -> None:
        self.addr = addr
        self.stepping = stepping
        self.slot = 0
        self._native_slot: tuple[int, NativeSlot | None, int | None] = (0, None, None)
        self.armed = False
        self.mirror: Site | None = None
        self.offset = 0
        self.optimized = self.hooked = False
        self.reviewer: Callable[[Site], None] | None = None
        self.probes: list[Kprobe] = []
        self.active: tuple[Kprobe, ...] = ()
        self.change(word, original, decoded)

    def change(self, word: int, original: int, decoded: Decoded) -> None:
        """Replace the instruction at the site."""
        self.word, self.original, self.decoded = word, original, decoded
        self.simulator = None if self.is_guests else SIMULATORS.get(decoded.simulator)

    @property
    def is_guests(self) -> bool:
        """Whether the guest has a breakpoint of its own at the site."""
        return self.word == KPROBES_BRK_WORD

    @property
    def steps_in_slot(self) -> bool:
        """Whether we execute the instruction in a slot."""
        return self.decoded.verdict is Verdict.GOOD and not self.is_guests

    @property
    def unseen(self) -> int | None:
        """The address of `native_slot`."""
        if self._native_slot[0] != self.slot:
            native = self.stepping.unseen(self)
            self._native_slot = self.slot, native, None if native is None else ctypes.addressof(native)
        return self._native_slot[2]

    @property
    def native_slot(self) -> NativeSlot | None:
        """How C executes the instruction in the slot. None if it cannot."""
        return self._native_slot[1] if self.unseen is not None else None

    @property
    def followed(self) -> bool:
        """Whether a probe has something to do behind the instruction."""
        for probe in self.active:  # noqa: SIM110  # at each hit; any() takes twice as long
            if probe.post_handler is not None or probe.record or probe.stop:
                return True
        return False

    def add(self, probe: Kprobe) -> None:
        """Add a probe before the others. A jprobe goes last, as its pre-handler ends the turn of all after it.

        Raises ProbeError (EEXIST) for a second jprobe. (add_new_kprobe of v4.8)
        """
        if probe.break_handler is None:
            self.probes.insert(0, probe)
        elif any(other.break_handler is not None for other in self.probes):
            reason = f"{probe.name} has a jprobe already, and two cannot be at one place: use a kprobe"
            raise ProbeError(errno.EEXIST, reason)
        else:
            self.probes.append(probe)

    def refresh(self) -> None:
        """Recompute `active` after a change."""
        self.active = tuple(probe for probe in self.probes if not probe.disabled)
        if self.mirror is not None:
            self.mirror.probes, self.mirror.active = self.probes, self.active

    def review(self) -> None:
        """What a hit does may have changed."""
        if self.reviewer is not None:
            self.reviewer(self)

    def lost(self, why: Exception) -> None:
        """The breakpoint is not in the text and cannot be put there: tell the users of the probes here."""
        self.armed = False
        for probe in self.probes:
            probe.warnings.append(f"{probe.name} is no longer armed: {why}")

    def warn(self, text: str) -> None:
        """Warn the users of all probes here, once."""
        for probe in self.probes:
            if text not in probe.warnings:
                probe.warnings.append(text)
