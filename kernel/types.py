# SPDX-License-Identifier: GPL-2.0-or-later
"""The types of a guest kernel, by one interface: `kernel.types["task_struct"].offset("comm")`.

`btf` and `dwarf` read them from what the kernel's build has left. A type reads the types that it refers to when they
are asked for. Names are those of C, spelled as drgn spells them: `unsigned long`, `struct file *`, `char [16]`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from functools import cached_property
from typing import Final, NamedTuple

from armprobe.machine.errors import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.similar_names import did_you_mean

from .type_names import named_type, parse_type_name, spelled_integer

DEEPEST: Final = 32  # nested structs, as in the kernel: MAX_RESOLVE_DEPTH in kernel/bpf/btf.c
MOST_MEMBERS: Final = 65_535  # of a struct, without those of structs in it: BTF_MAX_VLEN
LONGEST_NAME: Final = 10_000  # characters of a type's name
QUALIFIERS: Final = ("const", "volatile", "restrict", "_Atomic")
POINTER_SIZE: Final = 8  # bytes, on arm64
_MOST_FOUND: Final = 10_000  # names that are kept


class Type(ABC):
    """A type of C."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes. Raises MachineError for a type that no value can have, and for damaged type information."""

    @abstractmethod
    def declare(self, inner: str = "", depth: int = 0) -> str:
        """The declaration of `inner` with this type, and the type's name without `inner`.

        `depth` is the number of types around this one. Raises MachineError for damaged type information.
        """

    def resolve(self) -> Type:
        """The type without typedefs and qualifiers. Raises MachineError for damaged type information."""
        kind: Type = self
        for _ in range(DEEPEST):
            if not isinstance(kind, Typedef | Qualified):
                return kind
            kind = kind.target
        raise too_deep()

    def __str__(self) -> str:
        return self.declare()

    def __repr__(self) -> str:
        return f"<{self}>"


def too_deep() -> MachineError:
    """The error for types that refer to one another in a circle, or nearly."""
    return MachineError(f"the guest's type information nests types more than {DEEPEST} deep")


def _joined(name: str, inner: str) -> str:
    return f"{name} {inner}" if inner else name


class Void(Type):
    """What `void *` points to."""

    @property
    def size(self) -> int:
        """Not known: raises MachineError."""
        raise MachineError("void has no size: convert the pointer to another type")

    def declare(self, inner: str = "", depth: int = 0) -> str:
        """See `Type`."""
        return _joined("void", inner)


class Integer(Type):
    """An integer, a character or a bool."""

    def __init__(self, name: str, size: int, signed: bool) -> None:
        self.name = spelled_integer(name)
        self._size = size
        self.signed = signed

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    @property
    def character(self) -> bool:
        """Whether an array of it is text."""
        return self.name in ("char", "signed char", "unsigned char")

    def declare(self, inner: str = "", depth: int = 0) -> str:
        """See `Type`."""
        return _joined(self.name, inner)


class Float(Integer):
    """A floating-point number."""


class Enum(Type):
    """An enumeration. `enumerators` are its numbers by name."""

    def __init__(self, name: str, size: int, signed: bool, enumerators: Mapping[str, int]) -> None:
        self.name = name
        self._size = size
        self.signed = signed
        self.enumerators = enumerators

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def name_of(self, number: int) -> str | None:
        """The first name of that number; None if it has none."""
        return next((name for name, each in self.enumerators.items() if each == number), None)

    def declare(self, inner: str = "", depth: int = 0) -> str:
        """See `Type`."""
        return _joined(f"enum {self.name or '<anonymous>'}", inner)


class _Reference(Type):
    """A type that refers to another one."""

    def __init__(self, target: Callable[[], Type]) -> None:
        self._read = target

    @cached_property
    def target(self) -> Type:
        """The type referred to. Raises MachineError for damaged type information."""
        return self._read()

    def _declare_target(self, inner: str, depth: int) -> str:
        if depth >= DEEPEST:
            raise too_deep()
        return self.target.declare(inner, depth + 1)


class Pointer(_Reference):
    """A pointer to `target`."""

    @property
    def size(self) -> int:
        """Bytes."""
        return POINTER_SIZE

    def declare(self, inner: str = "", depth: int = 0) -> str:
        """See `Type`."""
        inner = f"*{inner}"
        return self._declare_target(f"({inner})" if isinstance(self.target, Array | Function) else inner, depth)


class Array(_Reference):
    """An array of `count` times `target`. `count` is None where the declaration does not say it."""

    def __init__(self, target: Callable[[], Type], count: int | None) -> None:
        super().__init__(target)
        self.count = count

    @property
    def size(self) -> int:
        """Bytes; 0 for an array without a count."""
        size, kind = self.count or 0, self.target.resolve()
        for _ in range(DEEPEST):
            if not isinstance(kind, Array):
                return size * kind.size
            size, kind = size * (kind.count or 0), kind.target.resolve()
        raise too_deep()

    def declare(self, inner: str = "", depth: int = 0) -> str:
        """See `Type`."""
        return self._declare_target(f"{inner}[{'' if self.count is None else self.count}]", depth)


class Typedef(_Reference):
    """Another name of `target`."""

    def __init__(self, name: str, target: Callable[[], Type]) -> None:
        super().__init__(target)
        self.name = name

    @property
    def size(self) -> int:
        """Bytes."""
        return self.resolve().size

    def declare(self, inner: str = "", depth: int = 0) -> str:
        """See `Type`."""
        return _joined(self.name, inner)


class Qualified(_Reference):
    """`target` with a qualifier: const, volatile, restrict or _Atomic."""

    def __init__(self, qualifier: str, target: Callable[[], Type]) -> None:
        super().__init__(target)
        self.qualifier = qualifier

    @property
    def size(self) -> int:
        """Bytes."""
        return self.resolve().size

    def declare(self, inner: str = "", depth: int = 0) -> str:
        """See `Type`."""
        if depth >= DEEPEST:
            raise too_deep()
        found, target = {self.qualifier}, self.target
        for _ in range(DEEPEST):
            if not isinstance(target, Qualified):
                break
            found.add(target.qualifier)
            target = target.target
        else:
            raise too_deep()
        if isinstance(target, Array):  # the elements are qualified
            element = target.target
            for each in found:
                element = Qualified(each, lambda inner=element: inner)  # type: ignore[misc]
            return Array(lambda: element, target.count).declare(inner, depth + 1)
        qualifiers = " ".join(sorted(found, key=QUALIFIERS.index))
        if isinstance(target, Pointer):  # char * const
            return target.declare(" " + _joined(qualifiers, inner), depth + 1)
        return f"{qualifiers} {target.declare(inner, depth + 1)}"


class Parameter(NamedTuple):
    """A parameter of a function. `name` is empty where the declaration has none."""

    name: str
    type: Type


class Function(_Reference):
    """The type of a function that returns a `target`."""

    def __init__(self, result: Callable[[], Type], parameters: Callable[[], list[Parameter]], variadic: bool) -> None:
        super().__init__(result)
        self._read_parameters = parameters
        self._declared: str | None = None
        self.variadic = variadic

    @cached_property
    def parameters(self) -> list[Parameter]:
        """The parameters in order, without those that stand for `...`."""
        return self._read_parameters()

    @property
    def size(self) -> int:
        """Not known: raises MachineError."""
        raise MachineError("a function has no size as a type")

    def declare(self, inner: str = "", depth: int = 0) -> str:
        """See `Type`."""
        if self._declared is None:  # once, as functions may take functions that take functions
            if depth >= DEEPEST:
                raise too_deep()
            texts, left = [], LONGEST_NAME
            for each in self.parameters:
                texts.append(each.type.declare(each.name, depth + 1))
                left -= len(texts[-1])
                if left < 0:
                    raise MachineError(f"a type of the guest has a name of more than {LONGEST_NAME:,} characters")
            self._declared = ", ".join([*texts, *["..."] * self.variadic]) or "void"
        return self._declare_target(f"{inner}({self._declared})", depth)


def _not_read() -> Type:
    return Void()


@lazy_dataclass
class Member:
    """A member of a struct or union.

    `bit_offset` counts from the start of the named struct. `bit_field_size` is the number of bits of a bit field, and
    None for other members.
    """

    name: str
    bit_offset: int
    bit_field_size: int | None
    read_type: Callable[[], Type] = field(default=_not_read, compare=False, repr=False)

    @property
    def offset(self) -> int:
        """Bytes from the start of the struct to the byte in which the member begins."""
        return self.bit_offset // 8

    @property
    def type(self) -> Type:
        """Its type. Raises MachineError for damaged type information."""
        return self.read_type()


class Field(NamedTuple):
    """A member as type information has it. `nested` is its type if that is a struct or union without a name."""

    name: str
    bit_offset: int
    bit_field_size: int | None
    nested: Layout | None
    read_type: Callable[[], Type]


class Layout(ABC):
    """A struct or union in type information."""

    @property
    @abstractmethod
    def key(self) -> int:
        """A number that no other struct of this type information has."""

    @abstractmethod
    def fields(self) -> Iterator[Field]:
        """The members in order, those without a name too. Raises MachineError for damaged type information."""


class Struct(Type):
    """A struct or union, as `kind` says. `layout` is None where only its name is known."""

    def __init__(self, name: str, size: int, layout: Layout | None, kind: str = "struct") -> None:
        self.name = name
        self.kind = kind
        self._size = size
        self._layout = layout

    def _known(self) -> Layout:
        if self._layout is None:
            raise MachineError(f"this kernel's type information does not say what is in {self}")
        return self._layout

    @property
    def size(self) -> int:
        """Bytes. Raises MachineError where only the name is known."""
        self._known()
        return self._size

    @property
    def known(self) -> bool:
        """Whether its members are known, not only its name."""
        return self._layout is not None

    def fields(self) -> Iterator[Field]:
        """The members in order, those without a name too. Raises MachineError where only the name is known."""
        return self._known().fields()

    @cached_property
    def members(self) -> Mapping[str, Member]:
        """The members by name, in order. Includes the members of structs and unions without a name in it.

        Raises MachineError for damaged type information.
        """
        found: dict[str, Member] = {}
        self._collect(self._known(), 0, found, set(), 0)
        return found

    def offset(self, path: str) -> int:
        """Bytes from the start to a member, such as `comm` or `thread.cpu_context.pc`.

        Raises MachineError if there is no such member.
        """
        return self.member(path).offset

    def member(self, path: str) -> Member:
        """The member at `path`, from the start of this struct. Raises MachineError if there is no such member."""
        struct, start, names = self, 0, path.split(".")
        for name in names[:-1]:
            found = struct._own(name)
            inner = found.type.resolve()
            if not isinstance(inner, Struct):
                raise MachineError(f"{name} in a {struct} is no struct, but a {found.type}")
            struct, start = inner, start + found.bit_offset
        found = struct._own(names[-1])
        return Member(path, start + found.bit_offset, found.bit_field_size, found.read_type)

    def _own(self, name: str) -> Member:
        if name not in self.members:
            raise MachineError(
                f"this kernel's type information has no member {name} in a {self}{did_you_mean(name, self.members)}"
            )
        return self.members[name]

    def _collect(self, layout: Layout, start: int, found: dict[str, Member], seen: set[int], depth: int) -> None:
        if depth == DEEPEST:
            raise MachineError(f"the guest's type information nests structs more than {DEEPEST} deep")
        seen.add(layout.key)  # no compiler puts one type without a name into a struct twice
        for each in layout.fields():
            at = start + each.bit_offset
            if each.nested is not None and not each.name:
                if each.nested.key not in seen:
                    self._collect(each.nested, at, found, seen, depth + 1)
            elif each.name:
                found.setdefault(each.name, Member(each.name, at, each.bit_field_size, each.read_type))

    def declare(self, inner: str = "", depth: int = 0) -> str:
        """See `Type`."""
        return _joined(f"{self.kind} {self.name or '<anonymous>'}", inner)


class Types(ABC):
    """The types of a kernel by name."""

    def __getitem__(self, name: str) -> Struct:
        """The struct or union called `name`. Raises MachineError if there is none."""
        found = self.find(name, "struct")
        if not isinstance(found, Struct):
            raise MachineError(f"this kernel's type information has no struct {name}")
        return found

    def __contains__(self, name: str) -> bool:
        return self.find(name, "struct") is not None

    def type(self, text: str) -> Type:
        """The type that C calls `text`, such as `struct file *`, `pid_t` or `char[16]`.

        A name without `struct` can be that of a struct, too. Raises MachineError for an unknown type.
        """
        return parse_type_name(text, self)

    def known(self, name: str) -> Type | None:
        """As `type`, but None for an unknown name."""
        return named_type(name.split(), self)

    def function(self, name: str) -> Function:
        """The prototype of a function. Raises MachineError if there is none."""
        found = self.find(name, "function")
        if not isinstance(found, Function):
            raise MachineError(f"this kernel's type information has no function {name}")
        return found

    def variable(self, name: str) -> Type | None:
        """The type of a global variable; None if it is not known. Raises MachineError for damaged type information."""
        return self.find(name, "variable")

    def enumerator(self, name: str) -> tuple[Enum, int] | None:
        """The first enumeration that has a constant called `name`, and its number; None if there is none.

        Raises MachineError for damaged type information.
        """
        found = self.find(name, "enumerator")
        return (found, found.enumerators[name]) if isinstance(found, Enum) and name in found.enumerators else None

    def find(self, name: str, kind: str) -> Type | None:
        """The first definition of that name and `kind`: struct (or union), enum, typedef, integer or function.

        With the kind `enumerator` it is the enumeration that has it, with `variable` the type of a global variable.

        None if there is none. Raises MachineError for damaged type information.
        """
        if (name, kind) not in self._found:
            if len(self._found) >= _MOST_FOUND:
                self._found.clear()
            self._found[name, kind] = self._find(name, kind) if name else None
        return self._found[name, kind]

    @cached_property
    def _found(self) -> dict[tuple[str, str], Type | None]:
        """What `find` has said: a search of a kernel's types takes some 50 us."""
        return {}

    @abstractmethod
    def _find(self, name: str, kind: str) -> Type | None:
        """What `find` says, for a name that is not empty."""


class NoTypes(Types):
    """The types of a guest that has none, as `why` says."""

    def __init__(self, why: str) -> None:
        self._why = why

    def _find(self, name: str, kind: str) -> Type | None:
        raise MachineError(self._why)
