# SPDX-License-Identifier: GPL-2.0-or-later
"""Frozen dataclasses that are made when they are first used.

`dataclass` compiles six methods of a class, which takes some 0.5 ms. armprobe has hundreds of such classes, and few of
them are used in one run: making them all took a third of a start.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

_C = TypeVar("_C", bound=type[Any])

_making = threading.RLock()


class _Fields:
    """`__dataclass_fields__` of a class that is not made yet. `dataclasses` looks there for what it does."""

    def __init__(self, cls: type[Any]) -> None:
        self._cls = cls

    def __get__(self, instance: object, owner: type[Any]) -> object:
        cls = self._cls
        with _making:
            if cls.__dict__.get("__dataclass_fields__") is self:
                del cls.__dataclass_fields__, cls.__init__
                dataclass(frozen=True)(cls)
        return cls.__dataclass_fields__


@dataclass_transform(frozen_default=True)
def lazy_dataclass(cls: _C) -> _C:
    """Decorator: `dataclass(frozen=True)`, at the first use of the class as a dataclass, such as to make an object."""

    def make(self: Any, *arguments: Any, **options: Any) -> None:
        cls.__dataclass_fields__  # noqa: B018
        cls.__init__(self, *arguments, **options)

    cls.__init__ = make
    cls.__dataclass_fields__ = _Fields(cls)
    return cls
