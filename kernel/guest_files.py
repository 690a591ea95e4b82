# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads and writes files of a Linux guest with its kernel's own functions, called in a kworker.

Paths are bytes, as the kernel has them. A path that does not begin with a slash starts in the working directory of the
guest's first process, which kernel threads share.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from errno import EEXIST, EINVAL, EIO, ENOENT
from typing import TYPE_CHECKING, BinaryIO, Final

from armprobe.machine import MachineError, host_files

from .kworker import Calls, Job, errno_of, error_text

if TYPE_CHECKING:
    from .kernel import Linux

PATH_MAX: Final = 4096  # bytes with the NUL: include/uapi/linux/limits.h
_CHUNK: Final = 1 << 20  # bytes that one call reads or writes
# include/uapi/asm-generic/fcntl.h
_O_RDONLY, _O_WRONLY, _O_CREAT, _O_TRUNC, _O_NONBLOCK = 0, 0o1, 0o100, 0o1000, 0o4000
_AT_FDCWD: Final = -100
_LOOKUP_DIRECTORY: Final = 2  # include/linux/namei.h
_VMALLOC: Final = "vmalloc", "vmalloc_noprof"  # the second name since 6.10
_STRUCT_FILENAME: Final = (5, 15, 0)  # since this version do_mkdirat takes a struct filename (45f30dab3957)
_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class GuestFileError(MachineError):
    """A file of the guest cannot be read or written. `errno` is the kernel's, 0 without one."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


class GuestFiles:
    """The files of one Linux guest, as steps for `Kworkers.run`."""

    def __init__(self, kernel: Linux) -> None:
        self._kernel, self._machine = kernel, kernel.machine

    def write(self, job: Job, path: bytes, data: BinaryIO, mode: int) -> Calls[int]:
        """Write the content of `data` to the file at `path`, and return its size in bytes.

        An existing file is overwritten and keeps its mode; a new one gets `mode`, less the guest's umask. Missing
        folders are made. Raises GuestFileError.
        """
        flags = _O_WRONLY | _O_CREAT | _O_TRUNC | _O_NONBLOCK
        file = yield "filp_open", (job.text(path), flags, mode)
        if errno_of(file) == ENOENT:
            yield from self._make_folders(job, path)
            file = yield "filp_open", (job.text(path), flags, mode)
        _check(file, f"cannot write {_shown(path)} in the guest")
        written, failed = 0, 0
        buffer = yield from self.allocate(_CHUNK)
        self._machine.memory.write(job.out, bytes(8))  # the position
        while not failed and (chunk := data.read(_CHUNK)):
            self._machine.memory.write(buffer, chunk)
            done = 0
            while done < len(chunk):
                result = yield "kernel_write", (file, buffer + done, len(chunk) - done, job.out)
                if not 0 < result <= len(chunk) - done:
                    failed = errno_of(result) or EIO
                    break
                done += result
            written += done
        yield "vfree", (buffer,)
        yield "filp_close", (file, 0)
        yield "flush_delayed_fput", ()  # or the file would stay open for writing a little longer: ETXTBSY
        if failed:
            raise GuestFileError(
                f"cannot write {_shown(path)} in the guest: {error_text(failed)}, after {written:,} bytes", failed
            )
        return written

    def read(self, job: Job, path: bytes, take: Callable[[bytes], object]) -> Calls[int]:
        """Call `take` with each piece of the regular file at `path`, and return its size. Raises GuestFileError.

        What `take` raises ends the job.
        """
        cannot = f"cannot read {_shown(path)} in the guest"
        file = yield "filp_open", (job.text(path), _O_RDONLY | _O_NONBLOCK, 0)
        _check(file, cannot)
        total, failure, buffer = 0, self._irregular(file, cannot), 0
        if failure is None:
            buffer = yield from self.allocate(_CHUNK)
            self._machine.memory.write(job.out, bytes(8))
        while failure is None:
            count = yield "kernel_read", (file, buffer, _CHUNK, job.out)
            if not count:
                break
            if count > _CHUNK:
                failed = errno_of(count) or EIO
                hint = "; try sh with cat" if failed == EINVAL else ""  # it has no function that kernel_read can use
                failure = GuestFileError(f"{cannot}: {error_text(failed)}{hint}", failed)
                break
            try:
                take(self._machine.memory.read(buffer, count))
            except MachineError as error:
                failure = error
            total += count
        if buffer:
            yield "vfree", (buffer,)
        yield "filp_close", (file, 0)
        if failure is not None:
            raise failure
        return total

    def allocate(self, size: int) -> Calls[int]:
        """The address of `size` bytes of the guest's memory, to be given to vfree. Raises MachineError."""
        name = next((name for name in _VMALLOC if self._machine.symbols.in_kernel(name)), _VMALLOC[0])
        buffer = yield name, (size,)
        if not buffer:
            raise MachineError("the guest's kernel has no memory left")
        return buffer

    def _irregular(self, file: int, cannot: str) -> MachineError | None:
        types, memory = self._kernel.types, self._machine.memory
        inode = memory.u64(file + types["file"].offset("f_inode"))
        mode = int.from_bytes(memory.read(inode + types["inode"].offset("i_mode"), 2), "little")
        if stat.S_ISREG(mode):
            return None
        return GuestFileError(f"{cannot}: it is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a regular file")

    def _make_folders(self, job: Job, path: bytes) -> Calls[None]:
        for folder in _folders(path):
            result = yield from self._make_folder(job, folder)
            if errno_of(result) not in (0, EEXIST):
                _check(result, f"cannot make the folder {_shown(folder)} in the guest")

    def _make_folder(self, job: Job, folder: bytes) -> Calls[int]:
        version = self._kernel.version
        if version is None or version >= _STRUCT_FILENAME:
            name = yield "getname_kernel", (job.text(folder),)
            if errno_of(name):
                return name
            if self._machine.symbols.in_kernel("do_mkdirat"):
                return (yield "do_mkdirat", (_AT_FDCWD, name, 0o755))  # which frees the name
            result = yield "filename_mkdirat", (_AT_FDCWD, name, 0o755)  # its name since 7.0: the name is its caller's
            yield "putname", (name,)
            return result
        types, place = self._kernel.types, job.out  # a struct path
        dentry = yield "kern_path_create", (_AT_FDCWD, job.text(folder), place, _LOOKUP_DIRECTORY)
        if errno_of(dentry):
            return dentry
        memory = self._machine.memory
        parent = memory.u64(place + types["path"].offset("dentry"))
        inode = memory.u64(parent + types["dentry"].offset("d_inode"))
        result = yield "vfs_mkdir", (inode, dentry, 0o755)
        yield "done_path_create", (place, dentry)
        return result


def _folders(path: bytes) -> Iterator[bytes]:
    """The folders on the way to `path`, the outermost first."""
    at = path.find(b"/", 1)
    while at > 0:
        yield path[:at]
        at = path.find(b"/", at + 1)


def _check(result: int, cannot: str) -> None:
    if failed := errno_of(result):
        raise GuestFileError(f"{cannot}: {error_text(failed)}", failed)


def _shown(path: bytes) -> str:
    return host_files.shown(os.fsdecode(path))
