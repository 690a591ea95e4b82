# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's symbol file, kept in this process and in the user's cache.

In the cache, a file's name is a digest of what it is made of: the guest's symbols, code and types, and the code that
makes it. So it serves every guest that runs the same kernel, and no other one. A digest of its content follows the
content. An armprobe whose own files have changed since it was started, as by an upgrade, leaves the cache alone: nobody
can tell any more what code it runs.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from armprobe.guests.linux.debian import cache_directory
from armprobe.machine import host_files
from armprobe.machine.errors import MachineError
from armprobe.machine.native.binding import SOURCES as CORE_SOURCES

from .symbol_file import SymbolSources, symbol_file

if TYPE_CHECKING:
    from armprobe.machine import Machine, Symbols

    from .session import Session

log = logging.getLogger("armprobe.session")

_FOLDER: Final = "symbols"  # in the user's cache
_MOST_FILES: Final = 16  # of 10 MB for a distribution's kernel
_LARGEST: Final = 256 << 20  # bytes
_DIGEST: Final = 32  # bytes
_ROOT: Final = Path(__file__).parent.parent
_MAKERS: Final = "session/symbol_file.py", "kernel"
_LOADED: Final = time.time()


class SymbolFile:
    """The `symbol_file` of a machine.

    `gather` calls `SymbolSources.of` on the thread that owns the machine, and `warn` is called with the reason each
    time the guest's types cannot be read.
    """

    def __init__(
        self, machine: Machine, gather: Callable[[], SymbolSources], warn: Callable[[str], None] = log.warning
    ) -> None:
        self._machine = machine
        self._gather = gather
        self._warn = warn
        self._made: tuple[Symbols, bytes] | None = None
        self.path: Path | None = None
        """Where the user's cache has it, with a digest behind it, once it was read; None if it does not have it."""

    def open(self) -> BinaryIO:
        """The file, open to read, as `read` gives it. It is that of the user's cache, if that has it."""
        made = self.read()
        if self.path is not None:
            with contextlib.suppress(MachineError):
                return host_files.open_regular(self.path)
        return io.BytesIO(made)

    def read(self) -> bytes:
        """The bytes of the file, on any thread. Takes about a second where no cache has it."""
        symbols = self._machine.symbols
        if self._made is not None and self._made[0] is symbols:
            return self._made[1]
        sources = self._gather()
        makers = _makers()
        key = None if makers is None else sha256(sources.digest() + makers).digest()
        made = _cached(key) if key else None
        self.path = _path(key) if key and made is not None else None
        if made is None:
            reasons: list[str] = []
            made = symbol_file(sources, reasons.append)
            for reason in reasons:
                self._warn(reason)
            if reasons:
                return made
            if key:
                self.path = _keep(key, made)
        self._made = symbols, made
        return made


@functools.cache
def _makers() -> bytes | None:
    """A digest of the code that makes symbol files; None if its files have changed since they were loaded."""
    digest = sha256(CORE_SOURCES.encode())
    try:
        for name in _MAKERS:
            path = _ROOT / name
            for file in sorted(path.rglob("*.py")) if path.is_dir() else (path,):
                if file.stat().st_ctime > _LOADED:
                    raise FileNotFoundError(f"{file} is a later one")
                digest.update(file.read_bytes())
    except OSError as error:
        log.info("armprobe's own files have changed since it was started, so its symbol files are not kept: %s", error)
        return None
    return digest.digest()


def _path(key: bytes) -> Path:
    return cache_directory() / _FOLDER / f"{key.hex()[:40]}.elf"


def _seal(key: bytes, content: bytes) -> bytes:
    """The digest that follows the content of a file in the cache."""
    digest = sha256(key)
    digest.update(content)
    return digest.digest()


def _cached(key: bytes) -> bytes | None:
    """The file with that key from the user's cache; None if it is not there, or not as it was written."""
    path = _path(key)
    try:
        data = host_files.read_file(path, _LARGEST)
    except MachineError:
        return None
    content = data[:-_DIGEST]
    if data[-_DIGEST:] != _seal(key, content):
        log.info("%s is damaged, and made anew", path)
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # the files used least recently are deleted first
    return content


def _keep(key: bytes, content: bytes) -> Path | None:
    """Put a file into the user's cache, and delete the oldest of too many there. Its path; None if that fails."""
    path = _path(key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with host_files.new_file(path, lambda file: True) as file:
            file.write(content)
            file.write(_seal(key, content))
        files = sorted(path.parent.glob("*.elf"), key=lambda file: file.stat().st_mtime, reverse=True)
        for old in files[_MOST_FILES:]:
            old.unlink(missing_ok=True)
    except (MachineError, OSError) as error:
        log.info("the debugger's symbols are not kept: %s", error)
        return None
    return path


def symbol_path(session: Session, folder: Path) -> Path | None:
    """A file with the guest's symbols for a debugger, its own or one that is written to `folder`; None if it has none.

    gdb reads it faster than through the stub, and LLDB takes none from a stub.
    """
    file = session.debug_target.exec_file()
    if file is None or session.machine.guest.dwarf is not None:
        return session.machine.guest.dwarf
    path = folder / Path(file.name).name
    with file.open() as content:
        path.write_bytes(content.read())
    return path
