# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo kernel's sources in `armprobe gdb`, from a folder that has nothing of them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gdb.oracle import DEMO
from tests.waiting import PATIENCE

FUNCTIONS = {"kernel/slab.c": "kmalloc", "user/main.c": "user_main", "arch/head.S": "__primary_switched"}


@pytest.mark.usefixtures("gdb_path")
def test_sources_are_found_from_any_folder(tmp_path: Path) -> None:
    typed = "".join(f"list {name}\n" for name in FUNCTIONS.values())
    done = subprocess.run(
        [sys.executable, "-m", "armprobe", "gdb"],
        cwd=tmp_path,
        input=f"set height 0\n{typed}",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    for file, name in FUNCTIONS.items():
        lines = (DEMO.parent / file).read_text().splitlines()
        shown = [f"{number}\t{text}" for number, text in enumerate(lines, 1) if name in text]
        assert any(line in done.stdout for line in shown), f"{name} is not shown:\n{done.stdout}{done.stderr}"
    assert "No such file" not in done.stdout + done.stderr
