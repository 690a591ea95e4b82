# SPDX-License-Identifier: GPL-2.0-or-later
"""Frozen dataclasses that are made when they are first used, with one method compiled.

`dataclass` compiles six methods of a class, which takes 1 ms. armprobe has hundreds of such classes, and few are
used in one run: making them all took a third of a start. Those that are used have only `__init__` compiled, whose
arguments Python is to check. The other methods are the same functions for all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any, TypeVar, dataclass_transform, overload

_C = TypeVar("_C", bound=type[Any])

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
        """Make the class, if that is not done. `__init__`, which waits for it in other threads, is replaced at last."""
        cls = self._cls
        with _making:
            if cls.__dict__.get("__dataclass_fields__") is not self:
                return
            dataclass(init=False, repr=False, eq=False, kw_only=self._kw_only)(cls)
            for method in (*_comparison(cls), _representation(cls), *_refusals(cls)):
                if cls.__dict__.get(method.__name__) is None:  # as __hash__ is of a class that defines __eq__
                    setattr(cls, method.__name__, method)
            cls.__init__ = _initialization(cls)


def _comparison(cls: type[Any]) -> Iterable[Callable[..., Any]]:
    compared = _values(each.name for each in fields(cls) if each.compare)
    hashed = _values(each.name for each in fields(cls) if (each.compare if each.hash is None else each.hash))

    def __eq__(self: Any, other: object) -> bool:
        if self.__class__ is not other.__class__:
            return NotImplemented
        return bool(compared(self) == compared(other))

    def __hash__(self: Any) -> int:
        return hash(hashed(self))

    return __eq__, __hash__


def _values(names: Iterable[str]) -> Callable[[object], tuple[Any, ...]]:
    """What gives the attributes of an object as a tuple."""
    listed = tuple(names)
    if len(listed) > 1:
        return attrgetter(*listed)
    return lambda each: tuple(getattr(each, name) for name in listed)


def _representation(cls: type[Any]) -> Callable[..., Any]:
    shown = tuple(each.name for each in fields(cls) if each.repr)

    def __repr__(self: object) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__qualname__}({values})"

    return recursive_repr()(__repr__)


def _refusals(cls: type[Any]) -> Iterable[Callable[..., Any]]:
    names = frozenset(each.name for each in fields(cls))

    def __setattr__(self: object, name: str, value: object) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: object, name: str) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return __setattr__, __delattr__


def _initialization(cls: type[Any]) -> Any:
    """`__init__`, from the fields. There are none that it has no parameter for."""
    known: dict[str, Any] = {"_set": object.__setattr__, "_missing": MISSING}
    ordered = sorted(fields(cls), key=lambda each: bool(each.kw_only))
    parameters = [_parameter(each, known) for each in ordered]
    positional = sum(not each.kw_only for each in ordered)
    if positional < len(ordered):
        parameters.insert(positional, "*")
    lines = [f"    _set(self, {each.name!r}, {_value(each)})\n" for each in ordered]
    if hasattr(cls, "__post_init__"):
        lines.append("    self.__post_init__()\n")
    exec(f"def __init__({', '.join(('self', *parameters))}):\n{''.join(lines) or '    pass'}", known)
    known["__init__"].__qualname__ = f"{cls.__qualname__}.__init__"
    return known["__init__"]


def _parameter(each: Field[Any], known: dict[str, Any]) -> str:
    if each.default_factory is not MISSING:
        known[f"_make_{each.name}"] = each.default_factory
        return f"{each.name}=_missing"
    if each.default is not MISSING:
        known[f"_default_{each.name}"] = each.default
        return f"{each.name}=_default_{each.name}"
    return each.name


def _value(each: Field[Any]) -> str:
    if each.default_factory is not MISSING:
        return f"_make_{each.name}() if {each.name} is _missing else {each.name}"
    return each.name


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
