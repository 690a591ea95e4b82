# SPDX-License-Identifier: GPL-2.0-or-later
"""The kprobe rules of each generation of the kernel, one file for each era.

An era is written as its differences from the era before, each with its commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.machine.lazy_names import lazy_names

if TYPE_CHECKING:
    from .catalog import ALL_ERAS, AREAS, DEFAULT_ERA, ERAS, POINT_RELEASES
    from .choice import choose_era, era_of, find_era
    from .era import Era
else:
    __getattr__ = lazy_names(
        __name__,
        {
            ".catalog": ("ALL_ERAS", "AREAS", "DEFAULT_ERA", "ERAS", "POINT_RELEASES"),
            ".era": ("Era",),
            ".choice": ("choose_era", "era_of", "find_era"),
        },
    )

__all__ = ["ALL_ERAS", "AREAS", "DEFAULT_ERA", "ERAS", "POINT_RELEASES", "Era", "choose_era", "era_of", "find_era"]
