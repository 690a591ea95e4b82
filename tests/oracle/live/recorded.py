# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's side of a comparison: its answers put on record, and given again from there."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final

from armprobe.kernel.guest_call import call_uninterrupted
from armprobe.machine import Machine, MachineError, Symbol
from armprobe.probes.eras import AREAS
from tests.oracle.live.guests import Death, LiveGuest
from tests.oracle.live.journal import Event
from tests.oracle.live.kernel_probes import Kernel, KernelProbes
from tests.oracle.live.record import Memory, Record, Row, Tape
from tests.oracle.live.subjects import Definition

_LINE: Final = 64  # bytes of text kept together
_BEFORE: Final = 128  # bytes before an instruction that the scan for exclusives looks at
_LONGEST: Final = 1024  # bytes of a function
_PAGE: Final = 4096
_LANDMARKS: Final = ("_stext", "_etext", "_sinittext", "_einittext")
_NOP, _B = 0xD503_201F, 0b000101
_FRAME: Final = 112  # bytes that oracle_call() has below the sp it is entered with (module/call.S)
_LETTERS: Final = {"function": "t", "object": "d", "other": "a"}


class RecordingKernel(KernelProbes):
    """A kernel that runs, whose answers are put on `tape`. `asked` is what it was asked about."""

    def __init__(self, live: LiveGuest, tape: Tape, asked: Asked) -> None:
        super().__init__(live)
        self._tape, self._asked = tape, asked

    def address(self, name: str) -> int:
        self._asked.names.add(name.partition("+")[0])
        return super().address(name)

    def instructions(self, function: str) -> range:
        self._asked.names.add(function)
        return super().instructions(function)

    def _define(self, number: int, definition: Definition) -> None:
        if definition.symbol is not None:
            self._asked.names.add(definition.symbol)
        super()._define(number, definition)

    def sweep(self, addresses: range) -> list[int]:
        answer = super().sweep(addresses)
        self._asked.addresses.update(addresses)
        self._tape.put("sweep", answer)
        return answer

    def blacklist(self) -> list[tuple[int, int, str]]:
        answer = super().blacklist()
        self._tape.put("blacklist", answer)
        return answer

    def dmesg(self, pattern: str) -> list[str]:
        answer = super().dmesg(pattern)
        self._tape.put("dmesg", answer)
        return answer

    def nmissed(self, number: int) -> int:
        answer = super().nmissed(number)
        self._tape.put("nmissed", answer)
        return answer

    def die(self, function: str, *arguments: int) -> Death:
        answer = super().die(function, *arguments)
        self._tape.put("die", answer)
        return answer

    @property
    def journal(self) -> list[Event]:
        events = super().journal
        new = self._tape.put_journal(events)
        self._asked.addresses.update(int(event["addr"]) for event in new if event.get("addr"))
        return events


class RecordedKernel(Kernel):
    """A kernel that is not there, whose answers are on `tape`. `guest` has what is recorded of its memory."""

    def __init__(self, guest: Machine, tape: Tape) -> None:
        super().__init__(guest)
        self._tape = tape

    def clear(self) -> None:
        super().clear()

    def _obeyed(self, *arguments: Any, **named: Any) -> None:
        """What is done is on record already."""

    _define = register = unregister = enable = disable = change = _obeyed
    register_no_kprobes = call = call_with_user_memory = peek = _obeyed

    def oops(self) -> None: ...

    def nothing(self) -> int:
        return 0  # nobody calls with it

    def sweep(self, addresses: range) -> list[int]:
        return list(self._tape.get("sweep"))

    def blacklist(self) -> list[tuple[int, int, str]]:
        return [(start, end, name) for start, end, name in self._tape.get("blacklist")]

    def dmesg(self, pattern: str) -> list[str]:
        return list(self._tape.get("dmesg"))

    def nmissed(self, number: int) -> int:
        self.journal  # noqa: B018  # which KernelProbes looks the struct kprobe up in, and so is on the tape
        return int(self._tape.get("nmissed"))

    def die(self, function: str, *arguments: int) -> Death:
        return Death(*self._tape.get("die"))

    @property
    def journal(self) -> list[Event]:
        return self._tape.get_journal()


class Asked:
    """The names and addresses that a kernel was asked about."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.addresses: set[int] = set()


def describe(live: LiveGuest, asked: Asked) -> Memory:
    """What the engine will look at when it is asked about the same. The guest has no probes in it."""
    guest, memory = live.guest, Memory()
    memory.mdscr = guest.registers["mdscr_el1"]
    for command, function in (("call", "oracle_inner"), ("user", "oracle_load")):
        *_, called = live.tell(command, guest.symbols[function].address)
        memory.stack[command] = int(called["sp"]) + _FRAME
        memory.user = int(called["x2"])
    memory.blacklist = [(start, end) for start, end, _ in KernelProbes(live).blacklist()]
    module = guest.symbols.modules["oracle"]
    memory.module, memory.module_areas = _rows(module), list(module._areas)
    own = [symbol for symbol in guest.symbols if guest.symbols.module_at(symbol.address) is None]
    linkers = [name for area in AREAS for name in area]
    names = {name for name in (*asked.names, *_LANDMARKS, *linkers) if guest.symbols.in_kernel(name)}
    addresses = asked.addresses | {guest.symbols[name].address for name in names}
    found = [covering[0] for address in sorted(addresses) if (covering := guest.symbols.at(address))]
    memory.symbols = _rows(_with_next(own, {symbol.address for symbol in found if symbol in own}))
    # All of the module, and of the kernel the functions asked about, with what is before and behind each place.
    ranges = [range(start, end) for start, end in memory.module_areas]
    for symbol in found:
        ranges.append(range(symbol.address - _BEFORE, symbol.address + min(symbol.size, _LONGEST)))
    ranges += [range(address - _BEFORE, address + _LINE) for address in addresses]
    lines = {at for each in ranges for at in range(each.start & -_LINE, each.stop, _LINE)}
    words = []
    for at in sorted(lines):
        try:
            data = guest.memory.read(at, _LINE)
            executable = guest.memory.translate(at).executable
        except MachineError:
            continue
        memory.lines[f"{at:x}"] = data.hex()
        if executable:
            memory.executable.append(at & -_PAGE)
            words += [(at + 4 * index, word) for index, (word,) in enumerate(struct.iter_unpack("<I", data))]
    memory.executable = sorted(set(memory.executable))
    for timer in guest.core.timers.values():  # or a tick waits during each call, which makes it slow
        timer.write(1, 0)
    memory.may_fault = [at for at, _ in words if call_uninterrupted(guest, "search_exception_tables", at)]
    memory.jump_labels = [
        at
        for at, word in words
        if (word == _NOP or word >> 26 == _B)
        and call_uninterrupted(guest, "jump_label_text_reserved", at, at) & 0xFFFF_FFFF
    ]
    return memory


def _rows(symbols: Iterable[Symbol]) -> list[Row]:
    return [(symbol.name, symbol.address, _LETTERS[symbol.kind]) for symbol in symbols]


def _with_next(own: Sequence[Symbol], addresses: set[int]) -> list[Symbol]:
    """The symbols at these addresses, and those at the next address that has any."""
    following = dict(zip(ordered := sorted({symbol.address for symbol in own}), [*ordered[1:], 0], strict=True))
    wanted = addresses | {following[address] for address in addresses}
    return [symbol for symbol in own if symbol.address in wanted]


def finish(record: Record, live: LiveGuest, asked: Asked) -> None:
    """Complete and save a record."""
    record.memory = describe(live, asked)
    path = record.save()
    print(f"\n{path}: {len(record.tests)} tests, {path.stat().st_size:,} bytes")
