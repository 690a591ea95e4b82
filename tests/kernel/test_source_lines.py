# SPDX-License-Identifier: GPL-2.0-or-later
"""Source lines in DWARF, as they are in the source of a compiled program."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from armprobe.kernel.dwarf import Dwarf
from armprobe.kernel.source_lines import SourceLines

FUNCTIONS = 600
LINES = 24  # of each


def test_lines_of_a_long_file_are_found(tool: Callable[[str, str], str], tmp_path: Path) -> None:
    """Functions and lines that do not come first in the debug information, each in its function."""
    compiler, program = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"), tmp_path / "a.elf"
    body = "".join(f"  a += {number};\n  a ^= a << {number % 7 + 1};\n" for number in range(10))
    text = "".join(f"int f{number}(int a)\n{{\n{body}  return a;\n}}\n" for number in range(FUNCTIONS))
    (tmp_path / "long.c").write_text(text)
    assert text.count("\n") == FUNCTIONS * LINES
    options = ["-g", "-O1", "-nostdlib", "-static", "-Wl,-e,f0"]
    subprocess.run([compiler, *options, "-o", program, tmp_path / "long.c"], check=True)
    lines = SourceLines(Dwarf(program))
    for number in (0, FUNCTIONS // 2, FUNCTIONS - 1):
        first = number * LINES + 1
        function, address = lines.at("long.c", first + 2)
        assert (function.name, function.line) == (f"f{number}", first)
        assert function == lines.function(function.name)
        assert function.start <= address < function.end
