# SPDX-License-Identifier: GPL-2.0-or-later
"""The names of a package, whose files are imported when the names are first used (PEP 562).

A room's `__init__` imports nothing then, so what needs one file of the room does not import them all.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, files: Mapping[str, tuple[str, ...]]) -> Callable[[str], Any]:
    """The `__getattr__` of `package`: which file has which of its names. None may be the name of a file in it."""
    origins = {name: file for file, names in files.items() for name in names}

    def imported(name: str) -> Any:
        if name not in origins:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(origins[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    return imported
