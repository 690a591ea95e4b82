# SPDX-License-Identifier: GPL-2.0-or-later
"""demo.elf is what its sources make."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path


def first_line(*command: str) -> str:
    """The first line a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]


def test_a_build_elsewhere_gives_the_shipped_bytes(demo: Path, tmp_path: Path, tool: Callable[[str, str], str]) -> None:
    gcc = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    ld = tool("aarch64-linux-gnu-ld", "binutils-aarch64-linux-gnu")
    make = tool("make", "make")
    copy = tmp_path / "demo"
    shutil.copytree(demo, copy, ignore=shutil.ignore_patterns("*.o", "demo.lds", "demo.elf"))
    built = subprocess.run([make, "-C", str(copy)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr

    recorded = subprocess.run([make, "-s", "-C", str(copy), "versions"], check=True, capture_output=True, text=True)
    recorded_versions = [line for line in recorded.stdout.splitlines() if not line.startswith("make")]
    versions = [first_line(gcc, "--version"), first_line(ld, "--version")]
    same = (copy / "demo.elf").read_bytes() == (demo / "demo.elf").read_bytes()
    assert same, (
        "demo.elf was not built from these sources: run make in guests/demo and commit the result"
        if versions == recorded_versions
        else f"demo.elf was built with {recorded_versions}; {versions} make other bytes. "
        "To ship what these make, put their versions in guests/demo/Makefile and commit demo.elf"
    )


def test_no_path_of_the_build_is_in_it(demo: Path) -> None:
    content = (demo / "demo.elf").read_bytes()
    assert b"guests/demo" in content
    assert str(demo.parent.parent).encode() not in content
