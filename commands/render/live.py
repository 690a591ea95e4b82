# SPDX-License-Identifier: GPL-2.0-or-later
"""Parts of an answer that only a terminal shows, while a command runs."""

from __future__ import annotations

from collections.abc import Callable

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .text import as_text


@lazy_dataclass
class Live:
    """What `value` gives is the answer so far. A terminal shows it in place of the one before."""

    value: Callable[[], object]


@as_text.register(Live)
def _(value: Live) -> str:
    return ""
