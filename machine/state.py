# SPDX-License-Identifier: GPL-2.0-or-later
"""The state of a machine. Each part with state joins the registry, which snapshots, their files and reset use."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .errors import MachineError
from .field_checks import Check, misfit

_ENCODER: Final = json.JSONEncoder(default=list)  # json.dumps() makes one each time
Values = dict[str, Any]
"""The state of a part, as JSON can hold it."""


class Order(enum.IntEnum):
    """The order in which parts are restored, and then told that all are: after those that they rely on."""

    CLOCK = enum.auto()
    DEVICES = enum.auto()
    MEMORY = enum.auto()
    CORE = enum.auto()
    GUEST = enum.auto()  # knowledge about the guest: its modules, its tasks
    PROBES = enum.auto()


class Part(Protocol):
    """A part whose attributes hold all of its state, as JSON values or as ctypes arrays of numbers.

    `STATE` names the attributes, each with the check for its value in a file. A part that gives only names and no
    checks is left out of files.
    """

    @property
    def STATE(self) -> Mapping[str, Check] | tuple[str, ...]: ...


class Volume(NamedTuple):
    """Bytes of memory that a saved state takes.

    `alone` are those that it shares with no other. Of records, of which the state has the latest, there were `written`
    until then, and there are `kept` in it. Those it shares with states before and after it.
    """

    alone: int = 0
    written: int = 0
    kept: int = 0

    def beyond(self, earlier: Volume) -> int:
        """The bytes that this state takes when there is an `earlier` one."""
        new = self.written - earlier.written
        return self.alone + (min(new, self.kept) if new >= 0 else self.kept)


@lazy_dataclass
class Entry:
    """The functions that save and restore the state of one part.

    `misfit` returns the first field that is invalid in a file, or "". It is None for a part that files leave out.
    `file_form` saves and restores the form used in files, if that differs. `restored` is called when all parts are
    restored. `volume` is that of a saved state, for parts whose states are large.
    """

    order: Order
    save: Callable[[], Any]
    restore: Callable[[Any], None]
    misfit: Callable[[Any], str] | None = None
    file_form: tuple[Callable[[], Any], Callable[[Any], None]] | None = None
    restored: Callable[[], None] | None = None
    volume: Callable[[Any], Volume] | None = None


class StateRegistry:
    """The parts of one machine that have state, by name.

    Parts of the same order are restored in the order in which they joined. `before_saving` are called before a file is
    written; each may raise MachineError to refuse. `completing` are called before any state is saved: they write to
    memory what belongs there.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._callbacks: list[tuple[Order, Callable[[], None]]] = []
        self._initial: dict[str, Any] | None = None
        self.restorations = 0  # how often another state was put in place
        self.before_saving: list[Callable[[], None]] = []
        self.completing: list[Callable[[], None]] = []

    def join(self, name: str, part: Part, order: Order, restored: Callable[[], None] | None = None) -> None:
        """Make the attributes of `part` a part of the state; see `add`."""
        fields = part.STATE

        def save() -> Values:
            return _copied({attribute: getattr(part, attribute) for attribute in fields})

        def restore(values: Values) -> None:
            for attribute, value in _copied(values).items():
                setattr(part, attribute, value)

        check = (lambda values: misfit(values, fields)) if isinstance(fields, Mapping) else None
        self.add(name, Entry(order, save, restore, check, restored=restored))

    def add(self, name: str, entry: Entry) -> None:
        """Make `entry` a part of the state. A state saved earlier restores the part as it is now.

        Raises MachineError for a name that another part has.
        """
        if name in self._entries:
            raise MachineError(f"the state of this machine has '{name}' already: use the one that it belongs to")
        self._entries[name] = entry
        if entry.restored is not None:
            self._callbacks.append((entry.order, entry.restored))
        if self._initial is not None:
            self._initial[name] = entry.save()

    def on_restored(self, order: Order, callback: Callable[[], None]) -> None:
        """Call `callback` when all parts are restored, to drop values derived from the state before."""
        self._callbacks.append((order, callback))

    def save(self) -> dict[str, Any]:
        """The state of all parts, to `restore` in this process."""
        for complete in self.completing:
            complete()
        return {name: entry.save() for name, entry in self._entries.items()}

    def volume(self, state: Mapping[str, Any]) -> Volume:
        """The volume of the large parts of a state that `save` returned."""
        volumes = [entry.volume(state[name]) for name, entry in self._entries.items() if entry.volume is not None]
        return Volume(*map(sum, zip(Volume(), *volumes, strict=True)))

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `save` returned. A part missing from it joined later, and returns to its first state."""
        assert self._initial is not None
        for name, entry in self._in_order():
            entry.restore(state[name] if name in state else self._initial[name])
        self._tell()

    def save_for_file(self) -> dict[str, Any]:
        """The state of the parts that files contain. Raises MachineError if a part refuses."""
        for check in self.before_saving:
            check()
        return {
            name: entry.save() if entry.file_form is None else entry.file_form[0]()
            for name, entry in self._entries.items()
            if entry.misfit is not None
        }

    def misfit(self, state: Any) -> str:
        """The first part of a file's state, and its field, with an invalid value; "" if all are valid."""
        filed = {name: entry.misfit for name, entry in self._entries.items() if entry.misfit is not None}
        name = misfit(state, {name: _fits(wrong) for name, wrong in filed.items()})
        field = filed[name](state[name]) if name in filed and name in state else ""
        return f"{name}.{field}" if field else name

    def misfit_of_parts(self, parts: Mapping[str, Any]) -> str:
        """The first of these parts of a file's state that has an invalid value, or is none; "" if all are valid."""
        for name, part in parts.items():
            entry = self._entries.get(name)
            if entry is None or entry.misfit is None:
                return name
            if field := entry.misfit(part):
                return f"{name}.{field}"
        return ""

    def restore_from_file(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `save_for_file` returned and that `misfit` has accepted."""
        assert self._initial is not None
        for name, entry in self._in_order():
            if entry.misfit is None:
                entry.restore(self._initial[name])
            else:
                (entry.restore if entry.file_form is None else entry.file_form[1])(state[name])
        self._tell()

    def begin(self) -> None:
        """Make the present state the one that `reset` goes back to."""
        self._initial = self.save()

    def initial(self, name: str) -> Values:
        """The values that `reset` gives the part called `name`. The part's owner may change them."""
        assert self._initial is not None
        values: Values = self._initial[name]
        return values

    def reset(self) -> None:
        """Go back to the state at `begin`."""
        self.restore({})

    def _in_order(self) -> list[tuple[str, Entry]]:
        return sorted(self._entries.items(), key=lambda item: item[1].order)

    def _tell(self) -> None:
        self.restorations += 1
        for _, callback in sorted(self._callbacks, key=lambda item: item[0]):
            callback()


def _fits(wrong: Callable[[Any], str]) -> Check:
    return lambda values: not wrong(values)


def _copied(values: Values) -> Values:
    """A copy that shares nothing with the part. Arrays that the part shares with the C core become lists."""
    copy: Values = json.loads(_ENCODER.encode(values))
    return copy
