# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock Debian arm64 kernel at its shell: fetched with apt, booted once, then resumed from a snapshot."""

from .debian import DebianError, cache_directory, fetch_kernel
from .shell import BootError, boot, prepare

__all__ = ["BootError", "DebianError", "boot", "cache_directory", "fetch_kernel", "prepare"]
