# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb on armprobe's stub and on QEMU's: the same gdb does the same to the same kernel, by turns."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from armprobe.commands import GdbSession
from armprobe.machine.loaders import DEMO

QEMU: Final = "qemu-system-aarch64"
BOARD: Final = "-M virt,gic-version=2 -cpu cortex-a57 -nic none -display none -monitor none"
_RAM: Final = 0x4000_0000
_DUMPED: Final = 64 << 20  # bytes
_MEMORY: Final = "128M"


class Absent(Exception):
    """A program is not installed."""


def tool(name: str, package: str) -> str:
    """The path of a program. Raises `Absent`."""
    path = shutil.which(name)
    if path is None:
        raise Absent(f"{name} is not installed (Debian: apt-get install {package})")
    return path


@contextmanager
def _armprobe(folder: Path, core: int) -> Iterator[str]:
    # In a process of its own, as QEMU is: in ours it would wait for the interpreter's lock while we read what gdb says.
    socket = folder / "armprobe"
    serve = ["serve", "demo", "--memory", _MEMORY, "--listen", f"unix:{socket}"]
    with _process([sys.executable, "-m", "armprobe", *serve], socket, core) as address:
        yield address


@contextmanager
def _qemu(folder: Path, core: int) -> Iterator[str]:
    qemu, socket = tool(QEMU, "qemu-system-arm"), folder / "qemu"
    stopped = ["-S", "-gdb", f"unix:{socket},server=on,wait=off"]
    guest = ["-m", _MEMORY, "-serial", "null", "-kernel", str(DEMO)]
    with _process([qemu, *BOARD.split(), *guest, *stopped], socket, core) as address:
        yield address


def wait_for(socket: Path, process: subprocess.Popen[bytes], name: str) -> None:
    """Wait until a process listens at `socket`."""
    deadline = time.monotonic() + 60
    while not socket.exists():
        assert process.poll() is None, f"{name} ended before it listened"
        assert time.monotonic() < deadline, f"{name} does not listen"
        time.sleep(0.02)


@contextmanager
def _process(command: list[str], socket: Path, core: int) -> Iterator[str]:
    """Run a program on a core until the end, from when it listens at `socket`; the address of that."""
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, ours | {core})  # what is started here sees as many cores as gdb and it have
    try:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    finally:
        os.sched_setaffinity(0, ours)
    try:
        wait_for(socket, process, command[0])
        for task in os.listdir(f"/proc/{process.pid}/task"):
            os.sched_setaffinity(int(task), {core})  # threads that they start inherit it
        yield f"unix:{socket}"
    finally:
        process.kill()
        process.wait()


def one_core(scale: float) -> dict[str, float]:
    """gdb and the stub on the same core."""
    first = min(os.sched_getaffinity(0))
    return _side_by_side(scale, "one", first, first)


def two_cores(scale: float) -> dict[str, float]:
    """gdb on one core and the stub on another."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Absent("there is only one core")
    return _side_by_side(scale, "two", *cores[:2])


def _side_by_side(scale: float, cores: str, of_gdb: int, of_stub: int) -> dict[str, float]:
    """What gdb takes for the same on both stubs, by turns: whatever else the computer does slows both down.

    gdb and the stub are pinned: where the scheduler puts them makes up more than what they do.
    """
    os.sched_setaffinity(0, {of_gdb})  # gdb inherits it
    path = tool("gdb-multiarch", "gdb-multiarch")
    taken: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="armprobe-bench-")))
        gdbs = {}
        for name, guest in (("qemu", _qemu), ("armprobe", _armprobe)):
            address = stack.enter_context(guest(folder, of_stub))
            debugger = stack.enter_context(GdbSession(address, gdb=path, gdbinit=None, timeout=120))
            debugger.execute(f"file {DEMO}")
            gdbs[name] = _Gdb(debugger, address, folder)
        for metric, (prepare, measure, turns) in _MEASURED.items():
            for gdb in gdbs.values():
                prepare(gdb)
            # Here and not after the steps: by one QEMU 7.2 now and then stays where it was.
            places = {name: gdb.place() for name, gdb in gdbs.items()}
            assert len(set(places.values())) == 1, f"{metric}: the guests are at different places: {places}"
            values = taken.setdefault(metric, {name: [] for name in gdbs})
            for _ in range(max(2, int(turns * scale))):
                for name, gdb in gdbs.items():
                    values[name].append(measure(gdb))
        taken["hits_in_stub"] = {"armprobe": [_hits_in_stub(gdbs["armprobe"], turn) for turn in range(3)]}
    return {
        f"gdb_{cores}_{name}_{metric}": statistics.median(values)
        for metric, of_each in taken.items()
        for name, values in of_each.items()
    }


class _Gdb(NamedTuple):
    """One gdb, and the stub it is attached to."""

    debugger: GdbSession
    address: str
    folder: Path

    def seconds(self, command: str) -> float:
        start = time.perf_counter()
        self.debugger.execute(command)
        return time.perf_counter() - start

    def place(self) -> tuple[int, str]:
        """pc, and what the workload has come to where it has begun."""
        pc = self.debugger.register("pc")
        return pc, self.debugger.execute("print workload") if pc >> 63 else ""

    def stop_at(self, place: str) -> None:
        # As a hardware breakpoint: the demo kernel has no memory at these addresses until its MMU is on.
        self.debugger.execute(f"thbreak {place}")
        self.debugger.continue_to_stop()


def _dump(gdb: _Gdb) -> float:
    """MiB a second, of physical memory: the MMU is off."""
    path = gdb.folder / "dump"
    seconds = gdb.seconds(f"dump binary memory {path} {_RAM:#x} {_RAM + _DUMPED:#x}")
    assert path.stat().st_size == _DUMPED
    return (_DUMPED >> 20) / seconds


def _attach(gdb: _Gdb) -> float:
    """Milliseconds of `target remote`, with the program known."""
    gdb.debugger.execute("disconnect")
    return gdb.seconds(f"target remote {gdb.address.removeprefix('unix:')}") * 1000


def _all_registers(gdb: _Gdb) -> float:
    """Milliseconds of `info all-registers`."""
    gdb.debugger.execute("maintenance flush register-cache")
    return gdb.seconds("info all-registers") * 1000


def _stepi(gdb: _Gdb) -> float:
    """Steps a second."""
    return 200 / gdb.seconds("stepi 200")


def _next(gdb: _Gdb) -> float:
    """Lines a second, in a function that is little more than a loop of three lines (guests/demo/lib/digest.c)."""
    gdb.stop_at("crc32_update")
    return 40 / gdb.seconds("next 40")


def _hits(gdb: _Gdb) -> float:
    """Hits a second of a breakpoint whose condition gdb finds to be false."""
    gdb.debugger.execute("set breakpoint condition-evaluation host")
    return _condition(gdb, "set $hits", 100)


def _hits_in_stub(gdb: _Gdb, turn: int) -> float:
    """The same, where the stub evaluates it. It can count in trace state variables, which keep their value."""
    gdb.debugger.execute("set breakpoint condition-evaluation auto")
    return _condition(gdb, f"tvariable $hits_{turn}", 20_000)


def _condition(gdb: _Gdb, declare: str, hits: int) -> float:
    # False until the last, so that gdb need not be interrupted, which takes it an unknown time.
    variable = declare.split()[1]
    gdb.debugger.execute(f"{declare} = 0")
    gdb.debugger.execute(f"hbreak kfree if ({variable} = {variable} + 1) == {hits}")
    seconds = gdb.seconds("continue")
    gdb.debugger.execute("delete")
    return hits / seconds


_MEASURED: Final[dict[str, tuple[Callable[[_Gdb], None], Callable[[_Gdb], float], int]]] = {
    "dump": (lambda gdb: None, _dump, 2),
    "attach": (lambda gdb: gdb.stop_at("workload_round"), _attach, 8),
    "all_registers": (lambda gdb: None, _all_registers, 8),
    "stepi": (lambda gdb: None, _stepi, 8),
    "next": (lambda gdb: gdb.stop_at("workload_round"), _next, 8),
    "hits": (lambda gdb: gdb.stop_at("workload_round"), _hits, 8),
}
"""What is to be done before, what is measured, and how often."""
