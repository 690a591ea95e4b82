# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads and writes the host's files, by one rule for all paths given by a user, a script or a debugger.

Only regular files are read: a pipe, a terminal or a device can block for ever or never end. A new file is written under
an unpredictable name in the same folder, and renamed when it is complete. It replaces only files that the caller
recognises as its own, unless the user forces it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from .errors import MachineError

_PIECE: Final = 1 << 18  # bytes
_LONGEST_SHOWN: Final = 200  # characters of a name in a message
_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}
# O_NONBLOCK: a file replaced by a pipe after the check does not block. O_NOCTTY: a terminal does not become ours.
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def shown(path: str | Path) -> str:
    """The name of a file for a message: unchanged, or escaped if it could confuse a terminal."""
    name = str(path)
    if len(name) > _LONGEST_SHOWN:
        name = f"{name[: _LONGEST_SHOWN // 2]}...{name[-_LONGEST_SHOWN // 2 :]}"
    return name if name.isprintable() else ascii(name)


def open_regular(path: str | Path) -> BinaryIO:
    """The regular file at `path`, open for reading. Raises MachineError, one sentence, for anything else."""
    with explained("read", path):
        _require_regular(os.stat(_checked(path)), "read", path)  # opening a device can have effects
        file = open(os.open(path, _READ), "rb")  # noqa: SIM115
        try:
            _require_regular(os.fstat(file.fileno()), "read", path)
        except MachineError:
            file.close()
            raise
        return file


def read_file(path: str | Path, most: int) -> bytes:
    """The content of the regular file at `path`.

    Raises MachineError when it cannot be read or has more than `most` bytes.
    """
    with open_regular(path) as file, explained("read", path):
        _require_size(os.fstat(file.fileno()).st_size, path, most)
        data = file.read(most + 1)
        _require_size(len(data), path, most)
        return data


def digest(path: str | Path, most: int) -> hashlib._Hash:
    """A SHA-256 of the content of the regular file at `path`. Raises MachineError as `read_file` does."""
    with open_regular(path) as file, explained("read", path):
        _require_size(os.fstat(file.fileno()).st_size, path, most)
        content = hashlib.sha256()
        while piece := file.read(_PIECE):
            content.update(piece)
        return content


def _require_size(size: int, path: str | Path, most: int) -> None:
    if size > most:
        raise MachineError(f"cannot read {shown(path)}: it has {size:,} bytes, and {most:,} are the limit")


def read_text(path: str | Path, most: int, *, or_pipe: bool = False) -> str:
    """The text of a regular file in UTF-8, without a byte order mark. Raises MachineError as `read_file` does.

    With `or_pipe` the file may be a pipe that this process has open, such as /dev/stdin or a shell's <(COMMAND), and
    this waits for its writer. Named pipes are refused, because they may never have a writer.
    """
    data = _read_pipe(path, most) if or_pipe and _is_open_pipe(path) else read_file(path, most)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MachineError(f"cannot read {shown(path)}: it is not text in UTF-8") from None


def _is_open_pipe(path: str | Path) -> bool:
    """Whether `path` leads to an unnamed pipe, as links in /proc/PID/fd do (proc(5))."""
    with explained("read", path):
        is_pipe = stat.S_ISFIFO(os.stat(_checked(path)).st_mode)
    return is_pipe and os.path.basename(os.path.realpath(path)).startswith("pipe:[")


def _read_pipe(path: str | Path, most: int) -> bytes:
    with explained("read", path), open(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise MachineError(f"cannot read {shown(path)}: it gives more than {most:,} bytes, which are the limit")
    return data


@contextlib.contextmanager
def new_file(path: str | Path, is_ours: Callable[[BinaryIO], bool], *, force: bool = False) -> Iterator[BinaryIO]:
    """A new file to write, which becomes `path` at the end of the block, or is deleted if the block raises.

    It replaces an existing regular file that is empty or for which `is_ours`, given the file open for reading, is true;
    with `force` it replaces any regular file. Raises MachineError, one sentence, in all other cases, and when the file
    cannot be written.
    """
    folder, name = os.path.split(_checked(path))
    if name in ("", ".", ".."):
        raise MachineError(f"cannot write {shown(path)}: it is the name of a folder")
    with explained("write", path), contextlib.ExitStack() as held:
        # All later steps are relative to this folder, even if its path changes (O_PATH: it need not be readable).
        try:
            at = os.open(folder or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise MachineError(f"cannot write {shown(path)}: there is no folder {shown(folder)}") from None
        held.callback(os.close, at)
        _require_replaceable(at, name, is_ours, force, path)
        temporary = f".armprobe-{secrets.token_hex(16)}"
        with open(os.open(temporary, _CREATE, 0o666, dir_fd=at), "w+b") as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())  # otherwise a host crash could replace an old file with an empty one
                _require_replaceable(at, name, is_ours, force, path)
                os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=at)
                raise


def _require_replaceable(
    at: int, name: str, is_ours: Callable[[BinaryIO], bool], force: bool, path: str | Path
) -> None:
    try:
        status = os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return
    _require_regular(status, "write", path)
    if force or not status.st_size:
        return
    with contextlib.suppress(PermissionError), open(os.open(name, _READ | os.O_NOFOLLOW, dir_fd=at), "rb") as file:
        _require_regular(os.fstat(file.fileno()), "write", path)
        if is_ours(file):
            return
    raise MachineError(
        f"cannot write {shown(path)}: a file of that name is there, which armprobe has not made; give another name, or "
        "say force to replace it"
    )


def _checked(path: str | Path) -> str:
    """`path` as a text. Raises MachineError if it cannot be a file's name."""
    name = os.fspath(path)
    if not name:
        raise MachineError("the name of the file is empty: give a path")
    try:
        if 0 not in os.fsencode(name):
            return name
    except UnicodeEncodeError:
        pass
    raise MachineError(f"{shown(path)} is no file name: it has characters that no file name can have")


def _require_regular(status: os.stat_result, verb: str, path: str | Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise MachineError(f"cannot {verb} {shown(path)}: it is {kind}, not a regular file")


@contextlib.contextmanager
def explained(verb: str, path: str | Path) -> Iterator[None]:
    """Turn an OSError in the block into a MachineError about `path` and `verb`, "read" or "write"."""
    try:
        yield
    except OSError as error:
        raise MachineError(f"cannot {verb} {shown(path)}: {error.strerror or error}") from None
