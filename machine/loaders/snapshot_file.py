# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots in files: MAGIC, a header in JSON with its checksum, the symbols, then memory from the next page on.

Memory is stored uncompressed, and the file system leaves holes out. The header has the state of each part, including
the registers of a core, and the list of the pieces of memory that are not zeros. Files are not trusted: each field is
checked (those of a part by its entry in the machine's `StateRegistry`), and reads are bounded by the size of the file.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import unicorn

from armprobe.machine import board, host_files
from armprobe.machine.core.engine import CPU_MODELS
from armprobe.machine.errors import MachineError
from armprobe.machine.field_checks import U32, U63, integer, misfit, record, row, several, text
from armprobe.machine.symbols import Symbols

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine

MAGIC: Final = b"armprobe snapshot\n"
VERSION: Final = 6
_LARGEST_HEADER: Final = 2 << 20  # bytes; three gigabytes of memory in pieces of the smallest size take half of it
_PAGE: Final = 4096
_CHUNK: Final = 64 << 10
_ZEROS: Final = bytes(_CHUNK)
_BUFFER: Final = 1 << 20
_AGAIN: Final = "make it again (armprobe linux does so by itself when you delete the file)"
_ZEN: Final = 3 << 16  # CPACR_EL1.ZEN: whether SVE is enabled (Arm ARM, D19.2.31)

_MEMORY: Final = record(
    {
        "name": text(20),
        "base": integer(U63),
        "size": integer(U63),
        "filled": several(row(integer(U63), integer(U63)), 1 << 20),
        "crc": integer(U32),
    }
)
_FIELDS: Final = {
    "version": integer(U32),
    "unicorn": text(100),  # for information
    "cpu": lambda value: isinstance(value, str) and value in CPU_MODELS,
    "kind": lambda value: value in ("linux", "elf"),
    "sources": several(text(10_000), 10),
    "key": text(1000),
    "symbols": record({"size": integer(U63), "crc": integer(U32)}),
    "memories": several(_MEMORY, 2, 2),
}


@dataclass(frozen=True)
class SavedMachine:
    """The content of the snapshot file at `path`. `memories` are private and writable."""

    path: str | Path
    header: dict[str, Any]
    symbols: Symbols
    memories: tuple[mmap.mmap, ...]


def save(machine: Machine, path: str | Path, key: str = "", *, force: bool = False) -> None:
    """Write the machine's state to `path`, completely or not at all. `key` is stored with it for `read_key`.

    Raises MachineError when the file cannot be written, and without `force` if `path` is a file other than a snapshot.
    """
    state, symbols = machine.state.save_for_file(), machine.symbols.to_bytes()
    header: dict[str, Any] = {
        "version": VERSION,
        "unicorn": unicorn.__version__,
        "cpu": machine.core.model,
        "kind": machine.guest.kind,
        "sources": [str(source) for source in machine.guest.sources],
        "key": key,
        "symbols": {"size": len(symbols), "crc": zlib.crc32(symbols)},
        "memories": [
            {"name": ram.name, "base": ram.base, "size": ram.size, **_described(ram.data)} for ram in machine.bus.rams
        ],
        "state": state,
    }
    if machine.core.model == "max" and machine.registers["cpacr_el1"] & _ZEN:
        raise MachineError("the guest uses SVE, whose registers a snapshot file does not hold: use another CPU model")
    encoded = json.dumps(header).encode()
    wrong = _misfit(header) or machine.state.misfit(state)
    if wrong or len(encoded) > _LARGEST_HEADER:
        raise MachineError(f"the machine cannot be saved now: its {wrong or 'state'} is more than a snapshot holds")
    start = -(-(len(MAGIC) + 20 + len(encoded) + len(symbols)) // _PAGE) * _PAGE
    with host_files.new_file(path, begins_a_snapshot, force=force) as file:
        file.write(MAGIC + len(encoded).to_bytes(8, "little") + start.to_bytes(8, "little"))
        file.write(encoded + zlib.crc32(encoded).to_bytes(4, "little") + symbols)
        for ram, described in zip(machine.bus.rams, header["memories"], strict=True):
            for at, size in described["filled"]:
                file.seek(start + at)
                file.write(ram.data[at : at + size])
            start += ram.size
        file.truncate(start)


def _described(data: memoryview) -> dict[str, Any]:
    """The offsets and sizes of the pieces of memory that are not zeros, and their checksum."""
    filled: list[list[int]] = []
    crc = 0
    for at in _filled(data):
        chunk = data[at : at + _CHUNK]
        crc = zlib.crc32(chunk, crc)
        if filled and sum(filled[-1]) == at:
            filled[-1][1] += len(chunk)
        else:
            filled.append([at, len(chunk)])
    return {"filled": filled, "crc": crc}


def _filled(data: memoryview) -> Iterator[int]:
    for at in range(0, len(data), _CHUNK):
        chunk = data[at : at + _CHUNK]
        if chunk != _ZEROS[: len(chunk)]:
            yield at


def is_snapshot(path: str | Path) -> bool:
    """Whether the file at `path` begins as a snapshot does. Raises MachineError when it cannot be read."""
    with host_files.open_regular(path) as file, host_files.explained("read", path):
        return begins_a_snapshot(file)


def begins_a_snapshot(file: BinaryIO) -> bool:
    """Whether an open file begins as a snapshot does."""
    return file.read(len(MAGIC)) == MAGIC


def read_key(path: Path) -> str | None:
    """The key that `save` was given, or None if the file is no snapshot that this version can read."""
    try:
        with host_files.open_regular(path) as file, host_files.explained("read", path):
            return str(_header(file, path)[0]["key"])
    except MachineError:
        return None


def load(path: str | Path) -> SavedMachine:
    """Read and check a snapshot file. Raises MachineError when it is damaged or made by another version."""
    with host_files.open_regular(path) as file, host_files.explained("read", path):
        header, start = _header(file, path)
        data = file.read(header["symbols"]["size"])
        if zlib.crc32(data) != header["symbols"]["crc"]:
            raise _damaged(path, "its checksum is wrong")
        symbols = Symbols.from_bytes(data)
        memories = []
        for described in header["memories"]:
            memories.append(_memory(file, start, described, path))
            start += described["size"]
    return SavedMachine(path, header, symbols, tuple(memories))


def resume(machine: Machine, saved: SavedMachine) -> None:
    """Restore the state of a machine made with `saved`'s memories. Raises MachineError when it is damaged."""
    state = saved.header["state"]
    if wrong := machine.state.misfit(state):
        raise _wrong_field(saved.path, wrong)
    machine.state.restore_from_file(state)
    machine.state.begin()


def _damaged(path: str | Path, why: str) -> MachineError:
    return MachineError(f"{host_files.shown(path)} is a damaged or truncated snapshot ({why}): {_AGAIN}")


def _wrong_field(path: str | Path, name: str) -> MachineError:
    return _damaged(path, f"'{host_files.shown(name)}' in its header is not what it can be")


def _header(file: BinaryIO, path: str | Path) -> tuple[dict[str, Any], int]:
    """The header, and the offset where memory begins. Leaves the file position at the symbols."""
    fixed = file.read(len(MAGIC) + 16)
    if len(fixed) < len(MAGIC) + 16 or not fixed.startswith(MAGIC):
        raise _damaged(path, "it has no header")
    length, start = (int.from_bytes(fixed[at : at + 8], "little") for at in (len(MAGIC), len(MAGIC) + 8))
    if length > _LARGEST_HEADER:
        raise _damaged(path, "its header is too large")
    encoded, crc = file.read(length), file.read(4)
    try:
        header = json.loads(encoded)
    except (ValueError, RecursionError):
        raise _damaged(path, "its header is no JSON") from None
    version = header.get("version") if isinstance(header, dict) else None
    if version != VERSION and integer(U32)(version):
        raise MachineError(
            f"{host_files.shown(path)} is a snapshot of format {version}, this is format {VERSION}: {_AGAIN}"
        )
    if zlib.crc32(encoded).to_bytes(4, "little") != crc:
        raise _damaged(path, "the checksum of its header is wrong")
    if wrong := _misfit(header):
        raise _wrong_field(path, wrong)
    if start % _PAGE or start < len(MAGIC) + 20 + length + header["symbols"]["size"]:
        raise _damaged(path, "its header overlaps its memory")
    if os.fstat(file.fileno()).st_size != start + sum(described["size"] for described in header["memories"]):
        raise _damaged(path, "it has another size than it says")
    return header, start


def _misfit(header: Any) -> str:
    """The first field other than `state` with an invalid value; "" if there is none."""
    own = {name: header.get(name) for name in _FIELDS} if isinstance(header, dict) else None
    if wrong := misfit(own, _FIELDS):
        return wrong
    if header.keys() != {*_FIELDS, "state"}:
        return "all of it"
    places = (("ram", board.RAM_BASE), ("scratch", board.SCRATCH_BASE))
    for described, (name, base) in zip(header["memories"], places, strict=True):
        named = described["name"], described["base"]
        if named != (name, base) or not _within(described["filled"], described["size"]):
            return name
    ram, scratch = (described["size"] for described in header["memories"])
    try:
        board.check_memory_size(ram)
    except MachineError:
        return "ram"
    return "" if scratch == board.SCRATCH_SIZE else "scratch"


def _within(filled: list[list[int]], size: int) -> bool:
    """Whether the pieces are in order, do not overlap, and lie within `size` bytes."""
    end = 0
    for at, length in filled:
        if at < end or at + length > size:
            return False
        end = at + length
    return True


def _memory(file: BinaryIO, start: int, described: dict[str, Any], path: str | Path) -> mmap.mmap:
    """The memory at `start` in the file, copied to an unnamed file and mapped copy-on-write.

    A mapping of the file itself would end the process (SIGBUS) if the file were cut short, and change under the guest
    if the file were written to. On this mapping, MADV_DONTNEED restores the content of the snapshot.
    """
    copy = os.memfd_create("armprobe snapshot", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        size, crc = described["size"], 0
        os.ftruncate(copy, size)
        buffer = memoryview(bytearray(_BUFFER))
        for at, length in described["filled"]:
            end = at + length
            while at < end:
                count = os.preadv(file.fileno(), [buffer[: end - at]], start + at)
                if not count:
                    raise _damaged(path, "it ends early")
                crc = zlib.crc32(buffer[:count], crc)
                os.pwrite(copy, buffer[:count], at)
                at += count
        if crc != described["crc"]:
            raise _damaged(path, "its checksum is wrong")
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
        return mmap.mmap(copy, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    finally:
        os.close(copy)
