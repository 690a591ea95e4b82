# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes docs/conformance.md: every expectation of the conformance guests, its source, and QEMU's answer beside it.

`python -m tests.machine.conformance.table FILE`
"""

import re
import subprocess
import sys
from pathlib import Path

from tests.machine.conformance.guests import HERE, NAMES, Case, Report, cases, run_in_qemu

_HEAD = """\
# The machine beside the architecture

Small bare-metal guests, in `tests/machine/conformance`, carry out the cases and report the values of the system
registers. This page states the expected report of each case with its source. Sections are those of the Arm
Architecture Reference Manual for A-profile (DDI 0487). `make test` compares the machine with every line, and QEMU if
it is installed. If QEMU's report differs, the last column shows what {qemu} reported when this page was written
(`make conformance`).

`count` is the number of exceptions in the case (1 unless given), `vector` the number of the vector. `elr` is relative
to the instruction that the case is about. `spsr` is without NZCV. Numbers are hexadecimal.
"""
_TAIL = """\
## Debug registers under Linux

`tests/linux/ptrace/ptrace.c` is a debugger that runs in the stock Debian guest. By ptrace(2) it sets hardware
watchpoints and breakpoints (NT_ARM_HW_WATCH, NT_ARM_HW_BREAK) on a child of its own and steps it, and prints a line
for each stop. `tests/linux/ptrace/expected.txt` is its output on the same kernel in QEMU. `make test` compares the
output in armprobe, and in QEMU if it is installed, with that file.
"""


def document(qemu: str) -> str:
    """The page."""
    version = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\S+)", version)
    parts = [_HEAD.format(qemu=f"QEMU {found[1]}" if found else "QEMU")]
    for name in NAMES:
        title = re.search(r"^// (?!SPDX)(.*?)(\.|\n)", (HERE / f"{name}.S").read_text(), re.MULTILINE)
        assert title is not None
        report = run_in_qemu(qemu, name)
        rows = [
            f"| `{case.name}` | {case.text} | {case.source} | {_difference(case, report)} |" for case in cases(name)
        ]
        parts += [f"## {title[1]}", "", "| case | expected | source | QEMU |", "|---|---|---|---|", *rows, ""]
    return "\n".join([*parts, _TAIL])


def _difference(case: Case, report: Report) -> str:
    told = report.get(case.name, {})
    differs = " ".join(f"{key}={told.get(key, 0):x}" for key, value in case.expected.items() if told.get(key) != value)
    return f"{differs}: {case.qemu_differs}" if differs else ""


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(document("qemu-system-aarch64"))
