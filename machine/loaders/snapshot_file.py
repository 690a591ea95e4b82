# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots in files: MAGIC, a header in JSON with its checksum, and sections, each from the next page on.

The header lists the sections. All are described alike: name, version and size of the content, the pieces of it that are
not zeros, and the checksum of those. Content is uncompressed, and the file system leaves holes out.

    state     the state of each part of the machine, the registers of a core among them: JSON
    symbols   `Symbols.to_bytes`
    ram       memory
    scratch   the machine's own memory
    disk      `DiskImage.to_bytes`: what the guest has written to its disk; nothing without a disk
    history, events, checkpoints, pages   see `history_file.py`; nothing without history

Files are not trusted. Each field is checked (those of a part by its entry in the machine's `StateRegistry`), and reads
are bounded by the size of the file and by the limit of each section.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import unicorn

from armprobe.machine import board, host_files
from armprobe.machine.core.calibration import calibrate
from armprobe.machine.core.engine import CPU_MODELS
from armprobe.machine.errors import MachineError
from armprobe.machine.field_checks import U32, U63, integer, misfit, record, row, several, text
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.memory.bus import Backing
from armprobe.machine.memory.dirty_pages import filled
from armprobe.machine.memory.disk_image import MOST_WRITTEN
from armprobe.machine.native import pages
from armprobe.machine.state import Values
from armprobe.machine.symbols import Symbols

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine
    from armprobe.machine.time.saved_history import SavedHistory

    from .history_file import Encoded

MAGIC: Final = b"armprobe snapshot\n"
VERSION: Final = 9
_LARGEST_HEADER: Final = 2 << 20  # bytes; three gigabytes of memory in pieces of the smallest size take half of it
_PAGE: Final = 4096
_CHUNK: Final = 64 << 10
_ZEROS: Final = bytes(_CHUNK)
_BUFFER: Final = 4 << 20  # few pieces: after each, a thread beside others waits for Python's lock
_AGAIN: Final = "make it again (armprobe linux does so by itself when you delete the file)"
_ZEN: Final = 3 << 16  # CPACR_EL1.ZEN: whether SVE is enabled (Arm ARM, D19.2.31)
_begun: Final[dict[str | Path, _Reading]] = {}  # by `read_ahead`


class _Content(NamedTuple):
    """The content of a section: the version of its form, and the limit of its size in bytes."""

    version: int
    limit: int


SECTIONS: Final = {
    "state": _Content(2, 2 << 20),
    "symbols": _Content(1, 64 << 20),
    "ram": _Content(1, board.RAM_END_MAX - board.RAM_BASE),
    "scratch": _Content(1, board.SCRATCH_SIZE),
    "disk": _Content(1, 2 * MOST_WRITTEN * pages.PAGE),
    "history": _Content(1, 2 << 20),
    "events": _Content(1, 1 << 30),
    "checkpoints": _Content(1, 256 << 20),
    "pages": _Content(1, 64 << 30),
}
"""The sections by name, in the order in which a file has them."""
_OF_HISTORY: Final = "history", "events", "checkpoints", "pages"

_SECTION: Final = record(
    {
        "name": text(20),
        "version": integer(U32),
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
    "sections": several(_SECTION, len(SECTIONS), len(SECTIONS)),
}


@lazy_dataclass
class SavedMachine:
    """The content of the snapshot file at `path`. `memories` are private and writable.

    `state` and `history`, which is empty without one, are not checked yet. `pages` are those of the checkpoints in it.
    """

    path: str | Path
    header: dict[str, Any]
    state: Any
    symbols: Symbols
    memories: tuple[Backing, ...]
    disk: bytes
    history: Encoded
    pages: Backing | None


def save(machine: Machine, path: str | Path, key: str = "", *, force: bool = False, history: bool = False) -> None:
    """Write the machine's state to `path`, completely or not at all, with its `history` if that is wanted.

    `key` is stored with it for `read_key`. Raises MachineError when the file cannot be written, and without `force` if
    `path` is a file other than a snapshot.
    """
    with host_files.new_file(path, begins_a_snapshot, force=force) as file, contextlib.ExitStack() as held:
        state = machine.state.save_for_file()
        past = _past(machine, state, path, held) if history else dict.fromkeys(_OF_HISTORY, memoryview(b""))
        _write(machine, file, key, state, past)


def _past(machine: Machine, state: Values, path: str | Path, held: contextlib.ExitStack) -> dict[str, memoryview]:
    """The sections with the history, the pages in an unnamed file beside `path`."""
    from armprobe.machine.time import saved_history

    from . import history_file

    file = held.enter_context(tempfile.TemporaryFile(dir=Path(path).parent))  # noqa: SIM115
    try:
        history = history_file.encoded(saved_history.saved_history(machine.timeline, machine, state, file))
    except history_file.DamagedHistory as wrong:
        raise MachineError(
            f"a snapshot file does not hold the history as it is ({wrong}): save without it (history=no)"
        ) from None
    size = file.tell()
    file.flush()
    mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b""
    contents: tuple[bytes | mmap.mmap, ...] = *history, mapped
    return {name: memoryview(content) for name, content in zip(_OF_HISTORY, contents, strict=True)}


def _write(machine: Machine, file: BinaryIO, key: str, state: Values, past: dict[str, memoryview]) -> None:
    if machine.core.model == "max" and machine.registers["cpacr_el1"] & _ZEN:
        raise MachineError("the guest uses SVE, whose registers a snapshot file does not hold: use another CPU model")
    contents = {
        "state": memoryview(json.dumps(state).encode()),
        "symbols": memoryview(machine.symbols.to_bytes()),
        **{ram.name: ram.data for ram in machine.bus.rams},
        "disk": memoryview(b"" if machine.disk is None else machine.disk.image.to_bytes()),
        **past,
    }
    pieces = {name: range(0, len(data), _CHUNK) for name, data in contents.items()} | {
        ram.name: filled(ram.pages, _CHUNK) for ram in machine.bus.rams
    }
    header: dict[str, Any] = {
        "version": VERSION,
        "unicorn": unicorn.__version__,
        "cpu": machine.core.model,
        "kind": machine.guest.kind,
        "sources": [str(source) for source in machine.guest.sources],
        "key": key,
        "sections": [_described(name, contents[name], pieces[name]) for name in SECTIONS],
    }
    encoded = json.dumps(header).encode()
    wrong = _misfit(header) or machine.state.misfit(state) or ("header" if len(encoded) > _LARGEST_HEADER else "")
    if wrong:
        raise MachineError(f"the machine cannot be saved now: a snapshot file does not hold its {wrong} as it is")
    start = len(MAGIC) + 20 + len(encoded)
    places = list(_places(header["sections"], start))
    file.write(MAGIC + len(encoded).to_bytes(8, "little") + places[-1].to_bytes(8, "little"))
    file.write(encoded + zlib.crc32(encoded).to_bytes(4, "little"))
    for section, place in zip(header["sections"], places, strict=False):
        for at, size in section["filled"]:
            file.seek(place + at)
            file.write(contents[section["name"]][at : at + size])
    file.truncate(places[-1])


def _places(sections: list[dict[str, Any]], start: int) -> Iterator[int]:
    """The offset of each section in a file whose header ends at `start`, then that of the file's end."""
    for section in sections:
        start = -(-start // _PAGE) * _PAGE
        yield start
        start += section["size"]
    yield start


def _described(name: str, data: memoryview, pieces: Iterable[int]) -> dict[str, Any]:
    """The header's entry for a section: the offsets and sizes of the pieces that are not zeros, and their checksum.

    Only the pieces at these offsets may be others.
    """
    found: list[list[int]] = []
    crc = 0
    for at in pieces:
        chunk = data[at : at + _CHUNK].tobytes()  # bytes are compared by memcmp, views one element after another
        if chunk == _ZEROS[: len(chunk)]:
            continue
        crc = zlib.crc32(chunk, crc)
        if found and sum(found[-1]) == at:
            found[-1][1] += len(chunk)
        else:
            found.append([at, len(chunk)])
    return {"name": name, "version": SECTIONS[name].version, "size": len(data), "filled": found, "crc": crc}


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


class _Reading(NamedTuple):
    """A file with its header and its sections, each with its offset. The thread of `beside` copies its memories."""

    file: BinaryIO
    header: dict[str, Any]
    sections: list[tuple[dict[str, Any], int]]
    beside: ThreadPoolExecutor
    memories: list[Future[Backing]]


def read_ahead(path: str | Path) -> None:
    """Begin to read a snapshot file that `load` will be asked for next. Raises MachineError as `load` does."""
    _begun[path] = _begin(path)


def _begin(path: str | Path) -> _Reading:
    with contextlib.ExitStack() as held:
        file = held.enter_context(host_files.open_regular(path))
        held.enter_context(host_files.explained("read", path))
        header, start = _header(file, path)
        held.pop_all()
    sections = list(zip(header["sections"], _places(header["sections"], start), strict=False))
    beside = ThreadPoolExecutor(max_workers=1)
    # Most of that is outside of Python's lock, so that the rest is done meanwhile.
    ram_and_scratch = [beside.submit(_memory, file, *each, path) for each in sections[2:4]]
    return _Reading(file, header, sections, beside, ram_and_scratch)


def load(path: str | Path) -> SavedMachine:
    """Read and check a snapshot file. Raises MachineError when it is damaged or made by another version."""
    from .history_file import Encoded

    file, header, sections, beside, copied = _begun.pop(path) if path in _begun else _begin(path)
    with file, host_files.explained("read", path), beside:
        state, symbols, _, _, disk, *history, past = sections
        calibrate(header["cpu"])  # once in a process, and the machine needs it next
        try:
            decoded = json.loads(_bytes(file, *state, path))
        except (ValueError, RecursionError):
            raise _damaged(path, "its state is no JSON") from None
        known = Symbols.from_bytes(_bytes(file, *symbols, path))
        encoded = Encoded(*(_bytes(file, *each, path) for each in history))
        kept = _memory(file, *past, path) if past[0]["size"] else None
        memories = tuple(memory.result() for memory in copied)
        return SavedMachine(path, header, decoded, known, memories, _bytes(file, *disk, path), encoded, kept)


def resume(machine: Machine, saved: SavedMachine, disk: str | Path | None) -> None:
    """Restore the state of a machine made with `saved`'s memories, with the image `disk` of the disk that it had.

    Raises MachineError when it is damaged, or the image is another.
    """
    if wrong := machine.state.misfit(saved.state):
        raise _wrong_field(saved.path, wrong)
    name = host_files.shown(saved.path)
    if saved.disk and disk is None:
        raise MachineError(f"the guest in {name} has a disk: give its image, too (--disk)")
    if disk is not None and not saved.disk:
        raise MachineError(f"the guest in {name} was started without a disk, and can have none now: start it with one")
    machine.state.restore_from_file(saved.state)
    machine.state.begin()
    if disk is not None:
        machine.add_disk(disk)
        assert machine.disk is not None
        machine.disk.image.start_from(saved.disk)
    machine.timeline.begin(machine.put_back_first)
    history = checked_history(machine, saved)
    if history is not None:
        adopt_history(machine, saved, history)


def checked_history(machine: Machine, saved: SavedMachine) -> SavedHistory | None:
    """The history in a file, whose state fits the machine. None without one, and if the machine is to keep none.

    Raises MachineError when it is damaged, and when it takes more memory than the machine's history may.
    """
    from armprobe.machine.time import saved_history

    from . import history_file

    if not saved.history.history or not machine.timeline.enabled:
        return None
    clock = saved.state["clock"]["instructions"]
    most = machine.timeline.memory // 4
    try:
        history = history_file.decoded(saved.history, clock, most)
    except history_file.DamagedHistory as error:
        raise _wrong_field(saved.path, f"history: {error}") from None
    except OverflowError:
        raise MachineError(
            f"the history in {host_files.shown(saved.path)} takes more than a quarter of the "
            f"{machine.timeline.memory >> 20} MiB that it may: give it more (--history-memory), or none (--no-history)"
        ) from None
    wrong = saved_history.misfit(machine, history, saved.state)
    size = 0 if saved.pages is None else len(saved.pages)
    if wrong or size != pages.PAGE * sum(len(state.pages) for state in history.states):
        raise _wrong_field(saved.path, f"history: {wrong or 'pages'}")
    return history


def adopt_history(machine: Machine, saved: SavedMachine, history: SavedHistory) -> None:
    """Give the machine, which was put into the state in the file, the history from there."""
    from armprobe.machine.time import saved_history

    file = -1 if saved.pages is None else saved.pages.file or -1
    page = lambda index: os.pread(file, pages.PAGE, index * pages.PAGE)  # noqa: E731
    saved_history.adopt(machine.timeline, machine, history, saved.state, page)


def put_back(machine: Machine, path: str | Path) -> tuple[SavedMachine, SavedHistory | None]:
    """Put `machine` into the state in a file, which must be of the same guest. Returns what the file has.

    Raises MachineError if it is not, and if the file is damaged; nothing has changed then.
    """
    if not is_snapshot(path):
        raise MachineError(f"{host_files.shown(path)} is not a snapshot: give a file that save has written")
    saved = load(path)
    same = (
        saved.header["cpu"] == machine.core.model
        and saved.header["kind"] == machine.guest.kind
        and [len(memory) for memory in saved.memories] == [ram.size for ram in machine.bus.rams]
        and saved.symbols.to_bytes() == machine.symbols.to_bytes()
        and bool(saved.disk) == (machine.disk is not None)
    )
    if not same:
        raise MachineError(f"{host_files.shown(path)} is of another guest: start it with armprobe FILE")
    if wrong := machine.state.misfit(saved.state):
        raise _wrong_field(path, wrong)
    history = checked_history(machine, saved)
    if machine.disk is not None:
        machine.disk.image.restore(saved.disk)
    for ram, memory in zip(machine.bus.rams, saved.memories, strict=True):
        with memoryview(memory) as content:
            to, source = pages.address_of(ram.data), pages.address_of(content)
            numbers: list[int] = []
            for at in sorted({*filled(ram.pages, _CHUNK), *filled(memory, _CHUNK)}):
                numbers += range(at // pages.PAGE, min(at + _CHUNK, ram.size) // pages.PAGE)
            changed, _ = pages.differing(to, source, pages.pages_of(numbers))
            pages.copy(to, source, changed)
        for core in machine.cores:
            core.forget_pages(ram.base, changed)
    machine.bus.changes += 1
    machine.state.restore_from_file(saved.state)
    return saved, history


def _damaged(path: str | Path, why: str) -> MachineError:
    return MachineError(f"{host_files.shown(path)} is a damaged or truncated snapshot ({why}): {_AGAIN}")


def _wrong_field(path: str | Path, name: str) -> MachineError:
    return _damaged(path, f"'{host_files.shown(name)}' in it is not what it can be")


def _header(file: BinaryIO, path: str | Path) -> tuple[dict[str, Any], int]:
    """The header, and the offset of its end."""
    fixed = file.read(len(MAGIC) + 16)
    if len(fixed) < len(MAGIC) + 16 or not fixed.startswith(MAGIC):
        raise _damaged(path, "it has no header")
    length, end = (int.from_bytes(fixed[at : at + 8], "little") for at in (len(MAGIC), len(MAGIC) + 8))
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
    for section in header["sections"]:
        if section["version"] != (version := SECTIONS[section["name"]].version):
            raise MachineError(
                f"{host_files.shown(path)} has its {section['name']} in version {section['version']}, this reads "
                f"version {version}: {_AGAIN}"
            )
    start = len(MAGIC) + 20 + length
    if not os.fstat(file.fileno()).st_size == end == list(_places(header["sections"], start))[-1]:
        raise _damaged(path, "it has another size than it says")
    return header, start


def _misfit(header: Any) -> str:
    """The first field or section that has an invalid value; "" if there is none."""
    if wrong := misfit(header, _FIELDS):
        return wrong
    sections: dict[str, dict[str, Any]] = {section["name"]: section for section in header["sections"]}
    if list(sections) != list(SECTIONS):
        return "sections"
    for name, section in sections.items():
        if section["size"] > SECTIONS[name].limit or not _within(section["filled"], section["size"]):
            return name
    try:
        board.check_memory_size(sections["ram"]["size"])
    except MachineError:
        return "ram"
    return "" if sections["scratch"]["size"] == board.SCRATCH_SIZE else "scratch"


def _within(filled: list[list[int]], size: int) -> bool:
    """Whether the pieces are in order, do not overlap, and lie within `size` bytes."""
    end = 0
    for at, length in filled:
        if at < end or at + length > size:
            return False
        end = at + length
    return True


def _pieces(file: BinaryIO, section: dict[str, Any], place: int, path: str | Path) -> Iterator[tuple[int, memoryview]]:
    """The pieces of the section at `place` with their offsets in it. The checksum is checked after the last one.

    A piece is valid until the next one is asked for.
    """
    buffer, crc = memoryview(bytearray(_BUFFER)), 0
    for at, length in section["filled"]:
        end = at + length
        while at < end:
            count = os.preadv(file.fileno(), [buffer[: end - at]], place + at)
            if not count:
                raise _damaged(path, "it ends early")
            crc = zlib.crc32(buffer[:count], crc)
            yield at, buffer[:count]
            at += count
    if crc != section["crc"]:
        raise _damaged(path, f"the checksum of its {section['name']} is wrong")


def _bytes(file: BinaryIO, section: dict[str, Any], place: int, path: str | Path) -> bytes:
    """The content of the section at `place`."""
    content = bytearray(section["size"])
    for at, piece in _pieces(file, section, place, path):
        content[at : at + len(piece)] = piece
    return bytes(content)


def _memory(file: BinaryIO, section: dict[str, Any], place: int, path: str | Path) -> Backing:
    """The memory in the section at `place`, copied to an unnamed file and mapped copy-on-write.

    A mapping of the file itself would end the process (SIGBUS) if the file were cut short, and change under the guest
    if the file were written to. On this mapping, MADV_DONTNEED restores the content of the snapshot.
    """
    copy, size = os.memfd_create("armprobe snapshot", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), section["size"]
    try:
        os.ftruncate(copy, size)
        for at, piece in _pieces(file, section, place, path):
            os.pwrite(copy, piece, at)
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        memory = Backing(copy, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except BaseException:
        os.close(copy)
        raise
    memory.file = copy
    return memory
