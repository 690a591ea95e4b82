# SPDX-License-Identifier: GPL-2.0-or-later
"""What other installed packages add to armprobe, by entry points (PyPA, "Entry points specification")."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def added(group: str, kind: type[T]) -> tuple[list[tuple[str, T]], list[str]]:
    """The objects of type `kind` in the entry points of a group, with the names of their packages, and a sentence for
    each entry point that is not such an object or an iterable of them.

    Code of other packages is imported: it may do anything that Python may.
    """
    things: list[tuple[str, T]] = []
    notes: list[str] = []
    if not _is_named(group):
        return things, notes
    import importlib.metadata  # it takes a tenth of all imports

    for point in importlib.metadata.entry_points(group=group):
        package = point.dist.name if point.dist else "an unknown package"
        try:
            loaded = point.load()
            found = [loaded] if isinstance(loaded, kind) else list(loaded) if isinstance(loaded, Iterable) else [loaded]
            if wrong := [each for each in found if not isinstance(each, kind)]:
                raise TypeError(f"{wrong[0]!r} is no {kind.__name__}")
        except (Exception, SystemExit) as error:  # whatever the package does wrong, the rest of armprobe works
            notes.append(f"{group} {point.name!r} of {package} cannot be used: {type(error).__name__}: {error}")
        else:
            things += [(package, each) for each in found]
    return things, notes


def _is_named(group: str) -> bool:
    """Whether an installed package may have entry points of this group, from their files alone: 2 ms."""
    section = f"[{group}]".encode()
    for folder in sys.path:
        for file in Path(folder or ".").glob("*.dist-info/entry_points.txt"):
            try:
                if section in file.read_bytes():
                    return True
            except OSError:
                continue
    return False
