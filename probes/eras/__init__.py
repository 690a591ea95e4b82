# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules that each generation of the kernel has for its kprobes, one file an era.

An era is written as what changed since the one before, with the commit beside each fact.
"""

from .catalog import ALL_ERAS, AREAS, DEFAULT_ERA, ERAS, POINT_RELEASES
from .era import Era
from .find_era import choose_era, era_of, find_era

__all__ = ["ALL_ERAS", "AREAS", "DEFAULT_ERA", "ERAS", "POINT_RELEASES", "Era", "choose_era", "era_of", "find_era"]
