# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests of the kernels to compare with: each kernel is booted once, and what a test wants in it is put there later."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from armprobe import machine
from armprobe.guests import linux
from armprobe.guests.linux.debian import KernelFiles, build_initramfs, cache_directory
from armprobe.machine.file_lock import exclusive_lock
from armprobe.machine.loaders.snapshot_file import VERSION, read_key
from tests.linux.shell import Shell  # tests have no import name to go by
from tests.progress import progress

FOLDER: Final = "oracle"  # in the cache
# Or each system call would have another stack pointer (Linux Documentation/admin-guide/kernel-parameters.txt).
_CMDLINE: Final = "randomize_kstack_offset=off"


def at_shell(files: KernelFiles) -> Path:
    """The snapshot of that kernel at its shell."""
    with tempfile.NamedTemporaryFile() as initrd:
        initrd.write(build_initramfs(files.busybox.read_bytes()))
        initrd.flush()
        return linux.prepare(files.vmlinuz, Path(initrd.name), append=_CMDLINE, report=progress)


def with_files(
    name: str, files: KernelFiles, contents: Mapping[str, bytes], prepare: Callable[[Shell], None] = lambda shell: None
) -> Path:
    """The snapshot `name` of that kernel with `contents` in its root folder, after what `prepare` does there.

    It is kept in the cache, and made anew where it is of other contents or another kernel.
    """
    started = at_shell(files)
    path = cache_directory() / FOLDER / files.suite / f"{name}.snapshot"
    parts = [str(read_key(started)).encode(), str(VERSION).encode(), machine.build_id(), Path(__file__).read_bytes()]
    for file, content in contents.items():
        parts += [file.encode(), content]
    key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    with exclusive_lock(
        path.with_suffix(".lock"), f"another worker prepares the guest of {path}: waiting for it", progress
    ):
        if read_key(path) != key:
            progress(f"putting {', '.join(contents)} into a guest of Linux {files.kernel_version}")
            shell = Shell(machine.load(started))
            shell.run("dmesg -n 1")  # kernel messages below an emergency would get between an answer and the prompt
            for file, content in contents.items():
                shell.put(f"/{file}", content)
            prepare(shell)
            shell.machine.save(path, key, force=True)
    return path
