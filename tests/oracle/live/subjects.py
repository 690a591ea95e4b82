# SPDX-License-Identifier: GPL-2.0-or-later
"""What is compared: probes on the module's functions, whoever makes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from armprobe.machine import Machine
from tests.oracle.live.guests import Death
from tests.oracle.live.journal import Event

NOBODY: Final = 64  # the probe of an event that is none's
_PLACES: Final = ("addr", "slot", "pc")  # addresses of probes, not of trampolines


@dataclass(frozen=True)
class Action:
    """What a handler does after it has written down what it is given: call, set a register, return a result."""

    result: int = 0
    call: str = ""
    argument: int = 0
    set: str = ""
    value: int = 0


@dataclass(frozen=True)
class Definition:
    """A probe before it is registered. `before` is what its pre- or entry handler does, `after` the other."""

    returns: bool
    symbol: str | None = None
    addr: int | None = None
    offset: int = 0
    flags: int = 0
    before: Action | None = Action()
    after: Action | None = Action()
    maxactive: int = 0
    data_size: int = 0


class Subject(ABC):
    """A guest with the module in it. `journal` is what has happened to the probes."""

    def __init__(self, guest: Machine) -> None:
        self.guest = guest
        self.symbols = guest.symbols
        self._defined = 0

    def kprobe(
        self,
        symbol: str | None = None,
        *,
        addr: int | None = None,
        offset: int = 0,
        flags: int = 0,
        pre: Action | None = Action(),
        post: Action | None = Action(),
    ) -> int:
        """The number of a struct kprobe, not registered."""
        return self._number(Definition(False, symbol, addr, offset, flags, pre, post))

    def kretprobe(
        self,
        symbol: str | None = None,
        *,
        addr: int | None = None,
        offset: int = 0,
        flags: int = 0,
        entry: Action | None = Action(),
        handler: Action | None = Action(),
        maxactive: int = 0,
        data_size: int = 0,
    ) -> int:
        """The number of a struct kretprobe, not registered."""
        return self._number(Definition(True, symbol, addr, offset, flags, entry, handler, maxactive, data_size))

    def _number(self, definition: Definition) -> int:
        number = self._defined
        self._defined += 1
        self._define(number, definition)
        return number

    def address(self, name: str) -> int:
        """Where "symbol" or "symbol+offset" is."""
        symbol, _, offset = name.partition("+")
        return self.symbols[symbol].address + int(offset or "0", 0)

    def instructions(self, function: str) -> range:
        """Where the first 256 instructions of a function are."""
        symbol = self.symbols[function]
        return range(symbol.address, symbol.address + min(symbol.size, 1024), 4)

    def registered(self, *numbers: int) -> list[int]:
        """Register several; those of them that were accepted."""
        for number in numbers:
            self.register(number)
        changes = [event for event in self.journal if event["what"] == "register" and not event["result"]]
        accepted = {event["probe"] for event in changes}
        return [number for number in numbers if number in accepted]

    def unregistered(self, *numbers: int) -> None:
        """Unregister several."""
        for number in numbers:
            self.unregister(number)

    @abstractmethod
    def nothing(self) -> int:
        """An address that leads to neither memory nor a device."""

    @abstractmethod
    def die(self, function: str, *arguments: int) -> Death:
        """Call a function that ends in an oops.

        The guest is of no use afterwards. Raises NotFinished if the machine stops before.
        """

    @abstractmethod
    def clear(self) -> None:
        """Forget all that happened, and all probes, which have to be unregistered."""
        self._defined = 0

    @abstractmethod
    def _define(self, number: int, definition: Definition) -> None: ...

    @abstractmethod
    def register(self, number: int) -> None:
        """Register one."""

    @abstractmethod
    def unregister(self, number: int) -> None:
        """Unregister one."""

    @abstractmethod
    def enable(self, number: int) -> None:
        """Enable one."""

    @abstractmethod
    def disable(self, number: int) -> None:
        """Disable one."""

    @abstractmethod
    def change(self, number: int, *, addr: int | None = None, flags: int | None = None) -> None:
        """Set fields of one that was registered before."""

    @abstractmethod
    def register_no_kprobes(self, count: int) -> None:
        """register_kprobes() with a number of them that is 0 or less."""

    @abstractmethod
    def call(self, function: str, *arguments: int) -> None:
        """Call a function of the module, with known values in the registers that are no arguments."""

    @abstractmethod
    def call_with_user_memory(self, function: str) -> None:
        """Call it with an address in user memory that has no page yet."""

    @abstractmethod
    def nmissed(self, number: int) -> int:
        """nmissed of a struct kprobe that was registered."""

    @abstractmethod
    def peek(self, address: int) -> None:
        """The word that the guest has at an address."""

    @abstractmethod
    def sweep(self, addresses: range) -> list[int]:
        """What registering a disabled kprobe at each of `addresses`, 4 apart, gives."""

    @property
    @abstractmethod
    def journal(self) -> list[Event]:
        """What happened since it was cleared."""


def without(event: Event, trampolines: set[int]) -> Event:
    """The event, with a name instead of the address of a trampoline in registers."""
    return {
        field: "the trampoline" if value in trampolines and field not in _PLACES else value
        for field, value in event.items()
    }


def at_stage(subject: Subject, stage: str, action: Action) -> int:
    """A kprobe on oracle_add whose handler of that stage, "pre" or "post", does `action`."""
    pre, post = (action, Action()) if stage == "pre" else (Action(), action)
    return subject.kprobe("oracle_add", pre=pre, post=post)


Scenario = Callable[[Subject], None]


def played(scenario: Scenario, subject: Subject) -> list[Event]:
    """What happens when the scenario is played with the subject."""
    subject.clear()
    scenario(subject)
    return subject.journal


def disagreements(kernel: Subject, engine: Subject, addresses: range) -> list[str]:
    """Where the results of registering differ."""
    return [
        f"{engine.symbols.describe(address)}: {real} in the kernel, {ours} here"
        for address, real, ours in zip(addresses, kernel.sweep(addresses), engine.sweep(addresses), strict=True)
        if real != ours
    ]
