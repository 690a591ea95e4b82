# SPDX-License-Identifier: GPL-2.0-or-later
"""Frozen dataclasses that are made when they are first used.

`dataclass` compiles six methods of a class, which takes some 0.5 ms. armprobe has hundreds of such classes, and few of
them are used in one run: making them all took a third of a start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, dataclass_transform, overload

_C = TypeVar("_C", bound=type[Any])

_NOT_COPIED: Final = ("__init__", "__dataclass_fields__", "__dict__", "__weakref__")
_making = threading.RLock()


class _Fields:
    """`__dataclass_fields__` of a class that is not made yet. `dataclasses` looks there for what it does."""

    def __init__(self, cls: type[Any], kw_only: bool) -> None:
        self._cls = cls
        self._kw_only = kw_only

    def __get__(self, instance: object, owner: type[Any]) -> object:
        self.make()
        return self._cls.__dataclass_fields__

    def make(self) -> None:
        """Make the class, if that is not done. `__init__`, which waits for it in other threads, is replaced at last.

        `dataclass` replaces no `__init__`, and without one another thread could make no object. So it is taken from a
        copy of the class.
        """
        cls = self._cls
        with _making:
            if cls.__dict__.get("__dataclass_fields__") is not self:
                return
            own = {name: value for name, value in cls.__dict__.items() if name not in _NOT_COPIED}
            copy = type(cls.__name__, cls.__bases__, own)
            init = dataclass(frozen=True, kw_only=self._kw_only, eq=False, repr=False)(copy).__init__  # type: ignore[misc]
            dataclass(frozen=True, kw_only=self._kw_only, init=False)(cls)
            cls.__init__ = init


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
    fields = _Fields(cls, kw_only)

    def made(self: Any, *arguments: Any, **options: Any) -> None:
        fields.make()
        cls.__init__(self, *arguments, **options)

    cls.__init__ = made
    cls.__dataclass_fields__ = fields
    return cls
