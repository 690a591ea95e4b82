# SPDX-License-Identifier: GPL-2.0-or-later
"""The kprobe rules of each generation of the kernel, one file for each era.

An era is written as its differences from the era before, each with its commit.
"""

from .catalog import ALL_ERAS, AREAS, DEFAULT_ERA, ERAS, POINT_RELEASES
from .era import Era
from .find_era import choose_era, era_of, find_era

__all__ = ["ALL_ERAS", "AREAS", "DEFAULT_ERA", "ERAS", "POINT_RELEASES", "Era", "choose_era", "era_of", "find_era"]
