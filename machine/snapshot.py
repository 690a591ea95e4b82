# SPDX-License-Identifier: GPL-2.0-or-later
"""Saving a machine's whole state, in memory and in a file, and taking it up again.

A snapshot file is a page-aligned header (JSON) followed by the memory as it is, holes left out by the file system, so
that a resumed machine can map it copy-on-write instead of reading it.
"""

from __future__ import annotations

import json
import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

import unicorn

from . import host_files
from .errors import MachineError
from .symbols import Symbols

if TYPE_CHECKING:
    from .machine import Machine

MAGIC: Final = b"armprobe snapshot\n"
VERSION: Final = 3
_PAGE: Final = 4096
_CHUNK: Final = 64 << 10
_ZEROS: Final = bytes(_CHUNK)


@dataclass(frozen=True)
class Snapshot:
    """A machine's state at one instruction: CPU context, devices, clock, and the bytes of its memories."""

    context: bytes
    state: dict[str, Any]
    memories: tuple[bytes, ...]


def take(machine: Machine, memories: bool = True) -> Snapshot:
    """The state of a stopped machine, with or without the contents of its memories."""
    machine.cpu.frame.load()
    contents = tuple(bytes(ram.data) for ram in machine.bus.rams) if memories else ()
    return Snapshot(machine.cpu.frame.save(), _state(machine), contents)


def put_back(machine: Machine, snapshot: Snapshot) -> None:
    """Make `machine`, from which `snapshot` was taken, what it was then."""
    for ram, data in zip(machine.bus.rams, snapshot.memories, strict=bool(snapshot.memories)):
        ram.data[:] = data
    _set_state(machine, snapshot.context, snapshot.state)


class Part(Protocol):
    """What has state: the names of the attributes that hold all of it, as JSON can."""

    @property
    def STATE(self) -> tuple[str, ...]: ...


def _parts(machine: Machine) -> dict[str, Part]:
    parts: dict[str, Part] = {
        "clock": machine.clock,
        "gic": machine.gic,
        "uart": machine.uart,
        "counter_access": machine.counter_access,
        "run_loop": machine.run_loop,
        "calls": machine.calls,
        "software_step": machine.software_step,
    }
    return parts | {timer.name: timer for timer in machine.timers.values()} | machine.parts


def _state(machine: Machine) -> dict[str, Any]:
    parts = _parts(machine)
    state: dict[str, Any] = {name: state_of(part) for name, part in parts.items()}
    state["scratch"] = _copied(machine.scratch.state())
    state["counter_sites"] = sorted(machine.counter_access.sites)
    return state


def state_of(part: Part) -> dict[str, Any]:
    """All that `part` has, as a copy that owns all it holds."""
    return _copied({key: getattr(part, key) for key in part.STATE})


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(state))  # type: ignore[no-any-return]


def _set_state(machine: Machine, context: bytes, state: dict[str, Any]) -> None:
    for name, part in _parts(machine).items():
        # A part that is not in it is younger, and goes back to what it was at first.
        for key, value in _copied(state.get(name, machine.initial.state[name])).items():
            setattr(part, key, value)
    machine.gic.running = [(number, priority) for number, priority in machine.gic.running]
    machine.scratch.set_state(state["scratch"])
    machine.counter_access.watch((address, writes) for address, writes in state["counter_sites"])
    frame = machine.cpu.frame
    frame.restore(context)
    frame.store()
    machine.cpu.refresh()
    machine.cpu.forget_translations()
    machine.run_loop.forget()
    for restored in machine.on_restore:
        restored()


def save(machine: Machine, path: str | Path, key: str = "", *, force: bool = False) -> None:
    """Write the machine's state to `path`, all or nothing. `key` is kept with it, for whoever made the snapshot.

    Raises MachineError when the file cannot be written, and without `force` where something else than a snapshot is.
    """
    for check in machine.before_save:
        check()
    snapshot, rams = take(machine, memories=False), machine.bus.rams
    symbols = machine.symbols.to_bytes()
    crc, extents = 0, []
    blob = b"".join((snapshot.context, symbols))
    header: dict[str, Any] = {
        "version": VERSION,
        "unicorn": unicorn.__version__,
        "cpu": machine.cpu.model,
        "kind": machine.kind,
        "sources": [str(source) for source in machine.guest.sources],
        "key": key,
        "context": len(snapshot.context),
        "symbols": len(symbols),
        "blob_crc": zlib.crc32(blob),
        "memories": [ram.size for ram in machine.bus.rams],
        "state": snapshot.state,
    }
    for ram in rams:
        for at, chunk in _filled(ram.data):
            crc = zlib.crc32(chunk, crc)
            extents.append(at)
        extents.append(-1)
    header["extents"], header["crc"] = extents, crc
    text = json.dumps(header).encode()
    start = -(-(len(MAGIC) + 16 + len(text) + len(blob)) // _PAGE) * _PAGE
    with host_files.new_file(path, _begins_a_snapshot, force=force) as file:
        file.write(MAGIC + len(text).to_bytes(8, "little") + start.to_bytes(8, "little") + text + blob)
        for ram in rams:
            for at, chunk in _filled(ram.data):
                file.seek(start + at)
                file.write(chunk)
            start += ram.size
        file.truncate(start)


def _filled(data: memoryview) -> Iterator[tuple[int, bytes]]:
    """The pieces that are not all zeros, with their offsets. One at a time: the whole is as large as the guest."""
    for at in range(0, len(data), _CHUNK):
        chunk = bytes(data[at : at + _CHUNK])
        if chunk != _ZEROS[: len(chunk)]:
            yield at, chunk


@dataclass(frozen=True)
class SavedMachine:
    """What a snapshot file holds, its memories mapped copy-on-write."""

    header: dict[str, Any]
    context: bytes
    symbols: Symbols
    memories: tuple[mmap.mmap, ...]


def is_snapshot(path: str | Path) -> bool:
    """Whether the file at `path` begins as a snapshot does. Raises MachineError when it cannot be read."""
    with host_files.open_regular(path) as file:
        return _begins_a_snapshot(file)


def _begins_a_snapshot(file: BinaryIO) -> bool:
    return file.read(len(MAGIC)) == MAGIC


def read_key(path: Path) -> str | None:
    """The key that `save` was given, or None if the file is no snapshot that this version can read."""
    try:
        return str(_header(path)[0]["key"])
    except MachineError:
        return None


def _header(path: Path) -> tuple[dict[str, Any], int, int]:
    """The header, where the blob begins and where memory begins."""
    again = "make it again (armprobe linux does so by itself when you delete the file)"
    try:
        with host_files.open_regular(path) as file:
            fixed = file.read(len(MAGIC) + 16)
            length = int.from_bytes(fixed[len(MAGIC) : len(MAGIC) + 8], "little")
            start = int.from_bytes(fixed[len(MAGIC) + 8 :], "little")
            if fixed[: len(MAGIC)] != MAGIC or length > 64 << 20:
                raise ValueError
            header = json.loads(file.read(length))
            if header["version"] != VERSION:
                raise MachineError(
                    f"{path} is a snapshot of format {header['version']}, this is format {VERSION}: {again}"
                )
            if header["unicorn"] != unicorn.__version__:
                raise MachineError(
                    f"{path} was saved with Unicorn {header['unicorn']} and cannot be resumed with "
                    f"{unicorn.__version__}: {again}"
                )
            if path.stat().st_size != start + sum(header["memories"]):
                raise ValueError
    except OSError as error:
        raise MachineError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise MachineError(f"{path} is a damaged or truncated snapshot: {again}") from None
    return header, len(MAGIC) + 16 + length, start


def load(path: Path) -> SavedMachine:
    """Read and check a snapshot file. Raises MachineError when it is damaged or made by another version."""
    header, blob_at, start = _header(path)
    damaged = MachineError(f"{path} is a damaged snapshot (its checksum is wrong): make it again")
    with host_files.open_regular(path) as file:
        file.seek(blob_at)
        blob = file.read(header["context"] + header["symbols"])
        if zlib.crc32(blob) != header["blob_crc"]:
            raise damaged
        memories = []
        for size in header["memories"]:
            access = mmap.PROT_READ | mmap.PROT_WRITE
            memories.append(mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE, prot=access, offset=start))
            start += size
    crc, index = 0, 0
    for at in header["extents"]:
        if at < 0:
            index += 1
        else:
            crc = zlib.crc32(memoryview(memories[index])[at : at + _CHUNK], crc)
    if crc != header["crc"]:
        raise damaged
    context = blob[: header["context"]]
    return SavedMachine(header, context, Symbols.from_bytes(blob[header["context"] :]), tuple(memories))


def resume(machine: Machine, saved: SavedMachine) -> None:
    """Finish a machine made around `saved`'s memories."""
    if len(saved.context) != len(machine.cpu.frame.save()):
        raise MachineError("the snapshot's CPU context is another build's of Unicorn: make it again")
    _set_state(machine, saved.context, saved.header["state"])
    machine.initial = take(machine, memories=False)
