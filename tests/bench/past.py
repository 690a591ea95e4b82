# SPDX-License-Identifier: GPL-2.0-or-later
"""Going back, on Linux at work and on the demo kernel. Each function returns what it measured by name."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from armprobe import machine
from armprobe.guests import linux
from armprobe.guests.linux.debian import build_initramfs, fetch_kernel
from armprobe.machine import Machine
from armprobe.machine.devices.timer import FREQUENCY
from tests.bench.linux import Shell
from tests.bench.pieces import cpu_seconds
from tests.linux.load import load  # tests have no import name to go by

_SECONDS: Final = 10
_PLACES: Final = 50
_IN_A_ROW: Final = 50


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def _quantiles(name: str, values: list[float]) -> dict[str, float]:
    return {f"{name}_median_ms": statistics.median(values), f"{name}_95_ms": statistics.quantiles(values, n=20)[-1]}


def at_work(history: bool = True) -> Machine:
    """A Linux guest whose shell works for ever: its CPU is never idle, so a tick is an instruction."""
    guest = machine.load(linux.prepare(), history=history)
    Shell(guest).run(load())
    return guest


def _steps(guest: Machine, first: int, places: int, name: str) -> dict[str, float]:
    """Going to random positions from `first` on with a reverse-stepi there, and the following ones."""
    chance, timeline = random.Random(1), guest.timeline
    end, firsts, following = timeline.end, [], []
    for position in [chance.randrange(first, end) for _ in range(places)]:
        going = _milliseconds(partial(timeline.go, position))
        firsts.append(going + _milliseconds(timeline.reverse_step))
        assert guest.instructions == position - 1
        following += [_milliseconds(timeline.reverse_step) for _ in range(_IN_A_ROW)]
    return {**_quantiles(f"{name}_first_step", firsts), f"{name}_next_step_ms": statistics.median(following)}


def _worked(scale: float) -> tuple[Machine, int]:
    """A guest after ten seconds of that work, and the position at which they began."""
    guest, count = at_work(), int(_SECONDS * scale * FREQUENCY)
    first = guest.instructions
    guest.run(instructions=count)
    return guest, first


def linux_steps(scale: float) -> dict[str, float]:
    """Steps back in the last ten seconds of a guest at work."""
    guest, first = _worked(scale)
    return _steps(guest, first, max(10, int(_PLACES * scale)), "linux")


def linux_ways(scale: float) -> dict[str, float]:
    """Ways back to the last tick of the scheduler, from random positions of these ten seconds."""
    guest, first = _worked(scale)
    chance, timeline, took = random.Random(2), guest.timeline, list[float]()
    address = guest.symbols["scheduler_tick"].address
    guest.breakpoints.add(address)
    for _ in range(max(10, int(_PLACES * scale))):
        position = chance.randrange(first + FREQUENCY // 10, timeline.end)
        timeline.go(position)
        took.append(_milliseconds(timeline.reverse_continue))
        assert guest.registers.pc == address
        assert position - guest.instructions <= FREQUENCY // 10
    return _quantiles("tenth_back", took)


def linux_second(scale: float) -> dict[str, float]:
    """A second of a guest at work, the way back over it, and the last write of a word that was written before it."""
    guest, _ = _worked(scale)
    timeline = guest.timeline
    Shell(guest).run("hostname armprobe")
    after = guest.instructions
    found = {"second_forward_ms": _milliseconds(lambda: guest.run(instructions=FREQUENCY))}
    name = _host_name(guest)
    found["last_write_ms"] = _milliseconds(lambda: _wrote(guest, name, after))
    address = guest.symbols["__arm64_sys_sethostname"].address
    guest.breakpoints.add(address)
    found["second_back_ms"] = _milliseconds(timeline.reverse_continue)
    assert guest.registers.pc == address
    return found


def _host_name(guest: Machine) -> int:
    """The address of the host's name in the kernel."""
    kernel, memory = guest.kernel, guest.memory
    assert kernel is not None
    assert kernel.tasks is not None
    types = kernel.types
    proxy = memory.u64(kernel.tasks()[0].address + types["task_struct"].offset("nsproxy"))
    names = memory.u64(proxy + types["nsproxy"].offset("uts_ns"))
    return names + memory.read(names, types["uts_namespace"].size).index(b"armprobe\0")


def _wrote(guest: Machine, address: int, before: int) -> None:
    write = guest.timeline.last_write(address, 8)
    assert write is not None
    assert write.position < before


def demo_steps(scale: float) -> dict[str, float]:
    """Steps back in the demo kernel's workload."""
    guest = machine.load("demo")
    guest.run(until="workload_round")
    first = guest.instructions
    guest.run(instructions=int(_SECONDS * scale * FREQUENCY))
    return _steps(guest, first, max(10, int(_PLACES * scale)), "demo")


def history_cost(scale: float) -> dict[str, float]:
    """Instructions a second of Linux at work, with its history and without, by turns, in CPU time."""
    guests = {name: at_work(history) for name, history in (("with", True), ("without", False))}
    took = dict.fromkeys(guests, 0.0)
    instructions = int(2 * FREQUENCY * scale)
    for turn in range(11):
        for name in sorted(guests, reverse=bool(turn % 2)):  # each comes first as often as the other
            seconds = cpu_seconds(partial(guests[name].run, instructions=instructions))
            took[name] += seconds if turn else 0.0  # the first translates
    return {f"{name}_history_mips": 10 * instructions / seconds / 1e6 for name, seconds in took.items()}


def calls_of_boot(scale: float) -> dict[str, float]:
    """Seconds of a boot to the shell, and of looking for the calls of vfs_read in it."""
    files = fetch_kernel()
    with tempfile.TemporaryDirectory(prefix="armprobe-bench-") as folder:
        disk = Path(folder) / "initrd.gz"
        disk.write_bytes(build_initramfs(files.busybox.read_bytes()))
        guest = machine.load(files.vmlinuz, initrd=disk, memory="256M")
        boot = _milliseconds(lambda: linux.boot(guest)) / 1000
    start = time.perf_counter()
    calls = guest.timeline.calls("vfs_read")
    took = time.perf_counter() - start
    # Nothing else calls it in a boot: files that the kernel itself reads go through kernel_read().
    assert len(calls) == len(guest.timeline.calls("ksys_read")) > 0
    return {"calls_boot_seconds": boot, "calls_seconds": took}
