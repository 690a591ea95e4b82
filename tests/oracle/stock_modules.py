# SPDX-License-Identifier: GPL-2.0-or-later
"""Modules that a stock kernel's own package has, and a guest at its shell with them in its file system."""

from __future__ import annotations

import lzma
import shutil
from pathlib import Path
from typing import Final

from armprobe.guests.linux import shell as linux
from armprobe.guests.linux.debian import KernelFiles, build_initramfs, cache_directory, fetch_packages
from armprobe.machine.file_lock import only_one
from tests.progress import progress  # tests have no import name to go by

NAMES: Final = ("failover", "net_failover", "dummy")
"""The second needs the first; the third has nothing to do with them."""


def stock_modules(files: KernelFiles) -> dict[str, bytes]:
    """The .ko files of `NAMES` for the kernel in `files`. Raises DebianError if its package cannot be had any more."""
    cache = cache_directory() / "oracle"
    folder = cache / f"modules-{files.kernel_version}_{files.package_version}"
    with only_one(cache / "modules.lock", "another worker fetches modules: waiting for it", progress):
        if not folder.is_dir():
            unpacked, partial = cache / "package", cache / "modules-partial"
            for left in (unpacked, partial):
                shutil.rmtree(left, ignore_errors=True)
            version = files.kernel_version
            # From Debian 14 on modules have a package of their own.
            fetch_packages([f"linux-modules-{version} | linux-image-{version}"], unpacked, progress, suite=files.suite)
            partial.mkdir(parents=True)
            for name in NAMES:
                found = next(unpacked.glob(f"**/{name}.ko*"))
                data = found.read_bytes()
                (partial / f"{name}.ko").write_bytes(lzma.decompress(data) if found.suffix == ".xz" else data)
            shutil.rmtree(unpacked)
            partial.rename(folder)
    return {name: (folder / f"{name}.ko").read_bytes() for name in NAMES}


def booted(files: KernelFiles, modules: dict[str, bytes], folder: Path) -> Path:
    """The snapshot of a guest of that kernel with /NAME.ko for each of `modules`; made in `folder` what is needed."""
    initrd = folder / f"{files.kernel_version}.initrd"
    contents = {f"{name}.ko": (0o644, data) for name, data in modules.items()}
    initrd.write_bytes(build_initramfs(files.busybox.read_bytes(), contents))
    return linux.prepare(files.vmlinuz, initrd, report=progress)
