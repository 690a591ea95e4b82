# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands and formats that other packages add: the package of docs/recipes.md, and ones that are wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def installed(folder: Path, points: str, **modules: str) -> dict[str, str]:
    """An environment with a package: its modules and what an installer writes of it (PyPA, "Recording installed
    projects")."""
    info = folder / "armprobe_allocations-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: armprobe-allocations\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    return {"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin", "HOME": str(folder)}


def armprobe(environment: dict[str, str], *lines: str) -> subprocess.CompletedProcess[str]:
    asked = [word for line in lines for word in ("-c", line)]
    command = [sys.executable, "-m", "armprobe", *asked]
    return subprocess.run(
        command, env=environment, cwd=environment["HOME"], capture_output=True, text=True, check=False
    )


def documented() -> tuple[str, str]:
    """The entry points and the module that the documentation shows."""
    text = (ROOT / "docs/recipes.md").read_text()
    toml = re.search(r"```toml\n# pyproject.toml\n(.*?)```", text, re.DOTALL)
    module = re.search(r"```python\n# allocations.py\n(.*?)```", text, re.DOTALL)
    assert toml is not None
    assert module is not None
    points = re.sub(r'\[project\.entry-points\."(.*?)"\]', r"[\1]", toml[1].partition("[project.entry")[2])
    points = f"[armprobe.commands]{points.partition(']')[2]}"
    return re.sub(r'= "(.*?)".*', r"= \1", points), module[1]


def test_the_package_of_the_documentation(tmp_path: Path) -> None:
    points, module = documented()
    environment = installed(tmp_path, points, allocations=module)
    done = armprobe(
        environment, "continue until=workload_round", "allocations 1e6", "kprobe kfree", "trace save x.names"
    )
    assert done.stderr == ""
    assert re.search(r"^[1-9]\d* calls of kmalloc$", done.stdout, re.MULTILINE)
    assert (tmp_path / "x.names").read_text() == "names\nkfree\n"
    assert "Count the calls of kmalloc" in armprobe(environment, "help allocations").stdout


@pytest.mark.parametrize(
    ("points", "module", "note"),
    [
        ("[armprobe.commands]\nx = nowhere:X\n", "", "ModuleNotFoundError: No module named 'nowhere'"),
        ("[armprobe.commands]\nx = allocations:X\n", "", "AttributeError"),
        ("[armprobe.commands]\nx = allocations:X\n", "X = 3", "TypeError: 3 is no Command"),
        ("[armprobe.commands]\nx = allocations:X\n", "raise SystemError('no\\x1b')", "SystemError: no?"),
        ("[armprobe.commands]\nx = allocations:X\n", "raise SystemExit('gone')", "SystemExit: gone"),
        (
            "[armprobe.commands]\nx = allocations:X\n",
            "from armprobe.commands.declaration import Command\nX = Command('probes', '', (), None)",
            "the command 'probes' of armprobe-allocations cannot be used: two commands are called probes",
        ),
    ],
)
@pytest.mark.sample
def test_one_that_cannot_be_used_is_a_note(tmp_path: Path, points: str, module: str, note: str) -> None:
    done = armprobe(installed(tmp_path, points, allocations=module), "echo there")
    assert (done.returncode, done.stdout) == (0, "there\n")
    assert note in done.stderr
    assert "armprobe-allocations" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_format_that_cannot_be_used_is_named_where_it_is_missed(tmp_path: Path) -> None:
    environment = installed(tmp_path, "[armprobe.exporters]\nx = nowhere:X\n")
    done = armprobe(environment, "kprobe kfree", "trace save x.nothing", "trace save x.csv")
    assert "give one of .txt" in done.stderr
    assert "armprobe.exporters 'x' of armprobe-allocations cannot be used: ModuleNotFoundError" in done.stderr
    assert (tmp_path / "x.csv").exists()
