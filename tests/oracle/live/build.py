# SPDX-License-Identifier: GPL-2.0-or-later
"""The module, built for the very kernel that is fetched, and a guest in which it is loaded; both kept in the cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from armprobe.guests.linux.debian import KernelFiles, cache_directory, fetch_packages
from armprobe.machine.file_lock import exclusive_lock
from tests.linux.shell import Shell  # tests have no import name to go by
from tests.oracle.guests import FOLDER, with_files
from tests.oracle.references import Reference, fetch_with
from tests.progress import progress

SOURCE: Final = Path(__file__).parent.parent / "module"
MODULE: Final = "oracle"
# Of kbuild's, those that are run for a module; modpost itself runs the one of these that is for the target.
_PROGRAMS: Final = ("basic/fixdep", "mod/modpost.real-lsb-64")
# Options for a compiler newer than this system's may be, and type information, which takes a program more (pahole).
_WITHOUT: Final = ("CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=", "CONFIG_DEBUG_INFO_BTF_MODULES=")

Tool = Callable[[str, str], str]


def prepare_guest(reference: Reference, tool: Tool) -> tuple[Path, str]:
    """The snapshot of a guest with the module in it and debugfs mounted, made unless there is one already.

    Also the version of the kernel's package, such as 6.1.192-2.
    """
    folder = cache_directory() / FOLDER / reference.suite
    waiting = f"another worker prepares Linux {reference.series} with the module: waiting for it"
    with exclusive_lock(folder / "lock", waiting, progress):
        files, module = fetch_with(reference, lambda files: (files, _module(files, folder, tool)))
        return with_files(MODULE, files, {f"{MODULE}.ko": module.read_bytes()}, _load), files.package_version


def _load(shell: Shell) -> None:
    for command in ("mount -t debugfs debugfs /sys/kernel/debug", f"insmod /{MODULE}.ko"):
        refused = shell.run(command)
        assert not refused, refused
    assert shell.machine.symbols.get("oracle_add")


def _module(files: KernelFiles, folder: Path, tool: Tool) -> Path:
    """The module for the kernel in `files`, built with Debian's headers and kbuild."""
    return compiled(MODULE, SOURCE, files, folder, tool)


def compiled(
    module: str, source: Path, files: KernelFiles, folder: Path, tool: Tool, *, debug_information: bool = False
) -> Path:
    """The .ko of the sources in a folder, built for that kernel. The cache's `folder` is locked by the caller."""
    sources = sorted(path for path in source.iterdir() if path.name == "Makefile" or path.suffix in (".c", ".h", ".S"))
    version = f"{files.kernel_version} {files.package_version}, stripped" + " not" * debug_information
    key = _digest(version.encode(), *(path.name.encode() + path.read_bytes() for path in sources))
    built = folder / f"{module}-{key[:20]}.ko"
    if not built.is_file():
        with tempfile.TemporaryDirectory(prefix="armprobe-module-") as work:
            for path in sources:
                shutil.copy(path, work)
            kbuild(Path(work), files, folder, tool)
            if debug_information:
                shutil.copy(f"{work}/{module}.ko", built)
            else:  # it is typed into the guest
                strip = tool("aarch64-linux-gnu-strip", "binutils-aarch64-linux-gnu")
                subprocess.run([strip, "-g", "-o", str(built), f"{work}/{module}.ko"], check=True)
        for other in folder.glob(f"{module}-*.ko"):
            if other != built:
                other.unlink()
    return built


def kbuild(work: Path, files: KernelFiles, folder: Path, tool: Tool) -> None:
    """Have the kernel's own build system make what the Makefile in `work` names. The cache's `folder` is locked."""
    prefix = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu").removesuffix("gcc")
    headers = unpacked_headers(files, folder, tool)
    progress(f"building a module for Linux {files.kernel_version}")
    # The Makefile in the headers' own folder names the common one by the place it would be installed at.
    common = headers.with_name(f"linux-headers-{_abi(files)}-common") / "Makefile"
    command = [tool("make", "make"), "-C", str(headers), "-f", str(common), f"M={work}", "ARCH=arm64"]
    command += [f"KBUILD_OUTPUT={headers}", f"CROSS_COMPILE={prefix}", f"CC={prefix}gcc", *_WITHOUT, "modules"]
    make = subprocess.run(command, capture_output=True, text=True)
    assert make.returncode == 0, make.stdout + make.stderr


def unpacked_headers(files: KernelFiles, folder: Path, tool: Tool) -> Path:
    """The kernel's headers and kbuild's own programs, which are this computer's; unpacked as they would be in /."""
    root = folder / f"headers-{files.kernel_version}_{files.package_version}"
    if not root.is_dir():
        partial = folder / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        here = subprocess.check_output([tool("dpkg", "dpkg"), "--print-architecture"], text=True).strip()
        abi, series = _abi(files), ".".join(files.kernel_version.split(".")[:2])
        headers = [f"linux-headers-{files.kernel_version}", f"linux-headers-{abi}-common"]
        fetch_packages(headers, partial, progress, suite=files.suite)
        # One for all kernels of a release, or from Debian 13 on for each; any of the series will do.
        programs = [f"linux-kbuild-{abi} | linux-kbuild-{series} | linux-kbuild-{series}.*"]
        programs += ["libc6"] if files.suite else []
        fetch_packages(programs, partial, progress, architecture=here, suite=files.suite)
        kbuild = next(partial.glob("usr/lib/linux-kbuild-*"))
        if kbuild.name not in (f"linux-kbuild-{abi}", f"linux-kbuild-{series}"):
            kbuild.with_name(f"linux-kbuild-{abi}").symlink_to(kbuild.name)  # where the headers' links lead to
        partial.rename(root)
        for program in _PROGRAMS if files.suite else ():
            _with_own_libc(root, next(root.glob(f"usr/lib/linux-kbuild-*/scripts/{program}")))
    return root / "usr/src" / f"linux-headers-{files.kernel_version}"


def _with_own_libc(root: Path, program: Path) -> None:
    """Have `program` run with the C library of its own release, which this system's may be too old for."""
    moved = program.rename(program.with_name(f"{program.name}.bin"))
    loader = next(root.rglob("ld-linux*"))
    library = next(root.rglob("libc.so.6")).parent
    program.write_text(f'#!/bin/sh\nexec {loader} --library-path {library} {moved} "$@"\n')
    program.chmod(0o755)


def _abi(files: KernelFiles) -> str:
    """6.1.0-56, of 6.1.0-56-cloud-arm64."""
    return files.kernel_version.removesuffix("-cloud-arm64")


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
