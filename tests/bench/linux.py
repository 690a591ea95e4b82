# SPDX-License-Identifier: GPL-2.0-or-later
"""Rates and times of a stock Debian kernel. Each function returns what it measured by name."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final
from unittest import mock

from armprobe import machine
from armprobe.clients.drgn import program
from armprobe.commands import GdbSession, Session
from armprobe.guests import linux
from armprobe.guests.linux.debian import PROMPT, build_initramfs, fetch_kernel
from armprobe.kernel.btf_dwarf import debug_sections
from armprobe.machine import Machine, StopReason
from armprobe.probes import Kprobe, Kprobes, ProbeError, PtRegs
from tests.bench.pieces import PIECES, TURNS, cpu_seconds, least
from tests.memories import memory_of
from tests.waiting import PATIENCE

_QUESTION, _ANSWER = b"console echo $((6 * 7))\n", b"\n42"


def prepare() -> None:
    """Have the kernel fetched and the snapshot made, so that neither is measured where it is not meant to be."""
    linux.prepare(report=lambda line: print(f"  {line}", file=sys.stderr))


def _armprobe_linux(cache: str | None, *options: str) -> dict[str, float]:
    """Seconds from the start of `armprobe linux` until it is resumed or booted, and has answered; its peak memory."""
    environment = dict(os.environ) if cache is None else {**os.environ, "XDG_CACHE_HOME": cache}
    command = [sys.executable, "-m", "armprobe", "linux", "--listen", "none", *options]
    found: dict[str, float] = {}
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_QUESTION)
        process.stdin.flush()
        said = b""
        while _ANSWER not in said:
            part = os.read(process.stdout.fileno(), 4096)
            if not part:
                raise RuntimeError(f"armprobe linux ended without an answer: {said.decode(errors='replace')}")
            said += part
            if b"booted:" in said:
                found.setdefault("boot_seconds", time.perf_counter() - start)
        found["answer_seconds"] = time.perf_counter() - start
        found["peak_mib"] = memory_of(process.pid, "VmHWM") / (1 << 20)
        process.stdin.write(b"quit\n")
        process.stdin.close()
    return found


def resume(scale: float) -> dict[str, float]:
    """`armprobe linux` when there is a snapshot: a process, a line typed at it, the answer."""
    found = _armprobe_linux(None)
    if "boot_seconds" in found:  # the machine's code has changed since, so that it had to boot after all
        found = _armprobe_linux(None)
    return {"resume_seconds": found["answer_seconds"], "resume_peak_mib": found["peak_mib"]}


def boot(scale: float) -> dict[str, float]:
    """`armprobe linux` when there is no snapshot: it boots the kernel, saves the snapshot and goes on from there.

    And a process that only boots it.
    """
    files = fetch_kernel()
    with tempfile.TemporaryDirectory(prefix="armprobe-bench-") as folder:
        disk = Path(folder) / "initrd.gz"
        disk.write_bytes(build_initramfs(files.busybox.read_bytes()))
        found = _armprobe_linux(folder, "--kernel", str(files.vmlinuz), "--initrd", str(disk))
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", _BOOT, files.vmlinuz, disk], check=True)
        only = time.perf_counter() - start
    return {"first_seconds": found["boot_seconds"], "boot_peak_mib": found["peak_mib"], "boot_seconds": only}


_BOOT = """
import sys
from armprobe import machine
from armprobe.guests import linux
linux.boot(machine.load(sys.argv[1], initrd=sys.argv[2], memory="256M"))
"""


class Shell:
    """Types at the guest's shell."""

    def __init__(self, guest: Machine) -> None:
        self.guest = guest
        self._printed = bytearray()
        guest.console.listen(self._listen)

    def _listen(self, data: bytes) -> None:
        self._printed += data
        if self._printed.endswith(PROMPT.encode()):
            self.guest.interrupt()

    def run(self, line: str) -> tuple[str, float, int]:
        """Run `line`: what it printed, the seconds it took, and the guest's instructions."""
        self._printed.clear()
        instructions = self.guest.instructions
        self.guest.console.write(line.encode() + b"\n")
        start = time.perf_counter()
        stop = self.guest.run(instructions=10_000_000_000)
        took = time.perf_counter() - start
        assert stop.reason is StopReason.INTERRUPTED, stop
        return self._printed.decode(), took, self.guest.instructions - instructions

    def copy(self, blocks: int) -> tuple[float, int]:
        """The seconds and instructions it takes to copy `blocks` bytes one at a time: a read and a write each.

        The difference of a long copy and a short one, so without the start of dd and what the shell does.
        """
        few, many = self.dd(1000), self.dd(1000 + blocks)
        return many[0] - few[0], many[1] - few[1]

    def dd(self, blocks: int) -> tuple[float, int]:
        """The seconds and instructions of one such copy, with all that belongs to it."""
        printed, took, instructions = self.run(copying(blocks))
        check_copied(printed, blocks)
        return took, instructions


def copying(blocks: int) -> str:
    """The guest's command that copies so many bytes one at a time."""
    return f"dd if=/dev/zero of=/dev/null bs=1 count={blocks}"


def check_copied(printed: str, blocks: int) -> None:
    """Raises AssertionError if `printed` is not what that command prints."""
    for way in ("in", "out"):
        assert f"\n{blocks}+0 records {way}" in printed.replace("\r", ""), printed


def rates(scale: float) -> dict[str, float]:
    """Instructions a second and a system call during `dd bs=1`, and hits of a probe in Python on vfs_read."""
    blocks = int(200_000 * scale)
    shell = Shell(machine.load(linux.prepare()))
    shell.copy(1000)  # translate what there is
    took, instructions = shell.copy(blocks)
    found = {
        "instructions_a_system_call": instructions / (2 * blocks),
        "linux_mips": instructions / took / 1e6,
    }
    probe = Kprobes(shell.guest).register_kprobe(Kprobe("vfs_read", pre_handler=_reads_x0, record=False))
    blocks //= 4
    took, _ = shell.copy(blocks)
    assert probe.hits >= blocks
    found["linux_hits"] = blocks / took
    return found


def system(scale: float) -> dict[str, float]:
    """Seconds for a file of 8 MiB and for `sh true`, in a guest just resumed, and again."""
    with Session(linux.prepare()) as session, tempfile.TemporaryDirectory(prefix="armprobe-bench-") as folder:
        file = Path(folder) / "file"
        file.write_bytes(os.urandom(8 << 20))
        found: dict[str, float] = {}
        works: dict[str, Callable[[], object]] = {
            "push": lambda: session.guest.push(file),
            "sh": lambda: session.guest.sh("true"),
        }
        for name, work in works.items():
            for again in ("", "_again"):
                start = time.perf_counter()
                work()
                found[f"{name}{again}_seconds"] = time.perf_counter() - start
        assert session.guest.pull("file") == file.read_bytes()
    return found


def kernel_views(scale: float) -> dict[str, float]:
    """Seconds until the kernel's tasks and types are shown in a guest just resumed, and again, with gdb too."""
    found: dict[str, float] = {}
    with Session(linux.prepare()) as session:
        for name in "tasks", "tasks_again":
            start = time.perf_counter()
            assert len(session.ask("tasks")) > 40
            found[f"{name}_seconds"] = time.perf_counter() - start
        start = time.perf_counter()
        with GdbSession(session, timeout=PATIENCE) as gdb:
            found["linux_attach_seconds"] = time.perf_counter() - start
            shown = {"ptype": ("ptype struct task_struct", "pid_t pid;"), "all_bt": ("thread apply all bt", "Thread 1")}
            for name, (command, text) in shown.items():
                for again in ("", "_again"):
                    start = time.perf_counter()
                    assert text in gdb.execute(command), command
                    found[f"{name}{again}_seconds"] = time.perf_counter() - start
    return found


def attaches(scale: float) -> dict[str, float]:
    """Seconds until gdb has attached, for the first time to a kernel and again, with symbols only and with types."""
    kernel = linux.prepare()

    def seconds() -> float:
        with Session(kernel) as session:
            start = time.perf_counter()
            with GdbSession(session, timeout=PATIENCE):
                return time.perf_counter() - start

    seconds()  # what is read once in a process
    found: dict[str, float] = {}
    for name, sections in ("symbols", lambda *_: {}), ("types", debug_sections):
        with (
            tempfile.TemporaryDirectory(prefix="armprobe-bench-") as cache,
            mock.patch.dict(os.environ, XDG_CACHE_HOME=cache),
            mock.patch("armprobe.session.symbol_file.debug_sections", sections),
        ):
            for again in "", "_again":
                found[f"attach_{name}{again}_seconds"] = seconds()
    return found


def drgn_views(scale: float) -> dict[str, float]:
    """Seconds until drgn shows the tasks of a guest just resumed, and again."""
    from drgn.helpers.linux.pid import for_each_task

    found: dict[str, float] = {}
    with Session(linux.prepare()) as session:
        start = time.perf_counter()
        drgn_program = program(session)
        for name in "drgn_tasks", "drgn_tasks_again":
            assert len([(task.pid.value_(), task.comm.string_()) for task in for_each_task(drgn_program)]) > 40
            found[f"{name}_seconds"] = time.perf_counter() - start
            start = time.perf_counter()
    return found


def _reads_x0(probe: Kprobe, regs: PtRegs) -> None:
    regs.regs[0]


def hit_costs(scale: float) -> dict[str, float]:
    """Microseconds of CPU time that a hit of an optimised probe on vfs_read adds to a read."""
    shell = Shell(machine.load(linux.prepare()))
    kprobes = Kprobes(shell.guest)
    probe = kprobes.register_kprobe(Kprobe("vfs_read"))

    def measured(on: bool, blocks: int) -> float:
        (kprobes.enable if on else kprobes.disable)(probe)
        shell.dd(1000)  # translate what there is
        before = probe.hits
        took = least(lambda: cpu_seconds(lambda: shell.dd(blocks)))
        assert not on or probe.hits - before >= PIECES * blocks, probe
        return took

    return {"hit_us": cost_of_a_hit(measured, int(200_000 * scale))}


def cost_of_a_hit(seconds: Callable[[bool, int], float], blocks: int) -> float:
    """Microseconds, from what dd takes with a probe and without it, by turns. Each turn copies so many blocks."""
    without, with_probe, piece = math.inf, math.inf, blocks // PIECES
    for _ in range(TURNS):
        without = min(without, seconds(False, piece))
        with_probe = min(with_probe, seconds(True, piece))
    return (with_probe - without) / piece * 1e6


_ARMED: Final = 1000


def armed(scale: float) -> dict[str, float]:
    """Instructions for each second of CPU time in `dd bs=1`, by turns with 1,000 probes in other functions and none."""
    blocks = int(50_000 * scale) // PIECES
    shell = Shell(machine.load(linux.prepare()))
    kprobes = Kprobes(shell.guest)
    functions = kprobes.functions()
    probes: list[Kprobe] = []
    for symbol in functions[:: len(functions) // (2 * _ARMED)]:
        with contextlib.suppress(ProbeError):  # not every function can be probed
            probes.append(kprobes.register_kprobe(Kprobe(addr=symbol.address)))
    shell.dd(1000)
    # The timer's tick may hit one later that is not hit now: what matters is that few are.
    unhit = [probe for probe in probes if not probe.hits]
    assert len(unhit) >= _ARMED, f"only {len(unhit)} probes could be set on functions that dd does not call"
    used = unhit[:_ARMED]
    kprobes.unregister_kprobes([probe for probe in probes if probe not in used])
    rates = {False: 0.0, True: 0.0}
    for _ in range(TURNS):
        for on in rates:
            for probe in used:
                (kprobes.enable if on else kprobes.disable)(probe)
            shell.dd(1000)  # translate what there is
            _, instructions = shell.dd(blocks)
            took = least(lambda: cpu_seconds(lambda: shell.dd(blocks)))
            rates[on] = max(rates[on], instructions / took / 1e6)
    assert sum(probe.hits for probe in used) < TURNS * PIECES * blocks / 100, "the probes were to be hit rarely"
    return {"armed_mips": rates[True], "unarmed_mips": rates[False]}
