# SPDX-License-Identifier: GPL-2.0-or-later
"""Why and where the guest stopped."""

from __future__ import annotations

from dataclasses import dataclass

from .location import Location
from .probes import HitStage


@dataclass(frozen=True)
class Stopped:
    """Why and where the guest stopped.

    reason: the name of a `machine.StopReason`, in small letters. text: the same in words, with details.
    hit: the stage of a hit that it stopped at; None if it stopped for something else.
    """

    reason: str
    text: str
    location: Location
    hit: HitStage | None
