# SPDX-License-Identifier: GPL-2.0-or-later
"""Arguments by name at functions' entries, against gdb with the debug information of the same program."""

import json
import os
import subprocess
from pathlib import Path

from armprobe.commands import Session
from armprobe.kernel import typed_memory
from armprobe.machine import MachineError
from armprobe.stub import serve

from ..waiting import PATIENCE  # noqa: TID252

SCRIPT = Path(__file__).parent.parent / "arguments.py"


def test_arguments_of_the_demo_kernel_are_those_that_gdb_shows(gdb_path: str) -> None:
    with Session("demo") as session:
        memory, places = typed_memory(session.machine), []
        for function in session.kprobes.functions("*"):
            try:
                prototype = memory.function(function.name, function.address)
            except MachineError:
                continue
            if prototype.parameters:
                places.append(f"{function.address:#x}")
        assert len(places) > 30
        with serve(session, "127.0.0.1:0") as server:
            ran = subprocess.run(
                [gdb_path, "-nx", "-batch", "-ex", f"target remote {server.address}", "-x", SCRIPT],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=True,
                env={**os.environ, "ARGUMENTS_AT": " ".join(places), "ARGUMENTS_WANTED": "25"},
            )
    assert "{" in ran.stdout, ran.stderr[-3000:]
    found = json.loads(next(line for line in ran.stdout.splitlines() if line.startswith("{")))
    compared = [(function, *row) for function, rows in found.items() for row in rows]
    assert len(found) == 25
    assert len(compared) > 30
    assert [row for row in compared if row[2] != row[3]] == []
