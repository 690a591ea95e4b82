# SPDX-License-Identifier: GPL-2.0-or-later
"""A Linux guest at its shell: booted once, then resumed from a snapshot of that moment."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from armprobe import machine
from armprobe.machine import Machine, MachineError, StopReason, board, host_files
from armprobe.machine.file_lock import exclusive_lock
from armprobe.machine.loaders import command_line
from armprobe.machine.loaders.snapshot_file import VERSION, read_key
from armprobe.machine.memory.disk_image import DiskImage
from armprobe.wiring import keep_symbol_file

from . import cache
from .debian import (
    CLOUD,
    PROMPT,
    READY,
    build_archive,
    cache_directory,
    cached_kernel,
    compressed,
    fetch_kernel,
    files_of,
    with_disk,
)
from .kernel_digest import kernel_digest

_LARGEST: Final = board.RAM_END_MAX - board.RAM_BASE
_STEP: Final = 20_000_000  # instructions between two checks of the console
_BOOT_LIMIT: Final = 20_000_000_000  # instructions
_SILENCE: Final = 2_000_000_000  # instructions without output after which a guest counts as booted


class BootError(MachineError):
    """A kernel did not get to its shell, or its snapshot could not be written."""


def prepare(
    kernel: Path | None = None,
    initrd: Path | None = None,
    *,
    cmdline: str | None = None,
    append: str | None = None,
    memory: str = "256M",
    report: Callable[[str], None] = print,
    refresh: bool = False,
    kaslr: int | None = None,
    cache_limit: str = cache.DEFAULT_LIMIT,
    disk: Path | None = None,
    root: bool = False,
    flavour: str = CLOUD,
) -> Path:
    """The snapshot of a kernel at its shell. It is made first if no such kernel has been booted before.

    `kernel` and `initrd` default to Debian's kernel of a `flavour` (cloud, generic or rt), fetched with apt, and a
    BusyBox shell. `cmdline`, `append`, `memory` and `kaslr` are those of `machine.load`. `report` is called with a line
    for each step that takes time. `cache_limit` is the size of all snapshots together, such as "4G", beyond which the
    oldest are removed when one is made. `disk` is the image of a disk, which `machine.load` of the snapshot needs
    again; with `root` the shell is on its file system. This process holds the one that is returned. Raises MachineError
    on failure.
    """
    from .debian import disk_modules

    line = command_line(cmdline, append, kaslr)
    board.check_command_line(line)
    if root and (disk is None or initrd is not None):
        raise BootError("a root on a disk needs the disk, and armprobe's own initramfs: give a disk and no initrd")
    size, limit = machine.parse_size(memory), machine.parse_size(cache_limit)
    board.check_memory_size(size)
    ramdisk = b"" if initrd is None else _read(initrd)
    if kernel is None or initrd is None:
        files = fetch_kernel(report, refresh=refresh, flavour=flavour)
        if initrd is None:
            known = files if kernel is None else files_of(kernel)
            modules = {} if disk is None or known is None else disk_modules(known, report)
            contents = {} if disk is None else with_disk(modules, root=root)
            ramdisk = build_archive(files.busybox.read_bytes(), contents)  # compressing it takes as long as the rest
        kernel = kernel or files.vmlinuz
    key = _key(kernel, ramdisk, line, size, kaslr, disk)
    path = _path(key)
    cache.hold(path)
    if read_key(path) == key:
        return path
    with contextlib.ExitStack() as held:
        waiting = "another armprobe is booting this kernel: waiting for it"
        try:
            held.enter_context(exclusive_lock(path.with_suffix(".lock"), waiting, report))
        except OSError as error:
            raise BootError(f"{path.parent} cannot be written: {error.strerror}") from None
        if read_key(path) != key:
            with tempfile.NamedTemporaryFile(prefix="armprobe-", suffix=".initrd") as archive:
                Path(archive.name).write_bytes(compressed(ramdisk) if initrd is None else ramdisk)
                loading: dict[str, Any] = {"cmdline": line, "memory": size, "kaslr": kaslr, "disk": disk}
                # Nobody goes back here, and a history would take as much memory as the guest.
                booting = machine.load(kernel, initrd=archive.name, **loading, history=False)
            report(f"booting {kernel.name} (once; from then on it is resumed from a snapshot)")
            boot(booting)
            booting.save(path, key, force=True)  # replaces a damaged one, too
            done = f"booted: {booting.instructions:,} instructions, {booting.clock.seconds:.1f} s of guest time"
            del booting
            gc.collect()  # its parts refer to each other; together with what follows it would take too much memory
            keep_symbol_file(machine.load(path, history=False, disk=disk))
            gc.collect()  # that machine, too: what is there at the start of a session is not looked at again
            cache.describe(path, _made_of(kernel, initrd, line, memory, disk))
            report(done)
        cache.hold(path)
    if removed := cache.keep_within(limit):
        freed = sum(entry.size for entry in removed)
        report(f"removed {len(removed)} old snapshots from the cache ({freed / 1e9:.1f} GB; armprobe cache lists it)")
    return path


def prepared() -> Path | None:
    """The snapshot that `prepare` would return for the kernel in the cache, if it is there already."""
    files = cached_kernel()
    if files is None:
        return None
    line, size = command_line(None, None, None), machine.parse_size("256M")
    key = _key(files.vmlinuz, build_archive(files.busybox.read_bytes()), line, size, None, None)
    return path if read_key(path := _path(key)) == key else None


def _key(kernel: Path, ramdisk: bytes, line: str, size: int, kaslr: int | None, disk: Path | None) -> str:
    """A digest of what a snapshot is made of, the code that makes it included."""
    key = hashlib.sha256(kernel_digest(kernel, _LARGEST))
    seed = b"" if kaslr is None else str(kaslr).encode()
    parts = [ramdisk, line.encode(), seed, str(size).encode(), str(VERSION).encode(), machine.build_id()]
    if disk is not None:
        parts.append(DiskImage(disk).identity)
    for part in parts:
        key.update(hashlib.sha256(part).digest())
    return key.hexdigest()


def _path(key: str) -> Path:
    return cache.snapshot_folder() / f"{key[:20]}.snapshot"


def _made_of(kernel: Path, initrd: Path | None, line: str, memory: str, disk: Path | None) -> str:
    """What a snapshot is of, for the list of the cache."""
    name = kernel.parent.name.partition("_")[0] if kernel.is_relative_to(cache_directory()) else str(kernel)
    given = [f"{what} {path}" for what, path in (("initrd", initrd), ("disk", disk)) if path]
    parts = [name, *given, memory, line]
    return ", ".join(host_files.shown(part) for part in parts)


def _read(path: Path) -> bytes:
    return host_files.read_file(path, _LARGEST)


def boot(guest: Machine) -> bytes:
    """Run until the guest's shell is ready, or long silent. Returns its output, which stays readable.

    Raises BootError if the guest ends or never gets there.
    """
    printed = bytearray()

    def listen(data: bytes) -> None:
        printed.extend(data)
        if data.endswith(b" ") and READY.encode() in printed and printed.endswith(PROMPT.encode()):
            guest.interrupt()

    guest.console.listen(listen)
    try:
        start = spoke = guest.instructions
        while guest.instructions - start < _BOOT_LIMIT:
            before = len(printed)
            stop = guest.run(instructions=_STEP)
            if stop.reason is StopReason.INTERRUPTED:
                return bytes(printed)
            if stop.reason not in (StopReason.INSTRUCTIONS, StopReason.IDLE):
                break
            if len(printed) > before:
                spoke = guest.instructions
            elif (printed and guest.instructions - spoke > _SILENCE) or stop.reason is StopReason.IDLE:
                return bytes(printed)
        last = printed.decode("utf-8", "replace").strip().splitlines()[-1:] or ["nothing"]
        raise BootError(f"the kernel did not get to a shell ({stop.reason.value}); the last it printed: {last[0]}")
    finally:
        guest.console.unlisten(listen)
