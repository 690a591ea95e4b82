# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock Debian arm64 kernel as a guest, fetched with apt, and an initramfs with a shell to boot it with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.machine.lazy_names import lazy_names

if TYPE_CHECKING:
    from .apt import DebianError
    from .fetch import (
        CLOUD,
        CURRENT,
        FLAVOURS,
        KernelFiles,
        cache_directory,
        cached_kernel,
        fetch_kernel,
        fetch_packages,
        files_of,
    )
    from .initramfs import PROMPT, READY, build_archive, build_initramfs, compressed, with_disk
    from .modules import disk_modules
    from .root_image import make_root
else:
    __getattr__ = lazy_names(
        __name__,
        {
            ".apt": ("DebianError",),
            ".fetch": (
                "CLOUD",
                "CURRENT",
                "FLAVOURS",
                "KernelFiles",
                "cache_directory",
                "cached_kernel",
                "fetch_kernel",
                "fetch_packages",
                "files_of",
            ),
            ".initramfs": ("PROMPT", "READY", "build_archive", "build_initramfs", "compressed", "with_disk"),
            ".modules": ("disk_modules",),
            ".root_image": ("make_root",),
        },
    )

__all__ = [
    "CLOUD",
    "CURRENT",
    "FLAVOURS",
    "PROMPT",
    "READY",
    "DebianError",
    "KernelFiles",
    "build_archive",
    "build_initramfs",
    "cache_directory",
    "cached_kernel",
    "compressed",
    "disk_modules",
    "fetch_kernel",
    "fetch_packages",
    "files_of",
    "make_root",
    "with_disk",
]
