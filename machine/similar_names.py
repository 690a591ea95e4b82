# SPDX-License-Identifier: GPL-2.0-or-later
"""Names that a mistyped one may have been meant for."""

from __future__ import annotations

from collections.abc import Iterable


def similar(name: str, names: Iterable[str], most: int, least: float = 0.6) -> list[str]:
    """Those of `names` that are like `name`, the most similar first.

    `most` is their greatest number, and `least`, 0 to 1, how like they have to be.
    """
    import difflib  # here, as a start needs none of it

    return difflib.get_close_matches(name, names, n=most, cutoff=least)


def did_you_mean(name: str, names: Iterable[str], most: int = 3, least: float = 0.6) -> str:
    """A clause with those names, see `similar`, such as ": did you mean comm?"; empty if there are none."""
    near = similar(name, names, most, least)
    return f": did you mean {' or '.join(near)}?" if near else ""
