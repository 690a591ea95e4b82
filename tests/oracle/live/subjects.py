# SPDX-License-Identifier: GPL-2.0-or-later
"""The two that are compared: the kernel's own probes, made by the module, and ours, on the same functions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from armprobe import machine
from armprobe.machine import StopReason
from armprobe.probes import Era, Kprobe, Kprobes, Kretprobe, KretprobeInstance, ProbeError, PtRegs

from ...linux.shell import NotFinished, Shell  # noqa: TID252  # tests have no import name to go by
from .journal import FLAGS, REGISTERS, Event, Journal

NOBODY: Final = 64  # the probe of an event that is none's
_PLACES: Final = ("addr", "slot", "pc")  # addresses of probes, not of trampolines
_OBEY: Final = "(echo >/proc/oracle)"  # in a process of its own, which a fault may end
_NMISSED: Final = 0x20  # bytes from the start of struct kprobe
_U64: Final = (1 << 64) - 1


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
    """A guest with the module in it, at its shell. `journal` is what has happened to the probes."""

    def __init__(self, snapshot: Path) -> None:
        self.guest = machine.load(snapshot)
        self.shell = Shell(self.guest)
        self.symbols = self.guest.symbols
        self._module = Journal(self.guest, int(self.shell.run("cat /proc/oracle"), 16))
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

    def write(self, *commands: str) -> None:
        """Give commands to the module."""
        self._module.command("\n".join(commands))
        said, status = self.shell.status(_OBEY)
        assert (said, status) == ("", 0), said

    def nothing(self) -> int:
        """An address that leads to neither memory nor a device."""
        self.write(f"nothing {self.address('oracle_inner'):#x}")
        *_, called = self._module.read()
        return (int(called["x0"]) - int(called["x1"])) & _U64  # three times, and twice

    def die(self, function: str, *arguments: int) -> str:
        """Call a function that ends in an oops; what the kernel prints of that.

        The guest is of no use afterwards. Raises NotFinished if the machine stops before.
        """
        self.shell.run("dmesg -n 8")
        self._module.command(" ".join(("call", *map(hex, (self.address(function), *arguments)))))
        self.shell.type(_OBEY)
        printed = ""
        for _ in range(100):
            stop = self.guest.run(instructions=100_000)
            printed += self.guest.console.read().decode(errors="replace")
            if "---[ end trace" in printed:
                return printed
            if stop.reason is not StopReason.INSTRUCTIONS:
                raise NotFinished(stop)
        raise AssertionError(f"nothing ended: {printed}")

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


class KernelProbes(Subject):
    """The kernel's own probes."""

    def __init__(self, snapshot: Path) -> None:
        super().__init__(snapshot)
        names = "__kretprobe_trampoline", "kretprobe_trampoline"  # renamed in v5.16 (commit adf8a61a940c)
        self._trampoline = next(symbol.address for name in names if (symbol := self.symbols.get(name)))
        self._pending: list[str] = []

    def clear(self) -> None:
        super().clear()
        self._later("clear")

    def _later(self, *words: str | int) -> None:
        self._pending.append(" ".join(f"{word:#x}" if isinstance(word, int) else word for word in words))

    def _now(self) -> None:
        if self._pending:
            self.write(*self._pending)
            self._pending.clear()

    def _define(self, number: int, definition: Definition) -> None:
        d = definition
        place = d.symbol or "-", d.addr or 0, d.offset, d.flags
        self._later("define", number, int(d.returns), *place, d.maxactive & _U64, d.data_size)
        for after, action in enumerate((d.before, d.after)):
            if action is not None:
                function = self.address(action.call) if action.call else 0
                setting = REGISTERS.index(action.set) if action.set else len(REGISTERS)
                changed = function, action.argument, setting, action.value & _U64
                self._later("action", number, after, action.result & _U64, *changed)

    def register(self, number: int) -> None:
        self._later("register", number)

    def unregister(self, number: int) -> None:
        self._later("unregister", number)

    def enable(self, number: int) -> None:
        self._later("enable", number)

    def disable(self, number: int) -> None:
        self._later("disable", number)

    def change(self, number: int, *, addr: int | None = None, flags: int | None = None) -> None:
        if addr is not None:
            self._later("address", number, addr)
        if flags is not None:
            self._later("flags", number, flags)

    def call(self, function: str, *arguments: int) -> None:
        self._later("call", self.address(function), *arguments)

    def call_with_user_memory(self, function: str) -> None:
        self._later("user", self.address(function))

    def peek(self, address: int) -> None:
        self._later("peek", address)

    def nmissed(self, number: int) -> int:
        changes = [event for event in self.journal if event["what"] == "register" and event["probe"] == number]
        return self.guest.memory.read_u64(int(changes[-1]["kprobe"]) + _NMISSED)

    def register_no_kprobes(self, count: int) -> None:
        self._later("many", count & _U64)

    def sweep(self, addresses: range) -> list[int]:
        self._later("clear")
        self._later("sweep", addresses.start, len(addresses))
        self._now()
        return self._module.sweep()

    @property
    def journal(self) -> list[Event]:
        self._now()
        return [_without(event, {self._trampoline}) for event in self._module.read()]


class EngineProbes(Subject):
    """Ours, era v6.1."""

    def __init__(self, snapshot: Path, era: str | Era = "v6.1") -> None:
        super().__init__(snapshot)
        self.kprobes = Kprobes(self.guest, era)
        self._events: list[Event] = []
        self._probes: list[Kprobe | Kretprobe] = []

    def clear(self) -> None:
        super().clear()
        self._events.clear()
        self._probes.clear()
        self.write("clear")

    def _define(self, number: int, definition: Definition) -> None:
        d = definition
        place = d.symbol, d.addr, d.offset
        probe: Kprobe | Kretprobe
        if d.returns:
            handler = self._return_handler(number, d.after) if d.after else None
            entry = self._entry_handler(number, d.before) if d.before else None
            probe = Kretprobe(*place, handler, entry, d.maxactive, d.data_size)
        else:
            pre = self._pre_handler(number, d.before) if d.before else None
            post = self._post_handler(number, d.after) if d.after else None
            probe = Kprobe(*place, pre, post)
        _kprobe(probe).flags = d.flags
        self._probes.append(probe)

    def _pre_handler(self, number: int, action: Action):  # type: ignore[no-untyped-def]
        return lambda probe, regs: self._act(self._hit("pre", number, regs), action, regs)

    def _post_handler(self, number: int, action: Action):  # type: ignore[no-untyped-def]
        return lambda probe, regs, flags: self._act(self._hit("post", number, regs, flags=flags), action, regs)

    def _entry_handler(self, number: int, action: Action):  # type: ignore[no-untyped-def]
        def handler(instance: KretprobeInstance, regs: PtRegs) -> int:
            if len(instance.data) >= 8:
                instance.data[:8] = (~regs.regs[0] & _U64).to_bytes(8, "little")
            return self._act(self._hit("entry", number, regs), action, regs)

        return handler

    def _return_handler(self, number: int, action: Action):  # type: ignore[no-untyped-def]
        def handler(instance: KretprobeInstance, regs: PtRegs) -> int:
            data = int.from_bytes(instance.data[:8], "little")
            event = self._hit("return", number, regs, ret_addr=instance.ret_addr, fp=instance.fp, data=data)
            return self._act(event, action, regs)

        return handler

    def _hit(self, what: str, number: int, regs: PtRegs, **more: int) -> Event:
        words = *regs.regs, regs.sp, regs.pc, regs.pstate
        event: Event = {"what": what, "probe": number, **dict(zip(REGISTERS, words, strict=True))}
        daif = self.guest.call("oracle_daif")
        event |= {"daif": daif, "daif_after": daif, "mdscr": self.guest.registers["mdscr_el1"], "nested": 0}
        event |= {**self._missed(number), **more}
        self._events.append(event)
        return event

    def _missed(self, number: int) -> Event:
        probe = self._probes[number]
        if isinstance(probe, Kretprobe):
            return {"nmissed": probe.kp.nmissed, "missed_returns": probe.nmissed}
        return {"nmissed": probe.nmissed, "missed_returns": 0}

    def _act(self, event: Event, action: Action, regs: PtRegs) -> int:
        if action.call:
            event["nested"] = self.guest.call(self.address(action.call), action.argument)
            event["daif_after"] = self.guest.call("oracle_daif")
        if action.set.startswith("x"):
            regs.regs[int(action.set[1:])] = action.value
        elif action.set:
            setattr(regs, action.set, action.value)
        return action.result

    def register(self, number: int) -> None:
        probe = self._probes[number]
        try:
            if isinstance(probe, Kretprobe):
                self.kprobes.register_kretprobe(probe)
            else:
                self.kprobes.register_kprobe(probe)
        except ProbeError as error:
            self._changed("register", number, -error.errno)
        else:
            self._changed("register", number, 0)

    def unregister(self, number: int) -> None:
        self.kprobes.unregister(self._probes[number])
        self._changed("unregister", number, 0)

    def enable(self, number: int) -> None:
        self._switch("enable", number)

    def disable(self, number: int) -> None:
        self._switch("disable", number)

    def _switch(self, what: str, number: int) -> None:
        try:
            getattr(self.kprobes, what)(self._probes[number])
        except ProbeError as error:
            self._changed(what, number, -error.errno)
        else:
            self._changed(what, number, 0)

    def _changed(self, what: str, number: int, result: int) -> None:
        probe = self._probes[number]
        kprobe = _kprobe(probe)
        event: Event = {"what": what, "probe": number, "result": result, **self._missed(number)}
        event |= {"addr": kprobe.addr or 0, "flags": kprobe.flags & FLAGS}
        event["maxactive"] = probe.maxactive if isinstance(probe, Kretprobe) else 0
        site = kprobe.site if what == "register" and not result else None
        event["opcode"] = site.original if site else 0
        event["slot"] = site.slot if site else 0
        event["instructions"] = self.guest.memory.read_u64(site.slot) if site and site.slot else 0
        self._events.append(event)

    def change(self, number: int, *, addr: int | None = None, flags: int | None = None) -> None:
        kprobe = _kprobe(self._probes[number])
        if addr is not None:
            kprobe.addr = addr or None
        if flags is not None:
            kprobe.flags = flags

    def register_no_kprobes(self, count: int) -> None:
        try:
            self.kprobes.register_kprobes([])  # the length of a list cannot be less than 0
        except ProbeError as error:
            self._events.append({"what": "register_many", "probe": NOBODY, "result": -error.errno})

    def call(self, function: str, *arguments: int) -> None:
        self._tell("call", self.address(function), *arguments)

    def call_with_user_memory(self, function: str) -> None:
        self._tell("user", self.address(function))

    def nmissed(self, number: int) -> int:
        return int(self._missed(number)["nmissed"])

    def peek(self, address: int) -> None:
        self._tell("peek", address)

    def _tell(self, command: str, *numbers: int) -> None:
        """Have the module do something, which it writes down after what happens to the probes meanwhile."""
        before = len(self._module)
        self.write(" ".join((command, *map(hex, numbers))))
        self._events += self._module.read(before)

    def sweep(self, addresses: range) -> list[int]:
        results = []
        for address in addresses:
            probe = Kprobe(addr=address, disabled=True)
            try:
                self.kprobes.register_kprobe(probe)
            except ProbeError as error:
                results.append(-error.errno)
            else:
                self.kprobes.unregister(probe)
                results.append(0)
        return results

    @property
    def journal(self) -> list[Event]:
        scratch = self.guest.scratch
        trampolines = {
            value for event in self._events for value in event.values() if isinstance(value, int) and value in scratch
        }
        return [_without(event, trampolines) for event in self._events]


def _kprobe(probe: Kprobe | Kretprobe) -> Kprobe:
    return probe.kp if isinstance(probe, Kretprobe) else probe


def _without(event: Event, trampolines: set[int]) -> Event:
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


def disagreements(kernel: KernelProbes, engine: EngineProbes, addresses: range) -> list[str]:
    """Where the results of registering differ."""
    return [
        f"{engine.symbols.describe(address)}: {real} in the kernel, {ours} here"
        for address, real, ours in zip(addresses, kernel.sweep(addresses), engine.sweep(addresses), strict=True)
        if real != ours
    ]
