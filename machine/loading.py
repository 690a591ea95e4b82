# SPDX-License-Identifier: GPL-2.0-or-later
"""Loads a guest into a new machine."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import unicorn

from armprobe.machine.core.core import DEFAULT_MODEL

from . import host_files
from .errors import MachineError
from .loaders import DEMO, LoadedGuest, parse_size, read_guest, snapshot_file
from .machine import Machine
from .native.binding import SOURCES as CORE_SOURCES
from .time.pacing import HISTORY_INTERVAL, RATE
from .time.timeline import HISTORY_MEMORY

DEFAULT_MEMORY = 256 << 20
_LONGEST_INTERVAL = 60_000  # milliseconds
_LEAST_HISTORY = 16 << 20


def build_id() -> bytes:
    """A digest of what a snapshot depends on besides its guest: Unicorn's version, and the code of the machine, the C
    core included, and of the kallsyms reader."""
    digest = hashlib.sha256(unicorn.__version__.encode() + CORE_SOURCES.encode())
    room = Path(__file__).parent
    digest.update((room.parent / "kernel/kallsyms.py").read_bytes())
    for folder, _, names in sorted(os.walk(room)):  # Path.rglob takes three times as long
        for name in sorted(names):
            if name.endswith(".py"):
                digest.update(Path(folder, name).read_bytes())
    return digest.digest()


def load(
    guest: str | Path,
    *,
    initrd: str | Path | None = None,
    vmlinux: str | Path | None = None,
    cmdline: str | None = None,
    append: str | None = None,
    base: int | None = None,
    memory: int | str = DEFAULT_MEMORY,
    cpu: str = DEFAULT_MODEL,
    kaslr: int | None = None,
    history: bool = True,
    history_memory: int | str = HISTORY_MEMORY,
    history_interval: int = HISTORY_INTERVAL,
    history_folder: str | Path | None = None,
    disk: str | Path | None = None,
) -> Machine:
    """A machine with `guest` in it, about to execute its first instruction (of a snapshot: its next).

    `guest` is "demo", or the path of a bare-metal AArch64 ELF, an arm64 Linux Image or vmlinuz, a saved snapshot, or a
    raw binary. A raw binary is loaded and entered at physical address `base`, where a position-independent ELF is
    loaded too. A guest that is no kernel finds the address of the board's device tree in x0; the tree is at the start
    of RAM, unless the guest itself is there. `initrd` and `vmlinux` are for Linux. `vmlinux` is the ELF that the
    kernel's Image is made from, and may accompany a snapshot: it provides symbols and debug information. `cmdline`
    replaces the default command line, and `append` is added at the end. `memory` is in bytes, or a text such as "256M".
    `cpu` is a model of `engine.CPU_MODELS`. `kaslr` lets a Linux kernel move to an address that this seed (1 to
    2**64 - 1) decides; without it the kernel does not move. With `history` False, the machine keeps no history and
    cannot go back; `history_memory`, given like `memory`, is how much the history may take. Going to a position takes
    `history_interval` milliseconds (5 to 60,000) at most, about: there is a checkpoint each half of that, if possible.
    With `history_folder`, the memory of checkpoints is in an unnamed file there. `disk` is the image of a disk, a file
    that is never written: a virtio block device. A snapshot with a disk needs the same image again.
    Raises MachineError, saying what is wrong, for anything that cannot be run.
    """
    kept = parse_size(history_memory) if isinstance(history_memory, str) else history_memory
    if kept < _LEAST_HISTORY:
        raise MachineError(f"the history needs {_LEAST_HISTORY >> 20}M of memory at least; --no-history keeps none")
    if not 5 <= history_interval <= _LONGEST_INTERVAL:
        raise MachineError(f"the history's interval is 5 to {_LONGEST_INTERVAL:,} milliseconds")
    kept = kept if history else 0
    path = DEMO if guest == "demo" else guest
    if snapshot_file.is_snapshot(path):
        saved = snapshot_file.load(path)
        header = saved.header
        sources = tuple(Path(source) for source in header["sources"])
        ram = saved.memories[0]
        resumed = LoadedGuest(header["kind"], len(ram), (), 0, saved.symbols, sources)
        if vmlinux is not None:
            if not resumed.is_linux:
                raise MachineError(f"{host_files.shown(guest)} is no snapshot of a Linux kernel, so it has no vmlinux")
            from .loaders import vmlinux as vmlinux_file

            known = vmlinux_file.read(vmlinux, saved.symbols, vmlinux_file.in_ram(memoryview(ram)))
            resumed = replace(resumed, symbols=known.symbols, dwarf=known.dwarf, notes=known.notes)
        machine = Machine(resumed, header["cpu"], saved.memories, kept)
        snapshot_file.resume(machine, saved, disk)
        return _keeping(machine, history_interval, history_folder)
    size = parse_size(memory) if isinstance(memory, str) else memory
    files = {"initrd": initrd, "vmlinux": vmlinux}
    loaded = read_guest(guest, **files, cmdline=cmdline, append=append, base=base, memory=size, kaslr=kaslr)
    if kaslr is not None:
        from .kaslr import moved

        loaded = moved(loaded, cpu)
    machine = Machine(loaded, cpu, history=kept)
    if disk is not None:
        machine.add_disk(disk)
    return _keeping(machine, history_interval, history_folder)


def _keeping(machine: Machine, interval: int, folder: str | Path | None) -> Machine:
    """The machine, with checkpoints at that interval, whose memory is kept in the folder. Raises MachineError."""
    machine.timeline.pacing.spacing = interval * RATE
    if folder is not None and machine.timeline.enabled:
        machine.checkpoints.spill(Path(folder))
    return machine
