# SPDX-License-Identifier: GPL-2.0-or-later
"""All known eras."""

from __future__ import annotations

from typing import Final

from .v4_8 import V4_8
from .v5_4 import V5_4
from .v5_10 import V5_10
from .v6_1 import V6_1, V6_1_176
from .v6_9 import V6_9, V6_12_107, V6_12_117
from .v7_2 import V7_2

DEFAULT_ERA: Final = V6_1.name

ERAS: Final = {era.name: era for era in (V4_8, V5_4, V5_10, V6_1, V6_9, V7_2)}
"""The generations, in order."""

POINT_RELEASES: Final = {era.name: era for era in (V6_1_176, V6_12_107, V6_12_117)}
"""Eras that updates of a kernel started, in addition to those of `ERAS`."""

ALL_ERAS: Final = sorted((*ERAS.values(), *POINT_RELEASES.values()), key=lambda era: era.release)

AREAS: Final = frozenset(area for era in ALL_ERAS for area in era.blacklist)
"""All areas in which any era forbids probes."""
