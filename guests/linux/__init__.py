# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock Debian arm64 kernel at its shell: fetched with apt, booted once, then resumed from a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.machine.lazy_names import lazy_names

if TYPE_CHECKING:
    from .booting import BootError, boot, prepare, prepared
    from .debian import DebianError, cache_directory, fetch_kernel
else:
    __getattr__ = lazy_names(
        __name__,
        {
            ".booting": ("BootError", "boot", "prepare", "prepared"),
            ".debian": ("DebianError", "cache_directory", "fetch_kernel"),
        },
    )

__all__ = ["BootError", "DebianError", "boot", "cache_directory", "fetch_kernel", "prepare", "prepared"]
