# SPDX-License-Identifier: GPL-2.0-or-later
"""Getting along with the kprobes that the guest has of its own, on the same instructions."""

from __future__ import annotations

from collections.abc import Mapping

from armprobe.machine import Machine

from .engine import Engine
from .site import Site


class GuestProbes:
    """The breakpoints that one machine's guest puts into its own text."""

    def __init__(self, machine: Machine, sites: Mapping[int, Site], engine: Engine) -> None:
        self._machine = machine
        self._sites = sites
        self._engine = engine

    def original(self, address: int, word: int) -> int:
        """The instruction at `address`, where the guest's text has `word`."""
        return word
