# SPDX-License-Identifier: GPL-2.0-or-later
"""The reason and the place of a stop."""

from __future__ import annotations

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .location import Location
from .probes import HitStage


@lazy_dataclass
class Stopped:
    """The reason and the place of a stop.

    reason: the name of a `machine.StopReason`, in small letters. text: the reason in words, with details.
    hit: the stage of the hit at which the guest stopped; None if it stopped for another reason.
    """

    reason: str
    text: str
    location: Location
    hit: HitStage | None
