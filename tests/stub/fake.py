# SPDX-License-Identifier: GPL-2.0-or-later
"""A target for the stub's tests: registers, 64 KiB of memory, and instructions that add 4 to pc, whatever they say.

`stores` and `loads` say which instructions also touch data, for watchpoints to see.
"""

import io
import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO

from armprobe.machine import MachineError
from armprobe.machine.memory.regions import Region
from armprobe.machine.semihosting import FileCall
from armprobe.stub import (
    BreakKind,
    BreakpointHit,
    Client,
    Decide,
    ExecFile,
    Exited,
    GuestView,
    HistoryEdge,
    HostCall,
    Interrupted,
    LibrariesChanged,
    Library,
    Place,
    Stepped,
    StopEvent,
    TargetError,
    WatchKind,
    WatchpointHit,
)
from tests.waiting import PATIENCE

BASE = 0x4000_0000
SIZE = 0x10000
SYSTEM_REGISTERS = ("sctlr_el1", "esr_el1", "elr_el1")
NOP = bytes.fromhex("1f2003d5")


class FakeTarget:
    """Runs on a thread of its own while resumed; remembers what was asked of it in `calls`."""

    system_registers = SYSTEM_REGISTERS

    def __init__(self) -> None:
        self.registers = {f"x{n}": 0x1000 + n for n in range(31)} | {f"v{n}": n << 64 | 1 for n in range(32)}
        self.registers |= {"sp": BASE + SIZE, "pc": BASE, "cpsr": 0x3C5, "fpsr": 0, "fpcr": 0}
        self.registers |= {"sctlr_el1": 0x30D0_0800, "esr_el1": 0x5600_0000, "elr_el1": 0xFFFF_8000_0808_0000}
        self.registers["x29"] = self.registers["x30"] = 0
        self.memory = bytearray(NOP * (SIZE // 4))
        self.points: set[tuple[BreakKind | WatchKind, int, int]] = set()
        self.deciders: dict[tuple[BreakKind | WatchKind, int, int], Decide] = {}
        self.persistent: set[tuple[BreakKind | WatchKind, int, int]] = set()
        self.traces: dict[int, list[tuple[Callable[[GuestView], int], Callable[[GuestView], None] | None]]] = {}
        self.shown = ""
        self.stores: dict[int, int] = {}  # the address of the instruction, the address of the word it increments
        self.loads: dict[int, int] = {}
        self.asks: dict[int, FileCall] = {}  # the address of the instruction, what it asks of the client's files
        self.powers_off_at: int | None = None
        self.text = ""
        self.calls: list[str] = []
        self.stop: StopEvent = Stepped()
        self.program: ExecFile | None = None
        self.loaded: dict[str, bytes] = {}  # the libraries, by name
        self.loads_at: int | None = None  # the address of the instruction that loads one
        self.attached = False
        self.trusted = False
        self.translating = False
        end = BASE + SIZE
        self.regions = [Region(0, BASE, "", ""), Region(BASE, end, "rwx", "RAM"), Region(end, 1 << 64, "", "")]
        self._interrupted = threading.Event()
        self._thread: threading.Thread | None = None

    def attach(self, client: Client) -> StopEvent:
        assert not self.attached
        self.attached, self.trusted = True, client.trusted
        self.calls.append("attach")
        return self.stop

    def detach(self) -> None:
        assert self.attached
        self.interrupt()
        self.wait()
        self.attached = False
        self.points &= self.persistent
        self.calls.append("detach")

    def kill(self) -> None:
        self.interrupt()
        self.wait()
        self.registers["pc"] = BASE
        self.calls.append("kill")

    def restart(self) -> StopEvent:
        assert self.attached
        self.interrupt()
        self.wait()
        self.registers["pc"] = BASE
        self.calls.append("restart")
        self.stop = Stepped()
        return self.stop

    def resume_backwards(self, step: bool, done: Callable[[StopEvent], None]) -> None:
        """Its history has one instruction, for a step."""
        self.calls.append(f"backwards {step}")
        self.registers["pc"] = BASE
        done(Stepped() if step else HistoryEdge())

    def read_registers(self, names: Sequence[str]) -> list[int]:
        return [self.registers[name] for name in names]

    def write_register(self, name: str, value: int) -> None:
        self.registers[name] = value

    def read_memory(self, address: int, length: int) -> bytes:
        return bytes(self.memory[self._at(address) : address - BASE + length])

    def write_memory(self, address: int, data: bytes) -> None:
        self.memory[self._at(address, len(data)) : address - BASE + len(data)] = data

    def _at(self, address: int, length: int = 1) -> int:
        if not BASE <= address <= BASE + SIZE - length:
            raise TargetError(14, f"there is no memory at 0x{address:x}")
        return address - BASE

    memory_size = SIZE

    def mapped_memory(self) -> list[Region]:
        return [region for region in self.regions if region.access]

    def memory_region(self, address: int) -> Region:
        return next(region for region in self.regions if address < region.end)

    def untranslated_memory(self) -> list[Region]:
        return [] if self.translating else self.regions

    def exec_file(self) -> ExecFile | None:
        return self.program

    has_libraries = True

    def libraries(self) -> list[Library]:
        return [Library(name, number) for number, name in enumerate(self.loaded, 1)]

    def file_of_library(self, name: str) -> Callable[[], BinaryIO] | None:
        return (lambda: io.BytesIO(self.loaded[name])) if name in self.loaded else None

    def insert_breakpoint(self, kind: BreakKind, address: int, length: int) -> None:
        self._insert((kind, address, length))

    def insert_conditional_breakpoint(
        self, kind: BreakKind, address: int, length: int, decide: Decide, persistent: bool
    ) -> None:
        key = kind, address, length
        self._insert(key)
        self.deciders[key] = decide
        if persistent:
            self.persistent.add(key)

    def insert_watchpoint(self, kind: WatchKind, address: int, length: int) -> None:
        if length > 8:
            raise TargetError(22, "a watchpoint watches at most 8 bytes")
        self._insert((kind, address, length))

    def _insert(self, key: tuple[BreakKind | WatchKind, int, int]) -> None:
        assert key not in self.points - self.persistent
        self.points.add(key)
        self.deciders.pop(key, None)
        self.persistent.discard(key)

    def show(self, text: str) -> None:
        self.shown += text

    def remove_breakpoint(self, kind: BreakKind, address: int, length: int) -> None:
        self.points.remove((kind, address, length))
        self.deciders.pop((kind, address, length), None)

    def remove_watchpoint(self, kind: WatchKind, address: int, length: int) -> None:
        self.points.remove((kind, address, length))

    def resume(self, step: bool, range: tuple[int, int] | None, done: Callable[[StopEvent], None]) -> None:
        assert self.attached
        self._interrupted.clear()
        self._thread = threading.Thread(target=self._run, args=(step, range, done), daemon=True)
        self._thread.start()

    def answer(self, result: int, errno: int, interrupted: bool, done: Callable[[StopEvent], None]) -> None:
        self.calls.append(f"answer {result} {errno} {interrupted}")
        if interrupted:
            self.stop = Interrupted()
            done(self.stop)
        else:
            self.resume(False, None, done)

    def _run(self, step: bool, range: tuple[int, int] | None, done: Callable[[StopEvent], None]) -> None:
        self.stop = self._go(step, range)
        done(self.stop)

    def _go(self, step: bool, range: tuple[int, int] | None) -> StopEvent:
        following: list[Callable[[GuestView], None]] = []
        for executed in itertools.count():
            pc = self.registers["pc"]
            if pc == self.powers_off_at:
                return Exited(code=0)
            if pc == self.loads_at:
                self.loads_at, self.loaded["/armprobe/modules/1/<mine>.ko"] = None, b"its symbols"
                return LibrariesChanged()
            if pc in self.asks:
                return HostCall(call=self.asks.pop(pc))
            if executed and (watch := self._watch_hit(pc)):
                return WatchpointHit(kind=watch[0], address=watch[1], text=self.text)
            for hit, stepped in self.traces.get(pc, []):
                left = hit(self)
                if stepped:
                    following += [stepped] * left
            if stored := self.stores.get(pc):
                value = int.from_bytes(self.read_memory(stored, 4), "little") + 1
                self.write_memory(stored, value.to_bytes(4, "little"))
            pc = self.registers["pc"] = pc + 4 & (1 << 64) - 1
            if following:
                following.pop(0)(self)
            if step and not (range and range[0] <= pc < range[1]):
                return Stepped(text=self.text)
            for kind in BreakKind:
                decide = self.deciders.get((kind, pc, 4))
                if (kind, pc, 4) in self.points and (decide is None or decide(self)):
                    return BreakpointHit(kind=kind, text=self.text)
            if self._interrupted.is_set():
                return Interrupted(text=self.text)
            if pc >= BASE + SIZE - 4:
                self.registers["pc"] = BASE
                time.sleep(0.001)
        raise AssertionError

    def _watch_hit(self, pc: int) -> tuple[WatchKind, int] | None:
        """The watchpoint that the load or store at `pc` is about to hit."""
        stored = self.stores.get(pc)
        touched = stored or self.loads.get(pc)
        sees = {WatchKind.WRITE, WatchKind.ACCESS} if stored else {WatchKind.READ, WatchKind.ACCESS}
        for kind, address, length in self.points:
            if touched and isinstance(kind, WatchKind) and kind in sees and address <= touched < address + length:
                return kind, address
        return None

    def interrupt(self) -> None:
        self._interrupted.set()

    @property
    def general(self) -> list[int]:
        """The target is the view that its own conditions have."""
        return [self.registers[name] for name in (*(f"x{n}" for n in range(31)), "sp", "pc")]

    @property
    def vectors(self) -> bytes:
        return b"".join(self.registers[f"v{n}"].to_bytes(16, "little") for n in range(32))

    @property
    def microseconds(self) -> int:
        return self.registers["pc"] - BASE

    def trace(
        self,
        address: int,
        hit: Callable[[GuestView], int],
        stepped: Callable[[GuestView], None],
        steps: bool,
        condition: object,
    ) -> Callable[[], None]:
        self._at(address)
        trace = (hit, stepped if steps else None)
        self.traces.setdefault(address, []).append(trace)

        def remove() -> None:
            left = [each for each in self.traces.pop(address, []) if each is not trace]
            if left:
                self.traces[address] = left

        return remove

    def register(self, name: str) -> int:
        return self.registers[name]

    def read(self, address: int, length: int) -> bytes:
        try:
            self._at(address, length)
        except TargetError as error:
            raise MachineError(error.message) from None
        return self.read_memory(address, length)

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def wait(self) -> None:
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive()

    def command(self, client: Client, line: str, out: Callable[[str], None]) -> bool:
        self._interrupted.clear()
        match line.split():
            case ["echo", *words]:
                out(" ".join(words) + "\n")
            case ["lines", count]:
                for n in range(int(count)):
                    out(f"line {n}\n")
            case ["hang"]:
                out("hanging\n")
                assert self._interrupted.wait(PATIENCE)
                out("interrupted")
            case ["refuse"]:
                raise TargetError(1, "no: refused")
            case ["break"]:
                raise ZeroDivisionError("a defect")
            case _:
                out(f"{line!r} is no command")
                return False
        return True

    def complete(self, line: str) -> list[str]:
        return [word for word in ("echo", "lines", "hang") if word.startswith(line)]

    def command_value(self, client: Client, line: str) -> str:
        return json.dumps({"command": line, "ok": True, "value": None})

    def context(self) -> str:
        return ""

    def place(self, word: str) -> Place | None:
        return Place(BASE + 4, "start", BASE, 16) if word == "start+4" else None

    @property
    def position(self) -> int:
        return 0

    def command_table(self) -> str:
        return json.dumps([{"name": "echo", "summary": "say it", "usage": "echo WORD", "help": "Say it.", "gdb": True}])
