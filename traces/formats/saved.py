# SPDX-License-Identifier: GPL-2.0-or-later
"""What a file of hits is made of."""

from __future__ import annotations

from typing import NamedTuple

from armprobe.probes import Kprobes
from armprobe.traces.columns import HitTable


class Saved(NamedTuple):
    """The stages of hits to save, the registry that recorded them, and the number of stages that were lost before."""

    kprobes: Kprobes
    table: HitTable
    lost: int
