# SPDX-License-Identifier: GPL-2.0-or-later
"""Lazy dataclasses against those of the standard library."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from armprobe.machine.lazy_dataclass import lazy_dataclass

Pair = tuple[type[Any], type[Any]]


def classes(decorator: Callable[[type[Any]], type[Any]]) -> Pair:
    """A class, and one that inherits from it."""

    class Base:
        """A base."""

        number: int
        names: tuple[str, ...] = ()

        def twice(self) -> int:
            return 2 * self.number

    base = decorator(Base)

    class Derived(base):  # type: ignore[misc, valid-type]
        more: list[int] = dataclasses.field(default_factory=list, compare=False)

    return base, decorator(Derived)


USES: list[Callable[[type[Any], type[Any]], object]] = [
    lambda base, derived: repr(derived(1, names=("a",))).replace("classes.<locals>.", ""),
    lambda base, derived: (base(1) == base(1), base(1) == base(2), derived(1, (), [1]) == derived(1, (), [2])),
    lambda base, derived: hash(base(1, ("b",))) == hash((1, ("b",))),
    lambda base, derived: (dataclasses.is_dataclass(derived), [each.name for each in dataclasses.fields(derived)]),
    lambda base, derived: dataclasses.asdict(dataclasses.replace(derived(1), number=3)),
    lambda base, derived: (derived(4).twice(), derived.__match_args__ if dataclasses.fields(derived) else None),
    lambda base, derived: dataclasses.fields(base)[1].default,
]


def with_options(decorator: Callable[..., Any]) -> type[Any]:
    """A class that uses what fields and classes can be told."""

    @decorator(kw_only=True)
    class Options:
        """A class with its own comparison."""

        total: int = dataclasses.field(default=0, hash=False)
        name: str
        secret: str = dataclasses.field(default="x", repr=False)
        items: list[int] = dataclasses.field(default_factory=lambda: [1], compare=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "length", len(self.name))

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Options) and self.name == other.name

    return Options


OPTION_USES: list[Callable[[type[Any]], object]] = [
    lambda cls: repr(cls(name="a", total=2)).replace("with_options.<locals>.", ""),
    lambda cls: (cls(name="a", total=1) == cls(name="a"), cls(name="a") == cls(name="b"), cls(name="a") == "a"),
    lambda cls: hash(cls(name="a", total=1)) == hash(("a", "x")),
    lambda cls: (cls(name="abc").length, cls(name="a").items is cls(name="a").items, cls(name="a", items=[2]).items),
    lambda cls: dataclasses.replace(cls(name="a", secret="s"), name="b").secret,
    lambda cls: raised(lambda: cls("a")),
    lambda cls: raised(lambda: cls(total=3)),
    lambda cls: raised(lambda: cls(name="a", other=3)),
    lambda cls: raised(lambda: setattr(cls(name="a"), "length", 3)),
    lambda cls: raised(lambda: delattr(cls(name="a"), "name")),
    lambda cls: setattr(type("Sub", (cls,), {})(name="a"), "more", 3),
    lambda cls: raised(lambda: setattr(type("Sub", (cls,), {})(name="a"), "name", "b")),
]


def raised(work: Callable[[], object]) -> tuple[type[BaseException], str]:
    with pytest.raises((TypeError, AttributeError)) as caught:
        work()
    return caught.type, str(caught.value)


@pytest.mark.parametrize("use", OPTION_USES)
def test_options_of_fields_and_classes(use: Callable[[type[Any]], object]) -> None:
    standard = with_options(functools.partial(dataclasses.dataclass, frozen=True))
    assert use(with_options(lazy_dataclass)) == use(standard)


def test_an_object_that_has_itself() -> None:
    _, derived = classes(lazy_dataclass)
    first = derived(1)
    first.more.append(first)
    assert repr(first).endswith("Derived(number=1, names=(), more=[...])")


@pytest.mark.parametrize("use", USES)
def test_a_first_use(use: Callable[[type[Any], type[Any]], object]) -> None:
    assert use(*classes(lazy_dataclass)) == use(*classes(dataclasses.dataclass(frozen=True)))


def test_objects_are_frozen_and_arguments_checked() -> None:
    base, derived = classes(lazy_dataclass)
    with pytest.raises(TypeError, match="number"):
        derived()
    with pytest.raises(dataclasses.FrozenInstanceError):
        base(1).number = 2


def test_a_class_is_made_when_it_is_used() -> None:
    base, derived = classes(lazy_dataclass)
    assert "__eq__" not in base.__dict__
    base(1)
    assert "__eq__" in base.__dict__
    assert "__eq__" not in derived.__dict__


def test_threads_that_make_the_first_objects() -> None:
    """None finds a class that is being made: a thread that is switched to at each bytecode would."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(50):
                base, derived = classes(lazy_dataclass)
                made = [pool.submit(each, 1, ("a",)) for each in (base, derived, derived, base)]
                assert {repr(each.result()).rpartition(".")[2] for each in made} == {
                    "Base(number=1, names=('a',))",
                    "Derived(number=1, names=('a',), more=[])",
                }
    finally:
        sys.setswitchinterval(before)
