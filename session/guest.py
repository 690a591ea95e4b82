# SPDX-License-Identifier: GPL-2.0-or-later
"""Files and commands in the system that runs in a session's guest: `Session.guest`."""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
import stat
import tempfile
from collections.abc import Callable
from errno import EISDIR
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

from armprobe.kernel import Linux
from armprobe.kernel.kworker import Steps, Stopped
from armprobe.machine import MachineError, Stop, StopReason, host_files
from armprobe.machine.lazy_dataclass import lazy_dataclass

from .errors import CommandError

if TYPE_CHECKING:
    from armprobe.kernel.guest_files import GuestFiles

    from .session import Session

T = TypeVar("T")
HOME: Final = "/root"
"""The folder in which paths without a slash at their start begin, and commands start."""
TIMEOUT: Final = 60.0
"""Seconds of the guest's time that a command may take by default."""
LARGEST: Final = 256 << 20
"""Bytes of the largest file that is pushed or pulled."""
_MOST_OUTPUT: Final = 16 << 20  # bytes of a command's output
_MARGIN: Final = 5.0  # seconds of guest time, after the end of a command, in which its output is read
_FILE_TIMEOUT: Final = 300.0  # seconds of guest time for a file
_ENVIRONMENT: Final = {
    b"HOME": HOME.encode(),
    b"PATH": b"/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin",
    b"USER": b"root",
}


@lazy_dataclass
class Completed:
    """A command that the guest has executed.

    out, err: its output and its errors. A byte that is not UTF-8 is a lone surrogate in them (the error handler
    "surrogateescape"). status: its exit code, or 128 and the number of the signal that ended it, as in a shell.
    """

    out: str
    err: str
    status: int


class Guest:
    """The system in a session's guest: a Linux, booted at least so far that it has its first process.

    The guest runs for each method. A guest that was idle is idle again at the end, and another is somewhere else. The
    methods may be called from any thread. They raise CommandError or MachineError, one sentence, when the guest is no
    Linux, when it cannot do what is asked, and when a probe, a breakpoint or Ctrl-C stops it first.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def push(self, file: str | Path, path: str | None = None) -> str:
        """Write the host's `file` to `path` in the guest; return the path.

        Missing folders are made. If `path` is a folder, or is not given, the file gets its own name there or in HOME.
        An existing file keeps its mode; a new one has that of `file`, less the guest's umask.
        """
        from armprobe.kernel.guest_files import GuestFileError

        with host_files.open_regular(file) as data:
            status = os.fstat(data.fileno())
            if status.st_size > LARGEST:
                name = host_files.shown(file)
                raise MachineError(
                    f"{name} cannot be pushed: it has {status.st_size:,} bytes, and {LARGEST:,} are the limit"
                )
            target = _guest_path(path or "")
            name = os.path.basename(os.path.abspath(file))
            if target.endswith("/"):
                target += name
            try:
                self._write(target, data, stat.S_IMODE(status.st_mode) & 0o777)
            except GuestFileError as error:
                if error.errno != EISDIR:
                    raise
                target += f"/{name}"
                self._write(target, data, stat.S_IMODE(status.st_mode) & 0o777)
        self._know_module(file)
        return target

    def _know_module(self, file: str | Path) -> None:
        """Have the debug information of a module that was pushed describe it when the guest loads it."""
        kernel = self._session.machine.kernel
        if Path(file).suffix == ".ko" and isinstance(kernel, Linux):
            with contextlib.suppress(MachineError):  # it has none, or is no module at all, which insmod will say
                kernel.module_files.add(file)

    def push_folder(self, folder: str | Path, path: str | None = None) -> str:
        """Copy the files, folders and symbolic links in the host's `folder` into the folder `path`; return that path.

        By default `path` is the name of `folder`, in HOME. They go as one archive, which the guest's tar unpacks, and
        belong to root there. Files that are there are replaced, and others stay.
        """
        from .folder_archive import write_archive  # with tarfile

        target = _guest_path(path or os.path.basename(os.path.abspath(folder)))
        archive = posixpath.join("/tmp", f".armprobe-{secrets.token_hex(16)}.tar")
        with tempfile.TemporaryFile() as data:
            write_archive(folder, data, LARGEST)
            data.seek(0)
            self._write(archive, data, 0o600)
        into, name = (f"'{each}'" for each in (target.replace("'", "'\\''"), archive))
        done = self.sh(f"mkdir -p -- {into} && tar -x -f {name} -C {into}; status=$?; rm {name}; exit $status", 600)
        if done.status:
            said = (done.err.strip().splitlines() or [f"status {done.status}"])[-1]
            raise MachineError(f"{host_files.shown(folder)} cannot be unpacked in the guest: {said}")
        for module in Path(folder).rglob("*.ko"):
            self._know_module(module)
        return target

    def pull(self, path: str, file: str | Path | None = None, *, force: bool = False) -> bytes:
        """The content of the regular file at `path` in the guest; with `file` also written to that file of the host.

        `file` may be a folder. It replaces a file that is there, unless that is empty, only with `force`.
        """
        if file is None:
            return self._read(_guest_path(path))
        if os.path.isdir(file):
            file = os.path.join(file, posixpath.basename(path))
        with host_files.new_file(file, lambda _: False, force=force) as out:
            content = self._read(_guest_path(path))
            out.write(content)
        return content

    def call(self, function: str | int, *arguments: int, timeout: float = TIMEOUT) -> int:
        """Call a function of the kernel, which may sleep, in a kworker, and return x0.

        There are up to eight arguments. Raises MachineError when it has not returned after `timeout` seconds of the
        guest's time.
        """
        if len(arguments) > 8:  # as many as AAPCS64 passes in registers
            raise CommandError("a guest function can be called with at most eight arguments")
        through = self._session.tracepoints.run
        return self._do(lambda kernel: kernel.kworkers.call(function, *arguments, seconds=timeout, through=through))

    def sh(self, command: str, timeout: float = TIMEOUT) -> Completed:
        """Execute `command` by the guest's /bin/sh, as root in HOME, with nothing to read and no terminal.

        `timeout` is in seconds of the guest's time. A command that does not end in time, or that prints too much, is
        killed, and that raises CommandError.
        """
        from armprobe.kernel.guest_process import Ending, GuestProgram

        if not timeout > 0:
            raise CommandError("the timeout has to be more than 0 seconds")
        session, text = self._session, os.fsencode(command)
        if 0 in text:
            raise CommandError("a command cannot have a NUL in it")
        printed = {1: bytearray(), 2: bytearray()}

        def take(stream: int, data: bytes) -> None:
            printed[stream] += data

        def execute(kernel: Linux) -> Completed:
            arguments = [b"/bin/sh", b"-c", b"cd 2>/dev/null\n" + text]
            program = GuestProgram(kernel, arguments, _ENVIRONMENT, take, seconds=timeout, most=_MOST_OUTPUT)
            try:
                status = kernel.kworkers.run(program.steps, timeout + _MARGIN, session.tracepoints.run)
            except Stopped as stopped:
                if stopped.stop.reason is StopReason.INTERRUPTED:
                    program.cancel()
                    raise CommandError("interrupted; the command is killed when the guest goes on") from None
                raise
            if program.killed is Ending.TIMEOUT:
                raise CommandError(
                    f"the command did not end within {timeout:g} s of the guest's time, and was killed; timeout= gives "
                    "it more"
                )
            if program.killed is Ending.OUTPUT:
                raise CommandError(
                    f"the command printed more than {_MOST_OUTPUT:,} bytes, and was killed; write that to a file and "
                    "pull it"
                )
            out, err = (bytes(printed[stream]).decode("utf-8", "surrogateescape") for stream in (1, 2))
            return Completed(out, err, status)

        return self._do(execute)

    def _write(self, path: str, data: BinaryIO, mode: int) -> int:
        name = os.fsencode(path)
        return self._run(lambda files: lambda job: files.write(job, name, data, mode))

    def _read(self, path: str) -> bytes:
        content = bytearray()

        def take(data: bytes) -> None:
            if len(content) + len(data) > LARGEST:
                raise MachineError(
                    f"{host_files.shown(path)} in the guest cannot be pulled: it has more than {LARGEST:,} bytes, "
                    "which are the limit"
                )
            content.extend(data)

        self._run(lambda files: lambda job: files.read(job, os.fsencode(path), take))
        return bytes(content)

    def _run(self, steps: Callable[[GuestFiles], Steps[T]]) -> T:
        from armprobe.kernel.guest_files import GuestFiles

        through = self._session.tracepoints.run
        return self._do(lambda kernel: kernel.kworkers.run(steps(GuestFiles(kernel)), _FILE_TIMEOUT, through))

    def _do(self, work: Callable[[Linux], T]) -> T:
        """Do `work`, which runs the guest, on the owner's thread."""
        session = self._session

        def run() -> T:
            kernel = session.machine.kernel
            if not isinstance(kernel, Linux):
                raise CommandError("files and commands in the guest are those of Linux, which this guest is not")
            registers = session.machine.registers
            before, stop = registers.pc, None
            with session.running(), session.owner.interruptible():
                try:
                    return work(kernel)
                except Stopped as stopped:
                    stop = stopped.stop
                    raise
                finally:
                    if stop is not None or registers.pc != before:
                        session.stop = stop or Stop(StopReason.RETURNED, registers.pc, "stopped")

        return session.owner.call_interruptibly(run)


def _guest_path(path: str) -> str:
    """The whole path of a file in the guest. Raises CommandError if it cannot be one."""
    from armprobe.kernel.guest_files import PATH_MAX

    whole = posixpath.join(HOME, path)
    try:
        size = len(os.fsencode(whole))
    except UnicodeEncodeError:
        size = PATH_MAX
    if "\0" in path or size >= PATH_MAX:
        raise CommandError(f"{host_files.shown(path)} is no path: it is too long, or has characters that none can have")
    return whole
