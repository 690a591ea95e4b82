# SPDX-License-Identifier: GPL-2.0-or-later
"""Maps the rooms at the top level to the import names armprobe.<room>; all else is in pyproject.toml.

`face` is the package `armprobe` itself. A file of a room finds the data shipped beside the rooms at the same relative
place in the source tree, in an editable install and in a wheel: `Path(__file__).parent.parent / "gdbinit"`.
"""

from setuptools import find_packages, setup

ROOMS = ("machine", "kernel", "expressions", "probes", "traces", "stub", "session", "commands", "clients", "guests")

FOLDERS = [package for room in ROOMS for package in find_packages(include=(room, f"{room}.*"))]

setup(
    packages=["armprobe", *(f"armprobe.{folder}" for folder in FOLDERS)],
    package_dir={"armprobe": "face"} | {f"armprobe.{folder}": folder.replace(".", "/") for folder in FOLDERS},
    package_data={
        "armprobe": ["py.typed"],
        # The sources are for debuggers, which show them beside what runs.
        "armprobe.guests": ["demo/demo.elf", "demo/*/*.[chS]"],
        "armprobe.clients": ["../gdbinit"],
    },
    data_files=[("share/man/man1", ["docs/armprobe.1"])],
    # Strict: the installed tree holds one link per file, the only editable layout that type checkers and editors
    # resolve under a mapping like this one. Its price is a reinstall when a file is added; the Makefile does it.
    options={"editable_wheel": {"mode": "strict"}},
)
