# SPDX-License-Identifier: GPL-2.0-or-later
"""The digest of a kernel's file. Beside a kernel in the cache it is kept: to read 30 MB takes a twentieth of a resume.

The file with it, `vmlinuz.sha256`, ends with a seal over the digest and the identity of the kernel's file, the time of
its last change included, which nobody can set (st_ctime, inode(7)). With another seal it is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path
from typing import Final

from armprobe.machine import MachineError, host_files

from .debian import cache_directory

_SIZE: Final = 32  # bytes of a digest and of a seal
_SETTLED: Final = 2_000_000_000  # ns: a file that was changed later could be changed again without another st_ctime


def kernel_digest(kernel: Path, most: int) -> bytes:
    """The SHA-256 of the content of a kernel's file. Raises MachineError as `host_files.digest` does."""
    if not kernel.is_relative_to(cache_directory().resolve()):
        return host_files.digest(kernel, most).digest()
    kept, identity = kernel.with_name(f"{kernel.name}.sha256"), _identity(kernel)
    with contextlib.suppress(MachineError):
        found = host_files.read_file(kept, 2 * _SIZE)
        if identity and found[_SIZE:] == _seal(identity, found[:_SIZE]):
            return found[:_SIZE]
    digest = host_files.digest(kernel, most).digest()
    if identity and identity == _identity(kernel):
        with contextlib.suppress(MachineError), host_files.new_file(kept, lambda file: True) as file:
            file.write(digest + _seal(identity, digest))
    return digest


def _identity(path: Path) -> bytes:
    """What changes when the content of a file does; empty if that cannot be said."""
    try:
        found = os.stat(path)
    except OSError:
        return b""
    if time.time_ns() - found.st_ctime_ns < _SETTLED:
        return b""
    fields = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    return " ".join(map(str, fields)).encode()


def _seal(identity: bytes, digest: bytes) -> bytes:
    return hashlib.sha256(identity + b"\n" + digest).digest()
