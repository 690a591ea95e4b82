# SPDX-License-Identifier: GPL-2.0-or-later
"""Frozen dataclasses that are made when they are first used.

`dataclass` compiles six methods of a class, which takes some 0.5 ms. armprobe has hundreds of such classes, and few of
them are used in one run: making them all took a third of a start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, dataclass_transform, overload

_C = TypeVar("_C", bound=type[Any])

_making = threading.RLock()


class _Fields:
    """`__dataclass_fields__` of a class that is not made yet. `dataclasses` looks there for what it does."""

    def __init__(self, cls: type[Any], kw_only: bool) -> None:
        self._cls = cls
        self._kw_only = kw_only

    def __get__(self, instance: object, owner: type[Any]) -> object:
        cls = self._cls
        with _making:
            if cls.__dict__.get("__dataclass_fields__") is self:
                del cls.__dataclass_fields__, cls.__init__
                dataclass(frozen=True, kw_only=self._kw_only)(cls)
        return cls.__dataclass_fields__


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def lazy_dataclass(cls: _C) -> _C: ...


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def lazy_dataclass(*, kw_only: bool) -> Callable[[_C], _C]: ...


def lazy_dataclass(cls: Any = None, *, kw_only: bool = False) -> Any:
    """Decorator: `dataclass(frozen=True)`, at the first use of the class as a dataclass, such as to make an object."""
    if cls is None:
        return lambda declared: _declared(declared, kw_only)
    return _declared(cls, kw_only)


def _declared(cls: _C, kw_only: bool) -> _C:
    def make(self: Any, *arguments: Any, **options: Any) -> None:
        cls.__dataclass_fields__  # noqa: B018
        cls.__init__(self, *arguments, **options)

    cls.__init__ = make
    cls.__dataclass_fields__ = _Fields(cls, kw_only)
    return cls
