# SPDX-License-Identifier: GPL-2.0-or-later
"""Modules that a stock kernel's own package has, and guests with them."""

from __future__ import annotations

import lzma
import shutil
from pathlib import Path
from typing import Final

from armprobe.guests.linux.debian import KernelFiles, cache_directory, fetch_packages
from armprobe.machine.file_lock import exclusive_lock
from tests.linux.shell import Shell
from tests.oracle.guests import FOLDER, with_files
from tests.oracle.references import Reference, fetch_with
from tests.progress import progress  # tests have no import name to go by

NAMES: Final = ("failover", "net_failover", "dummy")
"""The second needs the first; the third has nothing to do with them."""


def stock_modules(files: KernelFiles) -> dict[str, bytes]:
    """The .ko files of `NAMES` for the kernel in `files`. Raises DebianError if its package cannot be had any more."""
    cache = cache_directory() / FOLDER
    folder = cache / f"modules-{files.kernel_version}_{files.package_version}"
    with exclusive_lock(cache / "modules.lock", "another worker fetches modules: waiting for it", progress):
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


RENAMED: Final = "dummy_setup", "dummy_putse"
"""A name in the module dummy, and that in its place in the module edited."""
_SIGNED: Final = b"~Module signature appended~\n"  # Documentation/admin-guide/module-signing.rst


def guest_with_modules(reference: Reference) -> Path:
    """The snapshot of a guest of that kernel with the .ko files of `NAMES`, and one of them with another name in it."""
    files, modules = fetch_with(reference, lambda files: (files, stock_modules(files)))
    old, new = (name.encode() for name in RENAMED)
    modules["edited"] = modules["dummy"].replace(old, new).removesuffix(_SIGNED)  # nobody's signature is on that
    return with_files("modules", files, {f"{name}.ko": data for name, data in modules.items()})


def insmod(shell: Shell, *names: str) -> None:
    for name in names:
        assert shell.run(f"insmod /{name}.ko") == ""
