# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's files: one rule for every path that a user, a script or a debugger gives.

Only regular files are read: a pipe, a terminal or a device can block for ever or never end. A file is written beside
its place, under a name that nobody can foresee, and put there when it is whole. It replaces nothing that the caller
does not know as its own, unless the user says so.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from .errors import MachineError

_LONGEST_SHOWN: Final = 200  # characters of a name in a message
_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}
# O_NONBLOCK: what has become a pipe since it was looked at does not block. O_NOCTTY: nor does a terminal become ours.
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def shown(path: str | Path) -> str:
    """The name of a file for a message: as it is, or escaped if a terminal could take it for something else."""
    name = str(path)
    if len(name) > _LONGEST_SHOWN:
        name = f"{name[: _LONGEST_SHOWN // 2]}...{name[-_LONGEST_SHOWN // 2 :]}"
    return name if name.isprintable() else ascii(name)


def open_regular(path: str | Path) -> BinaryIO:
    """The regular file at `path`, open to read. Raises MachineError, one sentence, for anything else."""
    with explained("read", path):
        _require_regular(os.stat(_checked(path)), "read", path)  # to open a device can have effects
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
        size = os.fstat(file.fileno()).st_size
        data = file.read(most + 1) if size <= most else b""
        if size > most or len(data) > most:
            raise MachineError(f"cannot read {shown(path)}: it has {size:,} bytes, and {most:,} are the limit")
        return data


def read_text(path: str | Path, most: int, *, or_pipe: bool = False) -> str:
    """The text of a regular file in UTF-8, a byte order mark left out. Raises MachineError as `read_file` does.

    With `or_pipe` the file may be a pipe that this process has open, as /dev/stdin or a shell's <(COMMAND) is, and this
    waits for its writer. A pipe with a name of its own may never have one.
    """
    data = _read_pipe(path, most) if or_pipe and _is_open_pipe(path) else read_file(path, most)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise MachineError(f"cannot read {shown(path)}: it is not text in UTF-8") from None


def _is_open_pipe(path: str | Path) -> bool:
    """Whether `path` leads to a pipe without a name, as those in /proc/PID/fd do (proc(5))."""
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
    """A new file to write, which becomes `path` at the end of the block, and vanishes if the block raises.

    What is at `path` already is replaced if it is a regular file that is empty or for which `is_ours`, given the file
    open to read, is true; with `force` any regular file is. Raises MachineError, one sentence, in all other cases, and
    when the file cannot be written.
    """
    folder, name = os.path.split(_checked(path))
    if name in ("", ".", ".."):
        raise MachineError(f"cannot write {shown(path)}: it is the name of a folder")
    with explained("write", path), contextlib.ExitStack() as held:
        # All that follows is relative to this folder, whatever becomes of the way to it (O_PATH: or is not readable).
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
                os.fsync(file.fileno())  # or a crash of the host could leave an empty file in place of an old one
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
    """`path` as a text that can be a file's name. Raises MachineError."""
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
    """In the block an OSError becomes a MachineError: the file at `path` cannot be `verb`, "read" or "write"."""
    try:
        yield
    except OSError as error:
        raise MachineError(f"cannot {verb} {shown(path)}: {error.strerror or error}") from None
