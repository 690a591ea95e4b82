# SPDX-License-Identifier: GPL-2.0-or-later
"""The debug information of a stock kernel, from its -dbg package."""

from __future__ import annotations

import shutil
from pathlib import Path

from armprobe.guests.linux.debian import KernelFiles, cache_directory, fetch_packages
from armprobe.machine.file_lock import exclusive_lock
from tests.oracle.guests import FOLDER  # tests have no import name to go by
from tests.progress import progress


def debug_vmlinux(files: KernelFiles) -> Path:
    """The vmlinux of the kernel in `files`, with DWARF. Raises DebianError if its package cannot be had any more."""
    cache = cache_directory() / FOLDER
    path = cache / f"vmlinux-{files.kernel_version}_{files.package_version}"
    with exclusive_lock(cache / "debug.lock", "another worker fetches debug information: waiting for it", progress):
        if not path.is_file():
            unpacked = cache / "debug-package"
            shutil.rmtree(unpacked, ignore_errors=True)
            fetch_packages([f"linux-image-{files.kernel_version}-dbg"], unpacked, progress, suite=files.suite)
            found = unpacked.glob("**/vmlinux-*")  # some packages have a link to it too
            next(each for each in found if each.is_file() and not each.is_symlink()).rename(path)
            shutil.rmtree(unpacked)
    return path
