# SPDX-License-Identifier: GPL-2.0-or-later
"""Maps the rooms at the top level to the import names armprobe.<room>, and compiles the C core; all else is in
pyproject.toml.

`face` is the package `armprobe` itself. A file of a room finds the data shipped beside the rooms at the same relative
place in the source tree, in an editable install and in a wheel: `Path(__file__).parent.parent / "gdbinit"`.
"""

import re
import runpy
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOMS = ("machine", "kernel", "expressions", "probes", "traces", "stub", "session", "commands", "clients", "guests")

FOLDERS = [package for room in ROOMS for package in find_packages(include=(room, f"{room}.*"))]

NATIVE = Path("machine/native")
CORE = "armprobe.machine.native.core"
COMPILE = runpy.run_path(str(NATIVE / "compile.py"))


class BuildCore(build_ext):
    """Compiles the C core: a plain library, for every Python alike, that ctypes loads."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.inplace = False  # an editable install has its own, in build/, where the Makefile compiles it again

    def get_ext_filename(self, fullname: str) -> str:
        return str(Path(*fullname.split(".")).with_name(COMPILE["NAME"]))

    def build_extension(self, ext: Extension) -> None:
        try:
            COMPILE["compile_library"](Path(self.get_ext_fullpath(ext.name)), NATIVE)
        except COMPILE["CompileError"] as error:
            raise SystemExit(str(error)) from None


class CoreWheel(bdist_wheel):
    """One wheel for an architecture: no part of it depends on the version of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        library = Path(self.get_finalized_command("build_ext").get_ext_fullpath(CORE))
        platform = library_platform(library.read_bytes()) if library.exists() else None
        return ("py3", "none", platform or super().get_tag()[2])


def library_platform(library: bytes) -> str | None:
    """The manylinux tag (PEP 600) that is true for an ELF library, which a cross compiler may have made; else None.

    The library needs the newest of the glibc versions that its symbols name. The wheel needs what Unicorn's own wheels
    do, glibc 2.17.
    """
    machine = {62: "x86_64", 183: "aarch64"}.get(int.from_bytes(library[18:20], "little"))  # e_machine
    if machine is None or b"\0libc.musl" in library:
        return None
    versions = [int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", library)]
    return f"manylinux_2_{max([17, *versions])}_{machine}"


setup(
    cmdclass={"build_ext": BuildCore, "bdist_wheel": CoreWheel},
    ext_modules=[
        Extension(
            CORE,
            sorted(map(str, NATIVE.glob("*.c"))),
            depends=sorted(map(str, NATIVE.glob("*.h"))),
        )
    ],
    packages=["armprobe", *(f"armprobe.{folder}" for folder in FOLDERS)],
    package_dir={"armprobe": "face"} | {f"armprobe.{folder}": folder.replace(".", "/") for folder in FOLDERS},
    include_package_data=False,  # the C files are in the sdist, but a wheel needs none
    package_data={
        "armprobe": ["py.typed"],
        # The sources are for debuggers, which show them beside what runs.
        "armprobe.guests": ["demo/demo.elf", "demo/*/*.[chS]"],
        "armprobe.traces.formats": ["report.html", "report.js"],
        "armprobe.clients": ["../gdbinit", "../lldbinit"],
    },
    data_files=[("share/man/man1", ["docs/armprobe.1"])],
    # Strict: the installed tree holds one link per file, the only editable layout that type checkers and editors
    # resolve under a mapping like this one. Its price is a reinstall when a file is added; the Makefile does it.
    options={"editable_wheel": {"mode": "strict"}},
)
