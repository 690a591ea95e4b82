# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands on a kprobe at a function's entry has of that kprobe: kretprobes and jprobes."""

from __future__ import annotations

from .kprobe import Kprobe


class EntryProbe:
    """`kp` is the kprobe at the entry."""

    kp: Kprobe

    @property
    def symbol_name(self) -> str | None:
        """The function's symbol, if it was given."""
        return self.kp.symbol_name

    @property
    def addr(self) -> int | None:
        """The function's address, once registered."""
        return self.kp.addr

    @addr.setter
    def addr(self, value: int | None) -> None:
        self.kp.addr = value

    @property
    def offset(self) -> int:
        """Bytes from the symbol; only the function's entry can be probed."""
        return self.kp.offset

    @property
    def flags(self) -> int:
        """See `Kprobe`."""
        return self.kp.flags

    @flags.setter
    def flags(self, value: int) -> None:
        self.kp.flags = value

    @property
    def gone(self) -> bool:
        """Whether the function is no longer there."""
        return self.kp.gone

    @property
    def disabled(self) -> bool:
        """Whether it is disabled, or gone."""
        return self.kp.disabled

    @property
    def warnings(self) -> list[str]:
        """What its user should know although it was accepted."""
        return self.kp.warnings

    @property
    def registered(self) -> bool:
        """Whether it is registered now."""
        return self.kp.registered

    @property
    def name(self) -> str:
        """What its user called it."""
        return self.kp.name
